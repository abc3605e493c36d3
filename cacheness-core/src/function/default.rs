//! The cache that attributes use when they name none, and caches in its place, for a thread or a task: tests use those so that
//! they do not see each other's results.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use once_cell::sync::{Lazy, OnceCell};

use crate::cache::{Cache, WeakCache};
use crate::config::CacheConfig;
use crate::error::{CacheError, Result};

use crate::util::Warnings;
use crate::util::threads::{self, Entered, Luggage};

/// Read by every call that names no cache: without a lock, and without a count that threads share.
static DEFAULT: OnceCell<ArcSwap<Cache>> = OnceCell::new();
/// Held by who opens or replaces it.
static REPLACING: Mutex<()> = Mutex::new(());
static WARNINGS: Lazy<Warnings> = Lazy::new(Warnings::default);

/// Makes `cache` the one that attributes use from now on when they name none. Returns the one before, if there was one.
///
/// In an [isolated](crate::testing::isolated) scope it is that of the scope alone, and goes with it.
///
/// ```
/// use cacheness::{Cache, default_cache, set_default_cache};
///
/// # fn main() -> cacheness::Result<()> {
/// set_default_cache(Cache::in_memory());
/// default_cache()?.put("one", &1u8)?;
/// let before = set_default_cache(Cache::in_memory()).expect("the first one");
/// assert_eq!(before.get::<u8>("one")?, Some(1));
/// # Ok(())
/// # }
/// ```
pub fn set_default_cache(cache: Cache) -> Option<Cache> {
    if let Some(isolation) = current_isolation() {
        return Some(isolation.replace(cache));
    }
    let _replacing = replacing();
    replace(cache)
}

/// The cache that attributes use when they name none: the one of [`set_default_cache`], else one that is opened now as
/// the environment says, in `./cache` if it says nothing. In an [isolated](crate::testing::isolated) scope, that of the scope.
///
/// A directory that is in use by another process, cannot be written, is not safe to use or belongs to something else costs
/// a warning, and the default cache is then in memory. One that this process has open already is used as it is open, with a
/// warning where the environment says something else.
///
/// # Errors
/// [`Config`](crate::ErrorKind::Config) if an environment variable is not valid; it is read again at the next call.
pub fn default_cache() -> Result<Cache> {
    match current() {
        Some(cache) => Ok(cache.clone()),
        None => open(),
    }
}

/// The default cache, as long as a call takes.
pub(crate) struct Current(Guard<Arc<Cache>>);

impl Deref for Current {
    type Target = Cache;

    #[inline]
    fn deref(&self) -> &Cache {
        &self.0
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The default cache, if it is open.
#[inline]
pub(crate) fn current() -> Option<Current> {
    current_as(IsolationHint::now())
}

/// [`current`] for one who has asked already whether there may be isolation.
#[inline]
pub(crate) fn current_as(hint: IsolationHint) -> Option<Current> {
    match hint {
        IsolationHint::None => of_process(),
        IsolationHint::Some => of_scope(),
    }
}

#[inline]
fn of_process() -> Option<Current> {
    let current = DEFAULT.get().map(|cache| Current(cache.load()))?;
    if current.is_inherited() { of_child(current) } else { Some(current) }
}

/// In a forked child, whose default cache is its parent's: another one with the same configuration.
#[cold]
fn of_child(inherited: Current) -> Option<Current> {
    // Opening calls a cached function, which runs.
    let Some(_opening) = Opening::begin() else { return Some(inherited) };
    let _replacing = replacing();
    let default = DEFAULT.get()?;
    if default.load().is_inherited() {
        let cache = Cache::new_or_joined(inherited.config().clone()).unwrap_or_else(|error| {
            report_without_cache("open the default cache in a forked child, results are kept in memory only", &error);
            Cache::in_memory()
        });
        replace(cache);
    }
    Some(Current(default.load()))
}

#[cold]
fn of_scope() -> Option<Current> {
    current_isolation().map_or_else(of_process, |isolation| Some(Current(isolation.cache())))
}

#[cold]
fn open() -> Result<Cache> {
    let Some(_opening) = Opening::begin() else { return Ok(Cache::disabled()) };
    let _replacing = replacing();
    if let Some(cache) = current() {
        return Ok(cache.clone());
    }
    let cache = open_from_environment()?;
    replace(cache.clone());
    Ok(cache)
}

/// Only under the lock: of two that find none, one must open it.
fn replace(cache: Cache) -> Option<Cache> {
    let cache = Arc::new(cache);
    match DEFAULT.get() {
        Some(default) => Some(Cache::clone(&default.swap(cache))),
        None => {
            DEFAULT.get_or_init(|| ArcSwap::new(cache));
            None
        }
    }
}

thread_local! {
    static OPENING: Cell<bool> = const { Cell::new(false) };
}

/// Opening writes to the program's log. A logger that uses the default cache then would wait for itself: it gets a cache
/// that stores nothing.
struct Opening;

impl Opening {
    fn begin() -> Option<Self> {
        (!OPENING.replace(true)).then(|| Self)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        OPENING.set(false);
    }
}

fn replacing() -> MutexGuard<'static, ()> {
    REPLACING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_from_environment() -> Result<Cache> {
    if CacheConfig::disabled_by_env()? {
        return Ok(Cache::disabled());
    }
    let config = CacheConfig::from_env()?;
    config.validate()?;
    Ok(Cache::new_or_joined(config).unwrap_or_else(|error| {
        report_without_cache("open the default cache, results are kept in memory only", &error);
        Cache::in_memory()
    }))
}

/// Warns of an error that is kept from the caller where no cache could be had.
pub(crate) fn report_without_cache(doing: &str, error: &CacheError) {
    WARNINGS.tell(doing, error);
}

/// What stands in for the default cache, and for what the process knows of its functions.
pub(crate) struct Isolation {
    cache: ArcSwap<Cache>,
    /// By the address of what the process knows of a function.
    functions: Mutex<HashMap<usize, Seen>>,
}

/// What a function did in isolation.
#[derive(Debug, Default)]
struct Seen {
    calls: Calls,
    last_cache: Option<WeakCache>,
}

/// How calls of a function were answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) stale: u64,
}

impl Isolation {
    fn with(cache: Cache) -> Arc<Self> {
        Arc::new(Self { cache: ArcSwap::from_pointee(cache), functions: Mutex::default() })
    }

    pub(crate) fn cache(&self) -> Guard<Arc<Cache>> {
        self.cache.load()
    }

    pub(crate) fn replace(&self, cache: Cache) -> Cache {
        Cache::clone(&self.cache.swap(Arc::new(cache)))
    }

    pub(crate) fn uses(&self, function: usize, cache: &Cache) {
        self.functions().entry(function).or_default().last_cache = Some(cache.downgrade());
    }

    /// The cache that a function used last in isolation; the one that stands in for the default cache if it used none.
    pub(crate) fn cache_of(&self, function: usize) -> Cache {
        let last = self.functions().get(&function).and_then(|seen| seen.last_cache.as_ref()?.upgrade());
        last.unwrap_or_else(|| Cache::clone(&self.cache()))
    }

    pub(crate) fn count(&self, function: usize, count: impl FnOnce(&mut Calls)) {
        count(&mut self.functions().entry(function).or_default().calls);
    }

    pub(crate) fn calls(&self, function: usize) -> Calls {
        self.functions().get(&function).map(|seen| seen.calls).unwrap_or_default()
    }

    fn functions(&self) -> MutexGuard<'_, HashMap<usize, Seen>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isolation").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// The isolation of this thread, if it is in one.
#[inline]
pub(crate) fn current_isolation() -> Option<Arc<Isolation>> {
    threads::carried().and_then(|carried| carried.downcast().ok())
}

/// Whether the thread may be in isolation: asked once for each call, so that one that is not pays for one load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IsolationHint {
    /// No thread of the process is.
    None,
    Some,
}

impl IsolationHint {
    #[inline]
    pub(crate) fn now() -> Self {
        if threads::is_any_carried() { Self::Some } else { Self::None }
    }
}

/// The private cache of a scope; made by [`isolated`] and [`isolated_with`]. The scope ends when it is dropped.
#[must_use = "the scope ends when the guard is dropped: bind it to a name, as in `let _cache = isolated();`"]
#[derive(Debug)]
pub struct Isolated {
    cache: Cache,
    _entered: Entered,
}

impl Deref for Isolated {
    type Target = Cache;

    fn deref(&self) -> &Cache {
        &self.cache
    }
}

/// Gives this thread a default cache of its own, in memory and empty, until the guard is dropped.
///
/// Cached functions that name no cache use it, and so do [`default_cache`](crate::default_cache),
/// [`set_default_cache`](crate::set_default_cache), which replaces the cache of the scope alone, and
/// [`function`](crate::function), which also counts the calls in the scope alone. The environment has no say in it. A
/// cache that a function names is used as ever.
///
/// Scopes nest: when the inner one ends, also by a panic, the outer one is in force again.
///
/// The scope is that of the thread, and of what the cache runs on threads of its own for it. Tasks belong to it as long as
/// this thread polls them: all of a `#[tokio::test]`, but not what is spawned on a runtime with several threads, which needs
/// [`isolated_async`]. Threads that the test starts need [`isolated_with`] and a clone of the cache. The guard stays on its
/// thread, so that a future which holds it is not `Send`.
///
/// ```
/// use cacheness::{default_cache, testing};
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = testing::isolated();
/// default_cache()?.put("one", &1u8)?;
/// assert_eq!(cache.get::<u8>("one")?, Some(1));
/// {
///     let _inner = testing::isolated();
///     assert_eq!(default_cache()?.get::<u8>("one")?, None);
/// }
/// assert_eq!(default_cache()?.get::<u8>("one")?, Some(1));
/// # Ok(())
/// # }
/// ```
pub fn isolated() -> Isolated {
    isolated_with(Cache::in_memory())
}

/// [`isolated`] with a cache that is given: one with a clock of its own or in a directory, or the cache of a scope for
/// another thread.
///
/// ```
/// use cacheness::{default_cache, testing};
///
/// # fn main() -> cacheness::Result<()> {
/// let scope = testing::isolated();
/// let cache = scope.clone();
/// let worker = std::thread::spawn(move || {
///     let _cache = testing::isolated_with(cache);
///     default_cache()?.put("one", &1u8)
/// });
/// worker.join().expect("it does not panic")?;
/// assert_eq!(scope.get::<u8>("one")?, Some(1));
/// # Ok(())
/// # }
/// ```
pub fn isolated_with(cache: Cache) -> Isolated {
    let entered = threads::carry(Isolation::with(cache.clone()));
    Isolated { cache, _entered: entered }
}

/// [`isolated`] for a future, on whatever threads it is polled.
///
/// Called in a scope, it carries that one along, so that a test and the tasks it spawns share their results:
/// `tokio::spawn(isolated_async(work()))`. Elsewhere the future has a cache of its own, which is
/// [`default_cache`](crate::default_cache) inside of it. A task that is spawned without it is in no scope, nor is work that
/// is handed to `tokio::task::spawn_blocking`, which takes [`isolated_with`].
///
/// ```
/// use cacheness::testing::isolated_async;
/// use cacheness::default_cache;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
/// let found = runtime.block_on(isolated_async(async {
///     let task = tokio::spawn(isolated_async(async { default_cache()?.put("one", &1u8) }));
///     task.await.expect("it does not panic")?;
///     default_cache()?.get::<u8>("one")
/// }));
/// assert_eq!(found?, Some(1));
/// # Ok(())
/// # }
/// ```
pub fn isolated_async<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let isolation = current_isolation().unwrap_or_else(|| Isolation::with(Cache::in_memory()));
    within_async(isolation, work)
}

/// [`isolated_async`] with a cache that is given.
///
/// ```
/// use cacheness::{Cache, default_cache, testing};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// let cache = Cache::in_memory();
/// let work = testing::isolated_async_with(cache.clone(), async { default_cache()?.put("one", &1u8) });
/// # runtime.block_on(work)?;
/// assert_eq!(cache.get::<u8>("one")?, Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn isolated_async_with<F: Future>(cache: Cache, work: F) -> impl Future<Output = F::Output> {
    within_async(Isolation::with(cache), work)
}

async fn within_async<F: Future>(isolation: Arc<Isolation>, work: F) -> F::Output {
    let (mut luggage, mut work) = (Luggage::of(isolation), pin!(work));
    poll_fn(|cx| luggage.within(|| work.as_mut().poll(cx))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_cache_that_is_set_replaces_the_one_before_and_returns_it() {
        let (first, second) = (Cache::in_memory(), Cache::in_memory());
        set_default_cache(first);
        default_cache().unwrap().put("one", &1u8).unwrap();
        let before = set_default_cache(second).unwrap();
        assert_eq!(before.get::<u8>("one").unwrap(), Some(1));
        assert_eq!(default_cache().unwrap().get::<u8>("one").unwrap(), None);
    }

    #[test]
    fn who_uses_the_default_cache_while_it_is_opened_waits_for_itself_at_no_time() {
        let opening = Opening::begin();
        assert!(opening.is_some());
        assert!((0..3).all(|_| Opening::begin().is_none()));
        drop(opening);
        assert!(Opening::begin().is_some());
    }
}
