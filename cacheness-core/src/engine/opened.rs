//! A blob that is open for reading: its two ends are checked at once, what is between them as it is read.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::codec::handler::NATIVE;
use crate::config::Limits;
use crate::entry::{self, Core, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::{self, Chunks, Ends, Expected, HeaderRead, MAX_TRAILER_LEN, Proof, Rules};
use crate::security::{KeyId, Signing};
use crate::storage::BlobName;
use crate::storage::blob::{BlobBackend, BlobRead};
use crate::util::digest::{Identity, IdentityHasher};
use crate::util::threads::{by_two, lock};

/// Most headers are shorter.
const FIRST_READ: usize = 4096;
/// So much is read at a time where only a checksum is wanted.
const SCAN_LEN: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Opened {
    file: Box<dyn BlobRead>,
    entry: Entry,
    payload_start: u64,
    payload: Expected,
    /// Bytes of the payload before the seals that stand behind it; all of it if there are none.
    value_len: u64,
    chunks: Chunks,
    signer: Option<KeyId>,
    /// What is to be fed with the payload, with a look at its checksum and without.
    verifying: Proof,
    trusting: Proof,
}

impl Opened {
    /// Opens a blob and checks its two ends; `None` when there is none of that name.
    ///
    /// # Errors
    /// [`Integrity`](ErrorKind::Integrity) if an end is damaged or not believed; [`Storage`](ErrorKind::Storage).
    pub(crate) fn open(blobs: &dyn BlobBackend, name: &BlobName, rules: Rules<'_>) -> Result<Option<Self>> {
        blobs.open(name)?.map(|file| Self::of(file, rules)).transpose()
    }

    /// The key that a blob says it belongs to, whoever wrote that; `None` if it says nothing.
    pub(crate) fn owner(blobs: &dyn BlobBackend, name: &BlobName, limits: &Limits) -> Option<IndexKey> {
        let mut file = blobs.open(name).ok()??;
        let rules = Rules { limits, signing: &Signing::OFF };
        let start = start_of(&mut *file, rules).ok()?;
        match format::open_header(&start, rules).ok()? {
            HeaderRead::Whole(header, _) => entry::decode_key(header).ok(),
            HeaderRead::Needs(_) => None,
        }
    }

    fn of(mut file: Box<dyn BlobRead>, rules: Rules<'_>) -> Result<Self> {
        let (start, len) = (start_of(&mut *file, rules)?, file.len());
        let mut end = [0; MAX_TRAILER_LEN];
        let end = &mut end[..format::trailer_len(&start)];
        let read = file.read_at(len.saturating_sub(end.len() as u64), end)?;
        let ends = format::open_ends(&start, &end[..read], len, rules)?;
        let (verifying, trusting) = (ends.proof(true), ends.proof(false));
        let Ends { header, payload_start, payload, chunks, signer, .. } = ends;
        let (mut entry, _) = entry::decode(header)?;
        if !entry.core.is_open() && entry.core.stored_size != payload.len {
            return Err(damaged("has another length than its header says"));
        }
        let mut value_len = payload.len;
        if entry.core.is_open() {
            entry.core.raw_size = chunks.raw_len(payload.len).ok_or_else(|| damaged("is no stream"))?;
            entry.core.stored_size = payload.len;
            entry.core.checksum = payload.checksum;
            if entry.core.payload_format == NATIVE {
                value_len = entry.core.raw_size;
            }
        }
        Ok(Self { file, entry, payload_start, payload, value_len, chunks, signer, verifying, trusting })
    }

    /// To be fed with the payload; none if nothing would come of it.
    fn proof(&self, verify: bool) -> Option<Proof> {
        Some(if verify { &self.verifying } else { &self.trusting }).filter(|proof| proof.is_needed()).cloned()
    }

    /// The key that the blob is signed with.
    pub(crate) fn signer(&self) -> Option<KeyId> {
        self.signer
    }

    /// How the chunks of a stream are sealed.
    pub(crate) fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// What the header says, sizes and checksum of a stream by its trailer.
    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether this is the blob that a record means. One that several entries share names the first of them only.
    pub(crate) fn check_is_of(&self, entry: &Entry) -> Result<()> {
        let same_key = self.entry.key == entry.key || entry.details.content.is_some();
        let (here, there) = (&self.entry.core, &entry.core);
        let same_value = here.checksum == there.checksum && here.stored_size == there.stored_size;
        // The header of a stream was written before its content was known.
        let same_content = [&self.entry, entry].map(|entry| entry.details.content);
        let same_content = !matches!(same_content, [Some(here), Some(there)] if here != there);
        let same_type = here.type_fingerprint == there.type_fingerprint
            && here.shape == there.shape
            && here.payload_format == there.payload_format;
        if same_key && same_value && same_content && same_type {
            Ok(())
        } else {
            Err(damaged("is that of another entry"))
        }
    }

    /// Whether this is the blob of this value of this key.
    pub(crate) fn is_value_of(&self, key: &IndexKey, core: &Core) -> bool {
        self.entry.key == *key
            && self.entry.core.raw_size == core.raw_size
            && self.entry.core.checksum == core.checksum
            && self.payload.checksum == core.checksum
            && self.payload.len == core.stored_size
    }

    /// All bytes between the ends but for the seals behind them, read by a second reader too where there is one.
    ///
    /// # Errors
    /// [`Integrity`](ErrorKind::Integrity) if they are not what was written, where that is to be verified;
    /// [`Limit`](ErrorKind::Limit) if memory cannot hold them; [`Storage`](ErrorKind::Storage).
    pub(crate) fn payload(&mut self, second: Option<Box<dyn BlobRead>>, verify: bool) -> Result<Vec<u8>> {
        self.payload_after(&mut [], second, verify)
    }

    /// [`payload`](Self::payload) with its first bytes apart, in `head`.
    ///
    /// # Errors
    /// As [`payload`](Self::payload); also if it is shorter than `head`.
    pub(crate) fn payload_after(
        &mut self,
        head: &mut [u8],
        second: Option<Box<dyn BlobRead>>,
        verify: bool,
    ) -> Result<Vec<u8>> {
        let len = self.value_len.checked_sub(head.len() as u64).ok_or_else(|| damaged("is too short"))?;
        if second.is_some() {
            let mut bytes = zeros(len)?;
            self.payload_into(head, &mut bytes, second, verify)?;
            return Ok(bytes);
        }
        let (mut bytes, mut sum) = (room_for(len)?, self.proof(verify));
        let whole = fill(&mut *self.file, None, self.payload_start, head, sum.as_mut())?
            && append(&mut *self.file, self.payload_start + head.len() as u64, len, &mut bytes, sum.as_mut())?;
        self.check(whole, sum)?;
        Ok(bytes)
    }

    /// Reads the bytes that [`payload`](Self::payload) does: the first of them into `head`, the others into `body`.
    ///
    /// # Errors
    /// As [`payload`](Self::payload); also if they are not as many.
    pub(crate) fn payload_into(
        &mut self,
        head: &mut [u8],
        body: &mut [u8],
        second: Option<Box<dyn BlobRead>>,
        verify: bool,
    ) -> Result<()> {
        let whole = (head.len() + body.len()) as u64 == self.value_len;
        let mut sum = self.proof(verify);
        let filled = whole
            && fill(&mut *self.file, None, self.payload_start, head, sum.as_mut())?
            && fill(&mut *self.file, second, self.payload_start + head.len() as u64, body, sum.as_mut())?;
        self.check(filled, sum)
    }

    /// Whether the value has a file for itself.
    pub(super) fn lies_by_itself(&self) -> bool {
        self.file.lies_by_itself()
    }

    /// How many bytes there are between the ends but for the seals behind them.
    pub(super) fn value_len(&self) -> u64 {
        self.value_len
    }

    /// How long the value is whose chunks can be read each by itself; `None` if it has no seals behind it.
    pub(super) fn sealed_len(&self) -> Option<u64> {
        (self.value_len < self.payload.len).then_some(self.value_len)
    }

    /// The seals behind the value.
    ///
    /// # Errors
    /// [`Integrity`](ErrorKind::Integrity) if there are fewer than there should be; [`Storage`](ErrorKind::Storage).
    pub(super) fn seals(&mut self) -> Result<Vec<u8>> {
        let len = self.payload.len - self.value_len;
        let mut seals = room_for(len)?;
        if append(&mut *self.file, self.payload_start + self.value_len, len, &mut seals, None)? {
            Ok(seals)
        } else {
            Err(damaged("is cut off"))
        }
    }

    /// Reads a chunk of a value with seals behind it into `into`, and looks at it unless nothing is to be verified.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub(super) fn sealed_chunk(&mut self, chunk: u64, seals: &[u8], into: &mut Vec<u8>, verify: bool) -> Result<()> {
        let (start, seal_len) = (chunk * format::CHUNK_LEN as u64, self.chunks.seal_len());
        let len = self.value_len.saturating_sub(start).min(format::CHUNK_LEN as u64);
        let whole = append(&mut *self.file, self.payload_start + start, len, into, None)?;
        let is_sound = || {
            let seal = usize::try_from(chunk).ok().and_then(|chunk| seals.chunks(seal_len).nth(chunk));
            seal.is_some_and(|seal| self.chunks.is_sound(chunk, into, seal))
        };
        let sound = whole && (!(verify || self.trusting.is_needed()) || is_sound());
        if sound { Ok(()) } else { Err(damaged(&format!("is damaged in part {chunk} of its file"))) }
    }

    /// The first bytes of the payload, as many as there are, which are not verified.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage).
    pub(super) fn beginning(&mut self, into: &mut [u8]) -> Result<usize> {
        let wanted = usize::try_from(self.payload.len).map_or(into.len(), |len| len.min(into.len()));
        self.file.read_at(self.payload_start, &mut into[..wanted])
    }

    /// Reads the payload, and lets go of it.
    ///
    /// # Errors
    /// As [`payload`](Self::payload).
    pub(super) fn look_through(&mut self, verify: bool) -> Result<()> {
        let Some(mut proof) = self.proof(verify) else { return Ok(()) };
        scan(&mut *self.file, self.payload_start, self.value_len, &mut proof)?;
        self.check(true, Some(proof))
    }

    /// With the value summed up already.
    fn check(&mut self, whole: bool, mut sum: Option<Proof>) -> Result<()> {
        if let Some(sum) = sum.as_mut().filter(|_| whole) {
            scan(&mut *self.file, self.payload_start + self.value_len, self.payload.len - self.value_len, sum)?;
        }
        let sound = whole && sum.is_none_or(|sum| sum.shows(&self.payload));
        if sound { Ok(()) } else { Err(damaged("has a damaged payload")) }
    }

    /// Reads a chunk of a stream into `buf`, which has room for one, and returns its bytes.
    ///
    /// # Errors
    /// [`Integrity`](ErrorKind::Integrity) if it is not what was written; [`Storage`](ErrorKind::Storage).
    pub(crate) fn chunk<'b>(&mut self, chunk: u64, buf: &'b mut [u8]) -> Result<&'b [u8]> {
        let start = self.chunks.start_of(chunk);
        let rest = self.payload.len.saturating_sub(start);
        let len = usize::try_from(rest).map_or(buf.len(), |rest| rest.min(buf.len()));
        let read = self.file.read_at(self.payload_start + start, &mut buf[..len])?;
        let bytes = self.chunks.checked(chunk, &buf[..read]);
        bytes.filter(|_| read == len).ok_or_else(|| damaged(&format!("is damaged in part {chunk} of its stream")))
    }

    /// What tells the bytes of a stream from all others.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub(crate) fn content(&mut self) -> Result<Identity> {
        let (mut hasher, mut buf) = (IdentityHasher::new(), vec![0; format::CHUNK_LEN + self.chunks.seal_len()]);
        for chunk in 0..self.entry.core.raw_size.div_ceil(format::CHUNK_LEN as u64) {
            hasher.update(self.chunk(chunk, &mut buf)?);
        }
        Ok(hasher.finish())
    }

    /// The checksum that the bytes between the ends really have, and whether they are those that were written.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage).
    pub(crate) fn examine(&mut self) -> Result<(u64, bool)> {
        let mut proof = self.verifying.clone();
        scan(&mut *self.file, self.payload_start, self.payload.len, &mut proof)?;
        Ok((proof.found().checksum, proof.shows(&self.payload)))
    }
}

/// Feeds some bytes of a blob, or as many as there are.
fn scan(file: &mut dyn BlobRead, start: u64, len: u64, proof: &mut Proof) -> Result<()> {
    let mut buf = vec![0; usize::try_from(len).map_or(SCAN_LEN, |len| len.min(SCAN_LEN))];
    let (mut at, mut left) = (start, len);
    while left > 0 {
        let wanted = usize::try_from(left).map_or(SCAN_LEN, |left| left.min(SCAN_LEN));
        let read = file.read_at(at, &mut buf[..wanted])?;
        if read == 0 {
            break;
        }
        proof.update(&buf[..read]);
        (at, left) = (at + read as u64, left - read as u64);
    }
    Ok(())
}

/// The checksum of some bytes of a blob, or of as many as there are.
pub(crate) fn checksum_of(file: &mut dyn BlobRead, start: u64, len: u64) -> Result<u64> {
    let mut proof = Proof::of_checksum();
    scan(file, start, len, &mut proof)?;
    Ok(proof.found().checksum)
}

/// The bytes up to the payload; fewer if the blob is cut off before.
fn start_of(file: &mut dyn BlobRead, rules: Rules<'_>) -> Result<Vec<u8>> {
    let mut start = vec![0; FIRST_READ];
    loop {
        let read = file.read_at(0, &mut start)?;
        let wanted = match format::open_header(&start[..read], rules)? {
            HeaderRead::Needs(bytes) if read == start.len() && bytes > read as u64 => bytes,
            _ => {
                start.truncate(read);
                return Ok(start);
            }
        };
        start = zeros(wanted)?;
    }
}

/// Room to read into. How much is what the file has, or what a header may have: checked, but not by us.
fn room_for(len: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let room = usize::try_from(len).map_err(|_| no_memory(len))?;
    bytes.try_reserve_exact(room).map_err(|_| no_memory(len))?;
    Ok(bytes)
}

/// Zeros to read over, as many as [`room_for`] would have room for. Fresh memory is not touched by this.
fn zeros(len: u64) -> Result<Vec<u8>> {
    let room = usize::try_from(len).map_err(|_| no_memory(len))?;
    bytemuck::allocation::try_zeroed_vec(room).map_err(|()| no_memory(len))
}

fn no_memory(len: u64) -> CacheError {
    CacheError::new(ErrorKind::Limit, format!("no memory for {len} bytes of a blob"))
}

fn damaged(what: &str) -> CacheError {
    CacheError::new(ErrorKind::Integrity, format!("the blob {what}"))
}

// The payload of a blob in pieces: each is summed up while it is still in the cache of the processor, and two threads
// read where one would wait for memory.

/// So much is read at a time.
const PIECE: usize = 256 << 10;

/// Fills `into` with the bytes of a blob from `start` on; says whether there were as many. With `sum` given, they are
/// added to it in order.
pub(crate) fn fill(
    file: &mut dyn BlobRead,
    second: Option<Box<dyn BlobRead>>,
    start: u64,
    into: &mut [u8],
    sum: Option<&mut Proof>,
) -> Result<bool> {
    let Some(mut second) = second else { return fill_alone(file, start, into, sum) };
    let (readers, filling) = (Mutex::new(vec![file, &mut *second]), Filling::new(into, sum));
    by_two(true, || {
        let reader = lock(&readers).pop();
        if let Some(reader) = reader {
            filling.take_part(reader, start);
        }
    });
    filling.end()
}

/// Appends `len` bytes of a blob from `start` on to `bytes`, which have room for them; says whether there were as many.
pub(crate) fn append(
    file: &mut dyn BlobRead,
    start: u64,
    len: u64,
    bytes: &mut Vec<u8>,
    mut sum: Option<&mut Proof>,
) -> Result<bool> {
    let mut left = len;
    while left > 0 {
        let filled = bytes.len();
        let wanted = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        file.append_to(start + (len - left), wanted, bytes)?;
        let piece = &bytes[filled..];
        sum.iter_mut().for_each(|sum| sum.update(piece));
        left -= piece.len() as u64;
        if piece.len() < wanted {
            break;
        }
    }
    Ok(left == 0)
}

fn fill_alone(file: &mut dyn BlobRead, mut start: u64, into: &mut [u8], mut sum: Option<&mut Proof>) -> Result<bool> {
    for piece in into.chunks_mut(PIECE) {
        if file.read_at(start, piece)? < piece.len() {
            return Ok(false);
        }
        sum.iter_mut().for_each(|sum| sum.update(piece));
        start += piece.len() as u64;
    }
    Ok(true)
}

/// Bytes that several threads fill.
struct Filling<'b, 's> {
    pieces: Mutex<std::iter::Enumerate<std::slice::ChunksMut<'b, u8>>>,
    /// Filled, and not summed up yet.
    filled: Mutex<BTreeMap<usize, &'b [u8]>>,
    /// With the number of the piece that comes next.
    sum: Mutex<(usize, Option<&'s mut Proof>)>,
    /// What ended it: an error, or that the blob has too few bytes.
    ended: Mutex<Option<Result<bool>>>,
}

impl<'b, 's> Filling<'b, 's> {
    fn new(into: &'b mut [u8], sum: Option<&'s mut Proof>) -> Self {
        let pieces = Mutex::new(into.chunks_mut(PIECE).enumerate());
        Self { pieces, filled: Mutex::default(), sum: Mutex::new((0, sum)), ended: Mutex::default() }
    }

    fn take_part(&self, reader: &mut dyn BlobRead, start: u64) {
        loop {
            // A statement of its own, at whose end the lock is released: not so in the head of a loop.
            let next = lock(&self.pieces).next();
            let Some((n, piece)) = next else { return };
            match reader.read_at(start + (n * PIECE) as u64, piece) {
                Ok(read) if read == piece.len() => {}
                Ok(_) => return self.stop(Ok(false)),
                Err(error) => return self.stop(Err(error)),
            }
            lock(&self.filled).insert(n, piece);
            // Whoever is summing up goes on with this one.
            if let Ok(mut sum) = self.sum.try_lock() {
                self.sum_up(&mut sum);
            }
        }
    }

    fn sum_up(&self, (next, sum): &mut (usize, Option<&'s mut Proof>)) {
        loop {
            let Some(piece) = lock(&self.filled).remove(next) else { return };
            sum.iter_mut().for_each(|sum| sum.update(piece));
            *next += 1;
        }
    }

    fn stop(&self, why: Result<bool>) {
        lock(&self.ended).get_or_insert(why);
        lock(&self.pieces).by_ref().for_each(drop);
    }

    fn end(self) -> Result<bool> {
        self.sum_up(&mut lock(&self.sum));
        let ended = lock(&self.ended).take();
        ended.unwrap_or(Ok(true))
    }
}

#[cfg(test)]
mod pieces_tests;
