//! What the configuration changes about a directory.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::codec::handler::Raw;
use crate::config::{CacheConfig, StoredCodec};
use crate::entry::IndexKey;
use crate::entry::sample;
use crate::key::ToKey;
use crate::util::digest;

fn open(config: &CacheConfig) -> Result<Store> {
    Store::open(prepare(&config.storage.cache_dir)?, config)
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

fn text(len: usize) -> Vec<u8> {
    (0u32..).flat_map(|n| format!("row {n}, ").into_bytes()).take(len).collect()
}

fn blob_files(root: &Path) -> Vec<PathBuf> {
    let shards = fs::read_dir(root.join("blobs")).unwrap().map(|shard| shard.unwrap().path());
    shards.flat_map(|shard| fs::read_dir(shard).unwrap().map(|file| file.unwrap().path())).collect()
}

fn flip(file: &Path, from_end: usize) {
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn without_verification_a_changed_payload_is_returned_and_a_changed_envelope_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let trusting = CacheConfig::new(dir.path())
        .with_inline_bytes(0)
        .with_verified_integrity(false)
        .with_durability(Durability::Immediate);
    let value = noise(5000);
    for (from_end, expected) in [(24 + 100, true), (24, false), (16, false), (8, false), (5000 + 24 + 20, false)] {
        let store = open(&trusting).unwrap();
        put(&store, "k", &value);
        flip(&blob_files(dir.path()).remove(0), from_end);
        let found = get(&store, "k");
        assert_eq!(found.is_some(), expected, "{from_end} bytes before the end");
        assert!(found.is_none_or(|found| found != value && found.len() == value.len()));
        store.remove(&key_of("k")).unwrap();
        store.close().unwrap();
    }
}

/// As a power cut leaves a file whose data had not been written.
#[test]
fn where_the_system_writes_the_files_a_checksum_is_verified_whatever_is_set() {
    let dir = tempfile::tempdir().unwrap();
    let config = CacheConfig::new(dir.path()).with_inline_bytes(0).with_verified_integrity(false);
    let store = open(&config.with_durability(Durability::Interval)).unwrap();
    put(&store, "k", &noise(5000));
    let file = blob_files(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len() - 100;
    bytes[end - 4000..end].fill(0);
    fs::write(&file, bytes).unwrap();
    assert_eq!(get(&store, "k"), None);
}

#[test]
fn what_is_taken_to_another_place_is_verified_in_any_case() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(
        &CacheConfig::new(dir.path())
            .with_inline_bytes(0)
            .with_verified_integrity(false)
            .with_durability(Durability::Immediate),
    )
    .unwrap();
    put(&store, "k", &noise(5000));
    flip(&blob_files(dir.path()).remove(0), 100);
    let mut found = store.find(&key_of("k")).unwrap().unwrap();
    assert_eq!(store.load_stored(&key_of("k"), &mut found).unwrap(), None);
}

#[test]
fn without_verification_bytes_that_do_not_inflate_are_a_miss_and_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    for codec in crate::Codec::ALL.iter().filter(|codec| **codec != crate::Codec::None) {
        let config = CacheConfig::new(dir.path())
            .with_inline_bytes(0)
            .with_verified_integrity(false)
            .with_durability(Durability::Immediate)
            .with_codec(*codec);
        let store = open(&config).unwrap();
        put(&store, "k", &text(200_000));
        let file = blob_files(dir.path()).remove(0);
        // The last byte of the payload belongs to the mark that ends it, or to a checksum of the codec.
        flip(&file, 25);
        let found = get(&store, "k");
        if found.is_none() {
            assert!(!file.exists(), "{codec}");
        }
        assert!(*codec != crate::Codec::Lz4 || found.is_none(), "a frame ends by four zeros");
        store.remove(&key_of("k")).unwrap();
        store.close().unwrap();
    }
}

#[test]
fn an_index_in_memory_is_made_of_the_files_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let config = CacheConfig::new(dir.path()).with_backend("memory").with_blob_backend("filesystem");
    let store = open(&config).unwrap();
    put(&store, "small", b"value");
    put(&store, "nothing", b"");
    put(&store, "large", &noise(5000));
    put(&store, "large", &noise(6000));
    put(&store, "gone", &noise(70));
    assert!(store.remove(&key_of("gone")).unwrap());
    store.flush().unwrap();
    assert_eq!(blob_files(dir.path()).len(), 3, "each value is a file, also one without any bytes");
    store.close().unwrap();
    drop(store);
    assert!(!dir.path().join("index").exists());
    let store = open(&config).unwrap();
    assert_eq!(store.index().totals().unwrap().entries, 3);
    assert_eq!(get(&store, "nothing").as_deref(), Some(&b""[..]));
    assert_eq!(get(&store, "small").as_deref(), Some(&b"value"[..]));
    assert_eq!(get(&store, "large"), Some(noise(6000)));
    assert_eq!(get(&store, "gone"), None);
    store.close().unwrap();
    drop(store);

    let on_disk = open(&CacheConfig::new(dir.path())).unwrap();
    assert_eq!(get(&on_disk, "large"), Some(noise(6000)), "an index on disk takes the files up as well");
    on_disk.close().unwrap();
    drop(on_disk);
    let error = open(&config).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("metadata.backend `sled`"), "{error}");
    assert_eq!(get(&open(&CacheConfig::new(dir.path())).unwrap(), "large"), Some(noise(6000)), "and nothing is lost");
}

#[test]
fn a_value_of_a_codec_that_is_not_compiled_in_is_an_error_and_stays() {
    let Some(absent) =
        [StoredCodec::Zstd, StoredCodec::Gzip].into_iter().find(|codec| codec.check_available().is_err())
    else {
        return;
    };
    let store = Store::in_memory(&CacheConfig::in_memory());
    put(&store, "k", b"compressed elsewhere");
    let mut found = store.find(&key_of("k")).unwrap().unwrap();
    found.core.codec = absent;
    let error = store.load(&key_of("k"), &mut found, |_| None).unwrap_err();
    assert!(error.is_compression() && error.to_string().contains("needs the cargo feature"), "{error}");
    assert!(store.find(&key_of("k")).unwrap().is_some());
}
