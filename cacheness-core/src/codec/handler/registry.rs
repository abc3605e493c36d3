//! Which handlers there are: those of the process, and those of a cache.

use std::any::{Any, TypeId, type_name};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::custom::Handler;
use super::stream::{mark_of, name_of};
use crate::config::{BINCODE, MESSAGEPACK, is_built_in};
use crate::error::{CacheError, ErrorKind, Result};

/// The handlers of the process.
pub(super) static GLOBAL: Registry = Registry::new();

/// Handlers by name and type, those with a higher number first, and of one number the earlier first.
#[derive(Debug)]
pub(super) struct Registry {
    /// Whether there is any: all that a call pays where there is none. A call that runs while the first one is registered
    /// may or may not see it.
    any: AtomicBool,
    known: RwLock<Vec<Registered>>,
}

#[derive(Clone, Debug)]
struct Registered {
    info: HandlerInfo,
    mark: u64,
    of: TypeId,
    /// An `Arc<dyn Handler<Value = T>>`, where `T` is the type of `of`.
    handler: Arc<dyn Any + Send + Sync>,
}

/// A registered handler of a `T`.
pub(super) struct Known<T> {
    pub(super) name: Arc<str>,
    pub(super) handler: Arc<dyn Handler<Value = T>>,
}

/// What [`list_handlers`] tells of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerInfo {
    /// Its name, which entries have for [`handler_used`](crate::Entry::handler_used).
    pub name: Arc<str>,
    /// The type of its values, as the compiler writes it; `None` for every type that serde knows.
    pub value_type: Option<&'static str>,
    /// Higher numbers are asked first; what is built in has the lowest there is.
    pub priority: i32,
    /// Whether it is part of this crate.
    pub builtin: bool,
}

impl HandlerInfo {
    fn built_in(name: &str) -> Self {
        Self { name: name.into(), value_type: None, priority: i32::MIN, builtin: true }
    }

    /// Those that are always there.
    pub(super) fn all_built_in() -> [Self; 2] {
        [BINCODE, MESSAGEPACK].map(Self::built_in)
    }
}

impl Registry {
    pub(super) const fn new() -> Self {
        Self { any: AtomicBool::new(false), known: RwLock::new(Vec::new()) }
    }

    #[inline]
    pub(super) fn has_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub(super) fn register<H: Handler + 'static>(&self, handler: H, priority: i32) -> Result<()> {
        let handler: Arc<dyn Handler<Value = H::Value>> = Arc::new(handler);
        let name: Arc<str> = name_of(&*handler)?.into();
        let mark = mark_of(&name);
        let value_type = Some(type_name::<H::Value>());
        let info = HandlerInfo { name, value_type, priority, builtin: false };
        let registered = Registered { info, mark, of: TypeId::of::<H::Value>(), handler: Arc::new(handler) };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = known.iter().find(|other| other.mark == mark) {
            let HandlerInfo { name, value_type, .. } = &other.info;
            let of = value_type.unwrap_or_default();
            let message = format!("a handler `{name}` of `{of}` is registered already: unregister it first");
            return Err(CacheError::new(ErrorKind::Conflict, message));
        }
        let place = known.partition_point(|other| other.info.priority >= priority);
        known.insert(place, registered);
        self.any.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn unregister(&self, name: &str) -> Result<bool> {
        if is_built_in(name) {
            let message = format!("handler `{name}` is built in: switch it off by handlers.disabled");
            return Err(CacheError::new(ErrorKind::InvalidArgument, message));
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().position(|other| &*other.info.name == name);
        let removed = found.map(|at| known.remove(at));
        self.any.store(!known.is_empty(), Ordering::Relaxed);
        drop(known);
        // Dropped without the lock: its `Drop` is the code of somebody else.
        Ok(removed.is_some())
    }

    pub(super) fn list(&self) -> Vec<HandlerInfo> {
        self.each(|registered| Some(registered.info.clone()))
    }

    /// The handlers of a type, in order.
    pub(super) fn of<T: 'static>(&self) -> Vec<Known<T>> {
        self.each(Registered::known)
    }

    /// The handler of a type that this is the mark of.
    pub(super) fn marked<T: 'static>(&self, mark: u64) -> Option<Known<T>> {
        self.each(|registered| if registered.mark == mark { registered.known() } else { None }).pop()
    }

    fn each<R>(&self, what: impl FnMut(&Registered) -> Option<R>) -> Vec<R> {
        if !self.has_any() {
            return Vec::new();
        }
        self.known.read().unwrap_or_else(PoisonError::into_inner).iter().filter_map(what).collect()
    }
}

impl Registered {
    fn known<T: 'static>(&self) -> Option<Known<T>> {
        if self.of != TypeId::of::<T>() {
            return None;
        }
        let handler = self.handler.downcast_ref::<Arc<dyn Handler<Value = T>>>()?;
        Some(Known { name: Arc::clone(&self.info.name), handler: Arc::clone(handler) })
    }
}

/// Registers a handler for all caches of the process: from now on it writes and reads the values of its type. Where a type
/// has several, they are asked in the order of `priority`, the highest first, and the first that
/// [takes](Handler::can_handle) a value writes it. A cache that has [its own](crate::Cache::register_handler) asks those
/// before; [`HandlerConfig`](crate::HandlerConfig) may say otherwise.
///
/// A value is read by the handler that wrote it, found by the name that its entry has. If that is not registered, the
/// value is a miss, of which one warning tells, and the entry stays. What serde wrote before is still read by serde.
///
/// A handler is for exactly its type: one of `Table` is not asked about an `Arc<Table>`.
///
/// ```
/// use std::io::{Read, Write};
/// use cacheness::Cache;
/// use cacheness::handler::{Handler, HandlerError, list_handlers, register_handler, unregister_handler};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Deserialize, PartialEq, Serialize)]
/// struct Celsius(f32);
///
/// struct AsText;
///
/// impl Handler for AsText {
///     type Value = Celsius;
///
///     fn name(&self) -> &str {
///         "celsius-as-text"
///     }
///
///     fn write(&self, value: &Celsius, to: &mut dyn Write) -> Result<(), HandlerError> {
///         Ok(write!(to, "{}", value.0)?)
///     }
///
///     fn read(&self, from: &mut dyn Read) -> Result<Celsius, HandlerError> {
///         Ok(Celsius(std::io::read_to_string(from)?.parse()?))
///     }
/// }
///
/// # fn main() -> cacheness::Result<()> {
/// register_handler(AsText, 10)?;
/// assert_eq!(&*list_handlers()[0].name, "celsius-as-text");
///
/// let cache = Cache::in_memory();
/// cache.put("room", &Celsius(21.5))?;
/// let (value, entry) = cache.get_with_metadata::<Celsius>("room")?.expect("it was just stored");
/// assert_eq!((value, entry.handler_used()), (Celsius(21.5), "celsius-as-text"));
///
/// assert!(unregister_handler("celsius-as-text")?);
/// assert_eq!(cache.get_stored::<Celsius>("room")?, None);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict) if there is a handler of this name already, for whatever type;
/// [`InvalidArgument`](ErrorKind::InvalidArgument) if none can have this name.
pub fn register_handler<H: Handler + 'static>(handler: H, priority: i32) -> Result<()> {
    GLOBAL.register(handler, priority)
}

/// Takes back what [`register_handler`] did; says whether there was a handler of this name. What it wrote is a miss as
/// long as it is not registered again; values that are in memory are still given out.
///
/// # Errors
/// [`InvalidArgument`](ErrorKind::InvalidArgument) if it is built in.
pub fn unregister_handler(name: &str) -> Result<bool> {
    GLOBAL.unregister(name)
}

/// The handlers of the process, in the order in which they are asked: those that were registered by
/// [`register_handler`], and what is built in. Those of a cache, too: [`Cache::list_handlers`](crate::Cache::list_handlers).
pub fn list_handlers() -> Vec<HandlerInfo> {
    GLOBAL.list().into_iter().chain(HandlerInfo::all_built_in()).collect()
}
