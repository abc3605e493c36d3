//! The defects of the library whose interface this one has: one test each, which fails where the defect is.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cacheness::blob::Repair;
use cacheness::cache::Expired;
use cacheness::clock::ManualClock;
use cacheness::config::Codec;
use cacheness::query::Filter;
use cacheness::{
    BlobStore, Cache, CacheConfig, Field, PutOptions, Value, cached, function, hash_content, hash_file_path, params,
};
use cacheness_tests::files_below;

const HOUR: Duration = Duration::from_secs(3600);

fn with_clock() -> (Cache, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    (Cache::with_clock(clock.clone()), clock)
}

fn blobs(dir: &Path) -> usize {
    files_below(&dir.join("blobs")).unwrap().len()
}

/// Larger than what lies in the index, and not to be compressed to less.
fn large(seed: u8) -> Vec<u8> {
    cacheness_tests::value_of(u64::from(seed) * 10)
}

// The time to live given at the put was kept and never looked at by a plain read, nor by a decorated function.
#[test]
fn a_plain_get_and_an_attribute_honour_the_ttl_of_the_put() {
    #[cached(ttl = 3600, cache = cache, skip(cache, answer))]
    fn f(cache: &Cache, answer: u32) -> u32 {
        answer
    }
    let (cache, clock) = with_clock();
    cache.put_with("key", &1u8, PutOptions::new().ttl(HOUR)).unwrap();
    assert_eq!((cache.get::<u8>("key").unwrap(), f(&cache, 1), f(&cache, 2)), (Some(1), 1, 1));
    clock.advance(HOUR);
    assert_eq!((cache.get::<u8>("key").unwrap(), cache.exists("key").unwrap(), f(&cache, 3)), (None, false, 3));
}

// A put wrote over the file of the old value: a crash in the middle left neither.
#[test]
fn an_overwrite_goes_to_a_new_file_and_the_old_one_stays_whole_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    cache.put("key", &large(1)).unwrap();
    let old = files_below(&dir.path().join("blobs")).unwrap();
    let kept = dir.path().join("a second name of the old file");
    fs::hard_link(&old[0], &kept).unwrap();
    let before = fs::read(&kept).unwrap();
    cache.put("key", &large(2)).unwrap();
    assert_eq!(fs::read(&kept).unwrap(), before, "not one byte of the old file was written to");
    assert_ne!(files_below(&dir.path().join("blobs")).unwrap(), old);
}

// When the record of a put could not be written, the good value that was there before was deleted too.
#[test]
fn a_put_whose_record_is_refused_keeps_the_value_before_it_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    cache.put("key", &large(1)).unwrap();
    let too_long = PutOptions::new().description("x".repeat(2 << 20));
    assert!(cache.put_with("key", &large(2), too_long).unwrap_err().is_limit());
    assert_eq!(cache.get::<Vec<u8>>("key").unwrap(), Some(large(1)));
    assert_eq!(blobs(dir.path()), 1);
}

// `clear` and repair deleted files in the directory that the cache had not written.
#[test]
fn clear_and_repair_leave_foreign_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    cache.put("key", &large(1)).unwrap();
    let shard = files_below(&dir.path().join("blobs")).unwrap()[0].parent().unwrap().to_owned();
    let foreign = [dir.path().join("notes.txt"), dir.path().join("blobs/thesis.pkl"), shard.join("model.bin")];
    foreign.iter().for_each(|file| fs::write(file, "mine").unwrap());
    assert_eq!(cache.clear().unwrap(), 1);
    cache.close().unwrap();
    // An index that is gone makes the next opening a repair.
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    Cache::open(dir.path()).unwrap().clear().unwrap();
    foreign.iter().for_each(|file| assert_eq!(fs::read(file).unwrap(), b"mine", "{}", file.display()));
}

// Dots and slashes in keys were replaced or cut, so that several keys were one, and long keys were shortened.
#[test]
fn keys_with_dots_and_slashes_and_long_keys_are_kept_exactly() {
    let cache = Cache::in_memory();
    let long = "k".repeat(10_000);
    let keys = ["a/b", "a_b", "a.b", "ab", "v1.0", "v1.1", "v1", "", &long, &long[1..], &format!("{long}x")];
    for (n, key) in keys.iter().enumerate() {
        cache.put(*key, &n).unwrap();
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(cache.get::<usize>(*key).unwrap(), Some(n));
    }
}

// A `BlobStore` cut what followed the last dot of a key, so that "v1.0" and "v1.1" were one file.
#[test]
fn a_blob_store_keeps_each_key_exactly_and_lists_it_as_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path().join("store")).unwrap();
    let long = "k".repeat(1024);
    let mut keys = vec!["a/b", "a_b", "v1.0", "v1.1", "v1", "../../escaped", "/tmp/x", "\u{0}", &long];
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(store.put_with(*key, &large(n as u8)).unwrap(), *key);
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(store.get::<Vec<u8>>(key).unwrap(), Some(large(n as u8)), "{key:.20}");
    }
    assert!(store.put_with(format!("{long}k").as_str(), &1u8).unwrap_err().is_limit(), "refused, not cut");
    let mut listed = store.list("").unwrap();
    listed.sort();
    keys.sort();
    assert_eq!(listed, keys);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "and nothing lies beside the store");
}

// Repairing a `BlobStore` removed every file that it did not know.
#[test]
fn the_repair_of_a_blob_store_leaves_foreign_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    store.put_with("key", &large(1)).unwrap();
    let shard = files_below(&dir.path().join("blobs")).unwrap()[0].parent().unwrap().to_owned();
    let foreign = [dir.path().join("notes.txt"), dir.path().join("blobs/thesis.pkl"), shard.join("model.bin")];
    foreign.iter().for_each(|file| fs::write(file, "mine").unwrap());
    store.verify(Repair::Yes).unwrap();
    assert_eq!(store.get::<Vec<u8>>("key").unwrap(), Some(large(1)));
    assert_eq!(store.clear().unwrap(), 1);
    foreign.iter().for_each(|file| assert_eq!(fs::read(file).unwrap(), b"mine", "{}", file.display()));
}

// Keys were texts joined by a separator: values with the separator in them met others.
#[test]
fn no_separator_in_a_value_makes_two_keys_one() {
    let cache = Cache::in_memory();
    cache.put(("ab", "c"), &1).unwrap();
    cache.put(("a", "bc"), &2).unwrap();
    cache.put(params! { a: "1,b=2" }, &3).unwrap();
    cache.put(params! { a: "1", b: "2" }, &4).unwrap();
    assert_eq!(cache.get::<i32>(("ab", "c")).unwrap(), Some(1));
    assert_eq!(cache.get::<i32>(("a", "bc")).unwrap(), Some(2));
    assert_eq!(cache.get::<i32>(params! { a: "1,b=2" }).unwrap(), Some(3));
    assert_ne!(hash_content(&1).unwrap(), hash_content("1").unwrap());
    assert_ne!(hash_content(&1).unwrap(), hash_content(&true).unwrap());
}

// Parts of keys were hashed by a hash with a seed of the process: the next process found nothing.
#[test]
fn the_order_of_maps_and_sets_and_the_process_do_not_change_a_key() {
    let names = ["dddd", "a", "ccc", "bb"];
    let one: HashMap<_, _> = names.iter().map(|name| (name, name.len())).collect();
    let other: BTreeMap<_, _> = names.iter().map(|name| (name, name.len())).collect();
    assert_eq!(hash_content(&one).unwrap(), hash_content(&other).unwrap());
    assert_eq!(
        hash_content("London").unwrap(),
        "f8c547d3ef83adef62fe5a910da55f9ada2a23a573dcc0a5919072db3f088f18",
        "the hash that other processes have made"
    );
}

// Below a few levels of nesting only the type of a value counted, so that deep values that differ had one key.
#[test]
fn values_that_differ_deep_inside_have_keys_that_differ() {
    let nested = |innermost: u8| (0..9).fold(Value::from(vec![innermost]), |inner, _| Value::from(vec![inner]));
    let hash = |innermost| hash_content(&cacheness::key::SerdeKey(nested(innermost))).unwrap();
    assert_ne!(hash(1), hash(2));
    let vectors = |innermost: u8| vec![vec![vec![vec![vec![vec![vec![vec![innermost]]]]]]]];
    assert_ne!(hash_content(&vectors(1)).unwrap(), hash_content(&vectors(2)).unwrap());
}

// An empty directory was keyed by the text of its path instead of by what is in it.
#[test]
fn an_empty_directory_is_keyed_by_its_being_empty() {
    #[cached(cache = cache, skip(cache))]
    fn count(cache: &Cache, dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }
    let (here, there, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Cache::in_memory());
    assert_eq!(hash_file_path(here.path()).unwrap(), hash_file_path(there.path()).unwrap());
    assert_eq!((count(&cache, here.path()), count(&cache, there.path())), (0, 0));
    assert_eq!(function(count).in_cache(&cache).info().unwrap().entries, 1);
    fs::write(there.path().join("file"), "").unwrap();
    assert_eq!(count(&cache, there.path()), 1);
}

// A value of another type went into a file with another ending, and the file before it was left for ever.
#[test]
fn overwriting_with_another_type_leaves_no_file_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    cache.put("key", &large(1)).unwrap();
    cache.put("key", &vec![0.5f64.sqrt(); 10_000]).unwrap();
    cache.put("key", &large(2).iter().map(|byte| format!("{byte:03}")).collect::<Vec<_>>()).unwrap();
    cache.flush().unwrap();
    assert_eq!((blobs(dir.path()), cache.len().unwrap()), (1, 1));
    cache.put("key", &1u8).unwrap();
    cache.flush().unwrap();
    assert_eq!((blobs(dir.path()), cache.get::<u8>("key").unwrap()), (0, Some(1)), "it lies in the index now");
}

// Absolute paths, or ones relative to the working directory, were stored: a directory that moved was empty.
#[test]
fn a_directory_that_moved_has_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (dir.path().join("here"), dir.path().join("deep/there"));
    let cache = Cache::open(&here).unwrap();
    cache.put("key", &large(1)).unwrap();
    cache.close().unwrap();
    fs::create_dir(dir.path().join("deep")).unwrap();
    fs::rename(here, &there).unwrap();
    assert_eq!(Cache::open(&there).unwrap().get::<Vec<u8>>("key").unwrap(), Some(large(1)));
}

// `touch` wrote the record anew without the metadata of the user, and `update_data` without the hash of the file.
#[test]
fn touch_and_update_keep_what_was_said_of_the_entry_and_the_value_is_still_checked() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let key = params! { run: 7 };
    let options = || PutOptions::new().ttl(HOUR).tag("t").prefix("p").description("d").metadata("accuracy", 0.9);
    cache.put_with(&key, &large(1), options()).unwrap();
    assert!(cache.touch(&key).unwrap());
    assert!(cache.update_data(&key, &large(2)).unwrap());
    let (value, entry) = cache.get_with_metadata::<Vec<u8>>(&key).unwrap().unwrap();
    assert_eq!((value, entry.metadata().get("accuracy")), (large(2), Some(&Value::from(0.9))));
    assert_eq!((entry.tags(), entry.prefix(), entry.description()), (&["t".to_owned()][..], Some("p"), Some("d")));
    assert_eq!(cache.list_entries().matching(Field::param("run").eq(7)).count(), 1);
    // What was replaced is gone from the disk when the new value is on it.
    cache.flush().unwrap();
    let blob = &files_below(&dir.path().join("blobs")).unwrap()[0];
    let mut bytes = fs::read(blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(blob, bytes).unwrap();
    assert_eq!(cache.get::<Vec<u8>>(&key).unwrap(), None, "a damaged value is found after an update too");
}

// A stored `None` was taken for an absent value, so that the function ran at every call.
#[test]
fn a_stored_none_is_a_hit() {
    #[cached(cache = cache, skip(cache), cache_none)]
    fn find(cache: &Cache) -> Option<u8> {
        None
    }
    let cache = Cache::in_memory();
    cache.put("key", &None::<u8>).unwrap();
    assert_eq!(cache.get::<Option<u8>>("key").unwrap(), Some(None));
    assert_eq!((find(&cache), find(&cache)), (None, None));
    assert_eq!(function(find).in_cache(&cache).info().unwrap().hits, 1);
}

// Filters looked at a table that the metadata of the user was not in: they matched nothing, and said so with a zero.
#[test]
fn touch_batch_and_delete_matching_meet_user_metadata() {
    let (cache, clock) = with_clock();
    for n in 0..4u32 {
        let project = if n < 3 { "a" } else { "b" };
        cache.put_with(params! { n: n }, &n, PutOptions::new().ttl(HOUR).metadata("project", project)).unwrap();
    }
    clock.advance(HOUR / 2);
    assert_eq!(cache.touch_batch(&Field::metadata("project").eq("a")).unwrap(), 3);
    clock.advance(HOUR / 2);
    assert_eq!(cache.get::<u32>(params! { n: 0u32 }).unwrap(), Some(0));
    assert_eq!(cache.get::<u32>(params! { n: 3u32 }).unwrap(), None, "not touched");
    let filter = Field::metadata("project").eq("a") & Field::param("n").gt(0);
    assert_eq!(cache.delete_matching(&filter).unwrap(), 2);
    assert_eq!(cache.delete_matching(&Field::metadata("project").eq("c")).unwrap(), 0);
}

// The clearing of a function knew the calls of this process alone.
#[test]
fn clearing_a_function_reaches_entries_of_an_earlier_opening() {
    #[cached(cache = cache, skip(cache))]
    fn twice(cache: &Cache, n: u32) -> u32 {
        n * 2
    }
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    (0..5).for_each(|n| assert_eq!(twice(&cache, n), n * 2));
    cache.close().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    assert_eq!(function(twice).in_cache(&cache).info().unwrap().entries, 5);
    assert_eq!(function(twice).in_cache(&cache).clear().unwrap(), 5);
    assert!(cache.is_empty().unwrap());
}

// An entry larger than the whole limit pushed every other one out, and then itself.
#[test]
fn an_entry_over_the_limit_is_refused_and_evicts_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(CacheConfig::new(dir.path()).with_max_size_mb(1)).unwrap();
    (0..5u8).for_each(|n| drop(cache.put(n, &n).unwrap()));
    let incompressible: Vec<u8> = (0..100).flat_map(large).collect();
    assert!(incompressible.len() > 2 << 20);
    assert!(cache.put("too much", &incompressible).unwrap_err().is_limit());
    assert_eq!((cache.len().unwrap(), cache.get_stats().unwrap().evictions), (5, 0));
}

// A codec that was not there was accepted by the configuration and failed at the first put.
#[test]
fn every_codec_that_the_configuration_accepts_stores_a_value() {
    let words = "a text that can be compressed ".repeat(1000);
    for &codec in Codec::ALL {
        let dir = tempfile::tempdir().unwrap();
        let mut config = CacheConfig::new(dir.path());
        config.compression.codec = codec;
        let cache = Cache::new(config).unwrap();
        cache.put("words", &words).unwrap();
        assert_eq!(cache.get::<String>("words").unwrap().as_ref(), Some(&words));
    }
    assert!("blosc3".parse::<Codec>().unwrap_err().to_string().contains("lz4"), "the known ones are named");
}

// A name that no backend has opened another backend without a word.
#[test]
fn a_backend_of_an_unknown_name_is_refused_with_the_known_ones() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let mut config = CacheConfig::new(&root);
    config.metadata.backend = "sqlight".to_owned();
    let error = Cache::new(config).unwrap_err();
    assert!(error.is_config() && error.to_string().contains("sqlight"), "{error}");
    assert!(error.to_string().contains("sled") && error.to_string().contains("memory"), "{error}");
    assert!(!root.exists(), "and nothing is made");
}

// Names of fields were pasted into SQL, so that a name could be a statement.
#[test]
fn the_name_of_a_field_is_data_whatever_it_says() {
    let cache = Cache::in_memory();
    let hostile = ["'; DROP TABLE entries; --", "x = 1 OR 1 = 1", "a.b[0]", "\"", "", "\0", "cache_key"];
    for (n, name) in hostile.iter().enumerate() {
        cache.put_with(n, &n, PutOptions::new().metadata(*name, n as i64)).unwrap();
    }
    for (n, name) in hostile.iter().enumerate() {
        assert_eq!(cache.delete_matching(&Field::metadata(*name).eq(-1)).unwrap(), 0, "{name:?}");
        assert_eq!(cache.list_entries().matching(Field::metadata(*name).eq(n as i64)).count(), 1, "{name:?}");
    }
    assert_eq!(cache.len().unwrap(), hostile.len() as u64);
}

// Keys and prefixes were parts of file names: `..` in one of them led out of the directory.
#[test]
fn no_key_prefix_or_tag_leads_out_of_the_directory() {
    let outside = tempfile::tempdir().unwrap();
    let dir = outside.path().join("in/side");
    fs::create_dir(outside.path().join("in")).unwrap();
    let cache = Cache::open(&dir).unwrap();
    for name in ["../../escaped", "/tmp/../escaped", "..", "\0", "a/../../../b", "C:\\x", "con", &"n".repeat(5000)] {
        cache.put_with(name, &large(1), PutOptions::new().prefix(name).tag(name).function(name)).unwrap();
        assert_eq!(cache.get::<Vec<u8>>(name).unwrap(), Some(large(1)));
    }
    let all = files_below(outside.path()).unwrap();
    assert!(all.iter().all(|file| file.starts_with(&dir)), "{all:?}");
    assert!(all.iter().all(|file| file.file_name().is_some_and(|name| name.len() < 100)), "{all:?}");
}

// The dictionary that a caller gave as metadata had entries of the library in it afterwards.
#[test]
fn what_a_caller_gave_comes_back_as_it_was() {
    let cache = Cache::in_memory();
    let options = PutOptions::new().metadata("mine", 1).tag("t");
    cache.put_with("one", &1u8, options.clone()).unwrap();
    cache.put_with("two", &2u8, options.clone()).unwrap();
    for key in ["one", "two"] {
        let entry = cache.get_metadata(key, Expired::Skip).unwrap().unwrap();
        assert_eq!((entry.metadata(), entry.tags()), (&options.metadata, &options.tags[..]));
    }
}

// While a key was overwritten its file was gone for a moment, and readers of a key that was always there missed.
#[test]
fn readers_of_a_key_that_is_always_there_never_miss() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    cache.put("key", &large(0)).unwrap();
    let reader = cache.clone();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (1..=100u8).for_each(|n| drop(cache.put("key", &large(n % 7)).unwrap())));
        while !writer.is_finished() {
            let value = reader.get::<Vec<u8>>("key").unwrap().expect("it was put before");
            assert!((0..7).any(|n| value == large(n)), "one of the values, and whole");
        }
    });
}

// Threads that opened a directory for the first time at once met half-made files of each other.
#[test]
fn openings_at_the_same_time_are_one_cache() {
    let dir = tempfile::tempdir().unwrap();
    let caches: Vec<_> = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..8).map(|_| scope.spawn(|| Cache::open(dir.path()).unwrap())).collect();
        openers.into_iter().map(|opener| opener.join().unwrap()).collect()
    });
    for (n, cache) in caches.iter().enumerate() {
        cache.put(n, &n).unwrap();
    }
    for cache in &caches {
        assert!((0..8).all(|n: usize| cache.get::<usize>(n).unwrap() == Some(n)));
    }
}

// With the layer in memory switched on, queries saw other entries than without it.
#[test]
fn queries_find_the_same_with_values_in_memory_and_without() {
    let found = |memory: bool| {
        let clock = Arc::new(ManualClock::default());
        let dir = cacheness_tests::scratch();
        let config = CacheConfig::new(dir.path().join("cache")).with_memory_cache(memory);
        let cache = Cache::with_clock_in(config, clock.clone()).unwrap();
        for n in 0..20_u32 {
            clock.advance(Duration::from_secs(1));
            let options = PutOptions::new().metadata("third", n % 3).ttl(HOUR);
            cache.put_with(params! { n: n, project: "ml" }, &n, options).unwrap();
            (0..2).for_each(|_| assert_eq!(cache.get::<u32>(params! { n: n, project: "ml" }).unwrap(), Some(n)));
        }
        let in_memory = cache.get_stats().unwrap().memory.map_or(0, |memory| memory.hits);
        assert_eq!(in_memory > 0, memory);
        let names = |filter: Filter| {
            cache.list_entries().matching(filter).map(|entry| entry.unwrap().cache_key()).collect::<Vec<_>>()
        };
        let listed = [
            names(Field::metadata("third").eq(1)),
            names(Field::param("n").lt(5)),
            names(Field::any("project").eq("ml")),
        ];
        let touched = cache.touch_batch(&Field::metadata("third").eq(2)).unwrap();
        clock.advance(HOUR - Duration::from_secs(10));
        let expired = cache.cleanup_expired().unwrap();
        let removed = cache.delete_matching(&Field::param("n").ge(10)).unwrap();
        let left: Vec<u32> =
            (0..20).filter(|n| cache.get::<u32>(params! { n: *n, project: "ml" }).unwrap().is_some()).collect();
        (listed, touched, expired, removed, left)
    };
    let without = found(false);
    assert_eq!(found(true), without);
    assert!(without.0.iter().all(|names| !names.is_empty()) && without.3 > 0 && !without.4.is_empty(), "{without:?}");
}
