//! LZ4: one block for small values, a frame for larger ones, whose blocks are inflated one at a time.

use std::borrow::Cow;
use std::io::{BufRead, Write};

use lz4_flex::block;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Compressed, StoredCodec, broken, damaged, grow, pays, ramps};
use crate::codec::Parts;
use crate::config::limits::Limits;
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
// | 1 | *n*, bytes before the first block: 8, fewer in a shorter value |
// | *n* | these bytes |
// | | for each block: |
// | 4 | length of its body, little endian like every number here |
// | 1 | how it is written: 0 as it is, 1 as an LZ4 block, 2 as ramps |
// | … | its body |
//
// A block is 1 MiB of the value, the last one what is left. Ramps are numbers that differ from the one before always by
// the same (see `ramps`): zeros, constants, ranges, steps.

/// Bytes of the value in one block.
const BLOCK: usize = 1 << 20;

/// What stands before the first block, so that elements that follow a length of eight bytes begin with a block.
const LEAD: usize = 8;

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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    fn bytes_of(numbers: &[u64], width: usize) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()[..width].to_vec()).collect()
    }

    /// As a vector of numbers is written: its length and its elements.
    fn with_length(numbers: &[u64], width: usize) -> Vec<u8> {
        [&(numbers.len() as u64).to_le_bytes()[..], &bytes_of(numbers, width)].concat()
    }

    fn inflate(bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
        Blocks::of(bytes, raw_size as u64, &Limits::DEFAULT)?.inflate()
    }

    fn noise(len: usize) -> Vec<u64> {
        let mut state = 1u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        (0..len).map(|_| next()).collect()
    }

    /// Compresses and inflates, from one piece and from two; says what is stored.
    #[track_caller]
    fn comes_back(raw: &[u8], width: usize) -> Vec<u8> {
        let stored = compress_blocks(&raw.into(), width).unwrap().bytes;
        let apart = Parts::new(raw[..raw.len().min(LEAD)].to_vec(), &raw[raw.len().min(LEAD)..]);
        assert!(compress_blocks(&apart, width).unwrap().bytes == stored, "in whichever pieces it lies");
        assert!(inflate(&stored, raw.len()).unwrap() == raw);
        stored
    }

    #[test]
    fn blocks_have_the_bytes_they_always_had() {
        let ramps = with_length(&[10, 12, 14, 16, 9, 9, 9, 9, 9, 9], 2);
        let expected: &[&[u8]] = &[
            &[2, 8, 10, 0, 0, 0, 0, 0, 0, 0],
            &[16, 0, 0, 0, 2],
            &[4, 0, 0, 0, 10, 0, 2, 0],
            &[6, 0, 0, 0, 9, 0, 0, 0],
        ];
        // Written by hand: two ramps of eight bytes are more than half of these twenty.
        assert_eq!(inflate(&expected.concat(), ramps.len()).unwrap(), ramps);

        let range: Vec<u64> = (0..1000).collect();
        let raw = with_length(&range, 4);
        let expected: &[&[u8]] =
            &[&[4, 8, 0xe8, 3, 0, 0, 0, 0, 0, 0], &[12, 0, 0, 0, 2], &[0xe8, 3, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]];
        assert_eq!(comes_back(&raw, 4), expected.concat());

        let repeated = [&[0; 8][..], &[b'a'; 100]].concat();
        let lz4 = [0x1f, b'a', 1, 0, 75, 0x50, b'a', b'a', b'a', b'a', b'a'];
        let expected: &[&[u8]] = &[&[1, 8, 0, 0, 0, 0, 0, 0, 0, 0], &[11, 0, 0, 0, 1], &lz4];
        assert_eq!(inflate(&expected.concat(), repeated.len()).unwrap(), repeated);

        let plain = [&[7; 8][..], b"xyz"].concat();
        let expected: &[&[u8]] = &[&[1, 8, 7, 7, 7, 7, 7, 7, 7, 7], &[3, 0, 0, 0, 0], b"xyz"];
        assert_eq!(comes_back(&plain, 1), expected.concat());
    }

    #[test]
    fn regular_numbers_take_next_to_nothing_whatever_their_width() {
        let len = 3 * BLOCK / 8 + 5;
        let kinds: [(&str, Vec<u64>); 5] = [
            ("zeros", vec![0; len]),
            ("a range", (5..5 + len as u64).collect()),
            ("a range down", (0..len as u64).map(|n| 0u64.wrapping_sub(3 * n)).collect()),
            ("steps", (0..len as u64).map(|n| n / 1000).collect()),
            ("whole floats", (0..len as u64).map(|n| (n as f64).to_bits()).collect()),
        ];
        for (name, numbers) in kinds {
            for width in [2, 4, 8] {
                // Cut to two or four bytes, the lower parts of floats are zeros or ramps too.
                let stored = comes_back(&with_length(&numbers, width), width);
                assert!(stored.len() * 50 <= numbers.len() * width, "{name} of {width} bytes: {} bytes", stored.len());
            }
        }
    }

    #[test]
    fn a_block_that_does_not_shrink_stays_and_the_others_are_compressed() {
        let mut numbers = vec![1; 3 * BLOCK / 8];
        numbers[BLOCK / 8..2 * BLOCK / 8].copy_from_slice(&noise(BLOCK / 8));
        let stored = comes_back(&with_length(&numbers, 8), 8);
        assert!(stored.len() > BLOCK && stored.len() < BLOCK + 100, "{}", stored.len());
    }

    #[test]
    fn large_values_come_back_by_two_threads() {
        let len = crate::util::threads::WORTH_TWO / 4 + 3;
        let text: Vec<u64> = noise(1000).into_iter().cycle().take(len).collect();
        for numbers in [(0..len as u64).collect(), text, noise(len)] {
            comes_back(&with_length(&numbers, 4), 4);
        }
    }

    #[test]
    fn values_of_any_length_come_back() {
        for len in (0..40).chain([BLOCK + 7, BLOCK + 8, BLOCK + 9, 2 * BLOCK + 8]) {
            for width in [1, 2, 4, 8] {
                comes_back(&vec![7; len], width);
            }
        }
    }

    #[test]
    fn sizes_that_do_not_add_up_are_damage_before_memory_is_taken() {
        let huge = usize::try_from(Limits::DEFAULT.max_value_bytes).unwrap();
        let one_ramp = |count: u32, width: u8| {
            let ramp = [&count.to_le_bytes()[..], &vec![0; 2 * usize::from(width)]].concat();
            [&[width, 8][..], &[0; 8], &(ramp.len() as u32).to_le_bytes(), &[RAMPS], &ramp].concat()
        };
        assert_eq!(inflate(&one_ramp(1000, 8), 8008).unwrap(), [0; 8008]);
        for (bytes, raw_size) in [
            (one_ramp(1000, 8), 8007),
            (one_ramp(1000, 8), 8016),
            (one_ramp(u32::MAX, 8), huge),
            (one_ramp(1 << 17, 8), huge),
            (one_ramp(1000, 1), 1008),
            (one_ramp(1000, 3), 3008),
            ([&[1, 8][..], &[0; 8], &[1, 0, 0, 0, LZ4, 0]].concat(), 8 + 256),
            ([&[1, 8][..], &[0; 8], &[1, 0, 0, 0, 3, 0]].concat(), 9),
            (vec![1, 7, 0, 0, 0, 0, 0, 0, 0], 7 + 1),
            (vec![], 0),
        ] {
            let error = inflate(&bytes, raw_size).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Compression, "{raw_size}: {error}");
        }
    }

    #[test]
    fn places_of_other_sizes_are_refused() {
        let stored = compress_blocks(&Parts::from(&vec![0; 100]), 1).unwrap().bytes;
        let blocks = Blocks::of(&stored, 100, &Limits::DEFAULT).unwrap();
        assert!(blocks.inflate_into(&mut [0; 8], &mut [0; 92]).is_ok());
        assert!(blocks.inflate_into(&mut [0; 7], &mut [0; 93]).is_err());
        assert!(blocks.inflate_into(&mut [0; 8], &mut [0; 91]).is_err());
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(
            runs in prop::collection::vec((any::<u64>(), any::<u64>(), 1usize..300), 0..60),
            odd in 0usize..8,
        ) {
            for width in [1, 2, 4, 8] {
                let of_run = |(first, step, len): &(u64, u64, usize)| {
                    let (first, step) = (*first, *step);
                    (0..*len as u64).map(move |n| first.wrapping_add(step.wrapping_mul(n))).collect::<Vec<_>>()
                };
                let mut raw = bytes_of(&runs.iter().flat_map(of_run).collect::<Vec<_>>(), width);
                raw.extend(vec![3; odd]);
                comes_back(&raw, width);
            }
        }

        #[test]
        fn hostile_bytes_never_panic(
            width in prop::sample::select(vec![0u8, 1, 2, 4, 8, 9]),
            method in 0u8..4,
            body in prop::collection::vec(any::<u8>(), 0..100),
            tail in prop::collection::vec(any::<u8>(), 0..40),
            size in 0usize..3000,
        ) {
            let head = [&[width, 8][..], &[0; 8], &(body.len() as u32).to_le_bytes(), &[method]].concat();
            for bytes in [[&head[..], &body, &tail].concat(), [&head[..], &body].concat(), body, tail] {
                if let Ok(raw) = inflate(&bytes, size) {
                    prop_assert_eq!(raw.len(), size);
                }
            }
        }

        #[test]
        fn a_changed_byte_is_an_error_or_gives_as_many_bytes(at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<bool>()) {
            let numbers: Vec<u64> = (0..500).map(|n| n / 100 * 7).chain(noise(20)).collect();
            let raw = with_length(&numbers, 8);
            let mut stored = compress_blocks(&raw.as_slice().into(), 8).unwrap().bytes;
            let at = at.index(stored.len());
            if cut { stored.truncate(at) } else { stored[at] = to }
            if let Ok(back) = inflate(&stored, raw.len()) {
                prop_assert_eq!(back.len(), raw.len());
            }
        }
    }
}
