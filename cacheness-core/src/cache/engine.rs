use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::codec::ValueCodec;
use super::custom::Custom;
use super::entries::{Counters, Stats, handler_of};
use super::removal::{self, Evictor};
use crate::clock::{Clock, Timestamp};
use crate::codec::Content;
use crate::codec::handler::{Encoded, Handlers, Proven, Raw, TakenAs};
use crate::codec::native::Failure;
use crate::config::{self, CacheConfig};
use crate::engine::flight::InFlight;
use crate::engine::local::Tier as LocalTier;
use crate::engine::{Fence, Found, Store};
use crate::entry::policy::{self, Verdict};
use crate::entry::{Core, Details, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::Record;
use crate::key::Key;
use crate::util::Warnings;
use crate::util::process::Origin;
use crate::util::threads::blocking;

/// Points in time are kept in microseconds.
const SHORTEST_TTL: Duration = Duration::from_micros(1);

/// What takes some ten microseconds to decode. A small record may hold a value of many megabytes, well compressed.
const MOST_AT_HAND: u64 = 64 << 10;

/// What all handles of one directory share.
pub(super) struct Engine {
    store: Store,
    tells_of_memory: bool,
    in_flight: Arc<InFlight<Key>>,
    counters: Counters,
    warnings: Warnings,
    evictor: Evictor,
    handlers: Handlers,
    custom: Custom,
    clock: Arc<dyn Clock>,
    /// What it was opened with.
    config: CacheConfig,
    /// Open handles; the last one to leave closes the store.
    users: AtomicUsize,
    origin: Origin,
}

impl Engine {
    pub(super) fn new(store: Store, config: &CacheConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            tells_of_memory: config.metadata.memory_cache_stats,
            in_flight: InFlight::new(config.single_flight_wait()),
            counters: Counters::default(),
            warnings: Warnings::default(),
            evictor: Evictor::new(config.max_bytes()),
            handlers: Handlers::new(&config.handlers, config.compression.parquet_compression),
            custom: Custom::default(),
            clock,
            config: config.clone(),
            users: AtomicUsize::new(1),
            origin: Origin::here(),
        }
    }

    pub(super) fn in_memory(config: &CacheConfig, clock: Arc<dyn Clock>) -> Self {
        Self::new(Store::in_memory(config), config, clock)
    }

    /// What it was opened with, and what of it all handles share.
    pub(super) fn config(&self) -> &CacheConfig {
        &self.config
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// What is known of custom metadata.
    pub(super) fn custom(&self) -> &Custom {
        &self.custom
    }

    pub(super) fn in_flight(&self) -> &Arc<InFlight<Key>> {
        &self.in_flight
    }

    pub(super) fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// One more handle, unless the last one has left.
    pub(super) fn join(&self) -> bool {
        let more = |users: usize| (users > 0).then_some(users + 1);
        self.users.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }

    /// One handle less; the last one closes the store.
    pub(super) fn leave(&self) -> Result<()> {
        match self.users.fetch_sub(1, Ordering::SeqCst) {
            1 => self.shut(),
            _ => Ok(()),
        }
    }

    /// Whether this process is a forked child that has its parent's engine, without the threads of it.
    #[inline]
    pub(super) fn is_inherited(&self) -> bool {
        !self.origin.is_here() && self.store.root().is_some()
    }

    /// Lets go of what an inherited engine holds of its parent's.
    pub(super) fn abandon(&self) {
        self.store.abandon();
    }

    /// Closes the store, whoever still has a handle. An inherited one is its owner's to close.
    pub(super) fn shut(&self) -> Result<()> {
        if self.is_inherited() {
            return Ok(());
        }
        let closed = self.store.close();
        if let Some(id) = self.store.id() {
            super::closed(id);
        }
        closed
    }

    /// Counts an error by its cause.
    pub(super) fn count_error(&self, error: &CacheError) {
        if error.is_unavailable() { self.counters.outage() } else { self.counters.error() }
    }

    /// What a call returns in the place of an error that says that a server does not answer: a cache is not in the way then.
    pub(super) fn excused<R>(&self, result: Result<R>, instead: R) -> Result<R> {
        result.or_else(|error| if error.is_unavailable() { Ok(instead) } else { Err(error) })
    }

    pub(super) fn report(&self, doing: &str, error: &CacheError) {
        self.count_error(error);
        if error.is_locked() {
            // Between two processes that have the index: nothing is wrong.
            return log::debug!("cannot {doing}: {error}");
        }
        self.warnings.tell(doing, error);
    }

    pub(super) fn stats(&self) -> Result<Stats> {
        let index = self.store.index();
        let mut stats = self.counters.snapshot(index.totals()?, index.name());
        if let Some(memory) = self.store.memory() {
            stats.hits += memory.hits();
            stats.memory = self.tells_of_memory.then(|| memory.stats());
        }
        stats.local = self.store.local().map(LocalTier::stats);
        Ok(stats)
    }

    /// The record of a key, if it holds a `T` that has not expired.
    pub(super) fn find<T: 'static>(
        &self,
        key: &IndexKey,
        reader_ttl: Option<Duration>,
        codec: ValueCodec<'_, T>,
    ) -> Result<Option<Found>> {
        match self.fresh(key, reader_ttl)? {
            Some(found) if codec.is_of(&found.core)? => Ok(Some(found)),
            Some(_) => match self.fresh_past_copy(key, reader_ttl)? {
                Some(found) if codec.is_of(&found.core)? => Ok(Some(found)),
                _ => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// The record of a key, if it holds a `T`, expired or not.
    pub(super) fn find_stale<T: 'static>(&self, key: &IndexKey, codec: ValueCodec<'_, T>) -> Result<Option<Found>> {
        match self.store.find(key).inspect_err(|error| self.count_error(error))? {
            Some(found) if codec.is_of(&found.core)? => Ok(Some(found)),
            _ => Ok(None),
        }
    }

    /// [`fresh`](Self::fresh) that asks on the blocking pool where the index may take its time.
    pub(super) async fn fresh_async(
        self: &Arc<Self>,
        key: &IndexKey,
        reader_ttl: Option<Duration>,
    ) -> Result<Option<Found>> {
        if !self.store.index().waits() {
            return self.fresh(key, reader_ttl);
        }
        let (engine, key) = (Arc::clone(self), key.clone());
        blocking(move || engine.fresh(&key, reader_ttl)).await
    }

    /// The record of a key, fresh or not; asked on the blocking pool where the index may take its time.
    pub(super) async fn stale_async(self: &Arc<Self>, key: &IndexKey) -> Result<Option<Found>> {
        let find =
            |engine: &Self, key: &IndexKey| engine.store.find(key).inspect_err(|error| engine.count_error(error));
        if !self.store.index().waits() {
            return find(self, key);
        }
        let (engine, key) = (Arc::clone(self), key.clone());
        blocking(move || find(&engine, &key)).await
    }

    /// Whether memory is [current](crate::engine::index::Index::is_memory_current), asked on the blocking pool where that may
    /// take its time.
    pub(super) async fn is_memory_current_async(self: &Arc<Self>) -> bool {
        if self.store.memory().is_none() || !self.store.index().would_ask() {
            return true;
        }
        if !self.store.index().waits() {
            return self.store.index().is_memory_current();
        }
        let engine = Arc::clone(self);
        blocking(move || engine.store.index().is_memory_current()).await
    }

    pub(super) fn fresh(&self, key: &IndexKey, reader_ttl: Option<Duration>) -> Result<Option<Found>> {
        let found = self.store.find(key).inspect_err(|error| self.count_error(error))?;
        match found {
            Some(found) if self.is_fresh_now(&found, reader_ttl) => Ok(Some(found)),
            Some(_) => self.fresh_past_copy(key, reader_ttl),
            None => Ok(None),
        }
    }

    /// A copy on this machine may be older than what others have stored since.
    #[cold]
    fn fresh_past_copy(&self, key: &IndexKey, reader_ttl: Option<Duration>) -> Result<Option<Found>> {
        if !self.store.give_up_copy(key) {
            return Ok(None);
        }
        let found = self.store.find(key).inspect_err(|error| self.count_error(error))?;
        Ok(found.filter(|found| self.is_fresh_now(found, reader_ttl)))
    }

    pub(super) fn is_fresh_now(&self, found: &Found, reader_ttl: Option<Duration>) -> bool {
        self.judge(&found.core, reader_ttl) == Verdict::Fresh
    }

    fn judge(&self, core: &Core, reader_ttl: Option<Duration>) -> Verdict {
        policy::judge(core.created_at, core.expires_at, reader_ttl, self.clock.now())
    }

    pub(super) fn is_fresh(&self, key: &IndexKey) -> Result<bool> {
        Ok(self.fresh(key, None)?.is_some())
    }

    /// Whether the value can be had at once: no file to read, and not much to inflate and decode.
    pub(super) fn is_at_hand(found: &Found) -> bool {
        found.core.raw_size <= MOST_AT_HAND && Store::is_inline(found)
    }

    /// The encoded value of a found record; `None` if it is gone or damaged.
    pub(super) fn load(&self, key: &IndexKey, found: &mut Found, taken: TakenAs) -> Result<Option<Raw>> {
        let loaded = self.store.load(key, found, taken);
        match &loaded {
            Ok(Some(_)) => self.store.index().accessed(key, self.clock.now()),
            Ok(None) => {}
            Err(error) => self.count_error(error),
        }
        loaded
    }

    /// The value itself; `None` if it does not decode as a `T`, or its file turns out to be damaged.
    pub(super) fn decode<T: 'static>(
        &self,
        raw: Option<Raw>,
        found: &Found,
        codec: ValueCodec<'_, T>,
    ) -> Result<Option<T>> {
        let Some(raw) = raw else { return Ok(None) };
        let failure = raw.failure();
        // Loading may have found a newer record, of another type or by another handler.
        let read = match codec.is_of(&found.core) {
            Ok(true) => codec.read(&self.handlers, raw, found, self.store.limits()),
            Ok(false) => return Ok(None),
            Err(error) => Err(error),
        };
        if self.has_failed(failure, found)? {
            return Ok(None);
        }
        Ok(read.inspect_err(|error| self.unreadable(error)).ok())
    }

    /// Whether the file of a value turned out to be damaged while it was decoded; its entry is gone then.
    pub(super) fn has_failed(&self, failure: Option<Failure>, found: &Found) -> Result<bool> {
        let Some(failure) = failure.and_then(|failure| failure.take()) else { return Ok(false) };
        self.store.failed(found, failure).inspect_err(|error| self.count_error(error))?;
        Ok(true)
    }

    /// A value that is not returned: one that serde does not take back is another type by now, which is no news.
    #[cold]
    fn unreadable(&self, error: &CacheError) {
        if error.is_handler() {
            self.warnings.tell("return a stored value", error);
        } else {
            log::debug!("a stored value is not returned: {error}");
        }
    }

    /// The bytes of a value; written by the handler of this name, if one is wanted.
    pub(super) fn encode<'v, T: 'static>(
        &self,
        value: &'v T,
        wanted: Option<&str>,
        codec: ValueCodec<'_, T>,
    ) -> Result<Proven<'v, T>> {
        codec.write(&self.handlers, value, wanted, self.store.limits())
    }

    /// The entry of a record, with when it was last used.
    pub(super) fn describe(&self, record: &Record) -> Result<Entry> {
        let mut entry = record.entry()?;
        entry.accessed_at = self.store.index().last_access(&entry.key)?;
        Ok(entry)
    }

    /// Stores an encoded value, unless there is another one since the fence, then makes room if the cache has grown over its
    /// limit.
    pub(super) fn put(
        &self,
        key: IndexKey,
        details: Details,
        encoded: &Encoded<'_>,
        (ttl, fence): (Option<Duration>, Option<&Fence>),
    ) -> Result<Option<Core>> {
        self.check_ttl(ttl)?;
        let _reserved = self.reserve_unique(&key, &details, None)?;
        let entry = self.entry_of(key.clone(), details, encoded, ttl);
        let core = entry.core;
        let put = self.store.put(entry, encoded, self.evictor.max_bytes(), fence);
        if !put.inspect_err(|error| self.count_error(error))? {
            return Ok(None);
        }
        self.counters.put();
        self.make_room(&key);
        Ok(Some(core))
    }

    /// [`put`](Self::put) of several values, of which none has to be unique.
    pub(super) fn put_together(
        &self,
        items: Vec<(IndexKey, Details, &Encoded<'_>)>,
        ttl: Option<Duration>,
    ) -> Result<()> {
        self.check_ttl(ttl)?;
        let keys: Vec<_> = items.iter().map(|(key, ..)| key.clone()).collect();
        let content = |(key, details, encoded)| (self.entry_of(key, details, encoded, ttl), Content::from(encoded));
        let items = items.into_iter().map(content).collect();
        let mut stored = 0;
        let put = self.store.put_together(items, self.evictor.max_bytes(), &mut stored);
        (0..stored).for_each(|_| self.counters.put());
        // Room for all of them: the last one is the newest.
        keys[..stored].last().iter().for_each(|newest| self.make_room(newest));
        put.inspect_err(|error| self.count_error(error))
    }

    /// Zero and overflowing TTLs are rejected.
    pub(super) fn check_ttl(&self, ttl: Option<Duration>) -> Result<()> {
        let Some(ttl) = ttl else { return Ok(()) };
        // Independent of the current time: a TTL that is accepted today is accepted tomorrow.
        if (SHORTEST_TTL..=config::LONGEST).contains(&ttl) {
            return Ok(());
        }
        let message = format!(
            "invalid `ttl` {ttl:?}: it must be from one microsecond to 100,000 years; leave it out for an entry that never \
             expires"
        );
        Err(CacheError::new(ErrorKind::InvalidArgument, message))
    }

    /// Replaces the value of a key that has one which is not expired, and keeps what was said about it; says whether there
    /// was one. It lives on for its whole time to live.
    pub(super) fn update(&self, key: &IndexKey, data_type: &str, encoded: &Encoded<'_>) -> Result<bool> {
        while let Some(found) = self.fresh(key, None)? {
            let mut entry = found.record.entry()?;
            let _reserved = self.hold_unique(&entry.details);
            if self.is_expired(&entry) {
                continue;
            }
            entry.core = self.core_of(encoded, found.core.ttl);
            data_type.clone_into(&mut entry.details.data_type);
            entry.details.handler = handler_of(encoded);
            let largest = self.evictor.max_bytes();
            let replaced = self.store.replace(&found.record, entry, encoded, largest);
            if replaced.inspect_err(|error| self.count_error(error))? {
                self.counters.put();
                self.make_room(key);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets an entry that is not expired begin its life anew, with its own time to live or another one; says whether
    /// there was one.
    pub(super) fn touch(&self, key: &IndexKey, ttl: Option<Duration>) -> Result<bool> {
        self.check_ttl(ttl)?;
        while let Some(found) = self.fresh(key, None)? {
            if self.renew(&found.record, ttl)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// [`touch`](Self::touch) for a record that was found already; says whether it was still there.
    pub(super) fn renew(&self, record: &Record, ttl: Option<Duration>) -> Result<bool> {
        let mut entry = record.entry()?;
        let _reserved = self.hold_unique(&entry.details);
        if self.is_expired(&entry) {
            return Ok(false);
        }
        let now = self.clock.now();
        entry.core.ttl = ttl.or(entry.core.ttl);
        entry.core.created_at = now;
        entry.core.expires_at = entry.core.ttl.map(|ttl| now.after(ttl));
        self.store.redescribe(record, &entry)
    }

    /// Whether an entry that was found has expired by now.
    pub(super) fn is_expired(&self, entry: &Entry) -> bool {
        self.judge(&entry.core, None) == Verdict::Expired
    }

    /// How long an entry is fresh yet; `None` if for ever.
    pub(super) fn remaining(&self, core: &Core) -> Option<Duration> {
        core.expires_at.map(|end| end.since(self.clock.now()))
    }

    /// Stores the bytes of another entry as they are. The caller has reserved its unique values, and makes room.
    pub(super) fn put_copied(&self, entry: &Entry, from: &Record, stored: &[u8]) -> Result<()> {
        self.store
            .put_copied(entry, from, stored, self.evictor.max_bytes())
            .inspect_err(|error| self.count_error(error))?;
        self.counters.put();
        Ok(())
    }

    /// Whether a key still has the entry that was copied, touched since or with new data in it.
    pub(super) fn has_renewed(&self, key: &IndexKey, copied: &Record) -> Result<bool> {
        let Some(found) = self.fresh(key, None)? else { return Ok(false) };
        if found.record.payload()? == copied.payload()? {
            return Ok(true);
        }
        let (now, then) = (found.record.entry()?, copied.entry()?);
        Ok(!then.details.kinds.is_empty() && now.details.custom().eq(then.details.custom()))
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.evictor.max_bytes()
    }

    /// What follows a put of stored bytes.
    pub(super) fn stored(&self, key: &IndexKey) {
        self.counters.put();
        self.make_room(key);
    }

    /// Makes room for an entry that was just put.
    pub(super) fn make_room(&self, newest: &IndexKey) {
        removal::make_room(self, &self.evictor, newest);
    }
}
