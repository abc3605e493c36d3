//! A real file system that is full: what was acknowledged stays, what was not leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use cacheness::backend::{BackendOptions, get_metadata_backend};
use cacheness::blob::Repair;
use cacheness::config::Durability;
use cacheness::testing::check_metadata_backend_with_faults;
use cacheness::{AsyncCache, BlobOptions, BlobStore, Cache, CacheConfig, Result};
use cacheness_tests::{files_below, noise, skip};

use crate::mount::Mounted;

/// Not for all that is put, as long as the ballast is there.
const ROOM: u64 = 19 << 20;
const BALLAST: u64 = 8 << 20;
const PUTS: u64 = 1500;

/// What a store has to do.
trait Store {
    fn put(&self, key: &str, value: &[u8]) -> Result<()>;
    fn remove(&self, key: &str) -> Result<()>;
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>>;
    fn close(self) -> Result<()>;
}

impl Store for Cache {
    fn put(&self, key: &str, value: &[u8]) -> Result<()> {
        Cache::put(self, key, &value.to_vec()).map(drop)
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.invalidate(key).map(drop)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Cache::get(self, key)
    }

    fn close(self) -> Result<()> {
        Cache::close(&self)
    }
}

/// With the runtime that drives it.
struct Driven(AsyncCache, tokio::runtime::Runtime);

impl Store for Driven {
    fn put(&self, key: &str, value: &[u8]) -> Result<()> {
        self.1.block_on(self.0.put(key, &value.to_vec())).map(drop)
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.1.block_on(self.0.invalidate(key)).map(drop)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.1.block_on(self.0.get(key))
    }

    fn close(self) -> Result<()> {
        self.1.block_on(self.0.close())
    }
}

impl Store for BlobStore {
    fn put(&self, key: &str, value: &[u8]) -> Result<()> {
        self.put_with(BlobOptions::key(key), &value.to_vec()).map(drop)
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.delete(key).map(drop)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        BlobStore::get(self, key)
    }

    fn close(self) -> Result<()> {
        BlobStore::close(&self)
    }
}

/// Small and large ones, which do not compress.
fn value(n: u64) -> Vec<u8> {
    noise(n, if n.is_multiple_of(3) { 300 } else { 24_000 })
}

/// Puts, overwrites and removes until the disk is full and beyond, makes room, goes on and closes; then all that was
/// acknowledged is there.
fn survives<S: Store>(what: &str, open: impl Fn(&Path) -> S) {
    let scratch = cacheness_tests::scratch();
    let disk = match Mounted::tmpfs(scratch.path().join("disk"), ROOM) {
        Ok(disk) => disk,
        Err(why) => return skip(&format!("{what} on a full disk: {why}")),
    };
    let (ballast, dir) = (disk.at.join("ballast"), disk.at.join("store"));
    fs::write(&ballast, vec![1; BALLAST as usize]).unwrap();
    let store = open(&dir);
    // What was acknowledged of each key last, and what was refused since: that may be in all the same.
    let mut states: BTreeMap<u64, Vec<Option<u64>>> = BTreeMap::new();
    let mut refused = 0;
    for n in 0..PUTS {
        let (key, removes) = (n % 1100, n % 7 == 3);
        let text = key.to_string();
        let done = if removes { store.remove(&text) } else { store.put(&text, &value(n)) };
        let of_key = states.entry(key).or_insert_with(|| vec![None]);
        match done {
            Ok(()) => of_key.clear(),
            Err(error) => {
                assert!(!error.is_integrity(), "{what}: a full disk is no damage: {error}");
                refused += 1;
            }
        }
        of_key.push((!removes).then_some(n));
        if n == PUTS - 100 {
            make_room(&ballast);
        }
    }
    assert!(refused > 100, "{what}: only {refused} of {PUTS} were refused");
    let holds = |store: &S, when: &str| {
        let mut there = 0;
        for (key, states) in &states {
            let found = store.get(&key.to_string()).unwrap();
            there += usize::from(found.is_some());
            let fits = states.iter().any(|state| state.map(value) == found);
            assert!(fits, "{what}, {when}: {key} has the value of none of the puts {states:?}");
        }
        assert!(there > 100, "{what}, {when}: {there}");
    };
    holds(&store, "with room again");
    store.close().unwrap();
    let store = open(&dir);
    holds(&store, "after a new opening");
    store.close().unwrap();
    let left = files_below(&dir.join("staging")).unwrap();
    assert!(left.is_empty(), "{what}: half of a file stays: {left:?}");
}

fn make_room(ballast: &Path) {
    fs::remove_file(ballast).unwrap();
    // Opening an index anew after an error is not tried at every call.
    std::thread::sleep(std::time::Duration::from_millis(2200));
}

fn cache(durability: Durability) -> impl Fn(&Path) -> Cache {
    move |dir| Cache::new(CacheConfig::new(dir).with_durability(durability)).unwrap()
}

#[test]
fn a_cache_on_a_full_disk_keeps_what_it_acknowledged() {
    survives("cache, interval", cache(Durability::Interval));
    survives("cache, immediate", cache(Durability::Immediate));
    let sqlite = |durability| {
        move |dir: &Path| Cache::new(CacheConfig::new(dir).with_backend("sqlite").with_durability(durability)).unwrap()
    };
    survives("cache on SQLite, interval", sqlite(Durability::Interval));
    survives("cache on SQLite, immediate", sqlite(Durability::Immediate));
}

#[test]
fn an_async_cache_on_a_full_disk_keeps_what_it_acknowledged() {
    survives("async cache", |dir| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cache = runtime.block_on(AsyncCache::open(dir)).unwrap();
        Driven(cache, runtime)
    });
}

#[test]
fn a_blob_store_on_a_full_disk_keeps_what_it_acknowledged_and_no_blob_of_nobody() {
    for shared in [false, true] {
        survives("blob store", |dir| BlobStore::builder().dir(dir).content_addressable(shared).open().unwrap());
    }
    let scratch = cacheness_tests::scratch();
    let Ok(disk) = Mounted::tmpfs(scratch.path().join("disk"), ROOM) else { return };
    let ballast = disk.at.join("ballast");
    fs::write(&ballast, vec![1; BALLAST as usize]).unwrap();
    let store = BlobStore::open(disk.at.join("store")).unwrap();
    let refused = (0..PUTS).filter(|n| store.put(&value(*n)).is_err()).count();
    assert!(refused > 0);
    // An index that met the full disk itself cannot be opened anew before there is room, so nothing is verified before.
    make_room(&ballast);
    let report = store.verify(Repair::No).unwrap();
    assert!(report.is_whole(), "{report:?}");
}

#[test]
fn metadata_backends_on_a_full_disk_lose_nothing_that_was_acknowledged() {
    for backend in ["sled", "json", "sqlite"] {
        let scratch = cacheness_tests::scratch();
        let disk = match Mounted::tmpfs(scratch.path().join("disk"), ROOM) {
            Ok(disk) => disk,
            Err(why) => return skip(&format!("{backend} on a full disk: {why}")),
        };
        let (ballast, dir) = (disk.at.join("ballast"), disk.at.join("store"));
        fs::create_dir_all(dir.join("staging")).unwrap();
        let options = BackendOptions::new().with_dir(&dir);
        let fault = |begins: bool| {
            // All that is free, to the last page.
            let fill = || fs::File::create(&ballast).map(|mut file| while file.write_all(&[1; 4096]).is_ok() {});
            if begins { fill().unwrap() } else { fs::remove_file(&ballast).unwrap() }
        };
        check_metadata_backend_with_faults(|| get_metadata_backend(backend, &options), fault);
    }
}
