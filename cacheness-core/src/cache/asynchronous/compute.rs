//! A value from the cache, or made once by a future.

use super::AsyncCache;
use crate::cache::compute::{STORING, taken};
use crate::cache::{Cache, Look, Means, PutOptions};
use crate::codec::handler::Shareable;
use crate::engine::flight::{Joined, Leader, Outcome};
use crate::error::{CacheError, Result};
use crate::key::{Key, ToKey};

/// Values from the cache, or made once.
impl AsyncCache {
    /// As [`Cache::get_or_insert_with`], with a future that makes the value. It may be dropped at any time: one of those
    /// who wait then makes the value.
    ///
    /// ```
    /// use cacheness::AsyncCache;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> cacheness::Result<()> {
    /// let cache = AsyncCache::in_memory();
    /// assert_eq!(cache.get_or_insert_with("answer", || async { 42 }).await?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Cache::get_or_insert_with`].
    pub fn get_or_insert_with<T: Shareable, F: Future<Output = T>>(
        &self,
        key: impl ToKey,
        make: impl FnOnce() -> F,
    ) -> impl Future<Output = Result<T>> {
        self.get_or_try_insert_with(key, PutOptions::new(), || async { Ok(make().await) })
    }

    /// As [`Cache::get_or_try_insert_with`], with a future that makes the value.
    ///
    /// # Errors
    /// As [`Cache::get_or_try_insert_with`].
    pub fn get_or_try_insert_with<T: Shareable, E: From<CacheError>, F: Future<Output = Result<T, E>>>(
        &self,
        key: impl ToKey,
        options: PutOptions,
        make: impl FnOnce() -> F,
    ) -> impl Future<Output = Result<T, E>> {
        let (cache, pending) = (self.0.clone(), self.pending(key));
        async move {
            cache.engine()?;
            let key = super::resolve(pending).await?;
            if let Some(value) = cache.value_or_report(cache.recall_async(&key, None, Means::kept(), Look::First).await)
            {
                return Ok(value);
            }
            // Boxed: a hit should not carry the way of a miss.
            Box::pin(missed(&cache, &key, options, make)).await
        }
    }
}

async fn missed<T: Shareable, E, F: Future<Output = Result<T, E>>>(
    cache: &Cache,
    key: &Key,
    options: PutOptions,
    make: impl FnOnce() -> F,
) -> Result<T, E> {
    match cache.in_flight().join_async(key.clone(), None).await {
        Joined::Alone | Joined::Completed(Outcome::Panicked) => store(cache, key, options, make, None).await.0,
        Joined::Leader(leader) => {
            let leading = async {
                match again(cache, key).await {
                    Some(value) => (Ok(value), Outcome::Stored),
                    None => store(cache, key, options, make, Some(&leader)).await,
                }
            };
            let (value, outcome) = leader.run_async(leading).await;
            leader.complete(outcome);
            value
        }
        Joined::Completed(Outcome::Stored) => match again(cache, key).await {
            Some(value) => Ok(value),
            None => make().await,
        },
        Joined::Completed(outcome) => match taken(&outcome) {
            Some(value) => Ok(value),
            None => make().await,
        },
    }
}

async fn again<T: Shareable>(cache: &Cache, key: &Key) -> Option<T> {
    cache.recall_async(key, None, Means::kept(), Look::Again).await.ok().flatten()
}

async fn store<T: Shareable, E, F: Future<Output = Result<T, E>>>(
    cache: &Cache,
    key: &Key,
    options: PutOptions,
    make: impl FnOnce() -> F,
    leader: Option<&Leader<Key>>,
) -> (Result<T, E>, Outcome) {
    let value = match make().await {
        Ok(value) => value,
        Err(error) => return (Err(error), Outcome::NotStored(None)),
    };
    if !cache.is_current_async(key, STORING).await {
        return (Ok(value), Outcome::NotStored(None));
    }
    if leader.is_some_and(Leader::is_completed) {
        return (Ok(value), Outcome::NotStored(None));
    }
    let (value, stored) = cache.retain_async(key, value, options, Means::kept()).await;
    let outcome = cache.outcome_of(stored, &value, leader);
    (Ok(value), outcome)
}
