use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Timestamp;
use crate::engine::memory::MemoryStats;
use crate::index::backend::Totals;
use crate::util::Counter;

/// What a cache holds, and how it was used since it was opened by this process.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Entries, also expired ones that were not cleaned up yet.
    #[doc(alias = "total_entries")]
    pub entries: u64,
    /// Bytes that they take: their records and their values as stored. On the disk a record counts with five times its
    /// bytes, which is what the files of the index take at most, but for 2 MiB.
    pub size_bytes: u64,
    /// Reads that gave a value.
    pub hits: u64,
    /// Reads that gave none.
    pub misses: u64,
    /// Values stored.
    pub puts: u64,
    /// Entries removed to keep the size limit.
    pub evictions: u64,
    /// Errors, also those that were kept from the caller.
    pub errors: u64,
    /// Entries that were lost because the index was damaged: those that could not be read, and those that could not be
    /// proven to be current.
    pub lost: u64,
    /// When the oldest entry was stored or last touched; `None` if there is no entry.
    #[doc(alias = "oldest_entry_date")]
    pub oldest: Option<Timestamp>,
    /// When the newest entry was stored or last touched; `None` if there is no entry.
    #[doc(alias = "newest_entry_date")]
    pub newest: Option<Timestamp>,
    /// Name of the metadata backend.
    #[doc(alias = "backend_type")]
    pub backend: &'static str,
    /// What is in memory before the index; `None` if nothing is to be, or `metadata.memory_cache_stats` is false.
    pub memory: Option<MemoryStats>,
}

impl Stats {
    /// Hits in proportion to all reads, from 0 to 1; 0 before the first read.
    pub fn hit_rate(&self) -> f64 {
        ratio(self.hits, self.hits + self.misses)
    }

    /// Bytes of a value on average; 0 if there is none.
    #[doc(alias = "avg_entry_size_mb")]
    pub fn average_entry_size(&self) -> f64 {
        ratio(self.size_bytes, self.entries)
    }

    /// The size in megabytes of 1,048,576 bytes.
    #[doc(alias = "total_size_mb")]
    pub fn size_mb(&self) -> f64 {
        ratio(self.size_bytes, 1 << 20)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    hits: Counter,
    misses: Counter,
    puts: AtomicU64,
    evictions: AtomicU64,
    errors: AtomicU64,
}

impl Counters {
    pub(super) fn hit(&self) {
        self.hits.count();
    }

    pub(super) fn miss(&self) {
        self.misses.count();
    }

    pub(super) fn put(&self) {
        self.puts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an eviction; says whether it was the first.
    pub(super) fn evicted(&self) -> bool {
        self.evictions.fetch_add(1, Ordering::Relaxed) == 0
    }

    pub(super) fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, totals: Totals, backend: &'static str) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            entries: totals.entries,
            size_bytes: totals.bytes,
            hits: self.hits.sum(),
            misses: self.misses.sum(),
            puts: read(&self.puts),
            evictions: read(&self.evictions),
            errors: read(&self.errors),
            lost: totals.lost,
            oldest: totals.created.map(|(oldest, _)| oldest),
            newest: totals.created.map(|(_, newest)| newest),
            backend,
            memory: None,
        }
    }
}
