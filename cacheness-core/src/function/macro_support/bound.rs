//! A call of a cached function that has not been made yet.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use super::call::Call;
use super::memory::Memory;
use super::mode;
use super::returns::{Plan, Strategy};
use crate::cache::Cache;
use crate::cache::{Look, Means};
use crate::error::Result;
use crate::function::default::default_cache;
use crate::key::{Key, PendingKey};

/// A call of a cached function with its arguments, not made yet: what the function added by `call = name` returns.
///
/// It tells and changes what the cache holds for exactly these arguments, and makes the call in the way asked for.
/// `B` is [`Now`] for a function and [`Later`] for an `async fn`, whose `get`, `refresh` and `uncached` are futures.
#[must_use = "a bound call does nothing until one of its methods is called"]
pub struct BoundCall<R, B> {
    key: LazyLock<Result<Key>, Box<dyn FnOnce() -> Result<Key> + Send>>,
    cache: Option<Cache>,
    ttl: Option<Duration>,
    recall: Box<Recall<R>>,
    body: B,
}

type Recall<R> = dyn Fn(&Cache, &Key, Option<Duration>) -> Result<Option<R>> + Send + Sync;

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
pub fn bind<R, S: Strategy<R>, M: Memory<S::Stored> + 'static, F: FnOnce() -> R>(
    call: Call<'_, PendingKey>,
    plan: Plan<R, S, M>,
    make: F,
) -> BoundCall<R, Now<F>> {
    BoundCall::new(call, &plan, Now(make))
}

/// Binds a call to the future that makes it.
pub fn bind_async<R, S: Strategy<R>, M: Memory<S::Stored> + 'static, F: Future<Output = R>>(
    call: Call<'_, PendingKey>,
    plan: Plan<R, S, M>,
    make: F,
) -> BoundCall<R, Later<F>> {
    BoundCall::new(call, &plan, Later(make))
}

impl<R, B> BoundCall<R, B> {
    fn new<S: Strategy<R>, M: Memory<S::Stored> + 'static>(
        call: Call<'_, PendingKey>,
        plan: &Plan<R, S, M>,
        body: B,
    ) -> Self {
        let key = call.key;
        let means: Means<'static, S::Stored> = plan.means();
        let recall = move |cache: &Cache, key: &Key, ttl: Option<Duration>| {
            Ok(cache.recall(key, ttl, means, Look::First)?.map(S::rebuild))
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
        Self { key: LazyLock::new(resolve), cache, ttl: call.order.ttl, recall: Box::new(recall), body }
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
        (self.recall)(&self.cache()?, &self.key()?, self.ttl)
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
        mode::refresh_value(self.body.0)
    }

    /// Runs the function; the cache is neither read nor written.
    pub fn uncached(self) -> R {
        mode::bypass_value(self.body.0)
    }
}

impl<R, F: Future<Output = R>> BoundCall<R, Later<F>> {
    /// Makes the call: from the cache, or by running the function.
    pub fn get(self) -> impl Future<Output = R> {
        self.body.0
    }

    /// Runs the function and replaces what the cache holds for this call.
    pub fn refresh(self) -> impl Future<Output = R> {
        mode::refresh_async(self.body.0)
    }

    /// Runs the function; the cache is neither read nor written.
    pub fn uncached(self) -> impl Future<Output = R> {
        mode::bypass_async(self.body.0)
    }
}
