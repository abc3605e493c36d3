use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use super::engine::Engine;
use super::in_flight::Flight;
use super::sink::Sink;
use crate::engine::text_key;
use crate::entry::Entry;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest::IdentityHasher;

/// Writes a value of a [`BlobStore`](crate::BlobStore) as a stream, however large; made by
/// [`BlobStore::writer`](crate::BlobStore::writer).
///
/// Nothing of it is seen before [`commit`](Self::commit), and what was under the key before is then replaced at once.
/// Dropped without a commit it leaves nothing. It keeps its store open.
#[must_use = "what is written counts when it is committed"]
pub struct BlobWriter {
    engine: Arc<Engine>,
    entry: Entry,
    flight: Flight,
    sink: Sink,
    content: Option<IdentityHasher>,
    /// The first error. The stream has a hole then, and is good for nothing.
    failed: Option<CacheError>,
}

impl BlobWriter {
    pub(super) fn begin(engine: Arc<Engine>, entry: Entry) -> Result<Self> {
        let flight = engine.in_flight().begin();
        let sink = Sink::begin(engine.store(), &entry, flight.name())?;
        let content = engine.is_content_addressable().then(IdentityHasher::new);
        Ok(Self { engine, entry, flight, sink, content, failed: None })
    }

    /// Ends the stream and stores it under its key. Returns its entry.
    ///
    /// # Errors
    /// The error of an earlier write; [`Storage`](ErrorKind::Storage), [`Metadata`](ErrorKind::Metadata),
    /// [`Closed`](ErrorKind::Closed). What was stored under the key before is then still there.
    pub fn commit(self) -> Result<Entry> {
        let Self { engine, mut entry, flight, sink, content, failed } = self;
        if let Some(error) = failed {
            return Err(error);
        }
        if let Some(content) = content.map(|content| content.finish()) {
            text_key::complete(&mut entry, content)?;
        }
        let blob = sink.end(&mut entry.core)?;
        let durability = engine.durability_of(&entry);
        engine.place(entry, &flight, |_, _| blob.publish(durability))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.engine.check_open()?;
        let (len, limit) =
            (self.sink.raw_size().saturating_add(bytes.len() as u64), self.engine.store().limits().max_value_bytes);
        if len > limit {
            let name = self.entry.name().unwrap_or_default();
            let message = format!("the stream for {name:?} is longer than {limit} bytes, the limit `max_value_bytes`");
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        if let Some(content) = &mut self.content {
            content.update(bytes);
        }
        self.sink.write(bytes)
    }
}

/// Errors carry the [`CacheError`] as their inner error. After one, so does every further write, and the commit.
impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed.is_none() {
            self.failed = self.take(bytes).err();
        }
        match &self.failed {
            None => Ok(bytes.len()),
            Some(error) => Err(io_error(error.clone())),
        }
    }

    /// Nothing: a stream reaches its place with the commit.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobWriter")
            .field("key", &self.entry.name())
            .field("written", &self.sink.raw_size())
            .finish_non_exhaustive()
    }
}

/// An error for the traits of `std::io`, of the kind that the operating system said, if one did.
pub(super) fn io_error(error: CacheError) -> io::Error {
    let system = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    let kind = match error.kind() {
        ErrorKind::Integrity => io::ErrorKind::InvalidData,
        ErrorKind::Limit => io::ErrorKind::FileTooLarge,
        _ => system.unwrap_or(io::ErrorKind::Other),
    };
    io::Error::new(kind, error)
}
