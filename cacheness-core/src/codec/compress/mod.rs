//! Compressing stored bytes, and inflating them within bounds.
//!
//! How bytes were compressed is stored beside them as a [`StoredCodec`], so that a reader never guesses. Sizes that were
//! stored are not believed: memory grows with what really comes out and ends at the size that was promised, and only
//! frames that begin as ours do are decoded, which keeps what a decoder sets aside small.

#[cfg(feature = "blosclz")]
mod blosclz;
mod lz4;
#[cfg(any(feature = "gzip", feature = "zstd"))]
mod streams;

use std::borrow::Cow;
#[cfg(any(feature = "gzip", feature = "zstd"))]
use std::io::{ErrorKind as IoKind, Read};

pub(crate) use crate::config::{Codec, Compression, StoredCodec};
pub(crate) use lz4::Blocks;

use super::Parts;
use crate::config::Limits;
use crate::error::{CacheError, ErrorKind, Result};

/// Bytes that compression made smaller.
#[derive(Debug)]
pub(crate) struct Compressed {
    pub(crate) codec: StoredCodec,
    pub(crate) bytes: Vec<u8>,
}

/// Below this size nothing is won.
const SMALLEST: usize = 64;
/// From this size on, a sample is tried before the whole is: a quarter of it at most, and less of larger values.
const SAMPLED_FROM: usize = 256 << 10;
/// From this size on, LZ4 takes blocks that two threads can share; numbers are in blocks whatever their size.
const BLOCKS_FROM: usize = 1 << 20;
const SAMPLES: usize = 4;
const SAMPLE_BYTES: usize = 16 << 10;

/// Compresses the bytes of a value, or says `None` when it does not pay: when less than a twentieth is saved. The value is
/// made of numbers of `width` bytes; 1 if that is not known.
///
/// # Errors
/// `Compression` when the codec fails.
pub(crate) fn compress(with: impl Into<Compression>, value: &Parts<'_>, width: usize) -> Result<Option<Compressed>> {
    let with = with.into();
    if with.codec == Codec::None || value.len() < SMALLEST || !sample_pays(with.codec, value, width)? {
        return Ok(None);
    }
    let compressed = match with.codec {
        Codec::Lz4 if width > 1 || value.len() >= BLOCKS_FROM => lz4::compress_blocks(value, width)?,
        _ => squeeze(with, &value.contiguous(), width)?,
    };
    Ok(pays(compressed.bytes.len(), value.len()).then_some(compressed))
}

#[cfg_attr(not(feature = "blosclz"), allow(unused_variables, reason = "one codec asks for the width"))]
fn squeeze(with: Compression, bytes: &[u8], width: usize) -> Result<Compressed> {
    match with.codec {
        Codec::None => Ok(Compressed { codec: StoredCodec::None, bytes: bytes.to_vec() }),
        Codec::Lz4 => lz4::compress(bytes),
        #[cfg(feature = "blosclz")]
        Codec::Blosclz => {
            let bytes = blosclz::compress(bytes, with.level, width);
            Ok(Compressed { codec: StoredCodec::Blosclz, bytes })
        }
        #[cfg(feature = "zstd")]
        Codec::Zstd => {
            streams::zstd::compress(bytes, with.level).map(|bytes| Compressed { codec: StoredCodec::Zstd, bytes })
        }
        #[cfg(feature = "gzip")]
        Codec::Gzip => {
            streams::gzip::compress(bytes, with.level).map(|bytes| Compressed { codec: StoredCodec::Gzip, bytes })
        }
    }
}

fn pays(compressed: usize, raw: usize) -> bool {
    compressed <= raw - raw / 20
}

/// Tries a few pieces spread over large inputs: those that do not shrink (images, archives) are recognised by them.
fn sample_pays(codec: Codec, value: &Parts<'_>, width: usize) -> Result<bool> {
    // What lies in the other piece is a length.
    let [head, tail] = value.pieces();
    let bytes = if tail.len() > head.len() { tail } else { head };
    if bytes.len() < SAMPLED_FROM {
        return Ok(true);
    }
    let quickly = Compression { codec, level: fastest(codec) };
    // Whole numbers.
    let stride = (bytes.len() - SAMPLE_BYTES) / (SAMPLES - 1) / width * width;
    let mut compressed = 0;
    for sample in 0..SAMPLES {
        let sample = &bytes[sample * stride..][..SAMPLE_BYTES];
        compressed += match codec {
            Codec::Lz4 => lz4::sample_len(sample, width),
            _ => squeeze(quickly, sample, width)?.bytes.len(),
        };
    }
    Ok(pays(compressed, SAMPLES * SAMPLE_BYTES))
}

fn fastest(codec: Codec) -> Option<u8> {
    codec.levels().map(|levels| *levels.start())
}

/// Whether [`Blocks`] are what is stored: they inflate to where the value is wanted.
pub(crate) fn inflates_in_place(codec: StoredCodec) -> bool {
    codec == StoredCodec::Lz4Blocks
}

/// Gives back what was compressed to `bytes`, exactly `raw_size` bytes.
///
/// # Errors
/// `Limit` when `raw_size` is over [`Limits::max_value_bytes`] or memory cannot hold it; `Compression` when `bytes` are
/// not what [`compress`] made of so many bytes, or its codec is not compiled in.
pub(crate) fn inflate<'a>(
    codec: StoredCodec,
    bytes: &'a [u8],
    raw_size: u64,
    limits: &Limits,
) -> Result<Cow<'a, [u8]>> {
    codec.check_available()?;
    let raw_size = checked_size(codec, bytes.len(), raw_size, limits)?;
    let raw = match codec {
        StoredCodec::None => return Ok(Cow::Borrowed(bytes)),
        StoredCodec::Lz4Block => lz4::inflate_block(bytes, raw_size),
        StoredCodec::Lz4Frame => lz4::inflate_frame(bytes, raw_size),
        #[cfg(feature = "zstd")]
        StoredCodec::Zstd => streams::zstd::inflate(bytes, raw_size),
        #[cfg(feature = "gzip")]
        StoredCodec::Gzip => streams::gzip::inflate(bytes, raw_size),
        #[cfg(feature = "blosclz")]
        StoredCodec::Blosclz => blosclz::inflate(bytes, raw_size),
        StoredCodec::Lz4Blocks => Blocks::of(bytes, raw_size as u64, limits)?.inflate(),
        #[cfg(not(all(feature = "zstd", feature = "gzip", feature = "blosclz")))]
        absent => Err(damaged(format!("nothing inflates {}", absent.name()))),
    };
    raw.map(Cow::Owned)
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
        StoredCodec::Lz4Block => lz4::block_can_be(stored, raw_size),
        // Told by the table of the blocks; or inflated in pieces, and memory is taken for what came out.
        StoredCodec::Lz4Blocks
        | StoredCodec::Lz4Frame
        | StoredCodec::Zstd
        | StoredCodec::Gzip
        | StoredCodec::Blosclz => true,
    };
    match usize::try_from(raw_size) {
        Ok(size) if possible => Ok(size),
        _ => Err(damaged(format!("{stored} stored bytes cannot be the {raw_size} bytes they are said to be"))),
    }
}

fn no_memory(bytes: usize) -> CacheError {
    CacheError::new(ErrorKind::Limit, format!("no memory for {bytes} bytes"))
}

fn damaged(message: String) -> CacheError {
    CacheError::new(ErrorKind::Compression, message)
}

// Taking as much out of a decoder as was promised, and no more.

/// What a decoder is asked for at once.
#[cfg(any(feature = "gzip", feature = "zstd"))]
const PIECE: usize = 64 << 10;

/// Reads a decoder to its end, which has to come after exactly `raw_size` bytes.
#[cfg(any(feature = "gzip", feature = "zstd"))]
fn read_exactly(decoder: &mut impl Read, raw_size: usize, name: &str) -> Result<Vec<u8>> {
    let mut raw = Vec::new();
    loop {
        let filled = raw.len();
        let wanted = PIECE.min(raw_size - filled);
        if wanted == 0 {
            break;
        }
        grow(&mut raw, wanted, raw_size)?;
        raw.resize(filled + wanted, 0);
        let count = read(decoder, &mut raw[filled..], name)?;
        raw.truncate(filled + count);
        if count == 0 {
            return Err(damaged(format!("{filled} bytes came out of {name} of {raw_size}")));
        }
    }
    match read(decoder, &mut [0], name)? {
        0 => Ok(raw),
        _ => Err(damaged(format!("more than {raw_size} bytes came out of {name}"))),
    }
}

#[cfg(any(feature = "gzip", feature = "zstd"))]
fn read(decoder: &mut impl Read, into: &mut [u8], name: &str) -> Result<usize> {
    loop {
        match decoder.read(into) {
            Err(error) if error.kind() == IoKind::Interrupted => {}
            read => return read.map_err(|error| broken(name, error)),
        }
    }
}

/// An error of a decoder.
fn broken(name: &str, error: impl std::error::Error + Send + Sync + 'static) -> CacheError {
    CacheError::caused_by(ErrorKind::Compression, format!("{name} is damaged"), error)
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

#[cfg(test)]
mod tests {
    use lz4_flex::block;
    use proptest::prelude::*;

    use super::lz4::{FRAME_END, FRAME_START, LARGEST_BLOCK, frame};
    use super::*;

    const STORED: [StoredCodec; 7] = [
        StoredCodec::None,
        StoredCodec::Lz4Block,
        StoredCodec::Lz4Frame,
        StoredCodec::Zstd,
        StoredCodec::Gzip,
        StoredCodec::Lz4Blocks,
        StoredCodec::Blosclz,
    ];

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
        come_back(Codec::Lz4.into(), raw)
    }

    fn come_back(with: Compression, raw: &[u8]) -> Option<StoredCodec> {
        let compressed = compress(with, &raw.into(), 1).unwrap()?;
        let back = inflate(compressed.codec, &compressed.bytes, raw.len() as u64, &LIMITS).unwrap();
        assert!(back == raw, "{} bytes", raw.len());
        Some(compressed.codec)
    }

    /// Every codec at every level, and at its own choice.
    fn all() -> impl Iterator<Item = Compression> {
        Codec::ALL.iter().flat_map(|&codec| {
            let levels = codec.levels().into_iter().flatten().map(Some);
            levels.chain([None]).map(move |level| Compression { codec, level })
        })
    }

    /// The codecs that inflate, with what they made of `raw`.
    fn squeezed(raw: &[u8]) -> Vec<Compressed> {
        let compressing = Codec::ALL.iter().filter(|codec| **codec != Codec::None);
        let blocks = lz4::compress_blocks(&raw.into(), 1).unwrap();
        compressing.map(|codec| squeeze((*codec).into(), raw, 1).unwrap()).chain([blocks]).collect()
    }

    #[test]
    fn every_codec_gives_back_what_it_took_at_every_level() {
        for with in all() {
            for raw in [text(100), text(5000), text(100_000), vec![7; 70_000]] {
                let stored = come_back(with, &raw);
                let expected = (with.codec != Codec::None).then(|| with.codec.name());
                assert_eq!(stored.map(StoredCodec::name), expected, "{with:?} on {} bytes", raw.len());
            }
        }
    }

    #[test]
    fn a_higher_level_is_denser() {
        for codec in Codec::ALL {
            let Some(levels) = codec.levels() else { continue };
            let raw: Vec<u8> = text(30_000).iter().zip(noise(30_000)).map(|(text, noise)| text ^ (noise & 1)).collect();
            let size = |level| squeeze(Compression { codec: *codec, level: Some(level) }, &raw, 1).unwrap().bytes.len();
            assert!(size(*levels.end()) < size(*levels.start()), "{codec}");
        }
    }

    #[test]
    fn values_become_a_block_a_frame_or_blocks_by_their_size_and_come_back() {
        for (len, codec) in [
            (SMALLEST * 4, StoredCodec::Lz4Block),
            (LARGEST_BLOCK, StoredCodec::Lz4Block),
            (LARGEST_BLOCK + 1, StoredCodec::Lz4Frame),
            (BLOCKS_FROM - 1, StoredCodec::Lz4Frame),
            (BLOCKS_FROM, StoredCodec::Lz4Blocks),
            (3 * BLOCKS_FROM + 7, StoredCodec::Lz4Blocks),
        ] {
            assert_eq!(round_trip(&text(len)), Some(codec), "{len}");
        }
    }

    #[test]
    fn what_does_not_shrink_or_is_tiny_stays_as_it_is() {
        for len in [0, SMALLEST, 10_000, LARGEST_BLOCK + 1, SAMPLED_FROM, 2 * SAMPLED_FROM] {
            assert!(compress(Codec::Lz4, &noise(len).into(), 1).unwrap().is_none(), "{len}");
        }
        assert!(compress(Codec::Lz4, &vec![0; SMALLEST - 1].into(), 1).unwrap().is_none());
        assert!(compress(Codec::None, &vec![0; 10_000].into(), 1).unwrap().is_none());
    }

    #[test]
    fn large_values_are_judged_by_a_sample() {
        let mut value = vec![0; 2 * BLOCKS_FROM];
        let stride = (value.len() - SAMPLE_BYTES) / (SAMPLES - 1);
        for sample in 0..SAMPLES {
            value[sample * stride..][..SAMPLE_BYTES].copy_from_slice(&noise(SAMPLE_BYTES));
        }
        assert!(compress(Codec::Lz4, &Parts::from(&value), 1).unwrap().is_none());
        value[..SAMPLE_BYTES].fill(0);
        assert_eq!(round_trip(&value), Some(StoredCodec::Lz4Blocks), "a part that shrinks is enough");
    }

    #[test]
    fn the_start_of_a_frame_is_fixed() {
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
        for codec in STORED {
            if codec.check_available().is_err() {
                continue;
            }
            assert!(inflate(codec, b"1234", u64::MAX, &LIMITS).unwrap_err().is_limit());
            let unlimited = Limits { max_value_bytes: u64::MAX, ..LIMITS };
            let error = inflate(codec, b"1234", u64::MAX, &unlimited).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Compression);
        }
    }

    #[test]
    fn a_bomb_stops_at_the_promised_size() {
        let zeros = vec![0; 8 << 20];
        for Compressed { codec, bytes } in squeezed(&zeros) {
            assert!(bytes.len() < 64 << 10, "{codec:?}");
            let error = inflate(codec, &bytes, 1000, &LIMITS).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Compression, "{codec:?}");
        }
        let small = block::compress(&[0; 60_000]);
        assert!(inflate(StoredCodec::Lz4Block, &small, 1000, &LIMITS).is_err());
    }

    #[test]
    fn memory_never_exceeds_the_promised_size() {
        let raw = text(1_000_001);
        for Compressed { codec, bytes } in squeezed(&raw) {
            let Cow::Owned(back) = inflate(codec, &bytes, raw.len() as u64, &LIMITS).unwrap() else { unreachable!() };
            assert!(back.capacity() <= raw.len(), "{codec:?}: {}", back.capacity());
        }
    }

    #[test]
    fn one_byte_more_or_less_on_either_side_is_an_error() {
        for raw in [text(1000), text(200_000)] {
            for Compressed { codec, bytes } in squeezed(&raw) {
                let size = raw.len() as u64;
                let longer = [bytes.as_slice(), &[0]].concat();
                let twice = [bytes.as_slice(), &bytes].concat();
                assert!(inflate(codec, &bytes, size - 1, &LIMITS).is_err(), "{codec:?}");
                assert!(inflate(codec, &bytes, size + 1, &LIMITS).is_err(), "{codec:?}");
                assert!(inflate(codec, &longer, size, &LIMITS).is_err(), "{codec:?}");
                assert!(inflate(codec, &twice, size, &LIMITS).is_err(), "{codec:?}");
                assert!(inflate(codec, &twice, 2 * size, &LIMITS).is_err(), "{codec:?}");
            }
        }
        assert!(inflate(StoredCodec::None, b"1234", 5, &LIMITS).is_err());
        assert_eq!(inflate(StoredCodec::None, b"1234", 4, &LIMITS).unwrap(), b"1234".as_slice());
    }

    #[test]
    fn every_truncation_is_an_error() {
        for raw in [text(1000), text(80_000)] {
            for Compressed { codec, bytes } in squeezed(&raw) {
                for len in 0..bytes.len() {
                    assert!(
                        inflate(codec, &bytes[..len], raw.len() as u64, &LIMITS).is_err(),
                        "{codec:?} cut at {len}"
                    );
                }
            }
        }
    }

    /// The envelope's checksum finds such damage before; here it only must not do harm.
    #[test]
    fn a_flipped_bit_anywhere_is_an_error_or_gives_as_many_bytes_as_there_were() {
        for raw in [text(300), text(70_000)] {
            for Compressed { codec, mut bytes } in squeezed(&raw) {
                let step = 1 + bytes.len() / 400;
                for at in (0..bytes.len()).step_by(step) {
                    for bit in 0..8 {
                        bytes[at] ^= 1 << bit;
                        if let Ok(back) = inflate(codec, &bytes, raw.len() as u64, &LIMITS) {
                            assert_eq!(back.len(), raw.len(), "{codec:?}");
                        }
                        bytes[at] ^= 1 << bit;
                    }
                }
            }
        }
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
            for codec in Codec::ALL {
                // Long values of this one, which takes its time without optimisation, are tried beside it.
                let most = if codec.name() == "blosclz" { 20_000 } else { raw.len() };
                come_back((*codec).into(), &raw[..raw.len().min(most)]);
            }
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 0u64..70_000) {
            let framed = [&FRAME_START[..], &bytes, &FRAME_END].concat();
            let zstd = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 0][..], &bytes].concat();
            let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..], &bytes].concat();
            let lengths = [100, 100, 24 + bytes.len() as u32, 20, bytes.len() as u32].map(u32::to_le_bytes).concat();
            let blosclz = [&[2, 1, 0x10, 1][..], &lengths, &bytes].concat();
            for codec in STORED {
                for bytes in [&bytes, &framed, &zstd, &gzip, &blosclz] {
                    if let Ok(raw) = inflate(codec, bytes, size, &LIMITS) {
                        prop_assert_eq!(raw.len() as u64, size);
                    }
                }
            }
        }
    }
}
