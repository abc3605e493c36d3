//! Calls of a [`Handler`], which is the code of somebody else: bounded, and shielded against panics.

use std::any::type_name;
use std::io;
use std::sync::Arc;

use super::codec::Encoded;
use super::custom::{Handler, HandlerError};
use super::payload::BY_HANDLER;
use super::{Raw, type_fingerprint};
use crate::config::limits::Limits;
use crate::config::{check_handler_name, is_built_in};
use crate::entry::Core;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest::checksum;
use crate::util::threads::caught;

/// The name of a handler, which is one that it may have.
///
/// # Errors
/// `InvalidArgument` if it is none, or that of a built-in handler; `Handler` if it panics.
pub(crate) fn name_of<T: 'static>(handler: &dyn Handler<Value = T>) -> Result<&str> {
    let name = shielded("a handler", "name", || Ok(handler.name()))?;
    let refusal = match check_handler_name(name) {
        Err(rule) => rule,
        Ok(()) if is_built_in(name) => "it is built in, choose another name".to_owned(),
        Ok(()) => return Ok(name),
    };
    Err(CacheError::new(ErrorKind::InvalidArgument, format!("no handler can be named {name:?}: {refusal}")))
}

/// Whether a handler that is given is the one that is asked for by name.
///
/// # Errors
/// `InvalidArgument` if it has another name, and as [`name_of`].
pub(crate) fn check_is_named<T: 'static>(handler: &dyn Handler<Value = T>, wanted: &str) -> Result<()> {
    let name = name_of(handler)?;
    if name == wanted {
        return Ok(());
    }
    let message = format!("handler `{name}` is given and handler {wanted:?} is asked for: leave one of them out");
    Err(CacheError::new(ErrorKind::InvalidArgument, message))
}

/// What stands for a handler in an entry's fixed part.
pub(super) fn mark_of(name: &str) -> u64 {
    checksum(name.as_bytes())
}

/// Whether it takes a value.
///
/// # Errors
/// `Handler` if it panics.
pub(super) fn takes<T: 'static>(handler: &dyn Handler<Value = T>, name: &str, value: &T) -> Result<bool> {
    shielded(name, "can_handle", || Ok(handler.can_handle(value)))
}

/// Writes a value by a handler.
///
/// # Errors
/// `Handler` if it fails or panics; `Limit` if the value is longer than `limits` allow; `InvalidArgument` as [`name_of`].
pub(crate) fn write_by<T: 'static>(
    handler: &dyn Handler<Value = T>,
    value: &T,
    limits: &Limits,
) -> Result<Encoded<'static>> {
    let name = name_of(handler)?;
    let mut sink = Sink { bytes: Vec::new(), room: limits.max_value_bytes, refused: None };
    let written = shielded(name, "write", || handler.write(value, &mut sink));
    match (sink.refused, written) {
        // Whatever it made of the refusal, and also if it made nothing of it.
        (Some(Refusal::TooLong), _) => {
            let limit = limits.max_value_bytes;
            let message = format!(
                "handler `{name}` wrote more than {limit} bytes of a `{}`, the limit `max_value_bytes`",
                type_name::<T>()
            );
            Err(CacheError::new(ErrorKind::Limit, message))
        }
        (Some(Refusal::NoMemory), _) => {
            let message = format!("no memory for the bytes that handler `{name}` writes of a `{}`", type_name::<T>());
            Err(CacheError::new(ErrorKind::Limit, message))
        }
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Ok(Encoded {
            bytes: sink.bytes.into(),
            payload_format: BY_HANDLER,
            type_fingerprint: type_fingerprint::<T>(),
            shape: mark_of(name),
            handler: Some(Arc::from(name)),
        }),
    }
}

/// Whether a value was written by the handler of this name, as a `T`.
pub(crate) fn is_written_by<T: 'static>(core: &Core, name: &str) -> bool {
    core.payload_format == BY_HANDLER && core.shape == mark_of(name) && core.type_fingerprint == type_fingerprint::<T>()
}

/// Reads a value that a handler of this name wrote.
///
/// # Errors
/// `Handler` if it fails, panics or leaves bytes unread; `Limit` if they are more than `limits` allow.
pub(crate) fn read_by<T: 'static>(
    handler: &dyn Handler<Value = T>,
    name: &str,
    raw: &Raw,
    limits: &Limits,
) -> Result<T> {
    let Raw::Bytes(bytes) = raw else { return Err(failed(name, "read", "the bytes are a vector of numbers".into())) };
    let (len, limit) = (bytes.len(), limits.max_value_bytes);
    if len as u64 > limit {
        let message = format!("a value of handler `{name}` takes {len} bytes, the limit `max_value_bytes` is {limit}");
        return Err(CacheError::new(ErrorKind::Limit, message));
    }
    let mut rest = bytes.as_slice();
    let value = shielded(name, "read", || handler.read(&mut rest))?;
    match rest.len() {
        0 => Ok(value),
        left => Err(failed(name, "read", format!("it left {left} of {len} bytes").into())),
    }
}

/// Turns errors and panics of a handler's method into errors of the cache.
fn shielded<R>(name: &str, method: &str, work: impl FnOnce() -> Result<R, HandlerError>) -> Result<R> {
    match caught(work) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(name, method, error)),
        Err(says) => Err(failed(name, method, format!("it panicked: {says}").into())),
    }
}

fn failed(name: &str, method: &str, cause: HandlerError) -> CacheError {
    CacheError::caused_by(ErrorKind::Handler, format!("handler `{name}` failed in `{method}`: {cause}"), cause)
}

/// Takes what a handler writes, as long as there is room for it.
struct Sink {
    bytes: Vec<u8>,
    room: u64,
    refused: Option<Refusal>,
}

#[derive(Clone, Copy)]
enum Refusal {
    TooLong,
    NoMemory,
}

impl Sink {
    fn take(&mut self, part: &[u8]) -> Result<(), Refusal> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        self.room = self.room.checked_sub(part.len() as u64).ok_or(Refusal::TooLong)?;
        self.bytes.try_reserve(part.len()).map_err(|_| Refusal::NoMemory)?;
        self.bytes.extend_from_slice(part);
        Ok(())
    }
}

impl io::Write for Sink {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        match self.take(part) {
            Ok(()) => Ok(part.len()),
            Err(refusal) => {
                // What was taken is of no use any more.
                (self.refused, self.bytes) = (Some(refusal), Vec::new());
                let message = "the value is longer than `max_value_bytes`, or than memory";
                Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
