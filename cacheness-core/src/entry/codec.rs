//! An entry as bytes, in an index record and in the header of a blob file alike.
//!
//! | bytes | content |
//! |---|---|
//! | 1 | version of this layout: 1 |
//! | 8 | created at, microseconds since 1970, little endian like every number here |
//! | 8 | expires at; `i64::MAX` for never |
//! | 8 | time to live in microseconds; `u64::MAX` for none |
//! | 8 | fingerprint of the type |
//! | 8 | shape of the value |
//! | 1 | payload format |
//! | 1 | codec |
//! | 8 | size before compression |
//! | 8 | stored size |
//! | 8 | checksum of the stored bytes |
//! | 2 | length of the key |
//! | 4 | length of the details |
//! | … | the key |
//! | … | the details, by bincode |
//!
//! Whoever stores these bytes covers them with a checksum. The first three are the same in every layout to come, so that an
//! entry of a newer release has its place in the orders and can expire and be evicted.

use std::time::Duration;

use serde::Deserialize;

use super::{Core, Details, Entry, IndexKey};
use crate::clock::Timestamp;
use crate::config::StoredCodec;
use crate::error::{CacheError, ErrorKind, Result};
use crate::security::Distrust;

const VERSION: u8 = 1;
const NEVER: i64 = i64::MAX;
const NO_TTL: u64 = u64::MAX;
const CORE_LEN: usize = 1 + 3 * 8 + 2 * 8 + 2 + 3 * 8 + 2 + 4;
const CODEC_AT: usize = 1 + 3 * 8 + 2 * 8 + 1;
const KEY_LEN_AT: usize = CORE_LEN - 2 - 4;
/// Longer than any key is.
const LONGEST_KEY: usize = 1 << 10;
/// Details are bounded by `Limits::max_header_bytes` when they are written; this bounds what a reader takes.
const MAX_DETAILS: usize = 16 << 20;

/// Appends the bytes of `entry` to `out`.
///
/// # Errors
/// [`Limit`](ErrorKind::Limit) if description, tags and metadata together are longer than `max_details` bytes.
pub(crate) fn encode(entry: &Entry, max_details: u64, out: &mut Vec<u8>) -> Result<()> {
    let details = bincode::serde::encode_to_vec(&entry.details, bincode::config::standard()).map_err(|error| {
        CacheError::caused_by(ErrorKind::Serialization, format!("cannot encode the metadata of {}", entry.key), error)
    })?;
    let (details_len, key_len) = lengths(entry, details.len(), max_details)?;
    out.reserve(CORE_LEN + entry.key.as_bytes().len() + details.len());
    encode_core(&entry.core, out);
    out.extend_from_slice(&key_len.to_le_bytes());
    out.extend_from_slice(&details_len.to_le_bytes());
    out.extend_from_slice(entry.key.as_bytes());
    out.extend_from_slice(&details);
    Ok(())
}

fn lengths(entry: &Entry, details: usize, max_details: u64) -> Result<(u32, u16)> {
    let max = usize::try_from(max_details).unwrap_or(MAX_DETAILS).min(MAX_DETAILS);
    let too_long = || {
        let key = entry.details.name.as_ref().map_or_else(|| entry.key.to_string(), |name| format!("{name:?}"));
        let message = format!(
            "description, tags, parameters and metadata (also custom) of {key} take {details} bytes, the limit is {max} \
             (limits.max_header_bytes)"
        );
        CacheError::new(ErrorKind::Limit, message)
    };
    if details > max {
        return Err(too_long());
    }
    let details_len = u32::try_from(details).map_err(|_| too_long())?;
    let key_len = u16::try_from(entry.key.as_bytes().len())
        .map_err(|_| CacheError::new(ErrorKind::Limit, "an index key is too long"))?;
    Ok((details_len, key_len))
}

fn encode_core(core: &Core, out: &mut Vec<u8>) {
    let expires = core.expires_at.map_or(NEVER, Timestamp::as_micros);
    let ttl = core.ttl.map_or(NO_TTL, |ttl| u64::try_from(ttl.as_micros()).unwrap_or(NO_TTL - 1));
    out.push(VERSION);
    out.extend_from_slice(&core.created_at.as_micros().to_le_bytes());
    out.extend_from_slice(&expires.to_le_bytes());
    out.extend_from_slice(&ttl.to_le_bytes());
    out.extend_from_slice(&core.type_fingerprint.to_le_bytes());
    out.extend_from_slice(&core.shape.to_le_bytes());
    out.push(core.payload_format);
    out.push(core.codec.into());
    out.extend_from_slice(&core.raw_size.to_le_bytes());
    out.extend_from_slice(&core.stored_size.to_le_bytes());
    out.extend_from_slice(&core.checksum.to_le_bytes());
}

/// Reads an entry; what follows its bytes is returned with it.
///
/// # Errors
/// [`Integrity`](ErrorKind::Integrity) if the bytes are not an entry.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Entry, &[u8])> {
    let mut reader = Reader(bytes);
    let (core, key_len, details_len) = reader.core()?;
    let key = IndexKey::from_stored(reader.take(key_len)?)?;
    let details = decode_details(reader.take(details_len)?)?;
    Ok((Entry { key, core, details, accessed_at: None, signature: None }, reader.0))
}

/// Reads only the part of fixed size; what follows the entry's bytes is returned with it.
///
/// # Errors
/// [`Integrity`](ErrorKind::Integrity) if the bytes are not an entry.
pub(crate) fn decode_core(bytes: &[u8]) -> Result<(Core, &[u8])> {
    let mut reader = Reader(bytes);
    let (core, key_len, details_len) = reader.core()?;
    reader.take(key_len)?;
    reader.take(details_len)?;
    Ok((core, reader.0))
}

/// What follows the bytes of an entry, which is not read.
///
/// # Errors
/// [`Integrity`](ErrorKind::Integrity) if the bytes are not an entry.
pub(crate) fn behind(bytes: &[u8]) -> Result<&[u8]> {
    let Some((core, mut reader)) = bytes.split_first_chunk::<CORE_LEN>().map(|(core, rest)| (core, Reader(rest)))
    else {
        return Err(damaged("it ends too early"));
    };
    if core[0] != VERSION || is_newer(bytes) {
        return decode_core(bytes).map(|(_, rest)| rest);
    }
    let mut lengths = Reader(&core[KEY_LEN_AT..]);
    let (key_len, details_len) = (u16::from_le_bytes(lengths.array()?), u32::from_le_bytes(lengths.array()?));
    reader.take(usize::from(key_len))?;
    reader.take(details_len as usize)?;
    Ok(reader.0)
}

/// Whether an entry may begin here: what is cheap to see of one, for a search through bytes that may be anything.
pub(crate) fn may_begin(bytes: &[u8]) -> bool {
    let Some(core) = bytes.first_chunk::<CORE_LEN>() else { return false };
    let (version, codec) = (core[0], core[CODEC_AT]);
    let key_len = usize::from(u16::from_le_bytes([core[KEY_LEN_AT], core[KEY_LEN_AT + 1]]));
    version == VERSION && (1..=LONGEST_KEY).contains(&key_len) && StoredCodec::try_from(codec).is_ok()
}

/// Reads the key alone.
///
/// # Errors
/// [`Integrity`](ErrorKind::Integrity) if the bytes are not an entry.
pub(crate) fn decode_key(bytes: &[u8]) -> Result<IndexKey> {
    let mut reader = Reader(bytes);
    let (_, key_len, _) = reader.core()?;
    IndexKey::from_stored(reader.take(key_len)?)
}

/// The names by which an entry belongs to groups: the beginning of its details.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Names<'a> {
    /// As in [`Details`], field for field.
    _data_type: &'a str,
    pub(crate) function: Option<&'a str>,
    pub(crate) prefix: Option<&'a str>,
    _description: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) tags: Vec<&'a str>,
    #[serde(borrow)]
    pub(crate) kinds: Vec<&'a str>,
}

/// Reads the part of fixed size and the names.
///
/// # Errors
/// [`Integrity`](ErrorKind::Integrity) if the bytes are not an entry.
pub(crate) fn decode_names(bytes: &[u8]) -> Result<(Core, Names<'_>)> {
    let mut reader = Reader(bytes);
    let (core, key_len, details_len) = reader.core()?;
    reader.take(key_len)?;
    let config = bincode::config::standard().with_limit::<MAX_DETAILS>();
    match bincode::serde::borrow_decode_from_slice(reader.take(details_len)?, config) {
        Ok((names, _)) => Ok((core, names)),
        Err(error) => Err(CacheError::caused_by(ErrorKind::Integrity, "an entry's names cannot be read", error)),
    }
}

fn decode_details(bytes: &[u8]) -> Result<Details> {
    let config = bincode::config::standard().with_limit::<MAX_DETAILS>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((Details { kinds, rows, .. }, _)) if kinds.len() != rows.len() => {
            Err(damaged("its custom metadata has another number of kinds than of rows"))
        }
        Ok((details, read)) if read == bytes.len() => Ok(details),
        Ok(_) => Err(damaged("details are longer than they say")),
        Err(error) => Err(CacheError::caused_by(ErrorKind::Integrity, "an entry's details cannot be read", error)),
    }
}

fn damaged(what: &str) -> CacheError {
    CacheError::new(ErrorKind::Integrity, format!("an entry is damaged: {what}"))
}

/// When an entry was created and when it expires, in whatever layout: each begins with its version and these two.
///
/// # Errors
/// [`Integrity`](ErrorKind::Integrity) if the bytes are too few.
pub(crate) fn decode_times(bytes: &[u8]) -> Result<(Timestamp, Option<Timestamp>)> {
    let mut reader = Reader(bytes);
    reader.u8()?;
    reader.times()
}

/// Whether an entry that is whole was written by a newer release: its layout is not known here, or what its value is
/// compressed by.
#[inline]
pub(crate) fn is_newer(bytes: &[u8]) -> bool {
    match bytes.first() {
        Some(&VERSION) => bytes.get(CODEC_AT).is_some_and(|codec| StoredCodec::try_from(*codec).is_err()),
        Some(version) => *version > VERSION,
        None => false,
    }
}

fn stored_codec(number: u8) -> Result<StoredCodec> {
    StoredCodec::try_from(number)
        .map_err(|error| CacheError::caused_by(ErrorKind::Integrity, "an entry's codec is not known", error))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(|| damaged("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| damaged("it ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn times(&mut self) -> Result<(Timestamp, Option<Timestamp>)> {
        let created_at = Timestamp::from_micros(self.i64()?);
        Ok((created_at, Some(self.i64()?).filter(|at| *at != NEVER).map(Timestamp::from_micros)))
    }

    /// The part of fixed size, with the lengths of key and details.
    fn core(&mut self) -> Result<(Core, usize, usize)> {
        if is_newer(self.0) {
            return Err(Distrust::Newer.of("an entry"));
        }
        match self.u8()? {
            VERSION => {}
            other => return Err(damaged(&format!("its layout has version {other}, this program knows {VERSION}"))),
        }
        let (created_at, expires_at) = self.times()?;
        let core = Core {
            created_at,
            expires_at,
            ttl: Some(self.u64()?).filter(|ttl| *ttl != NO_TTL).map(Duration::from_micros),
            type_fingerprint: self.u64()?,
            shape: self.u64()?,
            payload_format: self.u8()?,
            codec: stored_codec(self.u8()?)?,
            raw_size: self.u64()?,
            stored_size: self.u64()?,
            checksum: self.u64()?,
        };
        let key_len = usize::from(u16::from_le_bytes(self.array()?));
        let details_len = u32::from_le_bytes(self.array()?) as usize;
        Ok((core, key_len, details_len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::sample;
    use crate::key::ToKey;
    use crate::value::Value;

    fn entry() -> Entry {
        Entry {
            key: IndexKey::of(&"some key".to_key().unwrap()),
            core: Core {
                raw_size: 300,
                stored_size: 200,
                checksum: 3,
                ..sample::core(Timestamp::from_micros(1_000_000), Some(Duration::from_secs(60)))
            },
            details: Details {
                data_type: "u64".into(),
                tags: vec!["a".into()],
                kinds: vec!["runs".into()],
                metadata: [("accuracy".to_owned(), Value::from(0.5))].into(),
                rows: vec![[("run".to_owned(), Value::from(7))].into()],
                ..Details::default()
            },
            accessed_at: None,
            signature: None,
        }
    }

    fn encoded(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        encode(entry, 1 << 20, &mut out).unwrap();
        out
    }

    #[test]
    fn an_entry_reads_back_as_it_was_and_leaves_what_follows() {
        let mut bytes = encoded(&entry());
        bytes.extend_from_slice(b"payload");
        assert_eq!(decode(&bytes).unwrap(), (entry(), &b"payload"[..]));
        assert_eq!(decode_core(&bytes).unwrap(), (entry().core, &b"payload"[..]));
        assert_eq!(behind(&bytes).unwrap(), b"payload");
    }

    #[test]
    fn the_names_are_read_without_the_rest() {
        let mut named = entry();
        named.details.function = Some("f".into());
        named.details.prefix = Some("p".into());
        named.details.description = Some("d".into());
        named.details.params = vec![("x".into(), "1".into())];
        let bytes = encoded(&named);
        let (core, names) = decode_names(&bytes).unwrap();
        assert_eq!(core, named.core);
        assert_eq!((names.function, names.prefix), (Some("f"), Some("p")));
        assert_eq!((names.tags, names.kinds), (vec!["a"], vec!["runs"]));
    }

    #[test]
    fn never_and_no_ttl_are_kept_apart_from_times() {
        let mut forever = entry();
        forever.core.expires_at = None;
        forever.core.ttl = None;
        assert_eq!(decode(&encoded(&forever)).unwrap().0, forever);
    }

    #[test]
    fn every_truncation_is_an_error_and_never_a_panic() {
        let bytes = encoded(&entry());
        for len in 0..bytes.len() {
            assert!(decode(&bytes[..len]).unwrap_err().is_integrity(), "cut at {len}");
            assert!(behind(&bytes[..len]).unwrap_err().is_integrity(), "cut at {len}");
        }
    }

    #[test]
    fn a_kind_of_custom_metadata_without_its_row_is_damage() {
        let mut torn = entry();
        torn.details.rows.clear();
        assert!(decode(&encoded(&torn)).unwrap_err().is_integrity());
    }

    #[test]
    fn an_entry_without_custom_metadata_pays_two_bytes_for_it() {
        let bare = Entry { details: Details::default(), ..entry() };
        // The type, four times nothing, tags, metadata, parameters, three times nothing; kinds and rows.
        assert_eq!(encoded(&bare).len(), CORE_LEN + bare.key.as_bytes().len() + 10 + 2);
    }

    #[test]
    fn metadata_over_the_limit_is_refused_by_name() {
        let mut large = entry();
        large.details.description = Some("x".repeat(2000));
        let error = encode(&large, 1000, &mut Vec::new()).unwrap_err();
        assert!(error.is_limit());
        assert!(error.to_string().contains("max_header_bytes"), "{error}");
    }

    #[test]
    fn the_part_of_fixed_size_has_these_bytes_in_every_release() {
        let bytes = encoded(&entry());
        let expected = [
            &[1u8][..],
            &1_000_000i64.to_le_bytes(),
            &61_000_000i64.to_le_bytes(),
            &60_000_000u64.to_le_bytes(),
            &1u64.to_le_bytes(),
            &2u64.to_le_bytes(),
            &[1, 0],
            &300u64.to_le_bytes(),
            &200u64.to_le_bytes(),
            &3u64.to_le_bytes(),
        ]
        .concat();
        assert_eq!(bytes[..expected.len()], expected);
        assert_eq!(expected.len() + 2 + 4, CORE_LEN);
    }
}
