//! The 256 directories that blobs are spread over, and which blobs are still to be synced.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::unless_gone;
use crate::config::Durability;
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::blob::BlobName;
use crate::storage::vfs::{FileKind, Vfs, storage_error};

/// What is known of each directory, so that most writes need not look.
#[derive(Debug)]
pub(super) struct Shards {
    blobs: PathBuf,
    known: [AtomicU8; 256],
    /// Those that a blob went from, or that nothing was found in: they may be empty.
    gaps: [AtomicBool; 256],
    /// Shared by those who work in a directory; held alone while an empty one is removed.
    kept: RwLock<()>,
}

/// It must be looked for.
const UNKNOWN: u8 = 0;
/// It is there; a power cut may take it.
const PRESENT: u8 = 1;
/// It is there to stay.
const DURABLE: u8 = 2;

impl Shards {
    pub(super) fn new(blobs: PathBuf) -> Self {
        let known = [const { AtomicU8::new(UNKNOWN) }; 256];
        let gaps = [const { AtomicBool::new(false) }; 256];
        Self { blobs, known, gaps, kept: RwLock::default() }
    }

    /// The directory a blob belongs in.
    pub(super) fn dir(&self, name: &BlobName) -> PathBuf {
        self.blobs.join(digits(name))
    }

    /// Makes sure that the directory of a blob is there, and there to stay when the blob is to be.
    pub(super) fn prepare(&self, vfs: &dyn Vfs, name: &BlobName, durability: Durability) -> Result<()> {
        let known = self.known(name);
        if known.load(Ordering::Acquire) == UNKNOWN {
            make(vfs, &self.dir(name))?;
            known.store(PRESENT, Ordering::Release);
        }
        if durability == Durability::Immediate && known.load(Ordering::Acquire) < DURABLE {
            sync_dir(vfs, &self.blobs)?;
            known.store(DURABLE, Ordering::Release);
        }
        Ok(())
    }

    /// Makes the names of blobs durable, and their directories.
    pub(super) fn sync(&self, vfs: &dyn Vfs, names: &BTreeSet<BlobName>) -> Result<()> {
        let mut last = None;
        for name in names {
            if last.replace(digits(name)) != Some(digits(name)) {
                sync_dir(vfs, &self.dir(name))?;
            }
        }
        if names.iter().any(|name| self.known(name).load(Ordering::Acquire) < DURABLE) {
            sync_dir(vfs, &self.blobs)?;
            for name in names {
                // One that is not known may be gone.
                let known = self.known(name);
                let _ = known.compare_exchange(PRESENT, DURABLE, Ordering::AcqRel, Ordering::Acquire);
            }
        }
        Ok(())
    }

    /// Makes it durable that a blob is gone.
    pub(super) fn sync_removal(&self, vfs: &dyn Vfs, name: &BlobName) -> Result<()> {
        sync_dir(vfs, &self.dir(name))
    }

    /// Looks again at the next write: somebody removed directories.
    pub(super) fn forget(&self) {
        self.known.iter().for_each(|known| known.store(UNKNOWN, Ordering::Release));
    }

    /// As long as this is held, no directory is [removed](Self::remove_empty): from before it is [prepared](Self::prepare)
    /// until the blob is in it.
    pub(super) fn keep(&self) -> RwLockReadGuard<'_, ()> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A blob is gone from its directory.
    pub(super) fn note_gap(&self, name: &BlobName) {
        self.note_gap_in(digits(name));
    }

    /// Nothing was found in a directory. One that is not ours by its name stays.
    pub(super) fn note_gap_in(&self, digits: &str) {
        if let Some(at) = place(digits) {
            self.gaps[at].store(true, Ordering::Relaxed);
        }
    }

    /// Removes directories that hold nothing, of those that may be empty. It waits for nobody: while somebody works in any
    /// of them, all that are left stay for the next time.
    pub(super) fn remove_empty(&self, vfs: &dyn Vfs) {
        for at in 0..self.gaps.len() {
            if !self.gaps[at].load(Ordering::Relaxed) {
                continue;
            }
            let Ok(_alone) = self.kept.try_write() else { return };
            self.gaps[at].store(false, Ordering::Relaxed);
            self.known[at].store(UNKNOWN, Ordering::Release);
            let dir = self.blobs.join(format!("{at:02x}"));
            if let Err(error) = vfs.remove_dir(&dir) {
                log::trace!("{} stays: {error}", dir.display());
            }
        }
    }

    fn known(&self, name: &BlobName) -> &AtomicU8 {
        &self.known[place(digits(name)).unwrap_or(0)]
    }
}

/// Where a directory stands among all of them, if it is one.
fn place(digits: &str) -> Option<usize> {
    let at = usize::from(u8::from_str_radix(digits, 16).ok()?);
    (format!("{at:02x}") == digits).then_some(at)
}

/// The digits of a name that its directory is called by.
pub(super) fn digits(name: &BlobName) -> &str {
    &name.as_str()[..2]
}

/// Where somebody removed the directory there is nothing to sync; the next write into it finds that out.
fn sync_dir(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    unless_gone(vfs.sync_dir(dir)).map_err(|error| storage_error("sync", dir, error))
}

fn make(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    match vfs.make_dir(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(vfs, dir),
        Err(error) => Err(storage_error("make the directory", dir, error)),
    }
}

fn check(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    let metadata = vfs.metadata(dir).map_err(|error| storage_error("examine", dir, error))?;
    if metadata.kind == FileKind::Dir {
        return Ok(());
    }
    let message = format!("{} is in the place of a directory of this cache; remove it by hand", dir.display());
    Err(CacheError::new(ErrorKind::Storage, message))
}

// Which blobs are written and not synced.

/// So many are remembered by name; of more, only that there are some. That bounds memory where nobody asks for a sync.
const MAX_NAMES: usize = 1024;
/// From so many on, one sync of the file system is cheaper than one for each.
const MANY: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Unsynced {
    pub(super) names: BTreeSet<BlobName>,
    /// There are others.
    more: bool,
    /// A sync of all has failed, and not all of them are known by name yet.
    pub(super) failed: bool,
}

impl Unsynced {
    pub(super) fn note(&mut self, name: &BlobName) {
        match self.names.len() < MAX_NAMES {
            true => drop(self.names.insert(name.clone())),
            false => self.more = true,
        }
    }

    pub(super) fn forget(&mut self, name: &BlobName) {
        self.names.remove(name);
    }

    pub(super) fn are_many(&self) -> bool {
        self.more || self.failed || self.names.len() >= MANY
    }

    /// All are synced but these.
    pub(super) fn keep_only(&mut self, again: impl Fn(&BlobName) -> bool) {
        self.names.retain(again);
        self.more = false;
    }

    /// Remembers all by name. Where some are not known, that is every blob there is.
    pub(super) fn name_all(
        &mut self,
        list: impl FnOnce(&mut dyn FnMut(BlobName) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        if self.more {
            list(&mut |name| {
                self.names.insert(name);
                Ok(())
            })?;
            self.more = false;
        }
        Ok(())
    }

    /// Takes up what is to be synced again.
    pub(super) fn append(&mut self, mut again: Self) {
        self.names.append(&mut again.names);
        self.more |= again.more;
        self.failed |= again.failed;
    }
}
