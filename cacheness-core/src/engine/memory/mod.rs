//! Live values in memory, in front of an index that one process owns.
//!
//! A hit here takes no lock that all threads share, allocates nothing and asks nobody but the clock. What makes it right
//! is decided by three things: values are found by the identity of their key, never by its hash alone; what a value may be
//! used for (until when, as which type) is kept beside it; and whoever changes an entry says so before
//! ([`Tier::change`]), so that nothing is kept that was read before the change and no value is given out that the index
//! no longer has.

mod adaptive;
mod identity;
mod keep;
mod ranked;
mod terms;
#[cfg(test)]
mod tests;
mod turns;
mod uses;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use keep::Keep;
pub(crate) use turns::Ticket;

use self::adaptive::Adaptive;
use self::ranked::{Ranked, Ranking};
use self::terms::Terms;
use self::turns::Turns;
use self::uses::{Use, Uses};
use crate::clock::{Clock, Timestamp};
use crate::config::MemoryBounds;
use crate::entry::{Core, IndexKey};
use crate::key::Key;
use crate::util::Counter;

/// A part that has its own lock is not smaller than this: a value may take half of it.
const SMALLEST_PART_BYTES: u64 = 4 << 20;

/// A value in memory, with its key and what it may be used for, all in one piece.
pub(crate) struct Held<V: ?Sized = dyn Any + Send + Sync> {
    key: Key,
    terms: Terms,
    used: Use,
    value: V,
}

impl<V: ?Sized> fmt::Debug for Held<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("key", &self.key).field("terms", &self.terms).finish_non_exhaustive()
    }
}

/// What a cache has in memory, and how often that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Values in memory.
    pub entries: u64,
    /// What they weigh: their encoded size and 512 bytes each.
    pub bytes: u64,
    /// Reads that were answered from memory.
    pub hits: u64,
    /// Reads of values that may be kept in memory and were not there.
    pub misses: u64,
}

/// The values in memory.
#[derive(Debug)]
pub(crate) struct Tier {
    shelves: Shelves,
    turns: Turns,
    uses: Uses,
    ttl: Option<Duration>,
    largest: u64,
    hits: Counter,
    misses: Counter,
}

/// Where values lie, by the policy that evicts them.
#[derive(Debug)]
enum Shelves {
    Adaptive(Adaptive),
    Ranked(Ranked),
}

/// Values that were taken out. They are dropped when no lock is held: their code is the user's.
type Evicted = Vec<Arc<Held>>;

impl Tier {
    pub(crate) fn new(bounds: MemoryBounds) -> Self {
        let part = bounds.max_bytes / parts_of(&bounds);
        let shelves = match Ranking::of(bounds.policy) {
            None => Shelves::Adaptive(Adaptive::new(bounds)),
            Some(ranking) => Shelves::Ranked(Ranked::new(bounds, ranking)),
        };
        Self {
            shelves,
            turns: Turns::default(),
            uses: Uses::default(),
            ttl: bounds.ttl,
            // One large value must not empty a part.
            largest: part / 2,
            hits: Counter::default(),
            misses: Counter::default(),
        }
    }

    /// The value of the key with this identity, if it is here and may be given out.
    #[inline]
    pub(crate) fn get<T: 'static>(
        &self,
        identity: &[u8],
        keep: Keep<T>,
        reader_ttl: Option<Duration>,
        clock: &dyn Clock,
    ) -> Option<T> {
        let held = match &self.shelves {
            Shelves::Adaptive(shelves) => shelves.get(identity),
            Shelves::Ranked(shelves) => shelves.get(identity),
        };
        let held = held?;
        let now = held.terms.fresh_at(reader_ttl, clock)?;
        let value = keep.copy_of(&held)?;
        self.uses.note(&held, now);
        self.hits.count();
        Some(value)
    }

    /// Counts a read that found nothing here.
    pub(crate) fn missed(&self) {
        self.misses.count();
    }

    /// Permission to keep what is read from the index from now on, until somebody changes the entry. `None` while
    /// somebody does.
    pub(crate) fn ticket(&self, key: &Key) -> Option<Ticket> {
        self.turns.ticket(key.hash())
    }

    /// Keeps a value that was read, or written in one change, since the ticket was given. Tells when those were used that
    /// go for it.
    pub(crate) fn keep<T>(
        &self,
        key: &Key,
        (ticket, keep): (Ticket, Keep<T>),
        value: T,
        core: &Core,
        now: Timestamp,
        mut tell: impl FnMut(&Key, Timestamp),
    ) {
        let terms = Terms::of(core, self.ttl, now);
        if terms.bytes > self.largest {
            return;
        }
        let held = keep.hold(value, Held { key: key.without_sources(), terms, used: Use::at(now), value: () });
        let mut evicted = Vec::new();
        self.turns.if_valid(ticket, || match &self.shelves {
            Shelves::Adaptive(shelves) => shelves.insert(held, &mut evicted),
            Shelves::Ranked(shelves) => shelves.insert(held, &mut evicted),
        });
        for held in evicted {
            held.used.last().into_iter().for_each(|at| tell(&held.key, at));
        }
    }

    /// Whether a value of so many encoded bytes is kept at all.
    pub(crate) fn has_room_for(&self, raw_size: u64) -> bool {
        terms::weight_of(raw_size) <= self.largest
    }

    /// Takes the value of a key out, and keeps none until the change is over. Says when it was used, if nobody was told.
    pub(crate) fn change(&self, key: &IndexKey) -> (Change<'_>, Option<Timestamp>) {
        let mut removed = None;
        self.turns.begin(key.hash(), || {
            removed = match &self.shelves {
                Shelves::Adaptive(shelves) => shelves.remove(key.identity()),
                Shelves::Ranked(shelves) => shelves.remove(key.identity()),
            }
        });
        let last_use = removed.and_then(|held| held.used.end());
        (Change { turns: &self.turns, hash: key.hash() }, last_use)
    }

    /// Tells of the uses that nobody was told of yet.
    pub(crate) fn settle(&self, tell: impl FnMut(&Key, Timestamp)) {
        self.uses.settle(tell);
    }

    /// Whether there are so many uses to tell of that it should be done now.
    pub(crate) fn has_much_to_settle(&self) -> bool {
        self.uses.are_many()
    }

    /// Takes everything out, and keeps nothing that was read or written by now: the index may have lost any entry.
    pub(crate) fn forget(&self) {
        self.turns.revoke_all();
        self.clear();
    }

    /// Takes everything out.
    pub(crate) fn clear(&self) {
        match &self.shelves {
            Shelves::Adaptive(shelves) => shelves.clear(),
            Shelves::Ranked(shelves) => shelves.clear(),
        }
    }

    pub(crate) fn stats(&self) -> MemoryStats {
        let (entries, bytes) = match &self.shelves {
            Shelves::Adaptive(shelves) => shelves.size(),
            Shelves::Ranked(shelves) => shelves.size(),
        };
        MemoryStats { entries, bytes, hits: self.hits.sum(), misses: self.misses.sum() }
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.sum()
    }
}

/// A change of an entry; over when it is dropped.
#[must_use]
pub(crate) struct Change<'t> {
    turns: &'t Turns,
    hash: u64,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.turns.end(self.hash);
    }
}

/// In how many parts with a lock each the values are kept: enough for all processors, but none too small.
fn parts_of(bounds: &MemoryBounds) -> u64 {
    const PARTS_EACH: u64 = 16;
    const SMALLEST_PART_ENTRIES: u64 = 512;
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let most = (bounds.max_bytes / SMALLEST_PART_BYTES).min(bounds.max_entries / SMALLEST_PART_ENTRIES);
    let parts = (PARTS_EACH * processors).clamp(1, most.max(1));
    // The power of two below, so that no part is smaller than that.
    1 << parts.ilog2()
}
