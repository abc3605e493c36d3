use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::evict::Evictor;
use super::options::PutOptions;
use super::stats::{Counters, Stats};
use super::{evict, registry};
use crate::clock::{Clock, SystemClock};
use crate::config::CacheConfig;
use crate::entry::{Core, Details, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::flight::Flights;
use crate::handler::{self, Encoded, PayloadFormat, Storable};
use crate::key::Key;
use crate::metadata::Record;
use crate::policy::{self, Verdict};
use crate::store::{Found, Store};
use crate::warn::Warnings;

/// Entries that one page of a sweep takes in.
const PAGE: usize = 256;

/// What all handles of one directory share.
pub(super) struct Engine {
    store: Store,
    flights: Arc<Flights<Key>>,
    counters: Counters,
    warnings: Warnings,
    evictor: Evictor,
    clock: Arc<dyn Clock>,
    /// Open handles; the last one to leave closes the store.
    users: AtomicUsize,
    /// The process that opened it.
    process: u32,
}

impl Engine {
    pub(super) fn new(store: Store, config: &CacheConfig) -> Self {
        Self {
            store,
            flights: Flights::new(),
            counters: Counters::default(),
            warnings: Warnings::default(),
            evictor: Evictor::new(config.max_bytes()),
            clock: Arc::new(SystemClock),
            users: AtomicUsize::new(1),
            process: std::process::id(),
        }
    }

    pub(super) fn in_memory(config: &CacheConfig) -> Self {
        Self::new(Store::in_memory(config), config)
    }

    pub(super) fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn flights(&self) -> &Arc<Flights<Key>> {
        &self.flights
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
    pub(super) fn is_inherited(&self) -> bool {
        self.process != std::process::id()
    }

    /// Closes the store, whoever still has a handle. An inherited one is its owner's to close.
    pub(super) fn shut(&self) -> Result<()> {
        if self.is_inherited() {
            return Ok(());
        }
        let closed = self.store.close();
        if let Some(root) = self.store.root() {
            registry::closed(root);
        }
        closed
    }

    pub(super) fn report(&self, doing: &str, error: &CacheError) {
        self.counters.error();
        self.warnings.tell(doing, error);
    }

    pub(super) fn stats(&self) -> Stats {
        self.counters.snapshot(self.store.index().totals(), self.store.index().name())
    }

    /// The record of a key, if it holds a `T` that has not expired.
    pub(super) fn find<T: Storable>(&self, key: &IndexKey, reader_ttl: Option<Duration>) -> Result<Option<Found>> {
        let found = self.fresh(key, reader_ttl)?;
        Ok(found.filter(|found| found.core.type_fingerprint == handler::type_fingerprint::<T>()))
    }

    fn fresh(&self, key: &IndexKey, reader_ttl: Option<Duration>) -> Result<Option<Found>> {
        let found = self.store.find(key).inspect_err(|_| self.counters.error())?;
        Ok(found.filter(|found| self.judge(&found.core, reader_ttl) == Verdict::Fresh))
    }

    fn judge(&self, core: &Core, reader_ttl: Option<Duration>) -> Verdict {
        policy::judge(core.created_at, core.expires_at, reader_ttl, self.clock.now())
    }

    pub(super) fn is_fresh(&self, key: &IndexKey) -> Result<bool> {
        Ok(self.fresh(key, None)?.is_some())
    }

    pub(super) fn is_inline(found: &Found) -> bool {
        Store::is_inline(found)
    }

    /// The encoded value of a found record; `None` if it is gone or damaged.
    pub(super) fn load(&self, key: &IndexKey, found: &mut Found) -> Result<Option<Vec<u8>>> {
        let loaded = self.store.load(key, found);
        match &loaded {
            Ok(Some(_)) => self.store.index().accessed(key, self.clock.now()),
            Ok(None) => {}
            Err(_) => self.counters.error(),
        }
        loaded
    }

    /// The value itself; `None` if it does not decode as a `T`.
    pub(super) fn decode<T: Storable>(&self, bytes: Option<Vec<u8>>, found: &Found) -> Option<T> {
        let (bytes, core) = (bytes?, &found.core);
        let format = PayloadFormat::from_id(core.payload_format);
        let decoded = format
            .ok_or_else(|| CacheError::new(ErrorKind::Serialization, "its payload format is not known"))
            .and_then(|format| {
                handler::decode::<T>(&bytes, format, core.type_fingerprint, core.shape, self.store.limits())
            });
        decoded.inspect_err(|error| log::debug!("a stored value is not returned: {error}")).ok()
    }

    /// The entry of a record, with when it was last used.
    pub(super) fn describe(&self, record: &Record) -> Result<Entry> {
        let mut entry = record.entry()?;
        entry.accessed_at = self.store.index().last_access(&entry.key)?;
        Ok(entry)
    }

    /// Stores an encoded value, then makes room if the cache has grown over its limit.
    pub(super) fn put(
        &self,
        key: &Key,
        data_type: &str,
        encoded: Encoded,
        options: PutOptions,
        config: &CacheConfig,
    ) -> Result<()> {
        let ttl = options.ttl.or_else(|| config.default_ttl());
        let entry = Entry {
            key: IndexKey::of(key),
            core: self.core_of(&encoded, ttl),
            details: details_of(key, data_type, options, config.metadata.store_cache_key_params),
            accessed_at: None,
        };
        let key = entry.key.clone();
        self.store.put(entry, &encoded.bytes, self.evictor.max_bytes()).inspect_err(|_| self.counters.error())?;
        self.counters.put();
        evict::make_room(self, &self.evictor, &key);
        Ok(())
    }

    fn core_of(&self, encoded: &Encoded, ttl: Option<Duration>) -> Core {
        let created_at = self.clock.now();
        Core {
            created_at,
            expires_at: ttl.map(|ttl| created_at.after(ttl)),
            ttl,
            type_fingerprint: encoded.type_fingerprint,
            shape: encoded.shape,
            payload_format: encoded.format.id(),
            codec: crate::compress::StoredCodec::None,
            raw_size: 0,
            stored_size: 0,
            checksum: 0,
        }
    }

    pub(super) fn clear(&self) -> Result<u64> {
        // Once through all keys: what others put behind the cursor was put after the clearing began.
        let (mut total, mut after) = (0, None);
        loop {
            let page = self.store.index().scan(after.as_ref(), PAGE)?;
            for (key, record) in &page {
                total += u64::from(self.store.remove_expected(key, record)?);
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(total),
            }
        }
    }

    pub(super) fn cleanup_expired(&self) -> Result<u64> {
        let now = self.clock.now();
        self.remove_pages(|| self.store.index().expired(now, PAGE))
    }

    /// Removes page after page of records until none is left, or none of a page could be removed.
    fn remove_pages(&self, page: impl Fn() -> Result<Vec<(IndexKey, Record)>>) -> Result<u64> {
        let mut total = 0;
        loop {
            let mut removed = 0;
            for (key, record) in page()? {
                removed += u64::from(self.store.remove_expected(&key, &record)?);
            }
            if removed == 0 {
                return Ok(total);
            }
            total += removed;
        }
    }
}

fn details_of(key: &Key, data_type: &str, options: PutOptions, keep_params: bool) -> Details {
    Details {
        data_type: data_type.to_owned(),
        function: options.function,
        prefix: options.prefix,
        description: options.description,
        tags: options.tags,
        metadata: options.metadata,
        params: if keep_params { key.params().to_vec() } else { Vec::new() },
    }
}
