//! Compressing stored bytes, and inflating them within bounds.
//!
//! How bytes were compressed is stored beside them as a [`StoredCodec`], so that a reader never guesses. Small values
//! are one LZ4 block; larger ones an LZ4 frame, whose blocks are inflated one at a time. Sizes that were stored are
//! not believed: memory grows with what really comes out and ends at the size that was promised.

use std::borrow::Cow;
use std::io::{BufRead, Write};

use lz4_flex::block;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

mod codec;

pub use codec::Codec;
pub(crate) use codec::StoredCodec;

use crate::{CacheError, ErrorKind, Limits, Result};

/// Bytes that compression made smaller.
#[derive(Debug)]
pub(crate) struct Compressed {
    pub(crate) codec: StoredCodec,
    pub(crate) bytes: Vec<u8>,
}

/// Below this size nothing is won.
const SMALLEST: usize = 64;
/// Up to this size one block, which is inflated in one piece; and the size of the blocks of a frame.
const LARGEST_BLOCK: usize = 64 << 10;
/// From this size on, a sample is tried before the whole is.
const SAMPLED_FROM: usize = 1 << 20;
const SAMPLES: usize = 4;
const SAMPLE_BYTES: usize = 16 << 10;

/// Compresses bytes, or says `None` when it does not pay: when less than a twentieth is saved.
///
/// # Errors
/// `Compression` when the codec fails.
pub(crate) fn compress(codec: Codec, bytes: &[u8]) -> Result<Option<Compressed>> {
    if codec == Codec::None || bytes.len() < SMALLEST || !sample_pays(bytes) {
        return Ok(None);
    }
    let compressed = if bytes.len() <= LARGEST_BLOCK {
        Compressed { codec: StoredCodec::Lz4Block, bytes: block::compress(bytes) }
    } else {
        Compressed { codec: StoredCodec::Lz4Frame, bytes: frame(bytes)? }
    };
    Ok(pays(compressed.bytes.len(), bytes.len()).then_some(compressed))
}

fn pays(compressed: usize, raw: usize) -> bool {
    compressed <= raw - raw / 20
}

/// Tries a few pieces spread over large inputs: those that do not shrink (images, archives) are recognised by them.
fn sample_pays(bytes: &[u8]) -> bool {
    if bytes.len() < SAMPLED_FROM {
        return true;
    }
    let stride = (bytes.len() - SAMPLE_BYTES) / (SAMPLES - 1);
    let compressed = |sample: usize| block::compress(&bytes[sample * stride..][..SAMPLE_BYTES]).len();
    pays((0..SAMPLES).map(compressed).sum(), SAMPLES * SAMPLE_BYTES)
}

/// How every frame of ours begins: LZ4 frame version 1, blocks of 64 KiB that stand alone, no sizes and no checksums
/// (the blob's envelope has both). A frame that begins otherwise is not ours: no other kind of frame is ever decoded.
const FRAME_START: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const FRAME_END: [u8; 4] = [0; 4];

fn frame(bytes: &[u8]) -> Result<Vec<u8>> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(bytes.len() / 2));
    let written = encoder.write_all(bytes).map_err(Into::into).and_then(|()| encoder.finish());
    written.map_err(|error| CacheError::caused_by(ErrorKind::Compression, "LZ4 could not compress the value", error))
}

/// Gives back what was compressed to `bytes`, exactly `raw_size` bytes.
///
/// # Errors
/// `Limit` when `raw_size` is over [`Limits::max_value_bytes`] or memory cannot hold it; `Compression` when `bytes` are
/// not what [`compress`] made of so many bytes.
pub(crate) fn inflate<'a>(
    codec: StoredCodec,
    bytes: &'a [u8],
    raw_size: u64,
    limits: &Limits,
) -> Result<Cow<'a, [u8]>> {
    let raw_size = checked_size(codec, bytes.len(), raw_size, limits)?;
    match codec {
        StoredCodec::None => Ok(Cow::Borrowed(bytes)),
        StoredCodec::Lz4Block => inflate_block(bytes, raw_size).map(Cow::Owned),
        StoredCodec::Lz4Frame => inflate_frame(bytes, raw_size).map(Cow::Owned),
    }
}

/// Whether so many bytes can come of so many, before any memory is taken for them.
fn checked_size(codec: StoredCodec, stored: usize, raw_size: u64, limits: &Limits) -> Result<usize> {
    if raw_size > limits.max_value_bytes {
        let max = limits.max_value_bytes;
        return Err(CacheError::new(
            ErrorKind::Limit,
            format!("a value of {raw_size} bytes is over the limit of {max}"),
        ));
    }
    let possible = match codec {
        StoredCodec::None => raw_size == stored as u64,
        // One byte of LZ4 stands for at most 255.
        StoredCodec::Lz4Block => raw_size <= LARGEST_BLOCK as u64 && raw_size <= stored as u64 * 255,
        // Inflated in pieces, and memory is taken for what came out.
        StoredCodec::Lz4Frame => true,
    };
    match usize::try_from(raw_size) {
        Ok(size) if possible => Ok(size),
        _ => Err(damaged(format!("{stored} stored bytes cannot be the {raw_size} bytes they are said to be"))),
    }
}

fn inflate_block(bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
    let mut raw = vec![0; raw_size];
    match block::decompress_into(bytes, &mut raw) {
        Ok(len) if len == raw_size => Ok(raw),
        Ok(len) => Err(damaged(format!("{len} bytes came out of an LZ4 block of {raw_size}"))),
        Err(error) => Err(CacheError::caused_by(ErrorKind::Compression, "damaged LZ4 block", error)),
    }
}

fn inflate_frame(bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
    if !bytes.starts_with(&FRAME_START) || !bytes.ends_with(&FRAME_END) {
        return Err(damaged("not an LZ4 frame that this cache wrote".into()));
    }
    let mut decoder = FrameDecoder::new(bytes);
    let mut raw = Vec::new();
    loop {
        let piece = decoder
            .fill_buf()
            .map_err(|error| CacheError::caused_by(ErrorKind::Compression, "damaged LZ4 frame", error))?;
        if piece.is_empty() {
            break;
        }
        if piece.len() > raw_size - raw.len() {
            return Err(damaged(format!("more than {raw_size} bytes came out of an LZ4 frame")));
        }
        grow(&mut raw, piece.len(), raw_size)?;
        raw.extend_from_slice(piece);
        let taken = piece.len();
        decoder.consume(taken);
    }
    match (raw.len() == raw_size, decoder.get_ref().is_empty()) {
        (true, true) => Ok(raw),
        (false, _) => Err(damaged(format!("{} bytes came out of an LZ4 frame of {raw_size}", raw.len()))),
        (true, false) => Err(damaged("bytes follow the end of an LZ4 frame".into())),
    }
}

/// Makes room for `more` bytes: doubling, and never beyond `most` in all.
fn grow(raw: &mut Vec<u8>, more: usize, most: usize) -> Result<()> {
    let needed = raw.len() + more;
    if needed <= raw.capacity() {
        return Ok(());
    }
    let room = needed.max(raw.capacity().saturating_mul(2)).min(most);
    raw.try_reserve_exact(room - raw.len())
        .map_err(|error| CacheError::caused_by(ErrorKind::Limit, format!("no memory for {room} bytes"), error))
}

fn damaged(message: String) -> CacheError {
    CacheError::new(ErrorKind::Compression, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { max_value_bytes: 8 << 20, ..Limits::DEFAULT };

    fn text(len: usize) -> Vec<u8> {
        (0u32..).flat_map(|n| format!("row {n}, ").into_bytes()).take(len).collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..len).map(|_| next()).collect()
    }

    fn round_trip(raw: &[u8]) -> Option<StoredCodec> {
        let compressed = compress(Codec::Lz4, raw).unwrap()?;
        let back = inflate(compressed.codec, &compressed.bytes, raw.len() as u64, &LIMITS).unwrap();
        assert!(back == raw, "{} bytes", raw.len());
        Some(compressed.codec)
    }

    #[test]
    fn small_values_become_a_block_and_large_ones_a_frame_and_come_back() {
        for (len, codec) in [
            (SMALLEST * 4, StoredCodec::Lz4Block),
            (LARGEST_BLOCK, StoredCodec::Lz4Block),
            (LARGEST_BLOCK + 1, StoredCodec::Lz4Frame),
            (SAMPLED_FROM, StoredCodec::Lz4Frame),
            (3 * SAMPLED_FROM + 7, StoredCodec::Lz4Frame),
        ] {
            assert_eq!(round_trip(&text(len)), Some(codec), "{len}");
        }
    }

    #[test]
    fn what_does_not_shrink_or_is_tiny_stays_as_it_is() {
        for len in [0, SMALLEST, 10_000, LARGEST_BLOCK + 1, SAMPLED_FROM, 2 * SAMPLED_FROM] {
            assert!(compress(Codec::Lz4, &noise(len)).unwrap().is_none(), "{len}");
        }
        assert!(compress(Codec::Lz4, &[0; SMALLEST - 1]).unwrap().is_none());
        assert!(compress(Codec::None, &[0; 10_000]).unwrap().is_none());
    }

    #[test]
    fn large_values_are_judged_by_a_sample() {
        let mut value = vec![0; 2 * SAMPLED_FROM];
        let stride = (value.len() - SAMPLE_BYTES) / (SAMPLES - 1);
        for sample in 0..SAMPLES {
            value[sample * stride..][..SAMPLE_BYTES].copy_from_slice(&noise(SAMPLE_BYTES));
        }
        assert!(compress(Codec::Lz4, &value).unwrap().is_none());
        value[..SAMPLE_BYTES].fill(0);
        assert_eq!(round_trip(&value), Some(StoredCodec::Lz4Frame), "a part that shrinks is enough");
    }

    #[test]
    fn the_stored_numbers_and_the_start_of_a_frame_are_fixed() {
        assert_eq!([StoredCodec::None, StoredCodec::Lz4Block, StoredCodec::Lz4Frame].map(u8::from), [0, 1, 2]);
        assert!(StoredCodec::try_from(3).unwrap_err().to_string().contains("codec 3"));
        let framed = frame(&text(100_000)).unwrap();
        assert!(framed.starts_with(&FRAME_START) && framed.ends_with(&FRAME_END));
    }

    #[test]
    fn a_block_and_a_frame_written_by_hand_are_read() {
        // One literal, a match of 94 bytes one back, five literals.
        let block = [0x1f, b'a', 1, 0, 75, 0x50, b'a', b'a', b'a', b'a', b'a'];
        assert_eq!(inflate(StoredCodec::Lz4Block, &block, 100, &LIMITS).unwrap(), [b'a'; 100].as_slice());
        let (compressed, plain) = ([11, 0, 0, 0], [3, 0, 0, 0x80]);
        let frame = [&FRAME_START[..], &compressed, &block, &plain, b"xyz", &FRAME_END].concat();
        let expected = [&[b'a'; 100][..], b"xyz"].concat();
        assert_eq!(inflate(StoredCodec::Lz4Frame, &frame, 103, &LIMITS).unwrap(), expected);
    }

    #[test]
    fn a_forged_size_is_an_error_and_takes_no_memory() {
        for codec in [StoredCodec::None, StoredCodec::Lz4Block, StoredCodec::Lz4Frame] {
            assert!(inflate(codec, b"1234", u64::MAX, &LIMITS).unwrap_err().is_limit());
            let unlimited = Limits { max_value_bytes: u64::MAX, ..LIMITS };
            let error = inflate(codec, b"1234", u64::MAX, &unlimited).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Compression);
        }
    }

    #[test]
    fn a_bomb_stops_at_the_promised_size() {
        let bomb = frame(&vec![0; 8 << 20]).unwrap();
        assert!(bomb.len() < 64 << 10);
        let error = inflate(StoredCodec::Lz4Frame, &bomb, 1000, &LIMITS).unwrap_err();
        assert!(error.to_string().contains("more than 1000"), "{error}");
        let small = block::compress(&[0; 60_000]);
        assert!(inflate(StoredCodec::Lz4Block, &small, 1000, &LIMITS).is_err());
    }

    #[test]
    fn memory_for_a_frame_never_exceeds_the_promised_size() {
        let raw = text(1_000_001);
        let back = inflate_frame(&frame(&raw).unwrap(), raw.len()).unwrap();
        assert!(back.capacity() <= raw.len(), "{}", back.capacity());
    }

    #[test]
    fn one_byte_more_or_less_on_either_side_is_an_error() {
        for raw in [text(1000), text(200_000)] {
            let Compressed { codec, bytes } = compress(Codec::Lz4, &raw).unwrap().unwrap();
            let size = raw.len() as u64;
            let longer = [bytes.as_slice(), &[0]].concat();
            let twice = [bytes.as_slice(), &bytes].concat();
            assert!(inflate(codec, &bytes, size - 1, &LIMITS).is_err());
            assert!(inflate(codec, &bytes, size + 1, &LIMITS).is_err());
            assert!(inflate(codec, &longer, size, &LIMITS).is_err());
            assert!(inflate(codec, &twice, size, &LIMITS).is_err());
            assert!(inflate(codec, &bytes[..bytes.len() - 1], size, &LIMITS).is_err());
        }
        assert!(inflate(StoredCodec::None, b"1234", 5, &LIMITS).is_err());
        assert_eq!(inflate(StoredCodec::None, b"1234", 4, &LIMITS).unwrap(), b"1234".as_slice());
    }

    #[test]
    fn frames_of_other_kinds_are_not_decoded() {
        let legacy = [0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0];
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0];
        for foreign in [&legacy[..], &skippable, &[]] {
            let error = inflate(StoredCodec::Lz4Frame, foreign, 0, &LIMITS).unwrap_err();
            assert!(error.to_string().contains("not an LZ4 frame"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_value_comes_back(raw in prop::collection::vec(0u8..4, 0..200_000)) {
            round_trip(&raw);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 0u64..70_000) {
            let framed = [&FRAME_START[..], &bytes, &FRAME_END].concat();
            for codec in [StoredCodec::None, StoredCodec::Lz4Block, StoredCodec::Lz4Frame] {
                for bytes in [&bytes, &framed] {
                    if let Ok(raw) = inflate(codec, bytes, size, &LIMITS) {
                        prop_assert_eq!(raw.len() as u64, size);
                    }
                }
            }
        }

        #[test]
        fn a_damaged_frame_is_an_error_or_as_long_as_it_was(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let raw = text(150_000);
            let mut bytes = frame(&raw).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(back) = inflate(StoredCodec::Lz4Frame, &bytes, raw.len() as u64, &LIMITS) {
                prop_assert_eq!(back.len(), raw.len());
            }
        }
    }
}
