//! Blobs in two files, of which one has the middle of the blob and nothing else, for tools that know its format.
//!
//! The middle is `<name>.<format>`, such as `.parquet`. What stands around it is beside it in a *sidecar*, `<name>.entry`: head,
//! tail, and then [`END`] bytes, little-endian: length of the head and of the middle, the format, and a checksum of all before
//! it. Both are read as one blob.
//!
//! The sidecar appears first and goes last, so that whoever lists blobs finds each middle by it. A power cut may leave a middle
//! alone: that counts as a blob that no record names.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::{self, Reading};
use super::{Files, FilesystemBlobs, metadata_of, unless_gone};
use crate::config::{Durability, NativeFormat};
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::blob::{BlobInfo, BlobName, BlobRead, BlobWrite};
use crate::storage::vfs::publish::{Staged, publish};
use crate::storage::vfs::{Vfs, read_whole, storage_error};
use crate::util::digest::checksum;

const SIDECAR: &str = ".entry";
/// Bytes at the end of a sidecar.
const END: usize = 32;
/// Longer ones were not written here.
const LONGEST_SIDECAR: u64 = 32 << 20;

/// The name of the blob that one of its two files belongs to.
pub(super) fn strip_suffix(file: &str) -> Option<&str> {
    let body = |format: NativeFormat| file.strip_suffix(format.name())?.strip_suffix('.');
    file.strip_suffix(SIDECAR).or_else(|| NativeFormat::ALL.into_iter().find_map(body))
}

fn sidecar_path(files: &Files, name: &BlobName) -> PathBuf {
    files.path_of(name, SIDECAR)
}

fn body_path(files: &Files, name: &BlobName, format: NativeFormat) -> PathBuf {
    files.path_of(name, &format!(".{format}"))
}

/// All files that a blob may have, the sidecar last.
fn possible(files: &Files, name: &BlobName) -> impl Iterator<Item = PathBuf> {
    let bodies = NativeFormat::ALL.map(|format| body_path(files, name, format));
    bodies.into_iter().chain([sidecar_path(files, name)])
}

/// The files of a blob that has such, the sidecar last; of one that has none, nothing.
pub(super) fn paths(files: &Files, name: &BlobName) -> Result<Vec<PathBuf>> {
    if metadata_of(&*files.vfs, &sidecar_path(files, name))?.is_none() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for path in possible(files, name) {
        if metadata_of(&*files.vfs, &path)?.is_some() {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Removes what there is of a blob; says whether there was anything.
pub(super) fn remove(files: &Files, name: &BlobName) -> Result<bool> {
    let mut removed = false;
    for path in possible(files, name) {
        match files.vfs.remove(&path) {
            Ok(()) => removed = true,
            error => unless_gone(error).map_err(|error| storage_error("remove", &path, error))?,
        }
    }
    if removed {
        files.sync_removal(name)?;
    }
    Ok(removed)
}

/// Removes what there is of a blob that could not be written.
pub(super) fn discard(files: &Files, name: &BlobName) {
    possible(files, name).for_each(|path| drop(files.vfs.remove(&path)));
}

/// What is known of a blob; `None` if there is none.
pub(super) fn info(files: &Files, name: BlobName) -> Result<Option<BlobInfo>> {
    let mut info = None;
    for path in possible(files, &name) {
        if let Some(found) = metadata_of(&*files.vfs, &path)? {
            let sum = info.map_or(0, |before: BlobInfo| before.len);
            let end = if path.to_string_lossy().ends_with(SIDECAR) { END as u64 } else { 0 };
            let len = sum + found.len.saturating_sub(end);
            info = Some(BlobInfo { written_at: found.modified, ..BlobInfo::new(name.clone(), len) });
        }
    }
    Ok(info)
}

/// What a sidecar says.
#[derive(Debug)]
struct Sidecar {
    head: Vec<u8>,
    tail: Vec<u8>,
    body_len: u64,
    format: NativeFormat,
}

impl Sidecar {
    fn read(files: &Files, name: &BlobName) -> Result<Option<Self>> {
        let bytes = read_whole(&*files.vfs, &sidecar_path(files, name), LONGEST_SIDECAR);
        let bytes = bytes.map_err(|error| if error.is_limit() { damaged(name) } else { error })?;
        let Some(bytes) = bytes else { return Ok(None) };
        Self::of(&bytes).map(Some).ok_or_else(|| damaged(name))
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let (covered, sum) = bytes.split_last_chunk::<8>()?;
        if checksum(covered) != u64::from_le_bytes(*sum) {
            return None;
        }
        let (rest, format) = covered.split_last_chunk::<8>()?;
        let (rest, body_len) = rest.split_last_chunk::<8>()?;
        let (around, head_len) = rest.split_last_chunk::<8>()?;
        let format = usize::try_from(u64::from_le_bytes(*format)).ok()?;
        let (head, tail) = around.split_at_checked(usize::try_from(u64::from_le_bytes(*head_len)).ok()?)?;
        Some(Self {
            head: head.to_vec(),
            tail: tail.to_vec(),
            body_len: u64::from_le_bytes(*body_len),
            format: *NativeFormat::ALL.get(format)?,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let format = NativeFormat::ALL.iter().position(|format| *format == self.format).unwrap_or_default();
        let numbers = [self.head.len() as u64, self.body_len, format as u64].map(u64::to_le_bytes);
        let mut bytes = [&self.head[..], &self.tail, numbers.as_flattened()].concat();
        bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
        bytes
    }
}

fn damaged(name: &BlobName) -> CacheError {
    CacheError::new(ErrorKind::Integrity, format!("the sidecar of blob {name} is damaged"))
}

/// The file that the middle of a blob lies in.
pub(super) fn body_of(files: &Files, name: &BlobName) -> Option<PathBuf> {
    let sidecar = Sidecar::read(files, name).ok()??;
    Some(body_path(files, name, sidecar.format))
}

/// A blob in two files, not yet there.
#[derive(Debug)]
struct Writing {
    blobs: FilesystemBlobs,
    name: BlobName,
    body: Staged<Arc<dyn Vfs>>,
    sidecar: Sidecar,
    behind: bool,
}

pub(super) fn create(
    blobs: &FilesystemBlobs,
    name: &BlobName,
    head: &[u8],
    format: NativeFormat,
) -> Result<Box<dyn BlobWrite>> {
    let body = blobs.restoring(|| Staged::create(Arc::clone(&blobs.vfs), &blobs.root))?;
    let sidecar = Sidecar { head: head.to_vec(), tail: Vec::new(), body_len: 0, format };
    Ok(Box::new(Writing { blobs: blobs.clone(), name: name.clone(), body, sidecar, behind: false }))
}

impl BlobWrite for Writing {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.behind {
            self.sidecar.tail.extend_from_slice(bytes);
            return Ok(());
        }
        self.body.write(bytes)?;
        self.sidecar.body_len += bytes.len() as u64;
        Ok(())
    }

    fn end_middle(&mut self) {
        self.behind = true;
    }

    fn publish(self: Box<Self>, durability: Durability) -> Result<()> {
        let Self { blobs, name, mut body, sidecar, .. } = *self;
        let (place, bytes) = (sidecar_path(&blobs, &name), sidecar.to_bytes());
        blobs.appear(&name, durability, |durability| {
            blobs.restoring(|| {
                let _kept = blobs.shards.keep();
                blobs.shards.prepare(&*blobs.vfs, &name, durability)?;
                publish(&*blobs.vfs, &blobs.root, &place, &[&bytes], durability)?;
                body.commit(&body_path(&blobs, &name, sidecar.format), durability)
            })
        })
    }
}

/// Both files, open.
#[derive(Debug)]
struct Both {
    sidecar: Sidecar,
    body: Reading,
}

pub(super) fn open(blobs: &FilesystemBlobs, name: &BlobName) -> Result<Option<Box<dyn BlobRead>>> {
    Ok(open_both(blobs, name)?.map(|both| Box::new(both) as Box<dyn BlobRead>))
}

fn open_both(blobs: &FilesystemBlobs, name: &BlobName) -> Result<Option<Both>> {
    let Some(sidecar) = Sidecar::read(blobs, name)? else { return Ok(None) };
    let Some(body) = files::open(blobs, &body_path(blobs, name, sidecar.format))? else { return Ok(None) };
    if body.len() != sidecar.body_len {
        let message = format!("the file of blob {name} has {} bytes and should have {}", body.len(), sidecar.body_len);
        return Err(CacheError::new(ErrorKind::Integrity, message));
    }
    Ok(Some(Both { sidecar, body }))
}

/// A whole blob.
///
/// # Errors
/// `Limit` if it is longer than `max_bytes`; as [`open`].
pub(super) fn read(blobs: &FilesystemBlobs, name: &BlobName, max_bytes: u64) -> Result<Option<Vec<u8>>> {
    let Some(mut both) = open_both(blobs, name)? else { return Ok(None) };
    let len = both.len();
    let room = usize::try_from(len).ok().filter(|_| len <= max_bytes).ok_or_else(|| {
        CacheError::new(ErrorKind::Limit, format!("blob {name} is {len} bytes long, at most {max_bytes} are read"))
    })?;
    both.range(0, room).map(Some)
}

/// Some bytes of a blob; fewer where it ends before.
pub(super) fn read_range(blobs: &FilesystemBlobs, name: &BlobName, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
    let Some(mut both) = open_both(blobs, name)? else { return Ok(None) };
    let len = len.min(both.len().saturating_sub(offset));
    both.range(offset, usize::try_from(len).unwrap_or(usize::MAX)).map(Some)
}

impl Both {
    fn range(&mut self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(len)
            .map_err(|_| CacheError::new(ErrorKind::Limit, format!("no memory for {len} bytes of a blob")))?;
        bytes.resize(len, 0);
        let read = self.read_at(offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

impl BlobRead for Both {
    fn len(&self) -> u64 {
        self.sidecar.body_len + (self.sidecar.head.len() + self.sidecar.tail.len()) as u64
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (head, tail) = (&self.sidecar.head, &self.sidecar.tail);
        let mut filled = copy_from(head, offset, buf);
        let body_end = head.len() as u64 + self.sidecar.body_len;
        let at = offset + filled as u64;
        if at >= head.len() as u64 && at < body_end {
            let left = usize::try_from(body_end - at).unwrap_or(usize::MAX);
            let wanted = (buf.len() - filled).min(left);
            let read = self.body.read_at(at - head.len() as u64, &mut buf[filled..filled + wanted])?;
            filled += read;
            if read < wanted {
                return Ok(filled);
            }
        }
        let behind = (offset + filled as u64).checked_sub(body_end);
        Ok(filled + behind.map_or(0, |at| copy_from(tail, at, &mut buf[filled..])))
    }

    fn lies_by_itself(&self) -> bool {
        true
    }
}

/// Copies what there is from a place on; says how much.
fn copy_from(bytes: &[u8], at: u64, buf: &mut [u8]) -> usize {
    let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    let len = rest.len().min(buf.len());
    buf[..len].copy_from_slice(&rest[..len]);
    len
}

#[cfg(test)]
mod tests;
