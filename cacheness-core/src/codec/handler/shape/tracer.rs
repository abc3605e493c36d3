use std::fmt::{self, Display, Write};

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::{
    CONTENTS, INDEX, Kind, LENGTH, MAX_DEPTH, PROOF, Tag, Trace, Untraceable, in_any_order, mix, name, type_mark,
    with_type,
};
use crate::codec::handler::shape;
use crate::util::digest::{Checksum, checksum};

/// The serializer, for a value at some depth.
pub(super) struct Tracer<const VIEW: u8> {
    depth: u32,
    any_order: bool,
}

impl<const VIEW: u8> Tracer<VIEW> {
    /// For this value.
    #[inline]
    pub(super) fn of<T: ?Sized>(_: &T, depth: u32) -> Self {
        Self { depth, any_order: in_any_order::<VIEW, T>() }
    }

    fn leaf(kind: Kind, size: u64, contents: u64) -> Result<Trace, Untraceable> {
        shape::note_part::<VIEW>(kind, contents);
        let hash = if VIEW >= CONTENTS { mix(mix(kind as u64, 0), contents) } else { mix(kind as u64, 0) };
        Ok(Trace { hash, size, ..Trace::default() })
    }

    /// The depth of its parts.
    fn inside(&self) -> Result<u32, Untraceable> {
        if self.depth < MAX_DEPTH { Ok(self.depth + 1) } else { Err(Untraceable::TooDeep) }
    }

    /// A value that consists of one other value.
    fn around<T: Serialize + ?Sized>(&self, kind: Kind, hash: u64, size: u64, value: &T) -> Result<Trace, Untraceable> {
        shape::note_part::<VIEW>(kind, hash);
        let place = shape::enter_part::<VIEW, T>("");
        let inner = with_type::<VIEW, T>(value.serialize(Self::of(value, self.inside()?))?);
        drop(place);
        Ok(Trace { hash: mix(mix(kind as u64, hash), inner.hash), size: size + inner.size, ..inner })
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

impl<const VIEW: u8> Serializer for Tracer<VIEW> {
    type Ok = Trace;
    type Error = Untraceable;
    type SerializeSeq = Compound<VIEW>;
    type SerializeTuple = Compound<VIEW>;
    type SerializeTupleStruct = Compound<VIEW>;
    type SerializeTupleVariant = Compound<VIEW>;
    type SerializeMap = Compound<VIEW>;
    type SerializeStruct = Compound<VIEW>;
    type SerializeStructVariant = Compound<VIEW>;

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
        let contents = if VIEW >= CONTENTS { checksum(value.as_bytes()) } else { 0 };
        Self::leaf(Kind::Str, LENGTH + value.len() as u64, contents)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<Trace, Untraceable> {
        let mut text = Text { sum: Checksum::new(), len: 0 };
        write!(text, "{value}").map_err(ser::Error::custom)?;
        Self::leaf(Kind::Displayed, LENGTH + text.len, mix(type_mark::<VIEW, T>(), text.sum.finish()))
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<Trace, Untraceable> {
        let contents = if VIEW >= CONTENTS { checksum(value) } else { 0 };
        Self::leaf(Kind::Bytes, LENGTH + value.len() as u64, contents)
    }

    #[inline]
    fn serialize_none(self) -> Result<Trace, Untraceable> {
        Self::leaf(Kind::None, 1, 0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Trace, Untraceable> {
        self.around(Kind::Some, 0, 1, value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<Trace, Untraceable> {
        Self::leaf(Kind::Unit, 0, 0)
    }

    #[inline]
    fn serialize_unit_struct(self, of: &'static str) -> Result<Trace, Untraceable> {
        shape::note_part::<VIEW>(Kind::UnitStruct, name(of));
        Ok(Trace { hash: mix(Kind::UnitStruct as u64, name(of)), ..Trace::default() })
    }

    #[inline]
    fn serialize_unit_variant(self, of: &'static str, index: u32, variant: &'static str) -> Result<Trace, Untraceable> {
        let hash = variant_hash(of, index, variant);
        shape::note_part::<VIEW>(Kind::UnitVariant, hash);
        Ok(Trace { hash: mix(Kind::UnitVariant as u64, hash), size: INDEX, ..Trace::default() })
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
        self.around(Kind::NewtypeVariant, variant_hash(of, index, variant), INDEX, value)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, Untraceable> {
        Ok(Compound::of_elements(self.inside()?, Kind::Seq, len, self.any_order))
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Untraceable> {
        Ok(Compound::new(self.inside()?, Kind::Tuple, 0, 0))
    }

    #[inline]
    fn serialize_tuple_struct(self, of: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Untraceable> {
        Ok(Compound::new(self.inside()?, Kind::TupleStruct, name(of), 0))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        of: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Untraceable> {
        Ok(Compound::of_variant(self.inside()?, Kind::TupleVariant, variant_hash(of, index, variant)))
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, Untraceable> {
        Ok(Compound::of_elements(self.inside()?, Kind::Map, len, self.any_order))
    }

    #[inline]
    fn serialize_struct(self, of: &'static str, _: usize) -> Result<Self::SerializeStruct, Untraceable> {
        Ok(Compound::new(self.inside()?, Kind::Struct, name(of), 0))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        of: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Untraceable> {
        Ok(Compound::of_variant(self.inside()?, Kind::StructVariant, variant_hash(of, index, variant)))
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

/// What an element adds to an unordered sum.
const fn element(hash: u64) -> u64 {
    mix(hash, 0x8ebc_6af0_9c88_c6e3)
}

/// A value that consists of several others, seen so far. `trace.hash` is an ordered digest, `sum` an unordered
/// one.
pub(super) struct Compound<const VIEW: u8> {
    trace: Trace,
    sum: u64,
    count: u64,
    key: u64,
    depth: u32,
    /// Whether the order of its elements means nothing, by its type.
    any_order: bool,
}

impl<const VIEW: u8> Compound<VIEW> {
    /// `depth` is that of its parts.
    pub(super) fn new(depth: u32, kind: Kind, hash: u64, size: u64) -> Self {
        shape::note_part::<VIEW>(kind, hash);
        let trace = Trace { hash: mix(kind as u64, hash), size, ..Trace::default() };
        Self { trace, sum: 0, count: 0, key: 0, depth, any_order: false }
    }

    fn of_elements(depth: u32, kind: Kind, len: Option<usize>, any_order: bool) -> Self {
        let mut compound = Self::new(depth, kind, 0, LENGTH);
        compound.trace.needs_names = len.is_none();
        Self { any_order, ..compound }
    }

    fn of_variant(depth: u32, kind: Kind, hash: u64) -> Self {
        Self::new(depth, kind, hash, INDEX)
    }

    pub(super) fn of_repeated(each: Trace, len: u64) -> Trace {
        let mut vector = Self::new(0, Kind::Seq, 0, LENGTH);
        vector.count = len;
        vector.sum = element(each.hash).wrapping_mul(len);
        vector.trace.size += each.size * len;
        vector.trace.elements += len;
        vector.of_its_elements()
    }

    /// Traces a part, and counts all of it but its hash.
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, label: &str, value: &T) -> Result<u64, Untraceable> {
        let place = shape::enter_part::<VIEW, T>(label);
        let part = with_type::<VIEW, T>(value.serialize(Tracer::<VIEW>::of(value, self.depth))?);
        drop(place);
        self.trace.size += part.size;
        self.trace.elements += part.elements;
        self.trace.needs_names |= part.needs_names;
        Ok(part.hash)
    }

    #[inline]
    fn unnamed_part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Untraceable> {
        let hash = self.part("_", value)?;
        self.ordered_part(0, hash);
        Ok(())
    }

    #[inline]
    fn named_part<T: Serialize + ?Sized>(&mut self, field: &str, value: &T) -> Result<(), Untraceable> {
        let hash = self.part(field, value)?;
        // Serde's derive writes the tag first.
        if self.count == 0 {
            shape::note_tag::<VIEW, T>(self.trace.hash, || Tag::mark_of(field), hash);
        }
        self.ordered_part(name(field), hash);
        Ok(())
    }

    #[inline]
    fn ordered_part(&mut self, name: u64, hash: u64) {
        self.trace.hash = mix(self.trace.hash, mix(name, hash));
        self.count += 1;
    }

    #[inline]
    fn element_part(&mut self, hash: u64) {
        if VIEW == PROOF && !self.any_order {
            self.ordered_part(0, hash);
        } else {
            self.sum = self.sum.wrapping_add(element(hash));
            self.count += 1;
        }
        self.trace.elements += 1;
    }

    fn ordered(self) -> Trace {
        Trace { hash: mix(self.trace.hash, self.count), ..self.trace }
    }

    fn of_its_elements(self) -> Trace {
        Trace { hash: mix(mix(self.trace.hash, self.count), self.sum), ..self.trace }
    }
}

impl<const VIEW: u8> ser::SerializeSeq for Compound<VIEW> {
    type Ok = Trace;
    type Error = Untraceable;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Untraceable> {
        let hash = self.part("[_]", value)?;
        self.element_part(hash);
        Ok(())
    }

    fn end(self) -> Result<Trace, Untraceable> {
        Ok(self.of_its_elements())
    }
}

impl<const VIEW: u8> ser::SerializeMap for Compound<VIEW> {
    type Ok = Trace;
    type Error = Untraceable;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Untraceable> {
        self.key = self.part("[key]", key)?;
        Ok(())
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Untraceable> {
        let hash = self.part("[_]", value)?;
        shape::note_tag::<VIEW, T>(self.trace.hash, || self.key, hash);
        self.element_part(mix(self.key, hash));
        Ok(())
    }

    fn end(self) -> Result<Trace, Untraceable> {
        Ok(self.of_its_elements())
    }
}

macro_rules! unnamed {
    ($($trait:ident $method:ident;)*) => {$(
        impl<const VIEW: u8> ser::$trait for Compound<VIEW> {
            type Ok = Trace;
            type Error = Untraceable;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Untraceable> {
                self.unnamed_part(value)
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
        impl<const VIEW: u8> ser::$trait for Compound<VIEW> {
            type Ok = Trace;
            type Error = Untraceable;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                field: &'static str,
                value: &T,
            ) -> Result<(), Untraceable> {
                self.named_part(field, value)
            }

            fn skip_field(&mut self, field: &'static str) -> Result<(), Untraceable> {
                self.trace.needs_names = true;
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
