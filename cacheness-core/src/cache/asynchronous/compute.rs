//! A value from the cache, or made once by a future.

use super::AsyncCache;
use crate::cache::compute::{STORING, taken};
use crate::cache::{Cache, Look, Means, PutOptions};
use crate::codec::handler::Shareable;
use crate::engine::flight::{Boarding, Landing, Lead};
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
    match cache.flights().board_async(key.clone(), None).await {
        Boarding::Alone | Boarding::Landed(Landing::Panicked) => store(cache, key, options, make, None).await.0,
        Boarding::Lead(lead) => {
            let leading = async {
                match again(cache, key).await {
                    Some(value) => (Ok(value), Landing::Stored),
                    None => store(cache, key, options, make, Some(&lead)).await,
                }
            };
            let (value, landing) = lead.run_async(leading).await;
            lead.land(landing);
            value
        }
        Boarding::Landed(Landing::Stored) => match again(cache, key).await {
            Some(value) => Ok(value),
            None => make().await,
        },
        Boarding::Landed(landing) => match taken(&landing) {
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
    lead: Option<&Lead<Key>>,
) -> (Result<T, E>, Landing) {
    let value = match make().await {
        Ok(value) => value,
        Err(error) => return (Err(error), Landing::NotStored(None)),
    };
    if !cache.is_current_async(key, STORING).await {
        return (Ok(value), Landing::NotStored(None));
    }
    if lead.is_some_and(Lead::is_over) {
        return (Ok(value), Landing::NotStored(None));
    }
    let (value, stored) = cache.retain_async(key, value, options, Means::kept()).await;
    let landing = cache.landing_of(stored, &value, lead);
    (Ok(value), landing)
}
