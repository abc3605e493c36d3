//! Caches in place of the default one, for a thread or a task: what tests use so that they do not see each other's results.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::cache::{Cache, WeakCache};
use crate::util::carried::{self, Entered, Luggage};

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
pub(crate) fn current() -> Option<Arc<Isolation>> {
    carried::current().and_then(|carried| carried.downcast().ok())
}

/// Whether the thread may be in isolation: asked once for each call, so that one that is not pays for one load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Suspicion {
    /// No thread of the process is.
    None,
    Some,
}

impl Suspicion {
    #[inline]
    pub(crate) fn now() -> Self {
        if carried::is_any() { Self::Some } else { Self::None }
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
    let entered = carried::enter(Isolation::with(cache.clone()));
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
    let isolation = current().unwrap_or_else(|| Isolation::with(Cache::in_memory()));
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
