//! Damaged blobs, kept for inspection as long as there is room for them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{blob_name, list_or_nothing, unless_gone};
use crate::error::Result;
use crate::storage::vfs::root::QUARANTINE;
use crate::storage::vfs::{FileKind, Metadata, Vfs, storage_error};

/// So many files are kept at most.
pub(super) const MAX_FILES: usize = 100;
/// So many bytes are kept at most.
pub(super) const MAX_BYTES: u64 = 100 << 20;

#[derive(Debug)]
pub(super) struct Quarantine {
    dir: PathBuf,
    /// One at a time, so that two do not both take the last place.
    turn: Mutex<()>,
}

impl Quarantine {
    pub(super) fn new(root: &Path) -> Self {
        Self { dir: root.join(QUARANTINE), turn: Mutex::default() }
    }

    /// Takes a file out of its place: keeps it, or removes it when there is no room. Anything but a file stays.
    pub(super) fn take(&self, vfs: &dyn Vfs, path: &Path) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = metadata(vfs, path)?.filter(|found| found.kind == FileKind::File) else { return Ok(()) };
        if let Some(name) = path.file_name()
            && self.has_room_for(vfs, found.len)?
        {
            let kept = self.dir.join(name);
            unless_gone(vfs.rename(path, &kept)).map_err(|error| storage_error("move to quarantine", path, error))?;
        }
        // Still there when there was no room, or no directory to move it to.
        remove(vfs, path)
    }

    fn has_room_for(&self, vfs: &dyn Vfs, len: u64) -> Result<bool> {
        let (mut files, mut bytes) = (1, len);
        for entry in list_or_nothing(vfs, &self.dir)?.iter().filter(|entry| blob_name(entry).is_some()) {
            let found = metadata(vfs, &self.dir.join(&entry.name))?;
            files += 1;
            bytes = found.map_or(bytes, |found| found.len.saturating_add(bytes));
        }
        Ok(files <= MAX_FILES && bytes <= MAX_BYTES)
    }
}

fn metadata(vfs: &dyn Vfs, path: &Path) -> Result<Option<Metadata>> {
    match vfs.metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(storage_error("examine", path, error)),
    }
}

fn remove(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    unless_gone(vfs.remove(path)).map_err(|error| storage_error("remove", path, error))
}
