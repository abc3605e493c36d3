//! Codecs that make one stream of a value and begin it always alike, so that no other kind of stream is ever decoded.

/// gzip: one member a value.
#[cfg(feature = "gzip")]
pub(super) mod gzip {
    use std::io::Write;

    use flate2::bufread::GzDecoder;
    use flate2::write::GzEncoder;

    use super::super::{damaged, read_exactly};
    use crate::error::{CacheError, ErrorKind, Result};

    /// How every member of ours begins: the magic number, deflate, no name, no comment, no time.
    pub(super) const START: [u8; 8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];

    const NAME: &str = "a gzip member";

    /// Unless another is asked for.
    const LEVEL: u8 = 6;

    pub(in crate::codec::compress) fn compress(bytes: &[u8], level: Option<u8>) -> Result<Vec<u8>> {
        let level = flate2::Compression::new(u32::from(level.unwrap_or(LEVEL)));
        let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), level);
        let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
        written
            .map_err(|error| CacheError::caused_by(ErrorKind::Compression, "gzip could not compress the value", error))
    }

    pub(in crate::codec::compress) fn inflate(bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
        if !bytes.starts_with(&START) {
            return Err(damaged("not a gzip member that this cache wrote".into()));
        }
        let mut decoder = GzDecoder::new(bytes);
        let raw = read_exactly(&mut decoder, raw_size, NAME)?;
        if decoder.into_inner().is_empty() { Ok(raw) } else { Err(damaged(format!("bytes follow the end of {NAME}"))) }
    }
}

/// Zstandard: one frame a value, without size and checksum, which the envelope has.
#[cfg(feature = "zstd")]
pub(super) mod zstd {
    use std::ops::RangeInclusive;

    use ::zstd::bulk::Compressor;
    use ::zstd::stream::read::Decoder;
    use ::zstd::zstd_safe::CParameter;

    use super::super::{broken, damaged, read_exactly};
    use crate::error::{CacheError, ErrorKind, Result};

    /// How far a frame may look back, as powers of two: what a decoder keeps in memory. Levels above 19 would look back up to
    /// 128 MiB, and damaged bytes would make a reader take as much.
    pub(super) const WINDOW_LOGS: RangeInclusive<u32> = 10..=23;
    const UNBOUNDED_FROM_LEVEL: u8 = 20;

    /// How every frame of ours begins: the magic number, and that the window is told, but no size, checksum or dictionary.
    pub(super) const START: [u8; 5] = [0x28, 0xb5, 0x2f, 0xfd, 0];

    const NAME: &str = "a Zstandard frame";

    /// Unless another is asked for.
    const LEVEL: u8 = 3;

    pub(in crate::codec::compress) fn compress(bytes: &[u8], level: Option<u8>) -> Result<Vec<u8>> {
        let compressed = compressor(level.unwrap_or(LEVEL)).and_then(|mut compressor| compressor.compress(bytes));
        compressed.map_err(|error| {
            CacheError::caused_by(ErrorKind::Compression, "Zstandard could not compress the value", error)
        })
    }

    fn compressor(level: u8) -> std::io::Result<Compressor<'static>> {
        let mut compressor = Compressor::new(i32::from(level))?;
        compressor.set_parameter(CParameter::ContentSizeFlag(false))?;
        if level >= UNBOUNDED_FROM_LEVEL {
            compressor.set_parameter(CParameter::WindowLog(*WINDOW_LOGS.end()))?;
        }
        Ok(compressor)
    }

    /// How far a frame of a value looks back at most: no further than the value is long, rounded up to a power of two.
    pub(super) fn window_log(raw_size: usize) -> u32 {
        let rounded_up = usize::BITS - raw_size.saturating_sub(1).leading_zeros();
        rounded_up.clamp(*WINDOW_LOGS.start(), *WINDOW_LOGS.end())
    }

    pub(in crate::codec::compress) fn inflate(bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
        if !bytes.starts_with(&START) {
            return Err(damaged("not a Zstandard frame that this cache wrote".into()));
        }
        let mut decoder = Decoder::with_buffer(bytes).map_err(|error| broken(NAME, error))?.single_frame();
        decoder.window_log_max(window_log(raw_size)).map_err(|error| broken(NAME, error))?;
        let raw = read_exactly(&mut decoder, raw_size, NAME)?;
        if decoder.finish().is_empty() { Ok(raw) } else { Err(damaged(format!("bytes follow the end of {NAME}"))) }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "gzip")]
    mod gzip {
        use super::super::gzip::*;

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

    #[cfg(feature = "zstd")]
    mod zstd {
        use super::super::zstd::*;

        /// The window of a frame of ours, as RFC 8878 computes it.
        fn window(frame: &[u8]) -> u64 {
            let base = 1_u64 << (10 + (frame[5] >> 3));
            base + base / 8 * u64::from(frame[5] & 7)
        }

        #[test]
        fn a_frame_of_any_level_begins_alike_and_looks_back_at_most_8_mib() {
            let large = vec![0; 20 << 20];
            for level in 1..=22 {
                let frame = compress(&large, Some(level)).unwrap();
                assert!(frame.starts_with(&START), "{level}");
                assert!(window(&frame) <= 8 << 20, "{level}");
            }
            assert_eq!(window(&compress(&large, Some(22)).unwrap()), 8 << 20);
        }

        #[test]
        fn a_frame_looks_back_no_further_than_its_value_is_long() {
            for size in [64, 1000, 1024, 1025, 5000, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 9 << 20] {
                for level in [1, 3, 11, 22] {
                    let frame = compress(&vec![0; size], Some(level)).unwrap();
                    assert!(window(&frame) <= 1 << window_log(size), "{size} bytes at level {level}");
                    assert_eq!(inflate(&frame, size).unwrap().len(), size);
                }
            }
        }

        #[test]
        fn a_frame_written_by_hand_is_read() {
            // A window of 1 KiB, a block that repeats one byte 100 times, a last block of three plain bytes.
            let frame = [&START[..], &[0], &[0x22, 0x03, 0x00, b'a'], &[0x19, 0x00, 0x00], b"xyz"].concat();
            assert_eq!(inflate(&frame, 103).unwrap(), [&[b'a'; 100][..], b"xyz"].concat());
        }

        #[test]
        fn a_frame_that_looks_back_further_is_refused_before_memory_is_taken() {
            for exponent in [1, 13, 14, 31] {
                let frame =
                    [&START[..], &[exponent << 3], &[0x22, 0x03, 0x00, b'a'], &[0x19, 0x00, 0x00], b"xyz"].concat();
                let error = inflate(&frame, 103).unwrap_err();
                assert!(error.to_string().contains("damaged"), "{error}");
            }
        }

        #[test]
        fn a_gibibyte_of_zeros_in_32_kib_ends_where_it_was_promised_to() {
            let block = |last: u32| (last | 1 << 1 | (128 << 10) << 3).to_le_bytes()[..3].to_vec();
            let blocks = 8192;
            let zeros = |n| [block(u32::from(n == blocks)), vec![0]].concat();
            let bomb: Vec<u8> = START.into_iter().chain([7 << 3]).chain((1..=blocks).flat_map(zeros)).collect();
            assert!(bomb.len() < 33 << 10);
            let error = inflate(&bomb, 200_000).unwrap_err();
            assert!(error.to_string().contains("more than 200000 bytes"), "{error}");
        }

        #[test]
        fn frames_of_other_kinds_are_not_decoded() {
            let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
            let with_size = ::zstd::bulk::compress(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 3).unwrap();
            for foreign in [&skippable[..], &with_size, &[]] {
                assert!(inflate(foreign, 32).unwrap_err().to_string().contains("that this cache wrote"));
            }
        }
    }
}
