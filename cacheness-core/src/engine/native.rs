//! Values that are written straight into a file which has nothing else in it, and read from there.
//!
//! The header of such a blob is written before the value, and leaves sizes and checksum to the trailer, as that of a stream does.
//! Behind the value stand the seals of its chunks, so that a part of it can be read and believed without the rest.

use std::path::PathBuf;

use super::Store;
use super::opened::Opened;
use super::read::Found;
use super::write::{Placed, check_fits};
use crate::codec::Parts;
use crate::codec::handler::Raw;
use crate::codec::native::{self, Body, Pieces, Source};
use crate::config::{Codec, NativeFormat, StoredCodec};
use crate::entry::{self, Core, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::{self, Proof, Rules, Seals, Start};
use crate::index::Payload;
use crate::security::Signing;
use crate::storage::BlobName;
use crate::storage::blob::BlobWrite;
use crate::util::threads::{each, is_worth_two};

/// A smaller value is put together in memory, where its size is known before anything is written.
const WRITTEN_STRAIGHT: u64 = 1 << 20;

impl Store {
    /// The format of stored bytes that go into a file of their own, where blobs are files.
    pub(super) fn format_in_file(&self, core: &Core) -> Option<NativeFormat> {
        let is_plain = core.codec == StoredCodec::None && !self.blobs.is_remote();
        if is_plain { native::format_of(core) } else { None }
    }

    /// Whether a value is written where it lies, so that memory never has its bytes and the value.
    pub(super) fn is_written_straight(&self, body: &Body<'_>) -> bool {
        let is_compressed = matches!(body.format(), NativeFormat::Npy | NativeFormat::SafeTensors)
            && self.settings.arrays.codec != Codec::None;
        body.size() > self.settings.inline_up_to.max(WRITTEN_STRAIGHT) && !is_compressed && !self.blobs.is_remote()
    }

    /// The format of bytes that are written as such a value is.
    pub(super) fn format_written_straight(&self, entry: &Entry, stored: &Parts<'_>) -> Option<NativeFormat> {
        self.format_in_file(&entry.core).filter(|_| stored.len() as u64 > WRITTEN_STRAIGHT)
    }

    /// Writes a value, and makes its record.
    pub(super) fn place_body(
        &self,
        mut entry: Entry,
        body: &Body<'_>,
        largest: u64,
        signing: &Signing,
    ) -> Result<Placed> {
        if !self.index.is_reachable() {
            return Err(CacheError::new(ErrorKind::Unavailable, "the index does not answer now"));
        }
        let (mut open, mut header) = (entry.clone(), Vec::new());
        open.core.leave_open();
        entry::encode(&open, self.settings.limits.max_header_bytes, &mut header)?;
        let start = Start::of(&header, Rules { signing, ..self.rules() })?;
        let name = BlobName::unique();
        let mut blob = self.blobs.create_around(&name, start.bytes(), body.format())?;
        let (mut proof, mut seals) = (start.proof(), start.chunks().seals());
        // One byte more than may be is enough to be refused for the right reason.
        let room = self.settings.limits.max_value_bytes.min(largest.saturating_add(1));
        let written = body.write(room, &mut |part| {
            let jobs = [Job::Write(&mut *blob), Job::Sum(&mut proof), Job::Seal(&mut seals)];
            each(jobs, is_worth_two(part.len()), || (), |(), job| job.run(part)).map(drop)
        });
        let value_len = proof.len();
        written.or_else(|error| {
            let fits = if error.is_limit() { check_fits(&entry.key, room, largest) } else { Ok(()) };
            fits.and(Err(error))
        })?;
        blob.end_middle();
        let seals = seals.finish();
        proof.update(&seals);
        let found = proof.found();
        check_fits(&entry.key, found.len, largest)?;
        (entry.core.raw_size, entry.core.stored_size, entry.core.checksum) = (value_len, found.len, found.checksum);
        blob.write(&seals)?;
        blob.write(&start.trailer(found))?;
        let record = self.record(&entry, &Payload::Blob(name.clone()), signing)?;
        blob.publish(self.settings.durability)?;
        Ok(Placed { key: entry.key, record, blob: Some(name) })
    }
}

/// What is done with each part of a value.
enum Job<'b> {
    Sum(&'b mut Proof),
    Seal(&'b mut Seals),
    Write(&'b mut dyn BlobWrite),
}

impl Job<'_> {
    fn run(self, part: &[u8]) -> Result<()> {
        match self {
            Job::Sum(proof) => proof.update(part),
            Job::Seal(seals) => seals.update(part),
            Job::Write(blob) => return blob.write(part),
        }
        Ok(())
    }
}

/// The file of a value.
pub(crate) enum FileOf {
    /// Where it lies.
    Path(PathBuf),
    /// What is in it, where it is no file.
    Bytes(Vec<u8>),
}

impl Store {
    /// The file of a found record, checked; `None` as [`load`](Self::load) says it.
    pub(crate) fn file_of(&self, key: &IndexKey, found: &mut Found) -> Result<Option<FileOf>> {
        self.read(key, found, |found| match found.record.payload()? {
            Payload::Blob(name) if self.format_in_file(&found.core).is_some() => {
                let Some(mut blob) = self.open_blob(key, &found.core, &name)? else { return Ok(None) };
                blob.look_through(true)?;
                // What was looked through may be one file that has all of the blob, and the directory may have been moved.
                let path = self.blobs.file_of(&name).filter(|path| blob.lies_by_itself() && path.is_file());
                match path {
                    Some(path) => Ok(Some(FileOf::Path(path))),
                    None => Ok(Some(FileOf::Bytes(blob.payload(None, true)?))),
                }
            }
            payload => match self.raw_of(key, &found.core, payload, |_| None)? {
                Some(Raw::Bytes(bytes)) => Ok(Some(FileOf::Bytes(bytes))),
                _ => Ok(None),
            },
        })
    }
}

/// So many parts of a file stay in memory while it is read, for who reads several columns in turn.
const KEPT: usize = 4;

/// A file whose parts are looked at as they are read.
#[derive(Debug)]
struct Sealed {
    blob: Opened,
    seals: Vec<u8>,
    verify: bool,
    /// The latest one last.
    kept: Vec<(u64, Vec<u8>)>,
}

impl Opened {
    /// The payload, to be read from where it lies; whole, and looked at already, if it has no seals.
    ///
    /// # Errors
    /// As [`payload`](Self::payload).
    pub(super) fn into_raw(mut self, verify: bool) -> Result<Raw> {
        let Some(len) = self.sealed_len() else { return self.payload(None, verify).map(Raw::Bytes) };
        let seals = self.seals()?;
        let sealed = Sealed { blob: self, seals, verify, kept: Vec::with_capacity(KEPT) };
        Ok(Raw::File(Source::of_pieces(Box::new(sealed), len)))
    }
}

impl Pieces for Sealed {
    fn from(&mut self, at: u64) -> Result<&[u8]> {
        let (chunk, within) = format::place_of(at);
        match self.kept.iter().position(|(kept, _)| *kept == chunk) {
            Some(place) => self.kept[place..].rotate_left(1),
            None => {
                let mut bytes = if self.kept.len() < KEPT { Vec::new() } else { self.kept.remove(0).1 };
                bytes.clear();
                self.blob.sealed_chunk(chunk, &self.seals, &mut bytes, self.verify)?;
                self.kept.push((chunk, bytes));
            }
        }
        Ok(self.kept.last().and_then(|(_, bytes)| bytes.get(within..)).unwrap_or_default())
    }
}

impl Store {
    /// What becomes of a found record whose file failed while its value was decoded: one that is damaged goes.
    ///
    /// # Errors
    /// The failure, if it says nothing of the bytes; as [`remove_expected`](Self::remove_expected).
    pub(crate) fn failed(&self, found: &Found, failure: CacheError) -> Result<()> {
        if !failure.is_integrity() {
            return Err(failure);
        }
        // Nobody has lost anything by a copy.
        if self.gives_up_copy(found) {
            return Ok(());
        }
        self.set_aside(found, &failure)?;
        self.remove_expected(&found.record.entry()?.key, &found.record).map(drop)
    }
}
