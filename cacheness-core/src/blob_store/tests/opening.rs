use super::*;
use crate::cache::Cache;

#[test]
fn a_store_that_is_open_in_this_process_is_locked_and_free_after_close_or_drop() {
    let f = fixture();
    f.store.put_with("k", &1u8).unwrap();
    let error = BlobStore::open(f.dir.path()).unwrap_err();
    let message = error.to_string();
    assert!(error.is_locked() && message.contains("this process has the blob store in"), "{message}");
    assert!(message.contains(f.dir.path().to_str().unwrap()), "{message}");
    let (writer, dir) = (f.store.writer("w").unwrap(), f.dir);
    drop(f.store);
    assert!(BlobStore::open(dir.path()).unwrap_err().is_locked(), "a writer keeps it open");
    drop(writer);
    let store = BlobStore::open(dir.path()).unwrap();
    assert_eq!(store.get::<u8>("k").unwrap(), Some(1));
    store.close().unwrap();
    assert_eq!(BlobStore::open(dir.path()).unwrap().get::<u8>("k").unwrap(), Some(1));
}

#[test]
fn after_close_every_call_says_closed_and_closing_again_is_nothing() {
    let f = fixture();
    f.store.put_with("k", &1u8).unwrap();
    let (clone, writer) = (f.store.clone(), f.store.writer("w").unwrap());
    f.store.close().unwrap();
    clone.close().unwrap();
    let calls: [fn(&BlobStore) -> Result<()>; 14] = [
        |store| store.put(&1u8).map(drop),
        |store| store.put_with("k", &1u8).map(drop),
        |store| store.get::<u8>("k").map(drop),
        |store| store.get_metadata("k").map(drop),
        |store| store.update_metadata("k", &Metadata::new()).map(drop),
        |store| store.delete("k").map(drop),
        |store| store.exists("k").map(drop),
        |store| store.list("").map(drop),
        |store| store.writer("k").map(drop),
        |store| store.reader("k").map(drop),
        |store| store.verify_integrity("k").map(drop),
        |store| store.verify(Repair::Yes).map(drop),
        |store| store.len().map(drop),
        |store| store.clear().and(store.flush()),
    ];
    for (n, call) in calls.iter().enumerate() {
        assert!(call(&clone).unwrap_err().is_closed(), "call {n}");
    }
    assert!(writer.commit().unwrap_err().is_closed());
    assert_eq!(f.reopened().store.list("").unwrap(), ["k"]);
}

#[test]
fn a_cache_does_not_take_the_directory_of_a_store_nor_a_store_that_of_a_cache() {
    let f = fixture();
    f.store.put_with("k", &1u8).unwrap();
    assert!(Cache::open(f.dir.path()).unwrap_err().is_conflict(), "said before it is locked");
    f.store.close().unwrap();
    for _ in 0..2 {
        let error = Cache::open(f.dir.path()).unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains("directory of a blob store"), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    Cache::open(dir.path()).unwrap().put("k", &1u8).unwrap();
    for _ in 0..2 {
        let error = BlobStore::open(dir.path()).unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains("directory of a cache"), "{error}");
    }
    assert_eq!(Cache::open(dir.path()).unwrap().get::<u8>("k").unwrap(), Some(1));
    assert_eq!(f.reopened().store.get::<u8>("k").unwrap(), Some(1));
}

#[test]
fn a_bad_setting_is_refused_by_name_and_makes_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("store");
    let error = BlobStore::builder().dir(&at).backend("sqlight").open().unwrap_err();
    let message = error.to_string();
    assert!(error.is_config() && ["sqlight", "sled", "memory"].iter().all(|word| message.contains(word)), "{message}");
    let error = BlobStore::builder().dir(&at).codec(crate::Codec::Lz4).level(3).open().unwrap_err();
    assert!(error.is_config() && error.to_string().contains("compression.level"), "{error}");
    let limits = crate::Limits { max_value_bytes: 0, ..crate::Limits::DEFAULT };
    let error = BlobStore::builder().dir(&at).limits(limits).open().unwrap_err();
    assert!(error.is_config() && error.to_string().contains("max_value_bytes"), "{error}");
    assert!(!at.exists());
}

#[test]
fn a_store_in_memory_writes_no_file_and_two_of_them_know_nothing_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let open = || BlobStore::builder().dir(dir.path().join("store")).backend("memory").open().unwrap();
    let (one, other) = (open(), open());
    one.put_with("k", &1u8).unwrap();
    assert_eq!((one.get::<u8>("k").unwrap(), other.get::<u8>("k").unwrap()), (Some(1), None));
    assert_eq!((one.directory(), fs::read_dir(dir.path()).unwrap().count()), (None, 0));
}

#[test]
fn a_directory_that_moved_keeps_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let store = BlobStore::open(&old).unwrap();
    write(&store, "k", &noise(300_000)).unwrap();
    drop(store);
    fs::rename(&old, &new).unwrap();
    assert_eq!(BlobStore::open(&new).unwrap().get("k").unwrap(), Some(noise(300_000)));
}

#[test]
fn without_its_index_a_store_is_read_back_from_its_blobs_streams_too() {
    let f = fixture_with(|builder| builder.content_addressable(true));
    f.store.put_with(BlobOptions::key("value").metadata("a", 1), &7u64).unwrap();
    write(&f.store, "stream", &noise(300_000)).unwrap();
    let mut writer = f.store.writer(BlobOptions::new()).unwrap();
    std::io::Write::write_all(&mut writer, b"by content").unwrap();
    let own = writer.commit().unwrap().name().unwrap().to_owned();
    let keys = f.store.list("").unwrap();
    let index = |dir: &Path| fs::remove_dir_all(dir.join("index")).unwrap();
    let f = f.reopened_after(|builder| builder.content_addressable(true), index);
    assert_eq!(f.store.list("").unwrap(), keys);
    assert_eq!(f.store.get::<u64>("value").unwrap(), Some(7));
    assert_eq!(f.store.get_metadata("value").unwrap().unwrap().metadata()["a"], 1.into());
    assert_eq!(f.store.get("stream").unwrap(), Some(noise(300_000)));
    assert_eq!(f.store.get::<Vec<u8>>(&own).unwrap().as_deref(), Some(&b"by content"[..]));
    assert!(f.store.verify(Repair::No).unwrap().is_whole());
}
