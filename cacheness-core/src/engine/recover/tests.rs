use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::Durability;
use crate::config::limits::Limits;
use crate::engine::index::Index;
use crate::entry::sample;
use crate::index::MemoryMetadata;
use crate::storage::blob::FilesystemBlobs;
use crate::storage::blob::conformance::names;
use crate::storage::vfs::root::QUARANTINE;
use crate::storage::vfs::{Fault, Repeat, SimVfs, Vfs};
use crate::util::digest::checksum;

const ROOT: &str = "/cache";
const VALUE: [u8; 100] = [7; 100];

fn in_memory() -> Index {
    Index::new(Arc::new(MemoryMetadata::new()), Arc::default(), None)
}

fn files(vfs: &SimVfs) -> FilesystemBlobs {
    FilesystemBlobs::open(Arc::new(vfs.clone()), Path::new(ROOT)).unwrap()
}

/// How many blobs there are, and how many in quarantine.
fn count(vfs: &SimVfs) -> (usize, usize) {
    (names(&files(vfs)).len(), vfs.list(&Path::new(ROOT).join(QUARANTINE)).unwrap().len())
}

/// Writes a blob that no record names.
fn orphan(vfs: &SimVfs, key: &str) {
    let mut entry = sample::entry(key);
    (entry.core.raw_size, entry.core.stored_size) = (VALUE.len() as u64, VALUE.len() as u64);
    entry.core.checksum = checksum(&VALUE);
    let mut header = Vec::new();
    entry::encode(&entry, u64::MAX, &mut header).unwrap();
    let envelope = format::seal(&header, &VALUE, Rules::unsigned(&Limits::DEFAULT)).unwrap();
    files(vfs).write(&BlobName::unique(), &envelope.parts(), Durability::Immediate).unwrap();
}

fn garbage(vfs: &SimVfs) {
    files(vfs).write(&BlobName::unique(), &[b"no blob at all"], Durability::Immediate).unwrap();
}

fn reconciled(vfs: &SimVfs, health: Health) -> Result<Index> {
    let index = in_memory();
    reconcile(&index, (&files(vfs), Unnamed::LeftOver), health, None, Rules::unsigned(&Limits::DEFAULT)).map(|_| index)
}

/// Lets each file operation of a reconciliation fail, one after the other, and looks at what comes of it.
fn with_each_call_failing(errno: i32, health: Health, fill: impl Fn(&SimVfs), check: impl Fn(&SimVfs, Result<Index>)) {
    for call in 0.. {
        let vfs = SimVfs::new();
        fill(&vfs);
        let (index, blobs) = (in_memory(), files(&vfs));
        vfs.fail_at(call, Fault::Errno(errno), Repeat::Once);
        let done = reconcile(&index, (&blobs, Unnamed::LeftOver), health, None, Rules::unsigned(&Limits::DEFAULT));
        if !vfs.clear_faults() {
            assert!(call > 2, "only {call} operations");
            return;
        }
        check(&vfs, done.map(|_| index));
    }
}

#[test]
fn an_orphan_that_cannot_be_removed_keeps_no_cache_from_opening_and_goes_the_next_time() {
    let stayed = std::cell::Cell::new(0);
    let fill = |vfs: &SimVfs| ["one", "two"].iter().for_each(|key| orphan(vfs, key));
    with_each_call_failing(libc::EACCES, Health::Unclean, fill, |vfs, done| match done {
        Ok(_) => {
            assert_eq!(count(vfs), (1, 0), "the other one is gone");
            stayed.set(stayed.get() + 1);
            reconciled(vfs, Health::Unclean).unwrap();
            assert_eq!(count(vfs), (0, 0));
        }
        Err(error) => assert!(error.is_storage() && count(vfs) == (2, 0), "a list of blobs that is not whole: {error}"),
    });
    assert!(stayed.get() > 0);
}

#[test]
fn an_orphan_that_is_no_blob_is_set_aside_and_one_that_cannot_be_set_aside_is_no_reason_not_to_open() {
    let vfs = SimVfs::new();
    garbage(&vfs);
    orphan(&vfs, "whole");
    assert_eq!(reconciled(&vfs, Health::New).unwrap().totals().unwrap().entries, 1);
    assert_eq!(count(&vfs), (1, 1), "it is kept for inspection, not unlinked");
    let stayed = std::cell::Cell::new(0);
    with_each_call_failing(libc::EROFS, Health::New, garbage, |vfs, done| {
        let (there, aside) = count(vfs);
        assert_eq!(there + aside, 1, "{done:?}");
        stayed.set(stayed.get() + usize::from(done.is_ok() && there == 1));
    });
    assert!(stayed.get() > 0);
}

#[test]
fn an_orphan_that_the_disk_cannot_read_is_set_aside_and_one_that_may_be_read_later_keeps_its_place() {
    let fill = |vfs: &SimVfs| orphan(vfs, "key");
    let aside = std::cell::Cell::new(0);
    with_each_call_failing(libc::EIO, Health::New, fill, |vfs, done| match count(vfs) {
        (1, 0) => assert!(
            done.is_ok_and(|index| index.totals().unwrap().entries == 1) || reconciled(vfs, Health::New).is_ok()
        ),
        (0, 1) => {
            assert_eq!(done.unwrap().totals().unwrap().entries, 0);
            aside.set(aside.get() + 1);
        }
        found => panic!("{found:?}"),
    });
    assert!(aside.get() > 0);
    with_each_call_failing(libc::EMFILE, Health::New, fill, |vfs, done| {
        assert_eq!(count(vfs), (1, 0), "{done:?}");
        assert_eq!(reconciled(vfs, Health::New).unwrap().totals().unwrap().entries, 1);
    });
}
