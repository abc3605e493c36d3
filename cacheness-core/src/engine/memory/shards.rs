//! The maps of values, by the identity of their key, and the policies that evict from them.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::{Evicted, Held, MemoryBounds, shard_count};
use crate::config::MemoryPolicy;
use crate::util::digest;

/// The key of a value in memory, which lies beside the value. Borrows as its identity, so that it is found without being
/// made.
#[derive(Clone, Debug)]
pub(super) struct Slot(pub(super) Arc<Held>);

impl Slot {
    pub(super) fn identity(&self) -> &[u8] {
        self.0.key.identity()
    }
}

impl Borrow<[u8]> for Slot {
    fn borrow(&self) -> &[u8] {
        self.identity()
    }
}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Slot {}

/// A hasher with a secret seed: keys with one XXH3 value are easy to make, and must not meet in one place here.
#[derive(Clone, Debug)]
pub(super) struct Secret(u64);

impl Secret {
    pub(super) fn new() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }
}

impl BuildHasher for Secret {
    type Hasher = Seeded;

    #[inline]
    fn build_hasher(&self) -> Seeded {
        Seeded(self.0)
    }
}

/// Hashes one slice.
#[derive(Debug)]
pub(super) struct Seeded(u64);

impl Hasher for Seeded {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = digest::seeded(self.0, bytes);
    }

    /// The length, which the hash of the one slice that follows depends on anyway.
    #[inline]
    fn write_usize(&mut self, _: usize) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The default policy, by the crate `quick_cache` (a variant of CLOCK-Pro and S3-FIFO).
pub(super) struct Adaptive {
    values: Cache<Slot, Arc<Held>, Weights, Secret, CollectEvicted>,
    bytes: AtomicU64,
}

/// A value weighs its bytes, and at least its share: so neither bytes nor entries go over their limit.
#[derive(Clone, Copy, Debug)]
struct Weights {
    least: u64,
}

impl Weighter<Slot, Arc<Held>> for Weights {
    fn weight(&self, _: &Slot, held: &Arc<Held>) -> u64 {
        held.freshness.bytes.max(self.least)
    }
}

/// Sets evicted values aside, to be dropped when the lock is free.
#[derive(Clone, Copy, Debug)]
struct CollectEvicted;

impl Lifecycle<Slot, Arc<Held>> for CollectEvicted {
    type RequestState = Evicted;

    fn on_evict(&self, evicted: &mut Evicted, _: Slot, held: Arc<Held>) {
        evicted.push(held);
    }
}

impl Adaptive {
    pub(super) fn new(bounds: MemoryBounds) -> Self {
        // Room for what is remembered of values that are gone is taken by this number.
        const MOST_EXPECTED: u64 = 1 << 20;
        let expected = bounds.max_entries.min(MOST_EXPECTED);
        let options = OptionsBuilder::new()
            .shards(shard_count(&bounds) as usize)
            .estimated_items_capacity(expected as usize)
            .weight_capacity(bounds.max_bytes)
            .build();
        let weights = Weights { least: bounds.max_bytes.div_ceil(bounds.max_entries.max(1)).max(1) };
        let values = match options {
            Ok(options) => Cache::with_options(options, weights, Secret::new(), CollectEvicted),
            Err(_) => Cache::with(expected as usize, bounds.max_bytes, weights, Secret::new(), CollectEvicted),
        };
        Self { values, bytes: AtomicU64::new(0) }
    }

    #[inline]
    pub(super) fn get(&self, identity: &[u8]) -> Option<Arc<Held>> {
        self.values.get(identity)
    }

    /// Keeps a value unless there is one for the same time: of two readers, both have read the same.
    pub(super) fn insert(&self, held: Arc<Held>, evicted: &mut Evicted) {
        let identity = held.key.identity();
        if let Some(there) = self.values.peek(identity) {
            let stays = there.freshness.serve_as_long_as(&held.freshness);
            // Dropped with the others: if it is evicted meanwhile, this is the last of it, and a lock is held here.
            evicted.push(there);
            if stays {
                return evicted.push(held);
            }
            evicted.extend(self.remove(identity));
        }
        let taken_out = evicted.len();
        self.bytes.fetch_add(held.freshness.bytes, Ordering::Relaxed);
        self.values.insert_with_lifecycle(Slot(Arc::clone(&held)), held, evicted);
        let freed = evicted[taken_out..].iter().map(|held| held.freshness.bytes).sum();
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, identity: &[u8]) -> Option<Arc<Held>> {
        let (_, held) = self.values.remove(identity)?;
        self.bytes.fetch_sub(held.freshness.bytes, Ordering::Relaxed);
        Some(held)
    }

    pub(super) fn clear(&self) {
        let values: Vec<_> = self.values.drain().collect();
        let freed = values.iter().map(|(_, held)| held.freshness.bytes).sum();
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
    }

    /// How many values there are, and what they weigh.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.values.len() as u64, self.bytes.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Adaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adaptive").field("entries", &self.values.len()).finish_non_exhaustive()
    }
}

/// What decides the rank of a value. The lowest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ranking {
    LastUse,
    Uses,
    Arrival,
    Random,
}

impl Ranking {
    /// That of a policy, unless it is the default, which ranks nothing.
    pub(super) const fn of(policy: MemoryPolicy) -> Option<Self> {
        match policy {
            MemoryPolicy::Adaptive => None,
            MemoryPolicy::Lru => Some(Self::LastUse),
            MemoryPolicy::Lfu => Some(Self::Uses),
            MemoryPolicy::Fifo => Some(Self::Arrival),
            MemoryPolicy::Rr => Some(Self::Random),
        }
    }
}

/// Values go in the order of these. No two are equal: the second number is never given twice, or random.
type Rank = (u64, u64);

/// The policies that are given by name: one ordered map of ranks, and four ways to assign a rank.
pub(super) struct Ranked {
    shards: Box<[Mutex<Shard>]>,
    secret: Secret,
}

struct Shard {
    ranking: Ranking,
    max_entries: usize,
    max_bytes: u64,
    values: HashMap<Slot, Value, Secret>,
    order: BTreeMap<Rank, Slot>,
    bytes: u64,
    ticks: u64,
    random: u64,
}

struct Value {
    rank: Rank,
    uses: u64,
}

impl Ranked {
    pub(super) fn new(bounds: MemoryBounds, ranking: Ranking) -> Self {
        let (shards, secret) = (shard_count(&bounds), Secret::new());
        let shard = |_| {
            Mutex::new(Shard {
                ranking,
                max_entries: usize::try_from(bounds.max_entries / shards).unwrap_or(usize::MAX).max(1),
                max_bytes: bounds.max_bytes / shards,
                values: HashMap::with_hasher(secret.clone()),
                order: BTreeMap::new(),
                bytes: 0,
                ticks: 0,
                random: Secret::new().hash_one(()) | 1,
            })
        };
        Self { shards: (0..shards).map(shard).collect(), secret }
    }

    fn shard(&self, identity: &[u8]) -> MutexGuard<'_, Shard> {
        // The lower bits choose the bucket in the map.
        let hash = self.secret.hash_one(identity) >> 32;
        // Under it runs nothing of the user's: values are dropped elsewhere.
        self.shards[hash as usize % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, identity: &[u8]) -> Option<Arc<Held>> {
        self.shard(identity).hit(identity)
    }

    /// Whether there is one, which is no use of it.
    #[cfg(test)]
    pub(super) fn has(&self, identity: &[u8]) -> bool {
        self.shard(identity).values.contains_key(identity)
    }

    /// Keeps a value unless there is one for the same time: of two readers, both have read the same.
    pub(super) fn insert(&self, held: Arc<Held>, evicted: &mut Evicted) {
        self.shard(held.key.identity()).insert(held, evicted);
    }

    pub(super) fn remove(&self, identity: &[u8]) -> Option<Arc<Held>> {
        self.shard(identity).remove(identity)
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.bytes = 0;
            let values = (std::mem::take(&mut shard.order), shard.values.drain().collect::<Vec<_>>());
            drop(shard);
            drop(values);
        }
    }

    /// How many values there are, and what they weigh.
    pub(super) fn size(&self) -> (u64, u64) {
        let shards = self.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            (shard.values.len() as u64, shard.bytes)
        });
        shards.fold((0, 0), |sum, shard| (sum.0 + shard.0, sum.1 + shard.1))
    }
}

impl Shard {
    /// The rank of a value that is used now for the `uses`th time.
    fn rank(&mut self, uses: u64) -> Rank {
        self.ticks += 1;
        match self.ranking {
            Ranking::LastUse | Ranking::Arrival => (self.ticks, 0),
            Ranking::Uses => (uses, self.ticks),
            Ranking::Random => (self.random(), self.ticks),
        }
    }

    /// Xorshift, by George Marsaglia: whoever could guess it would learn nothing but which value goes.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn hit(&mut self, identity: &[u8]) -> Option<Arc<Held>> {
        let moves = matches!(self.ranking, Ranking::LastUse | Ranking::Uses);
        let (slot, value) = self.values.get_key_value(identity)?;
        let held = Arc::clone(&slot.0);
        if moves {
            let (uses, before) = (value.uses + 1, value.rank);
            let rank = self.rank(uses);
            if let Some(slot) = self.order.remove(&before) {
                self.order.insert(rank, slot);
            }
            if let Some(value) = self.values.get_mut(identity) {
                *value = Value { rank, uses };
            }
        }
        Some(held)
    }

    fn insert(&mut self, held: Arc<Held>, evicted: &mut Evicted) {
        let identity = held.key.identity();
        match self.values.get_key_value(identity) {
            Some((there, _)) if there.0.freshness.serve_as_long_as(&held.freshness) => return evicted.push(held),
            Some(_) => evicted.extend(self.remove(identity)),
            None => {}
        }
        let bytes = held.freshness.bytes;
        while self.values.len() >= self.max_entries || self.bytes + bytes > self.max_bytes {
            let Some((_, first)) = self.order.pop_first() else { break };
            self.bytes -= first.0.freshness.bytes;
            self.values.remove(first.identity());
            evicted.push(first.0);
        }
        let (rank, slot) = (self.rank(1), Slot(held));
        self.bytes += bytes;
        self.order.insert(rank, slot.clone());
        self.values.insert(slot, Value { rank, uses: 1 });
    }

    fn remove(&mut self, identity: &[u8]) -> Option<Arc<Held>> {
        let (slot, value) = self.values.remove_entry(identity)?;
        self.order.remove(&value.rank);
        self.bytes -= slot.0.freshness.bytes;
        Some(slot.0)
    }
}

impl fmt::Debug for Ranked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ranked").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}
