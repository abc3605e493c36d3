//! What is on the disk when an index is flushed, and what becomes of replaced values.

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::*;
use crate::config::CacheConfig;
use crate::entry::sample;
use crate::error::{CacheError, ErrorKind};
use crate::format;
use crate::index::{Call, Watched};
use crate::storage::BlobName;
use crate::storage::blob::FilesystemBlobs;
use crate::storage::blob::conformance::names;
use crate::storage::vfs::SimVfs;

const ROOT: &str = "/cache";

fn files(vfs: &SimVfs) -> FilesystemBlobs {
    FilesystemBlobs::open(Arc::new(vfs.clone()), Path::new(ROOT)).unwrap()
}

fn is_whole(vfs: &SimVfs, name: &BlobName) -> bool {
    let read = files(vfs).read(name, 1 << 20).unwrap();
    read.is_some_and(|bytes| format::open(&bytes, Rules::unsigned(&Limits::DEFAULT)).is_ok())
}

/// Of one flush: the blobs that there are, and those of them that a power cut may take.
type Flushed = (usize, usize);

/// A store over a simulated disk that flushes once an hour, and what it tells of each flush before it is done.
fn store_on(vfs: &SimVfs) -> (Store, Receiver<Flushed>) {
    let (sender, flushes) = mpsc::channel();
    let disk = vfs.clone();
    let index = Watched::new(move |call| {
        if call == Call::Flush {
            let names = names(&files(&disk));
            let outlasts = |name: &&BlobName| (0..50).all(|seed| is_whole(&disk.crash(seed), name));
            let _ = sender.send((names.len(), names.iter().filter(|name| !outlasts(name)).count()));
        }
        Ok(())
    });
    let config = CacheConfig::in_memory().with_inline_bytes(0);
    let mut store = Store::of_parts(Arc::new(index), Arc::new(files(vfs)), &config);
    // As one that has nothing to make a value of anew.
    store.settings.damage_is_absence = false;
    store.flusher = Some(Arc::new(flusher_of(&store, Duration::from_secs(3600))));
    (store, flushes)
}

fn flusher_of(store: &Store, interval: Duration) -> Flusher {
    let (index, blobs, retired) = (Arc::clone(&store.index), Arc::clone(&store.blobs), Arc::clone(&store.retired));
    let pace = Pace { interval, leave_blobs: store.settings.leaves_blobs_to_the_system() };
    Flusher::start(index, blobs, retired, pace).unwrap()
}

fn put(store: &Store, key: &str, len: usize) {
    store.put(sample::entry(key), vec![7; len], u64::MAX, None).unwrap();
}

#[test]
fn blobs_are_on_the_disk_before_the_index_is_flushed_and_a_replaced_one_goes_after_that() {
    let ways: [fn(&Store, &Receiver<Flushed>) -> Flushed; 3] = [
        |store, flushes| {
            store.flush().unwrap();
            flushes.try_recv().unwrap()
        },
        |store, flushes| {
            store.close().unwrap();
            flushes.try_recv().unwrap()
        },
        |store, flushes| {
            let flusher = flusher_of(store, Duration::ZERO);
            flusher.wake();
            let flushed = flushes.recv().unwrap();
            flusher.stop();
            flushed
        },
    ];
    for (n, flush) in ways.into_iter().enumerate() {
        let vfs = SimVfs::new();
        let (store, flushes) = store_on(&vfs);
        put(&store, "k", 3000);
        put(&store, "other", 3000);
        put(&store, "k", 4000);
        assert!(flushes.try_recv().is_err() && names(&files(&vfs)).len() == 3, "way {n}: no put waits for the disk");
        assert!((0..50).any(|seed| names(&files(&vfs.crash(seed))).len() < 3), "way {n}");
        assert_eq!(flush(&store, &flushes), (3, 0), "way {n}: the old value is there until the new one counts");
        assert_eq!(names(&files(&vfs)).len(), 2, "way {n}");
    }
}

/// A store whose index fails once: before a record is in, or when it is in already.
fn with_one_failing_commit(vfs: &SimVfs, written: bool) -> (Store, Arc<std::sync::atomic::AtomicBool>) {
    use std::sync::atomic::{AtomicBool, Ordering};
    let armed = Arc::new(AtomicBool::new(false));
    let strikes = Arc::clone(&armed);
    let index = Watched::new(move |call| {
        let here = if written { call == Call::Written } else { matches!(call, Call::Write(_)) };
        match here && strikes.swap(false, Ordering::SeqCst) {
            true => Err(CacheError::new(ErrorKind::Metadata, "nobody knows")),
            false => Ok(()),
        }
    });
    let config = CacheConfig::in_memory().with_inline_bytes(0).with_durability(Durability::Immediate);
    (Store::of_parts(Arc::new(index), Arc::new(files(vfs)), &config), armed)
}

#[test]
fn a_commit_of_which_nobody_knows_whether_it_succeeded_keeps_its_blob_until_that_is_known() {
    use std::sync::atomic::Ordering;
    for written in [true, false] {
        let vfs = SimVfs::new();
        let (store, armed) = with_one_failing_commit(&vfs, written);
        put(&store, "k", 3000);
        armed.store(true, Ordering::SeqCst);
        assert!(store.put(sample::entry("k"), vec![7; 4000], u64::MAX, None).is_err());
        let key = sample::entry("k").key;
        let mut found = store.find(&key).unwrap().unwrap();
        let value = store.load(&key, &mut found, |_| None).unwrap();
        assert!(value.is_some(), "whichever record counts, its blob is there; written: {written}");
        assert_eq!(found.core.raw_size, if written { 4000 } else { 3000 });
        put(&store, "other", 3000);
        put(&store, "other", 3000);
        let left = names(&files(&vfs)).len();
        assert_eq!(left, 2 + usize::from(written), "the blob that no record names is gone");
        assert!(store.load(&key, &mut found, |_| None).unwrap().is_some());
    }
}

#[test]
fn a_put_that_a_closed_index_refuses_leaves_no_blob() {
    let vfs = SimVfs::new();
    let index = Watched::new(|call| match call {
        Call::Write(_) => Err(CacheError::new(ErrorKind::Closed, "the cache is closed")),
        _ => Ok(()),
    });
    let config = CacheConfig::in_memory().with_inline_bytes(0);
    let store = Store::of_parts(Arc::new(index), Arc::new(files(&vfs)), &config);
    assert!(store.put(sample::entry("k"), vec![7; 3000], u64::MAX, None).unwrap_err().is_closed());
    assert!(names(&files(&vfs)).is_empty());
}

/// By a put whose record came in just before the index was closed.
#[test]
fn a_blob_that_is_retired_after_the_close_goes_at_once() {
    let vfs = SimVfs::new();
    let (store, _flushes) = store_on(&vfs);
    put(&store, "k", 3000);
    store.close().unwrap();
    let name = names(&files(&vfs)).into_iter().next().unwrap();
    store.retire_blob(&name);
    assert!(names(&files(&vfs)).is_empty());
}

/// One that retires a blob while the index is being closed, after the last flush.
#[test]
fn what_is_replaced_while_the_index_is_closed_goes_after_that() {
    let vfs = SimVfs::new();
    let store = Arc::new(std::sync::OnceLock::<Store>::new());
    let (seen, flushes) = (Arc::clone(&store), std::sync::atomic::AtomicUsize::new(0));
    let index = Watched::new(move |call| {
        // The first flush settles, the second one closes.
        if call == Call::Flush && flushes.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1 {
            put(seen.get().unwrap(), "k", 4000);
        }
        Ok(())
    });
    let config = CacheConfig::in_memory().with_inline_bytes(0);
    let mut parts = Store::of_parts(Arc::new(index), Arc::new(files(&vfs)), &config);
    parts.flusher = Some(Arc::new(flusher_of(&parts, Duration::from_secs(3600))));
    store.set(parts).unwrap();
    let store = store.get().unwrap();
    put(store, "k", 3000);
    store.close().unwrap();
    assert_eq!(names(&files(&vfs)).len(), 1);
}
