//! Lists, tuples, sets and maps.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, LinkedList, VecDeque};
use std::slice;

use super::{CacheKey, KeyList, KeyWriter, tag};

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
