use super::*;
use crate::config::{Codec, Durability, Limits};
use crate::error::CacheError;
use crate::query::Field;
use crate::value::Value;

const KEYS: [&str; 12] =
    ["a/b", "a", "a/", "v1.0", "v1.1", "v1", "../../etc/passwd", "/", ".", "Ä\u{308} ö", "nul\0in it", " "];

#[test]
fn keys_are_kept_exactly_and_never_become_paths() {
    let f = fixture();
    let long = "x".repeat(BlobStore::MAX_KEY_BYTES);
    let keys: Vec<&str> = KEYS.into_iter().chain([long.as_str()]).collect();
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(f.store.put_with(*key, &n).unwrap(), *key);
    }
    let f = f.reopened();
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(f.store.get::<usize>(key).unwrap(), Some(n), "{key:?}");
        assert_eq!(f.store.get_metadata(key).unwrap().unwrap().name(), Some(*key));
    }
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(f.store.list("").unwrap(), sorted);
    assert_eq!(f.blobs().len(), keys.len(), "each has a file");
    let named_as_ours = |file: &PathBuf| file.file_stem().unwrap().to_str().unwrap().len() == 32;
    assert!(f.blobs().iter().all(named_as_ours));
}

#[test]
fn an_empty_key_and_one_that_is_too_long_are_refused_everywhere_by_what_is_wrong() {
    let store = BlobStore::in_memory();
    let long = "é".repeat(600);
    let calls: [fn(&BlobStore, &str) -> Result<()>; 8] = [
        |store, key| store.put_with(key, &1u8).map(drop),
        |store, key| store.writer(key).map(drop),
        |store, key| store.reader(key).map(drop),
        |store, key| store.get::<u8>(key).map(drop),
        |store, key| store.get_metadata(key).map(drop),
        |store, key| store.update_metadata(key, &Metadata::new()).map(drop),
        |store, key| store.delete(key).map(drop),
        |store, key| store.verify_integrity(key).map(drop),
    ];
    for call in calls {
        let empty = call(&store, "").unwrap_err();
        assert!(empty.is_invalid_argument() && empty.to_string().contains("the key is empty"), "{empty}");
        let error = call(&store, &long).unwrap_err();
        assert!(error.is_limit() && error.to_string().contains("1200 bytes"), "{error}");
    }
    assert!(store.is_empty().unwrap());
}

#[test]
fn values_of_any_size_and_type_are_there_after_reopening() {
    for codec in [Codec::None, Codec::Lz4] {
        let f = fixture_with(|builder| builder.codec(codec));
        let lens = [0, 1, 63, 5000, 70_000, 262_143, 262_144, 262_145, 1_200_000];
        for len in lens {
            f.store.put_with(format!("noise {len}"), &noise(len)).unwrap();
            f.store.put_with(format!("same {len}"), &vec![7u8; len]).unwrap();
            f.store.put_with(format!("floats {len}"), &vec![0.5f64; len / 8]).unwrap();
        }
        f.store.put_with("pair", &("text".to_owned(), Some(3u8))).unwrap();
        f.store.put_with("none", &None::<u8>).unwrap();
        let f = f.reopened();
        for len in lens {
            assert_eq!(f.store.get(&format!("noise {len}")).unwrap(), Some(noise(len)));
            assert_eq!(f.store.get(&format!("same {len}")).unwrap(), Some(vec![7u8; len]));
            assert_eq!(f.store.get(&format!("floats {len}")).unwrap(), Some(vec![0.5f64; len / 8]));
        }
        assert_eq!(f.store.get("pair").unwrap(), Some(("text".to_owned(), Some(3u8))));
        assert_eq!(f.store.get::<Option<u8>>("none").unwrap(), Some(None));
        assert_eq!(f.store.get::<u8>("nothing").unwrap(), None);
        let entry = f.store.get_metadata("same 1200000").unwrap().unwrap();
        assert_eq!((entry.codec(), entry.raw_size()), (codec.name(), 1_200_000));
        assert_eq!(entry.size() < 10_000, codec == Codec::Lz4, "{}", entry.size());
    }
}

#[test]
fn an_overwritten_value_is_the_new_one_and_the_old_file_is_gone() {
    let f = fixture();
    f.store.put_with("k", &noise(1000)).unwrap();
    f.store.put_with("k", &"another type".to_owned()).unwrap();
    assert_eq!(f.store.get::<String>("k").unwrap().as_deref(), Some("another type"));
    assert_eq!((f.blobs().len(), f.store.len().unwrap()), (1, 1));
}

#[test]
fn a_value_of_another_type_is_an_error_that_names_both_and_not_absence() {
    let store = BlobStore::in_memory();
    store.put_with("number", &1u32).unwrap();
    store.put_with("bytes", &vec![1u8]).unwrap();
    let error = store.get::<i32>("number").unwrap_err();
    assert!(error.is_serialization() && error.to_string().contains("\"number\" holds a `u32`, not a `i32`"), "{error}");
    let error = store.get::<String>("bytes").unwrap_err();
    assert!(error.to_string().contains("Vec<u8>"), "{error}");
    assert_eq!(store.get::<u32>("number").unwrap(), Some(1));
}

#[test]
fn keys_that_the_store_makes_are_all_different() {
    let store = BlobStore::in_memory();
    let keys: std::collections::HashSet<String> = (0..100).map(|_| store.put(&1u8).unwrap()).collect();
    assert_eq!((keys.len(), store.len().unwrap()), (100, 100));
    assert!(keys.iter().all(|key| key.len() == 32 && store.get::<u8>(key).unwrap() == Some(1)));
}

#[test]
fn metadata_is_merged_and_all_else_stays() {
    let f = fixture();
    let options = BlobOptions::key("k").metadata("a", 1).metadata("b", "old").tag("t").description("d");
    f.store.put_with(options, &noise(3000)).unwrap();
    let before = f.store.get_metadata("k").unwrap().unwrap();
    let update = Metadata::from([("b".to_owned(), Value::from("new")), ("c".to_owned(), 2.5.into())]);
    assert!(f.store.update_metadata("k", &update).unwrap());
    assert!(!f.store.update_metadata("absent", &update).unwrap());
    assert!(!f.store.exists("absent").unwrap());
    let f = f.reopened();
    let after = f.store.get_metadata("k").unwrap().unwrap();
    let expected = [("a", Value::from(1)), ("b", "new".into()), ("c", 2.5.into())];
    assert_eq!(*after.metadata(), Metadata::from(expected.map(|(name, value)| (name.to_owned(), value))));
    assert_eq!((after.tags(), after.description()), (before.tags(), Some("d")));
    assert_eq!((after.created_at(), after.file_hash()), (before.created_at(), before.file_hash()));
    assert_eq!(f.store.get("k").unwrap(), Some(noise(3000)));
}

#[test]
fn updates_of_metadata_by_many_threads_are_all_kept() {
    let f = fixture();
    f.store.put_with("k", &1u8).unwrap();
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let store = f.store.clone();
            threads.spawn(move || {
                for n in 0..25 {
                    let update = Metadata::from([(format!("{thread}-{n}"), Value::from(n))]);
                    assert!(store.update_metadata("k", &update).unwrap());
                }
            });
        }
    });
    assert_eq!(f.store.get_metadata("k").unwrap().unwrap().metadata().len(), 100);
}

#[test]
fn metadata_over_the_limit_is_refused_by_key_and_limit_and_nothing_has_changed() {
    let f = fixture_with(|builder| builder.limits(Limits { max_header_bytes: 1000, ..Limits::DEFAULT }));
    f.store.put_with(BlobOptions::key("model").metadata("a", 1), &1u8).unwrap();
    let large = "x".repeat(2000);
    let update = Metadata::from([("b".to_owned(), Value::from(large.as_str()))]);
    let errors: [CacheError; 3] = [
        f.store.update_metadata("model", &update).unwrap_err(),
        f.store.put_with(BlobOptions::key("model").metadata("b", large.as_str()), &2u8).unwrap_err(),
        f.store.writer(BlobOptions::key("model").metadata("b", large.as_str())).unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_limit(), "{error:?}");
        assert!(error.to_string().contains("model") && error.to_string().contains("max_header_bytes"), "{error}");
    }
    assert_eq!(f.store.get::<u8>("model").unwrap(), Some(1));
    assert_eq!(f.store.get_metadata("model").unwrap().unwrap().metadata().len(), 1);
    assert_eq!((f.blobs().len(), f.count("staging")), (1, 0));
}

#[test]
fn a_value_over_the_limit_is_refused_and_the_old_one_stays() {
    let f = fixture_with(|builder| builder.limits(Limits { max_value_bytes: 1000, ..Limits::DEFAULT }));
    f.store.put_with("k", &noise(1000)).unwrap();
    for error in
        [f.store.put_with("k", &noise(1001)).unwrap_err(), f.store.put_with("k", &vec![0u64; 200]).unwrap_err()]
    {
        assert!(error.is_limit() && error.to_string().contains("max_value_bytes"), "{error}");
    }
    assert_eq!(f.store.get("k").unwrap(), Some(noise(1000)));
}

#[test]
fn listings_take_a_prefix_and_a_filter_and_are_in_the_order_of_keys() {
    let store = BlobStore::in_memory();
    for n in [3, 1, 2] {
        store.put_with(BlobOptions::key(format!("model_{n}")).metadata("n", n), &n).unwrap();
    }
    store.put_with(BlobOptions::key("other").metadata("n", 9), &9).unwrap();
    assert_eq!(store.list("model_").unwrap(), ["model_1", "model_2", "model_3"]);
    assert_eq!(store.list("").unwrap().len(), 4);
    assert_eq!(store.list("model%").unwrap(), [""; 0]);
    assert_eq!(store.list_matching("model_", &Field::metadata("n").ge(2)).unwrap(), ["model_2", "model_3"]);
    assert_eq!(store.list_matching("", &Field::metadata("n").gt(2)).unwrap(), ["model_3", "other"]);
    let entries = store.list_entries("o").unwrap();
    assert_eq!((entries.len(), entries[0].name(), &entries[0].metadata()["n"]), (1, Some("other"), &Value::Int(9)));
}

#[test]
fn deleting_and_clearing_take_the_files_along_and_leave_those_of_others() {
    let f = fixture();
    (0..300u32).for_each(|n| drop(f.store.put_with(format!("{n}"), &n).unwrap()));
    let foreign =
        [f.dir.path().join("notes.txt"), f.dir.path().join("blobs/notes.txt"), f.blobs()[0].with_extension("bak")];
    foreign.iter().for_each(|path| fs::write(path, "mine").unwrap());
    assert!(f.store.delete("7").unwrap());
    assert!(!f.store.delete("7").unwrap());
    assert!(!f.store.exists("7").unwrap() && f.store.exists("8").unwrap());
    assert_eq!(f.store.len().unwrap(), 299);
    assert_eq!(f.store.clear().unwrap(), 299);
    assert!(f.store.is_empty().unwrap());
    assert!(foreign.iter().all(|path| fs::read(path).unwrap() == b"mine"));
    let ours = |dir: &Path| -> usize {
        let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|end| end == "blob")).count()
    };
    let shards = fs::read_dir(f.dir.path().join("blobs")).unwrap().map(|shard| shard.unwrap().path());
    assert_eq!(shards.filter(|shard| shard.is_dir()).map(|shard| ours(&shard)).sum::<usize>(), 0);
}

#[test]
fn with_an_interval_values_are_there_after_reopening_and_a_replaced_one_is_on_the_disk_at_once() {
    let f = fixture_with(|builder| builder.durability(Durability::Interval));
    f.store.put_with("k", &1u8).unwrap();
    f.store.put_with("k", &2u8).unwrap();
    assert_eq!(f.blobs().len(), 1);
    assert_eq!(f.reopened().store.get::<u8>("k").unwrap(), Some(2));
}

#[test]
fn the_file_of_another_key_is_not_taken_for_this_ones_though_the_value_is_the_same() {
    let f = fixture();
    let one = f.blob_of(|store| drop(store.put_with("one", &7u64).unwrap()));
    let other = f.blob_of(|store| drop(store.put_with("other", &7u64).unwrap()));
    fs::copy(other, one).unwrap();
    assert!(f.store.get::<u64>("one").unwrap_err().is_integrity());
    assert_eq!(f.store.get::<u64>("other").unwrap(), Some(7));
}
