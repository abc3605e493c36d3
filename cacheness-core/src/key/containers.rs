//! Types that hold other values: options, results, wrapped numbers and ranges, then lists, tuples, sets and maps.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, LinkedList, VecDeque};
use std::convert::Infallible;
use std::marker::PhantomData;
use std::num::{NonZero, Saturating, Wrapping};
use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::slice;

use super::{CacheKey, KeyList, KeyWriter, tag};

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

// Lists, tuples, sets and maps.

impl<T: CacheKey> CacheKey for [T] {
    fn encode(&self, writer: &mut KeyWriter) {
        T::encode_list(KeyList::Sequence, self.len(), [self].into_iter(), writer);
    }
}

impl<T: CacheKey> CacheKey for Vec<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        self.as_slice().encode(writer);
    }
}

impl<T: CacheKey, const N: usize> CacheKey for [T; N] {
    fn encode(&self, writer: &mut KeyWriter) {
        T::encode_list(KeyList::Array, N, [self.as_slice()].into_iter(), writer);
    }
}

impl<T: CacheKey> CacheKey for VecDeque<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        let (front, back) = self.as_slices();
        T::encode_list(KeyList::Sequence, self.len(), [front, back].into_iter(), writer);
    }
}

impl<T: CacheKey> CacheKey for LinkedList<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        T::encode_list(KeyList::Sequence, self.len(), self.iter().map(slice::from_ref), writer);
    }
}

macro_rules! tuples {
    ($($($name:ident)+;)+) => {
        $(impl<$($name: CacheKey),+> CacheKey for ($($name,)+) {
            #[inline]
            fn encode(&self, writer: &mut KeyWriter) {
                #[allow(non_snake_case, reason = "the names of the types serve as names of the values")]
                let ($($name,)+) = self;
                let count = [$(stringify!($name)),+].len();
                writer.counted(tag::TUPLE, count, |writer| {
                    $($name.encode(writer);)+
                });
            }
        })+
    };
}

tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
    A B C D E F G H I;
    A B C D E F G H I J;
    A B C D E F G H I J K;
    A B C D E F G H I J K L;
    A B C D E F G H I J K L M;
    A B C D E F G H I J K L M N;
    A B C D E F G H I J K L M N O;
    A B C D E F G H I J K L M N O P;
}

impl<T: CacheKey> CacheKey for BTreeSet<T> {
    fn encode(&self, writer: &mut KeyWriter) {
        write_set(self, writer);
    }
}

impl<T: CacheKey, S> CacheKey for HashSet<T, S> {
    fn encode(&self, writer: &mut KeyWriter) {
        write_set(self, writer);
    }
}

impl<K: CacheKey, V: CacheKey> CacheKey for BTreeMap<K, V> {
    fn encode(&self, writer: &mut KeyWriter) {
        write_map(self, writer);
    }
}

impl<K: CacheKey, V: CacheKey, S> CacheKey for HashMap<K, V, S> {
    fn encode(&self, writer: &mut KeyWriter) {
        write_map(self, writer);
    }
}

fn write_set<'a, T: CacheKey + 'a>(items: impl IntoIterator<Item = &'a T>, writer: &mut KeyWriter) {
    let mut collection = writer.collect();
    for item in items {
        if writer.failed() {
            break;
        }
        item.encode(writer);
        writer.end_element(&mut collection);
    }
    writer.close_sorted(tag::SET, 1, collection);
}

fn write_map<'a, K, V>(entries: impl IntoIterator<Item = (&'a K, &'a V)>, writer: &mut KeyWriter)
where
    K: CacheKey + 'a,
    V: CacheKey + 'a,
{
    let mut collection = writer.collect();
    for (key, value) in entries {
        if writer.failed() {
            break;
        }
        key.encode(writer);
        value.encode(writer);
        writer.end_element(&mut collection);
    }
    writer.close_sorted(tag::MAP, 2, collection);
}
