//! Keys through `Serialize`.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::super::{SerdeKey, ToKey};
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

/// A map that keeps its order, and may not know how many entries it has.
struct InOrder(Option<usize>, Vec<(&'static str, u8)>);

impl Serialize for InOrder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(self.0)?;
        self.1.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

#[test]
fn a_map_of_an_unknown_type_counts_in_its_order() {
    let map = |entries: &[(&'static str, u8)]| InOrder(Some(entries.len()), entries.to_vec());
    let all = [
        serde_key(map(&[("a", 1), ("b", 2)])),
        serde_key(map(&[("b", 2), ("a", 1)])),
        serde_key(map(&[("a", 1)])),
        serde_key(map(&[])),
        serde_key([map(&[("a", 1)]), map(&[("b", 2)])]),
        serde_key([map(&[("a", 1), ("b", 2)]), map(&[])]),
        serde_key([map(&[]), map(&[("a", 1), ("b", 2)])]),
        serde_key(BTreeMap::from([("a", 1_u8), ("b", 2)])),
    ];
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    assert_eq!(serde_key(InOrder(None, vec![("a", 1), ("b", 2)])), all[0], "a length that is not told does not matter");
}

#[test]
fn sets_count_without_their_order_and_lists_with_it() {
    let forwards: HashSet<u32> = (0..100).collect();
    let backwards: HashSet<u32> = (0..100).rev().collect();
    assert_eq!(serde_key(&forwards), serde_key(&backwards));
    assert_eq!(serde_key(&forwards), key(&forwards));
    assert_eq!(serde_key(std::collections::BTreeSet::from_iter(&forwards)), key(&forwards));
    assert_ne!(serde_key(vec![1, 2]), serde_key(vec![2, 1]));
}

#[test]
fn a_map_whose_values_are_not_written_is_refused() {
    struct KeysAlone;
    impl Serialize for KeysAlone {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_key("a")?;
            map.end()
        }
    }
    assert!(SerdeKey(KeysAlone).to_key().unwrap_err().is_serialization());
}

#[test]
fn a_path_counts_by_its_content_where_serde_hands_it_over() {
    #[derive(Serialize)]
    struct Job {
        input: std::path::PathBuf,
        count: u8,
    }
    #[derive(Serialize)]
    #[serde(transparent)]
    struct Hidden(std::path::PathBuf);

    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    [&one, &other].iter().for_each(|path| std::fs::write(path, "same").unwrap());
    let keys = |path: &std::path::Path| {
        [
            serde_key(Job { input: path.to_owned(), count: 1 }),
            serde_key([Some(path)]),
            serde_key(HashMap::from([(path, 1)])),
        ]
    };
    assert_eq!(serde_key(&one), key(&one));
    assert_eq!(keys(&one), keys(&other));
    let before = keys(&one);
    std::fs::write(&one, "changed").unwrap();
    keys(&one).iter().zip(&before).for_each(|(now, before)| assert_ne!(now, before));
    assert_ne!(serde_key(Hidden(one)), serde_key(Hidden(other)), "by its text, where the type is not seen");
}
