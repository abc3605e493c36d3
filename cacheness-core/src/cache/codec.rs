//! How values of a type are encoded, decoded and kept in memory, and the handlers that do it.
//!
//! A [`ValueCodec`] is made where the bounds of the type are known, and holds function pointers: whoever is given one need not
//! repeat the bounds. So a call of a cached function is compiled for one type parameter with one bound, `'static`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::engine::Engine;
use super::{Attempt, Cache, PutOptions};
use crate::codec::handler::{
    self, ByNothing, Evidence, Handler, HandlerInfo, Handlers, Proven, Raw, Shareable, Storable, TakenAs,
};
use crate::codec::native::{self, Native};
use crate::config::Limits;
use crate::engine::Found;
use crate::engine::flight;
use crate::engine::memory::{CloneOps, InsertToken};
use crate::entry::{Core, IndexKey};
use crate::error::Result;
use crate::key::{Key, ToKey};
use crate::util::threads::blocking;

/// How values of `T` are written and read, and whether they may stay in memory.
pub(crate) struct ValueCodec<'h, T: 'static> {
    format: Format<'h, T>,
    /// For types that threads can share.
    shared: Option<&'static SharedOps<T>>,
}

/// Who writes and reads values.
enum Format<'h, T> {
    /// Whoever is chosen among the registered handlers and the built-in ones.
    Chosen { write: Write<T>, read: Read<T>, taken: TakenAs },
    /// This handler and no other.
    Given(&'h dyn Handler<Value = T>),
}

type Write<T> = for<'v> fn(&Handlers, &'v T, Option<&str>, &Limits) -> Result<Proven<'v, T>>;
type Read<T> = fn(&Handlers, Raw, &Found, &Limits) -> Result<T>;

type BoxFuture<R> = Pin<Box<dyn Future<Output = R> + Send>>;
type ReadOnPool<T> =
    fn(Arc<Engine>, Key, Found, ValueCodec<'static, T>, Option<InsertToken>) -> BoxFuture<Result<Option<T>>>;
type WriteOnPool<T> = fn(Cache, Key, T, PutOptions, ValueCodec<'static, T>) -> BoxFuture<(T, Result<()>)>;

/// What can be done with values of a type that threads can share: they are encoded and decoded away from the thread that
/// polls, and may stay in memory.
pub(super) struct SharedOps<T: 'static> {
    clone: CloneOps<T>,
    stays_in_memory: bool,
    read_on_pool: ReadOnPool<T>,
    write_on_pool: WriteOnPool<T>,
}

impl<T: Clone + Send + Sync + 'static> SharedOps<T> {
    const fn new(stays_in_memory: bool) -> Self {
        Self {
            clone: CloneOps::cloned(),
            stays_in_memory,
            read_on_pool: |engine, key, found, codec, token| {
                Box::pin(blocking(flight::in_current_flight(move || {
                    engine.value_of(&key, &IndexKey::of(&key), found, codec, token)
                })))
            },
            write_on_pool: |cache, key, value, options, codec| {
                Box::pin(blocking(flight::in_current_flight(move || {
                    let stored = cache.put_by_key(&key, &value, options, codec);
                    (value, stored)
                })))
            },
        }
    }
}

impl<T: Shareable> ValueCodec<'_, T> {
    /// Values stay in memory.
    pub(crate) const fn in_memory() -> Self {
        Self::in_memory_by::<ByNothing>()
    }

    /// Values stay in memory, and are stored on this evidence.
    pub(crate) const fn in_memory_by<E: Evidence<T> + 'static>() -> Self {
        Self { shared: Some(const { &SharedOps::new(true) }), ..Self::stored_by::<E>() }
    }

    /// Values could stay in memory, and do not; they are stored on this evidence.
    pub(crate) const fn not_in_memory_by<E: Evidence<T> + 'static>() -> Self {
        Self { shared: Some(const { &SharedOps::new(false) }), ..Self::stored_by::<E>() }
    }
}

impl<T: Native> ValueCodec<'_, T> {
    /// Values have a file format of their own, and could stay in memory.
    pub(crate) const fn native() -> Self {
        Self { shared: Some(const { &SharedOps::new(false) }), ..Self::native_alone() }
    }

    /// Values have a file format of their own, and stay in memory, but for plans: what is stored is what came of them.
    pub(crate) const fn native_in_memory() -> Self {
        let shared = const {
            let shared = SharedOps::new(!T::IS_PLAN);
            &SharedOps { clone: CloneOps::cloned().weighed_by(T::size), ..shared }
        };
        Self { shared: Some(shared), ..Self::native_alone() }
    }

    const fn native_alone() -> Self {
        Self {
            format: Format::Chosen {
                write: Handlers::write_native::<T>,
                read: read_native::<T>,
                taken: native::taken_as::<T>,
            },
            shared: None,
        }
    }
}

impl<T: Storable> ValueCodec<'_, T> {
    /// Values cannot stay in memory.
    pub(crate) const fn stored() -> Self {
        Self::stored_by::<ByNothing>()
    }

    /// Values cannot stay in memory. What is written must be the same on this evidence when it is read back.
    pub(crate) const fn stored_by<E: Evidence<T>>() -> Self {
        Self {
            format: Format::Chosen {
                write: Handlers::write::<T, E>,
                read: read_chosen::<T>,
                taken: handler::taken_as_vector::<T>,
            },
            shared: None,
        }
    }
}

fn read_chosen<T: Storable>(handlers: &Handlers, raw: Raw, found: &Found, limits: &Limits) -> Result<T> {
    let handler = || found.record.entry().ok().map(|entry| entry.handler_used().to_owned());
    handlers.read(raw, &found.core, handler, limits)
}

fn read_native<T: Native>(handlers: &Handlers, raw: Raw, found: &Found, limits: &Limits) -> Result<T> {
    let handler = || found.record.entry().ok().map(|entry| entry.handler_used().to_owned());
    handlers.read_native(raw, &found.core, handler, limits)
}

impl<'h, T: 'static> ValueCodec<'h, T> {
    /// A given handler writes and reads values; they do not stay in memory.
    pub(crate) const fn by_handler(handler: &'h dyn Handler<Value = T>) -> Self {
        Self { format: Format::Given(handler), shared: None }
    }

    /// How values are read and written on the pool, if threads can share them.
    pub(super) fn on_pool(&self) -> Option<OnPool<T>> {
        let (Format::Chosen { write, read, taken }, Some(shared)) = (self.format, self.shared) else { return None };
        let codec = ValueCodec { format: Format::Chosen { write, read, taken }, shared: Some(shared) };
        Some(OnPool { codec, shared })
    }

    /// Whether values may stay in memory.
    #[inline]
    pub(crate) fn may_be_in_memory(&self) -> bool {
        self.shared.is_some_and(|shared| shared.stays_in_memory)
    }

    /// How values get into memory and out of it, if they may stay there.
    #[inline]
    pub(super) fn memory_ops(&self) -> Option<CloneOps<T>> {
        self.shared.filter(|shared| shared.stays_in_memory).map(|shared| shared.clone)
    }

    /// Encodes a value; by the handler of this name, if one is wanted.
    pub(super) fn write<'v>(
        &self,
        handlers: &Handlers,
        value: &'v T,
        wanted: Option<&str>,
        limits: &Limits,
    ) -> Result<Proven<'v, T>> {
        match self.format {
            Format::Chosen { write, .. } => write(handlers, value, wanted, limits),
            Format::Given(handler) => {
                if let Some(wanted) = wanted {
                    handler::check_is_named(handler, wanted)?;
                }
                handler::write_by(handler, value, limits).map(Proven::unseen)
            }
        }
    }

    /// Whether a stored value could be one of these.
    pub(super) fn is_of(&self, core: &Core) -> Result<bool> {
        match self.format {
            Format::Chosen { .. } => Ok(core.type_fingerprint == handler::type_fingerprint::<T>()),
            Format::Given(handler) => Ok(handler::is_written_by::<T>(core, handler::name_of(handler)?)),
        }
    }

    /// How they are read from where they are stored.
    pub(super) fn taken(&self) -> TakenAs {
        match self.format {
            Format::Chosen { taken, .. } => taken,
            Format::Given(_) => |_| None,
        }
    }

    pub(super) fn read(&self, handlers: &Handlers, raw: Raw, found: &Found, limits: &Limits) -> Result<T> {
        match self.format {
            Format::Chosen { read, .. } => read(handlers, raw, found, limits),
            Format::Given(handler) => handler::read_by(handler, handler::name_of(handler)?, &raw, limits),
        }
    }
}

/// How values that threads can share are read and written on the pool.
pub(super) struct OnPool<T: 'static> {
    codec: ValueCodec<'static, T>,
    shared: &'static SharedOps<T>,
}

impl<T> OnPool<T> {
    /// The value of a found record, which stays in memory with a token from before.
    pub(super) fn read(
        &self,
        engine: &Arc<Engine>,
        key: &Key,
        found: Found,
        token: Option<InsertToken>,
    ) -> BoxFuture<Result<Option<T>>> {
        (self.shared.read_on_pool)(Arc::clone(engine), key.clone(), found, self.codec, token)
    }

    pub(super) fn write(&self, cache: Cache, key: Key, value: T, options: PutOptions) -> BoxFuture<(T, Result<()>)> {
        (self.shared.write_on_pool)(cache, key, value, options, self.codec)
    }
}

impl<T> Clone for Format<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Format<'_, T> {}

impl<T> Clone for ValueCodec<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ValueCodec<'_, T> {}

impl<T> fmt::Debug for ValueCodec<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ValueCodec")
    }
}

/// Handlers: what writes and reads the values of a type.
impl Cache {
    /// Registers a handler for this cache alone, for as long as it is open: [`register_handler`](crate::register_handler)
    /// tells what that means, and these are asked before those of the process. Handles of one directory share them.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) if this cache has a handler of this name already, for whatever type;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if none can have this name; [`Closed`](crate::ErrorKind::Closed).
    pub fn register_handler<H: Handler + 'static>(&self, handler: H, priority: i32) -> Result<()> {
        self.engine()?.handlers().register(handler, priority)
    }

    /// Takes back what [`register_handler`](Self::register_handler) did; says whether this cache had a handler of this
    /// name. Those of the process stay.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if it is built in; [`Closed`](crate::ErrorKind::Closed).
    pub fn unregister_handler(&self, name: &str) -> Result<bool> {
        self.engine()?.handlers().unregister(name)
    }

    /// The handlers that this cache asks, in the order in which it does: its own, those of the process and what is built
    /// in, as far as `handlers.disabled` lets them.
    ///
    /// ```
    /// use cacheness::{Cache, CacheConfig};
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let cache = Cache::new(CacheConfig::in_memory().with_disabled_handlers(["messagepack"]))?;
    /// assert_eq!(&*cache.list_handlers()?[0].name, "bincode");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    pub fn list_handlers(&self) -> Result<Vec<HandlerInfo>> {
        Ok(self.engine()?.handlers().list())
    }

    /// [`put_with`](Self::put_with) by a handler that is given, for a type that need not be one of serde's. What is
    /// configured and registered has no say in it.
    ///
    /// Values that are put so do not stay in memory. There is an example at [`Handler`].
    ///
    /// # Errors
    /// As [`put_with`](Self::put_with); [`Handler`](crate::ErrorKind::Handler) if the handler fails or panics;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) also if it has a name that no handler can have, or another one than
    /// [`PutOptions::handler`].
    pub fn put_by<H: Handler>(
        &self,
        handler: &H,
        key: impl ToKey,
        value: &H::Value,
        options: PutOptions,
    ) -> Result<Key> {
        let key = self.key(key)?;
        self.put_by_key(&key, value, options, ValueCodec::by_handler(handler))?;
        Ok(key)
    }

    /// The value under a key, if a handler of the same name wrote it; else as [`get_stored`](Self::get_stored). One that
    /// the handler cannot read is none, and the entry stays.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`InvalidArgument`](crate::ErrorKind::InvalidArgument) also if the handler has a name that none can have;
    /// [`Handler`](crate::ErrorKind::Handler) if its `name` panics.
    pub fn get_by<H: Handler>(&self, handler: &H, key: impl ToKey) -> Result<Option<H::Value>> {
        self.get_by_key(&self.key(key)?, None, ValueCodec::by_handler(handler), Attempt::First)
    }
}
