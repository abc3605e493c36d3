//! Putting an envelope around a header and a payload.

use super::{CHECKSUM_LEN, Chunks, Expected, FIXED_LEN, MAGIC, PLAIN, Proof, Rules, SIGNED, max_header};
use crate::codec::parts::Parts;
use crate::error::{CacheError, ErrorKind, Result};
use crate::security::{Purpose, SIGNATURE_LEN};
use crate::util::digest::{Mac, checksum};

/// A sealed blob, in the parts to be written one after the other. The payload is not copied.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    start: Vec<u8>,
    payload: [&'a [u8]; 2],
    trailer: Vec<u8>,
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
pub(crate) fn seal<'a>(header: &[u8], payload: &'a [u8], rules: Rules<'_>) -> Result<Envelope<'a>> {
    envelope(header, [payload, &[]], checksum(payload), rules)
}

/// Seals a header and a payload whose checksum is known.
///
/// # Errors
/// `Limit` when one of them is longer than [`open`](super::open) would accept.
pub(crate) fn seal_summed<'a>(
    header: &[u8],
    payload: &'a Parts<'_>,
    checksum: u64,
    rules: Rules<'_>,
) -> Result<Envelope<'a>> {
    envelope(header, payload.pieces(), checksum, rules)
}

fn envelope<'a>(header: &[u8], payload: [&'a [u8]; 2], checksum: u64, rules: Rules<'_>) -> Result<Envelope<'a>> {
    let len = payload.iter().map(|piece| piece.len()).sum();
    if len as u64 > rules.limits.max_value_bytes {
        return Err(too_long("payload", len, rules.limits.max_value_bytes));
    }
    let start = Start::of(header, rules)?;
    let mut proof = Proof::of(false, start.payload_mac.clone());
    payload.iter().for_each(|piece| proof.update(piece));
    let trailer = start.trailer(Expected { checksum, ..proof.found() });
    Ok(Envelope { start: start.bytes, payload, trailer })
}

/// What stands before the payload, for one whose end is not known yet.
#[derive(Debug)]
pub(crate) struct Start {
    bytes: Vec<u8>,
    checksum: u64,
    /// The tag of the payload, begun with that of the header.
    payload_mac: Option<Mac>,
    trailer_mac: Option<Mac>,
    chunks: Chunks,
}

impl Start {
    /// Puts a header first.
    ///
    /// # Errors
    /// `Limit` when it is longer than [`open`](super::open) would accept.
    pub(crate) fn of(header: &[u8], rules: Rules<'_>) -> Result<Self> {
        let longest = max_header(rules.limits);
        let header_len = u32::try_from(header.len()).ok().filter(|len| u64::from(*len) <= longest);
        let header_len = header_len.ok_or_else(|| too_long("header", header.len(), longest))?;
        let version = if rules.signing.is_on() { SIGNED } else { PLAIN };
        let mut bytes = Vec::with_capacity(FIXED_LEN + header.len() + CHECKSUM_LEN + SIGNATURE_LEN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&header_len.to_le_bytes());
        bytes.extend_from_slice(header);
        let checksum = checksum(&bytes);
        let signature = rules.signing.sign(Purpose::Header, &[&bytes]);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend(signature.iter().flat_map(|signature| signature.to_bytes()));
        Ok(Self {
            bytes,
            checksum,
            payload_mac: rules.signing.begin_behind(Purpose::Payload, signature.as_ref()),
            trailer_mac: rules.signing.begin_behind(Purpose::Trailer, signature.as_ref()),
            chunks: Chunks::of(checksum, signature.as_ref(), rules.signing),
        })
    }

    /// What to write first.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How the chunks of a stream behind this header are sealed.
    pub(crate) fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// To be fed with the payload.
    pub(crate) fn proof(&self) -> Proof {
        Proof::of(true, self.payload_mac.clone())
    }

    /// What to write after a payload.
    pub(crate) fn trailer(&self, payload: Expected) -> Vec<u8> {
        let mut bytes = payload.to_bytes();
        if let Some(mut mac) = self.trailer_mac.clone() {
            mac.update(&bytes);
            bytes.extend_from_slice(&mac.finish());
        }
        let sum = trailer_checksum(self.checksum, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }
}

/// Ties the other bytes of a trailer to a header.
pub(super) fn trailer_checksum(header_checksum: u64, bytes: &[u8]) -> u64 {
    checksum(&[&header_checksum.to_le_bytes(), bytes].concat())
}

fn too_long(part: &str, len: usize, max: u64) -> CacheError {
    CacheError::new(ErrorKind::Limit, format!("the {part} of a blob is {len} bytes long, the limit is {max}"))
}
