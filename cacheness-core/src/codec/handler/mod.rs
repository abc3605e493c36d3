//! Values to bytes and back: by a [`Handler`] that is registered for their type (`registry`, `custom`), else by serde.
//!
//! By serde, values are written as bincode, which does not describe itself: bytes of one struct are as good as any to another.
//! So each value is written with a fingerprint of its type and of its *shape* (`shape`: which fields, variants and kinds of
//! values it consists of), and what is read must have the same shape again. A struct whose fields were swapped, renamed
//! or retyped between two builds is an error, never another value.
//!
//! Some values cannot be read back from bincode (untagged enums, `flatten`, `skip_serializing_if`, `serde_json::Value`).
//! So each value is read back and compared before it is stored (`proof`), but for types of plain numbers and texts. What does
//! not come back as it was is written as MessagePack with named fields instead, and then as MessagePack as to a reader of
//! texts; if neither gives it back, it is refused. With names the fingerprint covers the contents as well, since a name that
//! is not found may be left out or replaced by a default.
//!
//! Bytes are not trusted. Whatever they say, reading takes memory in proportion to their length, ends soon, does not
//! nest too deep for the stack (`guard`), and a panic of the type's own code is an error.

mod custom;
mod guard;
mod native;
mod payload;
mod proof;
mod registry;
mod shape;
#[cfg(test)]
mod tests;

use std::any::{TypeId, type_name};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use custom::{ByFile, FileHandler, Handler, HandlerError};
pub(crate) use custom::{
    check_is_named, failed, is_written_by, mark_of, name_of, read_by, shielded as shielded_by, write_by,
};
pub(crate) use payload::{
    BY_HANDLER, Kind, LENGTH, NATIVE, Numbers, PLAIN_BYTES, PayloadFormat, taken_as_vector, width_of_numbers,
};
#[cfg(feature = "testing")]
pub use proof::store_unproven;
pub(crate) use proof::{Back, Proven};
pub use proof::{ByDebug, ByEq, ByEqOrDebug, ByNothing, Evidence};
pub(crate) use registry::Handlers;
pub use registry::{HandlerInfo, list_handlers, register_handler, unregister_handler};

use super::Parts;
use super::native::{Body, Failure, Source};
use crate::config::Limits;
use crate::entry::Core;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest::checksum;
use crate::util::threads::caught;
use guard::{SPARE_ELEMENTS, SPOILT, Spoiler};
use payload::{Formats, Written, lost, read, read_spoilt, write};
use proof::{Compare, Expected};
use shape::{SHAPE, Tag, Trace, mix, trace, trace_with_tags, variant};

/// A value the cache can keep: every type that serde can write and read.
///
/// It is implemented for all of them, and by nothing else.
///
/// ```
/// use cacheness::handler::Storable;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Reading {
///     station: String,
///     celsius: f64,
/// }
///
/// fn can_be_stored<T: Storable>() {}
/// can_be_stored::<Vec<Option<Reading>>>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in a cache",
    label = "this type cannot be written to a cache and read back",
    note = "if the type is yours, derive `serde::Serialize` and `serde::Deserialize` for it and all it contains, and let it borrow nothing",
    note = "of a foreign type return the value inside (the `T` of a `Json<T>`), of an array longer than 32 a `Vec`, or give a `handler`",
    note = "arrays of ndarray, tables of Arrow and frames of polars need the cargo features of these names, and `put_native` where there is no attribute"
)]
pub trait Storable: Serialize + DeserializeOwned + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> Storable for T {}

/// A [`Storable`] value that can also stay in memory and be given out again: one that can be cloned and that threads can
/// share.
///
/// It is implemented for all of them, and by nothing else. A large value is cloned cheaply in an [`Arc`](std::sync::Arc):
/// `Arc<T>` is stored as its `T` is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stay in memory between calls",
    label = "this type is not `Clone + Send + Sync`, or cannot be written to a cache and read back",
    note = "derive `Clone`, `serde::Serialize` and `serde::Deserialize`, or use the `_stored` method of the same name"
)]
pub trait Shareable: Storable + Clone + Send + Sync {}

#[diagnostic::do_not_recommend]
impl<T: Storable + Clone + Send + Sync> Shareable for T {}

/// Tells types apart: a checksum of the type's path. Another compiler may name a type differently, which is a miss.
pub(crate) fn type_fingerprint<T: ?Sized + 'static>() -> u64 {
    checksum(std::any::type_name::<T>().as_bytes())
}

// A value to bytes and back by serde: written, read back and compared, and read with the shape that it was written with.

/// A value as bytes, and what must be known to read them. Those of a vector of numbers are borrowed from it.
#[derive(Debug)]
pub(crate) struct Encoded<'v> {
    pub(crate) bytes: Parts<'v>,
    /// The number that is stored for the way they were written.
    pub(crate) payload_format: u8,
    pub(crate) type_fingerprint: u64,
    pub(crate) shape: u64,
    /// The handler that wrote them, if it is a registered or given one, or the file format.
    pub(crate) handler: Option<Arc<str>>,
    /// What is written later, in the place of bytes: a value with a file format of its own.
    pub(crate) body: Option<Body<'v>>,
}

impl Encoded<'_> {
    /// The same without the value, for those who go on after it: a copy where it was borrowed.
    ///
    /// # Errors
    /// As [`Body::to_bytes`].
    pub(crate) fn into_owned(self, limits: &Limits) -> Result<Encoded<'static>> {
        let Self { bytes, payload_format, type_fingerprint, shape, handler, body } = self;
        let bytes = match body {
            Some(body) => body.to_bytes(limits.max_value_bytes)?.into(),
            None => bytes.into_owned(),
        };
        Ok(Encoded { bytes, payload_format, type_fingerprint, shape, handler, body: None })
    }

    /// How many bytes there are, or about how many there will be.
    pub(crate) fn len(&self) -> u64 {
        self.body.map_or(self.bytes.len() as u64, |body| body.size())
    }
}

/// How the reader of a type wants a large value that is stored as it is: read to where it stays, by two threads, and verified on the
/// way.
#[derive(Clone, Copy, Debug)]
pub enum Taken {
    /// Numbers behind their count.
    Vector(Kind),
    /// Numbers behind a head, the first bytes of which tell how long it is.
    #[cfg_attr(not(feature = "ndarray"), allow(dead_code))]
    Array(Kind, fn(&[u8]) -> Option<u64>),
    /// As bytes, also where there is a file.
    #[cfg_attr(not(feature = "arrow"), allow(dead_code))]
    Bytes,
}

/// Says how the value of an entry is taken.
pub(crate) type TakenAs = fn(&Core) -> Option<Taken>;

/// What is read of a value before it is one.
#[derive(Debug)]
pub(crate) enum Raw {
    Bytes(Vec<u8>),
    /// A vector of numbers, all but its type; see [`Taken::Vector`].
    Numbers(Numbers),
    /// The head of a file of numbers, and these; see [`Taken::Array`].
    Array(Vec<u8>, Numbers),
    /// The file of a native value.
    File(Source),
}

impl Raw {
    /// Why not all of it could be read, to be asked when the value is there.
    pub(crate) fn failure(&self) -> Option<Failure> {
        if let Self::File(source) = self { source.failure() } else { None }
    }
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
fn encode_as<'v, T: Storable>(
    value: &'v T,
    compare: Option<Compare<T>>,
    formats: Formats,
    limits: &Limits,
) -> Result<Proven<'v, T>> {
    shielded::<T, _>("Serialize", || {
        let first = formats.first();
        if first == PayloadFormat::Bincode
            && let Some(shape) = payload::shape_of_numbers(value)
        {
            check_size::<T>(shape.size, limits)?;
            if let Some(bytes) = payload::write_numbers(value) {
                return Ok(Proven::unseen(encoded::<T>(bytes, PayloadFormat::Bincode, shape.hash)));
            }
        }
        let shape = trace::<SHAPE>(value).map_err(unwritable::<T>)?;
        if first == PayloadFormat::Bincode && is_faithful::<T>() {
            return encode_in_format(value, shape, first, limits).map(Proven::unseen);
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
        Raw::Array(..) | Raw::File(_) => Err(error::<T>("was stored in a file format")),
    }
}

/// Reads a value that [`encode`] wrote.
///
/// # Errors
///
/// `Serialization` if the bytes are those of another type or of another version of it, damaged, or not accepted by the
/// type; `Limit` if they are longer than `limits` allow.
fn decode<T: Storable>(
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
            && let Some(value) = payload::read_numbers(bytes, shape)
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

fn encode_in_format<T: Storable>(
    value: &T,
    shape: Trace,
    format: PayloadFormat,
    limits: &Limits,
) -> Result<Encoded<'static>> {
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
        body: None,
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
        let attempt =
            encode_in_format(value, shape, format, limits).and_then(|encoded| expected.prove(encoded, format));
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
        (None, Some((_, cause))) => Err(not_read_back::<T>(cause, formats)),
        (None, None) => Err(error::<T>("has no format to be written in")),
    }
}

fn not_read_back<T: Storable>(cause: CacheError, formats: Formats) -> CacheError {
    let message = format!("`{}` does not read back what it wrote{}: {cause}", type_name::<T>(), formats.restriction());
    CacheError::caused_by(ErrorKind::Serialization, message, cause)
}

/// Turns a panic of the type's own code into an error. What the code left half done is dropped with the value.
fn shielded<T, R>(what: &str, work: impl FnOnce() -> Result<R>) -> Result<R> {
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
fn tag_names<T: Storable>(value: &T, mut tags: Vec<Tag>, format: PayloadFormat) -> u64 {
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
fn is_faithful<T: 'static>() -> bool {
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
