//! The file system of the operating system.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(not(unix))]
use super::sys_portable as sys;
#[cfg(unix)]
use super::sys_unix as sys;
use super::{DirEntry, DirId, Lock, Metadata, Owner, ReadFile, Vfs, WriteFile, largest_file, not_regular};

/// How often a lock file may be replaced while it is being locked.
const LOCK_ATTEMPTS: usize = 8;

/// Takes a lock of a file, alone or with others, without waiting for it.
type TryLock = fn(&File) -> Result<(), TryLockError>;

/// The file system of the operating system.
#[derive(Clone, Debug)]
pub struct RealVfs {
    sys: sys::Sys,
    home: Option<Arc<sys::Home>>,
}

#[cfg(unix)]
type At<'a> = sys::At<'a>;
#[cfg(not(unix))]
type At<'a> = &'a Path;

impl RealVfs {
    /// With the strictest way of refusing links that this system offers.
    pub fn new() -> Self {
        Self { sys: sys::Sys::strictest(), home: None }
    }

    /// Holds a directory: whatever lies below its path is found in this directory from now on, also after it was moved
    /// and another one has its path, where the system can do that.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn at_home(root: &Path) -> io::Result<Self> {
        let sys = sys::Sys::strictest();
        Ok(Self { sys, home: Some(Arc::new(sys::Home::open(sys, root)?)) })
    }

    /// Tells the directory that is held from all others.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn home_id(&self) -> io::Result<DirId> {
        self.home.as_ref().ok_or(io::ErrorKind::NotFound)?.identity()
    }

    /// The way to the directory that is held, for code that only knows paths: it stays right when that is moved. None
    /// where the system has no such way.
    pub(crate) fn way_home(&self) -> Option<PathBuf> {
        self.home.as_ref()?.way()
    }

    #[cfg(all(test, unix))]
    pub(super) fn with(sys: sys::Sys) -> Self {
        Self { sys, home: None }
    }

    fn at<'a>(&'a self, path: &'a Path) -> At<'a> {
        match &self.home {
            Some(home) => home.at(path),
            None => sys::At::path(path),
        }
    }

    /// A lock file, made if it is missing, and locked.
    fn locked(&self, path: &Path, lock: TryLock) -> io::Result<File> {
        for _ in 0..LOCK_ATTEMPTS {
            let file = self.sys.open_lock(self.at(path))?;
            regular(&file)?;
            match lock(&file) {
                // A lock on a file that was removed meanwhile keeps nobody out.
                Ok(()) if self.sys.is_at(&file, self.at(path)).unwrap_or(false) => return Ok(file),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::other("the lock file is replaced again and again"))
    }

    /// Locks the directory of a lock file, where directories can be locked: unlike the file, nobody can put another one in
    /// its place while it is in use.
    fn lock_parent(&self, path: &Path, lock: TryLock) -> io::Result<Option<File>> {
        let Ok(dir) = self.sys.open_parent(self.at(path)) else { return Ok(None) };
        match lock(&dir) {
            Ok(()) => Ok(Some(dir)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(_)) => Ok(None),
        }
    }
}

impl Default for RealVfs {
    fn default() -> Self {
        Self::new()
    }
}

impl Vfs for RealVfs {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let file = self.sys.open(self.at(path))?;
        regular(&file)?;
        Ok(Box::new(file))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = self.sys.create_new(self.at(path))?;
        // Tells others that it is being written, until it is closed. Where files cannot be locked, nothing does.
        let _ = file.try_lock();
        Ok(Box::new(NewFile { file, len: 0, largest: largest_file() }))
    }

    fn is_being_written(&self, path: &Path) -> io::Result<bool> {
        let file = self.sys.open(self.at(path))?;
        Ok(matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        let file = self.sys.open_to_sync(self.at(path))?;
        regular(&file)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sys.rename(self.at(from), self.at(to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sys.rename_new(self.at(from), self.at(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.sys.remove(self.at(path))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.sys.make_dir(self.at(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.sys.remove_dir(self.at(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sys.sync_dir(self.at(path))
    }

    #[cfg(target_os = "linux")]
    fn sync_file_system(&self, dir: &Path) -> io::Result<()> {
        self.sys.sync_file_system(self.at(dir))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.sys.list(self.at(path))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.sys.metadata(self.at(path))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::canonicalize(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let dir = self.lock_parent(path, File::try_lock)?;
        let file = self.locked(path, File::try_lock)?;
        Ok(Box::new(Locked::by_this_process(file, dir)))
    }

    fn share(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let dir = self.lock_parent(path, File::try_lock_shared)?;
        let file = self.locked(path, File::try_lock_shared)?;
        Ok(Box::new(Locked::by_this_process(file, dir)))
    }

    fn lock_file(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = self.locked(path, File::try_lock)?;
        Ok(Box::new(Locked::by_this_process(file, None)))
    }

    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = self.locked(path, File::try_lock_shared)?;
        Ok(Box::new(Locked::by_this_process(file, None)))
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

/// A file that is written from its beginning to its end.
#[derive(Debug)]
struct NewFile {
    file: File,
    len: u64,
    /// Growing past this would end the process by a signal.
    largest: u64,
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.largest - self.len).unwrap_or(usize::MAX);
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.file.write(&bytes[..bytes.len().min(room)])?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl WriteFile for NewFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// The end of the process releases the locks, however it ends.
#[derive(Debug)]
struct Locked {
    file: File,
    dir: Option<File>,
    process: u32,
}

impl Locked {
    fn by_this_process(file: File, dir: Option<File>) -> Self {
        Self { file, dir, process: std::process::id() }
    }
}

impl Lock for Locked {}

/// Closing the files would not do: a child that is being started holds copies of them until it runs its program. What a
/// forked child drops is still its parent's.
impl Drop for Locked {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // Where it fails, closing is what is left.
            let _ = self.file.unlock();
            let _ = self.dir.as_ref().map(File::unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Elsewhere no directory is locked.
    #[cfg(unix)]
    #[test]
    fn a_lock_is_free_when_its_guard_is_gone_though_a_child_being_started_has_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = File::create(&path).unwrap();
        file.try_lock().unwrap();
        let at = File::open(dir.path()).unwrap();
        at.try_lock().unwrap();
        let copies = [file.try_clone().unwrap(), at.try_clone().unwrap()];
        drop(Locked::by_this_process(file, Some(at)));
        let _again = RealVfs::new().lock(&path).unwrap();
        drop(copies);
    }

    #[test]
    fn a_lock_that_another_process_took_stays_when_a_copy_of_its_guard_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = File::create(&path).unwrap();
        file.try_lock().unwrap();
        let of_child = Locked { file: file.try_clone().unwrap(), dir: None, process: std::process::id() + 1 };
        drop(of_child);
        assert_eq!(RealVfs::new().lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
