//! Values by finished keys, for threads and for tasks: what calls of cached functions and `get_or_insert_with` ask of a cache.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::codec::ValueCodec;
use super::engine::Engine;
use super::neighbours::{Flight, Turn};
use super::{Cache, PutOptions};
use crate::codec::handler::{Back, Encoded, Proven, Shareable};
use crate::engine::Found;
use crate::engine::flight::{Joined, Leader, Outcome, SharedResult};
use crate::engine::memory::{CloneOps, InsertToken, Tier};
use crate::entry::{Core, IndexKey};
use crate::error::{CacheError, Result};
use crate::key::{Key, ToKey};
use crate::util::threads::{blocking, contained};

/// Which attempt of a call to read a value this is, which decides what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    First,
    /// The first one, after memory was asked separately.
    AfterMemory,
    /// A further one of a call that was counted as a miss: counted only if it is a hit now.
    Again,
}

impl Cache {
    /// The value under a key, with a time to live of the reader, which narrows the entry's own. Values of a type that
    /// threads can share come from memory, and stay there.
    #[inline]
    pub(crate) fn get_by_key<T: 'static>(
        &self,
        key: &Key,
        reader_ttl: Option<Duration>,
        codec: ValueCodec<'_, T>,
        attempt: Attempt,
    ) -> Result<Option<T>> {
        let engine = self.engine()?;
        if attempt != Attempt::AfterMemory
            && let Some(value) = engine.value_in_memory(key.identity(), reader_ttl, &codec, attempt)
        {
            return Ok(Some(value));
        }
        let read = engine.excused(engine.read(key, reader_ttl, codec), None);
        read.inspect(|value| engine.count(attempt, value.is_some()))
    }

    /// The value in memory of the key with this identity. `None` if memory is not to be asked.
    #[inline]
    pub(crate) fn get_in_memory<T: 'static>(
        &self,
        identity: &[u8],
        reader_ttl: Option<Duration>,
        codec: &ValueCodec<'_, T>,
    ) -> Option<Option<T>> {
        let engine = self.engine().ok()?;
        engine.store().memory().filter(|_| codec.may_be_in_memory())?;
        Some(engine.value_in_memory(identity, reader_ttl, codec, Attempt::First))
    }

    /// [`get_by_key`](Self::get_by_key) that reads blobs on the blocking pool; what lies in memory or in the index is read at
    /// once.
    pub(crate) async fn get_by_key_async<T: 'static>(
        &self,
        key: &Key,
        reader_ttl: Option<Duration>,
        codec: ValueCodec<'_, T>,
        attempt: Attempt,
    ) -> Result<Option<T>> {
        let engine = self.engine()?;
        let current = engine.is_memory_current_async().await;
        if let Some(value) = engine.value_in_memory_if(current, key.identity(), reader_ttl, &codec, attempt) {
            return Ok(Some(value));
        }
        let value = engine.excused(engine.read_async(key, reader_ttl, codec).await, None)?;
        engine.count(attempt, value.is_some());
        Ok(value)
    }

    /// The value under a key whether it has expired or not, for a call that is a miss already; no counter changes.
    pub(crate) fn get_stale_by_key<T: 'static>(&self, key: &Key, codec: ValueCodec<'_, T>) -> Result<Option<T>> {
        let (engine, index_key) = (self.engine()?, IndexKey::of(key));
        match engine.find_stale(&index_key, codec)? {
            Some(found) => engine.value_of(key, &index_key, found, codec, None),
            None => Ok(None),
        }
    }

    /// [`get_stale_by_key`](Self::get_stale_by_key) that reads blobs on the blocking pool.
    pub(crate) async fn get_stale_by_key_async<T: 'static>(
        &self,
        key: &Key,
        codec: ValueCodec<'_, T>,
    ) -> Result<Option<T>> {
        let (engine, index_key) = (self.engine()?, IndexKey::of(key));
        match engine.stale_async(&index_key).await? {
            Some(found) if !codec.is_of(&found.core)? => Ok(None),
            Some(found) if Engine::is_at_hand(&found) => engine.value_of(key, &index_key, found, codec, None),
            Some(found) => load_on_pool(engine, index_key, found, codec).await,
            None => Ok(None),
        }
    }

    /// Whether the files and directories that a key was made of are unchanged. A value that was made while they changed
    /// belongs to no key and is not stored: that is reported, and only the caller gets the value.
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
    pub(crate) fn put_by_key<T: 'static>(
        &self,
        key: &Key,
        value: &T,
        options: PutOptions,
        codec: ValueCodec<'_, T>,
    ) -> Result<()> {
        let engine = self.engine()?;
        if self.0.disabled {
            return Ok(());
        }
        let Proven { encoded, back } = engine.encode(value, options.handler.as_deref(), codec)?;
        // From before the put, which is the one change that may come between.
        let token = engine.insert_token(key, &codec);
        let core = self.put_encoded_by_key(key, std::any::type_name::<T>(), &encoded, options)?;
        if let (Some(ops), Some(token), Some(core)) = (codec.memory_ops(), token, core) {
            engine.keep_stored(key, value, back, &core, (token.after_own_change(), ops));
        }
        Ok(())
    }

    /// [`put_by_key`](Self::put_by_key) for a value that is encoded already, and does not stay in memory. `None` if the cache
    /// stores nothing, or has another value since the fence.
    pub(super) fn put_encoded_by_key(
        &self,
        key: &Key,
        data_type: &str,
        encoded: &Encoded<'_>,
        mut options: PutOptions,
    ) -> Result<Option<Core>> {
        let engine = self.engine()?;
        if self.0.disabled {
            return Ok(None);
        }
        let (ttl, fence) = (self.ttl_of(&options), options.fence.take());
        let details = self.details_of(key, data_type, options)?;
        engine.put(IndexKey::of(key), details, encoded, (ttl, fence.as_ref()))
    }

    /// [`put_by_key`](Self::put_by_key) that writes on the blocking pool, and gives the value back. One that threads can share is
    /// encoded there as well, any other before the first await.
    pub(crate) fn put_by_key_async<T: 'static>(
        &self,
        key: &Key,
        value: T,
        options: PutOptions,
        codec: ValueCodec<'_, T>,
    ) -> impl Future<Output = (T, Result<()>)> {
        let (cache, key) = (self.clone(), key.clone());
        async move {
            if cache.0.disabled {
                return (value, Ok(()));
            }
            match codec.on_pool() {
                Some(pool) => pool.write(cache, key, value, options).await,
                None => {
                    let encode = |engine: &Arc<Engine>| engine.encode(&value, options.handler.as_deref(), codec);
                    let encoded = cache.engine().and_then(|engine| {
                        encode(engine).and_then(|proven| proven.encoded.into_owned(engine.store().limits()))
                    });
                    let data_type = std::any::type_name::<T>();
                    let write = move || cache.put_encoded_by_key(&key, data_type, &encoded?, options);
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
    codec: ValueCodec<'_, T>,
) -> Result<Option<T>> {
    let (loader, taken) = (Arc::clone(engine), codec.taken());
    let (loaded, found) = blocking(move || (loader.load(&key, &mut found, taken), found)).await;
    engine.decode(loaded?, &found, codec)
}

impl Engine {
    /// The value in memory, if there is one that is fresh.
    #[inline]
    pub(super) fn value_in_memory<T: 'static>(
        &self,
        identity: &[u8],
        reader_ttl: Option<Duration>,
        codec: &ValueCodec<'_, T>,
        attempt: Attempt,
    ) -> Option<T> {
        self.store().memory()?;
        let current = self.store().index().is_memory_current();
        self.value_in_memory_if(current, identity, reader_ttl, codec, attempt)
    }

    #[inline]
    fn value_in_memory_if<T: 'static>(
        &self,
        current: bool,
        identity: &[u8],
        reader_ttl: Option<Duration>,
        codec: &ValueCodec<'_, T>,
        attempt: Attempt,
    ) -> Option<T> {
        let (memory, ops) = (self.store().memory()?, codec.memory_ops()?);
        let value = if current { memory.get(identity, ops, reader_ttl, self.clock()) } else { None };
        if value.is_none() && attempt == Attempt::First {
            memory.missed();
        }
        if memory.has_many_uses() {
            self.store().index().flush_uses();
        }
        value
    }

    /// Permission to insert into memory what is read from now on.
    pub(super) fn insert_token<T>(&self, key: &Key, codec: &ValueCodec<'_, T>) -> Option<InsertToken> {
        self.store().memory().filter(|_| codec.may_be_in_memory())?.insert_token(key)
    }

    /// The value in the store, which stays in memory.
    fn read<T: 'static>(&self, key: &Key, reader_ttl: Option<Duration>, codec: ValueCodec<'_, T>) -> Result<Option<T>> {
        let token = self.insert_token(key, &codec);
        let index_key = IndexKey::of(key);
        match self.find(&index_key, reader_ttl, codec)? {
            Some(found) => self.value_of(key, &index_key, found, codec, token),
            None => Ok(None),
        }
    }

    /// [`read`](Self::read) that reads blobs on the blocking pool.
    async fn read_async<T: 'static>(
        self: &Arc<Self>,
        key: &Key,
        reader_ttl: Option<Duration>,
        codec: ValueCodec<'_, T>,
    ) -> Result<Option<T>> {
        let token = self.insert_token(key, &codec);
        let index_key = IndexKey::of(key);
        let Some(found) = self.fresh_async(&index_key, reader_ttl).await? else { return Ok(None) };
        if !codec.is_of(&found.core)? {
            return Ok(None);
        }
        if Engine::is_at_hand(&found) {
            return self.value_of(key, &index_key, found, codec, token);
        }
        match codec.on_pool() {
            Some(pool) => pool.read(self, key, found, token).await,
            None => load_on_pool(self, index_key, found, codec).await,
        }
    }

    /// The value of a record that was found after the token was given.
    pub(super) fn value_of<T: 'static>(
        &self,
        key: &Key,
        index_key: &IndexKey,
        mut found: Found,
        codec: ValueCodec<'_, T>,
        token: Option<InsertToken>,
    ) -> Result<Option<T>> {
        let raw = self.load(index_key, &mut found, codec.taken())?;
        self.kept_value(key, raw, &found, codec, token)
    }

    /// Keeps a value in memory. One whose `Clone` panics is not kept: the caller has it already.
    pub(super) fn keep<T>(&self, key: &Key, value: &T, core: &Core, (token, ops): (InsertToken, CloneOps<T>)) {
        let core = &ops.weighed(value, core);
        let Some(memory) = self.store().memory().filter(|memory| memory.has_room_for(core.raw_size)) else { return };
        if let Some(clone) = ops.clone_value(value) {
            self.keep_owned(memory, key, clone, core, (token, ops));
        }
    }

    /// Keeps what was stored in memory: the value as it was read back, so that memory and disk give the same; else a copy.
    fn keep_stored<T>(&self, key: &Key, value: &T, back: Back<T>, core: &Core, keeping: (InsertToken, CloneOps<T>)) {
        let Some(memory) = self.store().memory().filter(|memory| memory.has_room_for(core.raw_size)) else { return };
        match back.take() {
            Some(back) => self.keep_owned(memory, key, back, core, keeping),
            None => self.keep(key, value, core, keeping),
        }
    }

    fn keep_owned<T>(&self, memory: &Tier, key: &Key, value: T, core: &Core, keeping: (InsertToken, CloneOps<T>)) {
        let on_use = |key: &Key, at| self.store().index().accessed(&IndexKey::of(key), at);
        memory.insert(key, keeping, value, core, self.now(), on_use);
    }

    pub(super) fn count(&self, attempt: Attempt, hit: bool) {
        match (hit, attempt) {
            (true, _) => self.counters().hit(),
            (false, Attempt::First | Attempt::AfterMemory) => self.counters().miss(),
            (false, Attempt::Again) => {}
        }
    }
}

pub(super) const READING: &str = "read a value that can be made anew";
pub(super) const STORING: &str = "store a value that was made";

/// The outcome of a flight whose value is not stored, but shared with its waiters, unless its `Clone` panics.
pub(super) fn unstored<T: Shareable>(value: &T, leader: Option<&Leader<Key>>) -> Outcome {
    let awaited = leader.is_some_and(Leader::is_awaited);
    let copy = || contained(|| Arc::new(value.clone()) as SharedResult);
    Outcome::NotStored(awaited.then(copy).flatten())
}

/// The value that another call made and could not store. There may be values of several types under one key.
pub(super) fn taken<T: Shareable>(outcome: &Outcome) -> Option<T> {
    let Outcome::NotStored(Some(shared)) = outcome else { return None };
    contained(|| shared.downcast_ref::<T>().cloned()).flatten()
}

/// Values from the cache, or made once.
impl Cache {
    /// The value under a key; if there is none, the one that `make` makes, which is stored. Concurrent calls with one
    /// key make it once, the others wait for it, though [not for
    /// ever](crate::CacheConfig::single_flight_wait_ms). A value that cannot be stored is cloned for those who wait. No
    /// lock is held while `make` runs; if it panics, those who wait make the value themselves.
    ///
    /// If a file or directory in the key changes while `make` runs, its value is returned and not stored.
    ///
    /// A cache that cannot be read or written costs a counter and a warning, and `make` runs.
    ///
    /// ```
    /// use cacheness::Cache;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::in_memory();
    /// assert_eq!(cache.get_or_insert_with("answer", || 42)?, 42);
    /// assert_eq!(cache.get_or_insert_with("answer", || -> i32 { unreachable!() })?, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed), and what [`ToKey`] says of the key; `make` has not run then.
    pub fn get_or_insert_with<T: Shareable>(&self, key: impl ToKey, make: impl FnOnce() -> T) -> Result<T> {
        self.get_or_try_insert_with(key, PutOptions::new(), || Ok(make()))
    }

    /// [`get_or_insert_with`](Self::get_or_insert_with) with options for the new entry, and for a `make` that may fail:
    /// then nothing is stored, and its error is returned. Those who waited then run their own `make`, side by side.
    ///
    /// # Errors
    /// Those of `make`; else as [`get_or_insert_with`](Self::get_or_insert_with).
    pub fn get_or_try_insert_with<T: Shareable, E: From<CacheError>>(
        &self,
        key: impl ToKey,
        options: PutOptions,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.engine()?;
        let key = self.key(key)?;
        if let Some(value) = self.value_or_report(self.get_by_key(&key, None, ValueCodec::in_memory(), Attempt::First))
        {
            return Ok(value);
        }
        match self.in_flight().join(&key, None) {
            Joined::Alone | Joined::Completed(Outcome::Panicked) => self.make(&key, options, make, None).0,
            Joined::Leader(leader) => {
                let (value, outcome) =
                    leader.run(|| match self.turn(&key, Flight::OfCache, None, || self.try_again(&key)) {
                        Turn::Take(value) => (Ok(value), Outcome::Stored),
                        Turn::Compute(computing) => {
                            let options = PutOptions { fence: computing.fence(), ..options };
                            let (value, outcome) = self.make(&key, options, make, Some(&leader));
                            computing.end(&outcome);
                            (value, outcome)
                        }
                    });
                leader.complete(outcome);
                value
            }
            Joined::Completed(Outcome::Stored) => self.again(&key).map_or_else(make, Ok),
            Joined::Completed(outcome) => taken(&outcome).map_or_else(make, Ok),
        }
    }

    fn again<T: Shareable>(&self, key: &Key) -> Option<T> {
        self.try_again(key).ok().flatten()
    }

    fn try_again<T: Shareable>(&self, key: &Key) -> Result<Option<T>> {
        self.get_by_key(key, None, ValueCodec::in_memory(), Attempt::Again)
    }

    fn make<T: Shareable, E>(
        &self,
        key: &Key,
        options: PutOptions,
        make: impl FnOnce() -> Result<T, E>,
        leader: Option<&Leader<Key>>,
    ) -> (Result<T, E>, Outcome) {
        let value = match make() {
            Ok(value) => value,
            Err(error) => return (Err(error), Outcome::NotStored(None)),
        };
        if !self.is_current(key, STORING) {
            // Not shared either: those who wait may have made the key of other files with the old content.
            return (Ok(value), Outcome::NotStored(None));
        }
        // What is stored by now is newer, as this flight began before.
        if leader.is_some_and(Leader::is_completed) {
            return (Ok(value), Outcome::NotStored(None));
        }
        let outcome = self.outcome_of(self.put_by_key(key, &value, options, ValueCodec::in_memory()), &value, leader);
        (Ok(value), outcome)
    }

    /// The outcome of a flight whose value is stored, or else shared with its waiters.
    pub(super) fn outcome_of<T: Shareable>(
        &self,
        stored: Result<()>,
        value: &T,
        leader: Option<&Leader<Key>>,
    ) -> Outcome {
        match stored {
            Ok(()) => Outcome::Stored,
            Err(error) => {
                self.report(STORING, &error);
                unstored(value, leader)
            }
        }
    }

    pub(super) fn value_or_report<T>(&self, found: Result<Option<T>>) -> Option<T> {
        found.unwrap_or_else(|error| {
            self.report(READING, &error);
            None
        })
    }
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
        assert_eq!(cache.get_by_key::<u64>(&key, None, ValueCodec::in_memory(), Attempt::First).unwrap(), None);
        assert_eq!(
            cache.get_stale_by_key::<u64>(&key, ValueCodec::stored()).unwrap(),
            Some(7),
            "a miss has removed nothing"
        );
        assert_eq!(cache.get_stale_by_key::<i64>(&key, ValueCodec::stored()).unwrap(), None);
        assert_eq!(cache.get_stale_by_key::<u64>(&collides, ValueCodec::stored()).unwrap(), None);
        let stats = cache.get_stats().unwrap();
        assert_eq!((stats.hits, stats.misses), (0, 1), "counted by those who know what it is");
        cache.invalidate(&key).unwrap();
        assert_eq!(cache.get_stale_by_key::<u64>(&key, ValueCodec::stored()).unwrap(), None);
    }
}
