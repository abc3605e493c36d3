//! Live values in memory, in front of an index.
//!
//! A hit here takes no lock that all threads share, allocates nothing and reads nothing but the clock. Three things make it
//! correct: values are found by the identity of their key, never by its hash alone (`shards`); until when and as which type a
//! value may be used is kept beside it (`value`); and every change of an entry is announced first ([`Tier::change`]), so that
//! nothing is inserted that was read before the change and no value is returned that the index no longer has.

mod shards;
#[cfg(test)]
mod tests;
mod value;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use value::CloneOps;

use self::shards::{Adaptive, Ranked, Ranking};
use self::value::{Freshness, Use, Uses};
use crate::clock::{Clock, Timestamp};
use crate::config::MemoryBounds;
use crate::entry::{Core, IndexKey};
use crate::key::Key;
use crate::util::Counter;

/// A shard is not smaller than this: a value may take half of it.
const SMALLEST_SHARD_BYTES: u64 = 4 << 20;

/// A value in memory, with its key and what it may be used for, all in one piece.
pub(crate) struct Held<V: ?Sized = dyn Any + Send + Sync> {
    key: Key,
    freshness: Freshness,
    used: Use,
    value: V,
}

impl<V: ?Sized> fmt::Debug for Held<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("key", &self.key).field("freshness", &self.freshness).finish_non_exhaustive()
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
    shards: Shards,
    stripes: StripedLock,
    uses: Uses,
    ttl: Option<Duration>,
    largest: u64,
    hits: Counter,
    misses: Counter,
}

/// Where values lie, by the policy that evicts them.
#[derive(Debug)]
enum Shards {
    Adaptive(Adaptive),
    Ranked(Ranked),
}

/// Values that were removed. They are dropped when no lock is held: their `Drop` is user code.
type Evicted = Vec<Arc<Held>>;

impl Tier {
    pub(crate) fn new(bounds: MemoryBounds) -> Self {
        let shard = bounds.max_bytes / shard_count(&bounds);
        let shards = match Ranking::of(bounds.policy) {
            None => Shards::Adaptive(Adaptive::new(bounds)),
            Some(ranking) => Shards::Ranked(Ranked::new(bounds, ranking)),
        };
        Self {
            shards,
            stripes: StripedLock::default(),
            uses: Uses::default(),
            ttl: bounds.ttl,
            // One large value must not empty a shard.
            largest: shard / 2,
            hits: Counter::default(),
            misses: Counter::default(),
        }
    }

    /// The value of the key with this identity, if it is here and may be given out.
    #[inline]
    pub(crate) fn get<T: 'static>(
        &self,
        identity: &[u8],
        clone_ops: CloneOps<T>,
        reader_ttl: Option<Duration>,
        clock: &dyn Clock,
    ) -> Option<T> {
        let held = match &self.shards {
            Shards::Adaptive(shards) => shards.get(identity),
            Shards::Ranked(shards) => shards.get(identity),
        };
        let held = held?;
        let now = held.freshness.fresh_at(reader_ttl, clock)?;
        let value = clone_ops.clone_of(&held)?;
        self.uses.note(&held, now);
        self.hits.count();
        Some(value)
    }

    /// Counts a read that found nothing here.
    pub(crate) fn missed(&self) {
        self.misses.count();
    }

    /// Permission to insert what is read from the index from now on, until the entry changes. `None` while it is being
    /// changed.
    pub(crate) fn insert_token(&self, key: &Key) -> Option<InsertToken> {
        self.stripes.insert_token(key.hash())
    }

    /// Inserts a value that was read, or written in one change, since the token was given. Calls `on_use` with the last use of
    /// each value that is evicted for it.
    pub(crate) fn insert<T>(
        &self,
        key: &Key,
        (token, clone_ops): (InsertToken, CloneOps<T>),
        value: T,
        core: &Core,
        now: Timestamp,
        mut on_use: impl FnMut(&Key, Timestamp),
    ) {
        let freshness = Freshness::of(core, self.ttl, now);
        if freshness.bytes > self.largest {
            return;
        }
        let held = clone_ops.hold(value, Held { key: key.without_sources(), freshness, used: Use::at(now), value: () });
        let mut evicted = Vec::new();
        self.stripes.if_valid(token, || match &self.shards {
            Shards::Adaptive(shards) => shards.insert(held, &mut evicted),
            Shards::Ranked(shards) => shards.insert(held, &mut evicted),
        });
        for held in evicted {
            held.used.last().into_iter().for_each(|at| on_use(&held.key, at));
        }
    }

    /// Whether a value of so many encoded bytes is inserted at all.
    pub(crate) fn has_room_for(&self, raw_size: u64) -> bool {
        value::weight_of(raw_size) <= self.largest
    }

    /// Removes the value of a key, and inserts none until the change is over. Returns its last use, if that was not flushed.
    pub(crate) fn change(&self, key: &IndexKey) -> (Change<'_>, Option<Timestamp>) {
        let mut removed = None;
        self.stripes.begin(key.hash(), || {
            removed = match &self.shards {
                Shards::Adaptive(shards) => shards.remove(key.identity()),
                Shards::Ranked(shards) => shards.remove(key.identity()),
            }
        });
        let last_use = removed.and_then(|held| held.used.end());
        (Change { stripes: &self.stripes, hash: key.hash() }, last_use)
    }

    /// Calls `on_use` with every use that was not flushed yet.
    pub(crate) fn flush_uses(&self, on_use: impl FnMut(&Key, Timestamp)) {
        self.uses.flush_uses(on_use);
    }

    /// Whether so many uses wait to be flushed that it should be done now.
    pub(crate) fn has_many_uses(&self) -> bool {
        self.uses.are_many()
    }

    /// Removes everything, and inserts nothing that was read or written before now: the index may have lost any entry.
    pub(crate) fn forget(&self) {
        self.stripes.revoke_all();
        self.clear();
    }

    /// Removes everything.
    pub(crate) fn clear(&self) {
        match &self.shards {
            Shards::Adaptive(shards) => shards.clear(),
            Shards::Ranked(shards) => shards.clear(),
        }
    }

    pub(crate) fn stats(&self) -> MemoryStats {
        let (entries, bytes) = match &self.shards {
            Shards::Adaptive(shards) => shards.size(),
            Shards::Ranked(shards) => shards.size(),
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
    stripes: &'t StripedLock,
    hash: u64,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.stripes.end(self.hash);
    }
}

/// The number of shards, each of which has a lock: enough for all processors, but none too small.
fn shard_count(bounds: &MemoryBounds) -> u64 {
    const SHARDS_EACH: u64 = 16;
    const SMALLEST_SHARD_ENTRIES: u64 = 512;
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let most = (bounds.max_bytes / SMALLEST_SHARD_BYTES).min(bounds.max_entries / SMALLEST_SHARD_ENTRIES);
    let shards = (SHARDS_EACH * processors).clamp(1, most.max(1));
    // The power of two below, so that no shard is smaller than that.
    1 << shards.ilog2()
}

// A slow reader must not insert a value that was replaced meanwhile. So every change of an entry begins and ends here, a
// reader takes a token before it reads, and a token is void once a change has begun. Keys share stripes: a change of one
// key may cost another one an insert, never a wrong value.

const STRIPES: usize = 256;

/// The changes of the keys that share a stripe.
#[derive(Clone, Copy, Debug, Default)]
struct Stripe {
    under_way: u32,
    ended: u64,
}

#[derive(Debug)]
struct StripedLock([Mutex<Stripe>; STRIPES]);

/// Permission to insert a value, as long as no change of its entry begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InsertToken {
    hash: u64,
    ended: u64,
}

impl InsertToken {
    /// The same permission for one who makes exactly one change.
    pub(crate) fn after_own_change(self) -> Self {
        Self { ended: self.ended + 1, ..self }
    }
}

impl Default for StripedLock {
    fn default() -> Self {
        Self([const { Mutex::new(Stripe { under_way: 0, ended: 0 }) }; STRIPES])
    }
}

impl StripedLock {
    /// Begins a change; `take_out` runs before anybody can put something in.
    fn begin(&self, hash: u64, take_out: impl FnOnce()) {
        let mut stripe = self.of(hash);
        stripe.under_way += 1;
        take_out();
    }

    fn end(&self, hash: u64) {
        let mut stripe = self.of(hash);
        stripe.under_way -= 1;
        stripe.ended += 1;
    }

    /// Ends every permission that was given, for what became of the entries is not known.
    fn revoke_all(&self) {
        for stripe in &self.0 {
            stripe.lock().unwrap_or_else(PoisonError::into_inner).ended += 1;
        }
    }

    fn insert_token(&self, hash: u64) -> Option<InsertToken> {
        let stripe = self.of(hash);
        (stripe.under_way == 0).then_some(InsertToken { hash, ended: stripe.ended })
    }

    /// Runs `put_in` if nothing has changed since the token was given.
    fn if_valid(&self, token: InsertToken, put_in: impl FnOnce()) {
        let stripe = self.of(token.hash);
        if stripe.under_way == 0 && stripe.ended == token.ended {
            put_in();
        }
    }

    fn of(&self, hash: u64) -> MutexGuard<'_, Stripe> {
        // Nothing that can panic runs under it but the map of values, which is whole after a panic.
        self.0[hash as usize % STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
