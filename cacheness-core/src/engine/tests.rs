use std::fs;
use std::path::{Path, PathBuf};

use super::manifest::Kind;
use super::*;
use crate::codec::handler::Raw;
use crate::config::{CacheConfig, SecondProcess};
use crate::entry::IndexKey;
use crate::entry::sample;
use crate::index::backend::{Change, Expected, Facts};
use crate::index::sled::{SledIndex, SledOptions};
use crate::index::{Call, MemoryMetadata, MetadataBackend, Payload, Record, Records, Watched};
use crate::key::ToKey;
use crate::util::digest;

pub(super) fn config(dir: &Path) -> CacheConfig {
    CacheConfig::new(dir).with_inline_bytes(100)
}

fn open(dir: &Path) -> Store {
    let root = prepare(dir).unwrap();
    Store::open(root.clone(), &config(dir)).unwrap()
}

fn key_of(key: &str) -> IndexKey {
    IndexKey::of(&key.to_key().unwrap())
}

fn put(store: &Store, key: &str, value: &[u8]) {
    store.put(sample::entry(key), value, u64::MAX, None).unwrap();
}

fn get(store: &Store, key: &str) -> Option<Vec<u8>> {
    let mut found = store.find(&key_of(key)).unwrap()?;
    loaded(store.load(&key_of(key), &mut found, |_| None).unwrap())
}

fn loaded(raw: Option<Raw>) -> Option<Vec<u8>> {
    raw.map(|raw| match raw {
        Raw::Bytes(bytes) => bytes,
        other => panic!("{other:?}"),
    })
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| digest::checksum(&n.to_le_bytes()) as u8).collect()
}

fn blob_files(root: &Path) -> Vec<PathBuf> {
    let shards = fs::read_dir(root.join("blobs")).unwrap().map(|shard| shard.unwrap().path());
    shards.flat_map(|shard| fs::read_dir(shard).unwrap().map(|file| file.unwrap().path())).collect()
}

#[test]
fn small_and_large_values_survive_a_close_and_their_files_go_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let large = noise(300_000);
    let store = open(dir.path());
    put(&store, "small", b"value");
    put(&store, "large", &large);
    put(&store, "zeros", &vec![0; 200_000]);
    assert_eq!(blob_files(dir.path()).len(), 2, "a small value has no file");
    store.close().unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(get(&store, "small").as_deref(), Some(&b"value"[..]));
    assert_eq!(get(&store, "large"), Some(large));
    assert_eq!(get(&store, "zeros"), Some(vec![0; 200_000]));
    put(&store, "large", &noise(200_000));
    store.flush().unwrap();
    assert_eq!(blob_files(dir.path()).len(), 2, "the replaced file is gone");
    assert!(store.remove(&key_of("large")).unwrap());
    assert!(store.remove(&key_of("zeros")).unwrap());
    assert!(!store.remove(&key_of("zeros")).unwrap());
    assert!(blob_files(dir.path()).is_empty());
    assert_eq!(get(&store, "large"), None);
}

#[test]
fn a_value_whose_fence_could_not_be_seen_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "k", b"newer");
    let out_of_reach = Fence::of(Err(CacheError::new(ErrorKind::Unavailable, "the server does not answer")));
    for len in [4, 300_000] {
        assert!(!store.put(sample::entry("k"), &noise(len)[..], u64::MAX, Some(&out_of_reach)).unwrap());
        assert_eq!(get(&store, "k").as_deref(), Some(&b"newer"[..]));
    }
    assert!(blob_files(dir.path()).is_empty());
    let seen = store.fence(&key_of("k"));
    assert!(store.put(sample::entry("k"), &b"late"[..], u64::MAX, Some(&seen)).unwrap());
    assert!(!store.put(sample::entry("k"), &b"later"[..], u64::MAX, Some(&seen)).unwrap());
    assert_eq!(get(&store, "k").as_deref(), Some(&b"late"[..]));
}

#[test]
fn a_directory_that_moved_keeps_its_entries() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let store = open(&old);
    put(&store, "large", &noise(5000));
    store.close().unwrap();
    fs::rename(&old, &new).unwrap();
    assert_eq!(get(&open(&new), "large"), Some(noise(5000)));
}

#[test]
fn without_its_index_a_directory_is_read_back_from_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "large", &noise(5000));
    put(&store, "small", b"value");
    store.close().unwrap();
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let store = open(dir.path());
    assert_eq!(get(&store, "large"), Some(noise(5000)));
    assert_eq!(get(&store, "small"), None, "it lay in the index");
}

#[test]
fn a_blob_that_no_record_names_goes_and_a_foreign_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "large", &noise(5000));
    let orphan = blob_files(dir.path()).remove(0);
    let bytes = fs::read(&orphan).unwrap();
    store.remove(&key_of("large")).unwrap();
    store.close().unwrap();
    drop(store);
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, bytes).unwrap();
    fs::write(dir.path().join("blobs/readme.txt"), "mine").unwrap();
    fs::remove_file(dir.path().join("index.clean")).unwrap();
    let store = open(dir.path());
    assert!(!orphan.exists());
    assert_eq!(get(&store, "large"), None);
    assert_eq!(fs::read(dir.path().join("blobs/readme.txt")).unwrap(), b"mine");
}

#[test]
fn a_damaged_blob_is_a_miss_and_set_aside_and_the_next_put_works() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "large", &noise(5000));
    let file = blob_files(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[2000] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(get(&store, "large"), None);
    assert!(!file.exists());
    assert_eq!(fs::read_dir(dir.path().join("quarantine")).unwrap().count(), 1);
    assert_eq!(store.index().totals().unwrap().entries, 0);
    put(&store, "large", &noise(5000));
    assert_eq!(get(&store, "large"), Some(noise(5000)));
}

#[test]
fn two_blobs_that_changed_places_are_misses() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "one", &noise(5000));
    let one = blob_files(dir.path()).remove(0);
    put(&store, "two", &noise(6000));
    let two = blob_files(dir.path()).into_iter().find(|file| *file != one).unwrap();
    let (first, second) = (fs::read(&one).unwrap(), fs::read(&two).unwrap());
    fs::write(&one, second).unwrap();
    fs::write(&two, first).unwrap();
    assert_eq!((get(&store, "one"), get(&store, "two")), (None, None));
}

#[test]
fn a_damaged_record_is_absent_in_a_cache_and_an_error_of_a_blob_store_where_it_stays() {
    for (kind, absent) in [(Kind::Cache, true), (Kind::BlobStore, false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(super::Home::prepare(kind, dir.path()).unwrap(), &config(dir.path())).unwrap();
        let rows = Arc::new(MemoryMetadata::new());
        store.index = Arc::new(Index::new(Arc::clone(&rows) as Arc<dyn MetadataBackend>, Arc::default(), None));
        put(&store, "k", b"value");
        let (key, facts) = (key_of("k"), Facts::default());
        let rot = Change { key: key.as_bytes(), expected: Expected::Anything, row: Some((b"rot", &facts)) };
        assert!(rows.apply(&[rot]).unwrap()[0].made);
        let found = store.find(&key).map(|found| found.is_some());
        assert!(if absent { matches!(found, Ok(false)) } else { found.unwrap_err().is_integrity() }, "{kind:?}");
        assert_eq!(store.index.totals().unwrap().entries, u64::from(!absent), "{kind:?}");
    }
}

/// The reader has looked up the record when the writer replaces the value and removes the old file.
#[test]
fn a_reader_overtaken_by_a_put_gets_the_new_value_and_never_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "k", &noise(5000));
    let mut found = store.find(&key_of("k")).unwrap().unwrap();
    put(&store, "k", &noise(7000));
    store.flush().unwrap();
    assert_eq!(loaded(store.load(&key_of("k"), &mut found, |_| None).unwrap()), Some(noise(7000)));
    assert_eq!(found.core.raw_size, 7000);
}

#[test]
fn a_second_store_on_the_directory_is_refused_until_the_first_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (root, alone) = (prepare(dir.path()).unwrap(), config(dir.path()).with_second_process(SecondProcess::Refuse));
    assert!(Store::open(root.clone(), &alone).unwrap_err().is_locked());
    store.close().unwrap();
    assert!(Store::open(root.clone(), &alone).is_ok());
}

/// The program ended while the blobs were being taken up again.
#[test]
fn a_recovery_that_was_interrupted_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "large", &noise(5000));
    store.close().unwrap();
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let options = SledOptions {
        root: dir.path().canonicalize().unwrap(),
        page_cache_bytes: 16 << 20,
        signing: Default::default(),
    };
    drop(SledIndex::open(options).unwrap());
    let store = open(dir.path());
    assert_eq!(get(&store, "large"), Some(noise(5000)));
}

#[test]
fn a_small_value_costs_one_write_of_the_index_and_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let (index, values) = (tempfile::tempdir().unwrap(), config(dir.path()));
    let options = SledOptions {
        root: prepare(index.path()).unwrap().root().to_path_buf(),
        page_cache_bytes: 16 << 20,
        signing: Default::default(),
    };
    let (index, _) = SledIndex::open(options).unwrap();
    let (index, mut store) = (Arc::new(index), Store::open(prepare(dir.path()).unwrap(), &values).unwrap());
    store.index = Arc::new(Index::new(Arc::clone(&index) as Arc<dyn MetadataBackend>, Arc::default(), None));
    let mut writes = index.watch();
    // Different ones: sled writes nothing where nothing changes.
    (5..=7).for_each(|n| put(&store, "k", &[n; 90]));
    let seen = std::iter::from_fn(|| writes.next_timeout(std::time::Duration::from_millis(1)).ok());
    assert_eq!(seen.count(), 3, "of three puts");
    assert!(blob_files(dir.path()).is_empty());
    assert_eq!(get(&store, "k"), Some(vec![7; 90]));
    put(&store, "k", &noise(300));
    assert_eq!(blob_files(dir.path()).len(), 1, "a larger one has a file");
}

#[test]
fn a_value_that_is_put_while_one_that_is_not_believed_is_removed_stays() {
    use crate::security::{Signing, SigningKey};
    use std::sync::OnceLock;

    let signing = Signing::with(SigningKey::from_bytes([1; 32]), []).keeping_distrusted(false);
    let entry = sample::entry("key");
    let unsigned = Record::new(&entry, &Payload::Inline(b"theirs"), 1 << 16, &Signing::OFF).unwrap();
    let theirs = Record::from_stored(&entry.key, unsigned.as_bytes().to_vec(), &signing).unwrap();
    let ours = Record::new(&entry, &Payload::Inline(b"ours"), 1 << 16, &signing).unwrap();

    // Another thread puts between the look and the removal.
    let (other, key, put) = (Arc::new(OnceLock::<Arc<Watched>>::new()), entry.key.clone(), ours.clone());
    let threads = Arc::clone(&other);
    let index = Arc::new(Watched::new(move |call| match (call, threads.get()) {
        (Call::Removal, Some(index)) => index.put(&key, &put).map(drop),
        _ => Ok(()),
    }));
    index.put(&entry.key, &theirs).unwrap();
    other.set(Arc::clone(&index)).unwrap();
    let mut store = Store::of_parts(
        index.clone(),
        Arc::new(crate::storage::blob::MemoryBlobs::new()),
        &CacheConfig::in_memory().with_memory_cache(false),
    );
    let signing = Arc::new(signing);
    store.index = Arc::new(Index::new(index, Arc::clone(&signing), None));
    store.settings.signing = signing;
    assert!(store.find(&entry.key).unwrap().is_none());
    assert_eq!(store.index.get(&entry.key).unwrap(), Some(ours), "what was put meanwhile is believed");
}
