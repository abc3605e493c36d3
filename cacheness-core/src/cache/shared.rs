//! What can be done with values of a type that threads can share, told by function pointers: whoever has a [`Shared`] need
//! not repeat the bounds, and whoever has none does without.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::means::{Means, Way};
use super::recall::Look;
use super::{Cache, PutOptions};
use crate::codec::handler::{Back, ByNothing, Evidence, Shareable};
use crate::engine::memory::{Keep, Ticket, Tier};
use crate::engine::{Found, flight};
use crate::entry::{Core, IndexKey};
use crate::error::Result;
use crate::key::Key;
use crate::util::threads::blocking;

type BoxFuture<R> = Pin<Box<dyn Future<Output = R> + Send>>;

type ReadOnPool<T> = fn(Arc<Engine>, Key, Found, Option<Ticket>) -> BoxFuture<Result<Option<T>>>;
type WriteOnPool<T> = fn(Cache, Key, T, PutOptions, Shared<T>) -> BoxFuture<(T, Result<()>)>;

/// Values of `T` are encoded and decoded away from the thread that polls, and may stay in memory.
pub(crate) struct Shared<T> {
    keep: Keep<T>,
    stays: bool,
    read: ReadOnPool<T>,
    write: WriteOnPool<T>,
}

/// Permission to keep a value, and how.
pub(super) type Keeping<T> = (Ticket, Shared<T>);

impl<T: Shareable> Shared<T> {
    /// For any type that can be cloned and shared: values stay in memory.
    pub(super) const fn new() -> Self {
        Self::by::<ByNothing>()
    }

    /// [`new`](Self::new), for values that are stored on this evidence.
    pub(super) const fn by<E: Evidence<T> + 'static>() -> Self {
        Self { keep: Keep::cloned(), stays: true, read: read_on_pool::<T>, write: write_on_pool::<T, E> }
    }

    /// Values do not stay in memory.
    pub(super) const fn passing_by<E: Evidence<T> + 'static>() -> Self {
        Self { stays: false, ..Self::by::<E>() }
    }
}

impl<T> Shared<T> {
    /// Whether values stay in memory.
    pub(super) fn stays(&self) -> bool {
        self.stays
    }

    /// The value of a found record, which stays in memory with a ticket from before.
    pub(super) fn read_on_pool(
        &self,
        engine: &Arc<Engine>,
        key: &Key,
        found: Found,
        ticket: Option<Ticket>,
    ) -> BoxFuture<Result<Option<T>>> {
        (self.read)(Arc::clone(engine), key.clone(), found, ticket)
    }

    pub(super) fn write_on_pool(
        &self,
        cache: Cache,
        key: Key,
        value: T,
        options: PutOptions,
    ) -> BoxFuture<(T, Result<()>)> {
        (self.write)(cache, key, value, options, *self)
    }
}

fn read_on_pool<T: Shareable>(
    engine: Arc<Engine>,
    key: Key,
    found: Found,
    ticket: Option<Ticket>,
) -> BoxFuture<Result<Option<T>>> {
    Box::pin(blocking(flight::carried(move || {
        let keeping = ticket.map(|ticket| (ticket, Shared::new()));
        engine.value_of(&key, &IndexKey::of(&key), found, (Way::chosen(), keeping))
    })))
}

fn write_on_pool<T: Shareable, E: Evidence<T> + 'static>(
    cache: Cache,
    key: Key,
    value: T,
    options: PutOptions,
    shared: Shared<T>,
) -> BoxFuture<(T, Result<()>)> {
    Box::pin(blocking(flight::carried(move || {
        let stored = cache.retain(&key, &value, options, Means { shared: Some(shared), way: Way::chosen_by::<E>() });
        (value, stored)
    })))
}

impl Engine {
    /// The value in memory, if there is one that is fresh.
    #[inline]
    pub(super) fn live<T: 'static>(
        &self,
        identity: &[u8],
        reader_ttl: Option<Duration>,
        shared: Option<Shared<T>>,
        look: Look,
    ) -> Option<T> {
        let (memory, shared) = (self.store().memory()?, shared.filter(|shared| shared.stays)?);
        let value = memory.get(identity, shared.keep, reader_ttl, self.clock());
        if value.is_none() && look == Look::First {
            memory.missed();
        }
        if memory.has_much_to_settle() {
            self.store().index().settle_uses();
        }
        value
    }

    /// Permission to keep what is read from now on.
    pub(super) fn ticket<T>(&self, key: &Key, shared: Option<Shared<T>>) -> Option<Keeping<T>> {
        let shared = shared.filter(|shared| shared.stays)?;
        Some((self.store().memory()?.ticket(key)?, shared))
    }

    /// The value in the store, which stays in memory.
    pub(super) fn read<T: 'static>(
        &self,
        key: &Key,
        reader_ttl: Option<Duration>,
        Means { shared, way }: Means<'_, T>,
    ) -> Result<Option<T>> {
        let keeping = self.ticket(key, shared);
        let index_key = IndexKey::of(key);
        match self.find(&index_key, reader_ttl, way)? {
            Some(found) => self.value_of(key, &index_key, found, (way, keeping)),
            None => Ok(None),
        }
    }

    /// The value of a record that was found after the permission was given.
    pub(super) fn value_of<T: 'static>(
        &self,
        key: &Key,
        index_key: &IndexKey,
        mut found: Found,
        (way, keeping): (Way<'_, T>, Option<Keeping<T>>),
    ) -> Result<Option<T>> {
        let raw = self.load::<T>(index_key, &mut found)?;
        let value = self.decode(raw, &found, way);
        if let (Some(value), Some(keeping)) = (&value, keeping) {
            self.keep(key, value, &found.core, keeping);
        }
        Ok(value)
    }

    /// Keeps a value in memory. One whose `Clone` panics is not kept: the caller has it already.
    pub(super) fn keep<T>(&self, key: &Key, value: &T, core: &Core, (ticket, shared): Keeping<T>) {
        let Some(memory) = self.store().memory().filter(|memory| memory.has_room_for(core.raw_size)) else { return };
        if let Some(copy) = shared.keep.copy(value) {
            self.keep_owned(memory, key, copy, core, (ticket, shared));
        }
    }

    /// Keeps what was stored in memory: the value as it was read back, so that memory and disk give the same; else a copy.
    pub(super) fn keep_stored<T>(&self, key: &Key, value: &T, back: Back<T>, core: &Core, keeping: Keeping<T>) {
        let Some(memory) = self.store().memory().filter(|memory| memory.has_room_for(core.raw_size)) else { return };
        match back.take() {
            Some(back) => self.keep_owned(memory, key, back, core, keeping),
            None => self.keep(key, value, core, keeping),
        }
    }

    fn keep_owned<T>(&self, memory: &Tier, key: &Key, value: T, core: &Core, (ticket, shared): Keeping<T>) {
        let tell = |key: &Key, at| self.store().index().accessed(&IndexKey::of(key), at);
        memory.keep(key, (ticket, shared.keep), value, core, self.now(), tell);
    }

    pub(super) fn count(&self, look: Look, hit: bool) {
        match (hit, look) {
            (true, _) => self.counters().hit(),
            (false, Look::First | Look::Beyond) => self.counters().miss(),
            (false, Look::Again) => {}
        }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}
