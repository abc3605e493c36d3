use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use super::writer::io_error;
use crate::engine::opened::Opened;
use crate::entry::Entry;
use crate::error::Result;
use crate::format;

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
            || io::Error::new(io::ErrorKind::InvalidInput, "the place lies before the start or beyond all places");
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
