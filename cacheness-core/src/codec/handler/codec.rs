//! A value to bytes and back by serde: written, read back and compared, and read with the shape that it was written with.

use std::any::{TypeId, type_name};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};

use super::guard::{SPARE_ELEMENTS, SPOILT, Spoiler};
use super::payload::{Formats, PayloadFormat, Written, lost, read, read_spoilt, write};
use super::plain::{self, Numbers};
use super::proof::{Compare, Expected, Proven};
use super::shape::{SHAPE, Tag, Trace, mix, trace, trace_with_tags, variant};
use super::{Storable, type_fingerprint};
use crate::codec::Parts;
use crate::config::limits::Limits;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest::checksum;
use crate::util::threads::caught;

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

/// Writes a value, which is looked at as far as serde shows it.
///
/// # Errors
///
/// `Serialization` if the type refuses, panics, nests too deep or does not read back what it wrote; `Limit` if the value
/// is longer than `limits` allow.
pub(crate) fn encode<'v, T: Storable>(value: &'v T, limits: &Limits) -> Result<Encoded<'v>> {
    encode_as(value, None, Formats::DEFAULT, limits).map(|proven| proven.encoded)
}

/// [`encode`] in the first of these formats that gives the value back.
///
/// # Errors
///
/// As [`encode`].
pub(super) fn encode_as<'v, T: Storable>(
    value: &'v T,
    compare: Option<Compare<T>>,
    formats: Formats,
    limits: &Limits,
) -> Result<Proven<'v, T>> {
    shielded::<T, _>("Serialize", || {
        let first = formats.first();
        if first == PayloadFormat::Bincode
            && let Some(shape) = plain::shape(value)
        {
            check_size::<T>(shape.size, limits)?;
            if let Some(bytes) = plain::write(value) {
                return Ok(Proven::unseen(encoded::<T>(bytes, PayloadFormat::Bincode, shape.hash)));
            }
        }
        let shape = trace::<SHAPE>(value).map_err(unwritable::<T>)?;
        if first == PayloadFormat::Bincode && is_faithful::<T>() {
            return put_down(value, shape, first, limits).map(Proven::unseen);
        }
        prove(&Expected::of(value, compare)?, value, shape, formats, limits)
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
        let value: T = read(bytes, format).map_err(unreadable::<T>)?;
        if fingerprint(&value, format)? == shape {
            Ok(value)
        } else {
            Err(error::<T>("is another version of the type that wrote the value"))
        }
    })
}

/// What is compared to know that a read value is the written one.
fn fingerprint<T: Storable>(value: &T, format: PayloadFormat) -> Result<u64> {
    let hash = match format {
        PayloadFormat::Bincode => trace::<SHAPE>(value).map_err(unwritable::<T>)?.hash,
        PayloadFormat::MessagePack | PayloadFormat::Readable => {
            let (trace, tags) = trace_with_tags(value).map_err(unwritable::<T>)?;
            trace.hash.wrapping_add(tag_names(value, tags, format))
        }
    };
    Ok(hash.wrapping_add(variant(value)))
}

fn put_down<T: Storable>(value: &T, shape: Trace, format: PayloadFormat, limits: &Limits) -> Result<Encoded<'static>> {
    let expected = match format {
        PayloadFormat::Bincode => shape.size,
        // Nothing is shorter than a ninth of its bincode: a length of eight bytes becomes one.
        PayloadFormat::MessagePack => shape.size / 9,
        PayloadFormat::Readable => 0,
    };
    check_size::<T>(expected, limits)?;
    let written = write(value, format, expected, limits.max_value_bytes).map_err(unwritable::<T>)?;
    let bytes = match written {
        Written::Bytes(bytes) => bytes,
        Written::TooLong(length) => return Err(too_large::<T>(length, limits)),
    };
    if shape.elements > bytes.len() as u64 + SPARE_ELEMENTS {
        let message = format!("`{}` has {} elements without contents", type_name::<T>(), shape.elements);
        return Err(CacheError::new(ErrorKind::Limit, format!("{message}, the limit is {SPARE_ELEMENTS}")));
    }
    let shape = match format {
        PayloadFormat::Bincode => shape.hash.wrapping_add(variant(value)),
        PayloadFormat::MessagePack | PayloadFormat::Readable => fingerprint(value, format)?,
    };
    Ok(encoded::<T>(bytes, format, shape))
}

fn encoded<'v, T: Storable>(bytes: impl Into<Parts<'v>>, format: PayloadFormat, shape: u64) -> Encoded<'v> {
    Encoded {
        bytes: bytes.into(),
        payload_format: format.id(),
        type_fingerprint: type_fingerprint::<T>(),
        shape,
        handler: None,
    }
}

/// Writes a value in the first format that gives it back.
fn prove<T: Storable>(
    expected: &Expected<'_, T>,
    value: &T,
    shape: Trace,
    formats: Formats,
    limits: &Limits,
) -> Result<Proven<'static, T>> {
    let (mut losers, mut refusals, mut too_large) = (Vec::new(), Vec::new(), None);
    for format in formats.for_value::<T>(shape.needs_names) {
        let attempt = put_down(value, shape, format, limits).and_then(|encoded| expected.prove(encoded, format));
        match attempt {
            Ok(proven) => {
                lost::<T>(&losers);
                return Ok(proven);
            }
            // It may fit into another format, which says nothing about this one.
            Err(error) if error.is_limit() => too_large = too_large.or(Some(error)),
            Err(error) => {
                losers.push(format);
                refusals.push((format.id(), error));
            }
        }
    }
    // The more a format tells, the better the reason that it gives.
    match (too_large, refusals.into_iter().max_by_key(|(format, _)| *format)) {
        (Some(too_large), _) => Err(too_large),
        (None, Some((_, cause))) => Err(refuse::<T>(cause, formats)),
        (None, None) => Err(error::<T>("has no format to be written in")),
    }
}

fn refuse<T: Storable>(cause: CacheError, formats: Formats) -> CacheError {
    let message = format!("`{}` does not read back what it wrote{}: {cause}", type_name::<T>(), formats.told());
    CacheError::caused_by(ErrorKind::Serialization, message, cause)
}

/// Turns a panic of the type's own code into an error. What the code left half done is dropped with the value.
pub(super) fn shielded<T, R>(what: &str, work: impl FnOnce() -> Result<R>) -> Result<R> {
    caught(work).unwrap_or_else(|says| Err(error::<T>(&format!("panicked in `{what}`: {says}"))))
}

fn check_size<T>(size: u64, limits: &Limits) -> Result<()> {
    if size > limits.max_value_bytes { Err(too_large::<T>(size, limits)) } else { Ok(()) }
}

fn too_large<T>(size: u64, limits: &Limits) -> CacheError {
    let limit = limits.max_value_bytes;
    let message = format!("`{}` takes {size} bytes, the limit `max_value_bytes` is {limit}", type_name::<T>());
    CacheError::new(ErrorKind::Limit, message)
}

pub(super) fn error<T>(what: &str) -> CacheError {
    CacheError::new(ErrorKind::Serialization, format!("`{}` {what}", type_name::<T>()))
}

pub(super) fn unwritable<T>(cause: impl Into<Box<dyn Error + Send + Sync>>) -> CacheError {
    caused::<T>("cannot be written", cause.into())
}

pub(super) fn unreadable<T>(cause: impl Into<Box<dyn Error + Send + Sync>>) -> CacheError {
    caused::<T>("cannot be read back", cause.into())
}

fn caused<T>(what: &str, cause: Box<dyn Error + Send + Sync>) -> CacheError {
    CacheError::caused_by(ErrorKind::Serialization, format!("`{}` {what}: {cause}", type_name::<T>()), cause)
}

// The names of variants where a tag tells them apart: `#[serde(tag = "type")]`.
//
// Serde shows such a tag as a text, and not which variant it stands for. If two builds swap the names of two variants,
// text and contents stay as they were, and the other variant is read. But the type tells its names, in the order in which
// they are declared, to whoever shows it one that it does not know: in the error. So for each tag, once in a process, a
// value is read with that tag spoilt, and what the error says is part of the fingerprint.

/// More tags are asked for each time: no program has so many variants.
const MOST_KNOWN: usize = 10_000;

/// Names of the variants beside a tag, as a checksum of what the type says. Zero for a field that takes any text: it is no
/// tag, and is known for all of its texts at once.
static KNOWN: RwLock<BTreeMap<(TypeId, Tag), u64>> = RwLock::new(BTreeMap::new());

/// What the tags of a value stand for.
pub(super) fn tag_names<T: Storable>(value: &T, mut tags: Vec<Tag>, format: PayloadFormat) -> u64 {
    tags.sort_unstable();
    tags.dedup();
    let named = |tag: Tag| mix(tag.mark(), known::<T>(tag).unwrap_or_else(|| ask_names(value, tag, format)));
    tags.into_iter().fold(0, |sum, tag| sum.wrapping_add(named(tag)))
}

fn known<T: 'static>(tag: Tag) -> Option<u64> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let find = |tag| known.get(&(TypeId::of::<T>(), tag)).copied();
    find(tag).or_else(|| find(tag.of_any_text()))
}

fn ask_names<T: Storable>(value: &T, tag: Tag, format: PayloadFormat) -> u64 {
    let Ok(Written::Bytes(bytes)) = write(value, format, 0, u64::MAX) else { return 0 };
    let spoiler = Spoiler::of(tag);
    let said = read_spoilt::<T>(&bytes, format, &spoiler).err().map(|error| error.to_string());
    let names = said.filter(|said| said.contains(SPOILT)).map_or(0, |said| checksum(said.as_bytes()));
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if known.len() < MOST_KNOWN {
        known.insert((TypeId::of::<T>(), if names == 0 { tag.of_any_text() } else { tag }), names);
    }
    names
}

// Types whose values bincode gives back whatever they are, known by the type alone: their code is that of std and serde.

/// Whether values of this type need no look: they are plain numbers and texts.
pub(super) fn is_faithful<T: 'static>() -> bool {
    let id = TypeId::of::<T>();
    macro_rules! any_of {
        ($($type:ty)*) => { false $(|| id == TypeId::of::<$type>())* };
    }
    macro_rules! any_around {
        ($($type:ty)*) => {
            any_of! { $($type Option<$type> Vec<$type> Box<[$type]> Arc<[$type]> Arc<Vec<$type>> Vec<Vec<$type>>)* }
        };
    }
    let alone = any_of!(() char Box<str> Arc<str> Arc<String> Option<Vec<u8>>);
    alone || any_around!(bool u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 String)
}
