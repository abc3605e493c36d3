//! The formats that values are written in, and which of them are tried in which order.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::{PoisonError, RwLock};

use bincode::config::{Configuration, Fixint, LittleEndian, NoLimit};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use rmp_serde::config::SerializerConfig;
use rmp_serde::decode::ReadSlice;
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, DeserializeSeed};

use super::guard::{Bounded, Bounds, Spoiler};
use crate::config::{self, BINCODE, MESSAGEPACK};
use crate::entry::Entry;
use PayloadFormat::{Bincode, MessagePack, Readable};

/// The number that is stored for plain bytes, which no handler writes or reads: those of a blob store.
pub(crate) const PLAIN_BYTES: u8 = 3;

/// The number that is stored for what a registered or given handler wrote; the shape is then that of its name.
pub(crate) const BY_HANDLER: u8 = 4;

/// How a value is written. The numbers are stored; see also [`PLAIN_BYTES`] and [`BY_HANDLER`].
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
    /// What wrote the value: the name of a [`Handler`](crate::Handler), else `"bincode"`; `"messagepack"` for types that
    /// need the names of their fields to be read back; `"bytes"` for plain bytes of a blob store.
    pub fn handler_used(&self) -> &str {
        match (self.core.payload_format, PayloadFormat::from_id(self.core.payload_format)) {
            (_, Some(format)) => format.name(),
            (PLAIN_BYTES, None) => "bytes",
            (BY_HANDLER, None) => self.details.handler.as_deref().unwrap_or("unknown"),
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
    pub(super) fn told(self) -> &'static str {
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
