//! Somebody who can write to the directory and has no key. The strongest tool for that is this library itself, with
//! another key or with none: what it writes has every checksum right.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use cacheness::blob::Repair;
use cacheness::config::{Codec, Durability, InvalidEntries, SigningKey, UnsignedEntries};
use cacheness::{BlobOptions, BlobStore, Cache, CacheConfig, Entry, PutOptions};
use cacheness_tests::{copy_cache, files_below, scratch};
use serde::{Deserialize, Deserializer, Serialize};

thread_local! {
    /// Other tests decode values of their own meanwhile.
    static DECODED: Cell<usize> = const { Cell::new(0) };
}

/// A value that notices being decoded, and is made of its key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Secret(Vec<u8>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.set(DECODED.get() + 1);
        Vec::deserialize(deserializer).map(Self)
    }
}

pub(super) const KEYS: u8 = 4;

/// Even keys have a small value, inside the index, odd ones a file.
pub(super) fn right(key: u8) -> Secret {
    Secret(vec![key; if key.is_multiple_of(2) { 100 } else { 20_000 }])
}

pub(super) fn wrong(key: u8) -> Secret {
    Secret(vec![200 + key; if key.is_multiple_of(2) { 100 } else { 20_000 }])
}

fn ours() -> SigningKey {
    SigningKey::from_bytes([1; 32])
}

fn theirs() -> SigningKey {
    SigningKey::from_bytes([2; 32])
}

pub(super) fn unsigned(dir: &Path) -> CacheConfig {
    CacheConfig::new(dir).with_codec(Codec::None).with_memory_cache(false)
}

pub(super) fn signed(dir: &Path) -> CacheConfig {
    unsigned(dir).with_signing_key(ours())
}

pub(super) fn with_other_key(dir: &Path) -> CacheConfig {
    unsigned(dir).with_signing_key(theirs())
}

pub(super) fn put_all(config: CacheConfig, value: fn(u8) -> Secret) {
    let cache = Cache::new(config).unwrap();
    (0..KEYS).for_each(|key| drop(cache.put(key, &value(key)).unwrap()));
    cache.close().unwrap();
}

/// A closed directory with signed entries.
pub(super) fn directory() -> tempfile::TempDir {
    let dir = scratch();
    put_all(signed(dir.path()), right);
    dir
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = scratch();
    copy_cache(dir, copy.path()).unwrap();
    copy
}

/// What is returned is what was put, and the cache works. Returns how many hits there were.
fn hits(dir: &Path) -> usize {
    let cache = Cache::new(signed(dir)).unwrap();
    let mut hits = 0;
    for key in 0..KEYS {
        if let Some(found) = cache.get::<Secret>(key).unwrap() {
            assert_eq!(found, right(key), "a forged value of key {key}");
            hits += 1;
        }
    }
    let listed: Vec<Entry> = cache.list_entries().collect::<Result<_, _>>().unwrap();
    assert!(listed.iter().all(|entry| entry.entry_signature().is_some() && entry.description().is_none()));
    cache.put("after", &right(0)).unwrap();
    assert_eq!(cache.get::<Secret>("after").unwrap(), Some(right(0)));
    cache.close().unwrap();
    hits
}

pub(super) fn blobs(dir: &Path) -> Vec<PathBuf> {
    files_below(&dir.join("blobs")).unwrap()
}

/// Not written in place: the file may be shared with the original.
fn replace(file: &Path, bytes: &[u8]) {
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}

#[test]
fn nothing_that_was_written_without_the_key_is_returned_or_decoded() {
    let untouched = directory();
    assert_eq!(hits(untouched.path()), usize::from(KEYS), "without an attack everything is there");

    type Attack = fn(&Path);
    let attacks: [(&str, usize, Attack); 9] = [
        ("values of one's own, unsigned", 0, |dir| put_all(unsigned(dir), wrong)),
        ("values of one's own, signed with another key", 0, |dir| put_all(with_other_key(dir), wrong)),
        ("the right values, unsigned", 0, |dir| put_all(unsigned(dir), right)),
        ("one entry copied to the key of another", 3, |dir| {
            let cache = Cache::new(unsigned(dir)).unwrap();
            assert!(cache.copy(1u8, 3u8).unwrap());
        }),
        ("an entry that is touched, so that it lives for ever", 3, |dir| {
            let cache = Cache::new(unsigned(dir)).unwrap();
            assert!(cache.touch(0u8).unwrap());
        }),
        ("two files changed one for the other", 2, |dir| {
            let [one, other] = <[PathBuf; 2]>::try_from(blobs(dir)).unwrap();
            let (first, second) = (fs::read(&one).unwrap(), fs::read(&other).unwrap());
            replace(&one, &second);
            replace(&other, &first);
        }),
        ("the files of another directory, in the place of these", 2, |dir| {
            let other = scratch();
            put_all(with_other_key(other.path()), right);
            for (ours, theirs) in blobs(dir).iter().zip(blobs(other.path())) {
                replace(ours, &fs::read(theirs).unwrap());
            }
        }),
        ("an index lost, and files by somebody else to make it anew of", 0, |dir| {
            put_all(unsigned(dir).with_inline_bytes(0), wrong);
            fs::remove_dir_all(dir.join("index")).unwrap();
            fs::remove_file(dir.join("index.clean")).unwrap();
        }),
        ("the note that the directory is signed removed", 4, lose_the_manifest),
    ];
    for (attack, left, change) in attacks {
        for invalid in [InvalidEntries::Keep, InvalidEntries::Remove] {
            let dir = copy_of(untouched.path());
            change(dir.path());
            DECODED.set(0);
            let cache = Cache::new(signed(dir.path()).with_invalid_entries(invalid)).unwrap();
            let found = (0..KEYS).filter(|key| cache.get::<Secret>(*key).unwrap().is_some()).count();
            assert_eq!((found, DECODED.get()), (left, left), "{attack}, {invalid:?}");
            cache.close().unwrap();
            assert_eq!(hits(dir.path()), left, "{attack}");
        }
    }
}

/// Where bytes of a file that is closed are changed at random, and its checksums are put right by who has no key: see the
/// tests of the formats inside the engine. Here the files as they are, byte by byte.
#[test]
fn no_changed_byte_of_a_signed_file_is_believed() {
    let untouched = directory();
    let file = blobs(untouched.path()).remove(0);
    let (name, bytes) = (file.strip_prefix(untouched.path()).unwrap(), fs::read(&file).unwrap());
    for at in (0..bytes.len()).step_by(61) {
        let dir = copy_of(untouched.path());
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        replace(&dir.path().join(name), &changed);
        let unverified = signed(dir.path()).with_verified_integrity(false).with_durability(Durability::Immediate);
        let cache = Cache::new(unverified).unwrap();
        let found = (0..KEYS).filter_map(|key| cache.get::<Secret>(key).unwrap().map(|found| (key, found)));
        let found: Vec<_> = found.collect();
        assert!(found.iter().all(|(key, found)| *found == right(*key)), "byte {at}");
        assert_eq!(found.len(), usize::from(KEYS) - 1, "byte {at}: signatures are looked at, whatever checksums are");
        cache.close().unwrap();
    }
}

#[test]
fn entries_that_are_not_believed_make_room_and_expire_as_others_do() {
    let dir = scratch();
    let noise = |seed: u64| cacheness_tests::value_of(seed * 10).into_iter().cycle().take(200_000).collect::<Vec<u8>>();
    let small = |config: CacheConfig| Cache::new(config.with_max_size_mb(1)).unwrap();
    let other = small(with_other_key(dir.path()));
    (0..4u64).for_each(|n| drop(other.put(n, &noise(n)).unwrap()));
    other.close().unwrap();
    let cache = small(signed(dir.path()));
    (10..14u64).for_each(|n| drop(cache.put(n, &noise(n)).unwrap()));
    let stats = cache.get_stats().unwrap();
    assert!(stats.evictions >= 3 && stats.size_bytes <= 1 << 20, "{stats:?}");
    assert!((11..14u64).all(|n| cache.exists(n).unwrap()), "the oldest went first");
    cache.clear().unwrap();
    assert_eq!((cache.len().unwrap(), blobs(dir.path()).len()), (0, 0), "clearing takes them along");
}

// Entries without a signature were taken although signing was on.
#[test]
fn unsigned_entries_are_believed_only_while_that_is_accepted() {
    let dir = scratch();
    put_all(unsigned(dir.path()), right);
    let found = |config: CacheConfig| {
        let cache = Cache::new(config).unwrap();
        (0..KEYS).filter(|n| cache.get::<Secret>(*n).unwrap() == Some(right(*n))).count()
    };
    assert_eq!(found(signed(dir.path())), 0);
    assert_eq!(found(signed(dir.path()).with_unsigned_entries(UnsignedEntries::Accept)), 4);
    put_all(with_other_key(dir.path()), wrong);
    let accepting = signed(dir.path()).with_unsigned_entries(UnsignedEntries::Accept);
    assert_eq!(found(accepting), 0, "a signature that is there must be right");
}

#[test]
fn an_archive_is_believed_as_far_as_it_is_signed() {
    let [ours_there, theirs_there, here] = [scratch(), scratch(), scratch()];
    put_all(signed(ours_there.path()), right);
    put_all(unsigned(theirs_there.path()), wrong);
    let exported = |config: CacheConfig| {
        let mut archive = Vec::new();
        Cache::new(config).unwrap().export(&mut archive).unwrap();
        archive
    };
    let (ours, theirs) = (exported(signed(ours_there.path())), exported(unsigned(theirs_there.path())));
    let cache = Cache::new(signed(here.path())).unwrap();
    let refused = cache.import(theirs.as_slice()).unwrap();
    assert_eq!((refused.copied, refused.damaged), (0, 4));
    assert_eq!(cache.import(ours.as_slice()).unwrap().copied, 4);
    assert!((0..KEYS).all(|n| cache.get::<Secret>(n).unwrap() == Some(right(n))));
    let open_to_all = Cache::in_memory();
    assert_eq!(
        open_to_all.import(ours.as_slice()).unwrap().copied,
        4,
        "who asks for no signatures reads signed archives"
    );
}

#[test]
fn entries_come_from_elsewhere_in_the_place_of_those_that_are_not_believed() {
    let (there, here) = (scratch(), scratch());
    put_all(signed(there.path()), right);
    put_all(unsigned(here.path()), wrong);
    let (from, to) = (Cache::new(signed(there.path())).unwrap(), Cache::new(signed(here.path())).unwrap());
    assert_eq!(cacheness::cache::migrate_cache(&from, &to).unwrap().copied, 4);
    assert!((0..KEYS).all(|n| to.get::<Secret>(n).unwrap() == Some(right(n))));
    assert_eq!(to.len().unwrap(), 4);
    to.close().unwrap();
    assert_eq!(blobs(here.path()).len(), 2);
}

#[test]
fn a_blob_store_returns_what_was_signed_and_tells_of_the_rest() {
    let home = scratch();
    let dir = home.path().join("store");
    let open = |key: &str| BlobStore::builder().dir(&dir).signing_key_file(home.path().join(key)).open();
    let stream: Vec<u8> = (0..600_000u32).map(|n| (n % 251) as u8).collect();
    let store = open("signing.key").unwrap();
    store.put_with(BlobOptions::key("value"), &right(1)).unwrap();
    store.put_with(BlobOptions::key("stream"), &stream).unwrap();
    assert_eq!(store.get::<Secret>("value").unwrap(), Some(right(1)));
    assert_eq!(store.get::<Vec<u8>>("stream").unwrap().as_ref(), Some(&stream));
    assert!(store.verify(Repair::No).unwrap().is_whole());
    assert!(store.get_metadata("value").unwrap().unwrap().entry_signature().is_some());
    store.close().unwrap();

    // Somebody without the key replaces one of them.
    let forger = BlobStore::open(&dir).unwrap();
    forger.put_with(BlobOptions::key("value"), &wrong(1)).unwrap();
    forger.close().unwrap();
    let store = open("signing.key").unwrap();
    assert!(store.get::<Secret>("value").unwrap_err().is_integrity());
    assert_eq!(store.get::<Vec<u8>>("stream").unwrap().as_ref(), Some(&stream));
    assert_eq!(store.list("").unwrap(), ["stream"]);
    assert!(!store.verify_integrity("value").unwrap().unwrap().valid);
    let report = store.verify(Repair::Yes).unwrap();
    assert_eq!((report.checked, report.damaged.len(), report.missing.len()), (2, 1, 0));
    store.put_with(BlobOptions::key("value"), &right(1)).unwrap();
    assert!(store.verify(Repair::No).unwrap().is_whole());
    store.close().unwrap();
    assert!(open("store/signing.key").unwrap_err().is_storage(), "a key inside the directory is none");
}

#[test]
fn what_is_not_believed_counts_and_is_cleared_also_where_files_are_all_there_is() {
    let dir = scratch();
    let files_alone = |config: CacheConfig| {
        let mut config = config;
        config.metadata.backend = "memory".into();
        config.blob.backend = Some("filesystem".into());
        config
    };
    put_all(files_alone(signed(dir.path())), right);
    let other = Cache::new(files_alone(with_other_key(dir.path()))).unwrap();
    assert_eq!(other.len().unwrap(), u64::from(KEYS), "it counts in the size of the cache");
    other.clear().unwrap();
    other.close().unwrap();
    assert_eq!(blobs(dir.path()).len(), 0, "clearing takes them along");
}

#[test]
fn a_value_that_was_made_up_while_unsigned_entries_were_accepted_is_not_believed_later() {
    let dir = scratch();
    put_all(unsigned(dir.path()), wrong);
    let accepting = Cache::new(signed(dir.path()).with_unsigned_entries(UnsignedEntries::Accept)).unwrap();
    assert!((0..KEYS).all(|n| accepting.touch(n).unwrap()), "its time to live is renewed, its value is not");
    accepting.close().unwrap();
    let cache = Cache::new(signed(dir.path())).unwrap();
    let found: Vec<u8> = (0..KEYS).filter(|n| cache.get::<Secret>(*n).unwrap().is_some()).collect();
    assert!(found.is_empty(), "nobody with the key wrote the values of {found:?}");
}

#[test]
fn what_a_file_says_without_a_signature_is_not_signed_when_an_index_is_made_anew() {
    let dir = scratch();
    let forger = Cache::new(unsigned(dir.path()).with_inline_bytes(0)).unwrap();
    forger.put_with(1u8, &wrong(1), PutOptions::new().description("made up")).unwrap();
    forger.close().unwrap();
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    fs::remove_file(dir.path().join("index.clean")).unwrap();
    Cache::new(signed(dir.path()).with_unsigned_entries(UnsignedEntries::Accept)).unwrap().close().unwrap();
    let cache = Cache::new(signed(dir.path())).unwrap();
    let told: Vec<_> = cache.list_entries().map(|entry| entry.unwrap().description().map(str::to_owned)).collect();
    assert!(told.is_empty() && !cache.exists(1u8).unwrap(), "a listing believes {told:?}");
}

#[test]
fn a_migration_ends_at_its_total_though_there_are_entries_that_are_not_believed() {
    let dir = directory();
    let cache = Cache::new(with_other_key(dir.path())).unwrap();
    cache.put("mine", &right(0)).unwrap();
    let done = cacheness::cache::migrate_cache(&cache, &Cache::in_memory()).unwrap();
    assert_eq!(done.seen(), done.total, "progress ends at the whole");
}

#[test]
fn counters_stay_right_among_entries_that_are_not_believed() {
    for seed in 0..4u64 {
        let dir = scratch();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let configs: [fn(&Path) -> CacheConfig; 3] = [signed, with_other_key, unsigned];
        for session in 0..5 {
            let config = configs[random(3) as usize](dir.path()).with_max_size_mb(1);
            let cache = Cache::new(config).unwrap();
            for _ in 0..60 {
                let (key, other) = (random(20), random(20));
                let value = || Secret(vec![key as u8; if key % 2 == 0 { 100 } else { 90_000 }]);
                match random(12) {
                    0..4 => drop(cache.put_with(key, &value(), PutOptions::new().tag("t")).unwrap()),
                    4 => drop(
                        cache
                            .put_with(key, &value(), PutOptions::new().ttl(std::time::Duration::from_micros(1)))
                            .unwrap(),
                    ),
                    5 => drop(cache.invalidate(key).unwrap()),
                    6 => drop(cache.touch(key).unwrap()),
                    7 => drop(cache.update_data(key, &value()).unwrap()),
                    8 => drop(cache.copy(key, other).unwrap()),
                    9 => drop(cache.rename(key, other).unwrap()),
                    10 => drop(cache.cleanup_expired().unwrap()),
                    _ => {
                        let found = cache.get_or_insert_with(key, value).unwrap();
                        drop(found);
                    }
                }
                if random(150) == 0 {
                    cache.invalidate_tag("t").unwrap();
                }
                if random(400) == 0 {
                    cache.clear().unwrap();
                }
            }
            let stats = cache.get_stats().unwrap();
            let (len, size, oldest, newest) = (cache.len().unwrap(), stats.size_bytes, stats.oldest, stats.newest);
            let listed = cache.list_entries().count();
            assert_eq!(cache.keys(None, 100).unwrap().len(), listed, "seed {seed} session {session}");
            cache.flush().unwrap();
            let copy = scratch();
            cacheness_tests::copy_dir(dir.path(), copy.path()).unwrap();
            cache.close().unwrap();
            fs::remove_file(copy.path().join("index.clean")).ok();
            let files_before = blobs(copy.path()).len();
            let recount = Cache::new(configs[random(3) as usize](copy.path()).with_max_size_mb(1)).unwrap();
            let stats = recount.get_stats().unwrap();
            assert_eq!(
                (recount.len().unwrap(), stats.size_bytes, stats.oldest, stats.newest),
                (len, size, oldest, newest),
                "seed {seed} session {session}"
            );
            assert_eq!(
                blobs(copy.path()).len(),
                files_before,
                "seed {seed} session {session}: no file is left over or lost"
            );
            recount.clear().unwrap();
            assert_eq!(
                (recount.len().unwrap(), recount.get_stats().unwrap().size_bytes, blobs(copy.path()).len()),
                (0, 0, 0)
            );
            recount.close().unwrap();
        }
    }
}

/// Makes a directory say nothing of itself but that it is one of cacheness.
fn lose_the_manifest(dir: &Path) {
    fs::remove_file(dir.join("cacheness.toml.copy")).unwrap();
    fs::write(dir.join("cacheness.toml"), "").unwrap();
}

#[test]
fn an_entry_of_a_blob_store_is_none_of_a_cache() {
    let [store_dir, cache_dir] = [scratch(), scratch()];
    let security = signed(store_dir.path()).security;
    let store = BlobStore::builder().dir(store_dir.path()).security(security).open().unwrap();
    store.put_with(BlobOptions::key("answer"), &"from a store".to_owned()).unwrap();
    store.close().unwrap();
    cacheness_tests::copy_dir(store_dir.path(), cache_dir.path()).unwrap();
    lose_the_manifest(cache_dir.path());
    let cache = Cache::new(signed(cache_dir.path())).unwrap();
    assert_eq!(cache.get::<String>("answer").unwrap(), None);
}

#[test]
fn a_blob_replaced_by_a_huge_file_is_a_miss() {
    let dir = directory();
    for file in blobs(dir.path()) {
        fs::remove_file(&file).unwrap();
        fs::File::create(&file).unwrap().set_len(6 << 30).unwrap();
    }
    let cache = Cache::new(signed(dir.path())).unwrap();
    for n in 0..KEYS {
        let got = cache.get::<Secret>(n);
        assert!(got.is_ok(), "{:?}", got.unwrap_err());
    }
}
