//! Blobs of values that were replaced: they stay until the record of the new value is on the disk, so that a process that
//! is killed before has lost the new value alone.

use std::sync::{Mutex, PoisonError};

use crate::blob::BlobBackend;
use crate::blob_name::BlobName;

#[derive(Debug, Default)]
pub(super) struct Retired(Mutex<Vec<BlobName>>);

impl Retired {
    pub(super) fn add(&self, name: BlobName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    }

    /// Runs `flush`, and then removes what was retired before. Also after an error: on a disk that is full, these may be
    /// what takes the room.
    pub(super) fn after<R>(&self, blobs: &dyn BlobBackend, flush: impl FnOnce() -> R) -> R {
        let names = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let flushed = flush();
        for name in names {
            if let Err(error) = blobs.remove(&name) {
                log::debug!("cannot remove blob {name} now: {error}");
                self.add(name);
            }
        }
        flushed
    }
}
