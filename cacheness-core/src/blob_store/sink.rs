//! A stream on its way into a blob.

use crate::config::StoredCodec;
use crate::engine::Store;
use crate::entry::{self, Core, Entry};
use crate::error::Result;
use crate::format::{self, Proof, Start};
use crate::storage::BlobName;
use crate::storage::blob::BlobWrite;

/// Takes bytes piece by piece and holds one chunk of them.
pub(super) struct Sink {
    blob: Box<dyn BlobWrite>,
    start: Start,
    chunk: Vec<u8>,
    chunks: u64,
    raw_size: u64,
    stored_size: u64,
    proof: Proof,
}

impl Sink {
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
