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

mod open;

pub(crate) use open::{Ends, Expected, HeaderRead, Proof, open, open_ends, open_header, open_trusting, trailer_len};

use crate::codec::Parts;
use crate::config::Limits;
use crate::error::{CacheError, ErrorKind, Result};
use crate::security::{Purpose, SIGNATURE_LEN, Signature, Signing};
use crate::util::digest::{Checksum, Mac, TAG_LEN, checksum};

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

// Putting an envelope around a header and a payload.

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
/// `Limit` when one of them is longer than [`open`] would accept.
#[cfg(any(test, feature = "archive"))]
pub(crate) fn seal<'a>(header: &[u8], payload: &'a [u8], rules: Rules<'_>) -> Result<Envelope<'a>> {
    envelope(header, [payload, &[]], checksum(payload), rules)
}

/// Seals a header and a payload whose checksum is known.
///
/// # Errors
/// `Limit` when one of them is longer than [`open`] would accept.
pub(crate) fn seal_summed<'a>(
    header: &[u8],
    payload: &'a Parts<'_>,
    checksum: u64,
    rules: Rules<'_>,
) -> Result<Envelope<'a>> {
    envelope(header, payload.pieces(), checksum, rules)
}

fn envelope<'a>(header: &[u8], payload: [&'a [u8]; 2], checksum: u64, rules: Rules<'_>) -> Result<Envelope<'a>> {
    let len: usize = payload.iter().map(|piece| piece.len()).sum();
    if len as u64 > rules.limits.max_value_bytes {
        return Err(too_long("payload", len as u64, rules.limits.max_value_bytes));
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
    /// `Limit` when it is longer than [`open`] would accept.
    pub(crate) fn of(header: &[u8], rules: Rules<'_>) -> Result<Self> {
        let longest = max_header(rules.limits);
        let header_len = u32::try_from(header.len()).ok().filter(|len| u64::from(*len) <= longest);
        let header_len = header_len.ok_or_else(|| too_long("header", header.len() as u64, longest))?;
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
fn trailer_checksum(header_checksum: u64, bytes: &[u8]) -> u64 {
    checksum(&[&header_checksum.to_le_bytes(), bytes].concat())
}

fn too_long(part: &str, len: u64, max: u64) -> CacheError {
    CacheError::new(ErrorKind::Limit, format!("the {part} of a blob is {len} bytes long, the limit is {max}"))
}

// The payload of a stream: its bytes in chunks of one length, each with a seal of its own behind it. Of a value that has its file
// for itself, all seals stand behind all chunks.
//
// So a reader checks what it is about to return without having read the rest, and finds any place in the stream by
// arithmetic. A seal is a checksum and, in a signed blob, a tag. It covers the chunk's place and the blob's header too: a
// chunk that turns up elsewhere is damaged. The last chunk is as long as what is left, and an empty stream has none; how
// long it is, the trailer says.

/// Bytes in every chunk but the last.
pub(crate) const CHUNK_LEN: usize = 256 << 10;
const SUM_LEN: usize = 8;

/// The longest seal of a chunk.
const MAX_SEAL_LEN: usize = SUM_LEN + TAG_LEN;

/// How the chunks of one blob are sealed.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    header_checksum: u64,
    is_signed: bool,
    /// Begun with the tag of the header; none if the key is not asked for.
    mac: Option<Mac>,
}

impl Chunks {
    /// Of the blob with this header.
    fn of(header_checksum: u64, signature: Option<&Signature>, signing: &Signing) -> Self {
        let mac = signing.begin_behind(Purpose::Chunk, signature);
        Self { header_checksum, is_signed: signature.is_some(), mac }
    }

    /// What follows the bytes of a chunk.
    pub(crate) fn seal_len(&self) -> usize {
        if self.is_signed { MAX_SEAL_LEN } else { SUM_LEN }
    }

    fn stored_len(&self) -> u64 {
        (CHUNK_LEN + self.seal_len()) as u64
    }

    /// Puts the seal behind the bytes of the chunk at a place.
    pub(crate) fn seal(&self, chunk: u64, bytes: &mut Vec<u8>) {
        let mut seal = self.begin(chunk);
        seal.update(bytes);
        seal.append_to(bytes);
    }

    /// The seals of chunks that come without them.
    pub(crate) fn seals(&self) -> Seals {
        Seals { chunks: self.clone(), count: 0, current: None, bytes: Vec::new() }
    }

    /// The bytes of a stored chunk, if its seal is right.
    pub(crate) fn checked<'b>(&self, chunk: u64, stored: &'b [u8]) -> Option<&'b [u8]> {
        let (bytes, seal) = stored.split_at_checked(stored.len().checked_sub(self.seal_len())?)?;
        self.is_sound(chunk, bytes, seal).then_some(bytes)
    }

    /// Whether the bytes of a chunk are those that were sealed.
    pub(crate) fn is_sound(&self, chunk: u64, bytes: &[u8], seal: &[u8]) -> bool {
        let mut found = self.begin(chunk);
        found.update(bytes);
        found.is(seal)
    }

    fn begin(&self, chunk: u64) -> Seal {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&self.header_checksum.to_le_bytes());
        place[8..].copy_from_slice(&chunk.to_le_bytes());
        let mut mac = self.mac.clone();
        mac.iter_mut().for_each(|mac| mac.update(&chunk.to_le_bytes()));
        Seal { sum: Checksum::within(&place), mac }
    }

    /// How long what was sealed is that is stored in so many bytes; `None` if nothing is.
    pub(crate) fn raw_len(&self, stored: u64) -> Option<u64> {
        let (rest, seal_len) = (stored % self.stored_len(), self.seal_len() as u64);
        let last = if rest == 0 { Some(0) } else { rest.checked_sub(seal_len).filter(|len| *len > 0) };
        last.map(|last| stored / self.stored_len() * CHUNK_LEN as u64 + last)
    }

    /// Where in the payload a chunk begins.
    pub(crate) fn start_of(&self, chunk: u64) -> u64 {
        chunk.saturating_mul(self.stored_len())
    }

    /// The bytes of a stream of which all chunks are known to be right.
    pub(crate) fn without_seals(&self, mut stored: Vec<u8>) -> Vec<u8> {
        let (mut from, mut to) = (0, 0);
        while from < stored.len() {
            let end = stored.len().min(from + CHUNK_LEN + self.seal_len());
            let len = (end - from).saturating_sub(self.seal_len());
            stored.copy_within(from..from + len, to);
            (from, to) = (end, to + len);
        }
        stored.truncate(to);
        stored
    }
}

/// The seal of a chunk, as its bytes come.
struct Seal {
    sum: Checksum,
    mac: Option<Mac>,
}

impl Seal {
    fn update(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.mac.iter_mut().for_each(|mac| mac.update(bytes));
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.sum.finish().to_le_bytes());
        bytes.extend(self.mac.iter().flat_map(Mac::finish));
    }

    /// Without the key of a tag, the checksum decides.
    fn is(&self, seal: &[u8]) -> bool {
        let Some((sum, tag)) = seal.split_first_chunk::<SUM_LEN>() else { return false };
        let genuine = |mac: &Mac| tag.first_chunk().is_some_and(|tag| mac.is(tag));
        *sum == self.sum.finish().to_le_bytes() && self.mac.as_ref().is_none_or(genuine)
    }
}

/// The seals of chunks one behind the other, made as the bytes of the chunks come.
pub(crate) struct Seals {
    chunks: Chunks,
    /// Of whole chunks.
    count: u64,
    /// That of the chunk which has begun, and how much it has room for.
    current: Option<(Seal, usize)>,
    bytes: Vec<u8>,
}

impl Seals {
    pub(crate) fn update(&mut self, mut part: &[u8]) {
        while !part.is_empty() {
            let (seal, room) = self.current.get_or_insert_with(|| (self.chunks.begin(self.count), CHUNK_LEN));
            let (now, later) = part.split_at(part.len().min(*room));
            seal.update(now);
            *room -= now.len();
            part = later;
            if *room == 0 {
                self.end_chunk();
            }
        }
    }

    fn end_chunk(&mut self) {
        if let Some((seal, _)) = self.current.take() {
            seal.append_to(&mut self.bytes);
            self.count += 1;
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.end_chunk();
        self.bytes
    }
}

/// The chunk that a place in the stream lies in, and where in it.
pub(crate) fn place_of(position: u64) -> (u64, usize) {
    (position / CHUNK_LEN as u64, (position % CHUNK_LEN as u64) as usize)
}

#[cfg(test)]
mod tests;
