//! Storage of encoded values under keys: index and blobs together, no time to live and no eviction.
//!
//! The order of the steps is what makes it safe. A put writes the blob under a new name, then the record that names it
//! (this is the commit), then removes the blob of the record before. A delete takes the record first. So a crash can only
//! leave a blob that no record names, and those are removed when an index that was not closed is opened; of a removal that was not
//! flushed also its record, whose value is a miss if it had a blob.

mod acknowledge;
mod columns;
#[cfg(test)]
mod configured_tests;
pub(crate) mod flight;
#[cfg(test)]
mod flush_tests;
#[cfg(test)]
mod golden_tests;
mod home;
pub(crate) mod index;
pub(crate) mod keys;
mod lease;
pub(crate) mod local;
pub(crate) mod manifest;
pub(crate) mod memory;
mod native;
mod neighbours;
#[cfg(test)]
mod newer_tests;
mod open;
pub(crate) mod opened;
pub(crate) mod read;
pub(crate) mod recover;
mod rows;
mod sweep;
#[cfg(test)]
mod tests;
mod write;

use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use index::Index;
use lease::Leases;
use local::Tier as LocalTier;
use neighbours::Tenure;
use sweep::{Retired, Sweep};

pub(crate) use home::{Home, prepare};
pub(crate) use lease::{Fence, Lease, Watch};
pub(crate) use native::FileOf;
pub(crate) use neighbours::{KeyLock, UniqueTurn};
pub(crate) use read::Found;

use crate::config::{Compression, Durability, Limits};
use crate::engine::memory::Tier;
use crate::entry::IndexKey;
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::Rules;
use crate::security::Signing;
use crate::storage::blob::BlobBackend;
use crate::storage::vfs::DirId;
use crate::storage::vfs::root::HeldLock;
use crate::util::Warnings;

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
    /// Where rows are on a server.
    leases: Option<Leases>,
    sweep: Option<Arc<Sweep>>,
    /// Copies on this machine, where rows are on a server.
    tier: Option<Arc<LocalTier>>,
}

/// What of the configuration decides how values are written.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub limits: Limits,
    pub durability: Durability,
    pub values: Compression,
    /// For vectors of numbers.
    pub numbers: Compression,
    /// For arrays and tensors.
    pub arrays: Compression,
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
        self.retired.after(&self.index, &*self.blobs, || flush(&self.index, &*self.blobs, leave_blobs))
    }

    /// [Settles](Self::settle) everything and lets go of the directory. Later calls fail with
    /// [`Closed`](ErrorKind::Closed).
    pub(crate) fn close(&self) -> Result<()> {
        self.flusher.iter().for_each(|flusher| flusher.stop());
        self.leases.iter().for_each(Leases::settle);
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
            if self.index.is_counted()
                && !self.index.doubts_blobs()
                && let Err(error) = neighbours::leave(self.index.backend())
            {
                log::debug!("the next opening looks for blobs that no record names: {error}");
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

    /// Lets go of the directory in a forked child, for which it stays its parent's: a copy of a lock would keep it when the
    /// parent has ended.
    pub(crate) fn abandon(&self) {
        self.tenure.release();
        self.as_guest.release();
        self.tier.iter().for_each(|tier| tier.release());
    }

    /// Copies on this machine, if there are to be any.
    pub(crate) fn local(&self) -> Option<&LocalTier> {
        self.tier.as_deref()
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

    /// Whether rows or blobs are on the other side of a network or of a socket.
    pub(crate) fn waits(&self) -> bool {
        self.index.waits() || self.blobs.is_remote()
    }

    /// Whether there are leases: where rows are on a server.
    pub(crate) fn has_leases(&self) -> bool {
        self.leases.is_some()
    }

    /// Takes a lease of this name, of all processes that use the rows; `None` while another one has it.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn lease(&self, name: &str, watch: &mut Watch) -> Result<Option<Lease>> {
        self.leases.as_ref().map_or(Ok(None), |leases| leases.try_take(name, watch))
    }

    /// The row that a value which is computed from now on may take the place of.
    pub(crate) fn fence(&self, key: &IndexKey) -> Fence {
        self.give_up_copy(key);
        Fence::of(self.index.get(key))
    }

    /// Whether there was a copy of a row of this key on this machine: there is none any more.
    pub(crate) fn give_up_copy(&self, key: &IndexKey) -> bool {
        self.index.backend().give_up_copy(key.as_bytes())
    }
}

// The thread that brings puts to the disk, one interval after the first of them.

/// How often is flushed, and what.
#[derive(Clone, Copy, Debug)]
struct Pace {
    pub interval: Duration,
    /// Blobs are left to the system.
    pub leave_blobs: bool,
}

/// Brings blobs, unless they are left to the system, and then the index to the disk: a record that is there names a blob
/// that is there too. The index also when a blob cannot be synced: one that a power cut takes is then a miss.
fn flush(index: &Index, blobs: &dyn BlobBackend, leave_blobs: bool) -> Result<()> {
    let synced = if leave_blobs { Ok(()) } else { blobs.sync() };
    let flushed = index.flush();
    synced.and(flushed)
}

#[derive(Debug)]
struct Flusher {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    /// Set by the first put after a flush; lets all others pass without the lock.
    dirty: AtomicBool,
    stopped: Mutex<bool>,
    changed: Condvar,
    warnings: Warnings,
}

impl Flusher {
    fn start(index: Arc<Index>, blobs: Arc<dyn BlobBackend>, retired: Arc<Retired>, pace: Pace) -> Result<Self> {
        let shared = Arc::new(Shared {
            dirty: AtomicBool::new(false),
            stopped: Mutex::new(false),
            changed: Condvar::new(),
            warnings: Warnings::default(),
        });
        let mine = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("cacheness-flush".to_owned())
            .spawn(move || mine.run(&index, &*blobs, &retired, pace))
            .map_err(|error| {
                CacheError::caused_by(ErrorKind::Storage, "cannot start the thread that flushes", error)
            })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Says that there is something to flush.
    fn wake(&self) {
        if !self.shared.dirty.load(Ordering::SeqCst) && !self.shared.dirty.swap(true, Ordering::SeqCst) {
            // The lock orders this with the check before the wait, so that no wake is missed.
            let _stopped = self.shared.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.changed.notify_one();
        }
    }

    /// Ends the thread, after the flush it may be in.
    fn stop(&self) {
        *self.shared.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // Its panic was shown when it happened; the close that follows flushes all the same.
            let _ = thread.join();
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self, index: &Index, blobs: &dyn BlobBackend, retired: &Retired, pace: Pace) {
        while self.wait_for_a_put() && !self.stopped_within(pace.interval) {
            if index.is_of_another_process() && !retired.has_any() && !retired.has_doubts() {
                // What it has told the owner, that brings to the disk.
                self.dirty.store(false, Ordering::SeqCst);
                index.flush_uses();
                continue;
            }
            let flush = || self.flush(index, blobs, retired, pace);
            if !flush() {
                continue;
            }
            let flushed = Cell::new(Instant::now());
            // That takes its time, in which puts are brought to the disk as ever.
            let go_on = || {
                if flushed.get().elapsed() >= pace.interval && self.dirty.load(Ordering::SeqCst) {
                    flush();
                    flushed.set(Instant::now());
                }
                !self.is_stopped()
            };
            if let Err(error) = index.give_back_room(&go_on) {
                self.warnings.tell("write the index anew", &error);
            }
        }
    }

    /// Brings everything to the disk; says whether it is there.
    fn flush(&self, index: &Index, blobs: &dyn BlobBackend, retired: &Retired, pace: Pace) -> bool {
        self.dirty.store(false, Ordering::SeqCst);
        let flushed = retired.after(index, blobs, || flush(index, blobs, pace.leave_blobs));
        if let Err(error) = &flushed {
            // Once more after the interval, also without another put.
            self.dirty.store(true, Ordering::SeqCst);
            self.warnings.tell("flush the cache", error);
        }
        flushed.is_ok()
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_a_put(&self) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |stopped: &mut bool| !*stopped && !self.dirty.load(Ordering::SeqCst);
        !*self.changed.wait_while(stopped, idle).unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped_within(&self, interval: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let (stopped, _) = self
            .changed
            .wait_timeout_while(stopped, interval, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *stopped
    }
}
