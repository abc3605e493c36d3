//! The policies that are told by name: one ordered map of ranks, and four ways to give a rank.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::identity::{Secret, Slot};
use super::{Evicted, Held, MemoryBounds, parts_of};
use crate::config::MemoryPolicy;

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

pub(super) struct Ranked {
    parts: Box<[Mutex<Part>]>,
    secret: Secret,
}

struct Part {
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
        let (parts, secret) = (parts_of(&bounds), Secret::new());
        let part = |_| {
            Mutex::new(Part {
                ranking,
                max_entries: usize::try_from(bounds.max_entries / parts).unwrap_or(usize::MAX).max(1),
                max_bytes: bounds.max_bytes / parts,
                values: HashMap::with_hasher(secret.clone()),
                order: BTreeMap::new(),
                bytes: 0,
                ticks: 0,
                random: Secret::new().hash_one(()) | 1,
            })
        };
        Self { parts: (0..parts).map(part).collect(), secret }
    }

    fn part(&self, identity: &[u8]) -> MutexGuard<'_, Part> {
        // The lower bits choose the bucket in the map.
        let hash = self.secret.hash_one(identity) >> 32;
        // Under it runs nothing of the user's: values are dropped elsewhere.
        self.parts[hash as usize % self.parts.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, identity: &[u8]) -> Option<Arc<Held>> {
        self.part(identity).hit(identity)
    }

    /// Whether there is one, which is no use of it.
    #[cfg(test)]
    pub(super) fn has(&self, identity: &[u8]) -> bool {
        self.part(identity).values.contains_key(identity)
    }

    /// Keeps a value unless there is one for the same time: of two readers, both have read the same.
    pub(super) fn insert(&self, held: Arc<Held>, evicted: &mut Evicted) {
        self.part(held.key.identity()).insert(held, evicted);
    }

    pub(super) fn remove(&self, identity: &[u8]) -> Option<Arc<Held>> {
        self.part(identity).remove(identity)
    }

    pub(super) fn clear(&self) {
        for part in &self.parts {
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            part.bytes = 0;
            let values = (std::mem::take(&mut part.order), part.values.drain().collect::<Vec<_>>());
            drop(part);
            drop(values);
        }
    }

    /// How many values there are, and what they weigh.
    pub(super) fn size(&self) -> (u64, u64) {
        let parts = self.parts.iter().map(|part| {
            let part = part.lock().unwrap_or_else(PoisonError::into_inner);
            (part.values.len() as u64, part.bytes)
        });
        parts.fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }
}

impl Part {
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
            Some((there, _)) if there.0.terms.serve_as_long_as(&held.terms) => return evicted.push(held),
            Some(_) => evicted.extend(self.remove(identity)),
            None => {}
        }
        let bytes = held.terms.bytes;
        while self.values.len() >= self.max_entries || self.bytes + bytes > self.max_bytes {
            let Some((_, first)) = self.order.pop_first() else { break };
            self.bytes -= first.0.terms.bytes;
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
        self.bytes -= slot.0.terms.bytes;
        Some(slot.0)
    }
}

impl fmt::Debug for Ranked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ranked").field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}
