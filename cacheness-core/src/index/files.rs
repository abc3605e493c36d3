//! Files of a backend in a directory.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a small file in the place of the one that is there: on the disk when this returns, and never half of one.
pub(super) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut part = OsString::from(path);
    part.push(".part");
    remove(part.as_ref())?;
    let mut file = File::create(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// What a file says, if there is one.
///
/// # Errors
/// Also if something else stands there, which reading would wait for or follow, or if it is longer than `most` bytes.
pub(super) fn read_file(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if !found.is_file() {
        return Err(io::Error::other("it is no file: remove it"));
    }
    if found.len() > most {
        return Err(io::Error::other(format!("it is {} bytes long, at most {most} are read", found.len())));
    }
    fs::read(path).map(Some)
}

/// Removes whatever is at a path, a link itself and not what it leads to.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // Some network and user-space file systems know no sync of directories.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        synced => synced,
    }
}

#[cfg(not(unix))]
pub(super) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// A path as a user knows it: where one leads through a handle of this process, what it leads to.
pub(crate) fn shown(path: &Path) -> PathBuf {
    let is_handle = |path: &&Path| path.parent().is_some_and(|dir| dir.ends_with("proc/self/fd"));
    let Some(handle) = path.ancestors().find(is_handle) else { return path.to_path_buf() };
    match (fs::read_link(handle), path.strip_prefix(handle)) {
        (Ok(dir), Ok(rest)) if rest.as_os_str().is_empty() => dir,
        (Ok(dir), Ok(rest)) => dir.join(rest),
        _ => path.to_path_buf(),
    }
}
