//! Values that are written straight into a file which has nothing else in it, and read from there.
//!
//! The header of such a blob is written before the value, and leaves sizes and checksum to the trailer, as that of a stream does.

use std::path::PathBuf;

use super::Store;
use super::opened::Opened;
use super::read::Found;
use super::write::{Commit, Outcome, check_fits};
use crate::codec::handler::Raw;
use crate::codec::native::{self, Body, Source};
use crate::config::{Codec, NativeFormat, StoredCodec};
use crate::entry::{self, Core, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::{Proof, Start};
use crate::index::Payload;
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

    /// Writes a value, then its record.
    pub(super) fn write_body(
        &self,
        mut entry: Entry,
        body: &Body<'_>,
        largest: u64,
        commit: Commit<'_>,
    ) -> Result<Outcome> {
        if !self.index.is_reachable() {
            return Err(CacheError::new(ErrorKind::Unavailable, "the index does not answer now"));
        }
        let (mut open, mut header) = (entry.clone(), Vec::new());
        open.core.leave_open();
        entry::encode(&open, self.settings.limits.max_header_bytes, &mut header)?;
        let start = Start::of(&header, self.rules())?;
        let name = BlobName::unique();
        let mut blob = self.blobs.create_around(&name, start.bytes(), body.format())?;
        let mut proof = start.proof();
        // One byte more than may be is enough to be refused for the right reason.
        let room = self.settings.limits.max_value_bytes.min(largest.saturating_add(1));
        let written = body.write(room, &mut |part| {
            let jobs = [Job::Sum(&mut proof), Job::Write(&mut *blob)];
            each(jobs, is_worth_two(part.len()), || (), |(), job| job.run(part)).map(drop)
        });
        let found = proof.found();
        written.or_else(|error| {
            let fits = if error.is_limit() { check_fits(&entry.key, room, largest) } else { Ok(()) };
            fits.and(Err(error))
        })?;
        check_fits(&entry.key, found.len, largest)?;
        (entry.core.raw_size, entry.core.stored_size, entry.core.checksum) = (found.len, found.len, found.checksum);
        blob.end_middle();
        blob.write(&start.trailer(found))?;
        let record = self.record(&entry, &Payload::Blob(name.clone()), &self.settings.signing)?;
        blob.publish(self.settings.durability)?;
        let outcome = self.commit_blob(&entry, &record, name, commit)?;
        self.written(&entry, outcome)
    }
}

/// What is done with each part of a value.
enum Job<'b> {
    Sum(&'b mut Proof),
    Write(&'b mut dyn BlobWrite),
}

impl Job<'_> {
    fn run(self, part: &[u8]) -> Result<()> {
        match self {
            Job::Sum(proof) => {
                proof.update(part);
                Ok(())
            }
            Job::Write(blob) => blob.write(part),
        }
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
                let path = blob.file().and_then(|_| self.blobs.file_of(&name));
                match path.filter(|path| path.is_file()) {
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

impl Opened {
    /// The payload, to be read from the file that it has for itself; `None` if it has none. It is looked through first.
    ///
    /// # Errors
    /// [`Integrity`](ErrorKind::Integrity) if it is not what was written; [`Storage`](ErrorKind::Storage).
    pub(super) fn source(&mut self, verify: bool) -> Result<Option<Source>> {
        if self.file().is_none() {
            return Ok(None);
        }
        self.look_through(verify)?;
        let len = self.entry().core.stored_size;
        let clone = self.file().map(|file| file.try_clone()).transpose();
        let clone = clone.map_err(|error| {
            CacheError::caused_by(ErrorKind::Storage, format!("cannot open a file once more: {error}"), error)
        })?;
        Ok(clone.map(|file| Source::of_file(file, len)))
    }
}
