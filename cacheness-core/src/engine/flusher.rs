//! The thread that brings puts to the disk, one interval after the first of them.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::index::Index;
use crate::entry::IndexKey;
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::BlobName;
use crate::storage::blob::BlobBackend;
use crate::util::Warnings;

/// How often is flushed, and what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub interval: Duration,
    /// Blobs are left to the system.
    pub leave_blobs: bool,
}

/// Brings blobs, unless they are left to the system, and then the index to the disk: a record that is there names a blob
/// that is there too. The index also when a blob cannot be synced: one that a power cut takes is then a miss.
pub(super) fn flush(index: &Index, blobs: &dyn BlobBackend, leave_blobs: bool) -> Result<()> {
    let synced = if leave_blobs { Ok(()) } else { blobs.sync() };
    let flushed = index.flush();
    synced.and(flushed)
}

#[derive(Debug)]
pub(super) struct Flusher {
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
    pub(super) fn start(
        index: Arc<Index>,
        blobs: Arc<dyn BlobBackend>,
        retired: Arc<Retired>,
        pace: Pace,
    ) -> Result<Self> {
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
    pub(super) fn wake(&self) {
        if !self.shared.dirty.load(Ordering::SeqCst) && !self.shared.dirty.swap(true, Ordering::SeqCst) {
            // The lock orders this with the check before the wait, so that no wake is missed.
            let _stopped = self.shared.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.changed.notify_one();
        }
    }

    /// Ends the thread, after the flush it may be in.
    pub(super) fn stop(&self) {
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

// Blobs whose end is near: those of values that were replaced, and those whose commit has an unknown outcome.
//
// A replaced value stays until the record of the new one is on the disk, so that a process that is killed before has
// lost the new value alone. A blob of which nobody knows whether a record names it stays until the index can tell.

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
