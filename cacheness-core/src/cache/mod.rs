//! The cache: time to live, eviction and statistics on top of the [store](crate::engine).

mod asynchronous;
mod by_key;
mod codec;
mod custom;
mod engine;
mod entries;
mod native;
mod neighbours;
mod query;
mod removal;
#[cfg(test)]
mod tests;
mod transfer;
mod values;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use once_cell::sync::Lazy;

pub use asynchronous::{AsyncCache, AsyncEntries, AsyncQuery};
pub(crate) use by_key::Attempt;
pub(crate) use codec::ValueCodec;
pub use entries::{Entries, Expired, Stats};
pub use native::ValueFile;
pub(crate) use neighbours::{Flight, Turn};
pub use query::{Found, Query};
pub use transfer::{Transfer, migrate_cache, migrate_cache_with};
pub use values::PutOptions;

use crate::clock::{Clock, SystemClock};
use crate::config::{CacheConfig, MEMORY, SecondProcess};
use crate::engine::flight::InFlight;
use crate::engine::{Store, prepare};
use crate::entry::IndexKey;
use crate::error::{CacheError, ErrorKind, Result};
use crate::key::{Key, KeyRules, KeyWriter, ToKey};
use crate::storage::vfs::DirId;
use crate::util::emit;
use crate::util::process::{self, Openings, Origin};
use crate::value::Value;
use engine::Engine;

/// A cache: values of any serde type under keys, with a time to live, a size limit and statistics.
///
/// A handle is cheap to clone and can be shared between threads. The cache closes when its last handle is dropped, by
/// [`close`](Self::close), and at the normal end of the process. Opening one directory twice in a process gives two
/// handles of one cache, and another process [joins it](crate::config::SecondProcess).
///
/// ```
/// use std::time::Duration;
/// use cacheness::{Cache, PutOptions, params};
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// let key = params! { experiment: "exp_001", run: 42 };
/// cache.put_with(&key, &vec![0.5, 0.7], PutOptions::new().ttl(Duration::from_secs(3600)))?;
/// assert_eq!(cache.get::<Vec<f64>>(&key)?, Some(vec![0.5, 0.7]));
/// # Ok(())
/// # }
/// ```
#[doc(alias = "cacheness")]
#[doc(alias = "UnifiedCache")]
#[derive(Clone)]
pub struct Cache(Arc<HandleOf>);

/// A handle that does not keep its cache open.
#[derive(Clone)]
pub(crate) struct WeakCache(Weak<HandleOf>);

impl WeakCache {
    pub(crate) fn upgrade(&self) -> Option<Cache> {
        self.0.upgrade().map(Cache)
    }
}

impl fmt::Debug for WeakCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakCache")
    }
}

/// What the clones of one handle share.
struct HandleOf {
    engine: Arc<Engine>,
    config: CacheConfig,
    closed: AtomicBool,
    /// Stores nothing, so that everything is a miss.
    disabled: bool,
}

impl Drop for HandleOf {
    fn drop(&mut self) {
        if self.engine.is_inherited() {
            // Dropping it would wait for a thread that only the parent has, and write into the parent's files.
            std::mem::forget(Arc::clone(&self.engine));
            return;
        }
        if !self.closed.swap(true, Ordering::SeqCst)
            && let Err(error) = self.engine.leave()
        {
            self.engine.report("close the cache", &error);
        }
    }
}

impl Cache {
    /// Opens the cache that the configuration describes.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) with every fault of the configuration; [`Conflict`](ErrorKind::Conflict) if this process
    /// has the directory open with other values of what handles share, or if the directory is a blob store's or of
    /// another release; [`Locked`](ErrorKind::Locked) if another
    /// process has the directory open and it is not [joined](crate::config::SecondProcess); [`Storage`](ErrorKind::Storage) if the directory cannot be made or written, is
    /// owned by another user, may be written by others, or holds something of others under a name that the cache would
    /// use, or if the signing key cannot be had; [`Metadata`](ErrorKind::Metadata)
    /// if the index cannot be opened.
    ///
    /// ```
    /// use cacheness::{Cache, CacheConfig};
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// # let dir = std::env::temp_dir().join(format!("cacheness-doc-new-{}", std::process::id()));
    /// let cache = Cache::new(CacheConfig::new(&dir).with_max_size_mb(100))?;
    /// cache.put("key", &"value".to_owned())?;
    /// # drop(cache);
    /// # std::fs::remove_dir_all(dir).ok();
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(config: CacheConfig) -> Result<Self> {
        Self::new_with(config, Arc::new(SystemClock), Difference::Refused)
    }

    /// [`new`](Self::new) for the default cache: where the directory is open with other settings, those stay, with a warning.
    pub(crate) fn new_or_joined(config: CacheConfig) -> Result<Self> {
        Self::new_with(config, Arc::new(SystemClock), Difference::Warned)
    }

    fn new_with(config: CacheConfig, clock: Arc<dyn Clock>, difference: Difference) -> Result<Self> {
        config.validate()?;
        let engine = match open(&config, Arc::clone(&clock), difference) {
            Err(error) if error.is_locked() && config.metadata.second_process == SecondProcess::Memory => {
                emit(&format!("cacheness: results are kept in memory: {error}"));
                let config = config.with_backend(MEMORY).with_blob_backend(MEMORY);
                return Ok(Self::over(Arc::new(Engine::in_memory(&config, clock)), config));
            }
            engine => engine?,
        };
        let config = config.sharing(engine.config());
        let cache = Self::over(engine, config);
        if cache.0.config.storage.cleanup_on_init {
            match cache.cleanup_expired() {
                // What has expired is a miss in any case.
                Err(error) if error.is_unavailable() => log::debug!("what has expired stays for now: {error}"),
                cleaned => drop(cleaned?),
            }
        }
        Ok(cache)
    }

    /// Opens the cache in a directory: as it is open in this process already, or else with the default configuration.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::new_with(CacheConfig::new(dir.as_ref()), Arc::new(SystemClock), Difference::Taken)
    }

    /// A cache that lives and dies with the process.
    pub fn in_memory() -> Self {
        let config = CacheConfig::in_memory();
        Self::over(Arc::new(Engine::in_memory(&config, Arc::new(SystemClock))), config)
    }

    /// A cache for the answers of network services: entries live six hours and are compressed by lz4.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_api(dir: impl AsRef<Path>) -> Result<Self> {
        Self::new(CacheConfig::for_api(dir.as_ref()))
    }

    /// A cache in memory that reads its time from `clock`, for tests of expiry.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let config = CacheConfig::in_memory();
        Self::over(Arc::new(Engine::in_memory(&config, clock)), config)
    }

    /// [`new`](Self::new) with a cache that reads its time from `clock`, for tests of expiry. If the directory is open
    /// already, that cache and its clock are used.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_clock_in(config: CacheConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::new_with(config, clock, Difference::Refused)
    }

    /// A cache that stores nothing.
    pub(crate) fn disabled() -> Self {
        let config = CacheConfig::in_memory();
        let engine = Arc::new(Engine::in_memory(&config, Arc::new(SystemClock)));
        Self(Arc::new(HandleOf { engine, config, closed: AtomicBool::new(false), disabled: true }))
    }

    fn over(engine: Arc<Engine>, config: CacheConfig) -> Self {
        Self(Arc::new(HandleOf { engine, config, closed: AtomicBool::new(false), disabled: false }))
    }

    pub(crate) fn downgrade(&self) -> WeakCache {
        WeakCache(Arc::downgrade(&self.0))
    }

    /// Differs between handles as long as one of them, or a weak one, is there.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    fn engine(&self) -> Result<&Arc<Engine>> {
        if self.0.closed.load(Ordering::Relaxed) || self.is_inherited() {
            return Err(self.unusable());
        }
        Ok(&self.0.engine)
    }

    /// Whether this process is a forked child, and the cache its parent's.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.0.engine.is_inherited()
    }

    #[cold]
    fn unusable(&self) -> CacheError {
        let message = match self.is_inherited() {
            true => "the cache is of the process that has forked this one: open it again to use it",
            false => "the cache is closed: open it again to use it",
        };
        CacheError::new(ErrorKind::Closed, message)
    }

    /// The directory of the cache; `None` if it is in memory.
    pub fn directory(&self) -> Option<&Path> {
        self.0.engine.store().root()
    }

    /// The configuration of this handle, as it is in force. What handles of one directory share - limits, compression,
    /// durability and all else but the time to live, key rules and `cleanup_on_init` - is as the first of them said.
    pub fn config(&self) -> &CacheConfig {
        &self.0.config
    }

    /// Brings everything that was put to the disk: no power cut takes it any more.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn flush(&self) -> Result<()> {
        self.engine()?.store().flush()
    }

    /// Closes this handle and its clones, and if no other handle has the directory open, it is free for other processes.
    /// Later calls fail with [`Closed`](ErrorKind::Closed); closing again is nothing.
    ///
    /// Every value is there for the next process. With [`Durability::Interval`](crate::Durability::Interval) closing does
    /// not wait for the disk: a power cut in the seconds after it may take values that the system has not written yet.
    /// Where that matters, [`flush`](Self::flush) first.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) or [`Metadata`](ErrorKind::Metadata) if something could not be written.
    pub fn close(&self) -> Result<()> {
        match self.0.closed.swap(true, Ordering::SeqCst) {
            true => Ok(()),
            // It is the parent's to close.
            false if self.is_inherited() => Ok(()),
            false => {
                // Others may keep the cache open: what came through this handle is safe from a kill all the same.
                let settled = self.0.engine.store().settle();
                settled.and(self.0.engine.leave())
            }
        }
    }

    /// The rules of this cache for keys.
    pub(crate) fn key_rules(&self) -> KeyRules {
        self.0.config.key_rules()
    }

    /// What an entry under this key notes of its parameters: those of the key, else the arguments of a function.
    fn noted_params(&self, key: &Key, arguments: Vec<(String, Value)>) -> Vec<(String, Value)> {
        match key.params() {
            _ if !self.0.config.metadata.store_cache_key_params => Vec::new(),
            [] => arguments,
            params => params.to_vec(),
        }
    }

    fn index_key(&self, key: impl ToKey) -> Result<IndexKey> {
        self.key(key).map(|key| IndexKey::of(&key))
    }

    fn key(&self, key: impl ToKey) -> Result<Key> {
        key.to_key_with(KeyWriter::with_rules(self.key_rules())).resolve()
    }

    /// The keys of this cache that are being computed.
    pub(crate) fn in_flight(&self) -> &Arc<InFlight<Key>> {
        self.0.engine.in_flight()
    }

    /// Counts an error that is kept from the caller, and warns of it if there was no such warning lately.
    pub(crate) fn report(&self, doing: &str, error: &CacheError) {
        self.0.engine.report(doing, error);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("directory", &self.directory())
            .field("closed", &self.0.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

// The directories that this process has open, whatever their paths: opening one again gives the same engine.

static OPEN: Lazy<Registry> = Lazy::new(Registry::default);

static OPENINGS: Openings = Openings { has_open, close_all };

#[derive(Default)]
struct Registry {
    slots: Mutex<HashMap<DirId, Slot>>,
    changed: Condvar,
}

enum Slot {
    /// A thread is opening it.
    Opening(Origin),
    /// It is open, or being closed by the last handle that left.
    Open { engine: Weak<Engine>, origin: Origin },
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<DirId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, id: &DirId) {
        self.lock().remove(id);
        self.changed.notify_all();
    }
}

/// How a configuration is treated whose [shared](CacheConfig::differences) fields differ from those that a directory is open
/// with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    /// The difference is an error.
    Refused,
    /// The configuration in force stays, with a warning.
    Warned,
    /// The configuration in force stays: nothing else was asked for.
    Taken,
}

/// The engine of the configured directory: one that is open, or a new one.
fn open(config: &CacheConfig, clock: Arc<dyn Clock>, difference: Difference) -> Result<Arc<Engine>> {
    if config.is_in_memory() {
        return Ok(Arc::new(Engine::new(Store::open_in_memory(config)?, config, clock)));
    }
    let home = prepare(&config.storage.cache_dir)?;
    if let Some(engine) = join_or_reserve(home.id()) {
        return agreeing(engine, config, difference);
    }
    // From here on the slot is ours.
    let id = home.id().clone();
    let opening = OpeningSlot(&id);
    let engine = Arc::new(Engine::new(Store::open(home, config)?, config, clock));
    OPEN.lock().insert(id.clone(), Slot::Open { engine: Arc::downgrade(&engine), origin: Origin::here() });
    std::mem::forget(opening);
    OPEN.changed.notify_all();
    process::close_at_exit(&OPENINGS);
    Ok(engine)
}

/// An engine that is open already, unless it was opened with another configuration than this one.
fn agreeing(engine: Arc<Engine>, config: &CacheConfig, difference: Difference) -> Result<Arc<Engine>> {
    let place = config.storage.cache_dir.display();
    if engine.config().security != config.security {
        engine.leave()?;
        let message = format!(
            "{place} is open in this process with other settings for signatures: open it with the same `security`, or \
             close it first"
        );
        return Err(CacheError::new(ErrorKind::Conflict, message));
    }
    let differences = config.differences(engine.config());
    if differences.is_empty() || difference == Difference::Taken {
        return Ok(engine);
    }
    let differences = differences.join(", ");
    if difference == Difference::Warned {
        emit(&format!("cacheness: {place} is open in this process already, and stays as it is: {differences}"));
        return Ok(engine);
    }
    engine.leave()?;
    let message = format!(
        "{place} is open in this process already, with another configuration: {differences}. Open it with the same values, \
         or by `open`, which takes those in force, or close it first"
    );
    Err(CacheError::new(ErrorKind::Conflict, message))
}

/// Frees the slot if opening fails or panics.
struct OpeningSlot<'a>(&'a DirId);

impl Drop for OpeningSlot<'_> {
    fn drop(&mut self) {
        OPEN.free(self.0);
    }
}

/// Joins the open engine of a directory, waits for one that is being opened or closed, or reserves the free slot (`None`).
fn join_or_reserve(id: &DirId) -> Option<Arc<Engine>> {
    let mut slots = OPEN.lock();
    loop {
        match slots.get(id) {
            None => {
                slots.insert(id.clone(), Slot::Opening(Origin::here()));
                return None;
            }
            Some(Slot::Open { origin, .. } | Slot::Opening(origin)) if !origin.is_here() => {
                if let Some(Slot::Open { engine, .. }) = slots.remove(id)
                    && let Some(engine) = engine.upgrade()
                {
                    engine.abandon();
                }
                continue;
            }
            Some(Slot::Open { engine, .. }) => {
                if let Some(engine) = engine.upgrade().filter(|engine| engine.join()) {
                    return Some(engine);
                }
            }
            Some(Slot::Opening(_)) => {}
        }
        slots = OPEN.changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Removes an engine that has released its directory.
fn closed(id: &DirId) {
    OPEN.free(id);
}

/// Closes every engine that this process opened. A forked child has inherited the table, not the engines' threads: it
/// closes nothing.
fn close_all() {
    let open: Vec<_> = OPEN
        .lock()
        .values()
        .filter_map(|slot| match slot {
            Slot::Open { engine, origin } if origin.is_here() => engine.upgrade(),
            _ => None,
        })
        .collect();
    for engine in open {
        if let Err(error) = engine.shut() {
            engine.report("close the cache at exit", &error);
        }
    }
}

/// Whether this process has a cache open that it opened itself.
fn has_open() -> bool {
    // Somebody is opening or closing one, or was when this process was forked.
    let Ok(slots) = OPEN.slots.try_lock() else { return true };
    slots.values().any(|slot| matches!(slot, Slot::Open { origin, .. } if origin.is_here()))
}
