//! Files that are written piece by piece, read at any place, and written anew after a sync that failed.

use std::io::{self, Read, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::FilesystemBlobs;
use crate::config::Durability;
use crate::error::Result;
use crate::storage::blob::{BlobName, BlobRead, BlobWrite};
use crate::storage::vfs::publish::Staged;
use crate::storage::vfs::{ReadFile, Vfs, open_regular, storage_error};

/// A file in `staging/`, not yet a blob.
#[derive(Debug)]
struct Writing {
    blobs: FilesystemBlobs,
    name: BlobName,
    staged: Staged<Arc<dyn Vfs>>,
}

pub(super) fn create(blobs: &FilesystemBlobs, name: &BlobName) -> Result<Box<dyn BlobWrite>> {
    let staged = blobs.restoring(|| Staged::create(Arc::clone(&blobs.vfs), &blobs.root))?;
    Ok(Box::new(Writing { blobs: blobs.clone(), name: name.clone(), staged }))
}

impl BlobWrite for Writing {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.staged.write(bytes)
    }

    fn publish(self: Box<Self>, durability: Durability) -> Result<()> {
        let Self { blobs, name, mut staged } = *self;
        blobs.appear(&name, durability, |durability| {
            blobs.restoring(|| {
                let _kept = blobs.shards.keep();
                blobs.shards.prepare(&*blobs.vfs, &name, durability)?;
                staged.commit(&blobs.path(&name), durability)
            })
        })
    }
}

/// An open file: it can be read to its end also when the blob is removed meanwhile.
#[derive(Debug)]
struct Reading {
    file: Box<dyn ReadFile>,
    path: Box<Path>,
    len: u64,
    /// Where the file stands, so that reading on needs no seek; unknown after an error.
    position: Option<u64>,
}

pub(super) fn open(blobs: &FilesystemBlobs, name: &BlobName) -> Result<Option<Box<dyn BlobRead>>> {
    let path = blobs.path(name);
    let Some(file) = open_regular(&*blobs.vfs, &path)? else { return Ok(None) };
    let len = file.len().map_err(|error| storage_error("read", &path, error))?;
    Ok(Some(Box::new(Reading { file, path: path.into(), len, position: Some(0) })))
}

impl Reading {
    fn fill(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.position.take() != Some(offset) {
            self.file.seek(SeekFrom::Start(offset))?;
        }
        let mut filled = 0;
        while filled < buf.len() {
            match self.file.read(&mut buf[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position = Some(offset + filled as u64);
        Ok(filled)
    }

    fn append(&mut self, offset: u64, len: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
        if self.position.take() != Some(offset) {
            self.file.seek(SeekFrom::Start(offset))?;
        }
        let read = (&mut self.file).take(len as u64).read_to_end(bytes)?;
        self.position = Some(offset + read as u64);
        Ok(())
    }
}

impl BlobRead for Reading {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        // Systems refuse to seek far behind what a file can have.
        if offset >= self.len {
            return Ok(0);
        }
        self.fill(offset, buf).map_err(|error| storage_error("read", &self.path, error))
    }

    fn append_to(&mut self, offset: u64, len: usize, bytes: &mut Vec<u8>) -> Result<()> {
        if offset >= self.len {
            return Ok(());
        }
        self.append(offset, len, bytes).map_err(|error| storage_error("read", &self.path, error))
    }
}

// Writing a file anew whose sync failed.
//
// After such a failure a system may take what it could not write for written: the next sync of the file succeeds and
// means nothing. So it is not asked again. What the file says goes into another one, which is synced and takes its place.

/// So much is copied at a time.
const COPY_LEN: usize = 256 << 10;

/// Writes the file anew, durable; nothing if it is gone or was not written here.
pub(super) fn write_anew(vfs: &dyn Vfs, root: &Path, path: &Path) -> Result<()> {
    let mut old = match open_regular(vfs, path) {
        Ok(Some(old)) => old,
        Ok(None) => return Ok(()),
        Err(error) if error.is_integrity() => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut staged = Staged::create(vfs, root)?;
    copy(&mut *old, &mut staged, path)?;
    match vfs.metadata(path) {
        // Removed meanwhile: it must not come back.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => staged.commit(path, Durability::Immediate),
    }
}

fn copy(old: &mut dyn ReadFile, staged: &mut Staged<&dyn Vfs>, path: &Path) -> Result<()> {
    let mut buf = vec![0; COPY_LEN];
    loop {
        match old.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(read) => staged.write(&buf[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(storage_error("read", path, error)),
        }
    }
}
