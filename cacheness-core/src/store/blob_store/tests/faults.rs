//! A disk that fails, and one that loses power, under a stream on its way in.

use std::io::{ErrorKind, Read, Write};

use super::*;
use crate::blob::{BlobBackend, FilesystemBlobs};
use crate::format::chunks::CHUNK_LEN;
use crate::metadata::MemoryIndex;
use crate::store::blob_store::contents::Contents;
use crate::store::open::HeldLock;
use crate::store::opened::Opened;
use crate::store::{Settings, Store};
use crate::vfs::publish::STAGING;
use crate::vfs::{Fault, Lie, Repeat, SimVfs, Vfs};
use crate::{BlobName, CacheConfig, Durability, Limits};

const ROOT: &str = "/store";

fn files(vfs: &SimVfs) -> FilesystemBlobs {
    FilesystemBlobs::open(Arc::new(vfs.clone()), Path::new(ROOT)).unwrap()
}

/// A store whose blobs are in a simulated file system, and whose index is in memory.
fn store_on(vfs: &SimVfs) -> BlobStore {
    let store = Store {
        memory: None,
        root: None,
        index: Arc::new(MemoryIndex::default()),
        blobs: Arc::new(files(vfs)),
        settings: Settings::of(&CacheConfig::in_memory().with_inline_bytes(0).with_durability(Durability::Immediate)),
        flusher: None,
        retired: Arc::default(),
        lock: HeldLock::default(),
    };
    BlobStore::over(Arc::new(Engine::new(store, Contents::default(), false)))
}

fn read(store: &BlobStore) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.reader("k").unwrap().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn names(vfs: &SimVfs) -> Vec<BlobName> {
    let mut names = Vec::new();
    files(vfs)
        .list(&mut |name| {
            names.push(name);
            Ok(())
        })
        .unwrap();
    names
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
            let left_over = names(&vfs).len() - 1;
            assert!(left_over == usize::from(struck && written.is_ok()), "call {call}: {left_over} blobs too many");
            write(&store, "k", &new).unwrap();
            assert!(read(&store) == new, "call {call}");
            store.verify(Repair::Yes).unwrap();
            assert_eq!(names(&vfs).len(), 1, "call {call}");
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
    let whole = names(&after).iter().any(|name| match Opened::open(&blobs, name, &Limits::DEFAULT) {
        Ok(blob) => blob.unwrap().content().is_ok_and(|content| {
            assert_eq!(content, crate::digest::identity(&bytes), "wrong bytes taken for right");
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
