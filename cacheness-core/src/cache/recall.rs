//! What calls of cached functions ask of a cache: values by finished keys, for threads and for tasks.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::shared::Shared;
use super::{Cache, PutOptions};
use crate::entry::{Core, IndexKey};
use crate::error::Result;
use crate::handler::{self, Encoded, Storable};
use crate::key::Key;
use crate::runtime::blocking;
use crate::store::Found;

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
    pub(crate) fn recall<T: Storable>(
        &self,
        key: &Key,
        reader_ttl: Option<Duration>,
        shared: Option<Shared<T>>,
        look: Look,
    ) -> Result<Option<T>> {
        let engine = self.engine()?;
        let live = if look == Look::Beyond { None } else { engine.live(key.identity(), reader_ttl, shared, look) };
        match live {
            Some(value) => Ok(Some(value)),
            None => engine.read(key, reader_ttl, shared).inspect(|value| engine.count(look, value.is_some())),
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
    pub(crate) async fn recall_async<T: Storable>(
        &self,
        key: &Key,
        reader_ttl: Option<Duration>,
        shared: Option<Shared<T>>,
        look: Look,
    ) -> Result<Option<T>> {
        let engine = self.engine()?;
        if let Some(value) = engine.live(key.identity(), reader_ttl, shared, look) {
            return Ok(Some(value));
        }
        let ticket = engine.ticket(key, shared);
        let index_key = IndexKey::of(key);
        let found = engine.find::<T>(&index_key, reader_ttl)?;
        let value = match found {
            Some(found) if Engine::is_at_hand(&found) => engine.value_of(key, &index_key, found, ticket)?,
            Some(found) => match shared {
                Some(shared) => shared.read_on_pool(engine, key, found, ticket.map(|(ticket, _)| ticket)).await?,
                None => load_on_pool(engine, index_key, found).await?,
            },
            None => None,
        };
        engine.count(look, value.is_some());
        Ok(value)
    }

    /// The value under a key whether it has expired or not, for a call that is a miss already; no counter changes.
    pub(crate) fn recall_stale<T: Storable>(&self, key: &Key) -> Result<Option<T>> {
        let (engine, index_key) = (self.engine()?, IndexKey::of(key));
        match engine.find_stale::<T>(&index_key)? {
            Some(found) => engine.value_of(key, &index_key, found, None),
            None => Ok(None),
        }
    }

    /// [`recall_stale`](Self::recall_stale) that reads blobs on the blocking pool.
    pub(crate) async fn recall_stale_async<T: Storable>(&self, key: &Key) -> Result<Option<T>> {
        let (engine, index_key) = (self.engine()?, IndexKey::of(key));
        match engine.find_stale::<T>(&index_key)? {
            Some(found) if Engine::is_at_hand(&found) => engine.value_of(key, &index_key, found, None),
            Some(found) => load_on_pool(engine, index_key, found).await,
            None => Ok(None),
        }
    }

    /// [`put_with`](Self::put_with) for a key that is made already. A value of a type that threads can share stays in
    /// memory.
    pub(crate) fn retain<T: Storable>(
        &self,
        key: &Key,
        value: &T,
        options: PutOptions,
        shared: Option<Shared<T>>,
    ) -> Result<()> {
        let engine = self.engine()?;
        if self.0.disabled {
            return Ok(());
        }
        let encoded = handler::encode(value, engine.store().limits())?;
        // From before the put, which is the one change that may come between.
        let ticket = engine.ticket(key, shared);
        let core = self.retain_encoded(key, std::any::type_name::<T>(), encoded, options)?;
        if let (Some((ticket, shared)), Some(core)) = (ticket, core) {
            engine.keep(key, value, &core, (ticket.after_own_change(), shared));
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
        options: PutOptions,
    ) -> Result<Option<Core>> {
        let engine = self.engine()?;
        if self.0.disabled {
            return Ok(None);
        }
        options.kinds()?.for_each(|schema| engine.custom().register(schema));
        let ttl = options.ttl.or_else(|| self.0.config.default_ttl());
        let details = options.into_details(data_type, self.noted_params(key));
        engine.put(IndexKey::of(key), details, &encoded, ttl).map(Some)
    }

    /// [`retain`](Self::retain) that writes on the blocking pool, and gives the value back. One that threads can share is
    /// encoded there as well, any other before the first await.
    pub(crate) fn retain_async<T: Storable>(
        &self,
        key: &Key,
        value: T,
        options: PutOptions,
        shared: Option<Shared<T>>,
    ) -> impl Future<Output = (T, Result<()>)> {
        let (cache, key) = (self.clone(), key.clone());
        async move {
            if cache.0.disabled {
                return (value, Ok(()));
            }
            match shared {
                Some(shared) => shared.write_on_pool(cache, key, value, options).await,
                None => {
                    let encoded =
                        cache.engine().and_then(|engine| handler::encode_owned(&value, engine.store().limits()));
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
async fn load_on_pool<T: Storable>(engine: &Arc<Engine>, key: IndexKey, mut found: Found) -> Result<Option<T>> {
    let loader = Arc::clone(engine);
    let (loaded, found) = blocking(move || (loader.load::<T>(&key, &mut found), found)).await;
    Ok(engine.decode(loaded?, &found))
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
        assert_eq!(cache.recall::<u64>(&key, None, Some(Shared::new()), Look::First).unwrap(), None);
        assert_eq!(cache.recall_stale::<u64>(&key).unwrap(), Some(7), "a miss has removed nothing");
        assert_eq!(cache.recall_stale::<i64>(&key).unwrap(), None);
        assert_eq!(cache.recall_stale::<u64>(&collides).unwrap(), None);
        let stats = cache.get_stats().unwrap();
        assert_eq!((stats.hits, stats.misses), (0, 1), "counted by those who know what it is");
        cache.invalidate(&key).unwrap();
        assert_eq!(cache.recall_stale::<u64>(&key).unwrap(), None);
    }
}
