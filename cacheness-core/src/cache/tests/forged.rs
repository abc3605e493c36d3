//! Records that somebody without the key wrote into the index, with every checksum right.

use std::path::Path;

use super::*;
use crate::blob_store::{BlobOptions, BlobStore};
use crate::clock::Timestamp;
use crate::entry::{self, sample};
use crate::index::{Payload, Record};
use crate::security::{Signing, SigningKey};
use crate::storage::BlobName;
use crate::util::digest;

fn signed(dir: &Path) -> CacheConfig {
    CacheConfig::new(dir).with_signing_key(SigningKey::from_bytes([1; 32])).with_inline_bytes(0)
}

/// As a process without the library does it: the records go straight into the closed database.
fn write(dir: &Path, key: &IndexKey, record: &[u8]) {
    let db = sled::open(dir.join("index")).unwrap();
    db.open_tree("entries").unwrap().insert(key.as_bytes(), record).unwrap();
    db.flush().unwrap();
    drop(db);
    fs::remove_file(dir.join("index.clean")).unwrap();
}

fn forged(key: &str, created_at: Timestamp, stored_size: u64, blob: BlobName) -> (IndexKey, Record) {
    let mut entry = sample::entry(key);
    (entry.core.created_at, entry.core.expires_at, entry.core.stored_size) = (created_at, None, stored_size);
    let record = Record::new(&entry, &Payload::Blob(blob), 1 << 16, &Signing::OFF).unwrap();
    (entry.key, record)
}

fn with_one_good_entry(dir: &Path) {
    let cache = Cache::new(signed(dir)).unwrap();
    cache.put("good", &vec![7u8; 5000]).unwrap();
    cache.close().unwrap();
}

fn name_of_the_blob(dir: &Path) -> BlobName {
    let shard = fs::read_dir(dir.join("blobs")).unwrap().next().unwrap().unwrap().path();
    let file = fs::read_dir(shard).unwrap().next().unwrap().unwrap().path();
    let digits: String = file.file_stem().unwrap().to_string_lossy().into_owned();
    BlobName::parse(&digits).unwrap()
}

#[test]
fn a_forged_size_makes_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    with_one_good_entry(dir.path());
    let (key, record) = forged("forged", Timestamp::from_micros(1), u64::MAX, BlobName::unique());
    write(dir.path(), &key, record.as_bytes());
    let opened = std::panic::catch_unwind(|| Cache::new(signed(dir.path())).map(|cache| cache.get::<Vec<u8>>("good")));
    assert!(opened.is_ok(), "opening panics");
}

#[test]
fn a_forged_size_makes_no_believed_entry_go() {
    let dir = tempfile::tempdir().unwrap();
    with_one_good_entry(dir.path());
    let (key, record) = forged("forged", Timestamp::from_micros(1 << 60), 1 << 60, BlobName::unique());
    write(dir.path(), &key, record.as_bytes());
    let cache = Cache::new(signed(dir.path())).unwrap();
    cache.put("another", &1u8).unwrap();
    assert!(cache.exists("good").unwrap(), "a record without a blob pushed it out");
}

#[test]
fn a_forged_record_without_sizes_and_times_can_be_evicted() {
    let dir = tempfile::tempdir().unwrap();
    with_one_good_entry(dir.path());
    let key = sample::entry("forged").key;
    let mut record = vec![9u8; 1 << 20];
    let sum = digest::checksum_within(key.as_bytes(), &record);
    record.extend_from_slice(&sum.to_le_bytes());
    write(dir.path(), &key, &record);
    let cache = Cache::new(signed(dir.path()).with_max_size_mb(1)).unwrap();
    cache.put("another", &1u8).unwrap();
    let stats = cache.get_stats().unwrap();
    assert!(stats.size_bytes <= 1 << 20, "over its limit for ever: {stats:?}");
}

#[test]
fn a_forged_record_that_names_the_file_of_another_entry_does_not_take_it_along() {
    let dir = tempfile::tempdir().unwrap();
    with_one_good_entry(dir.path());
    let (key, record) = forged("forged", Timestamp::from_micros(1), 5000, name_of_the_blob(dir.path()));
    write(dir.path(), &key, record.as_bytes());
    let cache = Cache::new(signed(dir.path())).unwrap();
    assert_eq!(cache.get::<Vec<u8>>("good").unwrap(), Some(vec![7u8; 5000]));
    cache.put("forged", &1u8).unwrap();
    cache.flush().unwrap();
    cache.close().unwrap();
    let cache = Cache::new(signed(dir.path())).unwrap();
    assert!(cache.get::<Vec<u8>>("good").unwrap().is_some(), "its file went with what took the place of the forgery");
}

#[test]
fn a_forged_record_in_a_blob_store_does_not_take_the_blob_of_another_along() {
    let dir = tempfile::tempdir().unwrap();
    let security = signed(dir.path()).security;
    let open = || BlobStore::builder().dir(dir.path()).security(security.clone()).open().unwrap();
    let store = open();
    store.put_with(BlobOptions::key("good"), &vec![7u8; 5000]).unwrap();
    store.close().unwrap();
    let (_, record) = forged("forged", Timestamp::from_micros(1), 5000, name_of_the_blob(dir.path()));
    write(dir.path(), &sample::entry("forged").key, record.as_bytes());
    let store = open();
    assert!(store.delete("forged").unwrap());
    store.close().unwrap();
    let store = open();
    assert_eq!(store.get::<Vec<u8>>("good").map_err(|error| error.to_string()), Ok(Some(vec![7u8; 5000])));
}

#[test]
fn what_is_not_believed_is_decoded_no_further_than_its_sizes() {
    let dir = tempfile::tempdir().unwrap();
    with_one_good_entry(dir.path());
    let mut entry = sample::entry("forged");
    entry.core.created_at = Timestamp::from_micros(i64::MIN);
    let mut header = Vec::new();
    entry::encode(&entry, 1 << 16, &mut header).unwrap();
    let record = Record::new(&entry, &Payload::Inline(b"x"), 1 << 16, &Signing::OFF).unwrap();
    write(dir.path(), &entry.key, record.as_bytes());
    let cache = Cache::new(signed(dir.path())).unwrap();
    assert_eq!(cache.len().unwrap(), 2);
    cache.get_stats().unwrap();
    cache.cleanup_expired().unwrap();
    assert_eq!(cache.list_entries().count(), 1);
    assert!(cache.get_entry(&entry.key.to_string()).unwrap().is_none());
    assert_eq!(cache.clear().unwrap(), 2);
    assert_eq!(cache.len().unwrap(), 0);
}
