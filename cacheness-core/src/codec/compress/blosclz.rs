//! BloscLZ in buffers of Blosc 1, as every Blosc library reads them: the bytes of numbers are sorted by their place, and the
//! long runs that this makes are what BloscLZ is good at.
//!
//! A value is one buffer, or several in a row, each but the last of [`BUFFER`] bytes. A buffer:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version of the format: 2 |
//! | 1 | version of BloscLZ: 1 |
//! | 1 | flags: blocks are not split; with 1, bytes are sorted by their place in a number |
//! | 1 | bytes of a number |
//! | 4 | bytes before compression, little endian as every number here |
//! | 4 | bytes of a block before compression |
//! | 4 | bytes of the buffer |
//! | 4 each | where the blocks begin |
//! | … | the blocks: 4 bytes for their length, then a stream of BloscLZ, or the bytes as they are if it has the same length |
//!
//! A reader takes what a writer here makes, and nothing else: other flags, other orders of blocks and gaps between them are
//! damage. It takes memory for one block and for what came out.

mod shuffle;
mod stream;

use std::ops::RangeInclusive;

use super::bounded::grow;
use super::damaged;
use crate::error::Result;
use stream::Effort;

pub(super) const LEVELS: RangeInclusive<u8> = 1..=9;
/// Unless another is asked for.
const LEVEL: u8 = 5;

/// How every buffer of ours begins: versions, and blocks that are not split.
const START: [u8; 2] = [2, 1];
const UNSPLIT: u8 = 0x10;
const SORTED: u8 = 0x01;
const HEADER: usize = 16;

/// Bytes of a value in one buffer.
pub(super) const BUFFER: usize = 1 << 20;
const SMALLEST_BLOCK: usize = 32 << 10;
const LARGEST_BLOCK: usize = 512 << 10;

const NAME: &str = "a BloscLZ buffer";

/// How much larger blocks are at higher levels.
fn block_bytes(level: u8) -> usize {
    (SMALLEST_BLOCK << (level.saturating_sub(1) / 2)).min(LARGEST_BLOCK)
}

/// The numbers that bytes are made of, if their bytes are sorted.
fn width_of(width: usize) -> u8 {
    match width {
        2 => 2,
        4 => 4,
        8 => 8,
        _ => 1,
    }
}

/// Compresses bytes made of numbers of so many bytes each.
pub(super) fn compress(bytes: &[u8], level: Option<u8>, width: usize) -> Vec<u8> {
    let level = level.unwrap_or(LEVEL).clamp(*LEVELS.start(), *LEVELS.end());
    let mut effort = Effort::at(level);
    let mut out = Vec::with_capacity(bytes.len() / 2);
    for buffer in bytes.chunks(BUFFER) {
        write_buffer(buffer, block_bytes(level).min(buffer.len()), width_of(width), &mut effort, &mut out);
    }
    out
}

fn write_buffer(bytes: &[u8], block_bytes: usize, width: u8, effort: &mut Effort, out: &mut Vec<u8>) {
    let (start, blocks) = (out.len(), bytes.len().div_ceil(block_bytes));
    let flags = UNSPLIT | if width > 1 { SORTED } else { 0 };
    out.extend_from_slice(&[START[0], START[1], flags, width]);
    out.extend_from_slice(&length(bytes.len()));
    out.extend_from_slice(&length(block_bytes));
    // What is known at the end: the length, and where each block begins.
    out.resize(start + HEADER + 4 * blocks, 0);
    let mut sorted = Vec::new();
    for (at, block) in bytes.chunks(block_bytes).enumerate() {
        let begin = length(out.len() - start);
        out[start + HEADER + 4 * at..][..4].copy_from_slice(&begin);
        shuffle::sort(block, width, &mut sorted);
        write_block(if width > 1 { &sorted } else { block }, effort, out);
    }
    let all = length(out.len() - start);
    out[start + 12..][..4].copy_from_slice(&all);
}

fn write_block(block: &[u8], effort: &mut Effort, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    stream::compress(block, effort, out);
    if out.len() - start - 4 >= block.len() {
        out.truncate(start + 4);
        out.extend_from_slice(block);
    }
    let len = length(out.len() - start - 4);
    out[start..][..4].copy_from_slice(&len);
}

/// A length below four gigabytes, which all of one buffer are.
fn length(bytes: usize) -> [u8; 4] {
    (bytes as u32).to_le_bytes()
}

/// Gives back what was compressed, exactly `raw_size` bytes.
pub(super) fn inflate(mut bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
    let (mut raw, mut block, mut sorted) = (Vec::new(), Vec::new(), Vec::new());
    while raw.len() < raw_size {
        let wanted = BUFFER.min(raw_size - raw.len());
        let (buffer, rest) = Buffer::of(bytes, wanted).ok_or_else(|| {
            damaged(format!("not {NAME} of {wanted} bytes that this cache wrote, at byte {} of the value", raw.len()))
        })?;
        for at in 0..buffer.blocks {
            let len = buffer.block_bytes.min(wanted - at * buffer.block_bytes);
            grow(&mut raw, len, raw_size)?;
            let stored =
                buffer.block(at).ok_or_else(|| damaged(format!("block {at} of {NAME} is not in its place")))?;
            let plain = if stored.len() == len {
                stored
            } else {
                stream::inflate(stored, len, &mut block)
                    .ok_or_else(|| damaged(format!("block {at} of {NAME} is damaged")))?;
                &block
            };
            shuffle::unsort(plain, buffer.width, &mut sorted);
            raw.extend_from_slice(if buffer.width > 1 { &sorted } else { plain });
        }
        bytes = rest;
    }
    if bytes.is_empty() { Ok(raw) } else { Err(damaged(format!("bytes follow the end of {NAME}"))) }
}

/// A buffer whose header is one of ours.
struct Buffer<'a> {
    bytes: &'a [u8],
    width: u8,
    block_bytes: usize,
    blocks: usize,
}

impl<'a> Buffer<'a> {
    /// The buffer at the beginning, which holds so many bytes, and what follows it.
    fn of(bytes: &'a [u8], raw: usize) -> Option<(Self, &'a [u8])> {
        let ([version, of_codec, flags, width], _) = bytes.split_first_chunk::<4>()?;
        let sorts = match width {
            1 => 0,
            2 | 4 | 8 => SORTED,
            _ => return None,
        };
        let is_ours = [*version, *of_codec] == START && *flags == UNSPLIT | sorts && number(bytes, 4)? == raw;
        let (block_bytes, all) = (number(bytes, 8)?, number(bytes, 12)?);
        let is_block = block_bytes == raw || block_bytes < raw && block_bytes >= SMALLEST_BLOCK;
        if !is_ours || !is_block || block_bytes > LARGEST_BLOCK {
            return None;
        }
        let (bytes, rest) = bytes.split_at_checked(all)?;
        let blocks = raw.div_ceil(block_bytes);
        let buffer = Self { bytes, width: *width, block_bytes, blocks };
        (buffer.begin(0)? == HEADER + 4 * blocks).then_some((buffer, rest))
    }

    fn begin(&self, block: usize) -> Option<usize> {
        if block < self.blocks { number(self.bytes, HEADER + 4 * block) } else { Some(self.bytes.len()) }
    }

    /// The stored bytes of a block, which end where the next one begins.
    fn block(&self, at: usize) -> Option<&'a [u8]> {
        let block = self.bytes.get(self.begin(at)?..self.begin(at + 1)?)?;
        let stored = block.get(4..)?;
        (number(block, 0)? == stored.len()).then_some(stored)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests;
