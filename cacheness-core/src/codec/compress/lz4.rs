//! LZ4: one block for small values, a frame for larger ones, whose blocks are inflated one at a time.

use std::io::{BufRead, Write};

use lz4_flex::block;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::bounded::{broken, grow};
use super::{Compressed, StoredCodec, damaged};
use crate::error::{CacheError, ErrorKind, Result};

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
