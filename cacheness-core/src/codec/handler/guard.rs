//! A deserializer around another one that keeps hostile bytes from exhausting stack, time and memory.
//!
//! - Depth: bincode and MessagePack have recursive types recurse as deep as the bytes say, `Option` in MessagePack even
//!   without reading a byte.
//! - Time: elements of no size cost no bytes, so a length alone decides how long a `Vec<()>` is being read.
//! - Memory: visitors reserve what a length announces, and owned strings and bytes are reserved before they are read.
//!
//! Lengths of tuples and structs come from the program, all others from the bytes.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::shape::Tag;

/// How deep values may nest, where each struct, sequence, map, tuple, enum variant, newtype and `Some` is a level.
pub(super) const MAX_DEPTH: u32 = 256;

/// How many elements a value may have beyond one per byte of its encoding: elements of no size.
pub(super) const SPARE_ELEMENTS: u64 = 1 << 20;

/// What is left to be read.
pub(super) struct Bounds<'s> {
    input: usize,
    elements: Cell<u64>,
    spoiler: Option<&'s Spoiler>,
}

impl<'s> Bounds<'s> {
    pub(super) fn of(input: &[u8]) -> Self {
        let elements = Cell::new((input.len() as u64).saturating_add(SPARE_ELEMENTS));
        Self { input: input.len(), elements, spoiler: None }
    }

    /// One tag is read as another.
    pub(super) fn spoilt(self, spoiler: &'s Spoiler) -> Self {
        Self { spoiler: Some(spoiler), ..self }
    }

    fn take_elements<E: Error>(&self, count: usize) -> Result<(), E> {
        let left = self.elements.get().checked_sub(count as u64);
        self.elements.set(left.ok_or_else(|| E::custom("it claims more elements than it has bytes"))?);
        Ok(())
    }

    /// At least one byte was spent on each element that takes memory.
    fn hint(&self, hint: Option<usize>) -> Option<usize> {
        hint.map(|count| count.min(self.input))
    }
}

/// A name that no variant has.
pub(super) const SPOILT: &str = "a variant that no type has";

/// Replaces the first tag of its kind by [`SPOILT`].
pub(super) struct Spoiler {
    tag: Tag,
    /// The text that was read last: in front of a tag, the name of its field.
    last: Cell<u64>,
    is_done: Cell<bool>,
}

impl Spoiler {
    pub(super) fn of(tag: Tag) -> Self {
        Self { tag, last: Cell::new(0), is_done: Cell::new(false) }
    }

    #[cold]
    fn spoils(&self, text: &str) -> bool {
        let text = Tag::mark_of(text);
        let is_it = !self.is_done.get() && self.tag.is(self.last.replace(text), text);
        self.is_done.set(self.is_done.get() || is_it);
        is_it
    }
}

/// A seed that reads a `T` within bounds.
pub(super) struct Bounded<'b, T> {
    bounds: &'b Bounds<'b>,
    value: PhantomData<T>,
}

impl<'b, T> Bounded<'b, T> {
    pub(super) fn by(bounds: &'b Bounds<'b>) -> Self {
        Self { bounds, value: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Bounded<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
        T::deserialize(Guard { inner, at: Place { bounds: self.bounds, depth: 0 } })
    }
}

#[derive(Clone, Copy)]
struct Place<'b> {
    bounds: &'b Bounds<'b>,
    depth: u32,
}

impl Place<'_> {
    #[inline]
    fn spoils(self, text: &str) -> bool {
        self.bounds.spoiler.is_some_and(|spoiler| spoiler.spoils(text))
    }

    fn inner<E: Error>(self) -> Result<Self, E> {
        if self.depth < MAX_DEPTH {
            Ok(Self { depth: self.depth + 1, ..self })
        } else {
            Err(E::custom(format_args!("it is nested more than {MAX_DEPTH} levels deep")))
        }
    }
}

/// A deserializer, seed or accessor, and how deep it stands.
struct Guard<'b, I> {
    inner: I,
    at: Place<'b>,
}

/// Who decides how many elements come.
#[derive(Clone, Copy, PartialEq)]
enum Length {
    Program,
    Bytes,
}

struct Watch<'b, V> {
    inner: V,
    at: Place<'b>,
    length: Length,
}

impl<'b, I> Guard<'b, I> {
    fn watch<V>(&self, inner: V, length: Length) -> Watch<'b, V> {
        Watch { inner, at: self.at, length }
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

macro_rules! watched {
    ($($method:ident($($argument:ident: $type:ty),*) as $inner:ident, $length:ident;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.watch(visitor, Length::$length);
            self.inner.$inner($($argument,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guard<'_, D> {
    type Error = D::Error;

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    numbers! {
        deserialize_bool
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    // MessagePack reads what is there, not what is asked for, so a string may turn out to be a sequence. Owned strings
    // and bytes are asked for as borrowed ones: a slice that is not there cannot be borrowed, but it can be reserved.
    watched! {
        deserialize_any() as deserialize_any, Bytes;
        deserialize_char() as deserialize_char, Bytes;
        deserialize_str() as deserialize_str, Bytes;
        deserialize_string() as deserialize_str, Bytes;
        deserialize_bytes() as deserialize_bytes, Bytes;
        deserialize_byte_buf() as deserialize_bytes, Bytes;
        deserialize_option() as deserialize_option, Bytes;
        deserialize_unit() as deserialize_unit, Bytes;
        deserialize_unit_struct(name: &'static str) as deserialize_unit_struct, Bytes;
        deserialize_newtype_struct(name: &'static str) as deserialize_newtype_struct, Bytes;
        deserialize_seq() as deserialize_seq, Bytes;
        deserialize_map() as deserialize_map, Bytes;
        deserialize_identifier() as deserialize_identifier, Bytes;
        deserialize_ignored_any() as deserialize_ignored_any, Bytes;
        deserialize_tuple(len: usize) as deserialize_tuple, Program;
        deserialize_tuple_struct(name: &'static str, len: usize) as deserialize_tuple_struct, Program;
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) as deserialize_struct, Program;
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) as deserialize_enum, Program;
    }
}

macro_rules! visits {
    ($($method:ident $type:ty;)*) => {$(
        #[inline]
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watch<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visits! {
        visit_bool bool;
        visit_i8 i8;
        visit_i16 i16;
        visit_i32 i32;
        visit_i64 i64;
        visit_i128 i128;
        visit_u8 u8;
        visit_u16 u16;
        visit_u32 u32;
        visit_u64 u64;
        visit_u128 u128;
        visit_f32 f32;
        visit_f64 f64;
        visit_char char;
        visit_bytes &[u8];
        visit_borrowed_bytes &'de [u8];
        visit_byte_buf Vec<u8>;
    }

    #[inline]
    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        self.inner.visit_str(if self.at.spoils(value) { SPOILT } else { value })
    }

    #[inline]
    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.inner.visit_borrowed_str(if self.at.spoils(value) { SPOILT } else { value })
    }

    #[inline]
    fn visit_string<E: Error>(self, value: String) -> Result<V::Value, E> {
        self.inner.visit_string(if self.at.spoils(&value) { SPOILT.to_owned() } else { value })
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Guard { inner, at: self.at.inner()? })
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Guard { inner, at: self.at.inner()? })
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        if self.length == Length::Bytes {
            self.at.bounds.take_elements(inner.size_hint().unwrap_or(0))?;
        }
        self.inner.visit_seq(Guard { inner, at: self.at.inner()? })
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        if self.length == Length::Bytes {
            self.at.bounds.take_elements(inner.size_hint().unwrap_or(0))?;
        }
        self.inner.visit_map(Guard { inner, at: self.at.inner()? })
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Guard { inner, at: self.at })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Guard<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Guard { inner, at: self.at })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Guard<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, inner: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(Guard { inner, at: self.at })
    }

    fn size_hint(&self) -> Option<usize> {
        self.at.bounds.hint(self.inner.size_hint())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Guard<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, inner: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(Guard { inner, at: self.at })
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, inner: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(Guard { inner, at: self.at })
    }

    fn size_hint(&self) -> Option<usize> {
        self.at.bounds.hint(self.inner.size_hint())
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Guard<'b, A> {
    type Error = A::Error;
    type Variant = Guard<'b, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let at = self.at;
        let (value, inner) = self.inner.variant_seed(Guard { inner: seed, at })?;
        Ok((value, Guard { inner, at }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guard<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = Guard { inner: seed, at: self.at.inner()? };
        self.inner.newtype_variant_seed(seed)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.watch(visitor, Length::Program);
        self.inner.tuple_variant(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.watch(visitor, Length::Program);
        self.inner.struct_variant(fields, visitor)
    }
}
