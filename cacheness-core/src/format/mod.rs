//! The envelope of a blob file: what stands around a header and a payload so that damage is always noticed.
//!
//! Integers are little-endian. Checksums are XXH3-64: they find accidents, and are no defence against somebody who
//! means harm (that is what signing is for).
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic, `cnssblob` |
//! | 8 | 2 | format version, 1 |
//! | 10 | 4 | length of the header, *h* |
//! | 14 | *h* | header |
//! | 14 + *h* | 8 | header checksum, of all bytes before it |
//! | 22 + *h* | *p* | payload |
//! | 22 + *h* + *p* | 8 | length of the payload, *p* |
//! | 30 + *h* + *p* | 8 | payload checksum |
//! | 38 + *h* + *p* | 8 | trailer checksum, of the header checksum, the payload length and the payload checksum |
//!
//! There is no byte that no checksum covers, and none after the trailer. The lengths come after the payload so that
//! one can be written before its length is known; the trailer checksum ties a payload to the header it was written
//! with. The header can be read and checked alone: it repeats the entry, and from the headers an index is rebuilt.

pub(crate) mod chunks;
mod open;
mod seal;

pub(crate) use open::{HeaderRead, open, open_ends, open_header, open_trusting};
#[cfg(any(test, feature = "archive"))]
pub(crate) use seal::seal;
pub(crate) use seal::{Start, seal_summed};

use crate::Limits;
use crate::digest::checksum;

const MAGIC: [u8; 8] = *b"cnssblob";
const VERSION: u16 = 1;
/// Magic, version and length of the header.
const FIXED_LEN: usize = 14;
const CHECKSUM_LEN: usize = 8;
pub(crate) const TRAILER_LEN: usize = 24;

/// What a header may hold beside the user's part of it, which [`Limits::max_header_bytes`] bounds: key, sizes, times.
const HEADER_ROOM: u64 = 64 << 10;

/// No configuration allows a longer one, and a reader takes no more memory for what claims to be one.
const LONGEST_HEADER: u64 = (16 << 20) + HEADER_ROOM;

/// Bytes that an envelope adds to its header and payload.
pub(crate) const OVERHEAD: u64 = (FIXED_LEN + CHECKSUM_LEN + TRAILER_LEN) as u64;

/// The longest envelope within the limits: what a reader that knows nothing else should accept.
pub(crate) fn max_envelope_bytes(limits: &Limits) -> u64 {
    OVERHEAD.saturating_add(max_header(limits).max(LONGEST_HEADER)).saturating_add(limits.max_value_bytes)
}

fn max_header(limits: &Limits) -> u64 {
    limits.max_header_bytes.saturating_add(HEADER_ROOM)
}

/// Payload length, payload checksum, trailer checksum.
fn trailer(header_checksum: u64, payload_len: u64, payload_checksum: u64) -> [u8; TRAILER_LEN] {
    let mut bound = [0; TRAILER_LEN];
    bound[..8].copy_from_slice(&header_checksum.to_le_bytes());
    bound[8..16].copy_from_slice(&payload_len.to_le_bytes());
    bound[16..].copy_from_slice(&payload_checksum.to_le_bytes());
    let mut trailer = [0; TRAILER_LEN];
    trailer[..16].copy_from_slice(&bound[8..]);
    trailer[16..].copy_from_slice(&checksum(&bound).to_le_bytes());
    trailer
}

#[cfg(test)]
mod tests;
