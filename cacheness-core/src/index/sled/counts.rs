//! How many records there are, how many bytes they and their values take, and how many damage has cost.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::{Record, Totals};

/// So many times the bytes of its records the index may take on the disk, before it is [written anew](super::rewrite). A
/// database that was just written takes two to three times as much, for sled writes a page anew after some changes: with
/// five times, about half is dead.
pub(super) const MOST_TIMES: u64 = 5;

/// What an entry may take on the disk: its share of the index, and its blob if it has one.
pub(super) fn footprint(record: &Record) -> u64 {
    let again = (record.as_bytes().len() as u64).saturating_mul(MOST_TIMES - 1);
    record.footprint().saturating_add(again)
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
    pub(super) fn of(totals: Totals) -> Self {
        let counts = Self::default();
        counts.replace_by(totals);
        counts
    }

    pub(super) fn put(&self, previous: Option<&Record>, record: &Record) {
        if let Some(previous) = previous {
            self.removed(previous);
        }
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(footprint(record), Ordering::Relaxed);
        self.records.fetch_add(record.as_bytes().len() as u64, Ordering::Relaxed);
    }

    pub(super) fn removed(&self, record: &Record) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(footprint(record), Ordering::Relaxed);
        self.records.fetch_sub(record.as_bytes().len() as u64, Ordering::Relaxed);
    }

    pub(super) fn lose(&self, entries: u64) {
        self.lost.fetch_add(entries, Ordering::Relaxed);
    }

    pub(super) fn totals(&self) -> Totals {
        // Two threads may be between their additions and subtractions: never show less than nothing.
        let shown = |counter: &AtomicU64| counter.load(Ordering::Relaxed).cast_signed().max(0).unsigned_abs();
        let (entries, bytes) = (shown(&self.entries), shown(&self.bytes));
        Totals { entries, bytes, records: shown(&self.records), lost: shown(&self.lost) }
    }

    /// Says how many bytes the records take, where they were not all looked at.
    pub(super) fn set_records(&self, bytes: u64) {
        self.records.store(bytes, Ordering::Relaxed);
    }

    /// Counts what another database holds. What was lost before stays lost.
    pub(super) fn replace_by(&self, totals: Totals) {
        self.entries.store(totals.entries, Ordering::Relaxed);
        self.bytes.store(totals.bytes, Ordering::Relaxed);
        self.records.store(totals.records, Ordering::Relaxed);
    }
}
