//! Keys through `Serialize`.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::super::SerdeKey;
use super::{Key, key};

fn serde_key(value: impl Serialize) -> Key {
    key(SerdeKey(value))
}

#[derive(Serialize)]
enum Shape {
    Unit,
    Newtype(u8),
    Tuple(u8, u8),
    Struct { a: u8, b: u8 },
    Other { a: u8, b: u8 },
}

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Newtype(u8);

#[derive(Serialize)]
struct Pair(u8, u8);

#[derive(Serialize)]
struct Named {
    a: u8,
    b: u8,
}

#[derive(Serialize)]
struct Swapped {
    b: u8,
    a: u8,
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[test]
fn all_shapes_and_widths_are_told_apart() {
    let all = [
        serde_key(Shape::Unit),
        serde_key(Shape::Newtype(1)),
        serde_key(Shape::Tuple(1, 1)),
        serde_key(Shape::Struct { a: 1, b: 1 }),
        serde_key(Shape::Other { a: 1, b: 1 }),
        serde_key(Shape::Struct { a: 1, b: 2 }),
        serde_key(Shape::Struct { a: 2, b: 1 }),
        serde_key(Unit),
        serde_key(()),
        serde_key(Newtype(1)),
        serde_key(Pair(1, 1)),
        serde_key(Named { a: 1, b: 1 }),
        serde_key(Swapped { a: 1, b: 1 }),
        serde_key((1_u8, 1_u8)),
        serde_key(vec![1_u8, 1]),
        serde_key(Bytes(&[1, 1])),
        serde_key(BTreeMap::from([(1_u8, 1_u8)])),
        serde_key(None::<u8>),
        serde_key(Some(1_u8)),
        serde_key(1_u8),
        serde_key(1_u16),
        serde_key(1_u32),
        serde_key(1_u64),
        serde_key(1_u128),
        serde_key(1_i8),
        serde_key(1_i16),
        serde_key(1_i32),
        serde_key(1_i64),
        serde_key(1_i128),
        serde_key(1_f32),
        serde_key(1_f64),
        serde_key(true),
        serde_key('1'),
        serde_key("1"),
    ];
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn values_that_both_ways_can_write_have_the_same_key_in_both() {
    assert_eq!(serde_key(("a", 1, 'c', 2.5, [true].as_slice().len())), key(("a", 1, 'c', 2.5, 1_u64)));
    assert_eq!(serde_key(Bytes(b"bytes")), key(b"bytes".as_slice()));
    assert_eq!(serde_key(Some("a")), key(Some("a")));
    assert_eq!(serde_key(vec!["a", "b"]), key(vec!["a", "b"]));
    assert_eq!(serde_key(BTreeMap::from([("a", 1), ("b", 2)])), key(BTreeMap::from([("a", 1), ("b", 2)])));
    assert_eq!(serde_key(u128::MAX), key(u128::MAX));
    assert_eq!(serde_key(i128::MIN), key(i128::MIN));
}

#[test]
fn the_order_of_a_map_does_not_matter() {
    let forwards: HashMap<u32, String> = (0..100).map(|i| (i, i.to_string())).collect();
    let backwards: HashMap<u32, String> = (0..100).rev().map(|i| (i, i.to_string())).collect();
    assert_eq!(serde_key(&forwards), serde_key(&backwards));
    assert_eq!(serde_key(&forwards), serde_key(forwards.iter().collect::<BTreeMap<_, _>>()));
}

#[test]
fn a_list_of_unknown_length_is_the_list() {
    struct Unsized<'a>(&'a [Vec<u8>]);
    impl Serialize for Unsized<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut sequence = serializer.serialize_seq(None)?;
            self.0.iter().try_for_each(|item| sequence.serialize_element(item))?;
            sequence.end()
        }
    }
    let items = vec![vec![9, 9], vec![], vec![1]];
    assert_eq!(serde_key((Unsized(&items), 1)), serde_key((&items, 1)));
}

#[test]
fn a_map_inside_a_flattened_struct_is_sorted() {
    struct Flattened(Vec<(&'static str, u8)>);
    impl Serialize for Flattened {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
            map.end()
        }
    }
    assert_eq!(serde_key(Flattened(vec![("a", 1), ("b", 2)])), serde_key(Flattened(vec![("b", 2), ("a", 1)])));
}
