//! The cache for asynchronous callers.

mod query;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use super::{Cache, Expired, Stats};
use crate::codec::handler::{Handler, HandlerInfo};
use crate::config::CacheConfig;
use crate::entry::Entry;
use crate::error::Result;
use crate::key::{Key, KeyWriter, PendingKey, ToKey};
use crate::query::Filter;
use crate::util::threads::blocking;

pub use query::{AsyncEntries, AsyncQuery};

/// A [`Cache`] whose methods are futures, for any executor: files are read and written on a pool of its own, never on
/// the thread that polls. Values in memory and small ones in the index are read at once; what is read from a file is decoded on
/// the pool. A value that is given by reference is encoded on the thread that polls, bytes and numbers in steps of a
/// megabyte, between which other tasks have their turn. Dropping the last handle closes the cache, which writes files:
/// await [`close`](Self::close) first.
///
/// It is a handle of the same cache: [`Cache::asynchronous`] and [`blocking`](Self::blocking) lead from one to the
/// other, and both may be used side by side.
///
/// ```
/// use cacheness::AsyncCache;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> cacheness::Result<()> {
/// let cache = AsyncCache::in_memory();
/// cache.put("key", &"value".to_owned()).await?;
/// assert_eq!(cache.get::<String>("key").await?.as_deref(), Some("value"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AsyncCache(pub(super) Cache);

impl From<Cache> for AsyncCache {
    fn from(cache: Cache) -> Self {
        Self(cache)
    }
}

impl Cache {
    /// The same cache with futures for methods.
    pub fn asynchronous(&self) -> AsyncCache {
        AsyncCache(self.clone())
    }
}

pub(super) async fn resolve(key: PendingKey) -> Result<Key> {
    if key.needs_io() { blocking(move || key.resolve()).await } else { key.resolve() }
}

/// Opening and closing.
impl AsyncCache {
    /// As [`Cache::new`].
    ///
    /// # Errors
    /// As [`Cache::new`].
    pub async fn new(config: CacheConfig) -> Result<Self> {
        blocking(move || Cache::new(config)).await.map(Self)
    }

    /// As [`Cache::open`].
    ///
    /// # Errors
    /// As [`Cache::new`].
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        blocking(move || Cache::open(dir)).await.map(Self)
    }

    /// As [`Cache::for_api`].
    ///
    /// # Errors
    /// As [`Cache::new`].
    pub async fn for_api(dir: impl Into<PathBuf>) -> Result<Self> {
        Self::new(CacheConfig::for_api(dir)).await
    }

    /// As [`Cache::in_memory`].
    pub fn in_memory() -> Self {
        Self(Cache::in_memory())
    }

    /// The same cache with methods that block.
    pub fn blocking(&self) -> &Cache {
        &self.0
    }

    /// As [`Cache::flush`].
    ///
    /// # Errors
    /// As [`Cache::flush`].
    pub async fn flush(&self) -> Result<()> {
        self.run(Cache::flush).await
    }

    /// As [`Cache::close`].
    ///
    /// # Errors
    /// As [`Cache::close`].
    pub async fn close(&self) -> Result<()> {
        self.run(Cache::close).await
    }

    /// As [`Cache::export`]; the archive is written on the pool. Needs the feature `archive`.
    ///
    /// # Errors
    /// As [`Cache::export`].
    #[cfg(feature = "archive")]
    pub async fn export(&self, archive: impl std::io::Write + Send + 'static) -> Result<super::Transfer> {
        self.run(move |cache| cache.export(archive)).await
    }

    /// As [`Cache::import`]; the archive is read on the pool. Needs the feature `archive`.
    ///
    /// # Errors
    /// As [`Cache::import`].
    #[cfg(feature = "archive")]
    pub async fn import(&self, archive: impl std::io::Read + Send + 'static) -> Result<super::Transfer> {
        self.run(move |cache| cache.import(archive)).await
    }

    fn pending(&self, key: impl ToKey) -> PendingKey {
        key.to_key_with(KeyWriter::with_rules(self.0.key_rules()))
    }

    async fn run<R: Send + 'static>(&self, work: impl FnOnce(&Cache) -> R + Send + 'static) -> R {
        let cache = self.0.clone();
        blocking(move || work(&cache)).await
    }

    /// Makes the key before the first await, so that it need be neither `Send` nor kept.
    fn by_key<R: Send + 'static>(
        &self,
        key: impl ToKey,
        work: impl FnOnce(&Cache, &Key) -> Result<R> + Send + 'static,
    ) -> impl Future<Output = Result<R>> {
        let (cache, pending) = (self.0.clone(), self.pending(key));
        blocking(move || work(&cache, &pending.resolve()?))
    }
}

/// Looking at entries.
impl AsyncCache {
    /// As [`Cache::exists`].
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn exists(&self, key: impl ToKey) -> impl Future<Output = Result<bool>> {
        self.by_key(key, |cache, key| cache.exists(key))
    }

    /// As [`Cache::get_metadata`].
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn get_metadata(&self, key: impl ToKey, expired: Expired) -> impl Future<Output = Result<Option<Entry>>> {
        self.by_key(key, move |cache, key| cache.get_metadata(key, expired))
    }

    /// As [`Cache::get_entry`].
    ///
    /// # Errors
    /// As [`Cache::get_entry`].
    pub async fn get_entry(&self, cache_key: &str) -> Result<Option<Entry>> {
        let name = cache_key.to_owned();
        self.run(move |cache| cache.get_entry(&name)).await
    }

    /// As [`Cache::remaining_ttl`].
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn remaining_ttl(&self, key: impl ToKey) -> impl Future<Output = Result<Option<Duration>>> {
        self.by_key(key, |cache, key| cache.remaining_ttl(key))
    }

    /// As [`Cache::list_entries`].
    pub fn list_entries(&self) -> AsyncEntries {
        AsyncEntries::of(self)
    }

    /// As [`Cache::keys`].
    ///
    /// # Errors
    /// As [`Cache::keys`].
    pub fn keys(&self, after: Option<&Key>, limit: usize) -> impl Future<Output = Result<Vec<Key>>> + use<> {
        let (cache, after) = (self.0.clone(), after.cloned());
        blocking(move || cache.keys(after.as_ref(), limit))
    }

    /// As [`Cache::iter`].
    pub fn iter(&self) -> AsyncEntries {
        self.list_entries()
    }

    /// As [`Cache::len`].
    ///
    /// # Errors
    /// As [`Cache::len`].
    pub async fn len(&self) -> Result<u64> {
        let cache = self.0.clone();
        blocking(move || cache.len()).await
    }

    /// As [`Cache::is_empty`].
    ///
    /// # Errors
    /// As [`Cache::is_empty`].
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.len().await? == 0)
    }

    /// As [`Cache::get_stats`].
    ///
    /// # Errors
    /// As [`Cache::get_stats`].
    pub async fn get_stats(&self) -> Result<Stats> {
        self.run(Cache::get_stats).await
    }
}

/// Removing and renewing entries.
impl AsyncCache {
    /// As [`Cache::invalidate`].
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub fn invalidate(&self, key: impl ToKey) -> impl Future<Output = Result<bool>> {
        self.by_key(key, |cache, key| cache.invalidate(key))
    }

    /// As [`Cache::invalidate_by_cache_key`].
    ///
    /// # Errors
    /// As [`Cache::invalidate_by_cache_key`].
    pub async fn invalidate_by_cache_key(&self, cache_key: &str) -> Result<bool> {
        let name = cache_key.to_owned();
        self.run(move |cache| cache.invalidate_by_cache_key(&name)).await
    }

    /// As [`Cache::invalidate_tag`].
    ///
    /// # Errors
    /// As [`Cache::clear`].
    pub async fn invalidate_tag(&self, tag: &str) -> Result<u64> {
        let tag = tag.to_owned();
        self.run(move |cache| cache.invalidate_tag(&tag)).await
    }

    /// As [`Cache::invalidate_prefix`].
    ///
    /// # Errors
    /// As [`Cache::clear`].
    pub async fn invalidate_prefix(&self, prefix: &str) -> Result<u64> {
        let prefix = prefix.to_owned();
        self.run(move |cache| cache.invalidate_prefix(&prefix)).await
    }

    /// As [`Cache::clear`].
    ///
    /// # Errors
    /// As [`Cache::clear`].
    pub async fn clear(&self) -> Result<u64> {
        self.run(Cache::clear).await
    }

    /// As [`Cache::cleanup_expired`].
    ///
    /// # Errors
    /// As [`Cache::clear`].
    pub async fn cleanup_expired(&self) -> Result<u64> {
        self.run(Cache::cleanup_expired).await
    }

    /// As [`Cache::delete_where`]; `wanted` runs on the pool.
    ///
    /// # Errors
    /// As [`Cache::delete_where`].
    pub async fn delete_where(&self, wanted: impl FnMut(&Entry) -> bool + Send + 'static) -> Result<u64> {
        self.run(move |cache| cache.delete_where(wanted)).await
    }

    /// As [`Cache::delete_matching`].
    ///
    /// # Errors
    /// As [`Cache::delete_where`].
    pub async fn delete_matching(&self, filter: &Filter) -> Result<u64> {
        let filter = filter.clone();
        self.run(move |cache| cache.delete_matching(&filter)).await
    }

    /// As [`Cache::touch`].
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub fn touch(&self, key: impl ToKey) -> impl Future<Output = Result<bool>> {
        self.by_key(key, |cache, key| cache.touch(key))
    }

    /// As [`Cache::touch_with_ttl`].
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub fn touch_with_ttl(&self, key: impl ToKey, ttl: Duration) -> impl Future<Output = Result<bool>> {
        self.by_key(key, move |cache, key| cache.touch_with_ttl(key, ttl))
    }

    /// As [`Cache::touch_batch`].
    ///
    /// # Errors
    /// As [`Cache::clear`].
    pub async fn touch_batch(&self, filter: &Filter) -> Result<u64> {
        let filter = filter.clone();
        self.run(move |cache| cache.touch_batch(&filter)).await
    }

    /// As [`Cache::touch_batch_with_ttl`].
    ///
    /// # Errors
    /// As [`Cache::clear`].
    pub async fn touch_batch_with_ttl(&self, filter: &Filter, ttl: Duration) -> Result<u64> {
        let filter = filter.clone();
        self.run(move |cache| cache.touch_batch_with_ttl(&filter, ttl)).await
    }

    /// As [`Cache::function_entries`].
    ///
    /// # Errors
    /// As [`Cache::function_entries`].
    pub async fn function_entries(&self, function: &str) -> Result<Vec<Entry>> {
        let function = function.to_owned();
        self.run(move |cache| cache.function_entries(&function)).await
    }

    /// As [`Cache::clear_function`].
    ///
    /// # Errors
    /// As [`Cache::clear`].
    pub async fn clear_function(&self, function: &str) -> Result<u64> {
        let function = function.to_owned();
        self.run(move |cache| cache.clear_function(&function)).await
    }
}

/// Handlers: what writes and reads the values of a type. Nothing here waits for a file, so nothing is a future.
impl AsyncCache {
    /// As [`Cache::register_handler`].
    ///
    /// # Errors
    /// As [`Cache::register_handler`].
    pub fn register_handler<H: Handler + 'static>(&self, handler: H, priority: i32) -> Result<()> {
        self.0.register_handler(handler, priority)
    }

    /// As [`Cache::unregister_handler`].
    ///
    /// # Errors
    /// As [`Cache::unregister_handler`].
    pub fn unregister_handler(&self, name: &str) -> Result<bool> {
        self.0.unregister_handler(name)
    }

    /// As [`Cache::list_handlers`].
    ///
    /// # Errors
    /// As [`Cache::list_handlers`].
    pub fn list_handlers(&self) -> Result<Vec<HandlerInfo>> {
        self.0.list_handlers()
    }
}
