//! The checksummed record: an entry, and its value or the name of the blob that holds it.
//!
//! | bytes | content |
//! |---|---|
//! | 1 and 40, if signed | `S`, and a signature of the index key and of the bytes behind it up to the checksum |
//! | … | the entry, see `entry/codec.rs` |
//! | 1 | where the value is: 0 here, 1 in a blob |
//! | … | the value's stored bytes, or the blob's name in 32 hex digits |
//! | 8 | checksum of the index key and all bytes before, little endian |
//!
//! Every layout begins with its version, behind the signature if there is one, and ends with this checksum: so a record of a
//! newer release is told from a damaged one. It is kept, and nothing of it is taken.
//!
//! The checksum covers the key too, so a record that turns up under another key is damaged, not found. So does the
//! signature, which is checked before anything is decoded.

use std::fmt;

use crate::clock::Timestamp;
use crate::entry::{self, Core, Entry, IndexKey, Names};
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::Group;
use crate::index::backend::Facts;
use crate::security::{Distrust, KeyId, Purpose, SIGNATURE_LEN, Signature, Signing};
use crate::storage::BlobName;
use crate::util::digest::{self, Tag};

/// What a signed record begins with. No entry does: it begins with the version of its layout.
const SIGNED: u8 = b'S';
const INLINE: u8 = 0;
const IN_BLOB: u8 = 1;
const CHECKSUM_LEN: usize = 8;
/// What a value may be said to take by somebody who is not believed.
const LARGEST_CLAIM: u64 = 1 << 48;
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
pub(crate) struct Record {
    bytes: Vec<u8>,
    distrust: Option<Distrust>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} bytes, checksum {:016x})", self.bytes.len(), self.checksum())
    }
}

impl Record {
    /// Makes the record of an entry, signed if there is a key.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit) if the entry's details are larger than `max_details` bytes.
    pub(crate) fn new(entry: &Entry, payload: &Payload<'_>, max_details: u64, signing: &Signing) -> Result<Self> {
        let inline = if let Payload::Inline(stored) = payload { stored.len() } else { 0 };
        // Most entries fit, and one that does not makes room for itself.
        let mut bytes = Vec::with_capacity(USUAL_LEN + inline);
        if signing.is_on() {
            bytes.push(SIGNED);
            bytes.extend_from_slice(&[0; SIGNATURE_LEN]);
        }
        let start = bytes.len();
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
        let (len, key) = (key_len(&entry.key), &entry.key);
        if let Some(signature) = signing.sign(Purpose::Record, &signed_parts(&len, key, &bytes[start..])) {
            bytes[1..start].copy_from_slice(&signature.to_bytes());
        }
        let sum = checksum(&entry.key, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        Ok(Self { bytes, distrust: None })
    }

    /// Takes bytes that an index gave back for `key`. A record that was not written by who has the key is one, too, but
    /// [not believed](Self::distrust).
    ///
    /// # Errors
    /// [`Integrity`](ErrorKind::Integrity) if they are not what was written under this key.
    pub(crate) fn from_stored(key: &IndexKey, bytes: Vec<u8>, signing: &Signing) -> Result<Self> {
        let mut record = Self { bytes, distrust: None };
        if record.sealed().is_none_or(|(covered, sum)| checksum(key, covered) != sum) {
            return Err(CacheError::new(ErrorKind::Integrity, format!("the index record of {key} is damaged")));
        }
        if entry::is_newer(record.body()) && record.times().is_ok() {
            return Ok(Self { distrust: Some(Distrust::Newer), ..record });
        }
        if signing.is_on() {
            let (signature, len) = (record.signature(), key_len(key));
            let parts = signed_parts(&len, key, record.body());
            record.distrust = signing.check(Purpose::Record, &parts, signature.as_ref()).err();
        }
        if record.distrust.is_some() && !record.has_a_place() {
            return Err(CacheError::new(ErrorKind::Integrity, format!("the index record of {key} is none")));
        }
        Ok(record)
    }

    /// The record that these bytes begin with, whatever comes behind, if it is whole: it tells its own length, its key and
    /// its checksum.
    pub(crate) fn found_in(bytes: &[u8], signing: &Signing) -> Option<(IndexKey, Self)> {
        let start = if bytes.first() == Some(&SIGNED) { 1 + SIGNATURE_LEN } else { 0 };
        let body = bytes.get(start..).filter(|body| entry::may_begin(body))?;
        let (core, rest) = entry::decode_core(body).ok()?;
        let payload = match *rest.first()? {
            INLINE => usize::try_from(core.stored_size).ok()?,
            IN_BLOB => BlobName::LEN,
            _ => return None,
        };
        let len = (bytes.len() - rest.len()).checked_add(1 + CHECKSUM_LEN)?.checked_add(payload)?;
        let bytes = bytes.get(..len)?;
        let key = entry::decode_key(body).ok()?;
        let record = Self::from_stored(&key, bytes.to_vec(), signing).ok()?;
        Some((key, record))
    }

    /// Whether it tells where in the orders it stands, and a size that may be counted.
    fn has_a_place(&self) -> bool {
        self.core_and_payload().is_ok_and(|(core, _)| core.stored_size <= LARGEST_CLAIM)
    }

    /// The key that it is signed with.
    pub(crate) fn signer(&self) -> Option<KeyId> {
        self.signature().map(|signature| signature.key)
    }

    /// The record of an entry that is not believed for this reason: whoever reads it finds the same one.
    pub(crate) fn of_distrusted(
        entry: &Entry,
        payload: &Payload<'_>,
        why: Distrust,
        signing: &Signing,
    ) -> Result<Self> {
        let mut record = Self::new(entry, payload, u64::MAX, &Signing::OFF)?;
        // That of nothing is that of no record.
        let signature = match why {
            Distrust::OtherKey(key) => Some(Signature { key, tag: Tag::default() }),
            Distrust::Forged => signing.sign(Purpose::Record, &[]),
            Distrust::Unsigned | Distrust::Newer => None,
        };
        if let Some(signature) = signature {
            record.bytes.truncate(record.bytes.len() - CHECKSUM_LEN);
            record.bytes.splice(..0, std::iter::once(SIGNED).chain(signature.to_bytes()));
            let sum = checksum(&entry.key, &record.bytes);
            record.bytes.extend_from_slice(&sum.to_le_bytes());
        }
        Ok(Self { distrust: Some(why), ..record })
    }

    /// Why the record is not believed, if it is not: somebody without the key may have written it. Nothing but sizes, times
    /// and the name of its blob is to be taken from it then.
    pub(crate) fn distrust(&self) -> Option<Distrust> {
        self.distrust
    }

    pub(crate) fn is_believed(&self) -> bool {
        self.distrust.is_none()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The checksum that ends the record: it differs when the key, the entry or the value does.
    pub(crate) fn checksum(&self) -> u64 {
        self.sealed().map_or(0, |(_, sum)| sum)
    }

    /// What the checksum covers, and the checksum.
    fn sealed(&self) -> Option<(&[u8], u64)> {
        let (covered, sum) = self.bytes.split_last_chunk::<CHECKSUM_LEN>()?;
        Some((covered, u64::from_le_bytes(*sum)))
    }

    /// The signature, if there is one, and the record without it.
    fn parts(&self) -> (Option<&[u8; SIGNATURE_LEN]>, &[u8]) {
        let covered = self.sealed().map_or(&[][..], |(covered, _)| covered);
        match covered.split_first() {
            Some((&SIGNED, rest)) => {
                rest.split_first_chunk().map_or((None, &[][..]), |(signature, body)| (Some(signature), body))
            }
            _ => (None, covered),
        }
    }

    fn signature(&self) -> Option<Signature> {
        self.parts().0.map(Signature::from_bytes)
    }

    fn body(&self) -> &[u8] {
        self.parts().1
    }

    /// When the entry was created and when it expires, also of one of a newer release.
    pub(crate) fn times(&self) -> Result<(Timestamp, Option<Timestamp>)> {
        entry::decode_times(self.body())
    }

    pub(crate) fn core(&self) -> Result<Core> {
        entry::decode_core(self.body()).map(|(core, _)| core)
    }

    pub(crate) fn entry(&self) -> Result<Entry> {
        let (mut entry, _) = entry::decode(self.body())?;
        entry.signature = self.signature().map(|signature| signature.tag);
        Ok(entry)
    }

    /// The part that decides where an entry stands in the index.
    pub(crate) fn core_and_names(&self) -> Result<(Core, Names<'_>)> {
        entry::decode_names(self.body())
    }

    /// Where the value's stored bytes are.
    pub(crate) fn payload(&self) -> Result<Payload<'_>> {
        payload_in(entry::behind(self.body())?)
    }

    fn core_and_payload(&self) -> Result<(Core, Payload<'_>)> {
        let (core, rest) = entry::decode_core(self.body())?;
        Ok((core, payload_in(rest)?))
    }

    /// Where the entry stands in the orders of the index. One that is not believed can expire and be evicted, and belongs to
    /// no group.
    pub(crate) fn facts(&self) -> Result<Facts> {
        let blob_bytes = match self.core_and_payload() {
            Ok((core, Payload::Blob(_))) => core.stored_size,
            _ => 0,
        };
        if !self.is_believed() {
            let (created_at, expires_at) = self.times()?;
            return Ok(Facts { expires_at, blob_bytes, ..Facts::new(created_at) });
        }
        let (core, names) = self.core_and_names()?;
        let groups = Group::of_names(&names).into_iter().map(Group::as_u64).collect();
        Ok(Facts { expires_at: core.expires_at, blob_bytes, groups, ..Facts::new(core.created_at) })
    }

    /// The blob that holds the value, if one does.
    pub(crate) fn blob(&self) -> Option<BlobName> {
        match self.payload() {
            Ok(Payload::Blob(name)) => Some(name),
            _ => None,
        }
    }
}

/// The place of the value, which follows the entry.
fn payload_in(rest: &[u8]) -> Result<Payload<'_>> {
    match rest.split_first() {
        Some((&INLINE, stored)) => Ok(Payload::Inline(stored)),
        Some((&IN_BLOB, name)) => parse_name(name).map(Payload::Blob),
        _ => Err(CacheError::new(ErrorKind::Integrity, "a record does not say where its value is")),
    }
}

fn parse_name(bytes: &[u8]) -> Result<BlobName> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        CacheError::caused_by(ErrorKind::Integrity, "a record names its blob in other bytes", error)
    })?;
    BlobName::parse(text)
}

/// What a signature covers: the length of the key tells where the key ends.
fn signed_parts<'a>(key_len: &'a [u8; 8], key: &'a IndexKey, body: &'a [u8]) -> [&'a [u8]; 3] {
    [key_len, key.as_bytes(), body]
}

fn key_len(key: &IndexKey) -> [u8; 8] {
    (key.as_bytes().len() as u64).to_le_bytes()
}

fn checksum(key: &IndexKey, body: &[u8]) -> u64 {
    digest::checksum_within(key.as_bytes(), body)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::entry::{Details, sample};
    use crate::key::ToKey;
    use crate::security::SigningKey;

    pub(in crate::index) fn entry_of(key: &str, created: i64, ttl: Option<u64>) -> Entry {
        let created_at = Timestamp::from_micros(created);
        let ttl = ttl.map(Duration::from_micros);
        let core = Core { raw_size: 5, stored_size: 5, checksum: 3, ..sample::core(created_at, ttl) };
        let details = Details { function: Some("f".into()), ..Details::default() };
        Entry { key: IndexKey::of(&key.to_key().unwrap()), core, details, accessed_at: None, signature: None }
    }

    pub(in crate::index) fn record_of(key: &str, created: i64, ttl: Option<u64>) -> (IndexKey, Record) {
        let entry = entry_of(key, created, ttl);
        (entry.key.clone(), Record::new(&entry, &Payload::Inline(b"value"), 1 << 20, Signing::off()).unwrap())
    }

    #[test]
    fn a_record_gives_back_its_entry_and_its_value() {
        let entry = entry_of("k", 10, Some(20));
        let record = Record::new(&entry, &Payload::Inline(b"value"), 1000, Signing::off()).unwrap();
        let record = Record::from_stored(&entry.key, record.as_bytes().to_vec(), Signing::off()).unwrap();
        assert_eq!(record.entry().unwrap(), entry);
        assert_eq!(record.core_and_payload().unwrap(), (entry.core, Payload::Inline(b"value")));
    }

    #[test]
    fn a_record_names_its_blob() {
        let name = BlobName::unique();
        let entry = entry_of("k", 10, None);
        let record = Record::new(&entry, &Payload::Blob(name.clone()), 1000, Signing::off()).unwrap();
        assert_eq!(record.blob(), Some(name));
    }

    #[test]
    fn a_record_is_found_among_other_bytes_unless_a_bit_of_it_is_flipped() {
        let blob = Record::new(&entry_of("b", 10, None), &Payload::Blob(BlobName::unique()), 1000, Signing::off());
        let keyed = signing(1);
        let signed = Record::new(&entry_of("s", 10, None), &Payload::Inline(b"value"), 1000, &keyed).unwrap();
        for (record, signing) in
            [(record_of("k", 10, Some(20)).1, Signing::off()), (blob.unwrap(), Signing::off()), (signed, &keyed)]
        {
            let key = record.entry().unwrap().key;
            let mut bytes = record.as_bytes().to_vec();
            bytes.extend_from_slice(b"and what comes behind");
            assert_eq!(Record::found_in(&bytes, signing), Some((key, record.clone())));
            for bit in 0..record.as_bytes().len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Record::found_in(&flipped, signing), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let (key, record) = record_of("k", 10, Some(20));
        for bit in 0..record.as_bytes().len() * 8 {
            let mut bytes = record.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::from_stored(&key, bytes, Signing::off()).is_err(), "bit {bit}");
        }
        for len in 0..record.as_bytes().len() {
            assert!(
                Record::from_stored(&key, record.as_bytes()[..len].to_vec(), Signing::off()).is_err(),
                "cut at {len}"
            );
        }
    }

    /// The bytes of a record with a byte of its entry changed, whole in themselves.
    pub(in crate::index) fn changed(key: &IndexKey, record: &Record, at: usize, byte: u8) -> Vec<u8> {
        let mut bytes = record.as_bytes()[..record.as_bytes().len() - CHECKSUM_LEN].to_vec();
        bytes[at] = byte;
        let sum = checksum(key, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn a_whole_record_of_a_newer_layout_is_told_from_a_damaged_one_and_nothing_but_its_times_is_taken() {
        const CODEC_AT: usize = 42;
        let (key, record) = record_of("k", 10, Some(20));
        for (at, byte) in [(0, 2), (0, 200), (CODEC_AT, 250)] {
            let bytes = changed(&key, &record, at, byte);
            let newer = Record::from_stored(&key, bytes.clone(), Signing::off()).unwrap();
            assert_eq!(newer.distrust(), Some(Distrust::Newer));
            assert_eq!(newer.times().unwrap(), (Timestamp::from_micros(10), Some(Timestamp::from_micros(30))));
            assert_eq!((newer.blob(), newer.facts().unwrap().blob_bytes), (None, 0));
            assert_eq!(Distrust::behind(&newer.core().unwrap_err()), Some(Distrust::Newer));
        }
        let older = changed(&key, &record, 0, 0);
        assert!(Record::from_stored(&key, older, Signing::off()).unwrap().core().unwrap_err().is_integrity());
    }

    #[test]
    fn a_signed_record_of_a_newer_layout_is_not_believed_and_stays() {
        let ours = signing(1);
        let (key, record) = signed_by(&ours);
        let newer = Record::from_stored(&key, changed(&key, &record, 1 + SIGNATURE_LEN, 2), &ours).unwrap();
        assert!(newer.distrust() == Some(Distrust::Newer) && ours.keeps(Distrust::Newer));
    }

    fn signing(byte: u8) -> Signing {
        Signing::with(SigningKey::from_bytes([byte; 32]), [])
    }

    fn signed_by(signing: &Signing) -> (IndexKey, Record) {
        let entry = entry_of("k", 10, Some(20));
        (entry.key.clone(), Record::new(&entry, &Payload::Inline(b"value"), 1000, signing).unwrap())
    }

    #[test]
    fn a_signed_record_is_believed_by_who_has_the_key_and_by_who_asks_for_none() {
        let ours = signing(1);
        let (key, record) = signed_by(&ours);
        for (signing, believed) in [(&ours, true), (&Signing::OFF, true), (&signing(2), false)] {
            let stored = Record::from_stored(&key, record.as_bytes().to_vec(), signing).unwrap();
            assert_eq!(stored.is_believed(), believed);
            assert_eq!(
                stored.payload().unwrap(),
                Payload::Inline(b"value"),
                "who may not be believed can be looked at"
            );
        }
        let signature = record.entry().unwrap().entry_signature().unwrap();
        assert_eq!(signature.len(), 64);
        assert_ne!(signed_by(&signing(2)).1.entry().unwrap().entry_signature(), Some(signature));
    }

    #[test]
    fn no_flipped_bit_of_a_signed_record_is_believed_whatever_its_checksum_says() {
        let ours = signing(1);
        let (key, record) = signed_by(&ours);
        let covered = record.as_bytes().len() - CHECKSUM_LEN;
        for bit in 0..covered * 8 {
            let mut bytes = record.as_bytes()[..covered].to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let sum = checksum(&key, &bytes);
            bytes.extend_from_slice(&sum.to_le_bytes());
            assert!(!Record::from_stored(&key, bytes, &ours).is_ok_and(|record| record.is_believed()), "bit {bit}");
        }
    }

    #[test]
    fn none_of_a_hundred_thousand_forged_records_is_believed() {
        let ours = signing(1);
        let (key, record) = signed_by(&ours);
        let covered = record.as_bytes().len() - CHECKSUM_LEN;
        let mut state = 1u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for round in 0..100_000 {
            let mut bytes = record.as_bytes()[..covered].to_vec();
            for _ in 0..=random(4) {
                let at = random(covered);
                bytes[at] ^= 1 + random(255) as u8;
            }
            bytes.truncate(if random(4) == 0 { random(covered) } else { covered });
            if bytes == record.as_bytes()[..covered] {
                continue;
            }
            let sum = checksum(&key, &bytes);
            bytes.extend_from_slice(&sum.to_le_bytes());
            assert!(!Record::from_stored(&key, bytes, &ours).is_ok_and(|record| record.is_believed()), "round {round}");
        }
    }

    #[test]
    fn a_signature_does_not_move_to_another_key_and_its_removal_is_noticed() {
        let ours = signing(1);
        let (_, record) = signed_by(&ours);
        let other = IndexKey::of(&"other".to_key().unwrap());
        let with_sum = |mut bytes: Vec<u8>| {
            let sum = checksum(&other, &bytes);
            bytes.extend_from_slice(&sum.to_le_bytes());
            Record::from_stored(&other, bytes, &ours).unwrap().distrust()
        };
        let (covered, _) = record.as_bytes().split_last_chunk::<CHECKSUM_LEN>().unwrap();
        assert_eq!(with_sum(covered.to_vec()), Some(Distrust::Forged));
        assert_eq!(with_sum(covered[1 + SIGNATURE_LEN..].to_vec()), Some(Distrust::Unsigned));
    }

    #[test]
    fn a_record_under_another_key_is_damaged() {
        let (_, record) = record_of("k", 10, None);
        let (other, _) = record_of("other", 10, None);
        assert!(Record::from_stored(&other, record.as_bytes().to_vec(), Signing::off()).unwrap_err().is_integrity());
    }
}
