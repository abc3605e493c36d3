//! Which handler writes a value, and which one reads it: the registries, what is built in, and the configuration's say.

use std::any::type_name;

use super::codec::encode_as;
use super::evidence::Evidence;
use super::formats::Formats;
use super::payload::{BY_HANDLER, PayloadFormat};
use super::proof::Proven;
use super::registry::{GLOBAL, HandlerInfo, Known, Registry};
use super::stream::{read_by, takes, write_by};
use super::{Handler, Raw, Storable, decode_raw};
use crate::config::limits::Limits;
use crate::config::{HandlerConfig, is_built_in};
use crate::entry::Core;
use crate::error::{CacheError, ErrorKind, Result};

/// The handlers of a cache.
#[derive(Debug)]
pub(crate) struct Handlers {
    own: Registry,
    config: HandlerConfig,
    formats: Formats,
}

/// Who writes a value.
enum Choice<T> {
    BuiltIn(Formats),
    Registered(Known<T>),
}

impl Handlers {
    pub(crate) fn new(config: &HandlerConfig) -> Self {
        let formats = Formats::of(&config.priority, &config.disabled);
        Self { own: Registry::new(), config: config.clone(), formats }
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
        all.sort_by_key(|info| if info.builtin { self.place_of_built_in() } else { self.place(&info.name) });
        if self.formats.first() == PayloadFormat::MessagePack {
            let is_bincode = |info: &HandlerInfo| info.builtin && &*info.name == PayloadFormat::Bincode.name();
            if let Some(at) = all.iter().position(is_bincode).filter(|at| at + 1 < all.len()) {
                all.swap(at, at + 1);
            }
        }
        all
    }

    fn is_disabled(&self, name: &str) -> bool {
        self.config.disabled.iter().any(|disabled| disabled == name)
    }

    /// Where the configuration puts it; what it does not name comes last.
    fn place(&self, name: &str) -> usize {
        self.config.priority.iter().position(|named| named == name).unwrap_or(usize::MAX)
    }

    fn place_of_built_in(&self) -> usize {
        self.config.priority.iter().position(|named| is_built_in(named)).unwrap_or(usize::MAX)
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
    fn candidates<T: 'static>(&self) -> Vec<Known<T>> {
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
        let built_in = HandlerInfo::all_built_in().map(|info| info.name);
        let built_in = built_in.iter().filter(|name| !self.is_disabled(name));
        let there: Vec<&str> = candidates.iter().map(|known| &known.name).chain(built_in).map(|name| &**name).collect();
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
        if core.payload_format != BY_HANDLER {
            return Err(CacheError::new(ErrorKind::Serialization, "its payload format is not known"));
        }
        let known = self.own.marked::<T>(core.shape).or_else(|| GLOBAL.marked::<T>(core.shape));
        match known.filter(|known| !self.is_disabled(&known.name)) {
            Some(Known { name, handler }) => read_by(&*handler, &name, &raw, limits),
            None => Err(gone::<T>(&handler().unwrap_or_default())),
        }
    }
}

fn gone<T>(name: &str) -> CacheError {
    let message = format!(
        "what handler `{name}` wrote of a `{}` cannot be read: it is not registered, or is in handlers.disabled",
        type_name::<T>()
    );
    CacheError::new(ErrorKind::Handler, message)
}
