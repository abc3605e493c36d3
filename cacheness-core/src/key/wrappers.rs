//! Types that say something about another value: whether it is there, which of two it is, what kind of number.

use std::cmp::{Ordering, Reverse};
use std::convert::Infallible;
use std::marker::PhantomData;
use std::num::{NonZero, Saturating, Wrapping};
use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use super::{CacheKey, KeyWriter, tag};

impl CacheKey for () {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.write_unit();
    }
}

impl<T: ?Sized> CacheKey for PhantomData<T> {
    /// The type is all that a marker says: an `Id<User>` is not an `Id<Order>`.
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::PHANTOM]);
        writer.blob(std::any::type_name::<T>().as_bytes());
    }
}

impl CacheKey for Infallible {
    fn encode(&self, _: &mut KeyWriter) {
        match *self {}
    }
}

impl CacheKey for Ordering {
    fn encode(&self, writer: &mut KeyWriter) {
        let [byte] = (*self as i8).to_le_bytes();
        writer.value(&[tag::ORDERING, byte]);
    }
}

impl<T: CacheKey> CacheKey for Option<T> {
    #[inline]
    fn may_panic(&self) -> bool {
        self.as_ref().is_some_and(T::may_panic)
    }

    #[inline]
    fn encode(&self, writer: &mut KeyWriter) {
        match self {
            None => writer.write_none(),
            Some(value) => writer.tagged(tag::SOME, 1, |writer| value.encode(writer)),
        }
    }
}

impl<T: CacheKey, E: CacheKey> CacheKey for Result<T, E> {
    fn encode(&self, writer: &mut KeyWriter) {
        match self {
            Ok(value) => writer.tagged(tag::OK, 1, |writer| value.encode(writer)),
            Err(error) => writer.tagged(tag::ERR, 1, |writer| error.encode(writer)),
        }
    }
}

macro_rules! non_zero {
    ($($integer:ty),+) => {
        $(impl CacheKey for NonZero<$integer> {
            fn encode(&self, writer: &mut KeyWriter) {
                writer.tagged(tag::NON_ZERO, 1, |writer| self.get().encode(writer));
            }
        })+
    };
}

non_zero!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

impl<T: CacheKey> CacheKey for Wrapping<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::WRAPPING, 1, |writer| self.0.encode(writer));
    }
}

impl<T: CacheKey> CacheKey for Saturating<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::SATURATING, 1, |writer| self.0.encode(writer));
    }
}

impl<T: CacheKey> CacheKey for Reverse<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::REVERSE, 1, |writer| self.0.encode(writer));
    }
}

impl<T: CacheKey> CacheKey for Range<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::RANGE, 2, |writer| {
            self.start.encode(writer);
            self.end.encode(writer);
        });
    }
}

impl<T: CacheKey + PartialOrd> CacheKey for RangeInclusive<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::RANGE_INCLUSIVE, 3, |writer| {
            self.start().encode(writer);
            self.end().encode(writer);
            // After the last step of an iteration start and end are what they were before it.
            self.is_empty().encode(writer);
        });
    }
}

impl<T: CacheKey> CacheKey for RangeFrom<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::RANGE_FROM, 1, |writer| self.start.encode(writer));
    }
}

impl<T: CacheKey> CacheKey for RangeTo<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::RANGE_TO, 1, |writer| self.end.encode(writer));
    }
}

impl<T: CacheKey> CacheKey for RangeToInclusive<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::RANGE_TO_INCLUSIVE, 1, |writer| self.end.encode(writer));
    }
}

impl CacheKey for RangeFull {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::RANGE_FULL]);
    }
}

impl<T: CacheKey> CacheKey for Bound<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        match self {
            Bound::Included(value) => writer.tagged(tag::BOUND_INCLUDED, 1, |writer| value.encode(writer)),
            Bound::Excluded(value) => writer.tagged(tag::BOUND_EXCLUDED, 1, |writer| value.encode(writer)),
            Bound::Unbounded => writer.value(&[tag::BOUND_UNBOUNDED]),
        }
    }
}
