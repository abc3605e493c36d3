//! Power cuts and failing calls under the filesystem backend.
//!
//! Each seed is one life of a cache directory: writes, removals and syncs in an order of its own, an end in the middle
//! of one of their calls, and one of the many things a disk can keep of all that.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{BlobBackend, BlobName, FilesystemBlobs};
use crate::config::{Durability, Limits, NativeFormat};
use crate::error::Result;
use crate::format::{self, Rules};
use crate::storage::vfs::publish::{STAGING, remove_left_over};
use crate::storage::vfs::{Fault, Lie, Repeat, SimVfs, Vfs};
use crate::util::digest::checksum;

const ROOT: &str = "/cache";
const SEEDS: u64 = 2500;
const MAX: u64 = 1 << 20;

fn open(vfs: &SimVfs) -> FilesystemBlobs {
    FilesystemBlobs::open(Arc::new(vfs.clone()), Path::new(ROOT)).unwrap()
}

/// A number that depends on a seed and what it is for.
fn choice(seed: u64, what: u64, below: u64) -> u64 {
    checksum(&[seed.to_le_bytes(), what.to_le_bytes()].concat()) % below
}

/// The payload that belongs to a name, so that a wrong one is always seen.
fn payload(name: &BlobName) -> Vec<u8> {
    let sum = checksum(name.as_str().as_bytes());
    let len = if sum.is_multiple_of(32) { 70_000 } else { sum % 3000 };
    (0..len).map(|at| (sum >> (at % 57)) as u8 ^ at as u8).collect()
}

/// How a blob is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Whole,
    Pieces,
    /// Its payload in a file of its own.
    Split,
}

const WAYS: [Way; 3] = [Way::Whole, Way::Pieces, Way::Split];

fn write(blobs: &dyn BlobBackend, name: &BlobName, durability: Durability) -> Result<()> {
    write_by(Way::Whole, blobs, name, durability)
}

fn write_by(way: Way, blobs: &dyn BlobBackend, name: &BlobName, durability: Durability) -> Result<()> {
    let payload = payload(name);
    let envelope = format::seal(name.as_str().as_bytes(), &payload, Rules::unsigned(&Limits::DEFAULT))?;
    if way == Way::Whole {
        return blobs.write(name, &envelope.parts(), durability);
    }
    if way == Way::Split {
        let [start, head, tail, trailer] = envelope.parts();
        let mut writing = blobs.create_around(name, start, NativeFormat::Npy)?;
        writing.write(head)?;
        writing.write(tail)?;
        writing.end_middle();
        writing.write(trailer)?;
        return writing.publish(durability);
    }
    let mut writing = blobs.create(name)?;
    for piece in envelope.parts().concat().chunks(1000) {
        writing.write(piece)?;
    }
    writing.publish(durability)
}

#[derive(Debug, PartialEq)]
enum Found {
    Nothing,
    Damaged,
    Whole,
}

fn look(blobs: &dyn BlobBackend, name: &BlobName) -> Found {
    let bytes = match blobs.read(name, MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Found::Nothing,
        Err(error) if error.is_integrity() => return Found::Damaged,
        Err(error) => panic!("{error:?}"),
    };
    match format::open(&bytes, Rules::unsigned(&Limits::DEFAULT)) {
        Ok(opened) => {
            assert_eq!(opened.header, name.as_str().as_bytes());
            assert!(opened.payload == payload(name), "wrong bytes taken for right");
            Found::Whole
        }
        Err(error) if error.is_integrity() => Found::Damaged,
        Err(error) => panic!("{error:?}"),
    }
}

/// What one life promised to keep: names, and whether each was acknowledged as durable.
type Acknowledged = BTreeMap<BlobName, bool>;

/// Runs until a call fails, which is when the power goes.
fn live(vfs: &SimVfs, seed: u64) -> Acknowledged {
    let blobs = open(vfs);
    vfs.fail_at(choice(seed, 0, 150), Fault::Kind(io::ErrorKind::Other), Repeat::Sticky);
    let mut kept = Acknowledged::new();
    for step in 1.. {
        let done = match choice(seed, step, 8) {
            0..3 => put(&blobs, seed ^ step, Durability::Immediate, &mut kept),
            3..6 => put(&blobs, seed ^ step, Durability::Interval, &mut kept),
            6 => kept.pop_first().map_or(Ok(()), |(name, _)| blobs.remove(&name).map(drop)),
            _ => blobs.sync().map(|()| kept.values_mut().for_each(|durable| *durable = true)),
        };
        if done.is_err() {
            break;
        }
    }
    kept
}

fn put(blobs: &dyn BlobBackend, chance: u64, durability: Durability, kept: &mut Acknowledged) -> Result<()> {
    let name = BlobName::unique();
    write_by(WAYS[(chance % 3) as usize], blobs, &name, durability)?;
    kept.insert(name, durability == Durability::Immediate);
    Ok(())
}

/// Lives, cuts, looks: how many acknowledged durable blobs there were, and how many of them are not whole.
fn life_and_death(seed: u64, lie: Option<Lie>) -> (usize, usize) {
    let vfs = SimVfs::new();
    lie.into_iter().for_each(|lie| vfs.lie_about(lie));
    let kept = live(&vfs, seed);
    let after = vfs.crash(seed);
    let blobs = open(&after);
    let (durable, fleeting): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(_, durable)| *durable);
    for (name, _) in &fleeting {
        look(&blobs, name);
    }
    let lost = durable.iter().filter(|(name, _)| look(&blobs, name) != Found::Whole).count();
    goes_on(&after, &blobs);
    (durable.len(), lost)
}

/// What was left over is removed, all that is listed can be read, and the next write works.
fn goes_on(vfs: &SimVfs, blobs: &FilesystemBlobs) {
    let root = Path::new(ROOT);
    let left = vfs_names(vfs, STAGING) as u64;
    assert_eq!((remove_left_over(vfs, root, &[]).unwrap(), vfs_names(vfs, STAGING)), (left, 0));
    for blob in blobs.page(None, usize::MAX).unwrap() {
        look(blobs, &blob.name);
    }
    let name = BlobName::unique();
    write(blobs, &name, Durability::Immediate).unwrap();
    assert_eq!(look(blobs, &name), Found::Whole);
}

fn vfs_names(vfs: &SimVfs, dir: &str) -> usize {
    vfs.list(&Path::new(ROOT).join(dir)).unwrap().len()
}

fn totals(seeds: u64, lie: Option<Lie>) -> (usize, usize) {
    let add = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
    (0..seeds).map(|seed| life_and_death(seed, lie)).fold((0, 0), add)
}

#[test]
fn a_power_cut_at_any_call_loses_no_durable_blob_and_damages_none_unseen() {
    let (durable, lost) = totals(SEEDS, None);
    assert!(durable > 10_000, "only {durable} blobs were at stake");
    assert_eq!(lost, 0, "of {durable}");
}

/// The negative control: with a disk that lies, the same lives must be seen to lose blobs.
#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    for lie in [Lie::FileSync, Lie::DirSync] {
        let (durable, lost) = totals(100, Some(lie));
        assert!(lost > durable / 10, "{lie:?}: {lost} of {durable}");
    }
}

#[test]
fn a_rename_without_sync_is_seen_lost_empty_and_torn() {
    let vfs = SimVfs::new();
    let blobs = open(&vfs);
    let names: Vec<BlobName> = (0..20).map(|_| BlobName::unique()).collect();
    names.iter().for_each(|name| write(&blobs, name, Durability::Interval).unwrap());
    let mut seen = BTreeMap::<String, usize>::new();
    for seed in 0..50 {
        let after = open(&vfs.crash(seed));
        for name in &names {
            let found = match look(&after, name) {
                Found::Damaged if after.read(name, MAX).unwrap() == Some(Vec::new()) => "empty".to_owned(),
                found => format!("{found:?}"),
            };
            *seen.entry(found).or_default() += 1;
        }
    }
    for state in ["Nothing", "Damaged", "Whole", "empty"] {
        assert!(seen.get(state).is_some_and(|times| *times > 10), "{state}: {seen:?}");
    }
}

/// The system has said once that the file could not be written, and takes it for written from then on.
#[test]
fn a_sync_that_failed_is_not_believed_the_next_time_and_the_file_is_written_anew() {
    let (mut failed, mut removed) = (0, 0);
    for call in 0..40 {
        let vfs = SimVfs::new();
        let blobs = open(&vfs);
        let names: Vec<BlobName> = (0..3).map(|_| BlobName::unique()).collect();
        names.iter().for_each(|name| write(&blobs, name, Durability::Interval).unwrap());
        // The second fault meets the writing anew.
        for later in [call, call / 4] {
            vfs.fail_at(later, Fault::Errno(libc::EIO), Repeat::Once);
            failed += usize::from(blobs.sync().is_err());
            vfs.clear_faults();
        }
        if call % 2 == 0 {
            removed += usize::from(blobs.remove(&names[0]).unwrap());
        }
        blobs.sync().unwrap();
        assert_eq!(vfs_names(&vfs, STAGING), 0, "call {call}");
        for seed in 0..30 {
            let after = open(&vfs.crash(seed));
            names[1..].iter().for_each(|name| assert_eq!(look(&after, name), Found::Whole, "call {call}"));
        }
        assert_eq!(look(&blobs, &names[0]) == Found::Nothing, call % 2 == 0);
    }
    assert!(failed > 6 && removed == 20, "{failed} syncs failed");
}

/// More than are remembered by name.
#[test]
fn after_a_sync_of_all_that_failed_the_files_that_nobody_named_are_written_anew_too() {
    for list_fails in [false, true] {
        let vfs = SimVfs::new();
        let blobs = open(&vfs);
        let names: Vec<BlobName> = (0..1100).map(|_| BlobName::unique()).collect();
        names.iter().for_each(|name| write(&blobs, name, Durability::Interval).unwrap());
        let eio = || Err(io::Error::from_raw_os_error(libc::EIO));
        vfs.answer_whole_syncs([eio(), Ok(()), Ok(())]);
        if list_fails {
            vfs.fail_at(0, Fault::Errno(libc::EIO), Repeat::Once);
        }
        assert!(blobs.sync().is_err());
        assert_eq!(vfs.clear_faults(), list_fails);
        blobs.sync().unwrap();
        let after = open(&vfs.crash(1));
        assert!(names.iter().all(|name| look(&after, name) == Found::Whole), "list fails: {list_fails}");
    }
}

const FAULTS: [Fault; 4] =
    [Fault::Errno(libc::EIO), Fault::Errno(libc::ENOSPC), Fault::Errno(libc::EFBIG), Fault::Errno(libc::EMFILE)];

#[test]
fn a_write_whose_nth_call_fails_says_so_leaves_nothing_and_the_next_one_works() {
    for (durability, way) in each_durability_and_way() {
        for fault in FAULTS {
            let calls = (0..).take_while(|call| write_failing_at(*call, fault, Repeat::Once, durability, way)).count();
            let expected = if durability == Durability::Immediate { 7 } else { 4 };
            assert!(calls >= expected, "{durability:?}, {way:?}: {calls} calls");
        }
    }
}

#[test]
fn a_write_on_a_disk_that_stays_broken_says_so_and_works_again_after_repair() {
    for (durability, way) in each_durability_and_way() {
        for fault in FAULTS {
            let _ = (0..).take_while(|call| write_failing_at(*call, fault, Repeat::Sticky, durability, way)).count();
        }
    }
}

fn each_durability_and_way() -> impl Iterator<Item = (Durability, Way)> {
    [Durability::Immediate, Durability::Interval].into_iter().flat_map(|durability| WAYS.map(|way| (durability, way)))
}

/// Writes with a fault planned; false when there was no such call any more.
fn write_failing_at(call: u64, fault: Fault, repeat: Repeat, durability: Durability, way: Way) -> bool {
    let vfs = SimVfs::new();
    let blobs = open(&vfs);
    let name = BlobName::unique();
    vfs.fail_at(call, fault, repeat);
    let result = write_by(way, &blobs, &name, durability);
    let struck = vfs.clear_faults();
    assert_eq!(result.is_err(), struck, "call {call}: {result:?}");
    if let Err(error) = &result {
        assert!(error.is_storage(), "{error:?}");
    }
    let left = vfs_names(&vfs, STAGING);
    let most = if way == Way::Split { 2 } else { 1 };
    assert!(left <= most * usize::from(repeat == Repeat::Sticky), "call {call}: {left} files left in staging");
    let found = look(&blobs, &name);
    match (struck, repeat) {
        (false, _) => assert_eq!(found, Found::Whole),
        (true, Repeat::Once) => assert_eq!(found, Found::Nothing, "call {call}"),
        (true, Repeat::Sticky) => assert_ne!(found, Found::Damaged, "call {call}"),
    }
    goes_on(&vfs, &blobs);
    struck
}

#[test]
fn any_call_of_any_operation_may_fail_and_no_blob_comes_to_harm() {
    let operations: [fn(&FilesystemBlobs, &BlobName) -> Result<()>; 7] = [
        |blobs, name| blobs.read(name, MAX).map(drop),
        |blobs, name| blobs.open(name)?.map_or(Ok(()), |mut blob| blob.read_at(3, &mut [0; 8]).map(drop)),
        |blobs, name| blobs.read_range(name, 0, 8).map(drop),
        |blobs, _| blobs.page(None, 99).map(drop),
        |blobs, _| blobs.sync(),
        |blobs, name| blobs.remove(name).map(drop),
        |blobs, name| blobs.quarantine(name),
    ];
    for (way, (index, operation)) in
        WAYS.into_iter().flat_map(|way| operations.iter().enumerate().map(move |at| (way, at)))
    {
        for call in 0.. {
            let vfs = SimVfs::new();
            let blobs = open(&vfs);
            let [name, other] = [BlobName::unique(), BlobName::unique()];
            write_by(way, &blobs, &name, Durability::Interval).unwrap();
            write_by(way, &blobs, &other, Durability::Interval).unwrap();
            vfs.fail_at(call, Fault::Errno(libc::EIO), Repeat::Once);
            let result = operation(&blobs, &name);
            let struck = vfs.clear_faults();
            assert_eq!(result.is_err(), struck, "operation {index}, {way:?}, call {call}: {result:?}");
            assert_eq!(look(&blobs, &other), Found::Whole);
            operation(&blobs, &name).unwrap();
            blobs.sync().unwrap();
            assert_eq!(look(&open(&vfs.crash(call)), &other), Found::Whole, "synced after a failure");
            if !struck {
                assert!(call > 0, "operation {index} makes no calls");
                break;
            }
        }
    }
}
