//! The directory a cache lives in: made when it is missing, refused when somebody else could change what is in it, locked
//! for one process, and known by its manifest.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::publish::STAGING;
use super::{FileKind, Lock, Metadata, Vfs, storage_error, user};
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest;

/// Where blobs live, below the cache directory.
pub(crate) const BLOBS: &str = "blobs";
/// Where damaged blobs are kept for inspection, below the cache directory.
pub(crate) const QUARANTINE: &str = "quarantine";

/// Locked by every process that uses the directory and does not own it, all of them together.
pub(crate) const GUESTS: &str = "guests";
/// Where files lie that are locked for a key, below the cache directory.
pub(crate) const LOCKS: &str = "locks";

/// Permission bits that let anyone but the owner change a directory.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// Makes the cache directory where it is missing, and returns its path without any link in it: the one to use from here
/// on. It is made for the owner alone; one that exists is checked and left as it is.
///
/// # Errors
/// `Storage` when the directory cannot be made, is none, belongs to another user or can be written to by one.
pub(crate) fn find_root(vfs: &dyn Vfs, path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|error| storage_error("find", path, error))?;
    let root = make_with_parents(vfs, &absolute)?;
    check(vfs, &root)?;
    Ok(root)
}

/// Makes what belongs in a cache directory, as [`find_root`] makes that itself. The caller knows that it is one.
///
/// # Errors
/// As [`find_root`].
pub(crate) fn make_rooms(vfs: &dyn Vfs, root: &Path) -> Result<()> {
    for name in [BLOBS, STAGING, QUARANTINE] {
        let dir = root.join(name);
        if make_dir(vfs, &dir)? {
            vfs.sync_dir(root).map_err(|error| storage_error("sync", root, error))?;
        }
        check(vfs, &dir)?;
    }
    Ok(())
}

/// Makes a cache directory with what belongs in it.
pub(crate) fn prepare_root(vfs: &dyn Vfs, path: &Path) -> Result<PathBuf> {
    let root = find_root(vfs, path)?;
    make_rooms(vfs, &root)?;
    Ok(root)
}

/// Resolves a path, making the directories that are missing at its end.
fn make_with_parents(vfs: &dyn Vfs, path: &Path) -> Result<PathBuf> {
    match vfs.canonical(path) {
        Ok(found) => return Ok(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(storage_error("find", path, error)),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        let message = format!("{} cannot be made: give a path without `..` behind what exists", path.display());
        return Err(CacheError::new(ErrorKind::Storage, message));
    };
    let parent = make_with_parents(vfs, parent)?;
    let dir = parent.join(name);
    if make_dir(vfs, &dir)? {
        // A parent that we may not read cannot be synced, and is not ours to answer for.
        let _ = vfs.sync_dir(&parent);
    }
    Ok(dir)
}

/// Makes a directory; false when something has that name already. Making one never follows a link of that name.
fn make_dir(vfs: &dyn Vfs, dir: &Path) -> Result<bool> {
    match vfs.make_dir(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(storage_error("make the directory", dir, error)),
    }
}

/// # Errors
/// `Storage` when no cache may live there.
pub(crate) fn check(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    let metadata = vfs.metadata(dir).map_err(|error| storage_error("examine", dir, error))?;
    match refusal(&metadata, user()) {
        None => Ok(()),
        Some(why) => Err(CacheError::new(ErrorKind::Storage, format!("{} cannot hold a cache: {why}", dir.display()))),
    }
}

/// Why a cache does not live there, if it does not. Root is held to the same: what another user can write to would
/// otherwise decide what a program of root's gets from its cache.
fn refusal(metadata: &Metadata, user: Option<u32>) -> Option<String> {
    match metadata.kind {
        FileKind::Dir => {}
        FileKind::Link => return Some("it is a symbolic link; remove it or name a directory".into()),
        FileKind::File | FileKind::Other => return Some("it is not a directory; name another path".into()),
    }
    let (owner, user) = (metadata.owner?, user?);
    if owner.uid != user {
        return Some(format!("it belongs to user {}, not to user {user}; name a directory of your own", owner.uid));
    }
    let open = owner.mode & OTHERS_MAY_WRITE != 0;
    open.then(|| format!("others may write to it (mode {:04o}); run `chmod go-w` on it or name another", owner.mode))
}

// The lock that makes one process the owner of a cache directory.

const LOCK_FILE: &str = "lock";

/// Takes the lock of a cache directory. It is held until the guard is dropped or the process ends, however it ends.
///
/// The lock file itself stays: removing it would let two processes hold a lock on two files of one name.
///
/// # Errors
/// `Locked` when it is held, by another process or by this one; `Storage`.
pub(crate) fn lock_root(vfs: &dyn Vfs, root: &Path) -> Result<Box<dyn Lock>> {
    let path = root.join(LOCK_FILE);
    vfs.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => locked(root, error),
        _ => storage_error("lock", &path, error),
    })
}

/// [`lock_root`] for a process that leaves the directory to others too, as long as they do the same.
///
/// # Errors
/// As [`lock_root`]; `Locked` if another process has it alone.
pub(crate) fn share_root(vfs: &dyn Vfs, root: &Path) -> Result<Box<dyn Lock>> {
    let path = root.join(LOCK_FILE);
    vfs.share(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => locked(root, error),
        _ => storage_error("lock", &path, error),
    })
}

/// The lock of the directory, until it is released or the store is gone.
#[derive(Debug, Default)]
pub(crate) struct HeldLock(Mutex<Option<Box<dyn Lock>>>);

impl HeldLock {
    pub(crate) fn of(lock: Box<dyn Lock>) -> Self {
        Self(Mutex::new(Some(lock)))
    }

    pub(crate) fn hold(&self, lock: Box<dyn Lock>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
    }

    pub(crate) fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The error of a cache directory that another process uses.
pub(crate) fn locked(root: &Path, error: io::Error) -> CacheError {
    CacheError::caused_by(ErrorKind::Locked, held(root), error)
}

fn held(root: &Path) -> String {
    format!(
        "another process uses the cache directory {}: give this process a directory of its own, close the other one, \
         or choose a metadata backend that several processes can share",
        root.display()
    )
}

// The text of `cacheness.toml`, by which a directory is known as one of a cache or a blob store, and the names in one.

pub(crate) const MANIFEST: &str = "cacheness.toml";
/// The same once more, so that no single damage makes a directory nobody's.
pub(crate) const MANIFEST_COPY: &str = "cacheness.toml.copy";
/// What else lies in a directory of ours: with these names nothing is ours without a manifest.
pub(crate) const OTHER_NAMES: [&str; 27] = [
    MANIFEST_COPY,
    "blobs",
    GUESTS,
    "index",
    "index.clean",
    "index.journal",
    "index.journal.part",
    "index.json",
    "index.json.part",
    "index.next",
    "index.old",
    "index.orders",
    "index.rebuilding",
    "index.rebuilding.part",
    "index.sqlite3",
    "index.sqlite3-shm",
    "index.sqlite3-wal",
    "index.sqlite3.damaged",
    "index.sqlite3.lock",
    "index.state",
    "index.state.part",
    "index.used",
    "lock",
    LOCKS,
    "quarantine",
    "socket",
    "staging",
];

/// What tells other programs that a directory is a cache, by name and content: backups pass it over, and git.
pub(crate) const TAGS: [(&str, &str); 2] = [
    (
        "CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55\n# This is the directory of a cache, made by cacheness. For information \
         about cache directory tags see\n# https://bford.info/cachedir/\n",
    ),
    (".gitignore", "# Made by cacheness.\n*\n"),
];

/// A manifest is a few lines; more is not one.
pub(crate) const MAX_MANIFEST_LEN: u64 = 4096;

/// A manifest with this body.
pub(crate) fn manifest_text(body: &str) -> String {
    format!("{body}checksum = \"{:016x}\"\n", digest::checksum(body.as_bytes()))
}

/// What a manifest says; `None` if it is damaged.
pub(crate) fn manifest_body(text: &str) -> Option<&str> {
    let (body, _) = text.split_at_checked(text.find("checksum = \"")?)?;
    (text == manifest_text(body)).then_some(body)
}

/// The format that a manifest tells.
pub(crate) fn manifest_format(body: &str) -> Option<u32> {
    body.lines().find_map(|line| line.strip_prefix("format = "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::vfs::{Owner, RealVfs, SimVfs};

    fn dir_of(uid: u32, mode: u32) -> Metadata {
        Metadata { kind: FileKind::Dir, len: 0, owner: Some(Owner { uid, mode }), modified: None }
    }

    #[test]
    fn a_directory_of_another_user_is_refused_also_by_root() {
        assert!(refusal(&dir_of(1000, 0o700), Some(0)).unwrap().contains("user 1000"));
        assert!(refusal(&dir_of(0, 0o700), Some(1000)).unwrap().contains("user 0"));
        assert_eq!(refusal(&dir_of(1000, 0o700), Some(1000)), None);
    }

    #[test]
    fn a_directory_others_may_write_to_is_refused_with_its_mode() {
        for mode in [0o777, 0o1777, 0o720, 0o702] {
            assert!(refusal(&dir_of(7, mode), Some(7)).unwrap().contains("chmod"), "{mode:o}");
        }
        assert_eq!(refusal(&dir_of(7, 0o755), Some(7)), None, "others may look");
    }

    // Elsewhere such a path is resolved without a look at the directories.
    #[cfg(unix)]
    #[test]
    fn preparing_makes_everything_and_doing_it_again_changes_nothing() {
        let vfs = SimVfs::new();
        let root = prepare_root(&vfs, Path::new("/a/b/../cache"));
        assert!(root.unwrap_err().is_storage(), "`..` behind a directory that does not exist");
        for _ in 0..2 {
            let root = prepare_root(&vfs, Path::new("/a/b/cache")).unwrap();
            assert_eq!(root, Path::new("/a/b/cache"));
            assert_eq!(vfs.list(&root).unwrap().len(), 3);
        }
    }

    #[test]
    fn a_prepared_directory_survives_a_power_cut() {
        let vfs = SimVfs::new();
        let root = prepare_root(&vfs, Path::new("/a/cache")).unwrap();
        for seed in 0..50 {
            assert_eq!(vfs.crash(seed).list(&root).unwrap().len(), 3, "seed {seed}");
        }
    }

    #[cfg(unix)]
    mod on_unix {
        use std::fs::{self, Permissions};
        use std::os::unix::fs::{PermissionsExt, symlink};

        use super::*;
        use crate::storage::vfs::RealVfs;

        fn refused(path: &Path) -> String {
            let error = prepare_root(&RealVfs::new(), path).unwrap_err();
            assert!(error.is_storage());
            error.to_string()
        }

        fn mode(path: &Path) -> u32 {
            fs::metadata(path).unwrap().permissions().mode() & 0o7777
        }

        #[test]
        fn new_directories_are_for_their_owner_alone() {
            let dir = tempfile::tempdir().unwrap();
            let root = prepare_root(&RealVfs::new(), &dir.path().join("x/cache")).unwrap();
            for name in ["..", ".", BLOBS, STAGING, QUARANTINE] {
                assert_eq!(mode(&root.join(name)), 0o700, "{name}");
            }
        }

        #[test]
        fn an_open_directory_a_file_and_a_dangling_link_are_refused_by_name() {
            let dir = tempfile::tempdir().unwrap();
            let [open, file, link] = ["open", "file", "link"].map(|name| dir.path().join(name));
            fs::create_dir(&open).unwrap();
            fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
            fs::write(&file, "").unwrap();
            symlink(dir.path().join("nowhere"), &link).unwrap();
            for path in [&open, &file, &link] {
                let message = refused(path);
                let name = path.file_name().unwrap().to_str().unwrap();
                assert!(message.contains(name), "{message}");
            }
            assert!(!dir.path().join("nowhere").exists(), "what a dangling link names is not made");
        }

        #[test]
        fn a_link_to_a_good_directory_is_followed_and_one_below_the_root_is_not() {
            let dir = tempfile::tempdir().unwrap();
            let [real, link, outside] = ["real", "link", "outside"].map(|name| dir.path().join(name));
            fs::create_dir(&outside).unwrap();
            symlink(&real, &link).unwrap();
            fs::create_dir(&real).unwrap();
            let root = prepare_root(&RealVfs::new(), &link).unwrap();
            assert_eq!(root, real.canonicalize().unwrap());
            fs::remove_dir(root.join(BLOBS)).unwrap();
            symlink(&outside, root.join(BLOBS)).unwrap();
            assert!(refused(&link).contains("symbolic link"));
        }
    }

    fn is_exclusive_until_dropped(vfs: &dyn Vfs, root: &Path) {
        let guard = lock_root(vfs, root).unwrap();
        let error = lock_root(vfs, root).unwrap_err();
        assert!(error.is_locked());
        assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
        drop(guard);
        lock_root(vfs, root).unwrap();
    }

    #[test]
    fn a_held_lock_says_so_and_is_free_again_when_its_guard_is_gone() {
        is_exclusive_until_dropped(&SimVfs::new(), Path::new("/"));
        let dir = tempfile::tempdir().unwrap();
        is_exclusive_until_dropped(&RealVfs::new(), &dir.path().canonicalize().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_lock_whose_file_was_removed_or_replaced_is_still_held() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let guard = lock_root(&RealVfs::new(), &root).unwrap();
        std::fs::remove_file(root.join(LOCK_FILE)).unwrap();
        assert!(lock_root(&RealVfs::new(), &root).unwrap_err().is_locked());
        std::fs::write(root.join(LOCK_FILE), "").unwrap();
        assert!(lock_root(&RealVfs::new(), &root).unwrap_err().is_locked());
        drop(guard);
        lock_root(&RealVfs::new(), &root).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_the_lock_file_is_refused() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        std::os::unix::fs::symlink(outside.path(), dir.path().join(LOCK_FILE)).unwrap();
        let error = lock_root(&RealVfs::new(), &dir.path().canonicalize().unwrap()).unwrap_err();
        assert!(error.is_storage(), "{error:?}");
    }
}
