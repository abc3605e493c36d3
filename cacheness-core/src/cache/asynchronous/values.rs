//! Values in and out, for tasks.

use super::{AsyncCache, resolve};
use crate::cache::by_key::{STORING, taken};
use crate::cache::{Attempt, Cache, Flight, PutOptions, Turn, ValueCodec, ValueFile};
use crate::codec::handler::{Encoded, Handler, Shareable, Storable};
use crate::codec::native::Native;
use crate::engine::flight::{Joined, Leader, Outcome};
use crate::entry::{Entry, IndexKey};
use crate::error::{CacheError, Result};
use crate::key::{Key, PendingKey, ToKey};
use crate::util::threads::{blocking, yield_now};

/// The bytes without the value. A large vector of numbers is copied in steps, between which other tasks have their turn.
async fn detached(encoded: Encoded<'_>) -> Encoded<'static> {
    let Encoded { bytes, payload_format, type_fingerprint, shape, handler, body } = encoded;
    debug_assert!(body.is_none(), "native values are written on the pool");
    let mut copying = bytes.copying();
    while copying.step() {
        yield_now().await;
    }
    Encoded { bytes: copying.finish(), payload_format, type_fingerprint, shape, handler, body: None }
}

/// Storing and fetching values.
impl AsyncCache {
    /// As [`Cache::put`].
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub fn put<T: Storable>(&self, key: impl ToKey, value: &T) -> impl Future<Output = Result<Key>> {
        self.put_with(key, value, PutOptions::new())
    }

    /// As [`Cache::put_with`].
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub fn put_with<T: Storable>(
        &self,
        key: impl ToKey,
        value: &T,
        options: PutOptions,
    ) -> impl Future<Output = Result<Key>> {
        self.put_encoded::<T>(self.encode(value, &options, ValueCodec::stored()), key, options)
    }

    /// As [`Cache::put_by`]; the handler writes before the first await.
    ///
    /// # Errors
    /// As [`Cache::put_by`].
    pub fn put_by<H: Handler>(
        &self,
        handler: &H,
        key: impl ToKey,
        value: &H::Value,
        options: PutOptions,
    ) -> impl Future<Output = Result<Key>> {
        self.put_encoded::<H::Value>(self.encode(value, &options, ValueCodec::by_handler(handler)), key, options)
    }

    /// As [`Cache::get_by`]; the handler reads on the thread that polls.
    ///
    /// # Errors
    /// As [`Cache::get_by`].
    pub fn get_by<H: Handler>(&self, handler: &H, key: impl ToKey) -> impl Future<Output = Result<Option<H::Value>>> {
        let (cache, pending) = (self.0.clone(), self.pending(key));
        async move {
            cache
                .get_by_key_async(&resolve(pending).await?, None, ValueCodec::by_handler(handler), Attempt::First)
                .await
        }
    }

    /// As [`Cache::put_native`]; a clone of the value is written on the pool.
    ///
    /// # Errors
    /// As [`Cache::put_native`].
    pub fn put_native<T: Native>(&self, key: impl ToKey, value: &T) -> impl Future<Output = Result<Key>> {
        self.put_native_with(key, value, PutOptions::new())
    }

    /// As [`Cache::put_native_with`]; a clone of the value is written on the pool.
    ///
    /// # Errors
    /// As [`Cache::put_native_with`].
    pub fn put_native_with<T: Native>(
        &self,
        key: impl ToKey,
        value: &T,
        options: PutOptions,
    ) -> impl Future<Output = Result<Key>> {
        let (cache, pending, value) = (self.0.clone(), self.pending(key), value.clone());
        blocking(move || cache.put_native_with(pending.resolve()?, &value, options))
    }

    /// As [`Cache::get_native`]. What is not in memory is read on the pool.
    ///
    /// # Errors
    /// As [`Cache::get_native`].
    pub fn get_native<T: Native>(&self, key: impl ToKey) -> impl Future<Output = Result<Option<T>>> {
        let (cache, pending) = (self.0.clone(), self.pending(key));
        async move {
            let key = resolve(pending).await?;
            cache.get_by_key_async(&key, None, ValueCodec::native_in_memory(), Attempt::First).await
        }
    }

    /// As [`Cache::scan_table`]; it reads and decodes on the pool. Needs the feature `arrow`.
    ///
    /// # Errors
    /// As [`Cache::scan_table`].
    #[cfg(feature = "arrow")]
    pub fn scan_table(
        &self,
        key: impl ToKey,
        columns: Option<&[&str]>,
        rows: std::ops::Range<usize>,
    ) -> impl Future<Output = Result<Option<crate::codec::native::table::Table>>> {
        let columns: Option<Vec<String>> =
            columns.map(|columns| columns.iter().map(|name| (*name).to_owned()).collect());
        self.by_key(key, move |cache, key| {
            let names: Option<Vec<&str>> = columns.as_ref().map(|names| names.iter().map(String::as_str).collect());
            cache.scan_table(key, names.as_deref(), rows)
        })
    }

    /// As [`Cache::open_file`].
    ///
    /// # Errors
    /// As [`Cache::open_file`].
    pub fn open_file(&self, key: impl ToKey) -> impl Future<Output = Result<Option<ValueFile>>> {
        self.by_key(key, |cache, key| cache.open_file(key))
    }

    fn encode<'v, T: 'static>(
        &self,
        value: &'v T,
        options: &PutOptions,
        codec: ValueCodec<'_, T>,
    ) -> Result<Encoded<'v>> {
        Ok(self.0.engine()?.encode(value, options.handler.as_deref(), codec)?.encoded)
    }

    fn put_encoded<T>(
        &self,
        encoded: Result<Encoded<'_>>,
        key: impl ToKey,
        options: PutOptions,
    ) -> impl Future<Output = Result<Key>> {
        let (cache, pending) = (self.0.clone(), self.pending(key));
        async move {
            let encoded = detached(encoded?).await;
            let put = move || {
                let key = pending.resolve()?;
                cache.put_encoded_by_key(&key, std::any::type_name::<T>(), &encoded, options)?;
                Ok(key)
            };
            blocking(put).await
        }
    }

    /// As [`Cache::get`]. A value in memory is cloned on the thread that polls; a value heavier than what
    /// `metadata.memory_cache_max_mb` lets stay there is read and decoded on the pool.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn get<T: Shareable>(&self, key: impl ToKey) -> impl Future<Output = Result<Option<T>>> {
        let (cache, pending) = (self.0.clone(), self.pending(key));
        async move { cache.get_by_key_async(&resolve(pending).await?, None, ValueCodec::in_memory(), Attempt::First).await }
    }

    /// As [`Cache::get_stored`]. What was read is decoded on the thread that polls.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn get_stored<T: Storable>(&self, key: impl ToKey) -> impl Future<Output = Result<Option<T>>> {
        let (cache, pending) = (self.0.clone(), self.pending(key));
        async move { cache.get_by_key_async(&resolve(pending).await?, None, ValueCodec::stored(), Attempt::First).await }
    }

    /// As [`Cache::get_with_metadata`].
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn get_with_metadata<T: Storable + Send>(
        &self,
        key: impl ToKey,
    ) -> impl Future<Output = Result<Option<(T, Entry)>>> {
        self.by_key(key, |cache, key| cache.get_with_metadata(key))
    }

    /// As [`Cache::update_data`].
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub fn update_data<T: Storable>(&self, key: impl ToKey, value: &T) -> impl Future<Output = Result<bool>> {
        let encoded = self.encode(value, &PutOptions::new(), ValueCodec::stored());
        let (cache, pending) = (self.0.clone(), self.pending(key));
        async move {
            let encoded = detached(encoded?).await;
            let update = move || {
                let key = IndexKey::of(&pending.resolve()?);
                cache.engine()?.update(&key, std::any::type_name::<T>(), &encoded)
            };
            blocking(update).await
        }
    }

    /// As [`Cache::copy`].
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub fn copy(&self, from: impl ToKey, to: impl ToKey) -> impl Future<Output = Result<bool>> {
        let to = self.pending(to);
        self.by_key(from, move |cache, from| cache.copy(from, to.resolve()?))
    }

    /// As [`Cache::rename`].
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub fn rename(&self, from: impl ToKey, to: impl ToKey) -> impl Future<Output = Result<bool>> {
        let to = self.pending(to);
        self.by_key(from, move |cache, from| cache.rename(from, to.resolve()?))
    }

    /// As [`Cache::get_batch`].
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn get_batch<T: Shareable, K: ToKey>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> impl Future<Output = Result<Vec<(Key, Option<T>)>>> {
        let (cache, keys) = (self.0.clone(), self.all_pending(keys));
        blocking(move || cache.get_batch(resolve_all(keys)?))
    }

    /// As [`Cache::put_batch`].
    ///
    /// # Errors
    /// As [`Cache::put_batch`].
    pub fn put_batch<'v, T: Storable, K: ToKey>(
        &self,
        items: impl IntoIterator<Item = (K, &'v T)>,
    ) -> impl Future<Output = Result<Vec<Key>>> {
        self.put_batch_with(items, PutOptions::new())
    }

    /// As [`Cache::put_batch_with`].
    ///
    /// # Errors
    /// As [`Cache::put_batch`].
    pub fn put_batch_with<'v, T: Storable, K: ToKey>(
        &self,
        items: impl IntoIterator<Item = (K, &'v T)>,
        options: PutOptions,
    ) -> impl Future<Output = Result<Vec<Key>>> {
        let cache = self.0.clone();
        let encode =
            |(key, value): (K, &'v T)| Ok((self.pending(key), self.encode(value, &options, ValueCodec::stored())?));
        let items = items.into_iter().map(encode).collect::<Result<Vec<_>>>();
        async move {
            let mut own = Vec::new();
            for (key, encoded) in items? {
                own.push((key, detached(encoded).await));
            }
            let put = move || {
                let resolved = own.into_iter().map(|(key, encoded)| Ok((key.resolve()?, encoded)));
                cache.put_all_encoded::<T>(resolved.collect::<Result<_>>()?, &options)
            };
            blocking(put).await
        }
    }

    /// As [`Cache::delete_batch`].
    ///
    /// # Errors
    /// As [`Cache::delete_batch`].
    pub fn delete_batch<K: ToKey>(&self, keys: impl IntoIterator<Item = K>) -> impl Future<Output = Result<u64>> {
        let (cache, keys) = (self.0.clone(), self.all_pending(keys));
        blocking(move || cache.delete_batch(resolve_all(keys)?))
    }

    fn all_pending<K: ToKey>(&self, keys: impl IntoIterator<Item = K>) -> Vec<PendingKey> {
        keys.into_iter().map(|key| self.pending(key)).collect()
    }
}

fn resolve_all(keys: Vec<PendingKey>) -> Result<Vec<Key>> {
    keys.into_iter().map(PendingKey::resolve).collect()
}

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
            if let Some(value) =
                cache.value_or_report(cache.get_by_key_async(&key, None, ValueCodec::in_memory(), Attempt::First).await)
            {
                return Ok(value);
            }
            // Boxed: a hit should not carry the code of a miss.
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
                match cache.turn_async(key, Flight::OfCache, None, || try_again(cache, key)).await {
                    Turn::Take(value) => (Ok(value), Outcome::Stored),
                    Turn::Compute(computing) => {
                        let options = PutOptions { fence: computing.fence(), ..options };
                        let (value, outcome) = store(cache, key, options, make, Some(&leader)).await;
                        computing.end(&outcome);
                        (value, outcome)
                    }
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
    try_again(cache, key).await.ok().flatten()
}

async fn try_again<T: Shareable>(cache: &Cache, key: &Key) -> Result<Option<T>> {
    cache.get_by_key_async(key, None, ValueCodec::in_memory(), Attempt::Again).await
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
    let (value, stored) = cache.put_by_key_async(key, value, options, ValueCodec::in_memory()).await;
    let outcome = cache.outcome_of(stored, &value, leader);
    (Ok(value), outcome)
}
