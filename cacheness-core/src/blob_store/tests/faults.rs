//! A disk that fails, and one that loses power, under a stream on its way in.

use std::io::{ErrorKind, Read, Write};
use std::sync::Mutex;

use super::*;
use crate::blob_store::open::References;
use crate::config::{CacheConfig, Durability, Limits};
use crate::engine::Store;
use crate::engine::opened::Opened;
use crate::format::CHUNK_LEN;
use crate::format::Rules;
use crate::index::{Call, MemoryMetadata, MetadataBackend, Watched};
use crate::storage::BlobName;
use crate::storage::blob::FilesystemBlobs;
use crate::storage::blob::conformance::names;
use crate::storage::vfs::publish::STAGING;
use crate::storage::vfs::{Fault, Lie, Repeat, SimVfs, Vfs};

const ROOT: &str = "/store";

fn files(vfs: &SimVfs) -> FilesystemBlobs {
    FilesystemBlobs::open(Arc::new(vfs.clone()), Path::new(ROOT)).unwrap()
}

/// A store whose blobs are in a simulated file system, and whose index is in memory.
fn store_on(vfs: &SimVfs) -> BlobStore {
    store_of(vfs, MemoryMetadata::default(), Durability::Immediate, false)
}

fn store_of(vfs: &SimVfs, index: impl MetadataBackend + 'static, durability: Durability, shares: bool) -> BlobStore {
    let config = CacheConfig::in_memory().with_inline_bytes(0).with_durability(durability);
    let store = Store::of_parts(Arc::new(index), Arc::new(files(vfs)), &config);
    BlobStore::over(Arc::new(Engine::new(store, References::default(), shares)))
}

fn read(store: &BlobStore) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.reader("k").unwrap().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_stream_whose_nth_file_operation_fails_says_so_leaves_nothing_and_the_old_value_stays() {
    let new = noise(2 * CHUNK_LEN + 100);
    for errno in [libc::EIO, libc::ENOSPC, libc::EMFILE] {
        for call in 0.. {
            let vfs = SimVfs::new();
            let store = store_on(&vfs);
            write(&store, "k", b"old").unwrap();
            vfs.fail_at(call, Fault::Errno(errno), Repeat::Once);
            let written = write(&store, "k", &new);
            let struck = vfs.clear_faults();
            // The last operation removes the old blob: it stays for `verify` then, and the put is good.
            if let Err(error) = &written {
                assert!(struck && error.is_storage(), "call {call}: {error:?}");
                assert_eq!(read(&store), b"old", "call {call}");
            } else {
                assert!(read(&store) == new, "call {call}");
            }
            assert_eq!(vfs.list(&Path::new(ROOT).join(STAGING)).unwrap(), [], "call {call}");
            let left_over = names(&files(&vfs)).len() - 1;
            assert!(left_over == usize::from(struck && written.is_ok()), "call {call}: {left_over} blobs too many");
            write(&store, "k", &new).unwrap();
            assert!(read(&store) == new, "call {call}");
            store.verify(Repair::Yes).unwrap();
            assert_eq!(names(&files(&vfs)).len(), 1, "call {call}");
            if !struck {
                assert!(call >= 8, "only {call} operations");
                break;
            }
        }
    }
}

#[test]
fn a_reader_of_a_disk_that_fails_says_so_and_reads_on_when_it_works_again() {
    let vfs = SimVfs::new();
    let store = store_on(&vfs);
    let bytes = noise(3 * CHUNK_LEN);
    write(&store, "k", &bytes).unwrap();
    let mut reader = store.reader("k").unwrap().unwrap();
    let mut read = vec![0; CHUNK_LEN];
    reader.read_exact(&mut read).unwrap();
    vfs.fail_at(0, Fault::Errno(libc::EIO), Repeat::Sticky);
    for _ in 0..2 {
        let error = reader.read(&mut [0; 100]).unwrap_err();
        assert!(inner(error).is_storage());
    }
    vfs.clear_faults();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == bytes);
}

/// Writes, loses power at some operation, and looks: whether the stream was acknowledged, and whether it is whole.
fn power_cut(seed: u64, lie: Option<Lie>) -> (bool, bool) {
    let vfs = SimVfs::new();
    lie.into_iter().for_each(|lie| vfs.lie_about(lie));
    let bytes = noise(CHUNK_LEN + 3000);
    let store = store_on(&vfs);
    vfs.fail_at(seed % 14, Fault::Kind(ErrorKind::Other), Repeat::Sticky);
    let mut writer = match store.writer("k") {
        Ok(writer) => writer,
        Err(_) => return (false, false),
    };
    let committed = writer.write_all(&bytes).is_ok() && writer.commit().is_ok();
    let after = vfs.crash(seed);
    let blobs = files(&after);
    let whole =
        names(&files(&after)).iter().any(|name| match Opened::open(&blobs, name, Rules::unsigned(&Limits::DEFAULT)) {
            Ok(blob) => blob.unwrap().content().is_ok_and(|content| {
                assert_eq!(content, crate::util::digest::identity(&bytes), "wrong bytes taken for right");
                true
            }),
            Err(error) => {
                assert!(error.is_integrity(), "{error:?}");
                false
            }
        });
    (committed, whole)
}

#[test]
fn a_power_cut_at_any_operation_loses_no_committed_stream_and_damages_none_unseen() {
    let seen: Vec<_> = (0..700).map(|seed| power_cut(seed, None)).collect();
    assert!(seen.iter().filter(|(committed, _)| *committed).count() > 100);
    assert!(seen.iter().filter(|(committed, _)| !committed).count() > 100);
    assert_eq!(seen.iter().filter(|found| **found == (true, false)).count(), 0);
}

/// The negative control: with a disk that lies, the same must be seen to lose streams.
#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    for lie in [Lie::FileSync, Lie::DirSync] {
        let lost = (0..300).map(|seed| power_cut(seed, Some(lie))).filter(|found| *found == (true, false)).count();
        assert!(lost > 10, "{lie:?}: {lost}");
    }
}

/// What an index is told, as its disk would see it if the power went before it is done.
#[derive(Debug, PartialEq)]
enum Told {
    /// A record that names this blob, and whether the blob is there and whole whatever the power cut leaves.
    Write { blob: BlobName, outlasts: bool },
    /// A flush, with the blobs that there are.
    Flush(Vec<BlobName>),
}

/// A store that flushes from time to time, over an index that notes what it is told.
fn observed(vfs: &SimVfs, shares: bool) -> (BlobStore, Arc<Mutex<Vec<Told>>>) {
    let (told, disk) = (Arc::<Mutex<Vec<Told>>>::default(), vfs.clone());
    let notes = Arc::clone(&told);
    let index = Watched::new(move |call| {
        let told = match call {
            Call::Write(record) => {
                let blob = record.blob().unwrap();
                let outlasts = (0..50).all(|seed| is_whole(&disk.crash(seed), &blob));
                Told::Write { blob, outlasts }
            }
            Call::Flush => Told::Flush(names(&files(&disk))),
            _ => return Ok(()),
        };
        notes.lock().unwrap().push(told);
        Ok(())
    });
    (store_of(vfs, index, Durability::Interval, shares), told)
}

fn is_whole(vfs: &SimVfs, name: &BlobName) -> bool {
    let opened = Opened::open(&files(vfs), name, Rules::unsigned(&Limits::DEFAULT));
    opened.is_ok_and(|blob| blob.is_some_and(|mut blob| blob.examine().unwrap() == (blob.entry().core.checksum, true)))
}

/// sled writes a record when it likes: as soon as it has it, a power cut may come back to the new one.
#[test]
fn with_an_interval_what_replaces_an_entry_is_on_the_disk_before_its_record_and_the_old_blob_goes_after_that() {
    let ways: [fn(&BlobStore, usize); 3] = [
        |store, n| drop(store.put_with("k", &vec![n as f64; 500]).unwrap()),
        |store, n| drop(store.put_with("k", &noise(3000 + n)).unwrap()),
        |store, n| drop(write(store, "k", &noise(3000 + n)).unwrap()),
    ];
    for put in ways {
        let vfs = SimVfs::new();
        let (store, told) = observed(&vfs, false);
        put(&store, 1);
        let first = names(&files(&vfs)).remove(0);
        let new = Told::Write { blob: first.clone(), outlasts: false };
        let at_first = std::mem::take(&mut *told.lock().unwrap());
        assert_eq!(at_first, [new], "nothing is lost: it may wait");
        put(&store, 2);
        let told = std::mem::take(&mut *told.lock().unwrap());
        let [Told::Write { blob, outlasts: true }, Told::Flush(there)] = told.as_slice() else { panic!("{told:?}") };
        assert!(there.contains(&first) && there.contains(blob));
        assert_eq!(&names(&files(&vfs)), std::slice::from_ref(blob));
    }
}

#[test]
fn with_an_interval_a_shared_blob_is_on_the_disk_before_the_record_that_replaces_an_entry_by_it() {
    let vfs = SimVfs::new();
    let (store, told) = observed(&vfs, true);
    store.put_with("k", &noise(3000)).unwrap();
    store.put_with("other", &noise(4000)).unwrap();
    told.lock().unwrap().clear();
    store.put_with("k", &noise(4000)).unwrap();
    let told = std::mem::take(&mut *told.lock().unwrap());
    assert!(matches!(told.as_slice(), [Told::Write { outlasts: true, .. }, Told::Flush(_)]), "{told:?}");
    assert_eq!(names(&files(&vfs)).len(), 1);
}

/// The other put of the content comes between the look for it and the commit.
#[test]
fn with_an_interval_the_blob_of_another_put_of_the_content_is_on_the_disk_too() {
    let vfs = SimVfs::new();
    let (store, told) = observed(&vfs, true);
    store.put_with("k", &noise(3000)).unwrap();
    let (engine, bytes) = (&store.0, noise(4000));
    let entry = engine.draft("k".into(), &Encoding::of_bytes(), Some(crate::util::digest::identity(&bytes))).unwrap();
    let pending = engine.pending().begin();
    let write = |entry: &mut Entry, name: &BlobName| {
        store.put_with("other", &bytes)?;
        told.lock().unwrap().clear();
        let mut writer = crate::blob_store::values::ChunkWriter::begin(engine.store(), entry, name)?;
        writer.write(&bytes)?;
        writer.end(&mut entry.core)?.publish(Durability::Immediate)
    };
    engine.place(entry, &pending, write).unwrap();
    let told = std::mem::take(&mut *told.lock().unwrap());
    assert!(matches!(told.as_slice(), [Told::Write { outlasts: true, .. }, Told::Flush(_)]), "{told:?}");
    assert_eq!(names(&files(&vfs)).len(), 1, "the two share it");
}

#[test]
fn with_an_interval_a_blob_goes_after_the_removal_of_its_record_is_on_the_disk() {
    let removals: [fn(&BlobStore); 2] =
        [|store| assert!(store.delete("k").unwrap()), |store| assert_eq!(store.clear().unwrap(), 1)];
    for remove in removals {
        let vfs = SimVfs::new();
        let (store, told) = observed(&vfs, false);
        store.put_with("k", &noise(3000)).unwrap();
        let there = names(&files(&vfs));
        told.lock().unwrap().clear();
        remove(&store);
        let told = std::mem::take(&mut *told.lock().unwrap());
        assert_eq!(told, [Told::Flush(there)]);
        assert!(names(&files(&vfs)).is_empty());
    }
}

#[test]
fn a_put_that_a_closed_index_refuses_leaves_no_blob() {
    for shares in [false, true] {
        let vfs = SimVfs::new();
        let index = Watched::new(|call| match call {
            Call::Write(_) => Err(crate::CacheError::new(crate::ErrorKind::Closed, "the store is closed")),
            _ => Ok(()),
        });
        let store = store_of(&vfs, index, Durability::Interval, shares);
        assert!(store.put_with("k", &noise(3000)).unwrap_err().is_closed());
        assert!(names(&files(&vfs)).is_empty(), "shares: {shares}");
    }
}

#[test]
fn a_clear_that_fails_on_its_way_takes_the_blobs_of_the_entries_that_are_gone() {
    let vfs = SimVfs::new();
    let removals = std::sync::atomic::AtomicUsize::new(0);
    let index = Watched::new(move |call| {
        let nth = (call == Call::Removal).then(|| removals.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
        match nth {
            Some(2) => Err(crate::CacheError::new(crate::ErrorKind::Metadata, "the index fails")),
            _ => Ok(()),
        }
    });
    let store = store_of(&vfs, index, Durability::Immediate, false);
    (0..5).for_each(|n| drop(store.put_with(format!("k{n}"), &noise(3000)).unwrap()));
    assert!(store.clear().unwrap_err().is_metadata());
    assert_eq!(names(&files(&vfs)).len(), 3, "two are gone");
    assert_eq!(store.clear().unwrap(), 3);
    assert!(names(&files(&vfs)).is_empty());
}
