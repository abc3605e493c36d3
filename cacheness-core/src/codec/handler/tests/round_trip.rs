use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::super::payload;
use super::super::shape::{CONTENTS, SHAPE, trace};
use super::*;

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
struct Everything {
    flag: bool,
    signed: (i8, i16, i32, i64, i128),
    unsigned: (u8, u16, u32, u64, u128),
    floats: [f32; 2],
    letter: char,
    text: String,
    maybe: Option<Box<Everything>>,
    choice: Choice,
    list: VecDeque<String>,
    map: HashMap<String, Vec<u8>>,
    set: HashSet<Option<u16>>,
    unit: (),
    span: Duration,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
enum Choice {
    #[default]
    None,
    One(i32),
    Two(String, u8),
    Named {
        x: f64,
        y: Option<f64>,
    },
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        Just(Choice::None),
        any::<i32>().prop_map(Choice::One),
        (any::<String>(), any::<u8>()).prop_map(|(a, b)| Choice::Two(a, b)),
        (0.0..1.0f64, prop::option::of(0.0..1.0f64)).prop_map(|(x, y)| Choice::Named { x, y }),
    ]
}

fn flat() -> impl Strategy<Value = Everything> {
    let numbers = (any::<(i8, i16, i32, i64, i128)>(), any::<(u8, u16, u32, u64, u128)>(), any::<[i16; 2]>());
    let maps = (any::<HashMap<String, Vec<u8>>>(), any::<HashSet<Option<u16>>>(), any::<VecDeque<String>>());
    (numbers, maps, any::<(bool, char, String, u32)>(), choice()).prop_map(
        |((signed, unsigned, floats), (map, set, list), (flag, letter, text, seconds), choice)| Everything {
            flag,
            signed,
            unsigned,
            floats: floats.map(f32::from),
            letter,
            text,
            maybe: None,
            choice,
            list,
            map,
            set,
            unit: (),
            span: Duration::new(seconds.into(), 5),
        },
    )
}

fn everything() -> impl Strategy<Value = Everything> {
    flat().prop_recursive(3, 4, 1, |inner| {
        (flat(), inner).prop_map(|(outer, inner)| Everything { maybe: Some(Box::new(inner)), ..outer })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_value_contains_comes_back(value in everything()) {
        let encoded = put(&value);
        prop_assert_eq!(encoded.format, PayloadFormat::Bincode);
        prop_assert_eq!(get::<Everything>(&encoded).unwrap(), value);
    }

    #[test]
    fn the_size_is_known_before_anything_is_written(value in everything()) {
        prop_assert_eq!(trace::<SHAPE>(&value).unwrap().size, put(&value).bytes.len() as u64);
    }

    #[test]
    fn numbers_are_packed_as_bincode_writes_them(numbers in any::<Vec<i32>>(), bytes in any::<Vec<u8>>(), floats in any::<Vec<f64>>()) {
        fn check<T: Storable>(value: &T) {
            let (encoded, shape) = (put(value), trace::<SHAPE>(value).unwrap());
            let Ok(payload::Written::Bytes(bytes)) = payload::write(value, PayloadFormat::Bincode, 0, u64::MAX) else {
                panic!("cannot be written");
            };
            assert_eq!((encoded.bytes, encoded.shape), (bytes, shape.hash));
        }
        check(&numbers);
        check(&bytes);
        check(&floats);
        comes_back(numbers);
        comes_back(bytes);
    }
}

#[test]
fn what_is_empty_comes_back() {
    comes_back(());
    comes_back(String::new());
    comes_back(None::<u8>);
    comes_back(Some(None::<u8>));
    comes_back(Vec::<String>::new());
    comes_back(Vec::<u8>::new());
    comes_back(BTreeMap::<String, ()>::new());
    comes_back(BTreeSet::<u8>::new());
    comes_back(vec![(); 1000]);
    comes_back([0u8; 0]);
    assert_eq!(put(&()).bytes, [0u8; 0]);
}

#[test]
fn each_bit_of_a_float_comes_back() {
    for bits in [f64::NAN.to_bits(), f64::NAN.to_bits() | 1 << 63 | 5, (-0.0f64).to_bits(), 1] {
        let value = (f64::from_bits(bits), 1u8);
        assert_eq!(get::<(f64, u8)>(&put(&value)).unwrap().0.to_bits(), bits);
        let numbers = vec![f64::from_bits(bits)];
        assert_eq!(get::<Vec<f64>>(&put(&numbers)).unwrap()[0].to_bits(), bits);
    }
}

#[test]
fn a_map_has_one_shape_in_whatever_order_it_comes_out() {
    let pairs = || (0..50).map(|n| (format!("key {n}"), if n % 3 == 0 { None } else { Some(vec![1u8; n % 5]) }));
    let (one, other): (HashMap<_, _>, HashMap<_, _>) = (pairs().collect(), pairs().collect());
    assert_ne!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "different random states");
    assert_eq!(put(&one).shape, put(&other).shape);
    assert_eq!(trace::<CONTENTS>(&one).unwrap(), trace::<CONTENTS>(&other).unwrap());
    comes_back(one);
}

#[test]
fn contents_tell_values_apart_that_have_one_shape() {
    fn hashes<T: Serialize>(value: T) -> (u64, u64) {
        (trace::<SHAPE>(&value).unwrap().hash, trace::<CONTENTS>(&value).unwrap().hash)
    }
    let pairs = [
        (hashes(1u128 << 64), hashes(1u128)),
        (hashes("a"), hashes("b")),
        (hashes(0.0f64), hashes(-0.0f64)),
        (hashes([1, 2]), hashes([2, 1])),
        (hashes(HashMap::from([(1, 2), (3, 4)])), hashes(HashMap::from([(1, 4), (3, 2)]))),
        (hashes(format_args!("{}", "a")), hashes(format_args!("{}", "b"))),
    ];
    for ((shape, contents), (other_shape, other_contents)) in pairs {
        assert_eq!(shape, other_shape);
        assert_ne!(contents, other_contents);
    }
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct List {
    head: u32,
    tail: Option<Box<List>>,
}

fn list(length: u32) -> List {
    (1..length).fold(List { head: 0, tail: None }, |tail, head| List { head, tail: Some(Box::new(tail)) })
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(untagged)]
enum Tree {
    Leaf(u8),
    Node(Vec<Tree>),
}

fn tree(depth: u32) -> Tree {
    (0..depth).fold(Tree::Leaf(1), |inner, _| Tree::Node(vec![inner]))
}

#[test]
fn a_hundred_levels_are_not_too_deep() {
    comes_back(list(100));
    comes_back(tree(100));
}

#[test]
fn a_value_that_is_nested_too_deep_is_refused_whatever_the_format() {
    assert!(encode(&list(128), &LIMITS).is_ok());
    for error in [encode(&list(200), &LIMITS).unwrap_err(), encode(&tree(10_000), &LIMITS).unwrap_err()] {
        assert!(error.is_serialization());
        assert!(error.to_string().ends_with("cannot be written: it is nested more than 256 levels deep"), "{error}");
    }
}
