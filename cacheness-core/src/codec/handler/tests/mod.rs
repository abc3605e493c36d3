mod change;
mod errors;
mod formats;
mod golden;
mod hostile;
mod proof;
mod round_trip;

use super::decode;
use super::*;
use crate::config::Limits;
use crate::error::Result;

const LIMITS: Limits = Limits::DEFAULT;

/// What was written, in one piece.
#[derive(Debug)]
struct Encoded {
    bytes: Vec<u8>,
    format: PayloadFormat,
    type_fingerprint: u64,
    shape: u64,
}

impl From<super::Encoded<'_>> for Encoded {
    fn from(encoded: super::Encoded<'_>) -> Self {
        let super::Encoded { bytes, payload_format, type_fingerprint, shape, .. } = encoded;
        let format = PayloadFormat::from_id(payload_format).expect("a format of serde types");
        Self { bytes: bytes.contiguous().into_owned(), format, type_fingerprint, shape }
    }
}

fn put<T: Storable>(value: &T) -> Encoded {
    encode(value, &LIMITS).expect("can be written").into()
}

fn get<T: Storable>(encoded: &Encoded) -> Result<T> {
    decode(&encoded.bytes, encoded.format, encoded.type_fingerprint, encoded.shape, &LIMITS)
}

/// What is read as a `New` by a program that takes it for the type that wrote it.
fn get_as<New: Storable>(encoded: &Encoded) -> Result<New> {
    decode(&encoded.bytes, encoded.format, type_fingerprint::<New>(), encoded.shape, &LIMITS)
}

#[track_caller]
fn comes_back<T: Storable + PartialEq + std::fmt::Debug>(value: T) -> Encoded {
    let encoded = put(&value);
    assert_eq!(get::<T>(&encoded).expect("can be read"), value);
    encoded
}

#[track_caller]
fn comes_back_as<T: Storable + PartialEq + std::fmt::Debug>(format: PayloadFormat, value: T) {
    assert_eq!(comes_back(value).format, format);
}
