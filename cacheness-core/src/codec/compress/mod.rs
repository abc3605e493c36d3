//! Compressing stored bytes, and inflating them within bounds.
//!
//! How bytes were compressed is stored beside them as a [`StoredCodec`], so that a reader never guesses. Sizes that were
//! stored are not believed: memory grows with what really comes out and ends at the size that was promised, and only
//! frames that begin as ours do are decoded, which keeps what a decoder sets aside small.

#[cfg(feature = "blosclz")]
mod blosclz;
mod lz4;
#[cfg(test)]
mod tests;

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
        Codec::Zstd => zstd::compress(bytes, with.level).map(|bytes| Compressed { codec: StoredCodec::Zstd, bytes }),
        #[cfg(feature = "gzip")]
        Codec::Gzip => gzip::compress(bytes, with.level).map(|bytes| Compressed { codec: StoredCodec::Gzip, bytes }),
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
        StoredCodec::Zstd => zstd::inflate(bytes, raw_size),
        #[cfg(feature = "gzip")]
        StoredCodec::Gzip => gzip::inflate(bytes, raw_size),
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

// Codecs that make one stream of a value and begin it always alike, so that no other kind of stream is ever decoded.

/// gzip: one member a value.
#[cfg(feature = "gzip")]
mod gzip {
    use std::io::Write;

    use flate2::bufread::GzDecoder;
    use flate2::write::GzEncoder;

    use super::{damaged, read_exactly};
    use crate::error::{CacheError, ErrorKind, Result};

    /// How every member of ours begins: the magic number, deflate, no name, no comment, no time.
    pub(super) const START: [u8; 8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];

    const NAME: &str = "a gzip member";

    /// Unless another is asked for.
    const LEVEL: u8 = 6;

    pub(super) fn compress(bytes: &[u8], level: Option<u8>) -> Result<Vec<u8>> {
        let level = flate2::Compression::new(u32::from(level.unwrap_or(LEVEL)));
        let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), level);
        let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
        written
            .map_err(|error| CacheError::caused_by(ErrorKind::Compression, "gzip could not compress the value", error))
    }

    pub(super) fn inflate(bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
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
mod zstd {
    use std::ops::RangeInclusive;

    use ::zstd::bulk::Compressor;
    use ::zstd::stream::read::Decoder;
    use ::zstd::zstd_safe::CParameter;

    use super::{broken, damaged, read_exactly};
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

    pub(super) fn compress(bytes: &[u8], level: Option<u8>) -> Result<Vec<u8>> {
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

    pub(super) fn inflate(bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
        if !bytes.starts_with(&START) {
            return Err(damaged("not a Zstandard frame that this cache wrote".into()));
        }
        let mut decoder = Decoder::with_buffer(bytes).map_err(|error| broken(NAME, error))?.single_frame();
        decoder.window_log_max(window_log(raw_size)).map_err(|error| broken(NAME, error))?;
        let raw = read_exactly(&mut decoder, raw_size, NAME)?;
        if decoder.finish().is_empty() { Ok(raw) } else { Err(damaged(format!("bytes follow the end of {NAME}"))) }
    }
}
