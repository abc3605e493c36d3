//! Blobs whose end is near: those of values that were replaced, and those whose commit has an unknown outcome.
//!
//! A replaced value stays until the record of the new one is on the disk, so that a process that is killed before has
//! lost the new value alone. A blob of which nobody knows whether a record names it stays until the index can tell.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::index::Index;
use crate::entry::IndexKey;
use crate::error::Result;
use crate::storage::BlobName;
use crate::storage::blob::BlobBackend;

#[derive(Debug, Default)]
pub(super) struct Retired {
    replaced: Mutex<Replaced>,
    doubtful: Mutex<Vec<(IndexKey, BlobName)>>,
}

#[derive(Debug, Default)]
struct Replaced {
    names: Vec<BlobName>,
    /// The index is closed and on the disk: nothing more is waited for, and nobody comes to look.
    closed: bool,
}

impl Retired {
    pub(super) fn add(&self, blobs: &dyn BlobBackend, name: BlobName) {
        let mut replaced = lock(&self.replaced);
        if !replaced.closed {
            return replaced.names.push(name);
        }
        drop(replaced);
        if let Err(error) = blobs.remove(&name) {
            log::debug!("cannot remove blob {name} of a closed store: {error}");
        }
    }

    /// Whether there are blobs that no record names and that are still there.
    pub(super) fn has_any(&self) -> bool {
        !lock(&self.replaced).names.is_empty()
    }

    /// Removes what calls beside the close have retired, and from now on at once: the index is closed, and every record
    /// that it took is on the disk.
    pub(super) fn close(&self, blobs: &dyn BlobBackend) {
        let names = {
            let mut replaced = lock(&self.replaced);
            replaced.closed = true;
            std::mem::take(&mut replaced.names)
        };
        names.into_iter().for_each(|name| self.add(blobs, name));
    }

    /// Notes a blob that the record of this key may name or not: the index failed when it was to say.
    pub(super) fn doubt(&self, key: &IndexKey, name: BlobName) {
        lock(&self.doubtful).push((key.clone(), name));
    }

    pub(super) fn has_doubts(&self) -> bool {
        !lock(&self.doubtful).is_empty()
    }

    /// Runs `flush`, and then removes what was retired before. Also after an error: on a disk that is full, these may be
    /// what takes the room. What was doubtful before a flush that succeeded is looked up.
    pub(super) fn after(
        &self,
        index: &Index,
        blobs: &dyn BlobBackend,
        flush: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let names = std::mem::take(&mut lock(&self.replaced).names);
        let doubtful = std::mem::take(&mut *lock(&self.doubtful));
        let flushed = flush();
        names.iter().for_each(|name| self.remove(blobs, name));
        for (key, name) in doubtful {
            // As long as nothing succeeds, the record may still turn up in a database that is opened anew.
            match flushed.as_ref().ok().map(|()| index.get(&key)) {
                Some(Ok(record)) if record.as_ref().and_then(|record| record.blob()).as_ref() == Some(&name) => {}
                Some(Ok(_)) => self.remove(blobs, &name),
                Some(Err(_)) | None => self.doubt(&key, name),
            }
        }
        flushed
    }

    fn remove(&self, blobs: &dyn BlobBackend, name: &BlobName) {
        if let Err(error) = blobs.remove(name) {
            log::debug!("cannot remove blob {name} now: {error}");
            self.add(blobs, name.clone());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
