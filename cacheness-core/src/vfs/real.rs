//! The file system of the operating system.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

#[cfg(not(unix))]
use super::sys_portable as sys;
#[cfg(unix)]
use super::sys_unix as sys;
use super::{DirEntry, Lock, Metadata, Owner, ReadFile, Vfs, WriteFile, not_regular};

/// The file system of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct RealVfs {
    sys: sys::Sys,
}

impl RealVfs {
    /// With the strictest way of refusing links that this system offers.
    pub fn new() -> Self {
        Self { sys: sys::Sys::strictest() }
    }

    #[cfg(all(test, unix))]
    pub(super) fn with(sys: sys::Sys) -> Self {
        Self { sys }
    }
}

impl Default for RealVfs {
    fn default() -> Self {
        Self::new()
    }
}

impl Vfs for RealVfs {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let file = self.sys.open(path)?;
        regular(&file)?;
        Ok(Box::new(file))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(self.sys.create_new(path)?))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let file = self.sys.open_to_sync(path)?;
        regular(&file)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sys.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sys.rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.sys.remove(path)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.sys.make_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sys.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.sys.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.sys.metadata(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = self.sys.open_lock(path)?;
        regular(&file)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Asked of the open file and not of the path, so that nobody can change the answer in between.
fn regular(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { Ok(()) } else { Err(not_regular()) }
}

impl ReadFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn owner(&self) -> io::Result<Option<Owner>> {
        Ok(sys::owner(&self.metadata()?))
    }
}

impl WriteFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Closing the file releases its lock; so does the end of the process, however it ends.
impl Lock for File {}
