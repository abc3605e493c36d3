//! What calls of cached functions ask of a cache: values by finished keys, for threads and for tasks.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::{Cache, PutOptions};
use crate::entry::IndexKey;
use crate::error::Result;
use crate::handler::{self, Encoded, Storable};
use crate::key::Key;
use crate::runtime::blocking;
use crate::store::Found;

impl Cache {
    /// [`get`](Self::get) with a time to live of the reader, which narrows the entry's own.
    pub(crate) fn recall<T: Storable>(&self, key: &Key, reader_ttl: Option<Duration>) -> Result<Option<T>> {
        self.lookup(key, reader_ttl).inspect(|value| self.count(value.is_some()))
    }

    /// A second [`recall`](Self::recall) for one call, which is a miss already: counted only if it is a hit now.
    pub(crate) fn recall_again<T: Storable>(&self, key: &Key, reader_ttl: Option<Duration>) -> Result<Option<T>> {
        self.lookup(key, reader_ttl).inspect(|value| self.count_found(value.is_some()))
    }

    pub(super) fn count(&self, hit: bool) {
        match hit {
            true => self.0.engine.counters().hit(),
            false => self.0.engine.counters().miss(),
        }
    }

    fn count_found(&self, hit: bool) {
        if hit {
            self.count(true);
        }
    }

    /// The value under a key whether it has expired or not, for a call that is a miss already; no counter changes.
    pub(crate) fn recall_stale<T: Storable>(&self, key: &Key) -> Result<Option<T>> {
        let key = IndexKey::of(key);
        self.load(&key, self.find_stale::<T>(&key)?)
    }

    /// [`recall_stale`](Self::recall_stale) that reads blobs on the blocking pool.
    pub(crate) async fn recall_stale_async<T: Storable>(&self, key: &Key) -> Result<Option<T>> {
        let key = IndexKey::of(key);
        let found = self.find_stale::<T>(&key)?;
        self.load_async(key, found).await
    }

    fn find_stale<T: Storable>(&self, key: &IndexKey) -> Result<Option<Found>> {
        let engine = self.engine()?;
        let found = engine.store().find(key).inspect_err(|_| engine.counters().error())?;
        Ok(found.filter(|found| found.core.type_fingerprint == handler::type_fingerprint::<T>()))
    }

    fn lookup<T: Storable>(&self, key: &Key, reader_ttl: Option<Duration>) -> Result<Option<T>> {
        let key = IndexKey::of(key);
        self.load(&key, self.engine()?.find::<T>(&key, reader_ttl)?)
    }

    fn load<T: Storable>(&self, key: &IndexKey, found: Option<Found>) -> Result<Option<T>> {
        let Some(mut found) = found else { return Ok(None) };
        let engine = self.engine()?;
        let raw = engine.load::<T>(key, &mut found)?;
        Ok(engine.decode(raw, &found))
    }

    /// [`recall`](Self::recall) that reads blobs on the blocking pool; what lies in the index is read at once.
    pub(crate) async fn recall_async<T: Storable>(&self, key: &Key, reader_ttl: Option<Duration>) -> Result<Option<T>> {
        self.lookup_async(key, reader_ttl).await.inspect(|value| self.count(value.is_some()))
    }

    /// [`recall_again`](Self::recall_again) that reads blobs on the blocking pool.
    pub(crate) async fn recall_again_async<T: Storable>(
        &self,
        key: &Key,
        reader_ttl: Option<Duration>,
    ) -> Result<Option<T>> {
        self.lookup_async(key, reader_ttl).await.inspect(|value| self.count_found(value.is_some()))
    }

    async fn lookup_async<T: Storable>(&self, key: &Key, reader_ttl: Option<Duration>) -> Result<Option<T>> {
        let key = IndexKey::of(key);
        let found = self.engine()?.find::<T>(&key, reader_ttl)?;
        self.load_async(key, found).await
    }

    async fn load_async<T: Storable>(&self, key: IndexKey, found: Option<Found>) -> Result<Option<T>> {
        let Some(mut found) = found else { return Ok(None) };
        let engine = self.engine()?;
        if Engine::is_inline(&found) {
            let raw = engine.load::<T>(&key, &mut found)?;
            return Ok(engine.decode(raw, &found));
        }
        let loader = Arc::clone(engine);
        let (loaded, found) = blocking(move || (loader.load::<T>(&key, &mut found), found)).await;
        Ok(engine.decode(loaded?, &found))
    }

    /// [`put_with`](Self::put_with) for a key that is made already.
    pub(crate) fn retain<T: Storable>(&self, key: &Key, value: &T, options: PutOptions) -> Result<()> {
        let engine = self.engine()?;
        if self.0.disabled {
            return Ok(());
        }
        let encoded = handler::encode(value, engine.store().limits())?;
        self.retain_encoded(key, std::any::type_name::<T>(), encoded, options)
    }

    /// [`retain`](Self::retain) for a value that is encoded already.
    pub(super) fn retain_encoded(
        &self,
        key: &Key,
        data_type: &str,
        encoded: Encoded<'_>,
        options: PutOptions,
    ) -> Result<()> {
        let engine = self.engine()?;
        if self.0.disabled {
            return Ok(());
        }
        let ttl = options.ttl.or_else(|| self.0.config.default_ttl());
        engine.put(IndexKey::of(key), options.into_details(data_type, self.noted_params(key)), &encoded, ttl)
    }

    /// [`retain`](Self::retain) that writes on the blocking pool. The value is encoded before the first await.
    pub(crate) fn retain_async<T: Storable>(
        &self,
        key: &Key,
        value: &T,
        options: PutOptions,
    ) -> impl Future<Output = Result<()>> + Send + use<T> {
        let wanted = (!self.0.disabled).then(|| self.engine());
        let encoded = wanted.map(|engine| handler::encode_owned(value, engine?.store().limits()));
        let (cache, key) = (self.clone(), key.clone());
        async move {
            let Some(encoded) = encoded.transpose()? else { return Ok(()) };
            let data_type = std::any::type_name::<T>();
            blocking(move || cache.retain_encoded(&key, data_type, encoded, options)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ToKey;
    use crate::clock::ManualClock;

    #[test]
    fn an_expired_value_is_recalled_by_its_own_key_and_as_its_own_type_alone() {
        let clock = Arc::new(ManualClock::default());
        let cache = Cache::with_clock(clock.clone());
        let key = "one".to_key().unwrap();
        let collides = "other".to_key().unwrap().with_hash(key.hash());
        cache.put_with(&7_u64, &key, PutOptions::new().ttl(Duration::from_secs(1))).unwrap();
        clock.advance(Duration::from_secs(1));
        assert_eq!(cache.recall::<u64>(&key, None).unwrap(), None);
        assert_eq!(cache.recall_stale::<u64>(&key).unwrap(), Some(7), "a miss has removed nothing");
        assert_eq!(cache.recall_stale::<i64>(&key).unwrap(), None);
        assert_eq!(cache.recall_stale::<u64>(&collides).unwrap(), None);
        let stats = cache.get_stats().unwrap();
        assert_eq!((stats.hits, stats.misses), (0, 1), "counted by those who know what it is");
        cache.invalidate(&key).unwrap();
        assert_eq!(cache.recall_stale::<u64>(&key).unwrap(), None);
    }
}
