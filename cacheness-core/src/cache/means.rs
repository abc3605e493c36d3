//! By what means the values of a type are stored and found again: told by function pointers, so that whoever has a
//! [`Means`] need not repeat the bounds of the type.

use std::fmt;

use super::shared::Shared;
use crate::codec::handler::{self, ByNothing, Evidence, Handler, Handlers, Proven, Raw, Shareable, Storable};
use crate::config::limits::Limits;
use crate::engine::Found;
use crate::entry::Core;
use crate::error::Result;

/// Who writes and reads values, and whether they may stay in memory.
pub struct Means<'h, T> {
    pub(super) shared: Option<Shared<T>>,
    pub(super) way: Way<'h, T>,
}

/// Who writes and reads values.
pub(super) enum Way<'h, T> {
    /// Whoever is chosen among the registered handlers and what is built in.
    Chosen { write: Write<T>, read: Read<T> },
    /// This handler and no other.
    By(&'h dyn Handler<Value = T>),
}

type Write<T> = for<'v> fn(&Handlers, &'v T, Option<&str>, &Limits) -> Result<Proven<'v, T>>;
type Read<T> = fn(&Handlers, Raw, &Found, &Limits) -> Result<T>;

impl<T: Shareable> Means<'_, T> {
    /// Values stay in memory.
    pub const fn kept() -> Self {
        Self::kept_by::<ByNothing>()
    }

    /// Values stay in memory, and are stored on this evidence.
    pub const fn kept_by<E: Evidence<T> + 'static>() -> Self {
        Self { shared: Some(Shared::by::<E>()), way: Way::chosen_by::<E>() }
    }

    /// Values could stay in memory, and do not.
    pub const fn passing_by<E: Evidence<T> + 'static>() -> Self {
        Self { shared: Some(Shared::passing_by::<E>()), way: Way::chosen_by::<E>() }
    }
}

impl<T: Storable> Means<'_, T> {
    /// Values cannot stay in memory.
    pub const fn stored() -> Self {
        Self::stored_by::<ByNothing>()
    }

    /// Values cannot stay in memory, and are stored on this evidence.
    pub const fn stored_by<E: Evidence<T>>() -> Self {
        Self { shared: None, way: Way::chosen_by::<E>() }
    }
}

impl<'h, T> Means<'h, T> {
    /// How values stay in memory, if they may.
    pub(crate) fn shared(&self) -> Option<Shared<T>> {
        self.shared
    }

    /// By a handler that is given; values do not stay in memory.
    pub const fn by(handler: &'h dyn Handler<Value = T>) -> Self {
        Self { shared: None, way: Way::By(handler) }
    }
}

impl<T: Storable> Way<'_, T> {
    pub(super) const fn chosen() -> Self {
        Self::chosen_by::<ByNothing>()
    }

    /// What is written must be the same on this evidence when it is read back.
    pub(super) const fn chosen_by<E: Evidence<T>>() -> Self {
        Self::Chosen { write: Handlers::write::<T, E>, read: read_chosen::<T> }
    }
}

fn read_chosen<T: Storable>(handlers: &Handlers, raw: Raw, found: &Found, limits: &Limits) -> Result<T> {
    let handler = || found.record.entry().ok().map(|entry| entry.handler_used().to_owned());
    handlers.read(raw, &found.core, handler, limits)
}

impl<T: 'static> Way<'_, T> {
    /// The bytes of a value; written by the handler of this name, if one is wanted.
    pub(super) fn write<'v>(
        &self,
        handlers: &Handlers,
        value: &'v T,
        wanted: Option<&str>,
        limits: &Limits,
    ) -> Result<Proven<'v, T>> {
        match self {
            Self::Chosen { write, .. } => write(handlers, value, wanted, limits),
            Self::By(handler) => {
                if let Some(wanted) = wanted {
                    handler::check_is_named(*handler, wanted)?;
                }
                handler::write_by(*handler, value, limits).map(Proven::unseen)
            }
        }
    }

    /// Whether a stored value could be one of these.
    pub(super) fn is_of(&self, core: &Core) -> Result<bool> {
        match self {
            Self::Chosen { .. } => Ok(core.type_fingerprint == handler::type_fingerprint::<T>()),
            Self::By(handler) => Ok(handler::is_written_by::<T>(core, handler::name_of(*handler)?)),
        }
    }

    pub(super) fn read(&self, handlers: &Handlers, raw: Raw, found: &Found, limits: &Limits) -> Result<T> {
        match self {
            Self::Chosen { read, .. } => read(handlers, raw, found, limits),
            Self::By(handler) => handler::read_by(*handler, handler::name_of(*handler)?, &raw, limits),
        }
    }
}

impl<T> Clone for Way<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Way<'_, T> {}

impl<T> Clone for Means<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Means<'_, T> {}

impl<T> fmt::Debug for Means<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Means")
    }
}
