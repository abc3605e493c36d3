//! Large values and vectors of numbers: blocks of 1 MiB that stand alone, so that two threads can work on one value.
//!
//! | bytes | content |
//! |---|---|
//! | 1 | bytes of one number: 1, 2, 4 or 8 |
//! | 1 | *n*, bytes before the first block: 8, fewer in a shorter value |
//! | *n* | these bytes |
//! | | for each block: |
//! | 4 | length of its body, little endian like every number here |
//! | 1 | how it is written: 0 as it is, 1 as an LZ4 block, 2 as ramps |
//! | … | its body |
//!
//! A block is 1 MiB of the value, the last one what is left. Ramps are numbers that differ from the one before always by
//! the same (see `ramps`): zeros, constants, ranges, steps.

use std::borrow::Cow;

use lz4_flex::block;

use super::bounded::broken;
use super::{Compressed, StoredCodec, damaged, pays, ramps};
use crate::codec::parts::Parts;
use crate::config::limits::Limits;
use crate::error::Result;
use crate::util::threads::{each, is_worth_two};

/// Bytes of the value in one block.
pub(super) const BLOCK: usize = 1 << 20;

/// What stands before the first block, so that elements that follow a length of eight bytes begin with a block.
const LEAD: usize = 8;

/// Length and method.
const BLOCK_HEAD: usize = 5;

const PLAIN: u8 = 0;
const LZ4: u8 = 1;
const RAMPS: u8 = 2;

/// Compresses a value of numbers of `width` bytes, 1 if nothing is known of it.
pub(super) fn compress(value: &Parts<'_>, width: usize) -> Result<Compressed> {
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
        [lead, body] if lead.len() == LEAD => (lead.into(), body.into()),
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
    if let Some(body) = ramps::compress(raw, width) {
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
        if !matches!(width, 1 | 2 | 4 | 8) || lead.len() != raw_size.min(LEAD) {
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
            return Err(damaged(format!("{} bytes are not wanted", self.lead.len() + self.len)));
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
            RAMPS => ramps::can_be(self.body, raw, width),
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
            _ => ramps::inflate(self.body, raw, width),
        };
        if whole { Ok(()) } else { Err(damaged(format!("a block of {} bytes is damaged", raw.len()))) }
    }
}

#[cfg(test)]
mod tests;
