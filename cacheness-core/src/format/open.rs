//! Taking an envelope apart, believing nothing in it before it is checked.

use super::{
    CHECKSUM_LEN, Chunks, FIXED_LEN, LONGEST_HEADER, MAGIC, PLAIN, PLAIN_TRAILER_LEN, Rules, SIGNED,
    SIGNED_TRAILER_LEN, max_header, too_long, trailer_checksum,
};
use crate::config::Limits;
use crate::error::{CacheError, ErrorKind, Result};
use crate::security::{Distrust, KeyId, Purpose, SIGNATURE_LEN, Signature};
use crate::util::digest::{Checksum, Mac, TAG_LEN, Tag, checksum};

/// What was sealed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// What the first bytes of a blob say about its header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderRead<'a> {
    /// It is whole and undamaged, and believed; with the key that it is signed with.
    Whole(&'a [u8], Option<KeyId>),
    /// It ends at this many bytes from the start of the file; more must be read.
    Needs(u64),
}

/// Opens a whole blob.
///
/// # Errors
/// `Integrity` when a part is damaged, missing or too much, naming it; also when signatures are asked for and one is not
/// there or not valid. `Conflict` when a newer release wrote it, by [`Distrust::Newer`].
/// `Limit` when the blob is whole and over the limits.
pub(crate) fn open<'a>(bytes: &'a [u8], rules: Rules<'_>) -> Result<Opened<'a>> {
    open_by(bytes, rules, true)
}

/// Opens a whole blob, and believes its trailer that the payload is what it was, unless it is to be signed. Everything
/// else is checked.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_trusting<'a>(bytes: &'a [u8], rules: Rules<'_>) -> Result<Opened<'a>> {
    open_by(bytes, rules, false)
}

fn open_by<'a>(bytes: &'a [u8], rules: Rules<'_>, verify: bool) -> Result<Opened<'a>> {
    let head = check_header(bytes, rules)?;
    let rest = &bytes[head.end..];
    let payload_len =
        rest.len().checked_sub(head.trailer_len()).ok_or_else(|| damaged("is cut off before the trailer ends"))?;
    let (payload, trailer) = rest.split_at(payload_len);
    let expected = check_trailer(trailer, &head, payload_len as u64, rules)?;
    let mut proof = Proof::of(verify, rules.signing.begin_behind(Purpose::Payload, head.signature.as_ref()));
    if proof.is_needed() {
        proof.update(payload);
        check_payload(&proof, &expected)?;
    }
    let limit = rules.limits.max_value_bytes;
    if payload_len as u64 > limit {
        return Err(too_long("payload", payload_len as u64, limit));
    }
    Ok(Opened { header: head.header, payload })
}

/// Reads the header of a blob from its first bytes, without the rest.
///
/// # Errors
/// As [`open`], for what stands before the payload.
pub(crate) fn open_header<'a>(start: &'a [u8], rules: Rules<'_>) -> Result<HeaderRead<'a>> {
    let magic = start.get(..MAGIC.len()).unwrap_or(start);
    if !MAGIC.starts_with(magic) {
        return Err(damaged("does not begin as a blob does"));
    }
    if start.len() < FIXED_LEN {
        return Ok(HeaderRead::Needs(FIXED_LEN as u64));
    }
    let layout = Layout::of(start, rules.limits)?;
    if (start.len() as u64) < layout.header_end {
        return Ok(HeaderRead::Needs(layout.header_end));
    }
    let head = check_header(start, rules)?;
    Ok(HeaderRead::Whole(head.header, head.signature.map(|signature| signature.key)))
}

/// How long the trailer of a blob is that begins with these bytes, as far as they tell.
pub(crate) fn trailer_len(start: &[u8]) -> usize {
    let version = start.get(8..10).map_or(PLAIN, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    if version == SIGNED { SIGNED_TRAILER_LEN } else { PLAIN_TRAILER_LEN }
}

/// What the two ends of a blob say, the payload unseen.
#[derive(Debug)]
pub(crate) struct Ends<'a> {
    pub(crate) header: &'a [u8],
    /// Where in the blob the payload begins.
    pub(crate) payload_start: u64,
    pub(crate) payload: Expected,
    /// How its chunks are sealed, if it is a stream.
    pub(crate) chunks: Chunks,
    /// The key that the blob is signed with.
    pub(crate) signer: Option<KeyId>,
    mac: Option<Mac>,
}

impl Ends<'_> {
    /// To be fed with the payload. Without `verify` it shows what is signed alone.
    pub(crate) fn proof(&self, verify: bool) -> Proof {
        Proof::of(verify, self.mac.clone())
    }
}

/// Checks a blob of `len` bytes by its two ends: they belong together, and the payload between them has its length.
/// Whether it has its checksum and its tag is for the caller to find out.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_ends<'a>(start: &'a [u8], end: &[u8], len: u64, rules: Rules<'_>) -> Result<Ends<'a>> {
    let head = check_header(start, rules)?;
    let around = (head.end + head.trailer_len()) as u64;
    let payload_len = len.checked_sub(around).filter(|_| end.len() == head.trailer_len());
    let payload_len = payload_len.ok_or_else(|| damaged("is cut off before the trailer ends"))?;
    let payload = check_trailer(end, &head, payload_len, rules)?;
    let signature = head.signature.as_ref();
    Ok(Ends {
        header: head.header,
        payload_start: head.end as u64,
        payload,
        chunks: Chunks::of(head.checksum, signature, rules.signing),
        mac: rules.signing.begin_behind(Purpose::Payload, signature),
        signer: signature.map(|signature| signature.key),
    })
}

/// Whether a payload is what its trailer says.
///
/// # Errors
/// `Integrity` if it is not.
fn check_payload(proof: &Proof, expected: &Expected) -> Result<()> {
    if proof.shows(expected) { Ok(()) } else { Err(damaged("has a damaged payload")) }
}

struct Head<'a> {
    header: &'a [u8],
    checksum: u64,
    signature: Option<Signature>,
    /// Where the payload begins.
    end: usize,
}

impl Head<'_> {
    fn trailer_len(&self) -> usize {
        if self.signature.is_some() { SIGNED_TRAILER_LEN } else { PLAIN_TRAILER_LEN }
    }
}

/// Where the parts of a header are, by what the fixed part says.
struct Layout {
    is_signed: bool,
    /// Of a newer release. Whatever its version, a blob begins with the fixed part, a header and their checksum.
    is_newer: bool,
    /// Where the header with its checksum and signature ends.
    header_end: u64,
}

impl Layout {
    fn of(bytes: &[u8], limits: &Limits) -> Result<Self> {
        if bytes[..MAGIC.len()] != MAGIC {
            return Err(damaged("does not begin as a blob does"));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version < PLAIN {
            return Err(damaged(&format!("has format version {version}, and the first one is {PLAIN}")));
        }
        let len = u64::from(u32::from_le_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]));
        // It may have been written within wider limits.
        let longest = max_header(limits).max(LONGEST_HEADER);
        if len > longest {
            return Err(damaged(&format!("claims a header of {len} bytes, and none has more than {longest}")));
        }
        let is_signed = version == SIGNED;
        let signature_len = if is_signed { SIGNATURE_LEN } else { 0 };
        let is_newer = version > SIGNED;
        Ok(Self { is_signed, is_newer, header_end: len + (FIXED_LEN + CHECKSUM_LEN + signature_len) as u64 })
    }
}

fn check_header<'a>(bytes: &'a [u8], rules: Rules<'_>) -> Result<Head<'a>> {
    if bytes.len() < FIXED_LEN {
        return Err(damaged("is cut off before the header begins"));
    }
    let layout = Layout::of(bytes, rules.limits)?;
    let Some(end) = usize::try_from(layout.header_end).ok().filter(|end| *end <= bytes.len()) else {
        return Err(damaged("is cut off before the header ends"));
    };
    let (rest, signature) = match bytes[..end].split_last_chunk::<SIGNATURE_LEN>().filter(|_| layout.is_signed) {
        Some((rest, signature)) => (rest, Some(Signature::from_bytes(signature))),
        None => (&bytes[..end], None),
    };
    let (covered, found) = rest.split_at(rest.len() - CHECKSUM_LEN);
    let checksum = checksum(covered);
    if read_u64(found) != checksum {
        return Err(damaged("has a damaged header"));
    }
    if layout.is_newer {
        return Err(Distrust::Newer.of("a blob"));
    }
    let believed = rules.signing.check(Purpose::Header, &[covered], signature.as_ref());
    believed.map_err(|distrust: Distrust| distrust.of("a blob"))?;
    Ok(Head { header: &covered[FIXED_LEN..], checksum, signature, end })
}

/// What a trailer says of the payload, if it belongs to this header.
fn check_trailer(found: &[u8], head: &Head<'_>, payload_len: u64, rules: Rules<'_>) -> Result<Expected> {
    let (claimed, checksum) = (read_u64(&found[..8]), read_u64(&found[8..16]));
    if claimed != payload_len {
        return Err(damaged(&format!("has {payload_len} bytes of payload where its trailer says {claimed}")));
    }
    let (said, sum) = found.split_at(found.len() - CHECKSUM_LEN);
    if read_u64(sum) != trailer_checksum(head.checksum, said) {
        return Err(damaged("has a damaged trailer, or that of another blob"));
    }
    let signature = head.signature.as_ref();
    let tag = said[16..].first_chunk::<TAG_LEN>().copied().filter(|_| signature.is_some());
    let expected = Expected { len: payload_len, checksum, tag };
    if let Some(mut mac) = rules.signing.begin_behind(Purpose::Trailer, signature) {
        mac.update(&expected.to_bytes());
        if !said.last_chunk::<TAG_LEN>().is_some_and(|tag| mac.is(tag)) {
            return Err(damaged("has a trailer that was not written by who wrote its header"));
        }
    }
    Ok(expected)
}

fn read_u64(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(bytes);
    u64::from_le_bytes(number)
}

fn damaged(what: &str) -> CacheError {
    CacheError::new(ErrorKind::Integrity, format!("the blob {what}"))
}

// What shows that a payload is the one that was written.

/// What a payload must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) len: u64,
    pub(crate) checksum: u64,
    /// Of a signed blob.
    pub(crate) tag: Option<Tag>,
}

impl Expected {
    /// What a trailer says, up to its tag.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = [self.len, self.checksum].map(u64::to_le_bytes).concat();
        bytes.extend(self.tag.iter().flatten());
        bytes
    }
}

/// Takes a payload piece by piece, in order.
#[derive(Clone)]
pub(crate) struct Proof {
    checksum: Option<Checksum>,
    mac: Option<Mac>,
    len: u64,
}

impl Proof {
    /// With a checksum, if damage is to be found, and with a tag, if forgery is.
    pub(super) fn of(checks: bool, mac: Option<Mac>) -> Self {
        Self { checksum: checks.then(Checksum::new), mac, len: 0 }
    }

    /// Of bytes whose checksum alone is wanted.
    pub(crate) fn of_checksum() -> Self {
        Self::of(true, None)
    }

    /// Whether there is anything to show.
    pub(crate) fn is_needed(&self) -> bool {
        self.checksum.is_some() || self.mac.is_some()
    }

    pub(crate) fn update(&mut self, piece: &[u8]) {
        if let Some(checksum) = &mut self.checksum {
            checksum.update(piece);
        }
        if let Some(mac) = &mut self.mac {
            mac.update(piece);
        }
        self.len += piece.len() as u64;
    }

    /// How many bytes came.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// What the payload is, as far as was looked at.
    pub(crate) fn found(&self) -> Expected {
        let checksum = self.checksum.as_ref().map_or(0, Checksum::finish);
        Expected { len: self.len, checksum, tag: self.ended().map(|mac| mac.finish()) }
    }

    /// Whether it is what it must be. Without the key of a tag, its checksum decides.
    pub(crate) fn shows(&self, expected: &Expected) -> bool {
        self.len == expected.len && self.has_checksum(expected.checksum) && self.is_genuine(expected)
    }

    fn has_checksum(&self, expected: u64) -> bool {
        self.checksum.as_ref().is_none_or(|checksum| checksum.finish() == expected)
    }

    fn is_genuine(&self, expected: &Expected) -> bool {
        self.ended().is_none_or(|mac| expected.tag.is_some_and(|tag| mac.is(&tag)))
    }

    fn ended(&self) -> Option<Mac> {
        let mut mac = self.mac.clone()?;
        mac.update(&self.len.to_le_bytes());
        Some(mac)
    }
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("len", &self.len).finish_non_exhaustive()
    }
}
