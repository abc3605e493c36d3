//! Every file operation of the engine, behind one trait of about ten calls.
//!
//! [`RealVfs`] is the operating system; the simulated file system of the tests is a second implementation that can lose
//! power and fail at any call. What the engine builds on top is here too, written once: [`publish`](mod@publish) is the
//! only way a file appears, [`read_whole`] the only way one is read whole, [`root`] says which directories a cache may live in.
//!
//! Paths handed to a [`Vfs`] lie below the directory that [`root::prepare_root`] returned, which has no symbolic link in
//! it. So no call ever has a reason to follow one, and a link that somebody planted is an error instead of a way out.
#![cfg_attr(not(feature = "testing"), allow(unreachable_pub, reason = "public under the feature `testing` only"))]

#[cfg(all(test, unix))]
mod conformance_tests;
pub(crate) mod publish;
mod real;
pub(crate) mod root;
#[cfg(any(test, feature = "testing"))]
mod sim;
#[cfg(any(test, not(unix)))]
mod sys_portable;
#[cfg(unix)]
mod sys_unix;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub use real::RealVfs;
#[cfg(any(test, feature = "testing"))]
pub use sim::{Fault, Lie, Repeat, SimVfs};

use crate::clock::Timestamp;
use crate::error::{CacheError, ErrorKind, Result};

/// A file system, as much of it as a cache needs.
///
/// No call follows a symbolic link, neither at the end of a path nor (where the system can refuse that) on the way.
pub trait Vfs: Debug + Send + Sync {
    /// Opens a regular file for reading. Never waits, whatever stands at the path.
    ///
    /// # Errors
    /// `NotFound`; `InvalidData` when it is a link, a pipe, a directory or anything else but a regular file.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>>;

    /// Creates a file that only its owner may read and write.
    ///
    /// # Errors
    /// `AlreadyExists` when anything has that name, also a dangling link.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// Whether the process that created a file, this one or another, has it open still. `false` where nothing tells.
    ///
    /// # Errors
    /// As [`Vfs::open`].
    fn is_being_written(&self, path: &Path) -> io::Result<bool> {
        let _ = path;
        Ok(false)
    }

    /// Makes the bytes of a closed file survive a power cut. Its name is the matter of [`Vfs::sync_dir`].
    ///
    /// # Errors
    /// As [`Vfs::open`].
    fn sync_file(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or directory another name, replacing a file of that name in one step.
    ///
    /// # Errors
    /// `NotFound` when there is no such file, or no such directory to move it to.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name if nothing has that name, in one step.
    ///
    /// # Errors
    /// `AlreadyExists` when anything has the new name, also a dangling link; the file keeps its old name then. `NotFound` as
    /// [`rename`](Self::rename).
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, or a link itself; never a directory.
    ///
    /// # Errors
    /// `NotFound`.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory that only its owner may enter. Its parent must exist.
    ///
    /// # Errors
    /// `AlreadyExists` when anything has that name, also a dangling link.
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory that nothing is in.
    ///
    /// # Errors
    /// `NotFound`; `DirectoryNotEmpty`, or another one where the system cannot tell, when something is in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory survive a power cut: files that appeared in it, and those that went.
    ///
    /// # Errors
    /// `NotFound`.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes everything on the file system that a directory lies on survive a power cut, in one step. What others write
    /// there is waited for too.
    ///
    /// # Errors
    /// `Unsupported` where the system cannot do that: then each file and directory is to be synced by itself.
    fn sync_file_system(&self, _dir: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What is in a directory, in no order.
    ///
    /// # Errors
    /// `NotFound`.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// What is known about a file, a directory or a link itself.
    ///
    /// # Errors
    /// `NotFound`.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// The absolute path with every link in it resolved: the one call that follows them.
    ///
    /// # Errors
    /// `NotFound` when it, or where it points, does not exist.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;

    /// Takes the lock of a lock file, creating it when it is missing, and does not wait for it.
    ///
    /// # Errors
    /// `WouldBlock` when it is held, by this process or another.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// [`lock`](Self::lock) that others may share.
    ///
    /// # Errors
    /// `WouldBlock` when somebody has it alone; `Unsupported` where files cannot be locked.
    fn share(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// [`lock`](Self::lock) of the file alone, which may be removed while the lock is held: the lock ends then.
    ///
    /// # Errors
    /// As [`lock`](Self::lock); `Unsupported` where files cannot be locked.
    fn lock_file(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// [`lock_file`](Self::lock_file) that others may share.
    ///
    /// # Errors
    /// As [`lock_file`](Self::lock_file); not `WouldBlock` because of others that share it.
    fn lock_shared(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A file open for reading.
#[allow(clippy::len_without_is_empty, reason = "the length of a file that is read, not of a collection")]
pub trait ReadFile: io::Read + io::Seek + Debug + Send {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn len(&self) -> io::Result<u64>;

    /// Whose it is, on systems that say so. Asked of the open file: nobody can change the answer in between.
    ///
    /// # Errors
    /// Those of the operating system.
    fn owner(&self) -> io::Result<Option<Owner>>;
}

/// A new file open for writing.
pub trait WriteFile: io::Write + Debug + Send {
    /// Makes what was written survive a power cut.
    ///
    /// # Errors
    /// Those of the operating system. What was written may be lost then, whatever a second try says.
    fn sync(&mut self) -> io::Result<()>;
}

/// A lock, held until it is dropped.
pub trait Lock: Debug + Send + Sync {}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A pipe, a socket, a device.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: OsString,
    /// What it is, without following a link.
    pub kind: FileKind,
}

/// Tells a directory from all others, as long as it is held open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(dead_code, reason = "each system has one of them")]
pub(crate) enum DirId {
    /// Device and inode.
    Inode(u64, u64),
    /// The path without links, where there are no inodes.
    Path(PathBuf),
}

/// What is known about a file without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes, of a regular file.
    pub len: u64,
    /// Whose it is, on systems that say so.
    pub owner: Option<Owner>,
    /// When it was last written or given its name, where that is known.
    pub modified: Option<Timestamp>,
}

/// Who owns a file and who may do what with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
}

/// The user this process acts for, on systems that say so.
#[cfg(unix)]
pub(crate) fn user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
pub(crate) fn user() -> Option<u32> {
    None
}

/// The largest file that this process may write (`ulimit -f`), in bytes. One byte more would end it by a signal.
#[cfg(unix)]
pub(crate) fn largest_file() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.unwrap_or(u64::MAX)
}

#[cfg(not(unix))]
pub(crate) fn largest_file() -> u64 {
    u64::MAX
}

/// What [`Vfs::open`] says of anything but a regular file.
fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a regular file, or reached through a symbolic link")
}

/// An error of the file system, told by what was being done to which file.
pub(crate) fn storage_error(doing: &str, path: &Path, error: io::Error) -> CacheError {
    CacheError::caused_by(ErrorKind::Storage, format!("cannot {doing} {}", path.display()), error)
}

/// Which error of the operating system is behind an error, if one is.
pub(crate) fn io_kind(error: &CacheError) -> Option<io::ErrorKind> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<io::Error>().map(io::Error::kind)
}

// Reading a file whole, never more of it than the caller allows.

/// The bytes of a file, or `None` when there is none.
///
/// # Errors
/// `Limit` when the file is larger than `max_bytes`, before memory is taken; `Integrity` when something else but a
/// regular file stands there; `Storage`.
pub(crate) fn read_whole(vfs: &dyn Vfs, path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>> {
    let Some(mut file) = open_regular(vfs, path)? else { return Ok(None) };
    let len = file.len().map_err(|error| storage_error("read", path, error))?;
    if len > max_bytes {
        return Err(too_large(path, len, max_bytes));
    }
    let bytes = take(&mut file, path, len)?;
    Ok(Some(bytes))
}

/// The `len` bytes of a file from `offset` on, fewer where it ends before, or `None` when there is none.
///
/// # Errors
/// As [`read_whole`], without `Limit`.
pub(crate) fn read_range(vfs: &dyn Vfs, path: &Path, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
    let Some(mut file) = open_regular(vfs, path)? else { return Ok(None) };
    let whole = file.len().map_err(|error| storage_error("read", path, error))?;
    if offset > whole {
        return Ok(Some(Vec::new()));
    }
    if offset > 0 {
        file.seek(SeekFrom::Start(offset)).map_err(|error| storage_error("read", path, error))?;
    }
    take(&mut file, path, len.min(whole.saturating_sub(offset))).map(Some)
}

/// A file open for reading, or `None` when there is none.
///
/// # Errors
/// `Integrity` when something else but a regular file stands there; `Storage`.
pub(crate) fn open_regular(vfs: &dyn Vfs, path: &Path) -> Result<Option<Box<dyn ReadFile>>> {
    match vfs.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let message = format!("{} is not a file this cache wrote; remove it by hand", path.display());
            Err(CacheError::caused_by(ErrorKind::Integrity, message, error))
        }
        Err(error) => Err(storage_error("open", path, error)),
    }
}

/// Reads at most `len` bytes. A file that shrank meanwhile gives fewer: what it should hold is for its checksums to say.
fn take(file: &mut dyn Read, path: &Path, len: u64) -> Result<Vec<u8>> {
    let no_memory = || {
        let message = format!("no memory for the {len} bytes of {}", path.display());
        CacheError::new(ErrorKind::Limit, message)
    };
    let mut bytes = Vec::new();
    let room = usize::try_from(len).map_err(|_| no_memory())?;
    bytes.try_reserve_exact(room).map_err(|_| no_memory())?;
    bytes.resize(room, 0);
    let read = fill(file, &mut bytes).map_err(|error| storage_error("read", path, error))?;
    bytes.truncate(read);
    Ok(bytes)
}

/// In one call of the system, if that gives all: `read_to_end` begins with a small one.
fn fill(file: &mut dyn Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn too_large(path: &Path, len: u64, max: u64) -> CacheError {
    CacheError::new(ErrorKind::Limit, format!("{} is {len} bytes long, at most {max} are read", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{RealVfs, *};

    #[test]
    fn a_file_over_the_limit_is_refused_by_its_size_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("sparse");
        let ten_tebibytes = 10 << 40;
        std::fs::File::create(&path).unwrap().set_len(ten_tebibytes).unwrap();
        let error = read_whole(&RealVfs::new(), &path, 1 << 20).unwrap_err();
        assert!(error.is_limit(), "{error:?}");
        let start = read_range(&RealVfs::new(), &path, 1 << 40, 16).unwrap().unwrap();
        assert_eq!(start, [0; 16]);
    }

    #[test]
    fn a_file_that_memory_cannot_hold_is_an_error_and_no_abort() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("sparse");
        std::fs::File::create(&path).unwrap().set_len(1 << 43).unwrap();
        assert!(read_whole(&RealVfs::new(), &path, u64::MAX).unwrap_err().is_limit());
    }

    #[test]
    fn a_missing_file_is_none_and_a_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(read_whole(&RealVfs::new(), &root.join("none"), 10).unwrap(), None);
        assert!(read_whole(&RealVfs::new(), &root, 10).unwrap_err().is_integrity());
    }
}
