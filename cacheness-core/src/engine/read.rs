//! Values out of the store: from their records, or from their blobs straight to where they are wanted.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Store;
use super::opened::Opened;
use crate::codec::compress;
use crate::codec::handler::{Kind, LENGTH, NATIVE, Numbers, Raw, Taken, TakenAs};
use crate::config::StoredCodec;
use crate::entry::{self, Core, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::format;
use crate::index::{Payload, Record};
use crate::security::Distrust;
use crate::storage::BlobName;
use crate::storage::blob::BlobRead;
use crate::util::{digest, threads};

/// A reader meets a blob that was just replaced at most this often before it gives up.
pub(crate) const MAX_OVERTAKEN: usize = 16;

/// A file up to about this size is read by one call, and its payload moved; a longer one is read where it is wanted.
const READ_AT_ONCE: u64 = 128 << 10;

/// So many bytes of a file tell how long its head is.
const HEAD_START: usize = 16;

impl Store {
    /// The encoded value of a found record, checked. `None` if its blob is gone or damaged (it is then set aside and the
    /// record removed), or if the entry was removed meanwhile; one that was replaced meanwhile gives the new value, whose
    /// record is then in `found`.
    pub(crate) fn load(&self, key: &IndexKey, found: &mut Found, taken: TakenAs) -> Result<Option<Raw>> {
        self.read(key, found, |found| self.raw_of(key, &found.core, found.record.payload()?, taken))
    }

    pub(super) fn raw_of(
        &self,
        key: &IndexKey,
        core: &Core,
        payload: Payload<'_>,
        taken: TakenAs,
    ) -> Result<Option<Raw>> {
        match payload {
            Payload::Inline(stored) => self.unverified_raw(core, stored.into(), taken).map(Some),
            Payload::Blob(name) => self.load_blob(key, core, &name, taken),
        }
    }

    /// [`load`](Self::load) without inflating: the bytes as they are stored. Always verified, for they get a new checksum
    /// where they are stored again.
    pub(crate) fn load_stored(&self, key: &IndexKey, found: &mut Found) -> Result<Option<Vec<u8>>> {
        self.read(key, found, |found| match found.record.payload()? {
            Payload::Inline(stored) => Ok(Some(stored.to_vec())),
            Payload::Blob(name) => self.stored_in_blob(key, &found.core, &name, true),
        })
    }

    /// [`load_stored`](Self::load_stored) with the entry that tells of these bytes alone, without the seals behind them.
    pub(crate) fn load_unsealed(&self, key: &IndexKey, found: &mut Found) -> Result<Option<(Entry, Vec<u8>)>> {
        let Some(stored) = self.load_stored(key, found)? else { return Ok(None) };
        let mut entry = found.record.entry()?;
        if entry.core.stored_size != stored.len() as u64 && entry.core.payload_format == NATIVE {
            (entry.core.stored_size, entry.core.checksum) = (stored.len() as u64, digest::checksum(&stored));
        }
        Ok(Some((entry, stored)))
    }

    pub(super) fn read<R>(
        &self,
        key: &IndexKey,
        found: &mut Found,
        attempt: impl Fn(&Found) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        for _ in 0..MAX_OVERTAKEN {
            match attempt(found) {
                Ok(Some(value)) => return Ok(Some(value)),
                // The row that named it may be a copy of one that is replaced by now.
                Ok(None) => drop(self.index.backend().give_up_copy(key.as_bytes())),
                // Nobody has lost anything by a copy.
                Err(error) if is_of_bytes(&error) && self.gives_up_copy(found) => continue,
                // It may be believed again with another key.
                Err(error) if Distrust::behind(&error).is_some_and(|why| self.settings.signing.keeps(why)) => {
                    log::debug!("a value is not returned: {error}");
                    return Ok(None);
                }
                Err(error) if error.is_integrity() => self.set_aside(found, &error)?,
                Err(error) => return Err(error),
            }
            match self.find(key)? {
                Some(newer) if newer.record != found.record => *found = newer,
                Some(_) => {
                    self.index.remove_expected(key, &found.record)?;
                    return Ok(None);
                }
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    fn load_blob(&self, key: &IndexKey, core: &Core, name: &BlobName, taken: TakenAs) -> Result<Option<Raw>> {
        let verify = self.settings.verify;
        if core.codec == StoredCodec::None
            && core.stored_size > READ_AT_ONCE
            && (core.raw_size == core.stored_size || core.payload_format == NATIVE)
            && let Some(taken) = taken(core)
        {
            let Some(mut blob) = self.open_blob(key, core, name)? else { return Ok(None) };
            let second = self.second_reader(name, core);
            return taken_from(&mut blob, second, core, taken, verify).map(Some);
        }
        if core.stored_size > READ_AT_ONCE && self.format_in_file(core).is_some() {
            let blob = self.open_blob(key, core, name)?;
            return blob.map(|blob| blob.into_raw(verify)).transpose();
        }
        let stored = self.stored_in_blob(key, core, name, verify)?;
        stored.map(|stored| self.unverified_raw(core, stored.into(), taken)).transpose()
    }

    fn stored_in_blob(&self, key: &IndexKey, core: &Core, name: &BlobName, verify: bool) -> Result<Option<Vec<u8>>> {
        // The header of a native value may have been written before its size and checksum were known.
        if core.stored_size <= READ_AT_ONCE && core.payload_format != NATIVE {
            return self.read_at_once(key, core, name, verify);
        }
        let Some(mut blob) = self.open_blob(key, core, name)? else { return Ok(None) };
        blob.payload(self.second_reader(name, core), verify).map(Some)
    }

    fn read_at_once(&self, key: &IndexKey, core: &Core, name: &BlobName, verify: bool) -> Result<Option<Vec<u8>>> {
        // A file that is longer is not that of this value, and no memory is taken for it.
        let longest = format::longest_envelope(core.stored_size);
        let read = self.blobs.read(name, longest);
        let read = read.map_err(|error| match error.is_limit() {
            true => CacheError::caused_by(ErrorKind::Integrity, format!("blob {name} has another length"), error),
            false => error,
        });
        let Some(mut file) = read? else { return Ok(None) };
        let opened = match verify {
            true => format::open(&file, self.rules())?,
            false => format::open_trusting(&file, self.rules())?,
        };
        let (sealed, _) = entry::decode(opened.header)?;
        if sealed.key != *key || sealed.core.checksum != core.checksum {
            return Err(CacheError::new(ErrorKind::Integrity, format!("blob {name} is not the value of {key}")));
        }
        let (start, len) = (opened.payload.as_ptr() as usize - file.as_ptr() as usize, opened.payload.len());
        file.drain(..start);
        file.truncate(len);
        Ok(Some(file))
    }

    /// The blob of a record, open, its two ends checked and those of this value.
    pub(super) fn open_blob(&self, key: &IndexKey, core: &Core, name: &BlobName) -> Result<Option<Opened>> {
        let Some(blob) = Opened::open(&*self.blobs, name, self.rules())? else { return Ok(None) };
        if !blob.is_value_of(key, core) {
            return Err(CacheError::new(ErrorKind::Integrity, format!("blob {name} is not the value of {key}")));
        }
        let (len, limit) = (blob.value_len(), self.settings.limits.max_value_bytes);
        if len > limit {
            let message = format!("the payload of blob {name} is {len} bytes long, the limit is {limit}");
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        Ok(Some(blob))
    }

    /// The same blob once more, for a second thread; none where one is enough, or where it is gone by now.
    fn second_reader(&self, name: &BlobName, core: &Core) -> Option<Box<dyn BlobRead>> {
        let worth_it = !self.blobs.is_remote() && usize::try_from(core.stored_size).is_ok_and(threads::is_worth_two);
        worth_it.then(|| self.blobs.open(name).ok().flatten()).flatten()
    }

    /// [`raw_of_stored`](Self::raw_of_stored) for bytes that may not have been verified: what is wrong with them is damage.
    fn unverified_raw(&self, core: &Core, stored: Cow<'_, [u8]>, taken: TakenAs) -> Result<Raw> {
        core.codec.check_available()?;
        match self.raw_of_stored(core, stored, taken) {
            // Its codec is there, so that the bytes must be other ones.
            Err(error) if error.is_compression() => {
                Err(CacheError::caused_by(ErrorKind::Integrity, error.to_string(), error))
            }
            raw => raw,
        }
    }

    /// What the handler wrote, of what is stored.
    ///
    /// # Errors
    /// [`Compression`](ErrorKind::Compression) if the bytes do not inflate to what they are said to be, or their codec is
    /// not compiled in; [`Limit`](ErrorKind::Limit).
    pub(crate) fn raw_of_stored(&self, core: &Core, stored: Cow<'_, [u8]>, taken: TakenAs) -> Result<Raw> {
        let limits = &self.settings.limits;
        if compress::inflates_in_place(core.codec)
            && let Some(taken) = taken(core)
        {
            let blocks = compress::Blocks::of(&stored, core.raw_size, limits)?;
            if let Taken::Vector(kind) = taken {
                return numbers_by(core, kind, |head, body| blocks.inflate_into(head, body));
            }
            let room = room_for_array(core, taken, blocks.lead())?;
            if let Some((mut head, mut numbers)) = room.filter(|(head, _)| head.len() == blocks.lead().len()) {
                blocks.inflate_into(&mut head, numbers.as_bytes_mut())?;
                return Ok(Raw::Array(head, numbers));
            }
        }
        Ok(Raw::Bytes(match compress::inflate(core.codec, &stored, core.raw_size, limits)? {
            Cow::Owned(raw) => raw,
            Cow::Borrowed(_) => stored.into_owned(),
        }))
    }
}

/// Whether an error says that bytes are not those that were written, or not by whom they should be.
fn is_of_bytes(error: &CacheError) -> bool {
    error.is_integrity() || Distrust::behind(error).is_some()
}

/// Reads a value that is stored as it is to where it stays.
fn taken_from(
    blob: &mut Opened,
    second: Option<Box<dyn BlobRead>>,
    core: &Core,
    taken: Taken,
    verify: bool,
) -> Result<Raw> {
    match taken {
        Taken::Vector(Kind::U8) => {
            let mut length = [0; LENGTH];
            let bytes = blob.payload_after(&mut length, second, verify)?;
            checked(length, bytes.len(), Numbers::U8(bytes))
        }
        Taken::Vector(kind) => numbers_by(core, kind, |head, body| blob.payload_into(head, body, second, verify)),
        Taken::Array(..) => {
            let mut start = [0; HEAD_START];
            let read = blob.beginning(&mut start)?;
            let Some((mut head, mut numbers)) = room_for_array(core, taken, &start[..read])? else {
                return blob.payload(second, verify).map(Raw::Bytes);
            };
            blob.payload_into(&mut head, numbers.as_bytes_mut(), second, verify)?;
            Ok(Raw::Array(head, numbers))
        }
        Taken::Bytes => blob.payload(second, verify).map(Raw::Bytes),
    }
}

/// A vector of numbers that is filled where it lies: its length, and its elements.
fn numbers_by(core: &Core, kind: Kind, fill: impl FnOnce(&mut [u8], &mut [u8]) -> Result<()>) -> Result<Raw> {
    let elements = core.raw_size.checked_sub(LENGTH as u64).ok_or_else(other_length)?;
    let len = usize::try_from(elements).map_err(|_| other_length())? / kind.width();
    let (mut length, mut numbers) = ([0; LENGTH], Numbers::zeroed(kind, len)?);
    fill(&mut length, numbers.as_bytes_mut())?;
    checked(length, len, numbers)
}

/// The head of a value that is taken as an array, and room for its numbers; `None` if its first bytes or its length say that it is
/// no such value, as its reader will then say.
fn room_for_array(core: &Core, taken: Taken, start: &[u8]) -> Result<Option<(Vec<u8>, Numbers)>> {
    let Taken::Array(kind, head_len) = taken else { return Ok(None) };
    let head = head_len(start).and_then(|len| usize::try_from(len).ok());
    let len = head.and_then(|head| usize::try_from(core.raw_size).ok()?.checked_sub(head));
    match (head, len.filter(|len| len.is_multiple_of(kind.width()))) {
        (Some(head), Some(len)) => Ok(Some((vec![0; head], Numbers::zeroed(kind, len / kind.width())?))),
        _ => Ok(None),
    }
}

/// Numbers that are as many as was stored before them.
fn checked(length: [u8; LENGTH], len: usize, numbers: Numbers) -> Result<Raw> {
    if u64::from_le_bytes(length) == len as u64 { Ok(Raw::Numbers(numbers)) } else { Err(other_length()) }
}

fn other_length() -> CacheError {
    CacheError::new(ErrorKind::Integrity, "a vector of numbers has another length than its entry says")
}

// Which record counts, and what becomes of one that does not.

/// A record that was found, with its entry's fixed part.
#[derive(Debug)]
pub(crate) struct Found {
    pub record: Record,
    pub core: Core,
}

impl Store {
    /// The record of a key. A damaged one is removed and counts as absent, but for a blob store, where it is an error. So
    /// does one that is not believed, but that it may stay where it is.
    pub(crate) fn find(&self, key: &IndexKey) -> Result<Option<Found>> {
        let mut read = self.index.get(key);
        let is_sound = match &read {
            Ok(record) => record.as_ref().is_none_or(Record::is_believed),
            Err(error) => !is_of_bytes(error),
        };
        if !is_sound && self.index.backend().give_up_copy(key.as_bytes()) {
            read = self.index.get(key);
        }
        let read = match read {
            // The index may have been repaired since: only a record that is damaged still must go.
            Err(error) if error.is_integrity() => self.index.get(key),
            read => read,
        };
        let found = match read {
            Ok(Some(record)) => match record.distrust() {
                Some(distrust) => return self.distrusted(key, &record, distrust),
                None => match record.core() {
                    Ok(core) => Ok(Some(Found { record, core })),
                    Err(error) if self.settings.damage_is_absence && error.is_integrity() => {
                        log::debug!("the record of {key} is not one of this release and is removed");
                        self.remove_expected(key, &record)?;
                        return Ok(None);
                    }
                    Err(error) => Err(error),
                },
            },
            Ok(None) => return Ok(None),
            Err(error) => Err(error),
        };
        if self.settings.damage_is_absence && found.as_ref().is_err_and(CacheError::is_integrity) {
            log::debug!("the record of {key} is damaged and is removed");
            // Another thread may have put a sound one since.
            self.index.remove_damaged(key)?;
            return Ok(None);
        }
        found
    }

    /// The records of several keys, in the order of the keys, by one question. What is damaged or not believed counts as absent,
    /// and stays: whoever asks for it alone finds it.
    pub(crate) fn find_many(&self, keys: &[IndexKey]) -> Result<Vec<Option<Found>>> {
        let mut found: HashMap<IndexKey, Record> = self.index.of_keys(keys)?.into_iter().collect();
        let sound = |record: Record| {
            let core = record.distrust().is_none().then(|| record.core().ok()).flatten()?;
            Some(Found { record, core })
        };
        Ok(keys.iter().map(|key| found.remove(key).and_then(sound)).collect())
    }

    #[cold]
    fn distrusted(&self, key: &IndexKey, record: &Record, distrust: Distrust) -> Result<Option<Found>> {
        let error = distrust.of(format_args!("the entry of {key}"));
        if !self.settings.damage_is_absence {
            return Err(error);
        }
        log::debug!("{error}");
        if !self.settings.signing.keeps(distrust) {
            self.remove_expected(key, record)?;
        }
        Ok(None)
    }

    /// Whether the value lies in the record itself, so that [`load`](Self::load) reads no file.
    pub(crate) fn is_inline(found: &Found) -> bool {
        matches!(found.record.payload(), Ok(Payload::Inline(_)))
    }

    pub(super) fn gives_up_copy(&self, found: &Found) -> bool {
        found.record.blob().is_some_and(|name| self.blobs.give_up_copy(&name))
    }

    pub(crate) fn set_aside(&self, found: &Found, error: &CacheError) -> Result<()> {
        log::debug!("a damaged blob is set aside: {error}");
        found.record.blob().map_or(Ok(()), |name| self.blobs.quarantine(&name))
    }
}
