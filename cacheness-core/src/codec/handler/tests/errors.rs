//! Limits, and types that do not behave.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::*;
use crate::codec::handler::encode_as;
use crate::codec::handler::payload::Formats;

fn limited(max_value_bytes: u64) -> Limits {
    let mut limits = LIMITS;
    limits.max_value_bytes = max_value_bytes;
    limits
}

#[test]
fn a_value_over_the_limit_is_refused_with_both_sizes() {
    let texts = vec!["x".repeat(500); 2];
    assert!(encode(&texts, &limited(1024)).is_ok());
    let error = encode(&texts, &limited(1023)).unwrap_err();
    assert!(error.is_limit());
    let message = "`alloc::vec::Vec<alloc::string::String>` takes 1024 bytes, the limit `max_value_bytes` is 1023";
    assert_eq!(error.to_string(), message);
    assert!(encode(&vec![0u64; 100], &limited(100)).unwrap_err().is_limit());
    assert!(encode(&serde_json::json!(["x".repeat(500)]), &limited(505)).is_ok());
    assert!(encode(&serde_json::json!(["one"]), &LIMITS).is_ok());
    let error = encode(&serde_json::json!(["x".repeat(500)]), &limited(502)).unwrap_err();
    assert!(error.is_limit());
    assert_eq!(error.to_string(), "`serde_json::value::Value` takes 504 bytes, the limit `max_value_bytes` is 502");
}

#[test]
fn bytes_over_the_limit_are_not_read() {
    let encoded = put(&vec!["x".repeat(500)]);
    let error =
        decode::<Vec<String>>(&encoded.bytes, encoded.format, encoded.type_fingerprint, encoded.shape, &limited(99))
            .unwrap_err();
    assert!(error.is_limit());
}

#[test]
fn more_elements_without_contents_than_would_be_read_are_not_written_as_bincode() {
    assert_eq!(put(&vec![(); 1 << 20]).format, PayloadFormat::Bincode);
    let value = vec![(); 2 << 20];
    let many = put(&value);
    assert_eq!(many.format, PayloadFormat::MessagePack, "which has a byte for each");
    assert_eq!(get::<Vec<()>>(&many).unwrap().len(), 2 << 20);
    let only = encode_as(&value, None, Formats::only(PayloadFormat::Bincode), &LIMITS);
    assert!(only.is_err_and(|error| error.is_limit()));
}

struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(S::Error::custom("not today"))
    }
}

impl<'de> Deserialize<'de> for Refuses {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Ok(Self)
    }
}

#[test]
fn a_type_that_refuses_to_be_written_is_named_with_its_reason() {
    let error = encode(&Refuses, &LIMITS).unwrap_err();
    assert!(error.is_serialization());
    assert!(error.to_string().ends_with("::Refuses` cannot be written: not today"), "{error}");
}

#[derive(Debug)]
struct Panics {
    at_writing: bool,
}

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        assert!(!self.at_writing, "cannot write");
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        panic!("cannot {}", "read")
    }
}

#[test]
fn a_panic_of_the_type_is_an_error_that_names_it() {
    let error = encode(&Panics { at_writing: true }, &LIMITS).unwrap_err();
    assert!(error.is_serialization());
    assert!(error.to_string().ends_with("::Panics` panicked in `Serialize`: cannot write"), "{error}");
    let error = encode(&Panics { at_writing: false }, &LIMITS).unwrap_err();
    assert!(error.to_string().ends_with("::Panics` panicked in `Deserialize`: cannot read"), "{error}");
    let error = decode::<Panics>(&[1], PayloadFormat::Bincode, type_fingerprint::<Panics>(), 0, &LIMITS).unwrap_err();
    assert!(error.to_string().ends_with("::Panics` panicked in `Deserialize`: cannot read"), "{error}");
}

static READS: AtomicUsize = AtomicUsize::new(0);

/// Writes a number, reads another one.
#[derive(Debug)]
struct Liar(u32);

impl Serialize for Liar {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Liar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        READS.fetch_add(1, Ordering::SeqCst);
        Ok(Self(u32::deserialize(deserializer)? + 1))
    }
}

#[test]
fn a_type_that_never_reads_back_what_it_wrote_is_refused_in_every_format_each_time() {
    for attempt in 0..2 {
        let error = encode(&Liar(attempt), &LIMITS).unwrap_err();
        assert!(error.is_serialization());
        assert!(error.to_string().contains("::Liar` does not read back what it wrote"), "{error}");
    }
    assert_eq!(READS.load(Ordering::SeqCst), 6, "three formats, twice");
}

/// Does not read every number it writes.
#[derive(Serialize, Debug)]
struct Small(u32);

impl<'de> Deserialize<'de> for Small {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = u32;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a small number")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> std::result::Result<u32, D::Error> {
                u32::deserialize(inner)
            }
        }
        let number = deserializer.deserialize_newtype_struct("Small", Visitor)?;
        if number < 100 { Ok(Self(number)) } else { Err(D::Error::custom("too large")) }
    }
}

#[test]
fn one_odd_value_does_not_spoil_its_type() {
    assert!(encode(&Small(150), &LIMITS).unwrap_err().to_string().contains("too large"));
    assert_eq!(put(&Small(50)).format, PayloadFormat::Bincode);
    assert_eq!(get::<Small>(&put(&Small(50))).unwrap().0, 50);
    assert!(encode(&Small(150), &LIMITS).unwrap_err().is_serialization(), "what cannot be read is not written, ever");
}

#[test]
fn the_cause_is_kept() {
    let error = get::<String>(&Encoded { bytes: vec![1, 0, 0], ..put(&String::from("a")) }).unwrap_err();
    assert!(std::error::Error::source(&error).is_some());
    assert!(error.to_string().starts_with("`alloc::string::String` cannot be read back: "), "{error}");
}
