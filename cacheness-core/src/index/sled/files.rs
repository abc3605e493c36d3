//! The files of an index: where they lie, and what may lie there.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::disk::sync_path;
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::files::{remove, shown, sync_dir};

pub(super) fn index_dir(root: &Path) -> PathBuf {
    root.join("index")
}

/// Whether a file is there, and no link to one.
pub(super) fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

/// Removes what is no file from the places of files: nothing is read from it or written to it.
pub(super) fn clear_places(root: &Path) -> std::io::Result<()> {
    let beside = ["index.clean", "index.orders", "index.used", "index.rebuilding"].map(|name| root.join(name));
    // What is in the index and sled can do without.
    let within = fs::read_dir(index_dir(root)).into_iter().flatten().flatten();
    let within = within.filter(|item| is_dispensable(&item.file_name())).map(|item| item.path());
    let is_no_file = |place: &PathBuf| fs::symlink_metadata(place).is_ok_and(|found| !found.is_file());
    beside.into_iter().chain(within).filter(is_no_file).try_for_each(|place| remove(&place))
}

/// Whether an index was made and its log is gone: sled would begin a new one, as if there had never been an entry.
pub(super) fn lacks_log(index: &Path) -> bool {
    index.exists() && !fs::metadata(index.join("db")).is_ok_and(|found| found.len() > 0)
}

/// Whether what sled reads is of the kind that it writes: opening a pipe would wait, a link leads elsewhere.
pub(super) fn is_of_files(index: &Path) -> bool {
    let is_dir = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let fits = |item: std::io::Result<fs::DirEntry>| {
        item.is_ok_and(|item| match item.file_name().as_encoded_bytes() {
            b"blobs" => is_dir(&item.path()),
            name if name == b"db" || is_dispensable(&item.file_name()) => {
                item.file_type().is_ok_and(|kind| kind.is_file())
            }
            _ => true,
        })
    };
    fs::symlink_metadata(index).is_err() || is_dir(index) && fs::read_dir(index).is_ok_and(|mut all| all.all(fits))
}

pub(super) fn storage(path: &Path, doing: &str, error: std::io::Error) -> CacheError {
    CacheError::caused_by(ErrorKind::Storage, format!("{doing} in {}: {error}", shown(path).display()), error)
}

/// Where a damaged index lies for one who wants to look at it.
pub(super) fn aside(root: &Path) -> PathBuf {
    root.join("quarantine").join("index")
}

/// Copies a damaged index out of the way; the one before goes. Until the copy is whole and on the disk it has another name.
pub(super) fn set_aside(root: &Path) -> Result<()> {
    let part = root.join("quarantine").join("index.part");
    let set = remove(&part)
        .and_then(|()| fs::create_dir_all(&part))
        .and_then(|()| copy_files(&index_dir(root), &part))
        .and_then(|()| remove(&aside(root)))
        .and_then(|()| fs::rename(&part, aside(root)))
        .and_then(|()| sync_dir(&root.join("quarantine")));
    set.map_err(|error| storage(root, "cannot set the damaged index aside", error))
}

/// What sled can do without: its settings, which are ours, and a snapshot that spares it reading the log. A damaged one
/// would make the whole log unreadable.
fn is_dispensable(name: &OsStr) -> bool {
    name == "conf" || name.as_encoded_bytes().starts_with(b"snap")
}

/// Copies instead of renaming: a database that was given up may still hold the old files.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    if !fs::symlink_metadata(from).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    for item in fs::read_dir(from)? {
        let item = item?;
        if is_dispensable(&item.file_name()) {
            continue;
        }
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy_files(&item.path(), &target)?;
        } else if item.file_type()?.is_file() {
            fs::copy(item.path(), &target)?;
            sync_path(&target)?;
        }
    }
    sync_dir(to)
}
