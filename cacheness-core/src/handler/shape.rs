//! What a value consists of, as one number: a serializer that writes nothing.
//!
//! The shape covers kinds of primitives, names of structs, fields and variants with their order, `Some` and `None`, and
//! lengths; not the contents of strings and numbers. With `CONTENTS` it covers these too. Elements of sequences and maps
//! count in any order, since a `HashMap` comes out in another order than it went in.
//!
//! It runs at each read from disk, so it allocates nothing and costs a few multiplications per value: a vector of numbers
//! is one multiplication in all, since the compiler sees that all elements are the same. The numbers are written to disk:
//! a change of anything here makes every stored value a miss.

use std::fmt::{self, Display, Write};

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::guard::MAX_DEPTH;
use crate::digest::{Checksum, checksum};

/// What has been found out about a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    /// The shape.
    pub(super) hash: u64,
    /// Its length as bincode.
    pub(super) size: u64,
    /// Elements of its sequences and maps, at all levels.
    pub(super) elements: u64,
    /// One bit for each kind of value, and one for the variants, seen anywhere in it (some variants share a bit).
    pub(super) marks: u64,
}

/// The mark of a value that leaves out fields or does not know its length.
const NEEDS_NAMES: u64 = 1;
/// Bits of marks from this one on stand for variants.
const VARIANT_MARKS: u32 = 32;

impl Trace {
    /// Whether only a format that describes itself can express it.
    pub(super) fn needs_names(&self) -> bool {
        self.marks & NEEDS_NAMES != 0
    }

    fn variant_mark(hash: u64) -> u64 {
        1 << (VARIANT_MARKS + (hash >> 59) as u32)
    }
}

/// The shape of a value, or its contents too.
pub(super) fn trace<const CONTENTS: bool>(value: &impl Serialize) -> Result<Trace, Untraceable> {
    value.serialize(Tracer::<CONTENTS> { depth: 0 })
}

/// The trace of a vector of `len` numbers that each have the trace `each`.
pub(super) fn trace_of_repeated(each: Trace, len: u64) -> Trace {
    let mut sum = Compound::<false>::new(0, Kind::Seq, 0, LENGTH);
    sum.count = len;
    sum.sum = element(each.hash).wrapping_mul(len);
    sum.trace.size += each.size * len;
    sum.trace.elements += len;
    sum.trace.marks |= if len > 0 { each.marks } else { 0 };
    sum.unordered()
}

/// Why there is no trace.
#[derive(Debug)]
pub(super) enum Untraceable {
    TooDeep,
    /// The type's `Serialize` says so.
    Refused(String),
}

impl Display for Untraceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooDeep => write!(f, "it is nested more than {MAX_DEPTH} levels deep"),
            Self::Refused(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Untraceable {}

impl ser::Error for Untraceable {
    fn custom<T: Display>(message: T) -> Self {
        Self::Refused(message.to_string())
    }
}

/// Each is a bit of the marks; bit 0 is [`NEEDS_NAMES`].
#[derive(Clone, Copy)]
enum Kind {
    Bool = 1,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    Bytes,
    None,
    Some,
    Unit,
    UnitStruct,
    UnitVariant,
    NewtypeStruct,
    NewtypeVariant,
    Seq,
    Tuple,
    TupleStruct,
    TupleVariant,
    Map,
    Struct,
    StructVariant,
}

/// Lengths and variant indexes as bincode writes them.
const LENGTH: u64 = 8;
const INDEX: u64 = 4;

const fn mix(a: u64, b: u64) -> u64 {
    let product = (a ^ 0x9e37_79b9_7f4a_7c15) as u128 * (b ^ 0xd1b5_4a32_d192_ed03) as u128;
    (product as u64) ^ (product >> 64) as u64
}

/// A name of the program's source. Short and constant: cheaper folded than hashed.
#[inline]
fn name(text: &str) -> u64 {
    let (whole, rest) = text.as_bytes().as_chunks::<8>();
    let hash = whole.iter().fold(text.len() as u64, |hash, chunk| mix(hash, u64::from_le_bytes(*chunk)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash, u64::from_le_bytes(last))
}

/// What an element adds to an unordered sum.
const fn element(hash: u64) -> u64 {
    mix(hash, 0x8ebc_6af0_9c88_c6e3)
}

struct Tracer<const CONTENTS: bool> {
    depth: u32,
}

impl<const CONTENTS: bool> Tracer<CONTENTS> {
    fn leaf(kind: Kind, size: u64, contents: u64) -> Result<Trace, Untraceable> {
        let hash = if CONTENTS { mix(mix(kind as u64, 0), contents) } else { mix(kind as u64, 0) };
        Ok(Trace { hash, size, elements: 0, marks: 1 << kind as u32 })
    }

    fn inner(&self) -> Result<Self, Untraceable> {
        if self.depth < MAX_DEPTH { Ok(Self { depth: self.depth + 1 }) } else { Err(Untraceable::TooDeep) }
    }

    /// A value that consists of one other value.
    fn around(
        &self,
        kind: Kind,
        hash: u64,
        size: u64,
        value: &(impl Serialize + ?Sized),
    ) -> Result<Trace, Untraceable> {
        let inner = value.serialize(self.inner()?)?;
        Ok(Trace {
            hash: mix(mix(kind as u64, hash), inner.hash),
            size: size + inner.size,
            marks: inner.marks | 1 << kind as u32,
            ..inner
        })
    }
}

fn variant_hash(of: &str, index: u32, variant: &str) -> u64 {
    mix(mix(name(of), u64::from(index)), name(variant))
}

macro_rules! leaves {
    ($($method:ident($type:ty) $kind:ident $size:literal $contents:expr;)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<Trace, Untraceable> {
            let contents: fn($type) -> u64 = $contents;
            Self::leaf(Kind::$kind, $size, contents(value))
        }
    )*};
}

impl<const CONTENTS: bool> Serializer for Tracer<CONTENTS> {
    type Ok = Trace;
    type Error = Untraceable;
    type SerializeSeq = Compound<CONTENTS>;
    type SerializeTuple = Compound<CONTENTS>;
    type SerializeTupleStruct = Compound<CONTENTS>;
    type SerializeTupleVariant = Compound<CONTENTS>;
    type SerializeMap = Compound<CONTENTS>;
    type SerializeStruct = Compound<CONTENTS>;
    type SerializeStructVariant = Compound<CONTENTS>;

    /// As bincode and MessagePack have it.
    fn is_human_readable(&self) -> bool {
        false
    }

    leaves! {
        serialize_bool(bool) Bool 1 u64::from;
        serialize_i8(i8) I8 1 |v| v as u64;
        serialize_i16(i16) I16 2 |v| v as u64;
        serialize_i32(i32) I32 4 |v| v as u64;
        serialize_i64(i64) I64 8 |v| v as u64;
        serialize_i128(i128) I128 16 |v| mix(v as u64, (v >> 64) as u64);
        serialize_u8(u8) U8 1 u64::from;
        serialize_u16(u16) U16 2 u64::from;
        serialize_u32(u32) U32 4 u64::from;
        serialize_u64(u64) U64 8 |v| v;
        serialize_u128(u128) U128 16 |v| mix(v as u64, (v >> 64) as u64);
        serialize_f32(f32) F32 4 |v| u64::from(v.to_bits());
        serialize_f64(f64) F64 8 f64::to_bits;
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<Trace, Untraceable> {
        Self::leaf(Kind::Char, value.len_utf8() as u64, u64::from(value))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<Trace, Untraceable> {
        let contents = if CONTENTS { checksum(value.as_bytes()) } else { 0 };
        Self::leaf(Kind::Str, LENGTH + value.len() as u64, contents)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<Trace, Untraceable> {
        let mut text = Text { sum: Checksum::new(), len: 0 };
        write!(text, "{value}").map_err(ser::Error::custom)?;
        Self::leaf(Kind::Str, LENGTH + text.len, text.sum.finish())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<Trace, Untraceable> {
        let contents = if CONTENTS { checksum(value) } else { 0 };
        Self::leaf(Kind::Bytes, LENGTH + value.len() as u64, contents)
    }

    #[inline]
    fn serialize_none(self) -> Result<Trace, Untraceable> {
        Self::leaf(Kind::None, 1, 0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Trace, Untraceable> {
        let mut trace = self.around(Kind::Some, 0, 1, value)?;
        // MessagePack has one nothing: `Some(None)` and `Some(())` need a look of their own.
        if trace.size <= 2 {
            trace.marks |= Trace::variant_mark(trace.hash);
        }
        Ok(trace)
    }

    #[inline]
    fn serialize_unit(self) -> Result<Trace, Untraceable> {
        Self::leaf(Kind::Unit, 0, 0)
    }

    #[inline]
    fn serialize_unit_struct(self, of: &'static str) -> Result<Trace, Untraceable> {
        let hash = mix(Kind::UnitStruct as u64, name(of));
        Ok(Trace { hash, size: 0, elements: 0, marks: 1 << Kind::UnitStruct as u32 })
    }

    #[inline]
    fn serialize_unit_variant(self, of: &'static str, index: u32, variant: &'static str) -> Result<Trace, Untraceable> {
        let hash = mix(Kind::UnitVariant as u64, variant_hash(of, index, variant));
        let marks = 1 << Kind::UnitVariant as u32 | Trace::variant_mark(hash);
        Ok(Trace { hash, size: INDEX, elements: 0, marks })
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        of: &'static str,
        value: &T,
    ) -> Result<Trace, Untraceable> {
        self.around(Kind::NewtypeStruct, name(of), 0, value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        of: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Trace, Untraceable> {
        let hash = variant_hash(of, index, variant);
        let mut trace = self.around(Kind::NewtypeVariant, hash, INDEX, value)?;
        trace.marks |= Trace::variant_mark(hash);
        Ok(trace)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, Untraceable> {
        Ok(Compound::of_length(self.inner()?.depth, Kind::Seq, len))
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Untraceable> {
        Ok(Compound::new(self.inner()?.depth, Kind::Tuple, 0, 0))
    }

    #[inline]
    fn serialize_tuple_struct(self, of: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Untraceable> {
        Ok(Compound::new(self.inner()?.depth, Kind::TupleStruct, name(of), 0))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        of: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Untraceable> {
        Ok(Compound::of_variant(self.inner()?.depth, Kind::TupleVariant, variant_hash(of, index, variant)))
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, Untraceable> {
        Ok(Compound::of_length(self.inner()?.depth, Kind::Map, len))
    }

    #[inline]
    fn serialize_struct(self, of: &'static str, _: usize) -> Result<Self::SerializeStruct, Untraceable> {
        Ok(Compound::new(self.inner()?.depth, Kind::Struct, name(of), 0))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        of: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Untraceable> {
        Ok(Compound::of_variant(self.inner()?.depth, Kind::StructVariant, variant_hash(of, index, variant)))
    }
}

/// Text as it is being formatted.
struct Text {
    sum: Checksum,
    len: u64,
}

impl Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.sum.update(part.as_bytes());
        self.len += part.len() as u64;
        Ok(())
    }
}

/// A value that consists of several others, seen so far. `trace.hash` is an ordered digest, `sum` an unordered one.
struct Compound<const CONTENTS: bool> {
    trace: Trace,
    sum: u64,
    count: u64,
    key: u64,
    depth: u32,
}

impl<const CONTENTS: bool> Compound<CONTENTS> {
    /// `depth` is that of its parts.
    fn new(depth: u32, kind: Kind, hash: u64, size: u64) -> Self {
        let trace = Trace { hash: mix(kind as u64, hash), size, elements: 0, marks: 1 << kind as u32 };
        Self { trace, sum: 0, count: 0, key: 0, depth }
    }

    fn of_length(depth: u32, kind: Kind, len: Option<usize>) -> Self {
        let mut compound = Self::new(depth, kind, 0, LENGTH);
        compound.trace.marks |= if len.is_none() { NEEDS_NAMES } else { 0 };
        compound
    }

    fn of_variant(depth: u32, kind: Kind, hash: u64) -> Self {
        let mut compound = Self::new(depth, kind, hash, INDEX);
        compound.trace.marks |= Trace::variant_mark(hash);
        compound
    }

    /// Traces a part, and counts all of it but its hash.
    #[inline]
    fn part(&mut self, value: &(impl Serialize + ?Sized)) -> Result<u64, Untraceable> {
        let part = value.serialize(Tracer::<CONTENTS> { depth: self.depth })?;
        self.trace.size += part.size;
        self.trace.elements += part.elements;
        self.trace.marks |= part.marks;
        Ok(part.hash)
    }

    #[inline]
    fn ordered_part(&mut self, name: u64, value: &(impl Serialize + ?Sized)) -> Result<(), Untraceable> {
        let hash = self.part(value)?;
        self.trace.hash = mix(self.trace.hash, mix(name, hash));
        self.count += 1;
        Ok(())
    }

    #[inline]
    fn unordered_part(&mut self, hash: u64) {
        self.sum = self.sum.wrapping_add(element(hash));
        self.count += 1;
        self.trace.elements += 1;
    }

    fn ordered(self) -> Trace {
        Trace { hash: mix(self.trace.hash, self.count), ..self.trace }
    }

    fn unordered(self) -> Trace {
        Trace { hash: mix(mix(self.trace.hash, self.count), self.sum), ..self.trace }
    }
}

impl<const CONTENTS: bool> ser::SerializeSeq for Compound<CONTENTS> {
    type Ok = Trace;
    type Error = Untraceable;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Untraceable> {
        let hash = self.part(value)?;
        self.unordered_part(hash);
        Ok(())
    }

    fn end(self) -> Result<Trace, Untraceable> {
        Ok(self.unordered())
    }
}

impl<const CONTENTS: bool> ser::SerializeMap for Compound<CONTENTS> {
    type Ok = Trace;
    type Error = Untraceable;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Untraceable> {
        self.key = self.part(key)?;
        Ok(())
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Untraceable> {
        let hash = self.part(value)?;
        self.unordered_part(mix(self.key, hash));
        Ok(())
    }

    fn end(self) -> Result<Trace, Untraceable> {
        Ok(self.unordered())
    }
}

macro_rules! unnamed {
    ($($trait:ident $method:ident;)*) => {$(
        impl<const CONTENTS: bool> ser::$trait for Compound<CONTENTS> {
            type Ok = Trace;
            type Error = Untraceable;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Untraceable> {
                self.ordered_part(0, value)
            }

            fn end(self) -> Result<Trace, Untraceable> {
                Ok(self.ordered())
            }
        }
    )*};
}

unnamed! {
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! named {
    ($($trait:ident)*) => {$(
        impl<const CONTENTS: bool> ser::$trait for Compound<CONTENTS> {
            type Ok = Trace;
            type Error = Untraceable;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                field: &'static str,
                value: &T,
            ) -> Result<(), Untraceable> {
                self.ordered_part(name(field), value)
            }

            fn skip_field(&mut self, field: &'static str) -> Result<(), Untraceable> {
                self.trace.marks |= NEEDS_NAMES;
                self.trace.hash = mix(self.trace.hash, name(field));
                Ok(())
            }

            fn end(self) -> Result<Trace, Untraceable> {
                Ok(self.ordered())
            }
        }
    )*};
}

named! { SerializeStruct SerializeStructVariant }
