//! Which handlers there are, those of the process and those of a cache, and which of them writes or reads a value.

use std::any::{Any, TypeId, type_name};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::custom::{Handler, mark_of, name_of, read_by, takes, write_by};
use super::encode_as;
use super::payload::{BY_HANDLER, Formats, PayloadFormat};
use super::proof::{Evidence, Proven};
use super::{Raw, Storable, decode_raw};
use crate::codec::native::COMPILED;
use crate::config::{BINCODE, HandlerConfig, Limits, MESSAGEPACK, ParquetCodec, is_built_in, is_of_serde};
use crate::entry::Core;
use crate::error::{CacheError, ErrorKind, Result};

/// The handlers of the process.
static GLOBAL: Registry = Registry::new();

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
    fn all_built_in() -> impl Iterator<Item = Self> {
        let formats = COMPILED.iter().map(|format| format.name());
        [BINCODE, MESSAGEPACK].into_iter().chain(formats).map(Self::built_in)
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

/// The handlers of a cache.
#[derive(Debug)]
pub(crate) struct Handlers {
    own: Registry,
    config: HandlerConfig,
    formats: Formats,
    parquet: ParquetCodec,
}

/// Who writes a value.
enum Choice<T> {
    BuiltIn(Formats),
    Registered(Known<T>),
}

impl Handlers {
    pub(crate) fn new(config: &HandlerConfig, parquet: ParquetCodec) -> Self {
        let formats = Formats::of(&config.priority, &config.disabled);
        Self { own: Registry::new(), config: config.clone(), formats, parquet }
    }

    /// What columns of Parquet are compressed with.
    pub(super) fn parquet(&self) -> ParquetCodec {
        self.parquet
    }

    pub(crate) fn register<H: Handler + 'static>(&self, handler: H, priority: i32) -> Result<()> {
        self.own.register(handler, priority)
    }

    pub(crate) fn unregister(&self, name: &str) -> Result<bool> {
        self.own.unregister(name)
    }

    /// In the order in which they are asked, whatever their types are.
    pub(crate) fn list(&self) -> Vec<HandlerInfo> {
        let mut all = self.own.list();
        let hidden = all.clone();
        all.extend(GLOBAL.list().into_iter().filter(|info| hidden.iter().all(|own| own.name != info.name)));
        all.extend(HandlerInfo::all_built_in());
        all.retain(|info| !self.is_disabled(&info.name));
        all.sort_by_key(|info| if is_of_serde(&info.name) { self.place_of_built_in() } else { self.place(&info.name) });
        if self.formats.first() == PayloadFormat::MessagePack {
            let is_bincode = |info: &HandlerInfo| info.builtin && &*info.name == PayloadFormat::Bincode.name();
            if let Some(at) = all.iter().position(is_bincode).filter(|at| at + 1 < all.len()) {
                all.swap(at, at + 1);
            }
        }
        all
    }

    pub(super) fn is_disabled(&self, name: &str) -> bool {
        self.config.disabled.iter().any(|disabled| disabled == name)
    }

    /// Where the configuration puts it; what it does not name comes last.
    pub(super) fn place(&self, name: &str) -> usize {
        self.config.priority.iter().position(|named| named == name).unwrap_or(usize::MAX)
    }

    fn place_of_built_in(&self) -> usize {
        self.config.priority.iter().position(|named| is_of_serde(named)).unwrap_or(usize::MAX)
    }

    /// Writes a value by the handler of this name, or by the first that takes it.
    ///
    /// # Errors
    /// As [`encode`](super::encode); `Handler` if the chosen one fails; `InvalidArgument` if there is none of this name for `T`.
    pub(crate) fn write<'v, T: Storable, E: Evidence<T>>(
        &self,
        value: &'v T,
        wanted: Option<&str>,
        limits: &Limits,
    ) -> Result<Proven<'v, T>> {
        let nothing_to_choose = !self.own.has_any() && !GLOBAL.has_any() && self.formats == Formats::DEFAULT;
        if nothing_to_choose && wanted.is_none() {
            return encode_as(value, E::COMPARE, Formats::DEFAULT, limits);
        }
        let choice = match wanted {
            Some(name) => self.named(name, value)?,
            None => self.first_that_takes(value)?,
        };
        match choice {
            Choice::BuiltIn(formats) => encode_as(value, E::COMPARE, formats, limits),
            Choice::Registered(Known { handler, .. }) => write_by(&*handler, value, limits).map(Proven::unseen),
        }
    }

    /// The handlers of a type that are registered and enabled, in the order in which they are asked.
    pub(super) fn candidates<T: 'static>(&self) -> Vec<Known<T>> {
        let mut known = self.own.of::<T>();
        let own = known.len();
        for global in GLOBAL.of::<T>() {
            if known.iter().take(own).all(|other| other.name != global.name) {
                known.push(global);
            }
        }
        known.retain(|known| !self.is_disabled(&known.name));
        known.sort_by_key(|known| self.place(&known.name));
        known
    }

    fn first_that_takes<T: 'static>(&self, value: &T) -> Result<Choice<T>> {
        let built_in = self.place_of_built_in();
        for known in self.candidates::<T>() {
            // Where nothing is named, all that is registered comes before what is built in.
            if built_in < self.place(&known.name) {
                break;
            }
            if takes(&*known.handler, &known.name, value)? {
                return Ok(Choice::Registered(known));
            }
        }
        Ok(Choice::BuiltIn(self.formats))
    }

    fn named<T: 'static>(&self, name: &str, value: &T) -> Result<Choice<T>> {
        if let Some(format) = PayloadFormat::from_name(name).filter(|format| self.formats.includes(*format)) {
            return Ok(Choice::BuiltIn(Formats::only(format)));
        }
        let mut candidates = self.candidates::<T>();
        match candidates.iter().position(|known| &*known.name == name) {
            Some(at) => {
                let known = candidates.swap_remove(at);
                if takes(&*known.handler, name, value)? {
                    return Ok(Choice::Registered(known));
                }
                let message = format!("handler `{name}` does not take this value of `{}`", type_name::<T>());
                Err(CacheError::new(ErrorKind::Handler, message))
            }
            None => Err(self.unknown::<T>(name, &candidates)),
        }
    }

    fn unknown<T>(&self, name: &str, candidates: &[Known<T>]) -> CacheError {
        let built_in = [BINCODE, MESSAGEPACK].into_iter().filter(|name| !self.is_disabled(name));
        let there: Vec<&str> = candidates.iter().map(|known| &*known.name).chain(built_in).collect();
        let message = format!(
            "no handler {name:?} of `{}` is registered and enabled; there are: {}",
            type_name::<T>(),
            there.join(", ")
        );
        CacheError::new(ErrorKind::InvalidArgument, message)
    }

    /// Reads a value by what wrote it. `handler` tells the name of a handler that is not there.
    ///
    /// # Errors
    /// As [`decode_raw`]; `Handler` if what wrote it is not registered for `T`, is disabled, or fails.
    pub(crate) fn read<T: Storable>(
        &self,
        raw: Raw,
        core: &Core,
        handler: impl FnOnce() -> Option<String>,
        limits: &Limits,
    ) -> Result<T> {
        if let Some(format) = PayloadFormat::from_id(core.payload_format) {
            if !self.formats.includes(format) {
                return Err(gone::<T>(format.name()));
            }
            return decode_raw(raw, format, core.type_fingerprint, core.shape, limits);
        }
        self.read_registered(&raw, core, handler, limits)
    }

    /// Reads a value by the registered handler that wrote it.
    pub(super) fn read_registered<T: 'static>(
        &self,
        raw: &Raw,
        core: &Core,
        handler: impl FnOnce() -> Option<String>,
        limits: &Limits,
    ) -> Result<T> {
        if core.payload_format != BY_HANDLER {
            return Err(CacheError::new(ErrorKind::Serialization, "it was written in another way than it is read"));
        }
        let known = self.own.marked::<T>(core.shape).or_else(|| GLOBAL.marked::<T>(core.shape));
        match known.filter(|known| !self.is_disabled(&known.name)) {
            Some(Known { name, handler }) => read_by(&*handler, &name, raw, limits),
            None => Err(gone::<T>(&handler().unwrap_or_default())),
        }
    }
}

pub(super) fn gone<T>(name: &str) -> CacheError {
    let message = format!(
        "what handler `{name}` wrote of a `{}` cannot be read: it is not registered, or is in handlers.disabled",
        type_name::<T>()
    );
    CacheError::new(ErrorKind::Handler, message)
}
