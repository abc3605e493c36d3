//! Putting an envelope around a header and a payload.

use super::{CHECKSUM_LEN, FIXED_LEN, MAGIC, TRAILER_LEN, VERSION, max_header, trailer};
use crate::digest::checksum;
use crate::parts::Parts;
use crate::{CacheError, ErrorKind, Limits, Result};

/// A sealed blob, in the parts to be written one after the other. The payload is not copied.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    start: Vec<u8>,
    payload: [&'a [u8]; 2],
    trailer: [u8; TRAILER_LEN],
}

impl Envelope<'_> {
    /// What to write, in order.
    pub(crate) fn parts(&self) -> [&[u8]; 4] {
        let [head, tail] = self.payload;
        [&self.start, head, tail, &self.trailer]
    }

    #[cfg(test)]
    /// Length of all parts together, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.parts().iter().map(|part| part.len() as u64).sum()
    }
}

/// Seals a header and a payload.
///
/// # Errors
/// `Limit` when one of them is longer than [`open`](super::open) would accept.
#[cfg(any(test, feature = "archive"))]
pub(crate) fn seal<'a>(header: &[u8], payload: &'a [u8], limits: &Limits) -> Result<Envelope<'a>> {
    envelope(header, [payload, &[]], checksum(payload), limits)
}

/// Seals a header and a payload whose checksum is known.
///
/// # Errors
/// `Limit` when one of them is longer than [`open`](super::open) would accept.
pub(crate) fn seal_summed<'a>(
    header: &[u8],
    payload: &'a Parts<'_>,
    checksum: u64,
    limits: &Limits,
) -> Result<Envelope<'a>> {
    envelope(header, payload.pieces(), checksum, limits)
}

fn envelope<'a>(header: &[u8], payload: [&'a [u8]; 2], checksum: u64, limits: &Limits) -> Result<Envelope<'a>> {
    let len = payload.iter().map(|piece| piece.len()).sum();
    if len as u64 > limits.max_value_bytes {
        return Err(too_long("payload", len, limits.max_value_bytes));
    }
    let start = Start::of(header, limits)?;
    let trailer = start.trailer(len as u64, checksum);
    Ok(Envelope { start: start.bytes, payload, trailer })
}

/// What stands before the payload, for one whose end is not known yet.
#[derive(Debug)]
pub(crate) struct Start {
    bytes: Vec<u8>,
    checksum: u64,
}

impl Start {
    /// Puts a header first.
    ///
    /// # Errors
    /// `Limit` when it is longer than [`open`](super::open) would accept.
    pub(crate) fn of(header: &[u8], limits: &Limits) -> Result<Self> {
        let header_len = u32::try_from(header.len()).ok().filter(|len| u64::from(*len) <= max_header(limits));
        let header_len = header_len.ok_or_else(|| too_long("header", header.len(), max_header(limits)))?;
        let mut bytes = Vec::with_capacity(FIXED_LEN + header.len() + CHECKSUM_LEN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&header_len.to_le_bytes());
        bytes.extend_from_slice(header);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Ok(Self { bytes, checksum })
    }

    /// What to write first.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Checksum of the header, which differs from blob to blob.
    pub(crate) fn checksum(&self) -> u64 {
        self.checksum
    }

    /// What to write after the payload.
    pub(crate) fn trailer(&self, payload_len: u64, payload_checksum: u64) -> [u8; TRAILER_LEN] {
        trailer(self.checksum, payload_len, payload_checksum)
    }
}

fn too_long(part: &str, len: usize, max: u64) -> CacheError {
    CacheError::new(ErrorKind::Limit, format!("the {part} of a blob is {len} bytes long, the limit is {max}"))
}
