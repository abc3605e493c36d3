//! Keys that are lost, replaced and mixed up: no entry goes because of that.

use std::fs;
use std::path::{Path, PathBuf};

use cacheness::blob::Repair;
use cacheness::config::{SecurityConfig, SigningKey, UnsignedEntries};
use cacheness::{BlobOptions, BlobStore, Cache, CacheConfig, Metadata, PutOptions};
use cacheness_tests::scratch;

use crate::forgeries::{KEYS, Secret, blobs, directory, put_all, right, signed, unsigned, with_other_key, wrong};

/// As a kill would leave it: a copy of what is on the disk of an open cache.
fn killed(cache: &Cache, dir: &Path) -> tempfile::TempDir {
    cache.flush().unwrap();
    let copy = scratch();
    cacheness_tests::copy_dir(dir, copy.path()).unwrap();
    copy
}

/// The first key signs, the others are former ones.
fn keys_at(home: &Path, keys: &[&str]) -> SecurityConfig {
    let config = CacheConfig::default().with_signing_key_file(key_file(home, keys[0]));
    let former = |config: CacheConfig, key: &&str| config.with_previous_key_file(key_file(home, key));
    keys[1..].iter().fold(config, former).security
}

fn key_file(home: &Path, name: &str) -> PathBuf {
    let (file, byte) = (home.join(name), name.as_bytes()[0]);
    fs::write(&file, format!("{byte:02x}").repeat(32)).unwrap();
    cacheness_tests::only_for_owner(&file);
    file
}

// A lost key had a new one made in its place, and every entry deleted that the new one did not fit.
#[test]
fn a_lost_key_file_is_told_and_deletes_nothing() {
    let home = scratch();
    let (key, dir) = (home.path().join("keys/signing.key"), home.path().join("cache"));
    let config = unsigned(&dir).with_signing_key_file(&key);
    put_all(config.clone(), right);
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let error = Cache::new(config.clone()).unwrap_err();
    let message = error.to_string();
    assert!(
        error.is_storage() && message.contains("signing.key") && message.contains("put the file back"),
        "{message}"
    );
    assert!(!key.exists(), "no new key is made in its place");
    fs::write(&key, kept).unwrap();
    cacheness_tests::only_for_owner(&key);
    let cache = Cache::new(config).unwrap();
    assert!((0..KEYS).all(|n| cache.get::<Secret>(n).unwrap() == Some(right(n))));
}

#[test]
fn a_replaced_key_makes_misses_and_with_the_old_one_at_hand_everything_is_there_again() {
    let dir = directory();
    let cache = Cache::new(with_other_key(dir.path())).unwrap();
    assert!((0..KEYS).all(|n| cache.get::<Secret>(n).unwrap().is_none() && !cache.exists(n).unwrap()));
    assert_eq!((cache.list_entries().count(), cache.keys(None, 10).unwrap().len()), (0, 0));
    cache.put(0u8, &right(0)).unwrap();
    cache.close().unwrap();

    let back = Cache::new(signed(dir.path())).unwrap();
    let found: Vec<u8> = (0..KEYS).filter(|n| back.get::<Secret>(*n).unwrap().is_some()).collect();
    assert_eq!(found, [1, 2, 3], "the one that was put with the other key is that one's");
    back.close().unwrap();

    // Both at hand: what the former key signed is believed, what is new has the new signature.
    let former = scratch();
    let file = former.path().join("former.key");
    fs::write(&file, "01".repeat(32)).unwrap();
    cacheness_tests::only_for_owner(&file);
    let rotated = Cache::new(with_other_key(dir.path()).with_previous_key_file(&file)).unwrap();
    assert!((0..KEYS).all(|n| rotated.get::<Secret>(n).unwrap() == Some(right(n))));
    (0..KEYS).for_each(|n| assert!(rotated.update_data(n, &right(n)).unwrap()));
    rotated.close().unwrap();
    let without_former = Cache::new(with_other_key(dir.path())).unwrap();
    assert!((0..KEYS).all(|n| without_former.get::<Secret>(n).unwrap() == Some(right(n))));
}

#[test]
fn a_key_that_was_mixed_up_after_a_kill_does_not_cost_the_groups_of_entries() {
    let dir = scratch();
    let cache = Cache::new(signed(dir.path())).unwrap();
    cache.put_with("tagged", &right(0), PutOptions::new().tag("mine").prefix("some")).unwrap();
    let copy = killed(&cache, dir.path());
    cache.close().unwrap();
    Cache::new(with_other_key(copy.path())).unwrap().close().unwrap();
    let cache = Cache::new(signed(copy.path())).unwrap();
    assert!(cache.exists("tagged").unwrap(), "it is there again with the right key");
    assert_eq!(cache.invalidate_tag("mine").unwrap(), 1, "and its tag is");
}

#[test]
fn a_repair_removes_nothing_because_a_former_key_was_left_out() {
    let home = scratch();
    let dir = home.path().join("store");
    let open = |keys: &[&str]| {
        let security = keys_at(home.path(), keys);
        BlobStore::builder().dir(&dir).security(security).open().unwrap()
    };
    let store = open(&["a"]);
    store.put_with(BlobOptions::key("model"), &right(1)).unwrap();
    store.close().unwrap();
    let store = open(&["b", "a"]);
    assert!(store.update_metadata("model", &Metadata::from([("stage".into(), "live".into())])).unwrap());
    store.close().unwrap();
    let store = open(&["b"]);
    store.verify(Repair::Yes).unwrap();
    store.close().unwrap();
    let store = open(&["b", "a"]);
    assert_eq!(store.get::<Secret>("model").unwrap(), Some(right(1)), "invalid_entries is keep");
}

#[test]
fn what_is_put_again_with_a_new_key_does_not_need_the_former_one() {
    let home = scratch();
    let dir = home.path().join("store");
    let open = |keys: &[&str]| {
        let security = keys_at(home.path(), keys);
        BlobStore::builder().dir(&dir).content_addressable(true).security(security).open().unwrap()
    };
    let store = open(&["a"]);
    store.put_with(BlobOptions::key("model"), &right(1)).unwrap();
    store.close().unwrap();
    let store = open(&["b", "a"]);
    store.put_with(BlobOptions::key("model"), &right(1)).unwrap();
    store.close().unwrap();
    let store = open(&["b"]);
    let got = store.get::<Secret>("model").map_err(|error| error.to_string());
    assert_eq!(got, Ok(Some(right(1))), "what is put from then on has the new signature");
}

#[test]
fn what_was_put_again_while_unsigned_entries_were_accepted_is_there_when_they_are_refused() {
    let home = scratch();
    let dir = home.path().join("store");
    let file = key_file(home.path(), "a");
    let open = |signing: bool, unsigned: UnsignedEntries| {
        let config = CacheConfig::default().with_unsigned_entries(unsigned);
        let security = if signing { config.with_signing_key_file(&file) } else { config }.security;
        BlobStore::builder().dir(&dir).content_addressable(true).security(security).open().unwrap()
    };
    for (signing, unsigned) in [(false, UnsignedEntries::Refuse), (true, UnsignedEntries::Accept)] {
        let store = open(signing, unsigned);
        store.put_with(BlobOptions::key("model"), &right(1)).unwrap();
        store.close().unwrap();
    }
    let store = open(true, UnsignedEntries::Refuse);
    let got = store.get::<Secret>("model").map_err(|error| error.to_string());
    assert_eq!(got, Ok(Some(right(1))), "it was replaced while unsigned ones were accepted");
}

#[test]
fn an_entry_that_was_renewed_is_signed_as_it_was() {
    let dir = directory();
    let home = scratch();
    let file = home.path().join("former.key");
    fs::write(&file, "01".repeat(32)).unwrap();
    cacheness_tests::only_for_owner(&file);
    let rotated = Cache::new(with_other_key(dir.path()).with_previous_key_file(&file)).unwrap();
    assert!((0..KEYS).all(|n| rotated.touch(n).unwrap()));
    rotated.close().unwrap();
    let cache = Cache::new(with_other_key(dir.path())).unwrap();
    for n in 0..KEYS {
        let (exists, found) = (cache.exists(n).unwrap(), cache.get::<Secret>(n).unwrap().is_some());
        assert_eq!(exists, found, "entry {n} is believed, and its value is not");
    }
}

fn store_at(home: &Path, dir: &Path, key: &str) -> BlobStore {
    BlobStore::builder().dir(dir).signing_key_file(key_file(home, key)).open().unwrap()
}

/// A home with a store of one value, signed with the key `a`, whose index is lost.
fn store_without_index() -> (tempfile::TempDir, PathBuf) {
    let home = scratch();
    let dir = home.path().join("store");
    let store = store_at(home.path(), &dir, "a");
    store.put_with(BlobOptions::key("model"), &right(1)).unwrap();
    store.close().unwrap();
    fs::remove_dir_all(dir.join("index")).unwrap();
    fs::remove_file(dir.join("index.clean")).unwrap();
    (home, dir)
}

#[test]
fn an_index_that_was_lost_is_made_anew_with_the_right_key_also_after_the_key_was_mixed_up() {
    for mixed_up in [false, true] {
        let (home, dir) = store_without_index();
        if mixed_up {
            store_at(home.path(), &dir, "b").close().unwrap();
            assert_eq!(blobs(&dir).len(), 1, "the file is kept");
        }
        let store = store_at(home.path(), &dir, "a");
        assert_eq!(store.get::<Secret>("model").unwrap(), Some(right(1)), "the key was mixed up: {mixed_up}");
    }
}

#[test]
fn a_kill_after_an_index_was_lost_and_the_key_mixed_up_deletes_no_value() {
    let (home, dir) = store_without_index();
    store_at(home.path(), &dir, "b").close().unwrap();
    let open = store_at(home.path(), &dir, "a");
    let killed = scratch();
    cacheness_tests::copy_dir(&dir, killed.path()).unwrap();
    open.close().unwrap();
    let store = store_at(home.path(), killed.path(), "a");
    assert_eq!(
        store.get::<Secret>("model").unwrap(),
        Some(right(1)),
        "a value that was put and never removed is there"
    );
}

#[test]
fn a_repair_with_another_key_deletes_no_value_that_an_index_has_lost() {
    let (home, dir) = store_without_index();
    let store = store_at(home.path(), &dir, "b");
    store.verify(Repair::Yes).unwrap();
    store.close().unwrap();
    assert_eq!(blobs(&dir).len(), 1, "invalid_entries is keep");
}

#[test]
fn putting_over_an_entry_that_is_not_believed_takes_its_content_from_no_other() {
    let home = scratch();
    let dir = home.path().join("store");
    let open = |key: &str| {
        let file = key_file(home.path(), key);
        BlobStore::builder().dir(&dir).content_addressable(true).signing_key_file(file).open().unwrap()
    };
    let store = open("a");
    ["one", "two"].iter().for_each(|key| drop(store.put_with(BlobOptions::key(*key), &right(1)).unwrap()));
    store.close().unwrap();
    let store = open("b");
    store.put_with(BlobOptions::key("one"), &wrong(1)).unwrap();
    store.close().unwrap();
    let store = open("a");
    assert_eq!(store.get::<Secret>("two").unwrap(), Some(right(1)), "it was never replaced, and its key is back");
}

#[test]
fn a_key_that_stands_in_a_configuration_file_by_mistake_is_not_printed() {
    let digits = "0123456789abcdef".repeat(4);
    let toml = format!("[security]\nsigning = true\nsigning_key = \"{digits}\"\n");
    let json = format!("{{\"security\": {{\"signing\": true, \"signing_key\": \"{digits}\"}}}}");
    for error in [CacheConfig::from_toml(&toml).unwrap_err(), CacheConfig::from_json(&json).unwrap_err()] {
        let shown = format!("{error} {error:?} {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(!shown.contains(&digits[..16]), "{shown}");
    }
}

#[test]
fn one_directory_is_not_open_in_a_process_with_two_opinions_of_what_is_believed() {
    let dir = directory();
    let cache = Cache::new(signed(dir.path())).unwrap();
    let error = Cache::new(unsigned(dir.path())).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("security"), "{error}");
    assert!(Cache::new(signed(dir.path())).is_ok());
    cache.close().unwrap();
    assert!(Cache::new(unsigned(dir.path())).is_ok());
}

#[test]
fn a_key_is_replaced_by_naming_the_old_file_and_the_new_one_is_made() {
    let home = scratch();
    let (old, new, dir) = (home.path().join("2026.key"), home.path().join("2027.key"), home.path().join("cache"));
    put_all(unsigned(&dir).with_signing_key_file(&old), right);
    let error = Cache::new(unsigned(&dir).with_signing_key_file(&new)).unwrap_err();
    assert!(error.is_storage() && !new.exists(), "not without the old one: {error}");
    let rotated = Cache::new(unsigned(&dir).with_signing_key_file(&new).with_previous_key_file(&old)).unwrap();
    assert!((0..KEYS).all(|n| rotated.get::<Secret>(n).unwrap() == Some(right(n))));
    rotated.close().unwrap();
    // Given by the program instead of in files, they are the same keys.
    let [old, new] = [old, new].map(|file| fs::read_to_string(file).unwrap().parse::<SigningKey>().unwrap());
    let given = Cache::new(unsigned(&dir).with_signing_key(new).with_previous_key(old)).unwrap();
    assert!((0..KEYS).all(|n| given.get::<Secret>(n).unwrap() == Some(right(n))));
}

#[test]
fn a_lost_key_is_not_replaced_in_silence_where_the_note_of_it_is_damaged_or_gone() {
    for damage in [|file: &Path| fs::write(file, "torn").unwrap(), |file: &Path| fs::remove_file(file).unwrap()] {
        let home = scratch();
        let (key, dir) = (home.path().join("keys/signing.key"), home.path().join("cache"));
        let config = unsigned(&dir).with_signing_key_file(&key);
        put_all(config.clone(), right);
        let kept = fs::read(&key).unwrap();
        fs::remove_file(&key).unwrap();
        damage(&dir.join("cacheness.toml"));
        for attempt in 0..3 {
            let error = Cache::new(config.clone()).unwrap_err();
            let message = error.to_string();
            assert!(error.is_storage() && message.contains("put the file back"), "attempt {attempt}: {message}");
            assert!(!key.exists(), "attempt {attempt}");
        }
        // Who opens it without a key meanwhile does not make it one that was never signed.
        Cache::new(unsigned(&dir)).unwrap().close().unwrap();
        assert!(Cache::new(config.clone()).is_err() && !key.exists());
        fs::write(&key, kept).unwrap();
        cacheness_tests::only_for_owner(&key);
        let cache = Cache::new(config).unwrap();
        assert!((0..KEYS).all(|n| cache.get::<Secret>(n).unwrap() == Some(right(n))));
    }
}
