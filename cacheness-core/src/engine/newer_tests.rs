//! What a newer release wrote in a directory of this format: it is a miss, and it stays.

use std::fs;
use std::path::Path;

use super::tests::config;
use super::{Store, prepare};
use crate::blob_store::{BlobStore, Repair};
use crate::cache::Cache;
use crate::config::{CacheConfig, Limits};
use crate::entry::{self, IndexKey, sample};
use crate::error::Result;
use crate::format::{self, Rules};
use crate::index::sled::{SledIndex, SledOptions};
use crate::index::{MetadataBackend, Payload, Record, Records};
use crate::key::ToKey;
use crate::security::Signing;
use crate::storage::BlobName;
use crate::util::digest;

const VALUE: &[u8] = b"of a newer release";

/// Which part of an entry is of a newer release.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Record,
    Blob,
    /// The entry in the header of the blob, and the record.
    Entry,
}

const PARTS: [Part; 3] = [Part::Record, Part::Blob, Part::Entry];

/// Changes one byte of bytes that end with a checksum.
fn changed(bytes: &[u8], at: usize, byte: u8, sum: impl Fn(&[u8]) -> u64) -> Vec<u8> {
    let mut bytes = bytes[..bytes.len() - 8].to_vec();
    bytes[at] = byte;
    let sum = sum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Puts an entry with a blob into the closed index of a directory, a part of it in a newer layout.
fn plant(root: &Path, key: &IndexKey, part: Part) -> std::path::PathBuf {
    let name = BlobName::unique();
    let mut entry = entry::Entry { key: key.clone(), ..sample::entry("any") };
    entry.core.created_at = crate::clock::Timestamp::from_micros(1 << 50);
    (entry.core.raw_size, entry.core.stored_size) = (VALUE.len() as u64, VALUE.len() as u64);
    entry.core.checksum = digest::checksum(VALUE);
    let mut header = Vec::new();
    entry::encode(&entry, 1 << 16, &mut header).unwrap();
    if part == Part::Entry {
        header[0] = 2;
    }
    let mut blob = format::seal(&header, VALUE, Rules::unsigned(&Limits::DEFAULT)).unwrap().parts().concat();
    if part == Part::Blob {
        let end = 14 + header.len() + 8;
        let start = changed(&blob[..end], 8, 3, digest::checksum);
        blob[..end].copy_from_slice(&start);
    }
    let path = root.join("blobs").join(&name.as_str()[..2]).join(format!("{name}.blob"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, blob).unwrap();

    let record = Record::new(&entry, &Payload::Blob(name), 1 << 16, &Signing::OFF).unwrap();
    let mut bytes = record.as_bytes().to_vec();
    if part != Part::Blob {
        bytes = changed(&bytes, 0, 2, |bytes| digest::checksum_within(key.as_bytes(), bytes));
    }
    let record = Record::from_stored(key, bytes, &Signing::OFF).unwrap();
    let options = SledOptions { root: root.to_path_buf(), page_cache_bytes: 16 << 20, signing: Default::default() };
    let (index, _) = SledIndex::open(options).unwrap();
    index.put(key, &record).unwrap();
    index.close().unwrap();
    path
}

/// Lets the next opening find an index that was not closed.
fn leave_unclosed(root: &Path) {
    fs::remove_file(root.join("index.clean")).unwrap();
}

#[test]
fn an_entry_of_a_newer_release_is_a_miss_of_a_cache_that_stays_until_it_is_replaced() {
    for part in PARTS {
        let dir = tempfile::tempdir().unwrap();
        Cache::open(dir.path()).unwrap().close().unwrap();
        let blob = plant(dir.path(), &IndexKey::of(&"newer".to_key().unwrap()), part);
        for round in 0..3 {
            let cache = Cache::open(dir.path()).unwrap();
            assert_eq!(cache.get::<u8>("newer").unwrap(), None, "{part:?}");
            assert_eq!(cache.len().unwrap(), 1, "{part:?}, round {round}");
            cache.cleanup_expired().unwrap();
            cache.list_entries().for_each(|entry| drop(entry.unwrap()));
            cache.put("another", &round).unwrap();
            assert!(cache.invalidate("another").unwrap());
            cache.close().unwrap();
            leave_unclosed(dir.path());
            assert!(blob.exists(), "{part:?}, round {round}");
            assert_eq!(fs::read_dir(dir.path().join("quarantine")).unwrap().count(), 0);
        }
        let cache = Cache::open(dir.path()).unwrap();
        cache.put("newer", &7u8).unwrap();
        assert_eq!((cache.get::<u8>("newer").unwrap(), cache.len().unwrap()), (Some(7), 1), "{part:?}");
        assert_eq!(cache.clear().unwrap(), 1);
    }
}

#[test]
fn an_entry_of_a_newer_release_is_an_error_of_a_blob_store_and_verify_tells_it_apart_from_damage() {
    for part in PARTS {
        let dir = tempfile::tempdir().unwrap();
        BlobStore::open(dir.path()).unwrap().put_with("good", &1u8).unwrap();
        let blob = plant(dir.path(), &IndexKey::of_text("newer").unwrap(), part);
        for _ in 0..2 {
            let store = BlobStore::open(dir.path()).unwrap();
            let error = store.get::<u8>("newer").unwrap_err();
            assert!(error.is_conflict() && error.to_string().contains("newer release"), "{part:?}: {error}");
            let report = store.verify(Repair::Yes).unwrap();
            assert_eq!((report.checked, report.newer.len()), (2, 1), "{part:?}: {report:?}");
            assert!(report.is_whole() && blob.exists(), "{part:?}: {report:?}");
            store.close().unwrap();
            leave_unclosed(dir.path());
        }
        let store = BlobStore::open(dir.path()).unwrap();
        store.put_with("newer", &2u8).unwrap();
        assert_eq!(store.get::<u8>("newer").unwrap(), Some(2), "{part:?}");
    }
}

#[test]
fn a_blob_of_a_newer_release_outlives_the_loss_of_the_index() {
    for part in [Part::Blob, Part::Entry] {
        let dir = tempfile::tempdir().unwrap();
        Cache::open(dir.path()).unwrap().close().unwrap();
        let blob = plant(dir.path(), &IndexKey::of(&"newer".to_key().unwrap()), part);
        for _ in 0..2 {
            fs::remove_dir_all(dir.path().join("index")).unwrap();
            leave_unclosed(dir.path());
            let cache = Cache::open(dir.path()).unwrap();
            assert_eq!(cache.len().unwrap(), 0);
            cache.close().unwrap();
            assert!(blob.exists(), "{part:?}");
        }
        fs::remove_dir_all(dir.path().join("index")).unwrap();
        fs::remove_file(dir.path().join("index.clean")).unwrap();
        let files = CacheConfig::new(dir.path()).with_backend("memory").with_blob_backend("filesystem");
        assert_eq!(Cache::new(files).unwrap().len().unwrap(), 0, "nor does an index in memory take it");
        assert!(blob.exists(), "{part:?}");
    }
}

#[test]
fn a_flipped_bit_in_the_version_of_a_blob_is_damage_and_nothing_newer() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(prepare(dir.path())?, &config(dir.path()));
    let store = open()?;
    let key = IndexKey::of(&"k".to_key()?);
    store.put(
        entry::Entry { key: key.clone(), ..sample::entry("k") },
        (0..9000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>(),
        u64::MAX,
        None,
    )?;
    let mut found = store.find(&key)?.unwrap();
    let name = found.record.blob().unwrap();
    let path = dir.path().join("blobs").join(&name.as_str()[..2]).join(format!("{name}.blob"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] ^= 4;
    fs::write(&path, bytes).unwrap();
    assert!(store.load(&key, &mut found, |_| None)?.is_none());
    assert!(!path.exists(), "it is in quarantine");
    Ok(())
}
