use std::fs;
use std::io;
use std::path::Path;

use super::*;
use crate::storage::blob::BlobBackend;
use crate::storage::blob::conformance::names;
use crate::storage::vfs::publish::STAGING;
use crate::storage::vfs::root::QUARANTINE;
use crate::storage::vfs::{Fault, RealVfs, Repeat, SimVfs};

const NPY: NativeFormat = NativeFormat::Npy;

fn real() -> (tempfile::TempDir, FilesystemBlobs) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("cache");
    let blobs = FilesystemBlobs::open(Arc::new(RealVfs::new()), &root).unwrap();
    (dir, blobs)
}

fn try_write(blobs: &FilesystemBlobs, middle: &[u8], durability: Durability) -> Result<BlobName> {
    let name = BlobName::unique();
    let mut blob = blobs.create_around(&name, b"head", NPY)?;
    for piece in middle.chunks(1000) {
        blob.write(piece)?;
    }
    blob.end_middle();
    blob.write(b"ta")?;
    blob.write(b"il")?;
    blob.publish(durability)?;
    Ok(name)
}

fn written(blobs: &FilesystemBlobs, middle: &[u8]) -> BlobName {
    try_write(blobs, middle, Durability::Interval).unwrap()
}

fn count(blobs: &FilesystemBlobs, dir: &str) -> usize {
    fs::read_dir(blobs.root.join(dir)).unwrap().count()
}

#[test]
fn two_files_read_as_one_blob_at_any_place_and_one_of_them_is_the_middle_alone() {
    let (_dir, blobs) = real();
    for len in [0, 1, 2500] {
        let middle: Vec<u8> = (0..=255).cycle().take(len).collect();
        let (name, whole) = (written(&blobs, &middle), [b"head", &middle[..], b"tail"].concat());
        assert_eq!(blobs.read(&name, whole.len() as u64).unwrap().as_ref(), Some(&whole));
        assert!(blobs.read(&name, whole.len() as u64 - 1).unwrap_err().is_limit());
        let file = blobs.file_of(&name).unwrap();
        assert_eq!(fs::read(&file).unwrap(), middle);
        assert_eq!(file.extension().unwrap(), "npy");
        let mut open = blobs.open(&name).unwrap().unwrap();
        assert_eq!(open.len(), whole.len() as u64);
        assert!(open.lies_by_itself());
        for (at, room) in [(0, 4000), (0, 3), (2, 4), (4, 1), (3, len + 3), (len + 2, 4), (len + 8, 1), (len + 9, 1)] {
            let mut buf = vec![0; room];
            let read = open.read_at(at as u64, &mut buf).unwrap();
            let expected: Vec<u8> = whole.iter().skip(at).take(room).copied().collect();
            assert_eq!(buf[..read], expected, "{at} {room}");
            assert_eq!(blobs.read_range(&name, at as u64, room as u64).unwrap().unwrap(), expected);
        }
        let page = blobs.page(None, 10).unwrap();
        assert_eq!((page.len(), page[0].len), (1, whole.len() as u64));
        assert!(blobs.remove(&name).unwrap() && !blobs.remove(&name).unwrap());
        assert_eq!(names(&blobs), []);
        assert!(!file.exists());
    }
    assert_eq!(count(&blobs, STAGING), 0);
}

#[test]
fn what_was_given_up_is_gone_and_a_plain_blob_has_no_file_of_its_own() {
    let (_dir, blobs) = real();
    let mut given_up = blobs.create_around(&BlobName::unique(), b"head", NPY).unwrap();
    given_up.write(b"middle").unwrap();
    drop(given_up);
    let plain = BlobName::unique();
    blobs.write(&plain, &[b"value"], Durability::Interval).unwrap();
    assert_eq!(blobs.file_of(&plain), None);
    assert_eq!((names(&blobs), count(&blobs, STAGING)), (vec![plain], 0));
}

#[test]
fn a_failure_at_any_call_leaves_nothing_of_the_blob() {
    for durability in [Durability::Interval, Durability::Immediate] {
        for call in 0.. {
            let vfs = SimVfs::new();
            let blobs = FilesystemBlobs::open(Arc::new(vfs.clone()), Path::new("/cache")).unwrap();
            vfs.fail_at(call, Fault::Kind(io::ErrorKind::StorageFull), Repeat::Once);
            let result = try_write(&blobs, &[7; 1500], durability);
            if !vfs.clear_faults() {
                assert_eq!(blobs.read(&result.unwrap(), 2000).unwrap().unwrap().len(), 1508);
                break;
            }
            assert!(result.is_err(), "call {call}");
            assert_eq!(names(&blobs), [], "call {call}");
            assert_eq!(vfs.list(&blobs.root.join(STAGING)).unwrap(), [], "call {call}");
        }
    }
}

#[test]
fn a_middle_without_a_sidecar_and_a_sidecar_without_a_middle_are_listed_and_removed() {
    let (_dir, blobs) = real();
    for suffix in [SIDECAR, ".npy"] {
        let name = written(&blobs, b"middle");
        fs::remove_file(blobs.path_of(&name, suffix)).unwrap();
        assert!(blobs.open(&name).unwrap().is_none());
        assert_eq!(names(&blobs), std::slice::from_ref(&name));
        assert!(blobs.remove(&name).unwrap());
        assert_eq!(names(&blobs), []);
    }
}

#[test]
fn a_damaged_sidecar_and_a_middle_of_another_length_are_damage_and_both_files_go_to_quarantine() {
    let (_dir, blobs) = real();
    let name = written(&blobs, b"middle");
    let sidecar = blobs.path_of(&name, SIDECAR);
    let sound = fs::read(&sidecar).unwrap();
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(&sidecar, &bytes).unwrap();
        assert!(blobs.open(&name).unwrap_err().is_integrity(), "{at}");
    }
    for len in 0..sound.len() {
        fs::write(&sidecar, &sound[..len]).unwrap();
        assert!(blobs.read(&name, 100).unwrap_err().is_integrity(), "{len}");
    }
    fs::write(&sidecar, &sound).unwrap();
    fs::write(blobs.file_of(&name).unwrap(), b"middl").unwrap();
    assert!(blobs.open(&name).unwrap_err().is_integrity());
    blobs.quarantine(&name).unwrap();
    assert_eq!((names(&blobs), count(&blobs, QUARANTINE)), (vec![], 2));
}

#[test]
fn a_sync_makes_both_files_last() {
    let vfs = SimVfs::new();
    let blobs = FilesystemBlobs::open(Arc::new(vfs.clone()), Path::new("/cache")).unwrap();
    let synced = written(&blobs, b"middle");
    blobs.sync().unwrap();
    let immediate = try_write(&blobs, b"middle", Durability::Immediate).unwrap();
    let lost = written(&blobs, b"middle");
    let after = FilesystemBlobs::open(Arc::new(vfs.crash(0)), Path::new("/cache")).unwrap();
    for name in [synced, immediate] {
        assert_eq!(after.read(&name, 100).unwrap().as_deref(), Some(&b"headmiddletail"[..]));
    }
    assert!(after.read(&lost, 100).is_ok_and(|read| read.is_none()) || after.open(&lost).is_err());
}

#[test]
fn the_bytes_of_a_sidecar_are_fixed() {
    let sidecar =
        Sidecar { head: b"head".to_vec(), tail: b"ta".to_vec(), body_len: 0x0102, format: NativeFormat::Parquet };
    let covered = b"headta\x04\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0\x01\0\0\0\0\0\0\0";
    assert_eq!(sidecar.to_bytes(), [&covered[..], &checksum(covered).to_le_bytes()].concat());
}
