//! gzip: one member a value.

use std::io::Write;

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use super::damaged;
use super::read_exactly;
use crate::error::{CacheError, ErrorKind, Result};

/// How every member of ours begins: the magic number, deflate, no name, no comment, no time.
const START: [u8; 8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];

const NAME: &str = "a gzip member";

/// Unless another is asked for.
const LEVEL: u8 = 6;

pub(super) fn compress(bytes: &[u8], level: Option<u8>) -> Result<Vec<u8>> {
    let level = flate2::Compression::new(u32::from(level.unwrap_or(LEVEL)));
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), level);
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.map_err(|error| CacheError::caused_by(ErrorKind::Compression, "gzip could not compress the value", error))
}

pub(super) fn inflate(bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
    if !bytes.starts_with(&START) {
        return Err(damaged("not a gzip member that this cache wrote".into()));
    }
    let mut decoder = GzDecoder::new(bytes);
    let raw = read_exactly(&mut decoder, raw_size, NAME)?;
    if decoder.into_inner().is_empty() { Ok(raw) } else { Err(damaged(format!("bytes follow the end of {NAME}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_written_by_hand_is_read_and_one_by_another_program_is_not() {
        // One stored block, then CRC-32 and length.
        let member =
            [&START[..], &[0, 255], &[1, 3, 0, 252, 255], b"abc", &0x3524_41c2_u32.to_le_bytes(), &[3, 0, 0, 0]]
                .concat();
        assert_eq!(inflate(&member, 3).unwrap(), b"abc");
        let mut named = member;
        named[3] = 8;
        assert!(inflate(&named, 3).unwrap_err().to_string().contains("that this cache wrote"));
    }

    #[test]
    fn every_level_begins_alike() {
        for level in 1..=9 {
            assert!(compress(&[0; 1000], Some(level)).unwrap().starts_with(&START), "{level}");
        }
    }
}
