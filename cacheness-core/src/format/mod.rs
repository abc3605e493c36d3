//! The envelope of a blob file: what stands around a header and a payload so that damage is always noticed.
//!
//! Integers are little-endian. Checksums are XXH3-64: they find accidents. Where there is a signing key, a blob has tags,
//! too, that nobody makes without the key; they come on top, so that who has no key still finds accidents.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic, `cnssblob` |
//! | 2 | format version: 1, or 2 for a signed blob |
//! | 4 | length of the header, *h* |
//! | *h* | header |
//! | 8 | header checksum, of all bytes before it |
//! | 40, if signed | id of the key in 8 bytes and header tag, of the same bytes |
//! | *p* | payload |
//! | 8 | length of the payload, *p* |
//! | 8 | payload checksum |
//! | 32, if signed | payload tag, of the header tag, the payload and its length |
//! | 32, if signed | trailer tag, of the header tag and the trailer up to it |
//! | 8 | trailer checksum, of the header checksum and the trailer's other bytes |
//!
//! There is no byte that no checksum covers, and none after the trailer. The lengths come after the payload so that
//! one can be written before its length is known; the trailer checksum ties a payload to the header it was written
//! with, and so do the tags. That of the trailer is checked before anything in it is used, also by who reads but a part of
//! the payload. The header can be read and checked alone: it repeats the entry, and from the headers
//! an index is rebuilt.

pub(crate) mod chunks;
mod open;
mod proof;
mod seal;

pub(crate) use chunks::Chunks;
pub(crate) use open::{Ends, HeaderRead, open, open_ends, open_header, open_trusting, trailer_len};
pub(crate) use proof::{Expected, Proof};
#[cfg(any(test, feature = "archive"))]
pub(crate) use seal::seal;
pub(crate) use seal::{Start, seal_summed};

use crate::config::limits::Limits;
use crate::security::{SIGNATURE_LEN, Signing};
use crate::util::digest::TAG_LEN;

const MAGIC: [u8; 8] = *b"cnssblob";
const PLAIN: u16 = 1;
const SIGNED: u16 = 2;
/// Magic, version and length of the header.
const FIXED_LEN: usize = 14;
const CHECKSUM_LEN: usize = 8;
const PLAIN_TRAILER_LEN: usize = 24;
const SIGNED_TRAILER_LEN: usize = PLAIN_TRAILER_LEN + 2 * TAG_LEN;

/// The longest trailer there is.
pub(crate) const MAX_TRAILER_LEN: usize = SIGNED_TRAILER_LEN;

/// What a header may hold beside the user's part of it, which [`Limits::max_header_bytes`] bounds: key, sizes, times.
const HEADER_ROOM: u64 = 64 << 10;

/// No configuration allows a longer one, and a reader takes no more memory for what claims to be one.
const LONGEST_HEADER: u64 = (16 << 20) + HEADER_ROOM;

/// Bytes that an envelope adds to its header and payload at most.
const MAX_OVERHEAD: u64 = (FIXED_LEN + CHECKSUM_LEN + SIGNATURE_LEN + SIGNED_TRAILER_LEN) as u64;

/// What an envelope is sealed and opened by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) signing: &'a Signing,
}

#[cfg(test)]
impl<'a> Rules<'a> {
    /// Without signatures.
    pub(crate) const fn unsigned(limits: &'a Limits) -> Self {
        Self { limits, signing: Signing::off() }
    }
}

/// The longest envelope within the limits: what a reader that knows nothing else should accept.
#[cfg(feature = "archive")]
pub(crate) fn max_envelope_bytes(limits: &Limits) -> u64 {
    MAX_OVERHEAD.saturating_add(max_header(limits).max(LONGEST_HEADER)).saturating_add(limits.max_value_bytes)
}

/// The longest envelope of a payload, whatever the limits were when it was written.
pub(crate) fn longest_envelope(payload_len: u64) -> u64 {
    (MAX_OVERHEAD + LONGEST_HEADER).saturating_add(payload_len)
}

fn max_header(limits: &Limits) -> u64 {
    limits.max_header_bytes.saturating_add(HEADER_ROOM)
}

#[cfg(test)]
mod tests;
