use serde::{Serialize, ser};

use super::tracer::Tracer;
use super::{INDEX, Kind, LENGTH, NEEDS_NAMES, Trace, Untraceable, mix, name};

/// What an element adds to an unordered sum.
const fn element(hash: u64) -> u64 {
    mix(hash, 0x8ebc_6af0_9c88_c6e3)
}

/// A value that consists of several others, seen so far. `trace.hash` is an ordered digest, `sum` an unordered one.
pub(super) struct Compound<const CONTENTS: bool> {
    trace: Trace,
    sum: u64,
    count: u64,
    key: u64,
    depth: u32,
}

impl<const CONTENTS: bool> Compound<CONTENTS> {
    /// `depth` is that of its parts.
    pub(super) fn new(depth: u32, kind: Kind, hash: u64, size: u64) -> Self {
        let trace = Trace { hash: mix(kind as u64, hash), size, elements: 0, marks: 1 << kind as u32 };
        Self { trace, sum: 0, count: 0, key: 0, depth }
    }

    pub(super) fn of_length(depth: u32, kind: Kind, len: Option<usize>) -> Self {
        let mut compound = Self::new(depth, kind, 0, LENGTH);
        compound.trace.marks |= if len.is_none() { NEEDS_NAMES } else { 0 };
        compound
    }

    pub(super) fn of_variant(depth: u32, kind: Kind, hash: u64) -> Self {
        let mut compound = Self::new(depth, kind, hash, INDEX);
        compound.trace.marks |= Trace::variant_mark(hash);
        compound
    }

    pub(super) fn of_repeated(each: Trace, len: u64) -> Trace {
        let mut vector = Self::new(0, Kind::Seq, 0, LENGTH);
        vector.count = len;
        vector.sum = element(each.hash).wrapping_mul(len);
        vector.trace.size += each.size * len;
        vector.trace.elements += len;
        vector.trace.marks |= if len > 0 { each.marks } else { 0 };
        vector.unordered()
    }

    /// Traces a part, and counts all of it but its hash.
    #[inline]
    fn part(&mut self, value: &(impl Serialize + ?Sized)) -> Result<u64, Untraceable> {
        let part = value.serialize(Tracer::<CONTENTS>::at(self.depth))?;
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
