//! Taking an envelope apart, believing nothing in it before it is checked.

use super::{CHECKSUM_LEN, FIXED_LEN, LONGEST_HEADER, MAGIC, TRAILER_LEN, VERSION, max_header, trailer};
use crate::digest::checksum;
use crate::{CacheError, ErrorKind, Limits, Result};

/// What was sealed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// What the first bytes of a blob say about its header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderRead<'a> {
    /// It is whole and undamaged.
    Whole(&'a [u8]),
    /// It ends at this many bytes from the start of the file; more must be read.
    Needs(u64),
}

/// Opens a whole blob.
///
/// # Errors
/// `Integrity` when a part is damaged, missing or too much, naming it; also when the format version is another.
/// `Limit` when the blob is whole and over the limits.
pub(crate) fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Opened<'a>> {
    open_by(bytes, limits, checksum)
}

/// Opens a whole blob, and believes its trailer that the payload is what it was. Everything else is checked.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_trusting<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Opened<'a>> {
    let claimed = bytes.len().checked_sub(16).and_then(|at| bytes.get(at..at + 8)).map_or(0, read_u64);
    open_by(bytes, limits, |_| claimed)
}

fn open_by<'a>(bytes: &'a [u8], limits: &Limits, checksum: impl Fn(&[u8]) -> u64) -> Result<Opened<'a>> {
    let head = check_header(bytes, limits)?;
    let rest = &bytes[head.end..];
    let payload_len =
        rest.len().checked_sub(TRAILER_LEN).ok_or_else(|| damaged("is cut off before the trailer ends"))?;
    let (payload, found) = rest.split_at(payload_len);
    check_trailer(found, head.checksum, payload_len as u64, checksum(payload))?;
    if payload_len as u64 > limits.max_value_bytes {
        return Err(over_limit("payload", payload_len as u64, limits.max_value_bytes));
    }
    Ok(Opened { header: head.header, payload })
}

/// Reads the header of a blob from its first bytes, without the rest.
///
/// # Errors
/// As [`open`], for what stands before the payload.
pub(crate) fn open_header<'a>(start: &'a [u8], limits: &Limits) -> Result<HeaderRead<'a>> {
    let magic = start.get(..MAGIC.len()).unwrap_or(start);
    if !MAGIC.starts_with(magic) {
        return Err(damaged("does not begin as a blob does"));
    }
    if start.len() < FIXED_LEN {
        return Ok(HeaderRead::Needs(FIXED_LEN as u64));
    }
    let end = header_end(start, limits)?;
    if (start.len() as u64) < end {
        return Ok(HeaderRead::Needs(end));
    }
    Ok(HeaderRead::Whole(check_header(start, limits)?.header))
}

/// What the two ends of a blob say, the payload unseen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ends<'a> {
    pub(crate) header: &'a [u8],
    pub(crate) header_checksum: u64,
    /// Where in the blob the payload begins.
    pub(crate) payload_start: u64,
    pub(crate) payload_len: u64,
    /// What the payload must have.
    pub(crate) payload_checksum: u64,
}

/// Checks a blob of `len` bytes by its two ends: they belong together, and the payload between them has its length.
/// Whether it has its checksum is for the caller to find out.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_ends<'a>(start: &'a [u8], end: &[u8], len: u64, limits: &Limits) -> Result<Ends<'a>> {
    let head = check_header(start, limits)?;
    let payload_len = len.checked_sub((head.end + TRAILER_LEN) as u64).filter(|_| end.len() == TRAILER_LEN);
    let payload_len = payload_len.ok_or_else(|| damaged("is cut off before the trailer ends"))?;
    let payload_checksum = read_u64(&end[8..16]);
    check_trailer(end, head.checksum, payload_len, payload_checksum)?;
    let payload_start = head.end as u64;
    Ok(Ends { header: head.header, header_checksum: head.checksum, payload_start, payload_len, payload_checksum })
}

struct Head<'a> {
    header: &'a [u8],
    checksum: u64,
    /// Where the payload begins.
    end: usize,
}

fn check_header<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Head<'a>> {
    if bytes.len() < FIXED_LEN {
        return Err(damaged("is cut off before the header begins"));
    }
    let end = header_end(bytes, limits)?;
    let Some(end) = usize::try_from(end).ok().filter(|end| *end <= bytes.len()) else {
        return Err(damaged("is cut off before the header ends"));
    };
    let (covered, found) = bytes[..end].split_at(end - CHECKSUM_LEN);
    let expected = checksum(covered);
    if read_u64(found) != expected {
        return Err(damaged("has a damaged header"));
    }
    Ok(Head { header: &covered[FIXED_LEN..], checksum: expected, end })
}

/// Where the header and its checksum end, by what the fixed part says.
fn header_end(bytes: &[u8], limits: &Limits) -> Result<u64> {
    if bytes[..MAGIC.len()] != MAGIC {
        return Err(damaged("does not begin as a blob does"));
    }
    let version = u16::from_le_bytes([bytes[8], bytes[9]]);
    if version != VERSION {
        return Err(damaged(&format!("has format version {version}, and this version of cacheness reads {VERSION}")));
    }
    let len = u64::from(u32::from_le_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]));
    // It may have been written within wider limits.
    let longest = max_header(limits).max(LONGEST_HEADER);
    if len > longest {
        return Err(damaged(&format!("claims a header of {len} bytes, and none has more than {longest}")));
    }
    Ok(len + (FIXED_LEN + CHECKSUM_LEN) as u64)
}

fn check_trailer(found: &[u8], header_checksum: u64, payload_len: u64, payload_checksum: u64) -> Result<()> {
    let expected = trailer(header_checksum, payload_len, payload_checksum);
    if found == expected {
        return Ok(());
    }
    Err(if found[..8] != expected[..8] {
        let claimed = read_u64(&found[..8]);
        damaged(&format!("has {payload_len} bytes of payload where its trailer says {claimed}"))
    } else if found[8..16] != expected[8..16] {
        damaged("has a damaged payload")
    } else {
        damaged("has a damaged trailer, or that of another blob")
    })
}

fn read_u64(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(bytes);
    u64::from_le_bytes(number)
}

fn damaged(what: &str) -> CacheError {
    CacheError::new(ErrorKind::Integrity, format!("the blob {what}"))
}

fn over_limit(part: &str, len: u64, max: u64) -> CacheError {
    CacheError::new(ErrorKind::Limit, format!("the {part} of the blob is {len} bytes long, the limit is {max}"))
}
