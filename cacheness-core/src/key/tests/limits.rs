//! Keys that are refused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Serialize, Serializer};

use super::super::{CacheKey, KeyFields, KeyWriter, SerdeKey, ToKey, serialize_key};
use super::key;
use crate::config::Limits;
use crate::error::CacheError;

fn error_within(max_key_bytes: u64, value: &(impl CacheKey + ?Sized)) -> Option<CacheError> {
    let limits = Limits { max_key_bytes, ..Limits::DEFAULT };
    value.to_key_with(KeyWriter::with_limits(&limits)).resolve().err()
}

#[test]
fn a_key_of_the_largest_size_is_accepted_and_one_byte_more_is_not() {
    assert!(error_within(6, "abcd").is_none());
    let error = error_within(6, "abcde").unwrap();
    assert!(error.is_limit());
    let text = error.to_string();
    assert!(text.contains("7 bytes") && text.contains("limit of 6 bytes"), "{text}");
}

#[test]
fn an_argument_of_60_megabytes_is_a_key() {
    let large = vec![7_u8; 60 << 20];
    assert_ne!(key(&large), key(&large[1..]));
    assert!(error_within(60 << 20, large.as_slice()).is_some_and(|error| error.is_limit()));
}

#[test]
fn the_elements_of_a_map_count_once() {
    let map: BTreeMap<u8, &str> = [(1, "a"), (2, "b"), (3, "c")].into();
    let bytes = 2 + 3 * (2 + 3);
    assert!(error_within(bytes, &map).is_none());
    assert!(error_within(bytes - 1, &map).is_some_and(|error| error.is_limit()));
}

#[test]
fn a_large_map_stops_at_the_limit() {
    struct Counted<'a>(u32, &'a AtomicUsize);
    impl CacheKey for Counted<'_> {
        fn encode(&self, writer: &mut KeyWriter) {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.encode(writer);
        }
    }
    let count = AtomicUsize::new(0);
    let map: BTreeMap<u32, Counted<'_>> = (0..1000).map(|i| (i, Counted(i, &count))).collect();
    assert!(error_within(100, &map).is_some_and(|error| error.is_limit()));
    assert!(count.load(Ordering::Relaxed) < 20);
}

#[derive(Serialize)]
struct Chain(Option<Box<Chain>>);

impl Chain {
    fn of(length: usize) -> Self {
        (0..length).fold(Self(None), |chain, _| Self(Some(Box::new(chain))))
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut chain) = next {
            next = chain.0.take();
        }
    }
}

impl CacheKey for Chain {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.record("Chain", None, KeyFields::Positional(1), |writer| self.0.encode(writer));
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let deep = Chain::of(1_000_000);
    for error in [deep.to_key().unwrap_err(), SerdeKey(&deep).to_key().unwrap_err()] {
        assert!(error.is_limit());
        assert!(error.to_string().contains("128"), "{error}");
    }
    let shallow = Chain::of(50);
    assert!(shallow.to_key().is_ok() && SerdeKey(&shallow).to_key().is_ok());
}

#[test]
fn chains_of_different_lengths_have_different_keys() {
    let keys: std::collections::HashSet<_> = (0..60).map(|length| key(Chain::of(length))).collect();
    assert_eq!(keys.len(), 60);
}

struct Pieces(&'static [u8]);

impl CacheKey for Pieces {
    fn encode(&self, writer: &mut KeyWriter) {
        self.0.iter().for_each(|piece| piece.encode(writer));
    }
}

#[test]
fn an_implementation_that_writes_several_values_or_none_is_found_out() {
    for pieces in [&[][..], &[1, 2]] {
        let error = vec![Pieces(pieces)].to_key().unwrap_err();
        assert!(error.is_serialization());
        assert!(error.to_string().contains(&format!("announced 1 values and wrote {}", pieces.len())), "{error}");
    }
}

#[test]
fn a_scope_that_comes_too_late_is_refused() {
    let mut writer = KeyWriter::new();
    1.encode(&mut writer);
    writer.scope("f", None, None);
    assert!(writer.finish().resolve().unwrap_err().is_invalid_argument());
}

#[test]
fn the_first_error_is_the_one_that_is_told() {
    let mut writer = KeyWriter::with_limits(&Limits { max_key_bytes: 3, ..Limits::DEFAULT });
    "long".encode(&mut writer);
    writer.scope("f", None, None);
    assert!(writer.finish().resolve().unwrap_err().is_limit());
}

#[test]
fn a_serialize_implementation_that_fails_is_quoted() {
    struct Refusing;
    impl Serialize for Refusing {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("the socket is closed"))
        }
    }
    let mut writer = KeyWriter::new();
    serialize_key(&vec![Refusing], &mut writer);
    let error = writer.finish().resolve().unwrap_err();
    assert!(error.is_serialization());
    assert_eq!(error.to_string(), "a value cannot be serialized into a key: the socket is closed");
}

#[test]
fn a_serialize_implementation_that_miscounts_is_found_out() {
    struct Miscounting;
    impl Serialize for Miscounting {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut sequence = serializer.serialize_seq(Some(2))?;
            sequence.serialize_element(&1)?;
            sequence.end()
        }
    }
    assert!(SerdeKey(Miscounting).to_key().unwrap_err().is_serialization());
}
