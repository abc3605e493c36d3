//! Reading a file whole, never more of it than the caller allows.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::{Vfs, storage_error};
use crate::error::{CacheError, ErrorKind, Result};

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
pub(crate) fn open_regular(vfs: &dyn Vfs, path: &Path) -> Result<Option<Box<dyn super::ReadFile>>> {
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
    use super::*;
    use crate::storage::vfs::RealVfs;

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
