//! The 256 directories that blobs are spread over, which blobs are still to be synced, and files that are written piece by
//! piece, read at any place, and written anew after a sync that failed.

use std::collections::BTreeSet;
use std::io::{self, Read, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::{FilesystemBlobs, unless_gone};
use crate::config::Durability;
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::blob::{BlobName, BlobRead, BlobWrite};
use crate::storage::vfs::publish::Staged;
use crate::storage::vfs::{FileKind, ReadFile, Vfs, open_regular, storage_error};

/// What is known of each directory, so that most writes need not look.
#[derive(Debug)]
pub(super) struct Shards {
    blobs: PathBuf,
    known: [AtomicU8; 256],
    /// Those that a blob went from, or that nothing was found in: they may be empty.
    gaps: [AtomicBool; 256],
    /// Shared by those who work in a directory; held alone while an empty one is removed.
    kept: RwLock<()>,
}

/// It must be looked for.
const UNKNOWN: u8 = 0;
/// It is there; a power cut may take it.
const PRESENT: u8 = 1;
/// It is there to stay.
const DURABLE: u8 = 2;

impl Shards {
    pub(super) fn new(blobs: PathBuf) -> Self {
        let known = [const { AtomicU8::new(UNKNOWN) }; 256];
        let gaps = [const { AtomicBool::new(false) }; 256];
        Self { blobs, known, gaps, kept: RwLock::default() }
    }

    /// The directory a blob belongs in.
    pub(super) fn dir(&self, name: &BlobName) -> PathBuf {
        self.blobs.join(digits(name))
    }

    /// Makes sure that the directory of a blob is there, and there to stay when the blob is to be.
    pub(super) fn prepare(&self, vfs: &dyn Vfs, name: &BlobName, durability: Durability) -> Result<()> {
        let known = self.known(name);
        if known.load(Ordering::Acquire) == UNKNOWN {
            make(vfs, &self.dir(name))?;
            known.store(PRESENT, Ordering::Release);
        }
        if durability == Durability::Immediate && known.load(Ordering::Acquire) < DURABLE {
            sync_dir(vfs, &self.blobs)?;
            known.store(DURABLE, Ordering::Release);
        }
        Ok(())
    }

    /// Makes the names of blobs durable, and their directories.
    pub(super) fn sync(&self, vfs: &dyn Vfs, names: &BTreeSet<BlobName>) -> Result<()> {
        let mut last = None;
        for name in names {
            if last.replace(digits(name)) != Some(digits(name)) {
                sync_dir(vfs, &self.dir(name))?;
            }
        }
        if names.iter().any(|name| self.known(name).load(Ordering::Acquire) < DURABLE) {
            sync_dir(vfs, &self.blobs)?;
            for name in names {
                // One that is not known may be gone.
                let known = self.known(name);
                let _ = known.compare_exchange(PRESENT, DURABLE, Ordering::AcqRel, Ordering::Acquire);
            }
        }
        Ok(())
    }

    /// Makes it durable that a blob is gone.
    pub(super) fn sync_removal(&self, vfs: &dyn Vfs, name: &BlobName) -> Result<()> {
        sync_dir(vfs, &self.dir(name))
    }

    /// Looks again at the next write: somebody removed directories.
    pub(super) fn forget(&self) {
        self.known.iter().for_each(|known| known.store(UNKNOWN, Ordering::Release));
    }

    /// As long as this is held, no directory is [removed](Self::remove_empty): from before it is [prepared](Self::prepare)
    /// until the blob is in it.
    pub(super) fn keep(&self) -> RwLockReadGuard<'_, ()> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A blob is gone from its directory.
    pub(super) fn note_gap(&self, name: &BlobName) {
        self.note_gap_in(digits(name));
    }

    /// Nothing was found in a directory. One that is not ours by its name stays.
    pub(super) fn note_gap_in(&self, digits: &str) {
        if let Some(at) = place(digits) {
            self.gaps[at].store(true, Ordering::Relaxed);
        }
    }

    /// Removes directories that hold nothing, of those that may be empty. It waits for nobody: while somebody works in any
    /// of them, all that are left stay for the next time.
    pub(super) fn remove_empty(&self, vfs: &dyn Vfs) {
        for at in 0..self.gaps.len() {
            if !self.gaps[at].load(Ordering::Relaxed) {
                continue;
            }
            let Ok(_alone) = self.kept.try_write() else { return };
            self.gaps[at].store(false, Ordering::Relaxed);
            self.known[at].store(UNKNOWN, Ordering::Release);
            let dir = self.blobs.join(format!("{at:02x}"));
            if let Err(error) = vfs.remove_dir(&dir) {
                log::trace!("{} stays: {error}", dir.display());
            }
        }
    }

    fn known(&self, name: &BlobName) -> &AtomicU8 {
        &self.known[place(digits(name)).unwrap_or(0)]
    }
}

/// Where a directory stands among all of them, if it is one.
fn place(digits: &str) -> Option<usize> {
    let at = usize::from(u8::from_str_radix(digits, 16).ok()?);
    (format!("{at:02x}") == digits).then_some(at)
}

/// The digits of a name that its directory is called by.
pub(super) fn digits(name: &BlobName) -> &str {
    &name.as_str()[..2]
}

/// Where somebody removed the directory there is nothing to sync; the next write into it finds that out.
fn sync_dir(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    unless_gone(vfs.sync_dir(dir)).map_err(|error| storage_error("sync", dir, error))
}

fn make(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    match vfs.make_dir(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(vfs, dir),
        Err(error) => Err(storage_error("make the directory", dir, error)),
    }
}

fn check(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    let metadata = vfs.metadata(dir).map_err(|error| storage_error("examine", dir, error))?;
    if metadata.kind == FileKind::Dir {
        return Ok(());
    }
    let message = format!("{} is in the place of a directory of this cache; remove it by hand", dir.display());
    Err(CacheError::new(ErrorKind::Storage, message))
}

// Which blobs are written and not synced.

/// So many are remembered by name; of more, only that there are some. That bounds memory where nobody asks for a sync.
const MAX_NAMES: usize = 1024;
/// From so many on, one sync of the file system is cheaper than one for each.
const MANY: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Unsynced {
    pub(super) names: BTreeSet<BlobName>,
    /// There are others.
    more: bool,
    /// A sync of all has failed, and not all of them are known by name yet.
    pub(super) failed: bool,
}

impl Unsynced {
    pub(super) fn note(&mut self, name: &BlobName) {
        match self.names.len() < MAX_NAMES {
            true => drop(self.names.insert(name.clone())),
            false => self.more = true,
        }
    }

    pub(super) fn forget(&mut self, name: &BlobName) {
        self.names.remove(name);
    }

    pub(super) fn are_many(&self) -> bool {
        self.more || self.failed || self.names.len() >= MANY
    }

    /// All are synced but these.
    pub(super) fn keep_only(&mut self, again: impl Fn(&BlobName) -> bool) {
        self.names.retain(again);
        self.more = false;
    }

    /// Remembers all by name. Where some are not known, that is every blob there is.
    pub(super) fn name_all(
        &mut self,
        list: impl FnOnce(&mut dyn FnMut(BlobName) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        if self.more {
            list(&mut |name| {
                self.names.insert(name);
                Ok(())
            })?;
            self.more = false;
        }
        Ok(())
    }

    /// Takes up what is to be synced again.
    pub(super) fn append(&mut self, mut again: Self) {
        self.names.append(&mut again.names);
        self.more |= again.more;
        self.failed |= again.failed;
    }
}

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
pub(super) struct Reading {
    file: Box<dyn ReadFile>,
    path: Box<Path>,
    len: u64,
    /// Where the file stands, so that reading on needs no seek; unknown after an error.
    position: Option<u64>,
}

pub(super) fn open(blobs: &FilesystemBlobs, path: &Path) -> Result<Option<Reading>> {
    let Some(file) = open_regular(&*blobs.vfs, path)? else { return Ok(None) };
    let len = file.len().map_err(|error| storage_error("read", path, error))?;
    Ok(Some(Reading { file, path: path.into(), len, position: Some(0) }))
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
