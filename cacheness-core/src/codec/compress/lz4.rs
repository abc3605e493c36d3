//! LZ4: one block for small values, a frame for larger ones, whose blocks are inflated one at a time, and blocks for
//! large values and vectors of numbers.

use std::borrow::Cow;
use std::io::{BufRead, Write};

use bytemuck::{Pod, pod_collect_to_vec, try_cast_slice, try_cast_slice_mut};
use lz4_flex::block;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Compressed, StoredCodec, broken, damaged, grow, pays};
use crate::codec::Parts;
use crate::config::Limits;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::threads::{each, is_worth_two};

/// Up to this size one block, which is inflated in one piece; and the size of the blocks of a frame.
pub(super) const LARGEST_BLOCK: usize = 64 << 10;

/// How every frame of ours begins: LZ4 frame version 1, blocks of 64 KiB that stand alone, no sizes and no checksums
/// (the blob's envelope has both). A frame that begins otherwise is not ours: no other kind of frame is ever decoded.
pub(super) const FRAME_START: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
pub(super) const FRAME_END: [u8; 4] = [0; 4];

const NAME: &str = "an LZ4 frame";

pub(super) fn compress(bytes: &[u8]) -> Result<Compressed> {
    if bytes.len() <= LARGEST_BLOCK {
        return Ok(Compressed { codec: StoredCodec::Lz4Block, bytes: block::compress(bytes) });
    }
    frame(bytes).map(|bytes| Compressed { codec: StoredCodec::Lz4Frame, bytes })
}

pub(super) fn frame(bytes: &[u8]) -> Result<Vec<u8>> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(bytes.len() / 2));
    let written = encoder.write_all(bytes).map_err(Into::into).and_then(|()| encoder.finish());
    written.map_err(|error| CacheError::caused_by(ErrorKind::Compression, "LZ4 could not compress the value", error))
}

/// Whether so many bytes can come of a block of so many: one byte of LZ4 stands for at most 255.
pub(super) fn block_can_be(stored: usize, raw_size: u64) -> bool {
    raw_size <= LARGEST_BLOCK as u64 && raw_size <= stored as u64 * 255
}

pub(super) fn inflate_block(bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
    let mut raw = vec![0; raw_size];
    match block::decompress_into(bytes, &mut raw) {
        Ok(len) if len == raw_size => Ok(raw),
        Ok(len) => Err(damaged(format!("{len} bytes came out of an LZ4 block of {raw_size}"))),
        Err(error) => Err(broken("an LZ4 block", error)),
    }
}

pub(super) fn inflate_frame(bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
    if !bytes.starts_with(&FRAME_START) || !bytes.ends_with(&FRAME_END) {
        return Err(damaged("not an LZ4 frame that this cache wrote".into()));
    }
    let mut decoder = FrameDecoder::new(bytes);
    let mut raw = Vec::new();
    loop {
        let piece = decoder.fill_buf().map_err(|error| broken(NAME, error))?;
        if piece.is_empty() {
            break;
        }
        if piece.len() > raw_size - raw.len() {
            return Err(damaged(format!("more than {raw_size} bytes came out of {NAME}")));
        }
        grow(&mut raw, piece.len(), raw_size)?;
        raw.extend_from_slice(piece);
        let taken = piece.len();
        decoder.consume(taken);
    }
    match (raw.len() == raw_size, decoder.get_ref().is_empty()) {
        (true, true) => Ok(raw),
        (false, _) => Err(damaged(format!("{} bytes came out of {NAME} of {raw_size}", raw.len()))),
        (true, false) => Err(damaged(format!("bytes follow the end of {NAME}"))),
    }
}

// Large values and vectors of numbers: blocks of 1 MiB that stand alone, so that two threads can work on one value.
//
// | bytes | content |
// |---|---|
// | 1 | bytes of one number: 1, 2, 4 or 8 |
// | 1 | *n*, bytes before the first block: those of a head before numbers, else 8, fewer in a shorter value |
// | *n* | these bytes |
// | | for each block: |
// | 4 | length of its body, little endian like every number here |
// | 1 | how it is written: 0 as it is, 1 as an LZ4 block, 2 as ramps |
// | … | its body |
//
// A block is 1 MiB of the value, the last one what is left. Ramps are numbers that differ from the one before always by
// the same: zeros, constants, ranges, steps.

/// Bytes of the value in one block.
const BLOCK: usize = 1 << 20;

/// What stands before the first block at least, so that elements that follow a length of eight bytes begin with a block.
const LEAD: usize = 8;
/// A longer piece of its own before the numbers goes into the blocks.
const LONGEST_LEAD: usize = u8::MAX as usize;

/// Length and method.
const BLOCK_HEAD: usize = 5;

const PLAIN: u8 = 0;
const LZ4: u8 = 1;
const RAMPS: u8 = 2;

/// Compresses a value of numbers of `width` bytes, 1 if nothing is known of it.
pub(super) fn compress_blocks(value: &Parts<'_>, width: usize) -> Result<Compressed> {
    let (lead, body) = apart(value);
    let blocks = each(body.chunks(BLOCK), is_worth_two(body.len()), Vec::new, |scratch, raw| {
        Ok(compress_block(raw, width, scratch))
    })?;
    let len = 2 + lead.len() + blocks.iter().map(|block| BLOCK_HEAD + block.body.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&[width as u8, lead.len() as u8]);
    bytes.extend_from_slice(&lead);
    for Block { method, body } in &blocks {
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.push(*method);
        bytes.extend_from_slice(body);
    }
    Ok(Compressed { codec: StoredCodec::Lz4Blocks, bytes })
}

/// The first bytes of a value and the rest of it, which is not copied where that can be avoided.
fn apart<'v>(value: &'v Parts<'_>) -> (Cow<'v, [u8]>, Cow<'v, [u8]>) {
    let split = |bytes: &'v [u8]| {
        let (lead, body) = bytes.split_at(bytes.len().min(LEAD));
        (lead.into(), body.into())
    };
    match value.pieces() {
        [bytes, []] | [[], bytes] => split(bytes),
        [lead, body] if (LEAD..=LONGEST_LEAD).contains(&lead.len()) => (lead.into(), body.into()),
        pieces => {
            let mut bytes = pieces.concat();
            let body = bytes.split_off(bytes.len().min(LEAD));
            (bytes.into(), body.into())
        }
    }
}

/// What a sample of a value would take.
pub(super) fn sample_len(raw: &[u8], width: usize) -> usize {
    BLOCK_HEAD + compress_block(raw, width, &mut Vec::new()).body.len()
}

struct Block<'r> {
    method: u8,
    body: Cow<'r, [u8]>,
}

fn compress_block<'r>(raw: &'r [u8], width: usize, scratch: &mut Vec<u8>) -> Block<'r> {
    if let Some(body) = compress_ramps(raw, width) {
        return Block { method: RAMPS, body: body.into() };
    }
    scratch.resize(block::get_maximum_output_size(raw.len()), 0);
    match block::compress_into(raw, scratch) {
        Ok(len) if pays(len, raw.len()) => Block { method: LZ4, body: scratch[..len].to_vec().into() },
        _ => Block { method: PLAIN, body: raw.into() },
    }
}

/// A compressed value taken apart, its sizes checked: so many bytes can really come of it.
#[derive(Debug)]
pub(crate) struct Blocks<'b> {
    width: usize,
    lead: &'b [u8],
    blocks: Vec<Stored<'b>>,
    /// Bytes that come out after the lead.
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Stored<'b> {
    method: u8,
    body: &'b [u8],
}

impl<'b> Blocks<'b> {
    /// # Errors
    /// As [`inflate`](super::inflate).
    pub(crate) fn of(bytes: &'b [u8], raw_size: u64, limits: &Limits) -> Result<Self> {
        let raw_size = super::checked_size(StoredCodec::Lz4Blocks, bytes.len(), raw_size, limits)?;
        Self::taken_apart(bytes, raw_size).ok_or_else(|| damaged(format!("blocks of {raw_size} bytes are damaged")))
    }

    fn taken_apart(bytes: &'b [u8], raw_size: usize) -> Option<Self> {
        let ([width, lead], rest) = bytes.split_first_chunk()?;
        let width = usize::from(*width);
        let (lead, mut rest) = rest.split_at_checked(usize::from(*lead))?;
        if !matches!(width, 1 | 2 | 4 | 8) || !(raw_size.min(LEAD)..=raw_size).contains(&lead.len()) {
            return None;
        }
        let len = raw_size - lead.len();
        // As many as there can be: the rest of the table is not there.
        let mut blocks = Vec::with_capacity(len.div_ceil(BLOCK).min(rest.len() / BLOCK_HEAD));
        let mut left = len;
        while left > 0 {
            let raw = left.min(BLOCK);
            let (head, behind) = rest.split_first_chunk::<4>()?;
            let (method, behind) = behind.split_first()?;
            let (body, behind) = behind.split_at_checked(u32::from_le_bytes(*head) as usize)?;
            let block = Stored { method: *method, body };
            if !block.can_be(raw, width) {
                return None;
            }
            blocks.push(block);
            (rest, left) = (behind, left - raw);
        }
        rest.is_empty().then_some(Self { width, lead, blocks, len })
    }

    /// The first bytes of the value, which are stored as they are.
    pub(crate) fn lead(&self) -> &'b [u8] {
        self.lead
    }

    /// The whole value.
    pub(super) fn inflate(&self) -> Result<Vec<u8>> {
        let len = self.lead.len() + self.len;
        let mut raw = bytemuck::allocation::try_zeroed_vec(len).map_err(|()| super::no_memory(len))?;
        let (lead, body) = raw.split_at_mut(self.lead.len());
        self.inflate_into(lead, body)?;
        Ok(raw)
    }

    /// The value, its first bytes in one place and the rest of them in another one.
    ///
    /// # Errors
    /// `Compression` if the places have other sizes, or a block is damaged.
    pub(crate) fn inflate_into(&self, lead: &mut [u8], body: &mut [u8]) -> Result<()> {
        if lead.len() != self.lead.len() || body.len() != self.len {
            return Err(damaged(format!(
                "blocks of {} bytes do not fit where the value is wanted",
                self.lead.len() + self.len
            )));
        }
        lead.copy_from_slice(self.lead);
        let (worth_two, width) = (is_worth_two(body.len()), self.width);
        let blocks = body.chunks_mut(BLOCK).zip(&self.blocks);
        each(blocks, worth_two, || (), |(), (raw, block)| block.inflate(raw, width)).map(drop)
    }
}

impl Stored<'_> {
    /// Whether so many bytes can come of it.
    fn can_be(&self, raw: usize, width: usize) -> bool {
        match self.method {
            PLAIN => self.body.len() == raw,
            LZ4 => raw <= self.body.len().saturating_mul(255),
            RAMPS => ramps_can_be(self.body, raw, width),
            _ => false,
        }
    }

    fn inflate(&self, raw: &mut [u8], width: usize) -> Result<()> {
        let whole = match self.method {
            PLAIN => {
                raw.copy_from_slice(self.body);
                true
            }
            LZ4 => block::decompress_into(self.body, raw).map_err(|error| broken("an LZ4 block", error))? == raw.len(),
            _ => inflate_ramps(self.body, raw, width),
        };
        if whole { Ok(()) } else { Err(damaged(format!("a block of {} bytes is damaged", raw.len()))) }
    }
}

// Ramps: numbers that differ from the one before always by the same, as unsigned integers that wrap around: an integer
// range, a range of whole `f64`s between two powers of two, one value many times.
//
// A ramp is its count of numbers in four bytes, its first number and the step; all of them little endian. Ramps follow
// one another.

/// What the count of a ramp takes.
const COUNT: usize = 4;

/// Compared at a time, without a look at where the first difference is.
const STRIDE: usize = 32;

/// Numbers in a ramp, in the mean, at the least: fewer are no gain worth the time.
const NUMBERS_PER_RAMP: usize = 64;
/// Ramps beyond that which a block may begin with.
const SPARE_RAMPS: usize = 16;

trait Number: Pod + Eq {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    /// Between the order of this machine and that of the file.
    fn little_endian(self) -> Self;
}

macro_rules! number {
    ($($type:ident)*) => {
        $(impl Number for $type {
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }

            fn xor(self, other: Self) -> Self {
                self ^ other
            }

            fn or(self, other: Self) -> Self {
                self | other
            }

            fn little_endian(self) -> Self {
                self.to_le()
            }
        })*
    };
}

number! { u16 u32 u64 }

/// The ramps of a block of numbers of `width` bytes; `None` if they are too many to be worth it.
fn compress_ramps(raw: &[u8], width: usize) -> Option<Vec<u8>> {
    match width {
        2 => ramps_of::<u16>(raw),
        4 => ramps_of::<u32>(raw),
        8 => ramps_of::<u64>(raw),
        _ => None,
    }
}

fn ramps_of<N: Number>(raw: &[u8]) -> Option<Vec<u8>> {
    if !raw.len().is_multiple_of(size_of::<N>()) {
        return None;
    }
    let numbers: Cow<'_, [N]> = try_cast_slice(raw).map_or_else(|_| pod_collect_to_vec(raw).into(), Cow::Borrowed);
    let (mut ramps, mut at, mut count) = (Vec::new(), 0, 0);
    while let Some((first, rest)) = numbers.get(at..).and_then(<[N]>::split_first) {
        let step = rest.first().map_or(*first, |second| difference(*second, *first));
        let len = 1 + steps(*first, rest, step);
        ramps.extend_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
        ramps.extend_from_slice(bytemuck::bytes_of(first));
        ramps.extend_from_slice(bytemuck::bytes_of(&step.little_endian()));
        (at, count) = (at + len, count + 1);
        if count > SPARE_RAMPS + at / NUMBERS_PER_RAMP {
            return None;
        }
    }
    // A block that is too short for the spare ones to pay.
    (ramps.len() <= raw.len() / 2).then_some(ramps)
}

fn difference<N: Number>(second: N, first: N) -> N {
    second.little_endian().minus(first.little_endian())
}

/// How many numbers follow a first one by the same step.
fn steps<N: Number>(first: N, rest: &[N], step: N) -> usize {
    let mut last = first;
    let mut len = 0;
    for stride in rest.chunks(STRIDE) {
        // No branch in here: several numbers at a time.
        let start = difference(stride[0], last).xor(step);
        let differs = stride.windows(2).fold(start, |differs, pair| differs.or(difference(pair[1], pair[0]).xor(step)));
        if differs != N::zeroed() {
            let mut before = last;
            let same = |number: &&N| difference(**number, std::mem::replace(&mut before, **number)) == step;
            return len + stride.iter().take_while(same).count();
        }
        len += stride.len();
        last = stride[stride.len() - 1];
    }
    len
}

/// Whether ramps are whole, and as many numbers come of them as are said to.
fn ramps_can_be(ramps: &[u8], raw: usize, width: usize) -> bool {
    let ramp = COUNT + 2 * width;
    let counts =
        ramps.chunks(ramp).map(|ramp| ramp.first_chunk().map_or(0, |count| u64::from(u32::from_le_bytes(*count))));
    ramps.len().is_multiple_of(ramp) && width > 1 && counts.sum::<u64>().checked_mul(width as u64) == Some(raw as u64)
}

/// Writes the numbers; says whether they were as many as there is room for.
fn inflate_ramps(ramps: &[u8], raw: &mut [u8], width: usize) -> bool {
    match width {
        2 => write::<u16>(ramps, raw),
        4 => write::<u32>(ramps, raw),
        8 => write::<u64>(ramps, raw),
        _ => false,
    }
}

fn write<N: Number>(ramps: &[u8], raw: &mut [u8]) -> bool {
    if let Ok(numbers) = try_cast_slice_mut::<u8, N>(raw) {
        return write_numbers(ramps, numbers);
    }
    // Not where such numbers may lie.
    let mut numbers = vec![N::zeroed(); raw.len() / size_of::<N>()];
    let whole = raw.len() == size_of_val(numbers.as_slice()) && write_numbers(ramps, &mut numbers);
    if whole {
        raw.copy_from_slice(bytemuck::cast_slice(&numbers));
    }
    whole
}

fn write_numbers<N: Number>(ramps: &[u8], mut numbers: &mut [N]) -> bool {
    for ramp in ramps.chunks(COUNT + 2 * size_of::<N>()) {
        let Some((count, both)) = ramp.split_first_chunk::<COUNT>() else { return false };
        let Some((first, step)) = both.split_at_checked(size_of::<N>()) else { return false };
        let (Ok(first), Ok(step)) =
            (bytemuck::try_pod_read_unaligned::<N>(first), bytemuck::try_pod_read_unaligned::<N>(step))
        else {
            return false;
        };
        let count = u32::from_le_bytes(*count) as usize;
        let Some((these, rest)) = std::mem::take(&mut numbers).split_at_mut_checked(count) else { return false };
        let (mut next, step) = (first.little_endian(), step.little_endian());
        for number in these {
            *number = next.little_endian();
            next = next.plus(step);
        }
        numbers = rest;
    }
    numbers.is_empty()
}

#[cfg(test)]
mod tests;
