//! A directory of this machine before rows on a server and blobs that many machines share: reads fill it, writes go through it.
//!
//! A blob never changes under its name, so that a copy of one is right for ever. A copy of a row is believed as values in
//! memory are: as long as the lease runs for which others were asked what they have changed. What is not known is not served:
//! the mark to ask with outlives the process, and is written after the rows that it speaks of. Where it leads nowhere, each copy
//! is compared with its row before it is believed again.
//!
//! Whatever fails here costs a copy. Only a copy that has to go and cannot be taken out ends the use of all.

mod blobs;
mod copies;
mod follow;
mod open;
mod rows;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::Flusher;
use super::acknowledge::Lease;
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::index::backend::MetadataBackend;
use crate::index::sled::SledIndex;
use crate::security::Signing;
use crate::storage::blob::{BlobBackend, FilesystemBlobs};
use crate::storage::vfs::root::HeldLock;
use crate::util::{Counter, Warnings};
use turns::Turns;

/// Nothing is copied for so long after a change of which it is not known whether it is made, and when.
const AFTER_A_DOUBTFUL_CHANGE: Duration = Duration::from_secs(10);
/// Copies are brought to the disk no more often.
const BETWEEN_FLUSHES: Duration = Duration::from_secs(2);

/// What the local tier did in this process, and what is in it. Part of [`Stats`](crate::Stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalStats {
    /// Questions for an entry that were answered without the server.
    pub hits: u64,
    /// Those for which the server was asked.
    pub misses: u64,
    /// Values in files of their own that were read here.
    pub value_hits: u64,
    /// Those that were read where all machines have them.
    pub value_misses: u64,
    /// Entries of which there is a copy.
    pub entries: u64,
    /// What the copies take, counted as [`Stats::size_bytes`](crate::Stats::size_bytes).
    pub size_bytes: u64,
}

/// Copies of rows and of blobs, and what they are copies of.
pub(crate) struct Tier {
    rows: SledIndex,
    blobs: FilesystemBlobs,
    shared: Arc<dyn MetadataBackend>,
    signing: Arc<Signing>,
    limits: Limits,
    max_bytes: u64,
    turns: Turns,
    lease: Lease,
    /// What the shared rows call themselves, as soon as they were asked; nothing here is believed before.
    recognised: Mutex<Option<String>>,
    is_recognised: AtomicBool,
    /// The epochs of the shared rows and of the copies that were followed.
    followed: AtomicU64,
    followed_here: AtomicU64,
    /// The last of the copies that were compared since all were doubted.
    compared_up_to: Mutex<Option<Arc<[u8]>>>,
    resting: Resting,
    /// Uses that the server was not told of.
    untold: Mutex<HashMap<Box<[u8]>, Timestamp>>,
    /// A copy that is wrong could not be taken out.
    given_up: AtomicBool,
    evicting: Mutex<()>,
    /// When copies were brought to the disk, as `resting` counts the time.
    flushed: AtomicU64,
    hits: Counter,
    misses: Counter,
    value_hits: Counter,
    value_misses: Counter,
    warnings: Warnings,
    /// Brings copies to the disk some time after they were made.
    flusher: OnceLock<Weak<Flusher>>,
    held: HeldLock,
}

impl std::fmt::Debug for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tier").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// Until when nothing is copied.
#[derive(Debug)]
struct Resting {
    since: Instant,
    /// In milliseconds since then.
    until: AtomicU64,
}

impl Resting {
    fn rest(&self, length: Duration) {
        let until = u64::try_from((self.since.elapsed() + length).as_millis()).unwrap_or(u64::MAX);
        self.until.fetch_max(until, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        let until = self.until.load(Ordering::SeqCst);
        until == 0 || self.since.elapsed().as_millis() >= u128::from(until)
    }
}

impl Tier {
    pub(crate) fn stats(&self) -> LocalStats {
        let totals = self.rows.totals().unwrap_or_default();
        LocalStats {
            hits: self.hits.sum(),
            misses: self.misses.sum(),
            value_hits: self.value_hits.sum(),
            value_misses: self.value_misses.sum(),
            entries: totals.entries,
            size_bytes: totals.bytes,
        }
    }

    /// Has copies brought to the disk in the time of what is put.
    pub(super) fn flush_by(&self, flusher: Option<&Arc<Flusher>>) {
        flusher.iter().for_each(|flusher| _ = self.flusher.set(Arc::downgrade(flusher)));
    }

    fn wake_flusher(&self) {
        if let Some(flusher) = self.flusher.get().and_then(Weak::upgrade) {
            flusher.wake();
        }
    }

    /// Brings copies to the disk, unless that was done just now.
    fn flush_now_and_then(&self) {
        let now = u64::try_from(self.resting.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = |last: u64| (now >= last + BETWEEN_FLUSHES.as_millis() as u64).then_some(now);
        if self.flushed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, due).is_ok() {
            self.flush();
        }
    }

    /// Brings copies to the disk, and then up to which change they follow the shared rows.
    fn flush(&self) {
        let is_usable = self.is_recognised() && !self.given_up.load(Ordering::SeqCst);
        // As it is before: what is doubted or heard of meanwhile is not on the disk.
        let mark = if self.turns.is_doubtful() || !self.has_lost_nothing() { 0 } else { self.lease.mark() };
        let flushed = self.rows.flush().and_then(|()| if is_usable { self.save(mark) } else { Ok(()) });
        if let Err(error) = flushed {
            log::debug!("copies are not brought to the disk: {error}");
        }
    }

    fn close(&self) {
        self.flush();
        if let Err(error) = self.rows.close() {
            log::debug!("the local tier is not closed in order: {error}");
        }
        self.blobs.tidy();
        self.release();
    }

    /// Lets go of the directory.
    pub(crate) fn release(&self) {
        self.held.release();
    }
}
