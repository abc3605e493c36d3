//! What a process knows about its cached functions, and what a program may ask of one: of a function by the function itself,
//! of one of its calls by a call that is bound to be made later.

use std::any::type_name;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::attribute::{ScopeOwner, Site, without_arguments, without_closures};
use super::call::Call;
use super::default::{Calls, current_isolation, default_cache};
use super::returns::{CallPlan, ResultPolicy};
use super::{bypass_async, bypass_value, refresh_async, refresh_value};
use crate::cache::{Attempt, Cache, WeakCache};
use crate::engine::flight::UsualDuration;
use crate::entry::Entry;
use crate::error::{CacheError, ErrorKind, Result};
use crate::key::{Key, PendingKey};
use crate::util::Counter;

/// One cached function of this process. There are as many as the program has cached functions, and they stay.
#[derive(Debug)]
pub(super) struct Function {
    scope: Arc<str>,
    site: OnceLock<&'static Site>,
    owners: Mutex<Vec<&'static ScopeOwner>>,
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) stale: Counter,
    /// How long its body takes.
    pub(super) usual: UsualDuration,
    last_cache: LastCache,
}

/// The cache that a function used last. A weak handle, since a function must not keep a cache open.
#[derive(Debug, Default)]
struct LastCache {
    /// Tells handles apart without a lock. The weak handle beside it keeps the address from being given to another one.
    address: AtomicUsize,
    cache: Mutex<Option<WeakCache>>,
}

static FUNCTIONS: Mutex<Option<HashMap<Arc<str>, &'static Function>>> = Mutex::new(None);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Function {
    pub(super) fn named(scope: &str) -> &'static Self {
        let mut functions = lock(&FUNCTIONS);
        let functions = functions.get_or_insert_default();
        if let Some(function) = functions.get(scope) {
            return function;
        }
        let function: &'static Self = Box::leak(Box::new(Self::new(scope)));
        functions.insert(function.scope.clone(), function);
        function
    }

    /// The owner of the scope in which this attribute writes keys, also if another attribute writes there already.
    pub(super) fn owner_of(&'static self, site: &'static Site, is_sibling: bool) -> &'static ScopeOwner {
        self.site.get_or_init(|| site);
        let mut owners = lock(&self.owners);
        let known = owners.iter().copied().find(|owner| owner.is_of(site));
        let owner = known.unwrap_or_else(|| {
            let owner: &'static ScopeOwner = Box::leak(Box::new(ScopeOwner::new(self, site)));
            owners.push(owner);
            owner
        });
        owner.add_attribute(site.attribute, is_sibling);
        owner
    }

    fn new(scope: &str) -> Self {
        Self {
            scope: scope.into(),
            site: OnceLock::new(),
            owners: Mutex::default(),
            hits: Counter::default(),
            misses: Counter::default(),
            stale: Counter::default(),
            usual: UsualDuration::default(),
            last_cache: LastCache::default(),
        }
    }

    pub(super) fn scope(&self) -> &Arc<str> {
        &self.scope
    }

    /// Remembers which cache the function used.
    pub(super) fn uses(&self, cache: &Cache) {
        let address = cache.address();
        if self.last_cache.address.load(Ordering::Relaxed) != address {
            let mut slot = lock(&self.last_cache.cache);
            *slot = Some(cache.downgrade());
            self.last_cache.address.store(address, Ordering::Relaxed);
        }
    }

    /// [`uses`](Self::uses), noted in the isolation if this is in one.
    #[cold]
    pub(super) fn uses_in_scope(&'static self, cache: &Cache) {
        match current_isolation() {
            Some(isolation) => isolation.uses(self.address(), cache),
            None => self.uses(cache),
        }
    }

    /// Counts a call in the isolation if this is in one, else by this counter of the function.
    #[cold]
    pub(super) fn count_in_scope(&'static self, counter: &Counter, place: fn(&mut Calls) -> &mut u64) {
        match current_isolation() {
            Some(isolation) => isolation.count(self.address(), |calls| *place(calls) += 1),
            None => counter.count(),
        }
    }

    /// How its calls were answered, those of the isolation if this is in one.
    fn calls(&'static self) -> Calls {
        match current_isolation() {
            Some(isolation) => isolation.calls(self.address()),
            None => Calls { hits: self.hits.sum(), misses: self.misses.sum(), stale: self.stale.sum() },
        }
    }

    /// Whether an attribute of this process has spoken for it, or for it with other type and const arguments.
    fn is_cached(&self) -> bool {
        let path = without_arguments(&self.scope);
        let functions = lock(&FUNCTIONS);
        let mut functions = functions.iter().flat_map(HashMap::values);
        functions.any(|other| other.site.get().is_some() && without_arguments(&other.scope) == path)
    }

    /// Tells it from all others.
    pub(super) fn address(&'static self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn last_cache(&self) -> Option<Cache> {
        lock(&self.last_cache.cache).as_ref().and_then(WeakCache::upgrade)
    }
}

/// The control of a cached function, by the function itself: `function(get_weather)`, `function(Repo::load)`,
/// `function(parse::<u8>)`.
///
/// It sees the entries of that function in the cache which the function used last in this process, else in the default
/// cache, or in the cache given with [`in_cache`](FunctionHandle::in_cache) - also those of earlier runs. In an
/// [isolated](crate::testing::isolated) scope, what the function did there is all that counts.
/// Each choice of type and const arguments is a function of its own.
///
/// A function pointer does not compile, and for a closure every method is an error: neither tells which function it is.
///
/// Whether a function has the attribute shows when it is called, or by its entries. So [`info`](FunctionHandle::info)
/// and [`entries`](FunctionHandle::entries) are an error for a function that has neither been called in this process nor
/// left an entry, such as one without the attribute.
///
/// ```
/// fn twice(n: u32) -> u32 {
///     n * 2
/// }
///
/// # cacheness::set_default_cache(cacheness::Cache::in_memory());
/// let error = cacheness::function(twice).info().unwrap_err(); // it lacks #[cached]
/// assert!(error.is_invalid_argument());
/// # Ok::<(), cacheness::CacheError>(())
/// ```
pub fn function<F>(function: F) -> FunctionHandle {
    const { assert!(size_of::<F>() == 0, "`function` takes a function by its name, not a function pointer") };
    let _ = function;
    let name = type_name::<F>();
    let function = Function::named(without_closures(name));
    FunctionHandle { function, cache: None, is_closure: *function.scope != *name }
}

/// The control of a cached function; made by [`function`].
#[derive(Clone, Debug)]
#[must_use]
pub struct FunctionHandle {
    function: &'static Function,
    cache: Option<Cache>,
    is_closure: bool,
}

/// What is known about a cached function.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionInfo {
    /// Calls in this process that were answered by a cache.
    pub hits: u64,
    /// Calls in this process that ran the body, other than by [`bypass`](super::bypass).
    pub misses: u64,
    /// Calls in this process that were answered by an expired value (`stale_on_error`). Those that ran the body are
    /// misses as well.
    pub stale: u64,
    /// Entries in the cache.
    pub entries: u64,
    /// What the entries take in the cache, in bytes.
    pub size: u64,
    /// The TTL in the function's attribute. `None` if it has none or an expression, or was not called in this process.
    pub ttl: Option<Duration>,
    /// The prefix in the function's attribute. `None` if it has none, or was not called in this process.
    pub prefix: Option<String>,
    /// The directory of the cache. `None` if it is in memory.
    pub dir: Option<PathBuf>,
}

impl FunctionHandle {
    /// Looks into this cache instead of the one that the function used last.
    pub fn in_cache(self, cache: &Cache) -> Self {
        Self { cache: Some(cache.clone()), ..self }
    }

    /// The function's path, as entries name it.
    pub fn name(&self) -> &str {
        &self.function.scope
    }

    /// Hits, misses, entries and what else is known about the function.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if nothing shows that it is a cached function, see [`function`]; others when the
    /// cache cannot be opened or its index cannot be read.
    #[doc(alias = "cache_info")]
    pub fn info(&self) -> Result<FunctionInfo> {
        let cache = self.cache()?;
        let entries = self.entries()?;
        let site = self.function.site.get();
        let Calls { hits, misses, stale } = self.function.calls();
        Ok(FunctionInfo {
            hits,
            misses,
            stale,
            entries: entries.len() as u64,
            size: entries.iter().map(Entry::size).sum(),
            ttl: site.and_then(|site| site.ttl),
            prefix: site.and_then(|site| site.prefix).map(str::to_owned),
            dir: cache.directory().map(PathBuf::from),
        })
    }

    /// Removes every entry of the function, also those of earlier runs, and returns how many there were. A function
    /// that has not been called yet may have none, so that 0 is no error; if nothing shows that it is a cached function,
    /// a warning is logged.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a closure; others when the cache cannot be opened or an entry cannot be removed.
    #[doc(alias = "cache_clear")]
    pub fn clear(&self) -> Result<u64> {
        let removed = self.cache()?.clear_function(self.name())?;
        if removed == 0 && !self.function.is_cached() {
            log::warn!("nothing to clear: {}", self.unknown());
        }
        Ok(removed)
    }

    /// The entries of the function.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if nothing shows that it is a cached function, see [`function`]; others when the
    /// cache cannot be opened or its index cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let entries = self.cache()?.function_entries(self.name())?;
        if entries.is_empty() && !self.function.is_cached() {
            return Err(self.unknown());
        }
        Ok(entries)
    }

    fn unknown(&self) -> CacheError {
        let message = format!(
            "`{}` has no entries and was not called in this process as a cached function: put `#[cached]` on it, or call \
             it first",
            self.name()
        );
        CacheError::new(ErrorKind::InvalidArgument, message)
    }

    fn cache(&self) -> Result<Cache> {
        if self.is_closure {
            let message = "`function` takes a cached function by its name, like `function(get_weather)`, not a closure";
            return Err(CacheError::new(ErrorKind::InvalidArgument, message));
        }
        if let Some(cache) = &self.cache {
            return Ok(cache.clone());
        }
        match current_isolation() {
            Some(isolation) => Ok(isolation.cache_of(self.function.address())),
            None => self.function.last_cache().map_or_else(default_cache, Ok),
        }
    }
}

/// A call of a cached function with its arguments, not made yet: what the function added by `call = name` returns.
///
/// It reads and changes what the cache holds for exactly these arguments, and makes the call as asked.
/// `B` is [`Now`] for a function and [`Later`] for an `async fn`, whose `get`, `refresh` and `uncached` are futures.
#[must_use = "a bound call does nothing until one of its methods is called"]
pub struct BoundCall<R, B> {
    key: LazyLock<Result<Key>, Box<dyn FnOnce() -> Result<Key> + Send>>,
    cache: Option<Cache>,
    ttl: Option<Duration>,
    get: Box<Get<R>>,
    body: B,
}

type Get<R> = dyn Fn(&Cache, &Key, Option<Duration>) -> Result<Option<R>> + Send + Sync;

/// The call of a function.
pub struct Now<F>(F);

/// The call of an `async fn`.
pub struct Later<F>(F);

impl<R, B> fmt::Debug for BoundCall<R, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundCall").field("cache", &self.cache).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Now<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

impl<F> fmt::Debug for Later<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Later")
    }
}

/// Binds a call to what makes it.
pub fn bind<R, S: ResultPolicy<R>, F: FnOnce() -> R>(
    call: Call<'_, PendingKey>,
    plan: CallPlan<'static, R, S>,
    make: F,
) -> BoundCall<R, Now<F>> {
    BoundCall::new(call, &plan, Now(make))
}

/// Binds a call to the future that makes it.
pub fn bind_async<R, S: ResultPolicy<R>, F: Future<Output = R>>(
    call: Call<'_, PendingKey>,
    plan: CallPlan<'static, R, S>,
    make: F,
) -> BoundCall<R, Later<F>> {
    BoundCall::new(call, &plan, Later(make))
}

impl<R, B> BoundCall<R, B> {
    fn new<S: ResultPolicy<R>>(call: Call<'_, PendingKey>, plan: &CallPlan<'static, R, S>, body: B) -> Self {
        let key = call.key;
        let codec = plan.codec;
        let get = move |cache: &Cache, key: &Key, ttl: Option<Duration>| {
            Ok(cache.get_by_key(key, ttl, codec, Attempt::First)?.map(S::rebuild))
        };
        let cache = call.cache.cloned();
        let used = cache.clone();
        let resolve: Box<dyn FnOnce() -> Result<Key> + Send> = Box::new(move || {
            // Whether a file counts by its content, and when it is read again, is up to the cache.
            match key.needs_io().then(|| used.map_or_else(default_cache, Ok)) {
                Some(Ok(used)) => key.within(&used.key_rules()).resolve(),
                Some(Err(_)) | None => key.resolve(),
            }
        });
        Self { key: LazyLock::new(resolve), cache, ttl: call.options.ttl, get: Box::new(get), body }
    }

    /// The key of the call. The first use reads the files among the arguments.
    ///
    /// # Errors
    /// When an argument cannot be encoded or its file cannot be read.
    pub fn key(&self) -> Result<Key> {
        self.key.clone()
    }

    /// Whether the cache holds a result for this call that has not expired.
    ///
    /// # Errors
    /// When the key cannot be made or the cache cannot be opened or read.
    pub fn is_cached(&self) -> Result<bool> {
        self.cache()?.exists(&self.key()?)
    }

    /// The result that the cache holds for this call, without running the function.
    ///
    /// # Errors
    /// When the key cannot be made or the cache cannot be opened or read.
    pub fn peek(&self) -> Result<Option<R>> {
        (self.get)(&self.cache()?, &self.key()?, self.ttl)
    }

    /// Removes the result of this call from the cache; `false` if there was none.
    ///
    /// # Errors
    /// When the key cannot be made or the cache cannot be opened or written.
    pub fn invalidate(&self) -> Result<bool> {
        self.cache()?.invalidate(&self.key()?)
    }

    fn cache(&self) -> Result<Cache> {
        self.cache.clone().map_or_else(default_cache, Ok)
    }
}

impl<R, F: FnOnce() -> R> BoundCall<R, Now<F>> {
    /// Makes the call: from the cache, or by running the function.
    pub fn get(self) -> R {
        (self.body.0)()
    }

    /// Runs the function and replaces what the cache holds for this call.
    pub fn refresh(self) -> R {
        refresh_value(self.body.0)
    }

    /// Runs the function; the cache is neither read nor written.
    pub fn uncached(self) -> R {
        bypass_value(self.body.0)
    }
}

impl<R, F: Future<Output = R>> BoundCall<R, Later<F>> {
    /// Makes the call: from the cache, or by running the function.
    pub fn get(self) -> impl Future<Output = R> {
        self.body.0
    }

    /// Runs the function and replaces what the cache holds for this call.
    pub fn refresh(self) -> impl Future<Output = R> {
        refresh_async(self.body.0)
    }

    /// Runs the function; the cache is neither read nor written.
    pub fn uncached(self) -> impl Future<Output = R> {
        bypass_async(self.body.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_does_not_keep_its_cache_open() {
        let function = Function::named("weak::f");
        let cache = Cache::in_memory();
        function.uses(&cache);
        assert!(function.last_cache().is_some());
        drop(cache);
        assert!(function.last_cache().is_none());
    }

    #[test]
    fn a_new_cache_where_a_dropped_one_lay_in_memory_is_not_taken_for_it() {
        let function = Function::named("again::f");
        for round in 0..20 {
            let cache = Cache::in_memory();
            function.uses(&cache);
            assert!(function.last_cache().is_some(), "round {round}");
        }
    }
}
