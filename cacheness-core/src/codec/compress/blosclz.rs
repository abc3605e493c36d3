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

use std::ops::RangeInclusive;

use super::{damaged, grow};
use crate::error::Result;

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
        shuffle(block, width, &mut sorted);
        write_block(if width > 1 { &sorted } else { block }, effort, out);
    }
    let all = length(out.len() - start);
    out[start + 12..][..4].copy_from_slice(&all);
}

fn write_block(block: &[u8], effort: &mut Effort, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    compress_stream(block, effort, out);
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
                inflate_stream(stored, len, &mut block)
                    .ok_or_else(|| damaged(format!("block {at} of {NAME} is damaged")))?;
                &block
            };
            unshuffle(plain, buffer.width, &mut sorted);
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

// Bytes of numbers sorted by their place: all first bytes, all second ones, and so on. What is no whole number at the end
// stays where it is.

/// Sorts the bytes of numbers of 2, 4 or 8 bytes; others give nothing.
fn shuffle(bytes: &[u8], width: u8, sorted: &mut Vec<u8>) {
    match width {
        2 => sort_by::<2>(bytes, sorted),
        4 => sort_by::<4>(bytes, sorted),
        8 => sort_by::<8>(bytes, sorted),
        _ => sorted.clear(),
    }
}

/// Undoes [`sort`].
fn unshuffle(sorted: &[u8], width: u8, bytes: &mut Vec<u8>) {
    match width {
        2 => unsort_by::<2>(sorted, bytes),
        4 => unsort_by::<4>(sorted, bytes),
        8 => unsort_by::<8>(sorted, bytes),
        _ => bytes.clear(),
    }
}

fn sort_by<const WIDTH: usize>(bytes: &[u8], sorted: &mut Vec<u8>) {
    let (numbers, rest) = bytes.as_chunks::<WIDTH>();
    sorted.clear();
    for place in 0..WIDTH {
        sorted.extend(numbers.iter().map(|number| number[place]));
    }
    sorted.extend_from_slice(rest);
}

fn unsort_by<const WIDTH: usize>(sorted: &[u8], bytes: &mut Vec<u8>) {
    let count = sorted.len() / WIDTH;
    bytes.clear();
    bytes.resize(sorted.len(), 0);
    let (numbers, rest) = bytes.as_chunks_mut::<WIDTH>();
    let mut places = sorted.chunks(count.max(1));
    for place in 0..WIDTH {
        // As many as there are numbers; none if there is no number.
        let bytes = places.next().unwrap_or_default();
        for (number, byte) in numbers.iter_mut().zip(bytes) {
            number[place] = *byte;
        }
    }
    rest.copy_from_slice(&sorted[count * WIDTH..]);
}

// A stream of BloscLZ: literals, and references to what came before.
//
// | bytes | meaning |
// |---|---|
// | `000nnnnn` | n + 1 literals follow |
// | `lllddddd`, byte | l + 2 bytes again, from d * 256 + byte + 1 back; l is 1 to 6 |
// | `111ddddd`, bytes, byte | 9 bytes and as many more as the bytes say, up to the first that is not 255 |
// | `lll11111`, (bytes,) 255, two bytes | the same from 8192 + 256 * the first + the second back |
//
// The first instruction is literals whatever its upper bits are, and so is the last one of ours.

const MOST_LITERALS: usize = 32;
/// The last five bits of an instruction and the byte behind it, when two more bytes tell how far back.
const FAR: (usize, u8) = (31, 255);
const NEAR: usize = 8191;
const FURTHEST: usize = NEAR + 65535;
const SHORTEST: usize = 4;
/// What a longer way back costs two bytes more for.
const SHORTEST_FAR: usize = 6;

/// Appends the bytes that a stream stands for, exactly `len` of them; `None` if it stands for something else. `out` is
/// emptied before.
fn inflate_stream(mut stream: &[u8], len: usize, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    out.reserve(len);
    let mut first = true;
    while let Some((&code, rest)) = stream.split_first() {
        stream = rest;
        let (kind, low) = (usize::from(code >> 5), usize::from(code & 31));
        if kind == 0 || first {
            let (literals, rest) = stream.split_at_checked(low + 1)?;
            if literals.len() > len - out.len() {
                return None;
            }
            out.extend_from_slice(literals);
            stream = rest;
        } else {
            let mut count = kind + 2;
            if kind == 7 {
                loop {
                    let more = take(&mut stream)?;
                    count += usize::from(more);
                    if more != 255 {
                        break;
                    }
                }
            }
            let byte = take(&mut stream)?;
            let mut back = low * 256 + usize::from(byte) + 1;
            if (low, byte) == FAR {
                back = NEAR + 1 + usize::from(take(&mut stream)?) * 256 + usize::from(take(&mut stream)?);
            }
            if count > len - out.len() {
                return None;
            }
            repeat(out, back, count)?;
        }
        first = false;
    }
    (out.len() == len).then_some(())
}

fn take(stream: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = stream.split_first()?;
    *stream = rest;
    Some(byte)
}

/// Appends `count` bytes from so far back, which may be those that are being appended.
fn repeat(out: &mut Vec<u8>, back: usize, mut count: usize) -> Option<()> {
    let from = out.len().checked_sub(back)?;
    while count > 0 {
        let now = count.min(out.len() - from);
        out.extend_from_within(from..from + now);
        count -= now;
    }
    Some(())
}

/// How hard it looks for repetitions, and what it looks with.
struct Effort {
    bits: u32,
    /// How many places with the same beginning are tried.
    tries: u32,
    /// The last place of each beginning, counted from one.
    last: Vec<u32>,
    /// The place before each place that has the same beginning, counted from one.
    before: Vec<u32>,
}

impl Effort {
    fn at(level: u8) -> Self {
        let level = u32::from(level);
        Self { bits: 8 + level, tries: 1 << level.saturating_sub(4), last: Vec::new(), before: Vec::new() }
    }

    fn begin(&mut self, len: usize) {
        self.last.clear();
        self.last.resize(1 << self.bits, 0);
        self.before.clear();
        self.before.resize(len, 0);
    }

    fn slot(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let beginning = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        Some((beginning.wrapping_mul(0x9e37_79b1) >> (32 - self.bits)) as usize)
    }

    fn note(&mut self, bytes: &[u8], at: usize) {
        if let Some(slot) = self.slot(bytes, at) {
            self.before[at] = std::mem::replace(&mut self.last[slot], at as u32 + 1);
        }
    }

    /// The longest repetition at a place that is worth it: how far back, and how long.
    fn find(&self, bytes: &[u8], at: usize) -> Option<(usize, usize)> {
        let mut candidate = self.last[self.slot(bytes, at)?];
        let (mut best, mut longest) = (None, SHORTEST - 1);
        for _ in 0..self.tries {
            let Some(from) = (candidate as usize).checked_sub(1) else { break };
            let back = at - from;
            if back > FURTHEST {
                break;
            }
            let len = common(bytes, from, at);
            if len > longest && (back <= NEAR || len >= SHORTEST_FAR) {
                (best, longest) = (Some((back, len)), len);
            }
            candidate = self.before[from];
        }
        best
    }
}

/// How many bytes at two places are the same, short of the last one of all, which is a literal.
fn common(bytes: &[u8], from: usize, at: usize) -> usize {
    let (earlier, later) = (&bytes[from..], &bytes[at..bytes.len() - 1]);
    let (old, _) = earlier.as_chunks::<8>();
    let (new, _) = later.as_chunks::<8>();
    let whole = old.iter().zip(new).take_while(|(old, new)| old == new).count() * 8;
    whole + earlier[whole..].iter().zip(&later[whole..]).take_while(|(old, new)| old == new).count()
}

/// Appends a stream that stands for `bytes`, of which there are at least two.
fn compress_stream(bytes: &[u8], effort: &mut Effort, out: &mut Vec<u8>) {
    effort.begin(bytes.len());
    effort.note(bytes, 0);
    let (mut written, mut at) = (0, 1);
    while at + SHORTEST < bytes.len() {
        let Some((back, len)) = effort.find(bytes, at) else {
            effort.note(bytes, at);
            // Where nothing repeats for long, it looks less closely.
            at += 1 + (at - written) / 128;
            continue;
        };
        literals(&bytes[written..at], out);
        reference(back, len, out);
        let every = if effort.tries > 1 { 1 } else { len };
        (at..at + len).step_by(every).for_each(|at| effort.note(bytes, at));
        at += len;
        written = at;
    }
    literals(&bytes[written..], out);
}

fn literals(bytes: &[u8], out: &mut Vec<u8>) {
    for run in bytes.chunks(MOST_LITERALS) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn reference(back: usize, len: usize, out: &mut Vec<u8>) {
    let (high, near) = if back <= NEAR { ((back - 1) >> 8, (back - 1) as u8) } else { FAR };
    let code = (len - 2).min(7);
    out.push((code << 5 | high) as u8);
    if code == 7 {
        let more = len - 9;
        out.extend(std::iter::repeat_n(255, more / 255));
        out.push((more % 255) as u8);
    }
    out.push(near);
    if back > NEAR {
        out.extend_from_slice(&((back - NEAR - 1) as u16).to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
