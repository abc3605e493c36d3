use std::fs;
use std::path::PathBuf;

use super::{MAX_QUARANTINED_BYTES, MAX_QUARANTINED_FILES, *};
use crate::storage::blob::conformance::names;
use crate::storage::vfs::publish::STAGING;
use crate::storage::vfs::root::QUARANTINE;
use crate::storage::vfs::{RealVfs, SimVfs};

struct Fixture {
    _dir: tempfile::TempDir,
    root: PathBuf,
    blobs: FilesystemBlobs,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("cache");
    let blobs = FilesystemBlobs::open(Arc::new(RealVfs::new()), &root).unwrap();
    Fixture { _dir: dir, root, blobs }
}

impl Fixture {
    fn written(&self, bytes: &[u8]) -> BlobName {
        let name = BlobName::unique();
        self.blobs.write(&name, &[bytes], Durability::Interval).unwrap();
        name
    }

    /// A blob name whose directory exists and whose file does not.
    fn free_path(&self) -> (BlobName, PathBuf) {
        let name = self.written(b"");
        assert!(self.blobs.remove(&name).unwrap());
        let path = self.blobs.path(&name);
        (name, path)
    }

    fn names(&self) -> Vec<BlobName> {
        names(&self.blobs)
    }

    fn count(&self, dir: &str) -> usize {
        fs::read_dir(self.root.join(dir)).unwrap().count()
    }
}

#[test]
fn the_file_system_is_a_blob_backend_real_or_simulated() {
    crate::storage::blob::conformance::blob_backend(&fixture().blobs);
    crate::storage::blob::conformance::blob_backend(
        &FilesystemBlobs::open(Arc::new(SimVfs::new()), Path::new("/c")).unwrap(),
    );
}

#[test]
fn a_blob_lies_in_the_directory_of_its_first_two_digits_and_is_found_by_the_next_open() {
    let f = fixture();
    let name = f.written(b"value");
    let path = f.root.join("blobs").join(&name.as_str()[..2]).join(format!("{name}.blob"));
    assert_eq!(fs::read(&path).unwrap(), b"value");
    let again = FilesystemBlobs::open(Arc::new(RealVfs::new()), &f.root).unwrap();
    assert_eq!(again.read(&name, 10).unwrap().as_deref(), Some(&b"value"[..]));
    again.write(&name, &[b"other"], Durability::Immediate).unwrap();
    assert_eq!(f.blobs.read(&name, 10).unwrap().as_deref(), Some(&b"other"[..]));
    assert_eq!(f.count(STAGING), 0);
}

#[test]
fn foreign_files_are_passed_over_and_stay() {
    let f = fixture();
    let name = f.written(b"mine");
    let shard = f.blobs.path(&name).parent().unwrap().to_owned();
    let other = BlobName::unique().to_string();
    let misplaced = f.root.join("blobs").join(format!("{name}.blob"));
    let foreign = [shard.join("notes.txt"), shard.join(format!("{name}.blob.bak")), shard.join(&other), misplaced];
    foreign.iter().for_each(|path| fs::write(path, "keep").unwrap());
    fs::create_dir_all(f.root.join("blobs/zz")).unwrap();
    fs::write(f.root.join("blobs/zz").join(format!("{other}.blob")), "keep").unwrap();
    fs::create_dir(shard.join(format!("{}.blob", BlobName::unique()))).unwrap();
    assert_eq!(f.names(), [name]);
    assert!(foreign.iter().all(|path| path.exists()));
}

#[test]
fn directories_that_somebody_removed_are_made_again() {
    let f = fixture();
    for dir in ["", "blobs", STAGING, QUARANTINE] {
        let name = f.written(b"before");
        fs::remove_dir_all(f.root.join(dir)).unwrap();
        f.blobs.sync().unwrap();
        assert_eq!(f.blobs.read(&name, 10).unwrap().is_some(), [STAGING, QUARANTINE].contains(&dir), "{dir}");
        f.blobs.quarantine(&name).unwrap();
        assert_eq!(f.blobs.read(&name, 10).unwrap(), None);
        assert!(f.blobs.page(None, 99).is_ok());
        f.blobs.write(&name, &[b"after"], Durability::Immediate).unwrap();
        assert_eq!(f.blobs.read(&name, 10).unwrap().as_deref(), Some(&b"after"[..]), "{dir}");
    }
}

#[test]
fn quarantined_files_are_kept_up_to_their_number() {
    let f = fixture();
    for n in 0..MAX_QUARANTINED_FILES + 5 {
        f.blobs.quarantine(&f.written(b"damaged")).unwrap();
        assert_eq!(f.count(QUARANTINE), MAX_QUARANTINED_FILES.min(n + 1));
    }
    assert_eq!(f.names(), []);
    assert_eq!(
        fs::read(fs::read_dir(f.root.join(QUARANTINE)).unwrap().next().unwrap().unwrap().path()).unwrap(),
        b"damaged"
    );
}

#[test]
fn quarantined_files_are_kept_up_to_their_size() {
    let f = fixture();
    let quarantine = |len: u64| {
        let name = f.written(b"");
        fs::File::options().write(true).open(f.blobs.path(&name)).unwrap().set_len(len).unwrap();
        f.blobs.quarantine(&name).unwrap();
        assert_eq!(f.blobs.read(&name, u64::MAX).unwrap(), None);
        f.count(QUARANTINE)
    };
    assert_eq!(quarantine(MAX_QUARANTINED_BYTES + 1), 0);
    assert_eq!(quarantine(1 << 40), 0);
    assert_eq!(quarantine(MAX_QUARANTINED_BYTES - 1), 1);
    assert_eq!(quarantine(2), 1);
    assert_eq!(quarantine(1), 2);
}

#[test]
fn no_write_waits_for_the_disk_and_one_sync_is_enough_however_many_blobs_wait_for_it() {
    let vfs = SimVfs::new();
    let blobs = FilesystemBlobs::open(Arc::new(vfs.clone()), Path::new("/c")).unwrap();
    let names: Vec<_> = (0..1200).map(|_| BlobName::unique()).collect();
    names.iter().for_each(|name| blobs.write(name, &[b"kept"], Durability::Interval).unwrap());
    let there = |vfs: SimVfs| {
        let blobs = FilesystemBlobs::open(Arc::new(vfs), Path::new("/c")).unwrap();
        names.iter().filter(|name| blobs.read(name, 10).ok().flatten().as_deref() == Some(b"kept")).count()
    };
    assert!(there(vfs.crash(0)) < names.len(), "the last ones were not synced as they were written");
    blobs.sync().unwrap();
    assert_eq!(there(vfs.crash(0)), names.len());
    assert!(!blobs.unsynced().are_many());
}

#[test]
fn where_removals_are_durable_no_power_cut_brings_a_blob_back() {
    let back = |durable_removals: bool| {
        let vfs = SimVfs::new();
        let blobs = FilesystemBlobs::open(Arc::new(vfs.clone()), Path::new("/c")).unwrap();
        let blobs = if durable_removals { blobs.with_durable_removals() } else { blobs };
        let name = BlobName::unique();
        blobs.write(&name, &[b"old"], Durability::Immediate).unwrap();
        assert!(blobs.remove(&name).unwrap());
        let after = |seed| FilesystemBlobs::open(Arc::new(vfs.crash(seed)), Path::new("/c")).unwrap();
        (0..50).filter(|seed| after(*seed).read(&name, 10).unwrap().is_some()).count()
    };
    assert_eq!(back(true), 0);
    assert!(back(false) > 0, "the simulation would show it");
}

#[cfg(unix)]
mod on_unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_blob_is_for_its_owner_alone() {
        let f = fixture();
        let path = f.blobs.path(&f.written(b"secret"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn what_is_no_regular_file_is_neither_followed_nor_waited_for_nor_taken_away() {
        let f = fixture();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), "outside").unwrap();
        let (link, link_at) = f.free_path();
        symlink(outside.path(), &link_at).unwrap();
        let (dangling, dangling_at) = f.free_path();
        symlink("nowhere", &dangling_at).unwrap();
        let (dir, dir_at) = f.free_path();
        fs::create_dir(dir_at).unwrap();
        let (pipe, pipe_at) = f.free_path();
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, &pipe_at, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let (socket, socket_at) = f.free_path();
        let _listening = std::os::unix::net::UnixListener::bind(&socket_at).unwrap();
        for name in [&link, &dangling, &dir, &pipe, &socket] {
            let error = f.blobs.read(name, 100).unwrap_err();
            assert!(error.is_integrity() && error.to_string().contains(name.as_str()), "{error:?}");
            assert!(f.blobs.read_range(name, 0, 100).unwrap_err().is_integrity());
            f.blobs.quarantine(name).unwrap();
            assert!(fs::symlink_metadata(f.blobs.path(name)).is_ok(), "it stays");
        }
        assert_eq!((f.names(), f.count(QUARANTINE)), (vec![], 0));
        assert!(f.blobs.remove(&link).unwrap(), "a link goes, what it names stays");
        assert!(f.blobs.remove(&dir).unwrap_err().is_storage());
        assert_eq!(fs::read(outside.path()).unwrap(), b"outside");
    }

    #[test]
    fn a_write_over_a_link_replaces_the_link() {
        let f = fixture();
        let outside = tempfile::NamedTempFile::new().unwrap();
        let (name, path) = f.free_path();
        symlink(outside.path(), &path).unwrap();
        f.blobs.write(&name, &[b"mine"], Durability::Interval).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(fs::read(outside.path()).unwrap(), b"");
    }

    #[test]
    fn a_linked_directory_is_not_written_into() {
        for linked in ["blobs", STAGING, "shard"] {
            let f = fixture();
            let outside = tempfile::tempdir().unwrap();
            let (name, path) = f.free_path();
            let dir = if linked == "shard" { path.parent().unwrap().to_owned() } else { f.root.join(linked) };
            fs::remove_dir_all(&dir).unwrap();
            symlink(outside.path(), &dir).unwrap();
            let write = || f.blobs.write(&name, &[b"mine"], Durability::Immediate).unwrap_err();
            assert!(write().is_storage(), "{linked}: while it is thought to be there");
            f.blobs.shards.forget();
            let error = write();
            assert_eq!(error.to_string().contains("remove it by hand"), linked == "shard", "{error}");
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{linked}");
        }
    }

    #[test]
    fn a_path_that_is_swapped_for_a_link_all_the_time_never_leads_outside() {
        let f = fixture();
        let outside = tempfile::tempdir().unwrap();
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (name, path) = f.free_path();
        let shard = path.parent().unwrap().to_owned();
        let aside = f.root.join("aside");
        fs::write(outside.path().join(path.file_name().unwrap()), "outside").unwrap();
        let (working, done) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let done = done;
                while done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    let _ = fs::rename(&shard, &aside);
                    let _ = symlink(outside.path(), &shard);
                    let _ = fs::remove_file(&shard);
                    let _ = fs::rename(&aside, &shard);
                }
            });
            // Dropped at the end of the work or of a failed check, which ends the other thread.
            let _working = working;
            for _ in 0..3000 {
                let _ = f.blobs.write(&name, &[b"mine"], Durability::Interval);
                if let Ok(Some(bytes)) = f.blobs.read(&name, 100) {
                    assert_eq!(bytes, b"mine");
                }
                let _ = f.blobs.remove(&name);
            }
        });
        let left: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left.len(), 1);
        assert_eq!(fs::read(&left[0]).unwrap(), b"outside");
    }
}

#[test]
fn a_directory_that_lost_its_last_blob_goes_and_one_with_anything_in_it_stays() {
    let f = fixture();
    let shards = || f.count("blobs");
    let [gone, damaged, kept] = [b"1", b"2", b"3"].map(|bytes| f.written(bytes));
    let foreign = f.root.join("blobs/zz");
    fs::create_dir(&foreign).unwrap();
    f.blobs.tidy();
    let all = shards();
    f.blobs.remove(&gone).unwrap();
    f.blobs.quarantine(&damaged).unwrap();
    assert_eq!(shards(), all, "not before it is asked for");
    f.blobs.tidy();
    let left = names(&f.blobs);
    assert_eq!(left, [kept]);
    assert_eq!(shards(), 2, "that of the blob and the foreign one");
    assert!(foreign.exists());
    f.blobs.write(&gone, &[b"again"], Durability::Immediate).unwrap();
    assert_eq!(f.blobs.read(&gone, 10).unwrap().as_deref(), Some(&b"again"[..]));
}

#[test]
fn what_is_written_while_empty_directories_go_is_there() {
    let f = fixture();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2u8)
            .map(|n| {
                let blobs = f.blobs.clone();
                scope.spawn(move || {
                    for round in 0..2000 {
                        // All in one directory, which is empty again and again.
                        let name = BlobName::parse(&format!("ab{n}{round:029x}")).unwrap();
                        blobs.write(&name, &[&[n]], Durability::Interval).unwrap();
                        assert_eq!(blobs.read(&name, 10).unwrap().as_deref(), Some(&[n][..]), "round {round}");
                        assert!(blobs.remove(&name).unwrap(), "round {round}");
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                f.blobs.tidy();
            }
        });
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    f.blobs.tidy();
    assert_eq!(f.count("blobs"), 0);
}

#[test]
fn a_directory_found_empty_goes_too_as_a_killed_process_leaves_it() {
    let f = fixture();
    drop(f.free_path());
    let again = FilesystemBlobs::open(Arc::new(RealVfs::new()), &f.root).unwrap();
    again.tidy();
    assert_eq!(f.count("blobs"), 1, "nobody has looked yet");
    assert_eq!(names(&again), []);
    again.tidy();
    assert_eq!(f.count("blobs"), 0);
}
