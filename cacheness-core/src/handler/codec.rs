use std::any::{Any, type_name};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::formats::Formats;
use super::guard::SPARE_ELEMENTS;
use super::payload::{PayloadFormat, Written, read, write};
use super::plain::{self, Numbers};
use super::proven::{Plan, failed, plan, succeeded};
use super::shape::{Trace, trace};
use super::{Storable, type_fingerprint};
use crate::error::{CacheError, ErrorKind, Result};
use crate::limits::Limits;
use crate::parts::Parts;

/// A value as bytes, and what must be known to read them. Those of a vector of numbers are borrowed from it.
#[derive(Debug)]
pub(crate) struct Encoded<'v> {
    pub(crate) bytes: Parts<'v>,
    /// The number that is stored for the way they were written.
    pub(crate) payload_format: u8,
    pub(crate) type_fingerprint: u64,
    pub(crate) shape: u64,
    /// The handler that wrote them, if it is a registered or given one.
    pub(crate) handler: Option<Arc<str>>,
}

impl Encoded<'_> {
    /// The same without the value, for those who go on after it: a copy where it was borrowed.
    pub(crate) fn into_owned(self) -> Encoded<'static> {
        Encoded { bytes: self.bytes.into_owned(), ..self }
    }
}

/// What is read of a value before it is one.
#[derive(Debug)]
pub(crate) enum Raw {
    Bytes(Vec<u8>),
    /// A vector of numbers, all but its type; see [`numbers_in`](super::numbers_in).
    Numbers(Numbers),
}

/// Writes a value.
///
/// # Errors
///
/// `Serialization` if the type refuses, panics, nests too deep or does not read back what it wrote; `Limit` if the value
/// is longer than `limits` allow.
pub(crate) fn encode<'v, T: Storable>(value: &'v T, limits: &Limits) -> Result<Encoded<'v>> {
    encode_as(value, Formats::DEFAULT, limits)
}

/// [`encode`] in the first of these formats that gives the value back.
///
/// # Errors
///
/// As [`encode`].
pub(super) fn encode_as<'v, T: Storable>(value: &'v T, formats: Formats, limits: &Limits) -> Result<Encoded<'v>> {
    shielded::<T, _>("Serialize", || {
        if formats.first() == PayloadFormat::Bincode
            && let Some(shape) = plain::shape(value)
        {
            check_size::<T>(shape.size, limits)?;
            if let Some(bytes) = plain::write(value) {
                return Ok(encoded::<T>(bytes, PayloadFormat::Bincode, shape));
            }
        }
        let shape = trace::<false>(value).map_err(|cause| unwritable::<T>(cause))?;
        match plan::<T>(&shape, formats) {
            Plan::Write(format) => put_down(value, shape, format, limits),
            Plan::Prove(format) => prove(value, shape, (format, formats), limits),
            Plan::Refuse(refusal) => Err(refusal),
        }
    })
}

/// [`decode`] of what was read already; the elements of a vector of numbers are not touched.
///
/// # Errors
///
/// As [`decode`].
pub(crate) fn decode_raw<T: Storable>(
    raw: Raw,
    format: PayloadFormat,
    type_fingerprint: u64,
    shape: u64,
    limits: &Limits,
) -> Result<T> {
    match raw {
        Raw::Bytes(bytes) => decode(&bytes, format, type_fingerprint, shape, limits),
        Raw::Numbers(numbers) => numbers.into_value().ok_or_else(|| error::<T>("is not the type of the stored value")),
    }
}

/// Reads a value that [`encode`] wrote.
///
/// # Errors
///
/// `Serialization` if the bytes are those of another type or of another version of it, damaged, or not accepted by the
/// type; `Limit` if they are longer than `limits` allow.
pub(super) fn decode<T: Storable>(
    bytes: &[u8],
    format: PayloadFormat,
    type_fingerprint: u64,
    shape: u64,
    limits: &Limits,
) -> Result<T> {
    if type_fingerprint != self::type_fingerprint::<T>() {
        return Err(error::<T>("is not the type of the stored value"));
    }
    check_size::<T>(bytes.len() as u64, limits)?;
    shielded::<T, _>("Deserialize", || {
        if format == PayloadFormat::Bincode
            && let Some(value) = plain::read(bytes, shape)
        {
            return Ok(value);
        }
        let value: T = read(bytes, format).map_err(|cause| unreadable::<T>(cause))?;
        if fingerprint(&value, format)? == shape {
            Ok(value)
        } else {
            Err(error::<T>("is another version of the type that wrote the value"))
        }
    })
}

/// What is compared to know that a read value is the written one.
fn fingerprint<T: Storable>(value: &T, format: PayloadFormat) -> Result<u64> {
    let trace = match format {
        PayloadFormat::Bincode => trace::<false>(value),
        PayloadFormat::MessagePack => trace::<true>(value),
    };
    Ok(trace.map_err(|cause| unwritable::<T>(cause))?.hash)
}

fn put_down<T: Storable>(value: &T, shape: Trace, format: PayloadFormat, limits: &Limits) -> Result<Encoded<'static>> {
    let expected = match format {
        PayloadFormat::Bincode => shape.size,
        // Nothing is shorter than a ninth of its bincode: a length of eight bytes becomes one.
        PayloadFormat::MessagePack => shape.size / 9,
    };
    check_size::<T>(expected, limits)?;
    let written = write(value, format, expected, limits.max_value_bytes).map_err(|cause| unwritable::<T>(cause))?;
    let bytes = match written {
        Written::Bytes(bytes) => bytes,
        Written::TooLong(length) => return Err(too_large::<T>(length, limits)),
    };
    if shape.elements > bytes.len() as u64 + SPARE_ELEMENTS {
        let message = format!("`{}` has {} elements without contents", type_name::<T>(), shape.elements);
        return Err(CacheError::new(ErrorKind::Limit, format!("{message}, the limit is {SPARE_ELEMENTS}")));
    }
    let trace = if format == PayloadFormat::Bincode { shape } else { contents(value)? };
    Ok(encoded::<T>(bytes, format, trace))
}

fn contents<T: Storable>(value: &T) -> Result<Trace> {
    trace::<true>(value).map_err(|cause| unwritable::<T>(cause))
}

fn encoded<'v, T: Storable>(bytes: impl Into<Parts<'v>>, format: PayloadFormat, trace: Trace) -> Encoded<'v> {
    Encoded {
        bytes: bytes.into(),
        payload_format: format.id(),
        type_fingerprint: type_fingerprint::<T>(),
        shape: trace.hash,
        handler: None,
    }
}

/// Writes a value in the first format that gives it back.
fn prove<T: Storable>(
    value: &T,
    shape: Trace,
    (planned, formats): (PayloadFormat, Formats),
    limits: &Limits,
) -> Result<Encoded<'static>> {
    let contents = contents(value)?;
    let attempt = |format| {
        let encoded = put_down(value, shape, format, limits)?;
        read_back::<T>(encoded, format, contents).map(|encoded| (encoded, format))
    };
    let mut outcome = attempt(planned);
    let too_large = outcome.as_ref().err().filter(|error| error.is_limit()).cloned();
    if outcome.is_err()
        && let Some(other) = formats.after(planned)
    {
        outcome = attempt(other);
    }
    match (outcome, too_large) {
        (Ok((encoded, format)), None) => {
            succeeded::<T>(&shape, planned, format);
            Ok(encoded)
        }
        // It fits into the other format, which says nothing about this one.
        (Ok((encoded, _)), Some(_)) => Ok(encoded),
        (Err(_), Some(too_large)) => Err(too_large),
        (Err(error), None) if error.is_limit() => Err(error),
        (Err(cause), None) => Err(refuse::<T>(cause, formats)),
    }
}

fn refuse<T: Storable>(cause: CacheError, formats: Formats) -> CacheError {
    let message = format!("`{}` does not read back what it wrote{}: {cause}", type_name::<T>(), formats.told());
    let refusal = CacheError::caused_by(ErrorKind::Serialization, message, cause);
    // That it failed in one format says nothing about the other.
    if formats == Formats::DEFAULT {
        failed::<T>(&refusal);
    }
    refusal
}

fn read_back<T: Storable>(
    encoded: Encoded<'static>,
    format: PayloadFormat,
    contents: Trace,
) -> Result<Encoded<'static>> {
    shielded::<T, _>("Deserialize", || {
        let value: T = read(&encoded.bytes.contiguous(), format).map_err(|cause| unreadable::<T>(cause))?;
        let same = self::contents(&value)?.hash == contents.hash;
        if same { Ok(encoded) } else { Err(error::<T>("became another value")) }
    })
}

/// Turns a panic of the type's own code into an error. What the code left half done is dropped with the value.
fn shielded<T, R>(what: &str, work: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let says = panic_message(&*panic);
        Err(error::<T>(&format!("panicked in `{what}`: {says}")))
    })
}

pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn check_size<T>(size: u64, limits: &Limits) -> Result<()> {
    if size > limits.max_value_bytes { Err(too_large::<T>(size, limits)) } else { Ok(()) }
}

fn too_large<T>(size: u64, limits: &Limits) -> CacheError {
    let limit = limits.max_value_bytes;
    let message = format!("`{}` takes {size} bytes, the limit `max_value_bytes` is {limit}", type_name::<T>());
    CacheError::new(ErrorKind::Limit, message)
}

fn error<T>(what: &str) -> CacheError {
    CacheError::new(ErrorKind::Serialization, format!("`{}` {what}", type_name::<T>()))
}

fn unwritable<T>(cause: impl Into<Box<dyn Error + Send + Sync>>) -> CacheError {
    caused::<T>("cannot be written", cause.into())
}

fn unreadable<T>(cause: impl Into<Box<dyn Error + Send + Sync>>) -> CacheError {
    caused::<T>("cannot be read back", cause.into())
}

fn caused<T>(what: &str, cause: Box<dyn Error + Send + Sync>) -> CacheError {
    CacheError::caused_by(ErrorKind::Serialization, format!("`{}` {what}: {cause}", type_name::<T>()), cause)
}
