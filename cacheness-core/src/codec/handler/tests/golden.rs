//! Values as they are on disk. A change here makes stored values unreadable: it needs a new format number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Reading {
    station: String,
    celsius: f32,
    flags: Vec<Flag>,
    next: Option<u16>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Flag {
    Good,
    Late(u32),
    At { x: i8, y: (bool, char) },
}

fn reading() -> Reading {
    Reading {
        station: "Oslo".into(),
        celsius: -1.5,
        flags: vec![Flag::Good, Flag::Late(7), Flag::At { x: -1, y: (true, 'é') }],
        next: Some(258),
    }
}

#[test]
fn a_struct_has_the_bytes_it_always_had() {
    let encoded = put(&reading());
    assert_eq!(encoded.format, PayloadFormat::Bincode);
    let expected: &[&[u8]] = &[
        &[4, 0, 0, 0, 0, 0, 0, 0],
        b"Oslo",
        &[0, 0, 0xc0, 0xbf],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0],
        &[1, 0, 0, 0, 7, 0, 0, 0],
        &[2, 0, 0, 0, 0xff, 1, 0xc3, 0xa9],
        &[1, 2, 1],
    ];
    assert_eq!(encoded.bytes, expected.concat());
}

#[test]
fn json_has_the_bytes_it_always_had() {
    let encoded = put(&serde_json::json!({"a": [1, null], "b": 2.5}));
    assert_eq!(encoded.format, PayloadFormat::MessagePack);
    let expected: &[&[u8]] =
        &[&[0x82, 0xa1], b"a", &[0x92, 1, 0xc0], &[0xa1], b"b", &[0xcb, 0x40, 4, 0, 0, 0, 0, 0, 0]];
    assert_eq!(encoded.bytes, expected.concat());
}

#[test]
fn values_have_the_shapes_they_always_had() {
    let map = BTreeMap::from([("a".to_owned(), 1u64), ("b".to_owned(), 2)]);
    let shapes = [
        put(&reading()).shape,
        put(&map).shape,
        put(&vec![1.0f64, 2.0]).shape,
        put(&(1i128, Some(()), "text".to_owned())).shape,
        put(&serde_json::json!({"a": [1, null], "b": 2.5})).shape,
    ];
    let expected = [
        0x79a1_9bb5_b84a_9979,
        0xc58b_8723_b9c7_d69b,
        0x9af8_a689_1d96_55fe,
        0xb316_dc05_dbc6_87a1,
        0xfc6d_cd99_ef2c_f3e6,
    ];
    assert_eq!(shapes.map(|shape| format!("{shape:016x}")), expected.map(|shape: u64| format!("{shape:016x}")));
}
