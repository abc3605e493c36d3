//! Bytes that nobody wrote.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::PayloadFormat::{Bincode, MessagePack};
use super::*;

/// Reads bytes as an attacker who knows fingerprints would have it, though not the shape.
fn read<T: Storable>(bytes: &[u8], format: PayloadFormat) -> Result<T> {
    decode(bytes, format, type_fingerprint::<T>(), 0, &LIMITS)
}

#[track_caller]
fn refused<T: Storable>(bytes: &[u8]) {
    for format in [Bincode, MessagePack] {
        let error = read::<T>(bytes, format).err().expect("refused");
        assert!(error.is_serialization() && !error.to_string().contains("panicked"), "{error}");
    }
}

#[derive(Serialize, Deserialize)]
enum Chain {
    Link(Box<Chain>),
    End,
}

#[derive(Serialize, Deserialize)]
struct List {
    tail: Option<Box<List>>,
}

/// Takes no byte a level in MessagePack.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Bottomless(Option<Box<Bottomless>>);

#[derive(Serialize, Deserialize)]
struct Nest(Vec<Nest>);

#[derive(Serialize, Deserialize)]
struct Unit;

#[test]
fn a_huge_length_takes_no_memory() {
    for length in [u64::MAX, 1 << 62, 1 << 40, 1 << 32] {
        let bincode = length.to_le_bytes();
        refused::<String>(&bincode);
        refused::<Vec<u8>>(&bincode);
        refused::<Vec<u64>>(&bincode);
        refused::<Vec<String>>(&bincode);
        refused::<HashMap<String, Vec<u8>>>(&bincode);
        refused::<Box<str>>(&bincode);
        refused::<serde_json::Value>(&bincode);
    }
    for marker in [0xdb, 0xc6, 0xdd, 0xdf] {
        let message_pack = [marker, 0xff, 0xff, 0xff, 0xff];
        refused::<String>(&message_pack);
        refused::<Vec<u64>>(&message_pack);
        refused::<HashMap<String, Vec<u8>>>(&message_pack);
        refused::<serde_json::Value>(&message_pack);
    }
}

/// Reserves whatever it is told, as some collections do.
struct Trusting(Vec<u64>);

impl Serialize for Trusting {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Trusting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Vec<u64>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("numbers")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Vec<u64>, A::Error> {
                let announced = seq.size_hint().unwrap_or(0);
                assert!(announced <= 16, "asked to reserve {announced} elements");
                let mut numbers = Vec::with_capacity(announced);
                while let Some(number) = seq.next_element()? {
                    numbers.push(number);
                }
                Ok(numbers)
            }
        }
        deserializer.deserialize_seq(Visitor).map(Self)
    }
}

#[test]
fn a_type_that_trusts_lengths_is_told_none_longer_than_the_input() {
    for error in [
        read::<Trusting>(&[0, 0, 8, 0, 0, 0, 0, 0, 1], Bincode).err().unwrap(),
        read::<Trusting>(&[0xdd, 0, 8, 0, 0, 1], MessagePack).err().unwrap(),
    ] {
        assert!(!error.to_string().contains("panicked"), "{error}");
    }
}

#[test]
fn elements_without_size_end_soon() {
    for length in [u64::MAX, 1 << 40, 3 << 20] {
        let bytes = length.to_le_bytes();
        refused::<Vec<()>>(&bytes);
        refused::<Vec<Unit>>(&bytes);
        refused::<Vec<PhantomData<u8>>>(&bytes);
        refused::<Vec<[(); 3]>>(&bytes);
        refused::<BTreeMap<(), ()>>(&bytes);
    }
    let nested: Vec<u8> = [100u64].into_iter().chain([1u64 << 20; 100]).flat_map(u64::to_le_bytes).collect();
    refused::<Vec<Vec<()>>>(&nested);
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let bytes = vec![1u8; 100_000];
    refused::<List>(&bytes);
    refused::<Chain>(&vec![0; 100_000]);
    let one_each: Vec<u8> = [1u64; 20_000].into_iter().flat_map(u64::to_le_bytes).collect();
    refused::<Nest>(&one_each);
    refused::<Bottomless>(&bytes);
    for message_pack in [0x91, 0x81].map(|marker| vec![marker; 100_000]) {
        refused::<Nest>(&message_pack);
        refused::<Chain>(&message_pack);
        refused::<serde_json::Value>(&message_pack);
        refused::<String>(&message_pack);
    }
    refused::<Bottomless>(&[1]);
}

#[test]
fn bytes_after_the_value_are_refused() {
    fn check<T: Storable>(value: &T) {
        let mut encoded = put(value);
        for extra in [0u8, 1, 0x91, 0xc0, 0xdb, 0xff] {
            encoded.bytes.push(extra);
            assert!(get::<T>(&encoded).is_err());
            encoded.bytes.pop();
        }
        assert!(get::<T>(&encoded).is_ok());
    }
    check(&7u32);
    check(&vec![1u8, 2]);
    check(&vec!["a".to_owned()]);
    check(&None::<u8>);
    check(&());
    check(&serde_json::json!({"a": 1}));
}

#[test]
fn every_truncation_is_refused() {
    fn check<T: Storable>(value: &T) {
        let encoded = put(value);
        for length in 0..encoded.bytes.len() {
            let short = Encoded { bytes: encoded.bytes[..length].to_vec(), ..put(value) };
            assert!(get::<T>(&short).is_err(), "{length} bytes");
        }
    }
    check(&(1u8, "two".to_owned(), Some(vec![3u64])));
    check(&vec![1.5f64, 2.5]);
    check(&serde_json::json!({"a": [1, 2.5, "b"]}));
}

fn never_panics<T: Storable>(bytes: &[u8]) {
    for format in [Bincode, MessagePack] {
        if let Err(error) = read::<T>(bytes, format) {
            assert!(!error.to_string().contains("panicked"), "{error}");
        }
    }
}

/// Random bytes, and bytes that look like lengths.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0..20u64, any::<u64>(), Just(u64::MAX), Just(1u64 << 32)];
    let part = prop_oneof![
        length.prop_map(|length| length.to_le_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
        Just(vec![0xdd, 0xff, 0xff, 0xff, 0xff]),
        Just(vec![0xdf, 0, 0, 0, 2]),
        Just(b"\xa1a\x81".to_vec()),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_reading_panic_or_take_long(bytes in bytes()) {
        never_panics::<Vec<()>>(&bytes);
        never_panics::<String>(&bytes);
        never_panics::<Vec<Vec<u64>>>(&bytes);
        never_panics::<Vec<f32>>(&bytes);
        never_panics::<HashMap<String, Vec<u8>>>(&bytes);
        never_panics::<Option<(char, bool, i128)>>(&bytes);
        never_panics::<Chain>(&bytes);
        never_panics::<Nest>(&bytes);
        never_panics::<serde_json::Value>(&bytes);
    }
}
