//! Putting an envelope around a header and a payload.

use super::{CHECKSUM_LEN, FIXED_LEN, MAGIC, TRAILER_LEN, VERSION, max_header, trailer};
use crate::digest::checksum;
use crate::{CacheError, ErrorKind, Limits, Result};

/// A sealed blob, in the parts to be written one after the other. The payload is not copied.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    start: Vec<u8>,
    payload: &'a [u8],
    trailer: [u8; TRAILER_LEN],
}

impl Envelope<'_> {
    /// What to write, in order.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        [&self.start, self.payload, &self.trailer]
    }

    #[cfg(test)]
    /// Length of all parts together, in bytes.
    pub(crate) fn len(&self) -> u64 {
        (self.start.len() + self.payload.len() + self.trailer.len()) as u64
    }
}

/// Seals a header and a payload.
///
/// # Errors
/// `Limit` when one of them is longer than [`open`](super::open) would accept.
pub(crate) fn seal<'a>(header: &[u8], payload: &'a [u8], limits: &Limits) -> Result<Envelope<'a>> {
    let header_len = u32::try_from(header.len()).ok().filter(|len| u64::from(*len) <= max_header(limits));
    let header_len = header_len.ok_or_else(|| too_long("header", header.len(), max_header(limits)))?;
    if payload.len() as u64 > limits.max_value_bytes {
        return Err(too_long("payload", payload.len(), limits.max_value_bytes));
    }
    let mut start = Vec::with_capacity(FIXED_LEN + header.len() + CHECKSUM_LEN);
    start.extend_from_slice(&MAGIC);
    start.extend_from_slice(&VERSION.to_le_bytes());
    start.extend_from_slice(&header_len.to_le_bytes());
    start.extend_from_slice(header);
    let header_checksum = checksum(&start);
    start.extend_from_slice(&header_checksum.to_le_bytes());
    let trailer = trailer(header_checksum, payload.len() as u64, checksum(payload));
    Ok(Envelope { start, payload, trailer })
}

fn too_long(part: &str, len: usize, max: u64) -> CacheError {
    CacheError::new(ErrorKind::Limit, format!("the {part} of a blob is {len} bytes long, the limit is {max}"))
}
