//! What writes and reads the values of one type that is not left to serde: the traits that users implement, and how their
//! implementations are called.

use std::any::type_name;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Encoded;
use super::payload::BY_HANDLER;
use super::{Raw, type_fingerprint};
use crate::config::{Limits, check_handler_name, is_built_in};
use crate::entry::Core;
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::vfs::publish::PrivateDir;
use crate::util::digest::checksum;
use crate::util::threads::caught;

/// What went wrong in a [`Handler`]: any error, a text too. The cache wraps it in a [`CacheError`](crate::CacheError) of the
/// kind [`Handler`](crate::ErrorKind::Handler).
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// Writes the values of one type as bytes and reads them back, in a format of its own.
///
/// Registered for a cache ([`Cache::register_handler`](crate::Cache::register_handler)) or for all caches of the process
/// ([`register_handler`](crate::register_handler)), it stands in for serde wherever a value of exactly this type is put or
/// fetched. For a type that serde does not know, it is given at each call: [`Cache::put_by`](crate::Cache::put_by),
/// [`Cache::get_by`](crate::Cache::get_by), or the option `handler` of an attribute.
///
/// Its bytes are treated as all others: compressed, bounded by `limits.max_value_bytes`, and verified by their checksum
/// before `read` sees them. A panic in it is an error of the cache. No lock is held while it runs.
///
/// ```
/// use std::io::{Read, Write};
/// use cacheness::Cache;
/// use cacheness::handler::{Handler, HandlerError};
///
/// /// No serde in sight.
/// #[derive(Debug, PartialEq)]
/// struct Table(Vec<Vec<String>>);
///
/// struct Csv;
///
/// impl Handler for Csv {
///     type Value = Table;
///
///     fn name(&self) -> &str {
///         "csv"
///     }
///
///     fn write(&self, table: &Table, to: &mut dyn Write) -> Result<(), HandlerError> {
///         table.0.iter().try_for_each(|row| Ok(writeln!(to, "{}", row.join(","))?))
///     }
///
///     fn read(&self, from: &mut dyn Read) -> Result<Table, HandlerError> {
///         let text = std::io::read_to_string(from)?;
///         Ok(Table(text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()))
///     }
/// }
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// let table = Table(vec![vec!["a".into(), "b".into()]]);
/// cache.put_by(&Csv, "table", &table, Default::default())?;
/// assert_eq!(cache.get_by(&Csv, "table")?, Some(table));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of values",
    label = "implement `cacheness::handler::Handler` for it"
)]
#[doc(alias = "CacheHandler")]
pub trait Handler: Send + Sync {
    /// The type whose values it handles.
    type Value: 'static;

    /// What entries have for [`handler_used`](crate::Entry::handler_used): 1 to 64 of the characters `a-z A-Z 0-9 . _ - :`.
    ///
    /// It is stored with each value and says who may read it: **a name is for ever**. A handler whose format changes takes
    /// a new one, and the old values are misses then.
    fn name(&self) -> &str;

    /// Whether it takes this value; one that it does not take is offered to the next handler of the type. Not asked when
    /// values are read.
    fn can_handle(&self, value: &Self::Value) -> bool {
        let _ = value;
        true
    }

    /// Writes a value. Past `limits.max_value_bytes` the stream refuses to take more, and nothing is stored.
    ///
    /// # Errors
    /// Whatever keeps it from writing; nothing is stored then.
    fn write(&self, value: &Self::Value, to: &mut dyn io::Write) -> Result<(), HandlerError>;

    /// Reads what [`write`](Self::write) wrote, all of it: bytes that are left make the value a miss.
    ///
    /// # Errors
    /// Whatever keeps it from reading; the value is a miss then.
    fn read(&self, from: &mut dyn io::Read) -> Result<Self::Value, HandlerError>;
}

macro_rules! passed_on {
    ($($pointer:ty),*) => {$(
        impl<H: Handler + ?Sized> Handler for $pointer {
            type Value = H::Value;

            fn name(&self) -> &str {
                (**self).name()
            }

            fn can_handle(&self, value: &H::Value) -> bool {
                (**self).can_handle(value)
            }

            fn write(&self, value: &H::Value, to: &mut dyn io::Write) -> Result<(), HandlerError> {
                (**self).write(value, to)
            }

            fn read(&self, from: &mut dyn io::Read) -> Result<H::Value, HandlerError> {
                (**self).read(from)
            }
        }
    )*};
}

passed_on!(&H, Arc<H>, Box<H>);

// Handlers for libraries that only know paths.

const LONGEST_EXTENSION: usize = 16;

/// Saves the values of one type as files and loads them again, for libraries that only know paths. [`ByFile`] makes it a
/// [`Handler`].
///
/// ```
/// use std::path::Path;
/// use cacheness::Cache;
/// use cacheness::handler::{ByFile, FileHandler, HandlerError};
///
/// #[derive(Debug, PartialEq)]
/// struct Image(Vec<u8>);
///
/// /// As if it were a library that has `open(path)` and `save(path)`.
/// struct Png;
///
/// impl FileHandler for Png {
///     type Value = Image;
///
///     fn name(&self) -> &str {
///         "png"
///     }
///
///     fn extension(&self) -> &str {
///         "png"
///     }
///
///     fn save(&self, image: &Image, path: &Path) -> Result<(), HandlerError> {
///         Ok(std::fs::write(path, &image.0)?)
///     }
///
///     fn load(&self, path: &Path) -> Result<Image, HandlerError> {
///         Ok(Image(std::fs::read(path)?))
///     }
/// }
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// let image = Image(vec![1, 2, 3]);
/// cache.put_by(&ByFile(Png), "image", &image, Default::default())?;
/// assert_eq!(cache.get_by(&ByFile(Png), "image")?, Some(image));
/// # Ok(())
/// # }
/// ```
#[doc(alias = "StorageHandler")]
pub trait FileHandler: Send + Sync {
    /// The type whose values it handles.
    type Value: 'static;

    /// As [`Handler::name`].
    fn name(&self) -> &str;

    /// What the name of a file ends with, without the dot, as far as the library looks at it: at most 16 letters, digits
    /// and dots, the first of them no dot. Empty for none.
    fn extension(&self) -> &str;

    /// As [`Handler::can_handle`].
    fn can_handle(&self, value: &Self::Value) -> bool {
        let _ = value;
        true
    }

    /// Writes a value to a file, which is there and empty. It may be replaced; what else is made beside it is removed.
    ///
    /// # Errors
    /// Whatever keeps it from writing; nothing is stored then.
    fn save(&self, value: &Self::Value, path: &Path) -> Result<(), HandlerError>;

    /// Reads what [`save`](Self::save) wrote. The file is gone when this returns: what is read later must be read now.
    ///
    /// # Errors
    /// Whatever keeps it from reading; the value is a miss then.
    fn load(&self, path: &Path) -> Result<Self::Value, HandlerError>;
}

/// A [`FileHandler`] as a [`Handler`], by way of a file in the system's directory for temporary files: in a directory of its
/// own that only its owner may enter, and gone when the call is over, also by a panic. There is an example at
/// [`FileHandler`].
///
/// Values pass through that directory as they are, and stay there if the process is killed meanwhile. A limit of
/// `limits.max_value_bytes` is noticed when the file is saved.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByFile<H>(pub H);

impl<H: FileHandler> ByFile<H> {
    fn place(&self) -> Result<(PrivateDir, PathBuf), HandlerError> {
        let extension = self.0.extension();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
        if extension.len() > LONGEST_EXTENSION || extension.starts_with('.') || !extension.bytes().all(is_plain) {
            let rule = "it is at most 16 letters, digits and dots, the first of them no dot";
            return Err(format!("no file can have the extension {extension:?}: {rule}").into());
        }
        let dir =
            PrivateDir::new().map_err(|error| format!("cannot make a directory for a temporary file: {error}"))?;
        let dot = if extension.is_empty() { "" } else { "." };
        let path = dir.join(&format!("value{dot}{extension}"));
        Ok((dir, path))
    }
}

impl<H: FileHandler> Handler for ByFile<H> {
    type Value = H::Value;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn can_handle(&self, value: &H::Value) -> bool {
        self.0.can_handle(value)
    }

    fn write(&self, value: &H::Value, to: &mut dyn io::Write) -> Result<(), HandlerError> {
        let (dir, path) = self.place()?;
        // Made here, so that only the owner may read it, whatever the library says.
        dir.fill(&path, &mut io::empty())?;
        self.0.save(value, &path)?;
        Ok(dir.copy_out(&path, to)?)
    }

    fn read(&self, from: &mut dyn io::Read) -> Result<H::Value, HandlerError> {
        let (dir, path) = self.place()?;
        dir.fill(&path, from)?;
        self.0.load(&path)
    }
}

// Calls of a [`Handler`], which is the code of somebody else: bounded, and shielded against panics.

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
pub(crate) fn mark_of(name: &str) -> u64 {
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
            body: None,
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
    let Raw::Bytes(bytes) = raw else { return Err(failed(name, "read", "the bytes are those of another kind".into())) };
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
pub(crate) fn shielded<R>(name: &str, method: &str, work: impl FnOnce() -> Result<R, HandlerError>) -> Result<R> {
    match caught(work) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(name, method, error)),
        Err(says) => Err(failed(name, method, format!("it panicked: {says}").into())),
    }
}

pub(crate) fn failed(name: &str, method: &str, cause: HandlerError) -> CacheError {
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
