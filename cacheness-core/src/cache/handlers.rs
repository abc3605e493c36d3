//! Handlers of a cache, and those that are given with a call.

use super::means::Means;
use super::recall::Look;
use super::{Cache, PutOptions};
use crate::codec::handler::{Handler, HandlerInfo};
use crate::error::Result;
use crate::key::{Key, ToKey};

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
        self.retain(&key, value, options, Means::by(handler))?;
        Ok(key)
    }

    /// The value under a key, if a handler of the same name wrote it; else as [`get_stored`](Self::get_stored). One that
    /// the handler cannot read is none, and the entry stays.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`InvalidArgument`](crate::ErrorKind::InvalidArgument) also if the handler has a name that none can have;
    /// [`Handler`](crate::ErrorKind::Handler) if its `name` panics.
    pub fn get_by<H: Handler>(&self, handler: &H, key: impl ToKey) -> Result<Option<H::Value>> {
        self.recall(&self.key(key)?, None, Means::by(handler), Look::First)
    }
}
