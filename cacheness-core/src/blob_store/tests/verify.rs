use crate::engine::Store;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::open::References;
use super::*;
use crate::config::{CacheConfig, Durability};
use crate::index::Records;
use crate::index::sled::{SledIndex, SledOptions};
use crate::storage::BlobName;
use crate::storage::blob::FilesystemBlobs;
use crate::storage::vfs::RealVfs;

#[test]
fn the_report_of_a_key_has_the_hash_that_must_be_and_the_one_that_is() {
    let f = fixture();
    let bytes = noise(300_000);
    let stream = f.blob_of(|store| drop(write(store, "stream", &bytes).unwrap()));
    let value = f.blob_of(|store| drop(store.put_with("value", &vec![1.5f64; 5000]).unwrap()));
    for (key, file) in [("stream", stream), ("value", value)] {
        let expected = f.store.get_metadata(key).unwrap().unwrap().file_hash();
        let report = || f.store.verify_integrity(key).unwrap().unwrap();
        let good = IntegrityReport { valid: true, expected_hash: expected, actual_hash: Some(expected), damage: None };
        assert_eq!(report(), good);
        let (whole, middle) = (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().len() as usize - 40);
        change(&file, |bytes| bytes[middle] ^= 1);
        let damaged = report();
        assert!(!damaged.valid && damaged.damage.is_some());
        assert!(damaged.expected_hash == expected && damaged.actual_hash.is_some_and(|actual| actual != expected));
        fs::write(&file, &whole).unwrap();
        change(&file, |bytes| bytes[20] ^= 1);
        let header = report();
        assert!(!header.valid && header.damage.unwrap().contains("header"));
        assert_eq!(header.actual_hash, Some(expected), "the bytes themselves are as they were");
        fs::remove_file(&file).unwrap();
        let gone = report();
        assert_eq!((gone.valid, gone.actual_hash), (false, None));
        assert!(gone.damage.unwrap().contains("gone"));
    }
    assert_eq!(f.store.verify_integrity("absent").unwrap(), None);
}

/// A store with every kind of damage, and what is found of it.
fn damaged() -> (Fixture, VerifyReport) {
    let f = fixture();
    for n in 0..300u32 {
        f.store.put_with(format!("good {n:03}"), &n).unwrap();
    }
    let flipped = f.blob_of(|store| drop(write(store, "flipped", &noise(300_000)).unwrap()));
    change(&flipped, |bytes| bytes[200_000] ^= 4);
    let cut = f.blob_of(|store| drop(store.put_with("cut", &noise(5000)).unwrap()));
    change(&cut, |bytes| bytes.truncate(1000));
    let gone = f.blob_of(|store| drop(store.put_with("gone", &noise(5000)).unwrap()));
    fs::remove_file(gone).unwrap();
    let name = BlobName::unique();
    let shard = f.dir.path().join("blobs").join(&name.as_str()[..2]);
    fs::create_dir_all(&shard).unwrap();
    fs::copy(&cut, shard.join(format!("{name}.blob"))).unwrap();
    let report = VerifyReport {
        lost: 0,
        newer: vec![],
        checked: 303,
        damaged: vec!["cut".to_owned(), "flipped".to_owned()],
        missing: vec!["gone".to_owned()],
        unreferenced: vec![name],
    };
    (f, report)
}

#[test]
fn verify_finds_damaged_missing_and_unreferenced_blobs_and_without_repair_leaves_all_as_it_is() {
    let (f, expected) = damaged();
    let files = f.blobs().len();
    for _ in 0..2 {
        assert_eq!(f.store.verify(Repair::No).unwrap(), expected);
    }
    assert!(!expected.is_whole());
    assert_eq!((f.blobs().len(), f.store.len().unwrap(), f.count("quarantine")), (files, 303, 0));
}

#[test]
fn repair_sets_damaged_blobs_aside_removes_what_leads_nowhere_and_touches_nothing_of_others() {
    let (f, expected) = damaged();
    let root = f.dir.path();
    let shard = f.blobs()[0].parent().unwrap().to_owned();
    let foreign = [
        root.join("readme.txt"),
        root.join("blobs/readme.txt"),
        root.join("staging/x.part"),
        root.join("quarantine/mine"),
        shard.join("mine.blob"),
        shard.join(format!("{}.bak", BlobName::unique())),
    ];
    foreign.iter().for_each(|path| fs::write(path, "mine").unwrap());
    assert_eq!(f.store.verify(Repair::Yes).unwrap(), expected);
    let again = f.store.verify(Repair::Yes).unwrap();
    assert_eq!(again, VerifyReport { checked: 300, ..VerifyReport::default() });
    assert!(foreign.iter().all(|path| fs::read(path).unwrap() == b"mine"));
    assert_eq!(f.count("quarantine"), 3, "two damaged blobs beside the foreign file");
    assert_eq!(f.store.get::<Vec<u8>>("flipped").unwrap(), None);
    let f = f.reopened();
    assert_eq!(f.store.len().unwrap(), 300);
    assert!((0..300u32).all(|n| f.store.get::<u32>(&format!("good {n:03}")).unwrap() == Some(n)));
}

#[test]
fn a_store_in_memory_is_verified_too() {
    let store = BlobStore::in_memory();
    store.put_with("k", &noise(5000)).unwrap();
    assert_eq!(store.verify(Repair::Yes).unwrap(), VerifyReport { checked: 1, ..VerifyReport::default() });
    assert!(store.exists("k").unwrap());
}

#[test]
fn a_repair_while_others_put_and_delete_takes_nothing_from_them() {
    for content_addressable in [false, true] {
        let f = fixture_with(|builder| builder.content_addressable(content_addressable));
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let working: Vec<_> = (0..3)
                .map(|thread| {
                    let store = f.store.clone();
                    threads.spawn(move || {
                        for round in 0..40 {
                            let (key, value) = (format!("{thread}-{}", round % 4), noise(2000 + round % 3));
                            match round % 3 {
                                0 => drop(write(&store, &key, &value).unwrap()),
                                _ => drop(store.put_with(key.as_str(), &value).unwrap()),
                            }
                            if round % 7 == 0 {
                                store.delete(&key).unwrap();
                            }
                        }
                    })
                })
                .collect();
            let done = &done;
            let verifying = threads.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let report = f.store.verify(Repair::Yes).unwrap();
                    assert!(report.is_whole(), "{report:?}");
                }
            });
            working.into_iter().for_each(|thread| thread.join().unwrap());
            done.store(true, Ordering::SeqCst);
            verifying.join().unwrap();
        });
        assert_eq!(f.store.len().unwrap(), 12);
        let report = f.store.verify(Repair::No).unwrap();
        assert!(report.is_whole() && report.checked == 12 && report.unreferenced.is_empty(), "{report:?}");
    }
}

/// The store in a directory, with a hold on its index.
fn breakable(dir: &Path, shares: bool) -> (BlobStore, Arc<SledIndex>) {
    // Makes what lies beside the index.
    BlobStore::open(dir).unwrap().close().unwrap();
    let root = dir.canonicalize().unwrap();
    let blobs = FilesystemBlobs::open(Arc::new(RealVfs::new()), &root).unwrap();
    let options = SledOptions { root, page_cache_bytes: 16 << 20, signing: Default::default() };
    let index = Arc::new(SledIndex::open(options).unwrap().0);
    index.begin_use(true).unwrap();
    let config = CacheConfig::in_memory().with_inline_bytes(0).with_durability(Durability::Immediate);
    let store = Store::of_parts(index.clone(), Arc::new(blobs), &config);
    let references = References::of(store.index()).unwrap();
    (BlobStore::over(Arc::new(Engine::new(store, references, shares))), index)
}

#[test]
fn a_repair_leaves_blobs_whose_records_the_index_lost_and_the_next_opening_takes_them_up() {
    let dir = tempfile::tempdir().unwrap();
    let (store, index) = breakable(dir.path(), false);
    store.put_with("lost", &noise(5000)).unwrap();
    store.put_with("kept", &noise(6000)).unwrap();
    index.break_down(&IndexKey::of_text("lost").unwrap());
    assert_eq!(store.list("").unwrap(), ["kept"]);
    let report = store.verify(Repair::Yes).unwrap();
    assert_eq!((report.checked, report.unreferenced.len()), (1, 1));
    store.close().unwrap();
    drop((store, index));
    let store = BlobStore::open(dir.path()).unwrap();
    assert_eq!(store.list("").unwrap(), ["kept", "lost"]);
    assert_eq!(store.get("lost").unwrap(), Some(noise(5000)));
    assert!(store.verify(Repair::Yes).unwrap().unreferenced.is_empty());
}

/// The database gives back a record that was removed before it broke.
#[test]
fn references_are_counted_again_when_the_index_was_rebuilt() {
    let removals: [fn(&BlobStore); 2] =
        [|store| assert!(store.delete("b").unwrap()), |store| drop(store.put_with("b", &1u8).unwrap())];
    for remove_b in removals {
        let dir = tempfile::tempdir().unwrap();
        let (store, index) = breakable(dir.path(), true);
        ["a", "b"].iter().for_each(|key| drop(store.put_with(*key, &noise(5000)).unwrap()));
        store.put_with("lost", &noise(6000)).unwrap();
        let key = |name| IndexKey::of_text(name).unwrap();
        let removed = index.record(&key("a")).unwrap().unwrap();
        assert!(store.delete("a").unwrap());
        index.put(&key("a"), &removed).unwrap();
        index.break_down(&key("lost"));
        assert_eq!(store.list("").unwrap(), ["a", "b"]);
        remove_b(&store);
        assert_eq!(store.get("a").unwrap(), Some(noise(5000)), "it is an entry again, and has its blob");
    }
}
