//! Which format a native value is written in, and what reads it.
//!
//! A registered handler of the type comes first, as for types of serde; else it is the first format of the type that the
//! configuration lets.

use std::any::type_name;

use super::custom::{mark_of, takes};
use super::payload::NATIVE;
use super::proof::Proven;
use super::registry::{Handlers, Known};
use super::{Encoded, Raw, type_fingerprint, write_by};
use crate::codec::Parts;
use crate::codec::native::{self, Body, Native, NativeFormat, NativeOptions, Source};
use crate::config::Limits;
use crate::entry::Core;
use crate::error::{CacheError, ErrorKind, Result};

/// Who writes a native value.
enum Choice<T> {
    Format(NativeFormat),
    Registered(Known<T>),
}

impl Handlers {
    /// Writes a value by the handler or in the format of this name, or by what comes first.
    ///
    /// # Errors
    /// `Limit` if it is too large; `Handler` if the chosen one fails, or all are disabled; `InvalidArgument` if there is none of this
    /// name for `T`.
    pub(crate) fn write_native<'v, T: Native>(
        &self,
        value: &'v T,
        wanted: Option<&str>,
        limits: &Limits,
    ) -> Result<Proven<'v, T>> {
        let format = match self.choose(value, wanted)? {
            Choice::Registered(Known { handler, .. }) => return write_by(&*handler, value, limits).map(Proven::unseen),
            Choice::Format(format) => format,
        };
        let options = NativeOptions { format, parquet: self.parquet(), limit: limits.max_value_bytes };
        Ok(Proven::unseen(Encoded {
            bytes: Parts::default(),
            payload_format: NATIVE,
            type_fingerprint: type_fingerprint::<T>(),
            shape: mark_of(format.name()),
            handler: Some(format.name().into()),
            body: Some(Body::of(value, options, limits.max_value_bytes)?),
        }))
    }

    fn choose<T: Native>(&self, value: &T, wanted: Option<&str>) -> Result<Choice<T>> {
        let formats = self.formats_of::<T>();
        let first = formats.first().map_or(usize::MAX, |format| self.place(format.name()));
        for known in self.candidates::<T>() {
            let comes_first = wanted.map_or(first >= self.place(&known.name), |wanted| *wanted == *known.name);
            if comes_first && takes(&*known.handler, &known.name, value)? {
                return Ok(Choice::Registered(known));
            }
        }
        let chosen = formats.iter().find(|format| wanted.is_none_or(|wanted| format.name() == wanted));
        chosen.map(|format| Choice::Format(*format)).ok_or_else(|| no_format::<T>(wanted, &formats))
    }

    /// The formats of a type that are enabled, in the order in which they are asked for.
    fn formats_of<T: Native>(&self) -> Vec<NativeFormat> {
        let mut formats: Vec<_> =
            T::FORMATS.iter().copied().filter(|format| !self.is_disabled(format.name())).collect();
        formats.sort_by_key(|format| self.place(format.name()));
        formats
    }

    /// Reads a value by what wrote it. `handler` tells the name of a handler that is not there.
    ///
    /// # Errors
    /// `Handler` if what wrote it is not registered for `T`, is disabled, or fails; `Serialization` if serde wrote it.
    pub(crate) fn read_native<T: Native>(
        &self,
        raw: Raw,
        core: &Core,
        handler: impl FnOnce() -> Option<String>,
        limits: &Limits,
    ) -> Result<T> {
        let Some(format) = native::format_of(core) else { return self.read_registered(&raw, core, handler, limits) };
        let source = match raw {
            Raw::File(source) => source,
            Raw::Bytes(bytes) => Source::of_bytes(bytes),
            Raw::Array(head, numbers) => Source::of_array(head, numbers),
            Raw::Numbers(_) => return Err(CacheError::new(ErrorKind::Serialization, "it is a vector of numbers")),
        };
        match self.formats_of::<T>().contains(&format) {
            true => native::read(format, source, limits.max_value_bytes),
            false => Err(super::registry::gone::<T>(format.name())),
        }
    }
}

fn no_format<T: Native>(wanted: Option<&str>, enabled: &[NativeFormat]) -> CacheError {
    let names = |formats: &[NativeFormat]| formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ");
    let of = type_name::<T>();
    match wanted {
        Some(wanted) => {
            let message =
                format!("no handler or format {wanted:?} of `{of}` is enabled; there are: {}", names(enabled));
            CacheError::new(ErrorKind::InvalidArgument, message)
        }
        None => {
            let all = names(T::FORMATS);
            let message = format!("`{of}` cannot be stored: all of its formats are in handlers.disabled ({all})");
            CacheError::new(ErrorKind::Handler, message)
        }
    }
}
