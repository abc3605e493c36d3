use serde::{Serialize, ser};

use super::tracer::Tracer;
use super::{INDEX, Kind, LENGTH, PROOF, Tag, Trace, Untraceable, journal, mix, name, tag, with_type};

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
        journal::note::<VIEW>(kind, hash);
        let trace = Trace { hash: mix(kind as u64, hash), size, ..Trace::default() };
        Self { trace, sum: 0, count: 0, key: 0, depth, any_order: false }
    }

    pub(super) fn of_elements(depth: u32, kind: Kind, len: Option<usize>, any_order: bool) -> Self {
        let mut compound = Self::new(depth, kind, 0, LENGTH);
        compound.trace.needs_names = len.is_none();
        Self { any_order, ..compound }
    }

    pub(super) fn of_variant(depth: u32, kind: Kind, hash: u64) -> Self {
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
        let place = journal::enter::<VIEW, T>(label);
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
            tag::note::<VIEW, T>(self.trace.hash, || Tag::mark_of(field), hash);
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
        tag::note::<VIEW, T>(self.trace.hash, || self.key, hash);
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
