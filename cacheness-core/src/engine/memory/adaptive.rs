//! The default policy, by the crate `quick_cache` (a variant of CLOCK-Pro and S3-FIFO).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::identity::{Secret, Slot};
use super::{Evicted, Held, MemoryBounds, parts_of};

pub(super) struct Adaptive {
    values: Cache<Slot, Arc<Held>, Weights, Secret, Aside>,
    bytes: AtomicU64,
}

/// A value weighs its bytes, and at least its share: so neither bytes nor entries go over their limit.
#[derive(Clone, Copy, Debug)]
struct Weights {
    least: u64,
}

impl Weighter<Slot, Arc<Held>> for Weights {
    fn weight(&self, _: &Slot, held: &Arc<Held>) -> u64 {
        held.terms.bytes.max(self.least)
    }
}

/// Sets evicted values aside, to be dropped when the lock is free.
#[derive(Clone, Copy, Debug)]
struct Aside;

impl Lifecycle<Slot, Arc<Held>> for Aside {
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
            .shards(parts_of(&bounds) as usize)
            .estimated_items_capacity(expected as usize)
            .weight_capacity(bounds.max_bytes)
            .build();
        let weights = Weights { least: bounds.max_bytes.div_ceil(bounds.max_entries.max(1)).max(1) };
        let values = match options {
            Ok(options) => Cache::with_options(options, weights, Secret::new(), Aside),
            Err(_) => Cache::with(expected as usize, bounds.max_bytes, weights, Secret::new(), Aside),
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
            let stays = there.terms.serve_as_long_as(&held.terms);
            // Dropped with the others: if it is evicted meanwhile, this is the last of it, and a lock is held here.
            evicted.push(there);
            if stays {
                return evicted.push(held);
            }
            evicted.extend(self.remove(identity));
        }
        let taken_out = evicted.len();
        self.bytes.fetch_add(held.terms.bytes, Ordering::Relaxed);
        self.values.insert_with_lifecycle(Slot(Arc::clone(&held)), held, evicted);
        let freed = evicted[taken_out..].iter().map(|held| held.terms.bytes).sum();
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, identity: &[u8]) -> Option<Arc<Held>> {
        let (_, held) = self.values.remove(identity)?;
        self.bytes.fetch_sub(held.terms.bytes, Ordering::Relaxed);
        Some(held)
    }

    pub(super) fn clear(&self) {
        let values: Vec<_> = self.values.drain().collect();
        let freed = values.iter().map(|(_, held)| held.terms.bytes).sum();
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
