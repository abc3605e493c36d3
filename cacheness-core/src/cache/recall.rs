//! What calls of cached functions ask of a cache: values by finished keys, for threads and for tasks.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::means::{Means, Way};
use super::shared::Shared;
use super::{Cache, PutOptions};
use crate::codec::handler::{Encoded, Proven};
use crate::engine::Found;
use crate::entry::{Core, IndexKey};
use crate::error::Result;
use crate::key::Key;
use crate::util::threads::blocking;

/// Whether a call asks for the first time. One that asks again is a miss already: it is counted only if it is a hit now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    First,
    Again,
    /// For the first time, and memory was asked already.
    Beyond,
}

impl Cache {
    /// The value under a key, with a time to live of the reader, which narrows the entry's own. Values of a type that
    /// threads can share come from memory, and stay there.
    #[inline]
    pub(crate) fn recall<T: 'static>(
        &self,
        key: &Key,
        reader_ttl: Option<Duration>,
        means: Means<'_, T>,
        look: Look,
    ) -> Result<Option<T>> {
        let engine = self.engine()?;
        let live =
            if look == Look::Beyond { None } else { engine.live(key.identity(), reader_ttl, means.shared, look) };
        match live {
            Some(value) => Ok(Some(value)),
            None => engine.read(key, reader_ttl, means).inspect(|value| engine.count(look, value.is_some())),
        }
    }

    /// The value in memory of the key that this is the identity of. `None` if memory is not to be asked.
    #[inline]
    pub(crate) fn recall_live<T: 'static>(
        &self,
        identity: &[u8],
        reader_ttl: Option<Duration>,
        shared: Shared<T>,
    ) -> Option<Option<T>> {
        let engine = self.engine().ok()?;
        engine.store().memory().filter(|_| shared.stays())?;
        Some(engine.live(identity, reader_ttl, Some(shared), Look::First))
    }

    /// [`recall`](Self::recall) that reads blobs on the blocking pool; what lies in memory or in the index is read at
    /// once.
    pub(crate) async fn recall_async<T: 'static>(
        &self,
        key: &Key,
        reader_ttl: Option<Duration>,
        Means { shared, way }: Means<'_, T>,
        look: Look,
    ) -> Result<Option<T>> {
        let engine = self.engine()?;
        if let Some(value) = engine.live(key.identity(), reader_ttl, shared, look) {
            return Ok(Some(value));
        }
        let ticket = engine.ticket(key, shared);
        let index_key = IndexKey::of(key);
        let found = engine.find(&index_key, reader_ttl, way)?;
        let value = match found {
            Some(found) if Engine::is_at_hand(&found) => engine.value_of(key, &index_key, found, (way, ticket))?,
            Some(found) => match shared {
                Some(shared) => shared.read_on_pool(engine, key, found, ticket.map(|(ticket, _)| ticket)).await?,
                None => load_on_pool(engine, index_key, found, way).await?,
            },
            None => None,
        };
        engine.count(look, value.is_some());
        Ok(value)
    }

    /// The value under a key whether it has expired or not, for a call that is a miss already; no counter changes.
    pub(crate) fn recall_stale<T: 'static>(&self, key: &Key, Means { way, .. }: Means<'_, T>) -> Result<Option<T>> {
        let (engine, index_key) = (self.engine()?, IndexKey::of(key));
        match engine.find_stale(&index_key, way)? {
            Some(found) => engine.value_of(key, &index_key, found, (way, None)),
            None => Ok(None),
        }
    }

    /// [`recall_stale`](Self::recall_stale) that reads blobs on the blocking pool.
    pub(crate) async fn recall_stale_async<T: 'static>(
        &self,
        key: &Key,
        Means { way, .. }: Means<'_, T>,
    ) -> Result<Option<T>> {
        let (engine, index_key) = (self.engine()?, IndexKey::of(key));
        match engine.find_stale(&index_key, way)? {
            Some(found) if Engine::is_at_hand(&found) => engine.value_of(key, &index_key, found, (way, None)),
            Some(found) => load_on_pool(engine, index_key, found, way).await,
            None => Ok(None),
        }
    }

    /// Whether the files and directories that a key was made of are the same still. A value that was made while they changed
    /// belongs to no key, and is not stored: that is reported, and the value is told to its caller alone.
    pub(crate) fn is_current(&self, key: &Key, doing: &str) -> bool {
        !key.has_sources() || self.0.disabled || self.reported_current(key.check_sources(), doing)
    }

    /// [`is_current`](Self::is_current) that looks on the blocking pool.
    pub(crate) async fn is_current_async(&self, key: &Key, doing: &str) -> bool {
        if !key.has_sources() || self.0.disabled {
            return true;
        }
        let key = key.clone();
        let looking: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(blocking(move || key.check_sources()));
        self.reported_current(looking.await, doing)
    }

    fn reported_current(&self, checked: Result<()>, doing: &str) -> bool {
        checked.inspect_err(|error| self.report(doing, error)).is_ok()
    }

    /// [`put_with`](Self::put_with) for a key that is made already. A value of a type that threads can share stays in
    /// memory.
    pub(crate) fn retain<T: 'static>(
        &self,
        key: &Key,
        value: &T,
        options: PutOptions,
        Means { shared, way }: Means<'_, T>,
    ) -> Result<()> {
        let engine = self.engine()?;
        if self.0.disabled {
            return Ok(());
        }
        let Proven { encoded, back } = engine.encode(value, options.handler.as_deref(), way)?;
        // From before the put, which is the one change that may come between.
        let ticket = engine.ticket(key, shared);
        let core = self.retain_encoded(key, std::any::type_name::<T>(), encoded, options)?;
        if let (Some((ticket, shared)), Some(core)) = (ticket, core) {
            engine.keep_stored(key, value, back, &core, (ticket.after_own_change(), shared));
        }
        Ok(())
    }

    /// [`retain`](Self::retain) for a value that is encoded already, and does not stay in memory. `None` if the cache
    /// stores nothing.
    pub(super) fn retain_encoded(
        &self,
        key: &Key,
        data_type: &str,
        encoded: Encoded<'_>,
        mut options: PutOptions,
    ) -> Result<Option<Core>> {
        let engine = self.engine()?;
        if self.0.disabled {
            return Ok(None);
        }
        options.kinds()?.for_each(|schema| engine.custom().register(schema));
        let ttl = options.ttl.or_else(|| self.0.config.default_ttl());
        let params = self.noted_params(key, std::mem::take(&mut options.params));
        let details = options.into_details(data_type, params);
        engine.put(IndexKey::of(key), details, &encoded, ttl).map(Some)
    }

    /// [`retain`](Self::retain) that writes on the blocking pool, and gives the value back. One that threads can share is
    /// encoded there as well, any other before the first await.
    pub(crate) fn retain_async<T: 'static>(
        &self,
        key: &Key,
        value: T,
        options: PutOptions,
        Means { shared, way }: Means<'_, T>,
    ) -> impl Future<Output = (T, Result<()>)> {
        let (cache, key) = (self.clone(), key.clone());
        async move {
            if cache.0.disabled {
                return (value, Ok(()));
            }
            match shared {
                Some(shared) => shared.write_on_pool(cache, key, value, options).await,
                None => {
                    let encode = |engine: &Arc<Engine>| engine.encode(&value, options.handler.as_deref(), way);
                    let encoded = cache.engine().and_then(encode).map(|proven| proven.encoded.into_owned());
                    let data_type = std::any::type_name::<T>();
                    let write = move || cache.retain_encoded(&key, data_type, encoded?, options);
                    let stored = blocking(write).await.map(drop);
                    (value, stored)
                }
            }
        }
    }
}

/// Loads on the blocking pool and decodes on the thread that polls.
async fn load_on_pool<T: 'static>(
    engine: &Arc<Engine>,
    key: IndexKey,
    mut found: Found,
    way: Way<'_, T>,
) -> Result<Option<T>> {
    let loader = Arc::clone(engine);
    let (loaded, found) = blocking(move || (loader.load::<T>(&key, &mut found), found)).await;
    Ok(engine.decode(loaded?, &found, way))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::key::ToKey;

    #[test]
    fn an_expired_value_is_recalled_by_its_own_key_and_as_its_own_type_alone() {
        let clock = Arc::new(ManualClock::default());
        let cache = Cache::with_clock(clock.clone());
        let key = "one".to_key().unwrap();
        let collides = "other".to_key().unwrap().with_hash(key.hash());
        cache.put_with(&key, &7_u64, PutOptions::new().ttl(Duration::from_secs(1))).unwrap();
        clock.advance(Duration::from_secs(1));
        assert_eq!(cache.recall::<u64>(&key, None, Means::kept(), Look::First).unwrap(), None);
        assert_eq!(cache.recall_stale::<u64>(&key, Means::stored()).unwrap(), Some(7), "a miss has removed nothing");
        assert_eq!(cache.recall_stale::<i64>(&key, Means::stored()).unwrap(), None);
        assert_eq!(cache.recall_stale::<u64>(&collides, Means::stored()).unwrap(), None);
        let stats = cache.get_stats().unwrap();
        assert_eq!((stats.hits, stats.misses), (0, 1), "counted by those who know what it is");
        cache.invalidate(&key).unwrap();
        assert_eq!(cache.recall_stale::<u64>(&key, Means::stored()).unwrap(), None);
    }
}
