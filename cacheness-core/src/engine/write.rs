//! Values into the store, and out of it again: blob, record, and what becomes of those that they take the place of.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Store;
use super::lease::Fence;
use crate::codec::native::{self, Body};
use crate::codec::{Content, Parts, compress, handler};
use crate::config::{Durability, NativeFormat, StoredCodec};
use crate::entry::{self, Core, Entry, IndexKey, policy};
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::{self, Envelope, Rules};
use crate::index::{Payload, Record};
use crate::security::Signing;
use crate::storage::BlobName;
use crate::util::threads::each_by;

/// The width that the bytes of arrays are compressed by: that of most numbers in them, and a multiple of the others.
const WIDEST_NUMBER: usize = 8;
/// So many blobs of one call are written at a time, where each is a round trip.
const BLOBS_AT_ONCE: usize = 8;

/// How a record goes into the index.
#[derive(Clone, Copy, Debug)]
pub(super) enum Commit<'a> {
    /// In the place of whatever is there.
    Put,
    /// In the place of this one and no other.
    Over(&'a Record),
    /// Where there is none.
    New,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in, in the place of this one.
    Done(Option<Record>),
    /// Another record was there than the expected one.
    Overtaken,
}

/// A record that is not committed yet. Its blob is there, if it names one.
pub(super) struct Placed {
    pub(super) key: IndexKey,
    pub(super) record: Record,
    pub(super) blob: Option<BlobName>,
}

impl Store {
    /// Stores the encoded value `raw` under the entry's key, unless another one has come since the fence; says whether it did.
    /// Sizes, codec and checksum of the entry are filled in here.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit), also if it would take more than `largest` bytes; [`Storage`](ErrorKind::Storage) or [`Metadata`](ErrorKind::Metadata); what was
    /// stored under the key before is then still there.
    pub(crate) fn put<'r>(
        &self,
        entry: Entry,
        content: impl Into<Content<'r>>,
        largest: u64,
        fence: Option<&Fence>,
    ) -> Result<bool> {
        let commit = match fence {
            None => Commit::Put,
            Some(Fence::Row(None)) => Commit::New,
            Some(Fence::Row(Some(record))) => Commit::Over(record),
            Some(Fence::Unknown) => return Ok(false),
        };
        self.put_content(entry, content.into(), largest, commit)
    }

    /// [`put`](Self::put) in the place of the expected record, if that is still there; says whether it was.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(crate) fn replace<'r>(
        &self,
        expected: &Record,
        entry: Entry,
        content: impl Into<Content<'r>>,
        largest: u64,
    ) -> Result<bool> {
        self.put_content(entry, content.into(), largest, Commit::Over(expected))
    }

    fn put_content(&self, entry: Entry, content: Content<'_>, largest: u64, commit: Commit<'_>) -> Result<bool> {
        let outcome = self.commit(&self.place_content(entry, content, largest)?, commit)?;
        Ok(matches!(outcome, Outcome::Done(_)))
    }

    fn place_content(&self, mut entry: Entry, content: Content<'_>, largest: u64) -> Result<Placed> {
        let raw = match content {
            Content::Bytes(parts) => parts,
            Content::Body(body) if self.is_written_straight(&body) => {
                return self.place_body(entry, &body, largest, &self.settings.signing);
            }
            Content::Body(ref body) => body.parts(self.settings.limits.max_value_bytes)?,
        };
        let stored = self.seal(&mut entry, raw)?;
        check_fits(&entry.key, stored.len() as u64, largest)?;
        self.place(&entry, &stored, &self.settings.signing)
    }

    /// Stores the bytes of another entry of this store as they are, signed as those are. The entry tells everything about
    /// them, their checksum too.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(crate) fn put_copied(&self, entry: &Entry, from: &Record, stored: &[u8], largest: u64) -> Result<()> {
        check_fits(&entry.key, stored.len() as u64, largest)?;
        self.write(entry, &stored.into(), Commit::Put, &self.settings.signing.like(from.signer())).map(drop)
    }

    /// Stores bytes as another store had them, in the place of the expected record, or of none; says whether that was
    /// still so.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(crate) fn put_stored_over(
        &self,
        expected: Option<&Record>,
        entry: &Entry,
        stored: &[u8],
        largest: u64,
    ) -> Result<bool> {
        check_fits(&entry.key, stored.len() as u64, largest)?;
        let in_the_way = match expected {
            None => self.index.get(&entry.key)?.filter(|record| !record.is_believed()),
            Some(_) => None,
        };
        let commit = expected.or(in_the_way.as_ref()).map_or(Commit::New, Commit::Over);
        let outcome = self.write(entry, &stored.into(), commit, &self.settings.signing)?;
        Ok(matches!(outcome, Outcome::Done(_)))
    }

    /// Changes what a record says of its value, if it is still the expected one; says whether it was. It stays signed as it
    /// was.
    ///
    /// # Errors
    /// [`Limit`](ErrorKind::Limit) if the entry's details are too large; [`Storage`](ErrorKind::Storage) or
    /// [`Metadata`](ErrorKind::Metadata).
    pub(crate) fn redescribe(&self, expected: &Record, entry: &Entry) -> Result<bool> {
        let signing = self.settings.signing.like(expected.signer());
        let record = self.record(entry, &expected.payload()?, &signing)?;
        let replaced = self.index.replace_expected(&entry.key, expected, &record)?;
        if replaced {
            self.after_change()?;
        }
        Ok(replaced)
    }

    /// Compresses a value, and fills in what the entry then knows of it.
    pub(crate) fn seal<'r>(&self, entry: &mut Entry, raw: impl Into<Parts<'r>>) -> Result<Parts<'r>> {
        let raw = raw.into();
        entry.core.raw_size = raw.len() as u64;
        let (codec, stored) = self.compressed(&entry.core, raw)?;
        entry.core.codec = codec;
        entry.core.stored_size = stored.len() as u64;
        entry.core.checksum = stored.checksum();
        Ok(stored)
    }

    fn write(&self, entry: &Entry, stored: &Parts<'_>, commit: Commit<'_>, signing: &Signing) -> Result<Outcome> {
        self.commit(&self.place(entry, stored, signing)?, commit)
    }

    /// Makes the record of a value, and before it the blob, unless the value is small.
    fn place(&self, entry: &Entry, stored: &Parts<'_>, signing: &Signing) -> Result<Placed> {
        // That of the value before belongs to a blob that goes.
        let untagged = (self.blobs.is_remote() && entry.s3_etag().is_some()).then(|| entry.clone().with_s3_etag(None));
        let entry = untagged.as_ref().unwrap_or(entry);
        let inline_up_to = self.settings.inline_up_to;
        let (record, blob) = if inline_up_to > 0 && entry.core.stored_size <= inline_up_to {
            (self.record(entry, &Payload::Inline(&stored.contiguous()), signing)?, None)
        } else if let Some(format) = self.format_written_straight(entry, stored) {
            let body = &native::Stored(&stored.contiguous());
            return self.place_body(entry.clone(), &Body::of_stored(body, format), u64::MAX, signing);
        } else {
            let (record, name) = self.write_blob(entry, stored, signing)?;
            (record, Some(name))
        };
        Ok(Placed { key: entry.key.clone(), record, blob })
    }

    fn commit(&self, placed: &Placed, commit: Commit<'_>) -> Result<Outcome> {
        let Placed { key, record, blob } = placed;
        let outcome = self.commit_record(key, record, commit);
        let outcome = match blob {
            Some(name) => self.blob_committed(key, record, name, outcome)?,
            None => outcome?,
        };
        self.written(key, outcome)
    }

    /// What follows a commit.
    fn written(&self, key: &IndexKey, outcome: Outcome) -> Result<Outcome> {
        if let Outcome::Done(replaced) = &outcome {
            self.all_written(&[(key, replaced.as_ref())])?;
        }
        Ok(outcome)
    }

    /// What follows commits by which records were replaced.
    fn all_written(&self, replaced: &[(&IndexKey, Option<&Record>)]) -> Result<()> {
        self.after_changes(replaced)?;
        replaced.iter().for_each(|(key, record)| self.retire(key, *record));
        Ok(())
    }

    fn compressed<'r>(&self, core: &Core, raw: Parts<'r>) -> Result<(StoredCodec, Parts<'r>)> {
        if (raw.len() as u64) < self.settings.compress_from {
            return Ok((StoredCodec::None, raw));
        }
        let settings = &self.settings;
        let (with, width) = match (native::format_of(core), handler::width_of_numbers(core)) {
            (Some(NativeFormat::Npy | NativeFormat::SafeTensors), _) => (settings.arrays, WIDEST_NUMBER),
            // Compressed by themselves, or to be opened as they are.
            (Some(_), _) => return Ok((StoredCodec::None, raw)),
            (None, Some(width)) => (settings.numbers, width),
            (None, None) => (settings.values, 1),
        };
        Ok(match compress::compress(with, &raw, width)? {
            Some(compressed) => (compressed.codec, compressed.bytes.into()),
            None => (StoredCodec::None, raw),
        })
    }

    fn write_blob(&self, entry: &Entry, stored: &Parts<'_>, signing: &Signing) -> Result<(Record, BlobName)> {
        if !self.index.is_reachable() {
            return Err(CacheError::new(ErrorKind::Unavailable, "the index does not answer now"));
        }
        let mut header = Vec::new();
        entry::encode(entry, self.settings.limits.max_header_bytes, &mut header)?;
        let envelope = format::seal_summed(&header, stored, entry.core.checksum, Rules { signing, ..self.rules() })?;
        let name = BlobName::unique();
        let mut record = self.record(entry, &Payload::Blob(name.clone()), signing)?;
        if let Some(tag) = self.write_sealed(&name, entry, &envelope)? {
            let tagged = entry.clone().with_s3_etag(Some(tag));
            let written = self.record(&tagged, &Payload::Blob(name.clone()), signing);
            record = written.inspect_err(|_| self.discard(&name))?;
        }
        Ok((record, name))
    }

    /// Writes a sealed blob; where other tools read its payload, with that in a file of its own.
    fn write_sealed(&self, name: &BlobName, entry: &Entry, envelope: &Envelope<'_>) -> Result<Option<String>> {
        let durability = self.settings.durability;
        match self.format_in_file(&entry.core) {
            None => self.blobs.write_tagged(name, &envelope.parts(), durability),
            Some(format) => {
                let [start, head, tail, trailer] = envelope.parts();
                let mut blob = self.blobs.create_around(name, start, format)?;
                blob.write(head)?;
                blob.write(tail)?;
                blob.end_middle();
                blob.write(trailer)?;
                blob.publish(durability).map(|()| None)
            }
        }
    }

    /// What becomes of the blob of a record by its commit.
    fn blob_committed(
        &self,
        key: &IndexKey,
        record: &Record,
        name: &BlobName,
        outcome: Result<Outcome>,
    ) -> Result<Outcome> {
        match &outcome {
            // Its own blob: the record that took up what an owner before had lost, or one of which the answer was lost.
            Ok(Outcome::Done(Some(replaced))) if replaced.blob().as_ref() == Some(name) => {
                return Ok(Outcome::Done(None));
            }
            Ok(Outcome::Done(_)) => {}
            Ok(Outcome::Overtaken) => self.discard(name),
            // A closed index has not taken it.
            Err(error) if error.is_closed() => self.discard(name),
            Err(_) => {
                self.doubt_blob_of(key, Some(record));
                // The blob of a record that it may have replaced is not known here.
                self.index.doubt_blobs();
            }
        }
        outcome
    }

    fn commit_record(&self, key: &IndexKey, record: &Record, commit: Commit<'_>) -> Result<Outcome> {
        match commit {
            Commit::Put => self.index.put(key, record).map(Outcome::Done),
            Commit::New => {
                let put = self.index.put_new(key, record)?;
                Ok(if put { Outcome::Done(None) } else { Outcome::Overtaken })
            }
            Commit::Over(expected) => {
                let replaced = self.index.replace_expected(key, expected, record)?;
                Ok(if replaced { Outcome::Done(Some(expected.clone())) } else { Outcome::Overtaken })
            }
        }
    }

    pub(crate) fn record(&self, entry: &Entry, payload: &Payload<'_>, signing: &Signing) -> Result<Record> {
        Record::new(entry, payload, self.settings.limits.max_header_bytes, signing)
    }

    /// What blobs are sealed and opened by.
    pub(crate) fn rules(&self) -> Rules<'_> {
        self.settings.rules()
    }

    /// What follows a change of the index: the disk if that was promised.
    pub(crate) fn after_change(&self) -> Result<()> {
        match self.settings.durability {
            // The index alone: what was written is synced already.
            Durability::Immediate if !self.retired.has_doubts() => {
                self.index.flush()?;
                self.give_back_room();
            }
            Durability::Immediate => self.flush()?,
            Durability::Interval => self.flusher.iter().for_each(|flusher| flusher.wake()),
        }
        self.sweep.iter().for_each(|sweep| sweep.begin_if_due(&self.index, &self.blobs));
        Ok(())
    }

    /// Removes an entry; says whether there was one.
    pub(crate) fn remove(&self, key: &IndexKey) -> Result<bool> {
        let removed = self.index.remove(key)?;
        self.after_removals(&[(key, removed.as_ref())])?;
        Ok(removed.is_some())
    }

    /// Removes an entry unless another one has taken its place; says whether it did.
    pub(crate) fn remove_expected(&self, key: &IndexKey, expected: &Record) -> Result<bool> {
        let removed = self.index.remove_expected(key, expected)?;
        if removed {
            self.after_removals(&[(key, Some(expected))])?;
        }
        Ok(removed)
    }

    fn after_removals(&self, removed: &[(&IndexKey, Option<&Record>)]) -> Result<()> {
        self.after_changes(removed)?;
        let blob = |(key, record): &(&IndexKey, Option<&Record>)| self.own_blob(key, (*record)?);
        removed.iter().filter_map(blob).for_each(|name| self.discard(&name));
        Ok(())
    }

    /// What follows changes by which these records are out of the index.
    fn after_changes(&self, gone: &[(&IndexKey, Option<&Record>)]) -> Result<()> {
        self.after_change()
            .inspect_err(|error| gone.iter().for_each(|(key, record)| self.unsettled(key, *record, error)))
    }
}

/// Many entries in one call: where rows are on a server, as many changes at a time as a backend gets at most.
impl Store {
    /// Stores the values of several entries, in their order; `stored` grows by how many of them are. Blobs are written several
    /// at a time where each is a round trip.
    ///
    /// # Errors
    /// As [`put`](Self::put), of the first entry that has one. Those before it are stored, and none of those behind it is,
    /// unless the index failed while their records were on the way together: then each of these is stored or not.
    pub(crate) fn put_together(
        &self,
        items: Vec<(Entry, Content<'_>)>,
        largest: u64,
        stored: &mut usize,
    ) -> Result<()> {
        let (mut ready, mut failed) = (Vec::with_capacity(items.len()), Ok(()));
        for placed in self.place_all(items, largest)?.into_iter().flatten() {
            match placed {
                Ok(placed) if failed.is_ok() => ready.push(placed),
                Ok(placed) => self.give_up(&placed),
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        let mut left = &ready[..];
        while !left.is_empty() {
            let (some, rest) = left.split_at(self.index.at_once().min(left.len()));
            self.commit_all(some, stored).inspect_err(|_| rest.iter().for_each(|placed| self.give_up(placed)))?;
            left = rest;
        }
        failed
    }

    /// None of those behind one that fails, unless they have begun.
    fn place_all(&self, items: Vec<(Entry, Content<'_>)>, largest: u64) -> Result<Vec<Option<Result<Placed>>>> {
        let is_large = |(entry, _): &&(Entry, _)| entry.core.raw_size > self.settings.inline_up_to;
        let blobs = if self.blobs.is_remote() { items.iter().filter(is_large).count() } else { 0 };
        let first_failed = AtomicUsize::new(usize::MAX);
        let place = |(): &mut (), (n, (entry, content)): (usize, (Entry, Content<'_>))| {
            if first_failed.load(Ordering::SeqCst) < n {
                return Ok(None);
            }
            let placed = self.place_content(entry, content, largest);
            if placed.is_err() {
                first_failed.fetch_min(n, Ordering::SeqCst);
            }
            Ok(Some(placed))
        };
        each_by(items.into_iter().enumerate(), blobs.clamp(1, BLOBS_AT_ONCE), || (), place)
    }

    /// Removes the blob of a record that is not committed any more.
    fn give_up(&self, placed: &Placed) {
        placed.blob.iter().for_each(|name| self.discard(name));
    }

    /// Commits records together.
    fn commit_all(&self, all: &[Placed], stored: &mut usize) -> Result<()> {
        if let [_] = all {
            return self.commit_each(all, stored);
        }
        let changes: Vec<_> = all.iter().map(|placed| (&placed.key, Some(&placed.record))).collect();
        let replaced = match self.index.change_together(&changes) {
            Ok(replaced) => replaced,
            // It answers: one of them may be at fault, and those before it are to be stored.
            Err(error) if !error.is_unavailable() && !error.is_closed() => return self.commit_each(all, stored),
            Err(error) => {
                all.iter().for_each(|placed| self.not_committed(placed, &error));
                return Err(error);
            }
        };
        // Its own blob: the record of a change that was made twice.
        let is_other = |placed: &Placed, record: &Record| placed.blob.is_none() || record.blob() != placed.blob;
        let replaced: Vec<_> = all
            .iter()
            .zip(&replaced)
            .map(|(placed, replaced)| (&placed.key, replaced.as_ref().filter(|record| is_other(placed, record))))
            .collect();
        self.all_written(&replaced)?;
        *stored += all.len();
        Ok(())
    }

    fn commit_each(&self, all: &[Placed], stored: &mut usize) -> Result<()> {
        for (n, placed) in all.iter().enumerate() {
            self.commit(placed, Commit::Put)
                .inspect_err(|error| all[n + 1..].iter().for_each(|placed| self.not_committed(placed, error)))?;
            *stored += 1;
        }
        Ok(())
    }

    /// What becomes of a blob whose record was not committed with others, as far as is known.
    fn not_committed(&self, placed: &Placed, error: &CacheError) {
        if let Some(name) = &placed.blob {
            let _error = self.blob_committed(&placed.key, &placed.record, name, Err(error.clone()));
        }
    }

    /// Removes entries; returns how many there were.
    ///
    /// # Errors
    /// Those of the index, of which only the entries before are known to be gone.
    pub(crate) fn remove_together(&self, keys: &[IndexKey]) -> Result<u64> {
        let mut count = 0;
        for some in keys.chunks(self.index.at_once()) {
            if let [key] = some {
                count += u64::from(self.remove(key)?);
                continue;
            }
            let changes: Vec<_> = some.iter().map(|key| (key, None)).collect();
            let removed = self.index.change_together(&changes)?;
            count += removed.iter().flatten().count() as u64;
            let removed: Vec<_> = some.iter().zip(removed.iter().map(Option::as_ref)).collect();
            self.after_removals(&removed)?;
        }
        Ok(count)
    }
}

/// A value that would not fit into the empty store must not push everything else out first.
pub(super) fn check_fits(key: &IndexKey, bytes: u64, largest: u64) -> Result<()> {
    if policy::fits(bytes, largest) {
        return Ok(());
    }
    let message = format!(
        "the value of {key} takes {bytes} bytes, the whole cache may hold {largest} (storage.max_cache_size_mb)"
    );
    Err(CacheError::new(ErrorKind::Limit, message))
}
