//! The checksummed record: an entry, and its value or the name of the blob that holds it.
//!
//! | bytes | content |
//! |---|---|
//! | … | the entry, see `entry/codec.rs` |
//! | 1 | where the value is: 0 here, 1 in a blob |
//! | … | the value's stored bytes, or the blob's name in 32 hex digits |
//! | 8 | checksum of the index key and all bytes before, little endian |
//!
//! The checksum covers the key too, so a record that turns up under another key is damaged, not found.

use std::fmt;

use crate::blob_name::BlobName;
use crate::digest;
use crate::entry::{self, Core, Entry, IndexKey, Names};
use crate::error::{CacheError, ErrorKind, Result};

const INLINE: u8 = 0;
const IN_BLOB: u8 = 1;
const CHECKSUM_LEN: usize = 8;
/// What most records take beside an inline value.
const USUAL_LEN: usize = 320;

/// Where the stored bytes of a value are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Inline(&'a [u8]),
    Blob(BlobName),
}

/// A record as the index keeps it: whole, and checked when it came from outside.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Record(Vec<u8>);

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} bytes, checksum {:016x})", self.0.len(), self.checksum())
    }
}

impl Record {
    /// Makes the record of an entry.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit) if the entry's details are larger than `max_details` bytes.
    pub(crate) fn new(entry: &Entry, payload: &Payload<'_>, max_details: u64) -> Result<Self> {
        let inline = if let Payload::Inline(stored) = payload { stored.len() } else { 0 };
        // Most entries fit, and one that does not makes room for itself.
        let mut bytes = Vec::with_capacity(USUAL_LEN + inline);
        entry::encode(entry, max_details, &mut bytes)?;
        match payload {
            Payload::Inline(stored) => {
                bytes.push(INLINE);
                bytes.extend_from_slice(stored);
            }
            Payload::Blob(name) => {
                bytes.push(IN_BLOB);
                bytes.extend_from_slice(name.as_str().as_bytes());
            }
        }
        let sum = checksum(&entry.key, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        Ok(Self(bytes))
    }

    /// Takes bytes that an index gave back for `key`.
    ///
    /// # Errors
    /// [`Integrity`](ErrorKind::Integrity) if they are not what was written under this key.
    pub(crate) fn from_stored(key: &IndexKey, bytes: Vec<u8>) -> Result<Self> {
        let record = Self(bytes);
        match record.parts() {
            Some((body, sum)) if checksum(key, body) == sum => Ok(record),
            _ => Err(CacheError::new(ErrorKind::Integrity, format!("the index record of {key} is damaged"))),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The checksum that ends the record: it differs when the key, the entry or the value does.
    pub(crate) fn checksum(&self) -> u64 {
        self.parts().map_or(0, |(_, sum)| sum)
    }

    fn parts(&self) -> Option<(&[u8], u64)> {
        let (body, sum) = self.0.split_last_chunk::<CHECKSUM_LEN>()?;
        Some((body, u64::from_le_bytes(*sum)))
    }

    fn body(&self) -> &[u8] {
        self.parts().map_or(&[], |(body, _)| body)
    }

    pub(crate) fn core(&self) -> Result<Core> {
        entry::decode_core(self.body()).map(|(core, _)| core)
    }

    pub(crate) fn entry(&self) -> Result<Entry> {
        entry::decode(self.body()).map(|(entry, _)| entry)
    }

    /// The part that decides where an entry stands in the index.
    pub(crate) fn core_and_names(&self) -> Result<(Core, Names<'_>)> {
        entry::decode_names(self.body())
    }

    /// Where the value's stored bytes are.
    pub(crate) fn payload(&self) -> Result<Payload<'_>> {
        self.core_and_payload().map(|(_, payload)| payload)
    }

    /// What a hit needs, in one pass.
    pub(crate) fn core_and_payload(&self) -> Result<(Core, Payload<'_>)> {
        let (core, rest) = entry::decode_core(self.body())?;
        let payload = match rest.split_first() {
            Some((&INLINE, stored)) => Payload::Inline(stored),
            Some((&IN_BLOB, name)) => Payload::Blob(parse_name(name)?),
            _ => return Err(CacheError::new(ErrorKind::Integrity, "a record does not say where its value is")),
        };
        Ok((core, payload))
    }

    /// Bytes that the entry takes: its record, and its blob if it has one.
    pub(crate) fn footprint(&self) -> u64 {
        let blob = match self.core_and_payload() {
            Ok((core, Payload::Blob(_))) => core.stored_size,
            _ => 0,
        };
        self.0.len() as u64 + blob
    }

    /// The blob that holds the value, if one does.
    pub(crate) fn blob(&self) -> Option<BlobName> {
        match self.payload() {
            Ok(Payload::Blob(name)) => Some(name),
            _ => None,
        }
    }
}

fn parse_name(bytes: &[u8]) -> Result<BlobName> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        CacheError::caused_by(ErrorKind::Integrity, "a record names its blob in other bytes", error)
    })?;
    BlobName::parse(text)
}

fn checksum(key: &IndexKey, body: &[u8]) -> u64 {
    digest::checksum_within(key.as_bytes(), body)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::entry::{Details, sample};
    use crate::key::ToKey;

    pub(in crate::metadata) fn entry_of(key: &str, created: i64, ttl: Option<u64>) -> Entry {
        let created_at = Timestamp::from_micros(created);
        let ttl = ttl.map(Duration::from_micros);
        let core = Core { raw_size: 5, stored_size: 5, checksum: 3, ..sample::core(created_at, ttl) };
        let details = Details { function: Some("f".into()), ..Details::default() };
        Entry { key: IndexKey::of(&key.to_key().unwrap()), core, details, accessed_at: None }
    }

    pub(in crate::metadata) fn record_of(key: &str, created: i64, ttl: Option<u64>) -> (IndexKey, Record) {
        let entry = entry_of(key, created, ttl);
        (entry.key.clone(), Record::new(&entry, &Payload::Inline(b"value"), 1 << 20).unwrap())
    }

    #[test]
    fn a_record_gives_back_its_entry_and_its_value() {
        let entry = entry_of("k", 10, Some(20));
        let record = Record::new(&entry, &Payload::Inline(b"value"), 1000).unwrap();
        let record = Record::from_stored(&entry.key, record.as_bytes().to_vec()).unwrap();
        assert_eq!(record.entry().unwrap(), entry);
        assert_eq!(record.core_and_payload().unwrap(), (entry.core, Payload::Inline(b"value")));
    }

    #[test]
    fn a_record_names_its_blob() {
        let name = BlobName::unique();
        let entry = entry_of("k", 10, None);
        let record = Record::new(&entry, &Payload::Blob(name.clone()), 1000).unwrap();
        assert_eq!(record.blob(), Some(name));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let (key, record) = record_of("k", 10, Some(20));
        for bit in 0..record.as_bytes().len() * 8 {
            let mut bytes = record.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::from_stored(&key, bytes).is_err(), "bit {bit}");
        }
        for len in 0..record.as_bytes().len() {
            assert!(Record::from_stored(&key, record.as_bytes()[..len].to_vec()).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_record_under_another_key_is_damaged() {
        let (_, record) = record_of("k", 10, None);
        let (other, _) = record_of("other", 10, None);
        assert!(Record::from_stored(&other, record.as_bytes().to_vec()).unwrap_err().is_integrity());
    }
}
