//! Compressing stored bytes, and inflating them within bounds.
//!
//! How bytes were compressed is stored beside them as a [`StoredCodec`], so that a reader never guesses. Sizes that were
//! stored are not believed: memory grows with what really comes out and ends at the size that was promised, and only
//! frames that begin as ours do are decoded, which keeps what a decoder sets aside small.

mod blocks;
#[cfg(feature = "blosclz")]
mod blosclz;
mod bounded;
#[cfg(feature = "gzip")]
mod gzip;
mod lz4;
mod ramps;
#[cfg(test)]
mod tests;
#[cfg(feature = "zstd")]
mod zstd;

use std::borrow::Cow;

pub(crate) use crate::config::{Codec, Compression, StoredCodec};
pub(crate) use blocks::Blocks;

use crate::codec::parts::Parts;
use crate::config::limits::Limits;
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
        Codec::Lz4 if width > 1 || value.len() >= BLOCKS_FROM => blocks::compress(value, width)?,
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
            Codec::Lz4 => blocks::sample_len(sample, width),
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
