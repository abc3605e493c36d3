//! The lock that makes one process the owner of a cache directory.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{Lock, Vfs, storage_error};
use crate::error::{CacheError, ErrorKind, Result};

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

/// The lock of the directory, until it is released or the store is gone.
#[derive(Debug, Default)]
pub(crate) struct HeldLock(Mutex<Option<Box<dyn Lock>>>);

impl HeldLock {
    pub(crate) fn of(lock: Box<dyn Lock>) -> Self {
        Self(Mutex::new(Some(lock)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::vfs::{RealVfs, SimVfs};

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
