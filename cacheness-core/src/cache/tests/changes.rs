//! Changing what is there: touch, update, copy, rename, many at once.

use super::*;
use crate::query::Field;

fn with_three(ttl: u64) -> (Cache, Arc<ManualClock>) {
    let (cache, clock) = with_manual_clock();
    for n in 1..=3u8 {
        let options = PutOptions::new().ttl(seconds(ttl)).metadata("n", n).tag("t").prefix("p").description("d");
        cache.put_with(params! { n: n }, &n, options).unwrap();
    }
    (cache, clock)
}

#[test]
fn a_touched_entry_has_its_whole_life_before_it_and_keeps_all_that_was_said_of_it() {
    let (cache, clock) = with_three(10);
    clock.advance(seconds(8));
    assert!(cache.touch(params! { n: 1u8 }).unwrap());
    assert!(cache.touch_with_ttl(params! { n: 2u8 }, seconds(100)).unwrap());
    clock.advance(seconds(8));
    let (value, entry) = cache.get_with_metadata::<u8>(params! { n: 1u8 }).unwrap().unwrap();
    assert_eq!((value, entry.ttl()), (1, Some(seconds(10))));
    assert_eq!(entry.metadata()["n"], 1.into());
    assert_eq!((entry.tags(), entry.prefix(), entry.description()), (&["t".to_owned()][..], Some("p"), Some("d")));
    assert_eq!(cache.remaining_ttl(params! { n: 2u8 }).unwrap(), Some(seconds(92)));
    assert!(!cache.touch(params! { n: 3u8 }).unwrap(), "what has expired does not come back");
    assert!(!cache.touch("nothing").unwrap());
    assert_eq!(cache.cleanup_expired().unwrap(), 1);
    clock.advance(seconds(2));
    assert_eq!(cache.cleanup_expired().unwrap(), 1, "the touched one expires in its turn");
    assert_eq!(cache.invalidate_tag("t").unwrap(), 1);
}

#[test]
fn touching_reaches_a_value_in_a_blob_and_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let open = || Cache::with_clock_in(CacheConfig::new(dir.path()), clock.clone()).unwrap();
    let cache = open();
    let large = vec![3.5f64; 100_000];
    cache.put_with("large", &large, PutOptions::new().ttl(seconds(10))).unwrap();
    clock.advance(seconds(9));
    assert!(cache.touch("large").unwrap());
    cache.close().unwrap();
    let cache = open();
    clock.advance(seconds(9));
    assert_eq!(cache.get::<Vec<f64>>("large").unwrap(), Some(large));
}

#[test]
fn entries_are_touched_by_metadata_and_by_parameters() {
    let (cache, clock) = with_three(10);
    clock.advance(seconds(5));
    assert_eq!(cache.touch_batch(&Field::metadata("n").ge(2)).unwrap(), 2);
    assert_eq!(cache.touch_batch_with_ttl(&Field::param("n").eq(1), seconds(3)).unwrap(), 1);
    clock.advance(seconds(4));
    assert_eq!(cache.touch_batch(&Field::any("n").gt(0)).unwrap(), 2, "the expired one is passed over");
}

#[test]
fn a_ttl_that_is_none_or_has_no_end_is_refused_and_nothing_changes() {
    let (cache, _) = with_three(10);
    for ttl in [Duration::ZERO, Duration::from_nanos(999), Duration::MAX] {
        let said = |error: crate::CacheError| {
            assert!(error.is_invalid_argument() && error.to_string().contains("ttl"), "{error}")
        };
        said(cache.put_with(params! { n: 1u8 }, &9u8, PutOptions::new().ttl(ttl)).unwrap_err());
        said(cache.touch_with_ttl(params! { n: 1u8 }, ttl).unwrap_err());
        said(cache.touch_batch_with_ttl(&Field::any("n").gt(0), ttl).unwrap_err());
    }
    assert_eq!(cache.get::<u8>(params! { n: 1u8 }).unwrap(), Some(1));
    assert_eq!(cache.remaining_ttl(params! { n: 1u8 }).unwrap(), Some(seconds(10)));
}

#[test]
fn new_data_takes_the_place_of_old_and_the_rest_of_the_entry_stays() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let large = |byte: u8| vec![byte; 100_000];
    cache.put_with("k", &large(1), PutOptions::new().metadata("kept", true).tag("t").ttl(seconds(60))).unwrap();
    let before = cache.get_metadata("k", Expired::Skip).unwrap().unwrap();
    assert!(cache.update_data("k", &large(2)).unwrap());
    let (value, after) = cache.get_with_metadata::<Vec<u8>>("k").unwrap().unwrap();
    assert_eq!(value, large(2));
    assert_ne!(after.file_hash(), before.file_hash(), "the hash is that of the new data");
    assert_eq!((after.metadata(), after.tags(), after.ttl()), (before.metadata(), before.tags(), before.ttl()));
    assert!(cache.update_data("k", &"of another type".to_owned()).unwrap());
    let (_, after) = cache.get_with_metadata::<String>("k").unwrap().unwrap();
    assert!(after.data_type().ends_with("String"));
    cache.flush().unwrap();
    assert_eq!(walk(&dir.path().join("blobs")).len(), 0, "no blob is left of what was replaced");
    assert!(!cache.update_data("no entry", &1u8).unwrap());
    assert_eq!(cache.len().unwrap(), 1);
}

#[test]
fn nobody_sees_a_time_without_a_value_while_data_is_updated() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let value = |n: u8| vec![n; 20_000];
    cache.put("k", &value(0)).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=200u8 {
                assert!(cache.update_data("k", &value(n)).unwrap());
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let found = cache.get::<Vec<u8>>("k").unwrap().expect("there is always a value");
            assert_eq!(found, value(found[0]));
        }
    });
}

#[test]
fn a_kill_after_an_overwrite_leaves_the_old_value_or_the_new_one() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = CacheConfig::new(dir.path()).with_flush_interval(seconds(60)).with_codec(crate::Codec::None);
    let cache = Cache::new(config).unwrap();
    cache.put("k", &vec![1u8; 50_000]).unwrap();
    cache.flush().unwrap();
    cache.put("k", &vec![2u8; 50_000]).unwrap();
    cache.put("k", &vec![3u8; 50_000]).unwrap();
    // What a killed process leaves: the files as they are, without what waits in its memory.
    copy_dir(dir.path(), &copy.path().join("cache"));
    let found = Cache::open(copy.path().join("cache")).unwrap().get::<Vec<u8>>("k").unwrap();
    assert!(found.is_some_and(|value| [1, 3].contains(&value[0])), "neither the old value nor the new one is there");
    cache.flush().unwrap();
    assert_eq!(walk(&dir.path().join("blobs")).len(), 1, "what was replaced is gone after the flush");
}

#[test]
fn a_tag_that_is_invalidated_while_its_entries_are_touched_is_gone_afterwards() {
    let cache = Cache::in_memory();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for n in 0..50u32 {
                    cache.touch(n).unwrap();
                }
            }
        });
        for _ in 0..30 {
            for n in 0..50u32 {
                cache.put_with(n, &n, PutOptions::new().tag("t")).unwrap();
            }
            cache.invalidate_tag("t").unwrap();
            assert!(cache.is_empty().unwrap());
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn closing_one_of_two_handles_brings_what_it_put_to_the_disk() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = CacheConfig::new(dir.path()).with_flush_interval(seconds(60));
    let (one, _other) = (Cache::new(config.clone()).unwrap(), Cache::new(config).unwrap());
    one.put("k", &1u8).unwrap();
    one.close().unwrap();
    copy_dir(dir.path(), &copy.path().join("cache"));
    assert_eq!(Cache::open(copy.path().join("cache")).unwrap().get::<u8>("k").unwrap(), Some(1));
}

#[test]
fn an_update_that_fails_leaves_the_old_value() {
    let limits = crate::Limits { max_value_bytes: 1000, ..crate::Limits::DEFAULT };
    let cache = Cache::new(CacheConfig::in_memory().with_limits(limits)).unwrap();
    cache.put("k", &1u8).unwrap();
    assert!(cache.update_data("k", &vec![0u8; 2000]).unwrap_err().is_limit());
    assert_eq!(cache.get::<u8>("k").unwrap(), Some(1));
}

#[test]
fn a_copy_is_an_entry_of_its_own_and_a_renamed_one_is_gone_from_where_it_was() {
    let (cache, clock) = with_three(10);
    clock.advance(seconds(4));
    assert!(cache.copy(params! { n: 1u8 }, params! { m: 1u8 }).unwrap());
    assert!(cache.rename(params! { n: 2u8 }, params! { m: 2u8 }).unwrap());
    assert!(!cache.copy("nothing", "anywhere").unwrap() && !cache.rename("nothing", "anywhere").unwrap());
    assert!(cache.rename(params! { n: 3u8 }, params! { n: 3u8 }).unwrap(), "to itself is nothing");
    let get = |key| cache.get::<u8>(key).unwrap();
    assert_eq!((get(params! { n: 1u8 }), get(params! { m: 1u8 })), (Some(1), Some(1)));
    assert_eq!((get(params! { n: 2u8 }), get(params! { m: 2u8 }), get(params! { n: 3u8 })), (None, Some(2), Some(3)));
    let copied = cache.get_metadata(params! { m: 1u8 }, Expired::Skip).unwrap().unwrap();
    assert_eq!(copied.cache_key_params(), [("m".to_owned(), 1.into())]);
    assert_eq!((copied.tags(), copied.metadata()["n"].as_i64()), (&["t".to_owned()][..], Some(1)));
    assert_eq!(cache.remaining_ttl(params! { m: 1u8 }).unwrap(), Some(seconds(6)), "it lives as long as the original");
    assert_eq!(cache.invalidate_tag("t").unwrap(), 4);
}

#[test]
fn large_values_are_copied_as_they_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let large: Vec<u64> = (0..100_000).map(|n: u64| (n * n).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    cache.put("a", &large).unwrap();
    assert!(cache.copy("a", "b").unwrap() && cache.rename("a", "c").unwrap());
    assert_eq!(walk(&dir.path().join("blobs")).len(), 2);
    for key in ["b", "c"] {
        assert_eq!(cache.get::<Vec<u64>>(key).unwrap().as_ref(), Some(&large));
    }
}

#[test]
fn many_are_put_fetched_and_deleted_in_one_call() {
    let cache = Cache::in_memory();
    let values: Vec<u32> = (0..50).collect();
    let keys = cache.put_batch_with(values.iter().map(|n| (*n, n)), &PutOptions::new().tag("t")).unwrap();
    assert_eq!(keys.len(), 50);
    let found = cache.get_batch::<u32, _>([3u32, 99, 7]).unwrap();
    assert_eq!(found[0], (keys[3].clone(), Some(3)));
    assert_eq!((found[1].1, found[2].1), (None, Some(7)));
    assert_eq!(cache.delete_batch(0..60u32).unwrap(), 50);
}

#[test]
fn a_batch_with_a_value_at_fault_stores_nothing() {
    let limits = crate::Limits { max_value_bytes: 1000, ..crate::Limits::DEFAULT };
    let cache = Cache::new(CacheConfig::in_memory().with_limits(limits)).unwrap();
    let (small, large) = (vec![0u8; 10], vec![0u8; 2000]);
    assert!(cache.put_batch([("a", &small), ("b", &large)]).unwrap_err().is_limit());
    assert!(cache.is_empty().unwrap());
}

#[test]
fn every_method_of_a_closed_cache_says_that_it_is_closed() {
    let (cache, _) = with_three(10);
    cache.close().unwrap();
    let filter = Field::any("n").gt(0);
    let errors = [
        cache.put("k", &1u8).err(),
        cache.get::<u8>("k").err(),
        cache.get_with_metadata::<u8>("k").err(),
        cache.get_metadata("k", Expired::Skip).err(),
        cache.get_entry("0123456789abcdef").err(),
        cache.exists("k").err(),
        cache.invalidate("k").err(),
        cache.invalidate_by_cache_key("0123456789abcdef").err(),
        cache.invalidate_tag("t").err(),
        cache.invalidate_prefix("p").err(),
        cache.list_entries().next().and_then(Result::err),
        cache.get_stats().err(),
        cache.cleanup_expired().err(),
        cache.clear().err(),
        cache.update_data("k", &1u8).err(),
        cache.touch("k").err(),
        cache.touch_batch(&filter).err(),
        cache.delete_where(|_| true).err(),
        cache.delete_matching(&filter).err(),
        cache.get_batch::<u8, _>(["k"]).err(),
        cache.put_batch([("k", &1u8)]).err(),
        cache.delete_batch(["k"]).err(),
        cache.remaining_ttl("k").err(),
        cache.len().err(),
        cache.copy("k", "l").err(),
        cache.rename("k", "l").err(),
        cache.flush().err(),
    ];
    for (at, error) in errors.iter().enumerate() {
        assert!(error.as_ref().is_some_and(crate::CacheError::is_closed), "{at}: {error:?}");
    }
}

pub(super) fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let below = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    below.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
