//! What the index knows of entries, without their values.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::engine::Engine;
use super::{Cache, PutOptions};
use crate::clock::Timestamp;
use crate::codec::handler::Encoded;
use crate::config::StoredCodec;
use crate::engine::local::LocalStats;
use crate::engine::memory::MemoryStats;
use crate::entry::{Core, Details, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::Record;
use crate::index::backend::Totals;
use crate::key::{Key, ToKey};
use crate::query::Filter;
use crate::util::Counter;

/// What to do about an entry that has expired and is still there.
#[doc(alias = "check_expiration")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expired {
    /// It counts as gone.
    Skip,
    /// It counts.
    Include,
}

/// Keys that are read in one go: others wait no longer.
const KEYS_PAGE: usize = 4096;

/// Looking at entries.
impl Cache {
    /// Whether a value that has not expired lies under a key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn exists(&self, key: impl ToKey) -> Result<bool> {
        self.engine()?.is_fresh(&self.index_key(key)?)
    }

    /// The entry of a key, without its value.
    ///
    /// ```
    /// use cacheness::Cache;
    /// use cacheness::cache::Expired;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// cache.put("large", &vec![0u8; 100_000])?;
    /// let entry = cache.get_metadata("large", Expired::Skip)?.expect("it was just stored");
    /// assert!(entry.raw_size() >= 100_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_metadata(&self, key: impl ToKey, expired: Expired) -> Result<Option<Entry>> {
        let (engine, key) = (self.engine()?, self.index_key(key)?);
        let found = match expired {
            Expired::Skip => engine.fresh(&key, None)?,
            Expired::Include => engine.store().find(&key)?,
        };
        found.map(|found| engine.describe(&found.record)).transpose()
    }

    /// The entry of this name in listings, 16 hex digits; also one that has expired. An entry is a key: what it says can
    /// be fetched, touched, replaced and removed by it.
    ///
    /// Where several keys share the name, which takes somebody who wants them to, it is the newest.
    ///
    /// ```
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// let name = cache.put("answer", &42u8)?.to_string();
    /// let entry = cache.get_entry(&name)?.expect("it was just stored");
    /// assert_eq!(cache.get::<u8>(&entry)?, Some(42));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if it is no such name; else as [`get`](Self::get).
    pub fn get_entry(&self, cache_key: &str) -> Result<Option<Entry>> {
        let engine = self.engine()?;
        let mut newest: Option<Entry> = None;
        let records = engine.store().index().with_hash(hash_of(cache_key)?)?;
        for (_, record) in records.into_iter().filter(|(_, record)| record.is_believed()) {
            let entry = engine.describe(&record)?;
            if newest.as_ref().is_none_or(|newest| newest.created_at() < entry.created_at()) {
                newest = Some(entry);
            }
        }
        Ok(newest)
    }

    /// How long the value of a key lives yet, in a form that [`PutOptions::ttl`](crate::PutOptions::ttl) takes. `None` if it
    /// never expires, and if there is none; [`exists`](Self::exists) tells these apart.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn remaining_ttl(&self, key: impl ToKey) -> Result<Option<Duration>> {
        let engine = self.engine()?;
        let found = engine.fresh(&self.index_key(key)?, None)?;
        Ok(found.and_then(|found| engine.remaining(&found.core)))
    }

    /// The entries, newest first, read while they are asked for.
    pub fn list_entries(&self) -> Entries {
        Entries::of(self)
    }

    /// Up to `limit` keys in an order that does not change, behind `after`, the last one of the page before; also of entries
    /// that have expired and were not cleaned up yet. Many times as fast as [`list_entries`](Self::list_entries), which
    /// reads the entries. The keys tell no [parameters](Key::params).
    ///
    /// ```
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// (0..5u8).try_for_each(|n| cache.put(n, &n).map(drop))?;
    /// let page = cache.keys(None, 3)?;
    /// let rest = cache.keys(page.last(), 3)?;
    /// assert_eq!((page.len(), rest.len()), (3, 2));
    /// assert!(cache.exists(&rest[0])?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Metadata`](ErrorKind::Metadata), [`Closed`](ErrorKind::Closed).
    pub fn keys(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>> {
        let mut keys: Vec<Key> = Vec::new();
        while keys.len() < limit {
            let behind = keys.last().or(after).map(IndexKey::of);
            let page = self.engine()?.store().index().keys(behind.as_ref(), KEYS_PAGE.min(limit - keys.len()))?;
            let before = keys.len();
            keys.extend(page.iter().filter_map(|key| key.key(&[])));
            if keys.len() == before {
                break;
            }
        }
        Ok(keys)
    }

    /// The same as [`list_entries`](Self::list_entries).
    pub fn iter(&self) -> Entries {
        self.list_entries()
    }

    /// How many entries there are, also expired ones that were not cleaned up yet. Kept, not counted.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed).
    pub fn len(&self) -> Result<u64> {
        Ok(self.engine()?.store().index().totals()?.entries)
    }

    /// Whether there is no entry at all.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed).
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// What the cache holds and how it was used. Costs the same however much it holds.
    ///
    /// # Errors
    /// [`Metadata`](ErrorKind::Metadata), [`Closed`](ErrorKind::Closed).
    pub fn get_stats(&self) -> Result<Stats> {
        self.engine()?.stats()
    }
}

/// What is known of an entry that is put.
impl Cache {
    /// How long it lives.
    pub(super) fn ttl_of(&self, options: &PutOptions) -> Option<Duration> {
        options.ttl.or_else(|| self.0.config.default_ttl())
    }

    /// What is said about it.
    pub(super) fn details_of(&self, key: &Key, data_type: &str, mut options: PutOptions) -> Result<Details> {
        let engine = self.engine()?;
        options.kinds()?.try_for_each(|schema| engine.register(schema))?;
        let params = self.noted_params(key, std::mem::take(&mut options.params));
        Ok(options.into_details(data_type, params))
    }
}

impl Engine {
    pub(super) fn entry_of(
        &self,
        key: IndexKey,
        details: Details,
        encoded: &Encoded<'_>,
        ttl: Option<Duration>,
    ) -> Entry {
        let details = Details { handler: handler_of(encoded), ..details };
        Entry { key, core: self.core_of(encoded, ttl), details, accessed_at: None, signature: None }
    }

    pub(super) fn core_of(&self, encoded: &Encoded<'_>, ttl: Option<Duration>) -> Core {
        let created_at = self.now();
        Core {
            created_at,
            expires_at: ttl.map(|ttl| created_at.after(ttl)),
            ttl,
            type_fingerprint: encoded.type_fingerprint,
            shape: encoded.shape,
            payload_format: encoded.payload_format,
            codec: StoredCodec::None,
            raw_size: encoded.len(),
            stored_size: 0,
            checksum: 0,
        }
    }
}

pub(super) fn handler_of(encoded: &Encoded<'_>) -> Option<String> {
    encoded.handler.as_deref().map(str::to_owned)
}

impl IntoIterator for &Cache {
    type Item = Result<Entry>;
    type IntoIter = Entries;

    fn into_iter(self) -> Entries {
        self.list_entries()
    }
}

/// The hash that a name in listings stands for.
pub(super) fn hash_of(cache_key: &str) -> Result<u64> {
    let is_name = cache_key.len() == 16 && cache_key.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(cache_key, 16).ok().filter(|_| is_name).ok_or_else(|| {
        let shown: String = cache_key.chars().take(32).collect();
        let message = format!("invalid entry name {shown:?}: it must be the 16 hex digits that a key prints as");
        CacheError::new(ErrorKind::InvalidArgument, message)
    })
}

const LIST_PAGE: usize = 256;

/// The entries of a cache, newest first, read from the index in pages while they are asked for.
///
/// Also entries that have expired and were not cleaned up yet. An entry that is stored or touched while the list is
/// read moves to its beginning, and is not met any more if that lies behind. After an error the list is at its end.
///
/// ```
/// use cacheness::{Cache, Field, PutOptions};
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// for n in 0..1000u32 {
///     cache.put_with(n, &n, PutOptions::new().metadata("even", n % 2 == 0))?;
/// }
/// let page: Vec<_> = cache.list_entries().take(100).collect::<Result<_, _>>()?;
/// let next: Vec<_> = cache.list_entries().after(&page[99]).take(100).collect::<Result<_, _>>()?;
/// assert_eq!(next.len(), 100);
/// assert_eq!(cache.list_entries().matching(Field::metadata("even").eq(true)).count(), 500);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a list reads nothing until it is iterated"]
pub struct Entries {
    cache: Cache,
    filter: Option<Filter>,
    page: VecDeque<(IndexKey, Record)>,
    after: Option<(Timestamp, IndexKey)>,
    ended: bool,
}

impl Entries {
    pub(super) fn of(cache: &Cache) -> Self {
        Self { cache: cache.clone(), filter: None, page: VecDeque::new(), after: None, ended: false }
    }

    /// Only entries that meet this condition, too.
    pub fn matching(mut self, filter: Filter) -> Self {
        self.filter = Some(match self.filter {
            Some(before) => before & filter,
            None => filter,
        });
        self
    }

    /// Begins behind an entry that was seen before: with the last one of a page, the next page.
    ///
    /// A list that was read from already, also to its end, goes on behind this entry, wherever it was, and keeps its
    /// conditions.
    pub fn after(mut self, entry: &Entry) -> Self {
        self.after = Some((entry.created_at(), entry.key.clone()));
        self.page.clear();
        self.ended = false;
        self
    }

    /// The next entry, wanted or not; `None` at the end.
    fn step(&mut self) -> Result<Option<Entry>> {
        let engine = self.cache.engine()?;
        if self.page.is_empty() {
            let after = self.after.as_ref().map(|(at, key)| (*at, key));
            self.page = engine.store().index().newest(after, LIST_PAGE)?.into();
        }
        let Some((key, record)) = self.page.pop_front() else { return Ok(None) };
        let entry = engine.describe(&record)?;
        self.after = Some((entry.created_at(), key));
        Ok(Some(entry))
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let step = self.step();
            self.ended = !matches!(step, Ok(Some(_)));
            let entry = step.transpose()?;
            match (&entry, &self.filter) {
                (Ok(entry), Some(filter)) if !filter.matches(entry) => {}
                _ => return Some(entry),
            }
        }
        None
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries").field("cache", &self.cache).field("filter", &self.filter).finish_non_exhaustive()
    }
}

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
    /// Reads and writes that a server did not answer, or was not asked because it did not answer before. They are no errors.
    pub outages: u64,
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
    /// What is in the local tier before the server, and how often that answered; `None` if there is none.
    pub local: Option<LocalStats>,
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
    outages: AtomicU64,
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

    pub(super) fn outage(&self) {
        self.outages.fetch_add(1, Ordering::Relaxed);
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
            outages: read(&self.outages),
            lost: totals.lost,
            oldest: totals.created.map(|(oldest, _)| oldest),
            newest: totals.created.map(|(_, newest)| newest),
            backend,
            memory: None,
            local: None,
        }
    }
}
