//! How many records there are, how many bytes they and their values take, and how many damage has cost.

use std::sync::atomic::{AtomicU64, Ordering};

use super::orders::Placed;

/// So many times the bytes of its records the index may take on the disk, before it is [written anew](super::rewrite). A
/// database that was just written takes two to three times as much, for sled writes a page anew after some changes: with
/// five times, about half is dead.
pub(super) const MOST_TIMES: u64 = 5;

/// What an entry may take on the disk: its share of the index, and its blob if it has one.
pub(super) fn footprint(row: u64, blob: u64) -> u64 {
    row.saturating_mul(MOST_TIMES).saturating_add(blob)
}

/// What is kept, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// Bytes of the records alone.
    pub(super) records: u64,
    /// Entries that damage has cost since the index was opened.
    pub(super) lost: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    entries: AtomicU64,
    bytes: AtomicU64,
    /// Of the records alone.
    records: AtomicU64,
    lost: AtomicU64,
}

impl Counts {
    pub(super) fn of(sums: Sums) -> Self {
        let counts = Self::default();
        counts.replace_by(sums);
        counts
    }

    pub(super) fn added(&self, row: &Placed<'_>) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(row.footprint(), Ordering::Relaxed);
        self.records.fetch_add(row.len, Ordering::Relaxed);
    }

    pub(super) fn removed(&self, row: &Placed<'_>) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(row.footprint(), Ordering::Relaxed);
        self.records.fetch_sub(row.len, Ordering::Relaxed);
    }

    pub(super) fn lose(&self, entries: u64) {
        self.lost.fetch_add(entries, Ordering::Relaxed);
    }

    pub(super) fn sums(&self) -> Sums {
        // Two threads may be between their additions and subtractions: never show less than nothing.
        let shown = |counter: &AtomicU64| counter.load(Ordering::Relaxed).cast_signed().max(0).unsigned_abs();
        let (entries, bytes) = (shown(&self.entries), shown(&self.bytes));
        Sums { entries, bytes, records: shown(&self.records), lost: shown(&self.lost) }
    }

    /// Says how many bytes the records take, where they were not all looked at.
    pub(super) fn set_records(&self, bytes: u64) {
        self.records.store(bytes, Ordering::Relaxed);
    }

    /// Counts what another database holds. What was lost before stays lost.
    pub(super) fn replace_by(&self, sums: Sums) {
        self.entries.store(sums.entries, Ordering::Relaxed);
        self.bytes.store(sums.bytes, Ordering::Relaxed);
        self.records.store(sums.records, Ordering::Relaxed);
    }
}
