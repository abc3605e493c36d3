//! Storage of encoded values under keys: index and blobs together, no time to live and no eviction.
//!
//! The order of the steps is what makes it safe. A put writes the blob under a new name, then the record that names it
//! (this is the commit), then removes the blob of the record before. A delete takes the record first. So a crash can only
//! leave a blob that no record names, and those are removed when an index that was not closed is opened.

mod columns;
#[cfg(test)]
mod configured_tests;
pub(crate) mod flight;
#[cfg(test)]
mod flush_tests;
mod flusher;
#[cfg(test)]
mod golden_tests;
pub(crate) mod home;
pub(crate) mod index;
pub(crate) mod keys;
mod lease;
pub(crate) mod manifest;
pub(crate) mod memory;
mod neighbours;
#[cfg(test)]
mod newer_tests;
mod open;
pub(crate) mod opened;
pub(crate) mod read;
pub(crate) mod recover;
#[cfg(test)]
mod tests;
pub(crate) mod text_key;
mod write;

use std::path::Path;
use std::sync::Arc;

use crate::config::Compression;
use crate::config::Durability;
use crate::config::limits::Limits;
use crate::engine::memory::Tier;
use crate::error::Result;
use crate::format::Rules;
use crate::security::Signing;
use crate::storage::blob::BlobBackend;
use crate::storage::vfs::DirId;
use crate::storage::vfs::root::HeldLock;
use index::Index;

use flusher::{Flusher, Retired};
use neighbours::Tenure;

pub(crate) use neighbours::KeyLock;

pub(crate) use home::{Home, prepare};
pub(crate) use read::Found;

/// Index and blobs of one cache directory, or of one cache in memory.
#[derive(Debug)]
pub(crate) struct Store {
    home: Option<Home>,
    /// What the directory says of itself.
    manifest: String,
    pub(crate) index: Arc<Index>,
    pub(crate) blobs: Arc<dyn BlobBackend>,
    pub(crate) settings: Settings,
    flusher: Option<Arc<Flusher>>,
    retired: Arc<Retired>,
    tenure: Arc<Tenure>,
    /// Held by a process that found another one with the index.
    as_guest: HeldLock,
}

/// What of the configuration decides how values are written.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub limits: Limits,
    pub durability: Durability,
    pub values: Compression,
    /// For vectors of numbers.
    pub numbers: Compression,
    pub compress_from: u64,
    pub inline_up_to: u64,
    /// Whether the checksum of a blob's payload is verified when it is read.
    pub verify: bool,
    /// Whether a damaged record is as good as none: for a cache, which can make the value anew.
    pub damage_is_absence: bool,
    pub signing: Arc<Signing>,
}

impl Settings {
    /// What blobs are sealed and opened by.
    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules { limits: &self.limits, signing: &self.signing }
    }

    /// Whether blobs reach the disk when the system writes them. A record can be there before its blob then, and a power
    /// cut makes that a miss.
    fn leaves_blobs_to_the_system(&self) -> bool {
        self.damage_is_absence && self.durability == Durability::Interval
    }
}

impl Store {
    pub(crate) fn root(&self) -> Option<&Path> {
        self.home.as_ref().map(Home::root)
    }

    /// Tells the directory from all others.
    pub(crate) fn id(&self) -> Option<&DirId> {
        self.home.as_ref().map(Home::id)
    }

    /// Whether the directory is still the one that was opened.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) if it is not.
    pub(crate) fn check_home(&self) -> Result<()> {
        self.home.as_ref().map_or(Ok(()), |home| home.check_is_still(&self.manifest))
    }

    /// [`check_home`](Self::check_home), and says whose a directory is that was emptied.
    fn restore_home(&self) -> Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
        home.check_is_still(&self.manifest)?;
        manifest::restore(&*home.vfs(), home.root(), &self.manifest)
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// The values in memory, if there are to be any.
    pub(crate) fn memory(&self) -> Option<&Tier> {
        self.index.memory()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Brings everything to the disk, blobs too.
    pub(crate) fn flush(&self) -> Result<()> {
        self.retired.after(&self.index, &*self.blobs, || {
            self.blobs.sync()?;
            self.index.flush()
        })?;
        self.give_back_room();
        Ok(())
    }

    fn give_back_room(&self) {
        if let Err(error) = self.index.give_back_room(&|| true) {
            log::debug!("the index is not written anew: {error}");
        }
    }

    /// Does what the flusher would do after its interval: no kill loses what was put before, nor does a power cut, but for
    /// blobs that are [left to the system](Settings::leaves_blobs_to_the_system).
    pub(crate) fn settle(&self) -> Result<()> {
        let leave_blobs = self.settings.leaves_blobs_to_the_system();
        self.retired.after(&self.index, &*self.blobs, || flusher::flush(&self.index, &*self.blobs, leave_blobs))
    }

    /// [Settles](Self::settle) everything and lets go of the directory. Later calls fail with
    /// [`Closed`](ErrorKind::Closed).
    pub(crate) fn close(&self) -> Result<()> {
        self.flusher.iter().for_each(|flusher| flusher.stop());
        self.tenure.end_service();
        // The index writes what it knows beside it: not into the directory of others.
        let closed = self.restore_home().and_then(|()| {
            if self.retired.has_doubts() && (self.flush().is_err() || self.retired.has_doubts()) {
                self.index.doubt_blobs();
            }
            // Before the mark of a clean close: what was replaced would not be looked for after it.
            let settled = if self.is_kept_by_others() { Ok(()) } else { self.settle() };
            if self.retired.has_any() {
                self.index.doubt_blobs();
            }
            let closed = self.index.close();
            if closed.is_ok() {
                self.retired.close(&*self.blobs);
                self.blobs.tidy();
            }
            settled.and(closed)
        });
        self.tenure.release();
        self.as_guest.release();
        closed
    }

    /// Whether what was put is safe with another process, which brings it to the disk in its own time.
    fn is_kept_by_others(&self) -> bool {
        let owes_nothing = self.durability_is_by_interval() && !self.retired.has_any();
        owes_nothing && self.index.is_of_another_process()
    }

    fn durability_is_by_interval(&self) -> bool {
        self.settings.durability == Durability::Interval
    }

    /// The right to compute the value of this name, of all processes on the directory; `None` while another one has it.
    pub(crate) fn key_lock(&self, name: &str) -> Option<KeyLock> {
        KeyLock::try_take(self.home.as_ref()?, name)
    }
}
