//! Values into blobs and out of them, whole or as streams.

use std::any::{Any, type_name};
use std::error::Error;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::engine::{Encoding, Engine, PendingBlob};
use super::open::BlobOptions;
use crate::codec::Parts;
use crate::codec::compress;
use crate::codec::handler::{self, Encoded, PLAIN_BYTES, PayloadFormat, Storable};
use crate::config::StoredCodec;
use crate::engine::Store;
use crate::engine::opened::Opened;
use crate::engine::read::MAX_OVERTAKEN;
use crate::entry::{self, Core, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::{self, Proof, Start};
use crate::storage::BlobName;
use crate::storage::blob::BlobWrite;
use crate::util::digest::{self, Identity, IdentityHasher};

impl Encoding {
    /// Bytes as they are, put in one piece or as a stream: both are a `Vec<u8>`.
    pub(super) fn of_bytes() -> Self {
        Self {
            data_type: type_name::<Vec<u8>>(),
            type_fingerprint: handler::type_fingerprint::<Vec<u8>>(),
            shape: 0,
            payload_format: PLAIN_BYTES,
        }
    }
}

impl Engine {
    pub(super) fn put<T: Storable>(&self, value: &T, options: BlobOptions) -> Result<Entry> {
        let value_as_any: &dyn Any = value;
        match value_as_any.downcast_ref::<Vec<u8>>() {
            Some(bytes) => self.put_bytes(bytes, options),
            None => self.put_encoded(value, options),
        }
    }

    fn put_encoded<T: Storable>(&self, value: &T, options: BlobOptions) -> Result<Entry> {
        let encoded = handler::encode(value, self.store().limits())?;
        let content = self.is_content_addressable().then(|| identity_of(&encoded));
        let encoding = Encoding {
            data_type: type_name::<T>(),
            type_fingerprint: encoded.type_fingerprint,
            shape: encoded.shape,
            payload_format: encoded.payload_format,
        };
        let entry = self.draft(options, &encoding, content)?;
        self.place(entry, &self.pending().begin(), |entry, name| {
            let stored = self.store().seal(entry, &encoded.bytes)?;
            self.write_whole(entry, name, &stored)
        })
    }

    fn put_bytes(&self, bytes: &[u8], options: BlobOptions) -> Result<Entry> {
        let (len, limit) = (bytes.len() as u64, self.store().limits().max_value_bytes);
        if len > limit {
            let message = format!("the value takes {len} bytes, the limit `max_value_bytes` is {limit}");
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        let content = self.is_content_addressable().then(|| digest::identity(bytes));
        let entry = self.draft(options, &Encoding::of_bytes(), content)?;
        self.place(entry, &self.pending().begin(), |entry, name| {
            let stored = self.store().seal(entry, bytes)?;
            if entry.core.codec != StoredCodec::None {
                return self.write_whole(entry, name, &stored);
            }
            let mut writer = ChunkWriter::begin(self.store(), entry, name)?;
            writer.write(bytes)?;
            writer.end(&mut entry.core)?.publish(self.durability_of(entry))
        })
    }

    fn write_whole(&self, entry: &Entry, name: &BlobName, stored: &Parts<'_>) -> Result<()> {
        let (store, mut header) = (self.store(), Vec::new());
        entry::encode(entry, store.limits().max_header_bytes, &mut header)?;
        let envelope = format::seal_summed(&header, stored, entry.core.checksum, store.rules())?;
        store.blobs.write(name, &envelope.parts(), self.durability_of(entry))
    }

    pub(super) fn get<T: Storable>(&self, key: &str) -> Result<Option<T>> {
        let Some((entry, mut blob)) = self.opened(key)? else { return Ok(None) };
        let core = entry.core;
        if core.type_fingerprint != handler::type_fingerprint::<T>() {
            let message = format!("{key:?} holds a `{}`, not a `{}`", entry.data_type(), type_name::<T>());
            return Err(CacheError::new(ErrorKind::Serialization, message));
        }
        if core.payload_format == PLAIN_BYTES {
            let mut value = None::<T>;
            let slot: &mut dyn Any = &mut value;
            if let Some(slot) = slot.downcast_mut::<Option<Vec<u8>>>() {
                *slot = Some(self.bytes_of(key, &entry, &mut blob)?);
            }
            return Ok(value);
        }
        let format = PayloadFormat::from_id(core.payload_format).ok_or_else(|| {
            CacheError::new(ErrorKind::Serialization, format!("{key:?} has a format that this release does not know"))
        })?;
        let stored = blob.payload(None, true).map_err(|error| about(key, &error))?;
        let raw = self.store().raw_of_stored(&core, stored.into(), handler::taken_as_vector::<T>)?;
        handler::decode_raw(raw, format, core.type_fingerprint, core.shape, self.store().limits()).map(Some)
    }

    pub(super) fn reader(&self, key: &str) -> Result<Option<BlobReader>> {
        let Some((entry, mut blob)) = self.opened(key)? else { return Ok(None) };
        if entry.core.payload_format != PLAIN_BYTES {
            let message = format!("{key:?} holds a `{}` and no plain bytes: read it by `get`", entry.data_type());
            return Err(CacheError::new(ErrorKind::Serialization, message));
        }
        if entry.core.codec == StoredCodec::None {
            return Ok(Some(BlobReader::of_stream(entry, blob)));
        }
        let bytes = self.bytes_of(key, &entry, &mut blob)?;
        Ok(Some(BlobReader::of_bytes(entry, bytes)))
    }

    fn bytes_of(&self, key: &str, entry: &Entry, blob: &mut Opened) -> Result<Vec<u8>> {
        let stored = blob.payload(None, true).map_err(|error| about(key, &error))?;
        if entry.core.codec == StoredCodec::None {
            return Ok(blob.chunks().without_seals(stored));
        }
        let limits = self.store().limits();
        compress::inflate(entry.core.codec, &stored, entry.core.raw_size, limits).map(|raw| raw.into_owned())
    }

    /// The entry of a key with its blob, open, and both of them belong together.
    fn opened(&self, key: &str) -> Result<Option<(Entry, Opened)>> {
        let index_key = IndexKey::of_text(key)?;
        let mut last = None;
        for _ in 0..MAX_OVERTAKEN {
            let Some(found) = self.store().find(&index_key)? else { return Ok(None) };
            if last.as_ref() == Some(&found.record) {
                break;
            }
            if let Some(name) = found.record.blob()
                && let Some(opened) = self.open_blob(&found.record.entry()?, &name).map_err(|e| about(key, &e))?
            {
                return Ok(Some(opened));
            }
            // Replaced or removed meanwhile, if the record is another one now.
            last = Some(found.record);
        }
        let message = format!("the blob of {key:?} is gone: `verify` with repair removes such entries");
        Err(CacheError::new(ErrorKind::Integrity, message))
    }

    fn open_blob(&self, entry: &Entry, name: &BlobName) -> Result<Option<(Entry, Opened)>> {
        let Some(blob) = Opened::open(&*self.store().blobs, name, self.store().rules())? else { return Ok(None) };
        blob.check_is_of(entry)?;
        Ok(Some((entry.clone(), blob)))
    }

    pub(super) fn entry(&self, key: &IndexKey) -> Result<Option<Entry>> {
        self.store().find(key)?.map(|found| found.record.entry()).transpose()
    }
}

/// An error that tells which entry it is about.
/// The identity of an encoded value: equal bytes of another type are another content.
fn identity_of(value: &Encoded<'_>) -> Identity {
    // Derived within a context: no plain bytes, whatever they are, have the same identity.
    let mut hasher = IdentityHasher::within("cacheness 2026-11-24 content of an encoded value");
    hasher.update(&[value.payload_format]);
    hasher.update(&value.type_fingerprint.to_le_bytes());
    hasher.update(&value.shape.to_le_bytes());
    value.bytes.pieces().into_iter().for_each(|piece| hasher.update(piece));
    hasher.finish()
}

fn about(key: &str, error: &CacheError) -> CacheError {
    CacheError::caused_by(error.kind(), format!("{key:?}: {error}"), error.clone())
}

/// Reads the bytes of a value of a [`BlobStore`](crate::BlobStore) from any place on; made by
/// [`BlobStore::reader`](crate::BlobStore::reader).
///
/// What it returns was checked: damage is an error of the kind [`InvalidData`](io::ErrorKind::InvalidData), with the
/// [`CacheError`](crate::CacheError) as its inner error, and never wrong bytes. It reads the value that was there when it
/// was made, also when that is replaced or deleted meanwhile (on Windows, deleting the file has to wait for it).
pub struct BlobReader {
    entry: Entry,
    position: u64,
    body: Body,
}

enum Body {
    Stream(Box<Stream>),
    /// It was put in one piece and is compressed.
    Whole(Vec<u8>),
}

/// A stream, with the chunk that was read last.
struct Stream {
    blob: Opened,
    buf: Vec<u8>,
    chunk: Option<u64>,
    len: usize,
}

impl BlobReader {
    pub(super) fn of_stream(entry: Entry, blob: Opened) -> Self {
        let buf = vec![0; format::CHUNK_LEN + blob.chunks().seal_len()];
        Self { entry, position: 0, body: Body::Stream(Box::new(Stream { blob, buf, chunk: None, len: 0 })) }
    }

    pub(super) fn of_bytes(entry: Entry, bytes: Vec<u8>) -> Self {
        Self { entry, position: 0, body: Body::Whole(bytes) }
    }

    /// The entry it reads the value of.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// How long the value is, in bytes.
    pub fn len(&self) -> u64 {
        self.entry.raw_size()
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Stream {
    /// The bytes from a place on, to the end of its chunk.
    fn at(&mut self, position: u64) -> Result<&[u8]> {
        let (chunk, within) = format::place_of(position);
        if self.chunk != Some(chunk) {
            // Not known while it is being read: an error leaves half of one behind.
            self.chunk = None;
            self.len = self.blob.chunk(chunk, &mut self.buf)?.len();
            self.chunk = Some(chunk);
        }
        Ok(self.buf[..self.len].get(within..).unwrap_or_default())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() || self.position >= self.len() {
            return Ok(0);
        }
        let mut bytes = match &mut self.body {
            Body::Stream(stream) => stream.at(self.position).map_err(io_error)?,
            Body::Whole(bytes) => {
                usize::try_from(self.position).ok().and_then(|at| bytes.get(at..)).unwrap_or_default()
            }
        };
        let read = bytes.read(buf)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for BlobReader {
    /// A place behind the end is allowed, and there is nothing to read there.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let before =
            || io::Error::new(io::ErrorKind::InvalidInput, "invalid seek to a negative or overflowing position");
        self.position = target.ok_or_else(before)?;
        Ok(self.position)
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("key", &self.entry.name())
            .field("position", &self.position)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Writes a value of a [`BlobStore`](crate::BlobStore) as a stream, however large; made by
/// [`BlobStore::writer`](crate::BlobStore::writer).
///
/// Nothing of it is seen before [`commit`](Self::commit), and what was under the key before is then replaced at once.
/// Dropped without a commit it leaves nothing. It keeps its store open.
#[must_use = "what is written counts when it is committed"]
pub struct BlobWriter {
    engine: Arc<Engine>,
    entry: Entry,
    pending: PendingBlob,
    writer: ChunkWriter,
    content: Option<IdentityHasher>,
    /// The first error. The stream has a hole then, and is good for nothing.
    failed: Option<CacheError>,
}

impl BlobWriter {
    pub(super) fn begin(engine: Arc<Engine>, entry: Entry) -> Result<Self> {
        let pending = engine.pending().begin();
        let writer = ChunkWriter::begin(engine.store(), &entry, pending.name())?;
        let content = engine.is_content_addressable().then(IdentityHasher::new);
        Ok(Self { engine, entry, pending, writer, content, failed: None })
    }

    /// Ends the stream and stores it under its key. Returns its entry.
    ///
    /// # Errors
    /// The error of an earlier write; [`Storage`](ErrorKind::Storage), [`Metadata`](ErrorKind::Metadata),
    /// [`Closed`](ErrorKind::Closed). What was stored under the key before is then still there.
    pub fn commit(self) -> Result<Entry> {
        let Self { engine, mut entry, pending, writer, content, failed } = self;
        if let Some(error) = failed {
            return Err(error);
        }
        engine.check_open()?;
        if let Some(content) = content.map(|content| content.finish()) {
            entry.set_content(content)?;
        }
        let blob = writer.end(&mut entry.core)?;
        let durability = engine.durability_of(&entry);
        engine.place(entry, &pending, |_, _| blob.publish(durability))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.engine.check_open()?;
        let (len, limit) =
            (self.writer.raw_size().saturating_add(bytes.len() as u64), self.engine.store().limits().max_value_bytes);
        if len > limit {
            let name = self.entry.name().unwrap_or_default();
            let message = format!("the stream for {name:?} is longer than {limit} bytes, the limit `max_value_bytes`");
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        if let Some(content) = &mut self.content {
            content.update(bytes);
        }
        self.writer.write(bytes)
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
            .field("written", &self.writer.raw_size())
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

/// A stream on its way into a blob: takes bytes piece by piece and holds one chunk of them.
pub(super) struct ChunkWriter {
    blob: Box<dyn BlobWrite>,
    start: Start,
    chunk: Vec<u8>,
    chunks: u64,
    raw_size: u64,
    stored_size: u64,
    proof: Proof,
}

impl ChunkWriter {
    /// Begins a blob with the header of an entry.
    pub(super) fn begin(store: &Store, entry: &Entry, name: &BlobName) -> Result<Self> {
        let (mut open, mut header) = (entry.clone(), Vec::new());
        open.core.leave_open();
        entry::encode(&open, store.limits().max_header_bytes, &mut header)?;
        let start = Start::of(&header, store.rules())?;
        let mut blob = store.blobs.create(name)?;
        blob.write(start.bytes())?;
        let chunk = Vec::with_capacity(format::CHUNK_LEN + start.chunks().seal_len());
        let proof = start.proof();
        Ok(Self { blob, start, chunk, chunks: 0, raw_size: 0, stored_size: 0, proof })
    }

    /// Bytes taken so far.
    pub(super) fn raw_size(&self) -> u64 {
        self.raw_size
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = format::CHUNK_LEN - self.chunk.len();
            let (taken, rest) = bytes.split_at(room.min(bytes.len()));
            self.chunk.extend_from_slice(taken);
            self.raw_size += taken.len() as u64;
            bytes = rest;
            if self.chunk.len() == format::CHUNK_LEN {
                self.end_chunk()?;
            }
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<()> {
        self.start.chunks().seal(self.chunks, &mut self.chunk);
        self.proof.update(&self.chunk);
        self.blob.write(&self.chunk)?;
        self.stored_size += self.chunk.len() as u64;
        self.chunks += 1;
        self.chunk.clear();
        Ok(())
    }

    /// Ends the stream and tells `core` what it was; what is left to do is to publish the blob.
    pub(super) fn end(mut self, core: &mut Core) -> Result<Box<dyn BlobWrite>> {
        if !self.chunk.is_empty() {
            self.end_chunk()?;
        }
        core.codec = StoredCodec::None;
        core.raw_size = self.raw_size;
        core.stored_size = self.stored_size;
        let payload = self.proof.found();
        core.checksum = payload.checksum;
        self.blob.write(&self.start.trailer(payload))?;
        Ok(self.blob)
    }
}
