//! The formats that values are written in, which of them are tried in which order, and vectors of numbers, which need none.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::{LazyLock, PoisonError, RwLock};

use bincode::config::{Configuration, Fixint, LittleEndian, NoLimit};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bytemuck::Pod;
use rmp_serde::config::SerializerConfig;
use rmp_serde::decode::ReadSlice;
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, DeserializeSeed};

use super::guard::{Bounded, Bounds, Spoiler};
use super::shape::{SHAPE, Trace, trace, trace_of_repeated};
use super::{Taken, type_fingerprint};
use crate::codec::Parts;
use crate::config::{self, BINCODE, MESSAGEPACK};
use crate::entry::{Core, Entry};
use crate::error::{CacheError, ErrorKind, Result};
use PayloadFormat::{Bincode, MessagePack, Readable};

/// The number that is stored for plain bytes, which no handler writes or reads: those of a blob store.
pub(crate) const PLAIN_BYTES: u8 = 3;

/// The number that is stored for what a registered or given handler wrote; the shape is then that of its name.
pub(crate) const BY_HANDLER: u8 = 4;

/// The number that is stored for a file format; the shape is then that of its name.
pub(crate) const NATIVE: u8 = 6;

/// How a value is written. The numbers are stored; see also [`PLAIN_BYTES`], [`BY_HANDLER`] and [`NATIVE`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PayloadFormat {
    /// bincode 2, little endian, integers of fixed length.
    Bincode = 1,
    /// MessagePack, structs as maps with their fields' names.
    MessagePack = 2,
    /// MessagePack as to a reader of texts: addresses and the like are the texts that self-describing types ask for.
    Readable = 5,
}

impl PayloadFormat {
    /// The number that is stored.
    pub(crate) const fn id(self) -> u8 {
        self as u8
    }

    /// The format of a stored number.
    pub(crate) const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Bincode),
            2 => Some(Self::MessagePack),
            5 => Some(Self::Readable),
            _ => None,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bincode => config::BINCODE,
            Self::MessagePack | Self::Readable => config::MESSAGEPACK,
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Bincode, Self::MessagePack].into_iter().find(|format| format.name() == name)
    }
}

impl Entry {
    /// What wrote the value: the name of a [`Handler`](crate::Handler) or of a [file format](crate::NativeFormat), else `"bincode"`; `"messagepack"` for types that
    /// need the names of their fields to be read back; `"bytes"` for plain bytes of a blob store.
    pub fn handler_used(&self) -> &str {
        match (self.core.payload_format, PayloadFormat::from_id(self.core.payload_format)) {
            (_, Some(format)) => format.name(),
            (PLAIN_BYTES, None) => "bytes",
            (BY_HANDLER | NATIVE, None) => self.details.handler.as_deref().unwrap_or("unknown"),
            _ => "unknown",
        }
    }
}

/// Integers of fixed length: the length of a value is known before it is written, numbers lie there as in memory, and a
/// list of structs is written twice as fast (read, a tenth faster). The price is size, 95 instead of 38 bytes for a struct
/// of short strings and numbers, of which compression takes back half. Without bincode's own limit, which has to be a
/// constant: [`Bounds`] are tighter.
const BINCODE_CONFIG: Configuration<LittleEndian, Fixint, NoLimit> =
    bincode::config::standard().with_fixed_int_encoding();

type Cause = Box<dyn Error + Send + Sync>;

/// Writes a value. `expected` bytes are reserved; past `limit` bytes the rest is only counted.
pub(super) fn write<T: Serialize>(
    value: &T,
    format: PayloadFormat,
    expected: u64,
    limit: u64,
) -> Result<Written, Cause> {
    let room = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut sink = Sink { bytes: Vec::new(), room, too_long: None };
    sink.bytes.try_reserve_exact(usize::try_from(expected.min(limit))?)?;
    match format {
        PayloadFormat::Bincode => bincode::serde::encode_into_writer(value, &mut sink, BINCODE_CONFIG)?,
        PayloadFormat::MessagePack => rmp_serde::encode::write_named(&mut sink, value)?,
        PayloadFormat::Readable => {
            let mut writer = rmp_serde::Serializer::new(&mut sink).with_struct_map().with_human_readable();
            value.serialize(&mut writer)?;
        }
    }
    Ok(sink.too_long.map_or(Written::Bytes(sink.bytes), Written::TooLong))
}

/// What came of writing a value.
pub(super) enum Written {
    Bytes(Vec<u8>),
    TooLong(u64),
}

/// Reads a value, all bytes of it.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8], format: PayloadFormat) -> Result<T, Cause> {
    read_within(bytes, format, &Bounds::of(bytes))
}

/// [`read`] with one tag spoilt.
pub(super) fn read_spoilt<T: DeserializeOwned>(
    bytes: &[u8],
    format: PayloadFormat,
    spoiler: &Spoiler,
) -> Result<T, Cause> {
    read_within(bytes, format, &Bounds::of(bytes).spoilt(spoiler))
}

fn read_within<T: DeserializeOwned>(bytes: &[u8], format: PayloadFormat, bounds: &Bounds<'_>) -> Result<T, Cause> {
    match format {
        PayloadFormat::Bincode => read_bincode(bytes, bounds),
        PayloadFormat::MessagePack => read_message_pack(rmp_serde::Deserializer::from_read_ref(bytes), bounds),
        PayloadFormat::Readable => {
            read_message_pack(rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable(), bounds)
        }
    }
}

fn read_bincode<T: DeserializeOwned>(bytes: &[u8], bounds: &Bounds<'_>) -> Result<T, Cause> {
    let (value, length) = bincode::serde::seed_decode_from_slice(Bounded::by(bounds), bytes, BINCODE_CONFIG)?;
    if length == bytes.len() { Ok(value) } else { Err("more bytes follow".into()) }
}

fn read_message_pack<'de, T, R, C>(mut reader: rmp_serde::Deserializer<R, C>, bounds: &Bounds<'_>) -> Result<T, Cause>
where
    T: DeserializeOwned,
    R: ReadSlice<'de>,
    C: SerializerConfig,
{
    let value = Bounded::by(bounds).deserialize(&mut reader)?;
    // The reader does not tell how far it came, but there is only one error if it came to the end.
    match bool::deserialize(&mut reader) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err("more bytes follow".into()),
    }
}

/// Keeps what is written as long as there is room, and after that only its length.
struct Sink {
    bytes: Vec<u8>,
    room: usize,
    too_long: Option<u64>,
}

impl Sink {
    #[inline]
    fn take(&mut self, part: &[u8]) {
        if part.len() <= self.room {
            self.room -= part.len();
            self.bytes.extend_from_slice(part);
        } else {
            self.only_count(part);
        }
    }

    #[cold]
    fn only_count(&mut self, part: &[u8]) {
        let before = self.too_long.unwrap_or(self.bytes.len() as u64);
        self.too_long = Some(before + part.len() as u64);
        (self.bytes, self.room) = (Vec::new(), 0);
    }
}

impl Writer for Sink {
    #[inline]
    fn write(&mut self, part: &[u8]) -> Result<(), EncodeError> {
        self.take(part);
        Ok(())
    }
}

impl io::Write for Sink {
    #[inline]
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.take(part);
        Ok(part.len())
    }

    #[inline]
    fn write_all(&mut self, part: &[u8]) -> io::Result<()> {
        self.take(part);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// Which of the built-in formats may be written, in which order they are tried, and which have lost a value before.

/// The formats that may be written, the first choice first. Both forms of MessagePack have one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Formats(&'static [PayloadFormat]);

impl Formats {
    pub(crate) const DEFAULT: Self = Self(&[Bincode, MessagePack, Readable]);
    const NAMED_FIRST: Self = Self(&[MessagePack, Readable, Bincode]);
    const NAMED: Self = Self(&[MessagePack, Readable]);
    const UNNAMED: Self = Self(&[Bincode]);

    pub(super) const fn only(format: PayloadFormat) -> Self {
        match format {
            Bincode => Self::UNNAMED,
            MessagePack | Readable => Self::NAMED,
        }
    }

    /// Those that are allowed, in the order in which they are named; what is not named comes last.
    pub(super) fn of(priority: &[String], disabled: &[String]) -> Self {
        let has = |names: &[String], name: &str| names.iter().any(|other| other == name);
        if has(disabled, BINCODE) {
            return Self::NAMED;
        }
        if has(disabled, MESSAGEPACK) {
            return Self::UNNAMED;
        }
        let place = |name: &str| priority.iter().position(|other| other == name).unwrap_or(usize::MAX);
        if place(MESSAGEPACK) < place(BINCODE) { Self::NAMED_FIRST } else { Self::DEFAULT }
    }

    pub(super) fn first(self) -> PayloadFormat {
        self.0.first().copied().unwrap_or(Bincode)
    }

    pub(super) fn includes(self, format: PayloadFormat) -> bool {
        self.0.contains(&format)
    }

    /// The order in which they are tried for a value of this type: last, what cannot express it or has lost another value.
    pub(super) fn for_value<T: 'static>(self, needs_names: bool) -> Vec<PayloadFormat> {
        let lost = LOST.read().unwrap_or_else(PoisonError::into_inner).get(&TypeId::of::<T>()).copied().unwrap_or(0);
        let mut order = self.0.to_vec();
        order.sort_by_key(|format| (lost & bit(*format) != 0, needs_names && *format == Bincode));
        order
    }

    /// Behind a verb, where it was not free to choose.
    pub(super) fn restriction(self) -> &'static str {
        match self {
            Self::NAMED => " as messagepack, the one format allowed",
            Self::UNNAMED => " as bincode, the one format allowed",
            _ => "",
        }
    }
}

/// The formats that lost a value of a type which another one kept. They come last from then on: trying them costs as much
/// as writing.
static LOST: RwLock<BTreeMap<TypeId, u8>> = RwLock::new(BTreeMap::new());

/// Another format kept the value that these lost.
pub(super) fn lost<T: 'static>(formats: &[PayloadFormat]) {
    let bits = formats.iter().fold(0, |bits, format| bits | bit(*format));
    if bits != 0 {
        *LOST.write().unwrap_or_else(PoisonError::into_inner).entry(TypeId::of::<T>()).or_default() |= bits;
    }
}

fn bit(format: PayloadFormat) -> u8 {
    1 << (format.id() % 8)
}

// Vectors of numbers, without a walk: their bincode is the length and then the elements as they lie in memory. Bytes and
// shape are those that bincode and the tracer give, element by element.
//
// On big-endian machines elements lie otherwise, and vectors go the way of all values.

/// What bincode writes before the elements.
pub(crate) const LENGTH: usize = size_of::<u64>();

/// A number whose bincode is its bytes.
trait Number: Serialize + Default + Pod {}

macro_rules! numbers {
    ($($kind:ident $type:ident),*) => {
        $(impl Number for $type {})*

        /// Which numbers a vector consists of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($kind,)*
        }

        impl Kind {
            /// Bytes of one number.
            pub(crate) const fn width(self) -> usize {
                match self {
                    $(Self::$kind => size_of::<$type>(),)*
                }
            }
        }

        /// A vector of numbers that is read from somewhere: whose type is known when it is taken out.
        #[derive(Debug)]
        pub(crate) enum Numbers {
            $($kind(Vec<$type>),)*
        }

        impl Numbers {
            /// So many zeros. Memory that was not touched yet is not touched by this.
            ///
            /// # Errors
            /// `Limit` if memory cannot hold them.
            pub(crate) fn zeroed(kind: Kind, len: usize) -> Result<Self> {
                Ok(match kind {
                    $(Kind::$kind => Self::$kind(zeroed(len)?),)*
                })
            }

            /// Their bytes, to be written over.
            pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
                match self {
                    $(Self::$kind(numbers) => bytemuck::cast_slice_mut(numbers),)*
                }
            }

            /// Their bytes.
            pub(crate) fn as_bytes(&self) -> &[u8] {
                match self {
                    $(Self::$kind(numbers) => bytemuck::cast_slice(numbers),)*
                }
            }

            /// The vector; `None` if `T` is another one.
            pub(crate) fn into_value<T: 'static>(self) -> Option<T> {
                match self {
                    $(Self::$kind(numbers) => same(numbers),)*
                }
            }
        }

        /// The shape of a value, if it is a vector of numbers.
        pub(super) fn shape_of_numbers<T: 'static>(value: &T) -> Option<Trace> {
            let value: &dyn Any = value;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$type>>() {
                return shape_of::<$type>(numbers.len() as u64);
            })*
            None
        }

        /// The bytes of a value, if it is a vector of numbers: borrowed from it, but for the length.
        pub(super) fn write_numbers<T: 'static>(value: &T) -> Option<Parts<'_>> {
            let value: &dyn Any = value;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$type>>() {
                return borrow(numbers);
            })*
            None
        }

        /// A vector of numbers of a known shape. None if `T` is something else, or the bytes are: the caller then takes
        /// the long way, which tells what is wrong.
        pub(super) fn read_numbers<T: 'static>(bytes: &[u8], shape: u64) -> Option<T> {
            let (any, shape_wanted) = (std::any::TypeId::of::<T>(), shape);
            $(if any == std::any::TypeId::of::<Vec<$type>>() {
                return unpack::<$type>(bytes, shape_wanted).and_then(same);
            })*
            None
        }

        /// How a stored value of type `T` is taken, if it is a vector of numbers and its sizes say so too.
        pub(crate) fn taken_as_vector<T: 'static>(core: &Core) -> Option<Taken> {
            let any = std::any::TypeId::of::<T>();
            $(if any == std::any::TypeId::of::<Vec<$type>>() {
                return matches_shape::<$type>(core).then_some(Taken::Vector(Kind::$kind));
            })*
            None
        }
    };
}

numbers! { U8 u8, U16 u16, U32 u32, U64 u64, I8 i8, I16 i16, I32 i32, I64 i64, F32 f32, F64 f64 }

/// Bytes of one number of this value; `None` if it is no vector of numbers that lie there as in memory. Bytes are no
/// numbers: they are as often text.
pub(crate) fn width_of_numbers(core: &Core) -> Option<usize> {
    (core.payload_format == PayloadFormat::Bincode.id()).then(|| width_of(core.type_fingerprint)).flatten()
}

pub(super) fn width_of(fingerprint: u64) -> Option<usize> {
    static FINGERPRINTS: LazyLock<[(u64, usize); 9]> = LazyLock::new(|| {
        [
            (type_fingerprint::<Vec<u16>>(), 2),
            (type_fingerprint::<Vec<u32>>(), 4),
            (type_fingerprint::<Vec<u64>>(), 8),
            (type_fingerprint::<Vec<i8>>(), 1),
            (type_fingerprint::<Vec<i16>>(), 2),
            (type_fingerprint::<Vec<i32>>(), 4),
            (type_fingerprint::<Vec<i64>>(), 8),
            (type_fingerprint::<Vec<f32>>(), 4),
            (type_fingerprint::<Vec<f64>>(), 8),
        ]
    });
    FINGERPRINTS.iter().find(|(known, _)| *known == fingerprint).map(|(_, width)| *width)
}

/// A value as a `T`, if it is one.
fn same<T: 'static, N: 'static>(value: N) -> Option<T> {
    let mut value = Some(value);
    let slot: &mut dyn Any = &mut value;
    slot.downcast_mut::<Option<T>>()?.take()
}

fn shape_of<N: Number>(len: u64) -> Option<Trace> {
    Some(trace_of_repeated(trace::<SHAPE>(&N::default()).ok()?, len))
}

const AS_IN_MEMORY: bool = cfg!(target_endian = "little");

fn borrow<N: Number>(numbers: &[N]) -> Option<Parts<'_>> {
    let length = (numbers.len() as u64).to_le_bytes();
    AS_IN_MEMORY.then(|| Parts::new(length.to_vec(), bytemuck::cast_slice(numbers)))
}

fn unpack<N: Number>(bytes: &[u8], shape: u64) -> Option<Vec<N>> {
    let (length, elements) = bytes.split_first_chunk::<LENGTH>()?;
    let len = u64::from_le_bytes(*length);
    let fits = len.checked_mul(size_of::<N>() as u64)? == elements.len() as u64;
    (AS_IN_MEMORY && fits && shape_of::<N>(len)?.hash == shape).then(|| bytemuck::pod_collect_to_vec(elements))
}

fn matches_shape<N: Number>(core: &Core) -> bool {
    let elements = core.raw_size.saturating_sub(LENGTH as u64);
    let len = elements / size_of::<N>() as u64;
    AS_IN_MEMORY
        && core.raw_size >= LENGTH as u64
        && elements.is_multiple_of(size_of::<N>() as u64)
        && core.payload_format == PayloadFormat::Bincode.id()
        && core.type_fingerprint == type_fingerprint::<Vec<N>>()
        && shape_of::<N>(len).is_some_and(|shape| shape.hash == core.shape)
}

fn zeroed<N: Number>(len: usize) -> Result<Vec<N>> {
    bytemuck::allocation::try_zeroed_vec(len).map_err(|()| {
        CacheError::new(ErrorKind::Limit, format!("no memory for {len} numbers of {} bytes each", size_of::<N>()))
    })
}
