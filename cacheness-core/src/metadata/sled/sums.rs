//! What must be true of all records together: how many, how large, and a sum of their checksums for every bucket of keys.
//!
//! A damaged sled can lose a record, or give an older one back whose own checksum is right. After damage a bucket whose
//! sum is not the one of the live records is not believed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::{Record, Totals};
use crate::entry::IndexKey;

/// One damaged record makes the other values of its bucket doubtful, so there are many; 32 KiB of them.
pub(super) const BUCKETS: usize = 4096;

#[derive(Debug)]
pub(super) struct Sums {
    buckets: Box<[AtomicU64]>,
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl Sums {
    pub(super) fn new() -> Self {
        Self::restore(&[], Totals::default())
    }

    pub(super) fn restore(buckets: &[u64], totals: Totals) -> Self {
        let at = |index| AtomicU64::new(buckets.get(index).copied().unwrap_or_default());
        Self {
            buckets: (0..BUCKETS).map(at).collect(),
            entries: AtomicU64::new(totals.entries),
            bytes: AtomicU64::new(totals.bytes),
        }
    }

    pub(super) fn put(&self, key: &IndexKey, previous: Option<&Record>, record: &Record) {
        if let Some(previous) = previous {
            self.removed(key, previous);
        }
        self.bucket(key).fetch_add(record.checksum(), Ordering::Relaxed);
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(record.footprint(), Ordering::Relaxed);
    }

    pub(super) fn removed(&self, key: &IndexKey, record: &Record) {
        self.bucket(key).fetch_sub(record.checksum(), Ordering::Relaxed);
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(record.footprint(), Ordering::Relaxed);
    }

    /// Whether the bucket of `key` holds the same records here and there.
    pub(super) fn agree_on(&self, other: &[u64], key: &IndexKey) -> bool {
        other.get(bucket_of(key)).copied() == Some(self.bucket(key).load(Ordering::Relaxed))
    }

    pub(super) fn buckets(&self) -> Vec<u64> {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect()
    }

    pub(super) fn totals(&self) -> Totals {
        // Two threads may be between their additions and subtractions: never show less than nothing.
        let shown = |counter: &AtomicU64| counter.load(Ordering::Relaxed).cast_signed().max(0).unsigned_abs();
        Totals { entries: shown(&self.entries), bytes: shown(&self.bytes) }
    }

    /// Takes over everything from another one.
    pub(super) fn replace_by(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            mine.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.entries.store(other.entries.load(Ordering::Relaxed), Ordering::Relaxed);
        self.bytes.store(other.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn bucket(&self, key: &IndexKey) -> &AtomicU64 {
        &self.buckets[bucket_of(key)]
    }
}

fn bucket_of(key: &IndexKey) -> usize {
    (key.hash() as usize) % BUCKETS
}
