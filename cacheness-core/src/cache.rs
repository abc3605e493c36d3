//! A cache in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::flight::Flights;
use crate::handler::Storable;
use crate::key::Key;
use crate::value::Metadata;
use crate::{CacheError, Clock, ErrorKind, Result, SystemClock, Timestamp};

/// A cache: a cheap handle to one engine.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Engine>);

/// A handle that does not keep its cache open.
#[derive(Clone, Debug)]
pub(crate) struct WeakCache(Weak<Engine>);

impl WeakCache {
    pub(crate) fn upgrade(&self) -> Option<Cache> {
        self.0.upgrade().map(Cache)
    }
}

#[derive(Debug)]
struct Engine {
    entries: Mutex<HashMap<Key, Stored>>,
    flights: Arc<Flights<Key>>,
    directory: Option<PathBuf>,
    errors: AtomicU64,
}

#[derive(Debug)]
struct Stored {
    entry: Entry,
    bytes: Vec<u8>,
    options: PutOptions,
}

/// What the cache knows about one entry.
#[derive(Clone, Debug)]
pub struct Entry {
    cache_key: String,
    size: u64,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    prefix: Option<String>,
    metadata: Metadata,
}

impl Entry {
    /// The key, printed.
    pub fn cache_key(&self) -> String {
        self.cache_key.clone()
    }

    /// Stored bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The prefix of its function.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// User metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// How to put a value.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// How long it lives.
    pub ttl: Option<Duration>,
    /// Which function made it.
    pub function: Option<String>,
    /// The prefix of that function.
    pub prefix: Option<String>,
    /// User metadata.
    pub metadata: Metadata,
    /// Words for the reader of a listing.
    pub description: Option<String>,
}

impl Cache {
    /// A cache that lives as long as its handles.
    pub fn in_memory() -> Self {
        Self::engine(None)
    }

    /// A cache that says it is in a directory.
    ///
    /// # Errors
    /// Never.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self::engine(Some(directory.into())))
    }

    fn engine(directory: Option<PathBuf>) -> Self {
        let (entries, flights) = (Mutex::default(), Arc::new(Flights::new()));
        Self(Arc::new(Engine { entries, flights, directory, errors: AtomicU64::new(0) }))
    }

    pub(crate) fn downgrade(&self) -> WeakCache {
        WeakCache(Arc::downgrade(&self.0))
    }

    fn entries(&self) -> Result<MutexGuard<'_, HashMap<Key, Stored>>> {
        Ok(self.0.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn recall<T: Storable>(&self, key: &Key, reader_ttl: Option<Duration>) -> Result<Option<T>> {
        let entries = self.entries()?;
        let Some(stored) = entries.get(key).filter(|stored| stored.entry.lives(reader_ttl)) else { return Ok(None) };
        match bincode::serde::decode_from_slice(&stored.bytes, bincode::config::standard()) {
            Ok((value, _)) => Ok(Some(value)),
            Err(error) => Err(CacheError::caused_by(ErrorKind::Serialization, "cannot decode", error)),
        }
    }

    pub(crate) fn retain<T: Storable>(&self, key: &Key, value: &T, options: PutOptions) -> Result<()> {
        let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard())
            .map_err(|error| CacheError::caused_by(ErrorKind::Serialization, "cannot encode", error))?;
        self.keep(key, bytes, options)
    }

    fn keep(&self, key: &Key, bytes: Vec<u8>, options: PutOptions) -> Result<()> {
        let now = SystemClock.now();
        let entry = Entry {
            cache_key: key.to_string(),
            size: bytes.len() as u64,
            created_at: now,
            expires_at: options.ttl.map(|ttl| now.after(ttl)),
            prefix: options.prefix.clone(),
            metadata: options.metadata.clone(),
        };
        self.entries()?.insert(key.clone(), Stored { entry, bytes, options });
        Ok(())
    }

    pub(crate) async fn recall_async<T: Storable>(&self, key: &Key, reader_ttl: Option<Duration>) -> Result<Option<T>> {
        self.recall(key, reader_ttl)
    }

    pub(crate) fn retain_async<T: Storable>(
        &self,
        key: &Key,
        value: &T,
        options: PutOptions,
    ) -> impl Future<Output = Result<()>> + Send + use<T> {
        let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard())
            .map_err(|error| CacheError::caused_by(ErrorKind::Serialization, "cannot encode", error));
        let (cache, key) = (self.clone(), key.clone());
        async move { cache.keep(&key, bytes?, options) }
    }

    pub(crate) fn flights(&self) -> &Arc<Flights<Key>> {
        &self.0.flights
    }

    pub(crate) fn report(&self, doing: &str, error: &CacheError) {
        self.0.errors.fetch_add(1, Ordering::Relaxed);
        log::warn!("{doing}: {error}");
    }

    /// How many errors were reported.
    pub fn errors(&self) -> u64 {
        self.0.errors.load(Ordering::Relaxed)
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// When the cache fails.
    pub fn invalidate(&self, key: &Key) -> Result<bool> {
        Ok(self.entries()?.remove(key).is_some())
    }

    /// Whether there is a live entry.
    ///
    /// # Errors
    /// When the cache fails.
    pub fn exists(&self, key: &Key) -> Result<bool> {
        Ok(self.entries()?.get(key).is_some_and(|stored| stored.entry.lives(None)))
    }

    /// Removes the entries of a function.
    ///
    /// # Errors
    /// When the cache fails.
    pub fn clear_function(&self, function: &str) -> Result<u64> {
        let mut entries = self.entries()?;
        let before = entries.len();
        entries.retain(|_, stored| stored.options.function.as_deref() != Some(function));
        Ok((before - entries.len()) as u64)
    }

    /// The entries of a function.
    ///
    /// # Errors
    /// When the cache fails.
    pub fn function_entries(&self, function: &str) -> Result<Vec<Entry>> {
        let entries = self.entries()?;
        let ours = entries.values().filter(|stored| stored.options.function.as_deref() == Some(function));
        Ok(ours.map(|stored| stored.entry.clone()).collect())
    }

    /// Where it lies.
    pub fn directory(&self) -> Option<&Path> {
        self.0.directory.as_deref()
    }
}

impl Entry {
    fn lives(&self, reader_ttl: Option<Duration>) -> bool {
        let now = SystemClock.now();
        let narrowed = reader_ttl.map(|ttl| self.created_at.after(ttl));
        [self.expires_at, narrowed].into_iter().flatten().all(|end| now < end)
    }
}
