//! Blobs as files: `blobs/ab/<name>.blob`, spread over 256 directories by the first two digits of their names. One whose middle
//! other tools read is two files (`split`).

mod files;
mod split;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use super::{BlobBackend, BlobInfo, BlobName, BlobRead, BlobWrite};
use crate::config::{Durability, NativeFormat};
use crate::error::Result;
use crate::storage::vfs::publish::publish;
use crate::storage::vfs::root::{BLOBS, QUARANTINE, lock_root, make_rooms, prepare_root};
use crate::storage::vfs::{DirEntry, FileKind, Metadata, RealVfs, Vfs, io_kind, read_range, read_whole, storage_error};
use files::{Shards, Unsynced};

const SUFFIX: &str = ".blob";

/// Blobs as files below a cache directory. Clones are handles to the same blobs.
#[derive(Clone, Debug)]
pub(crate) struct FilesystemBlobs(Arc<Files>);

impl Deref for FilesystemBlobs {
    type Target = Files;

    fn deref(&self) -> &Files {
        &self.0
    }
}

/// Makes the directories of a cache again, where somebody emptied it while it was in use.
pub(crate) struct Restore(Box<dyn Fn() -> Result<()> + Send + Sync>);

impl Restore {
    pub(crate) fn by(restore: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Box::new(restore))
    }
}

impl fmt::Debug for Restore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Restore")
    }
}

#[derive(Debug)]
pub(crate) struct Files {
    vfs: Arc<dyn Vfs>,
    root: PathBuf,
    restore: Restore,
    shards: Shards,
    quarantine: Quarantine,
    /// Blobs that are written and not synced.
    unsynced: Mutex<Unsynced>,
    /// Those of them whose sync has failed. That it succeeds the next time would mean nothing.
    failed: Mutex<BTreeSet<BlobName>>,
    /// Held by the one who syncs, so that another one does not return before what it asked for is done.
    syncing: Mutex<()>,
    /// Whether a blob that is removed is gone for good when the call returns: where no index knows better.
    durable_removals: bool,
}

impl FilesystemBlobs {
    /// Opens the blobs of a new cache directory.
    #[cfg(test)]
    pub(crate) fn open(vfs: Arc<dyn Vfs>, root: &Path) -> Result<Self> {
        let root = prepare_root(&*vfs, root)?;
        let restore = {
            let (vfs, root) = (Arc::clone(&vfs), root.clone());
            Restore::by(move || prepare_root(&*vfs, &root).map(drop))
        };
        Ok(Self::new(vfs, &root, restore))
    }

    /// The blobs of a prepared cache directory.
    pub(crate) fn new(vfs: Arc<dyn Vfs>, root: &Path, restore: Restore) -> Self {
        let root = root.to_path_buf();
        let shards = Shards::new(root.join(BLOBS));
        let quarantine = Quarantine::new(&root);
        let (unsynced, failed, syncing) = (Mutex::default(), Mutex::default(), Mutex::default());
        let durable_removals = false;
        Self(Arc::new(Files { vfs, root, restore, shards, quarantine, unsynced, failed, syncing, durable_removals }))
    }

    /// Opens the blobs of a directory for nobody else: takes its lock.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) if somebody has it; [`Storage`](crate::ErrorKind::Storage).
    pub(crate) fn open_alone(dir: &Path) -> Result<Self> {
        let vfs: Arc<dyn Vfs> = Arc::new(RealVfs::new());
        let root = prepare_root(&*vfs, dir)?;
        let held = lock_root(&*vfs, &root)?;
        let again = root.clone();
        let restore = {
            let vfs = Arc::clone(&vfs);
            // Held as long as the blobs are open.
            Restore::by(move || {
                let _ = &held;
                make_rooms(&*vfs, &again)
            })
        };
        Ok(Self::new(vfs, &root, restore))
    }

    /// Lets no power cut bring a blob back whose removal has returned. For blobs that are all there is: with an index,
    /// one that comes back has no record and is removed again.
    pub(crate) fn with_durable_removals(self) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(files) => Self(Arc::new(Files { durable_removals: true, ..files })),
            Err(shared) => Self(shared),
        }
    }
}

impl Files {
    fn path(&self, name: &BlobName) -> PathBuf {
        self.path_of(name, SUFFIX)
    }

    fn path_of(&self, name: &BlobName, suffix: &str) -> PathBuf {
        self.shards.dir(name).join(format!("{name}{suffix}"))
    }

    /// The files that a blob consists of.
    fn paths(&self, name: &BlobName) -> Result<Vec<PathBuf>> {
        let paths = split::paths(self, name)?;
        Ok(if paths.is_empty() { vec![self.path(name)] } else { paths })
    }

    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> MutexGuard<'_, BTreeSet<BlobName>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody waits for it to be synced any more.
    fn forget(&self, name: &BlobName) {
        self.unsynced().forget(name);
        self.failed().remove(name);
    }

    fn try_write(&self, name: &BlobName, parts: &[&[u8]], durability: Durability) -> Result<()> {
        let _kept = self.shards.keep();
        self.shards.prepare(&*self.vfs, name, durability)?;
        publish(&*self.vfs, &self.root, &self.path(name), parts, durability)
    }

    /// Lets a blob appear by `publish`, durable or noted for the next sync; if that fails it is not there.
    fn appear(
        &self,
        name: &BlobName,
        durability: Durability,
        publish: impl FnOnce(Durability) -> Result<()>,
    ) -> Result<()> {
        if let Err(error) = publish(durability) {
            // A failed sync of the directory comes after the rename: the file is there and nobody will ask for it.
            let _ = self.vfs.remove(&self.path(name));
            split::discard(self, name);
            self.shards.note_gap(name);
            return Err(error);
        }
        if durability != Durability::Immediate {
            self.unsynced().note(name);
        }
        Ok(())
    }

    /// Runs `step` once more when a directory was missing: somebody emptied the cache directory while it was in use.
    fn restoring<T>(&self, mut step: impl FnMut() -> Result<T>) -> Result<T> {
        match step() {
            Err(error) if io_kind(&error) == Some(io::ErrorKind::NotFound) => {
                self.shards.forget();
                (self.restore.0)()?;
                step()
            }
            done => done,
        }
    }

    /// The digits of the shards from these on, in order.
    fn shards_from(&self, first: &str) -> Result<Vec<String>> {
        let shards = list_or_nothing(&*self.vfs, &self.root.join(BLOBS))?;
        let dirs = shards.into_iter().filter(|shard| shard.kind == FileKind::Dir);
        let mut digits: Vec<_> = dirs.filter_map(|shard| shard.name.into_string().ok()).collect();
        digits.retain(|digits| digits.as_str() >= first);
        digits.sort();
        Ok(digits)
    }

    /// The blobs in a shard, in the order of their names.
    fn names_in(&self, digits: &str) -> Result<Vec<BlobName>> {
        let entries = list_or_nothing(&*self.vfs, &self.root.join(BLOBS).join(digits))?;
        if entries.is_empty() {
            self.shards.note_gap_in(digits);
        }
        let names: BTreeSet<_> = entries.iter().filter_map(blob_name).collect();
        Ok(names.into_iter().filter(|name| files::digits(name) == digits).collect())
    }

    fn visit_all(&self, visit: &mut dyn FnMut(BlobName) -> Result<()>) -> Result<()> {
        for digits in self.shards_from("")? {
            self.names_in(&digits)?.into_iter().try_for_each(&mut *visit)?;
        }
        Ok(())
    }

    /// What is known of a blob; `None` if it is gone.
    fn info(&self, name: BlobName) -> Result<Option<BlobInfo>> {
        match metadata_of(&*self.vfs, &self.path(&name))? {
            Some(found) => Ok(Some(BlobInfo { written_at: found.modified, ..BlobInfo::new(name, found.len) })),
            None => split::info(self, name),
        }
    }

    /// Syncs what is too much for one sync each, and leaves what still needs one.
    fn sync_many(&self, waiting: &mut Unsynced) -> Result<()> {
        if waiting.failed {
            self.name_failed(waiting)?;
        }
        match self.vfs.sync_file_system(&self.root) {
            Ok(()) => {
                let failed = self.failed();
                waiting.keep_only(|name| failed.contains(name));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => waiting.name_all(|visit| self.visit_all(visit)),
            Err(error) => {
                waiting.failed = true;
                // Those that cannot be named now are before the next sync.
                if let Err(error) = self.name_failed(waiting) {
                    log::debug!("what may not be on the disk cannot be listed now: {error}");
                }
                Err(storage_error("sync", &self.root, error))
            }
        }
    }

    /// Notes each blob that a sync of all has failed for, also those that are not known by name.
    fn name_failed(&self, waiting: &mut Unsynced) -> Result<()> {
        waiting.name_all(|visit| self.visit_all(visit))?;
        self.failed().extend(waiting.names.iter().cloned());
        waiting.failed = false;
        Ok(())
    }

    fn sync_each(&self, names: &mut BTreeSet<BlobName>) -> Result<()> {
        let directories = self.shards.sync(&*self.vfs, names);
        let directories_failed = directories.is_err();
        let mut result = directories;
        names.retain(|name| {
            let synced = self.sync_files(name);
            let again = directories_failed || synced.is_err();
            result = std::mem::replace(&mut result, Ok(())).and(synced);
            again
        });
        result
    }

    fn sync_removal(&self, name: &BlobName) -> Result<()> {
        if self.durable_removals { self.shards.sync_removal(&*self.vfs, name) } else { Ok(()) }
    }

    fn sync_files(&self, name: &BlobName) -> Result<()> {
        let paths = self.paths(name)?;
        if self.failed().contains(name) {
            paths.iter().try_for_each(|path| files::write_anew(&*self.vfs, &self.root, path))?;
            self.failed().remove(name);
            return Ok(());
        }
        paths.iter().try_for_each(|path| match self.vfs.sync_file(path) {
            // Removed, or replaced by something that was not written here.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => Ok(()),
            synced => synced.map_err(|error| {
                self.failed().insert(name.clone());
                storage_error("sync", path, error)
            }),
        })
    }
}

impl BlobBackend for FilesystemBlobs {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn write(&self, name: &BlobName, parts: &[&[u8]], durability: Durability) -> Result<()> {
        self.appear(name, durability, |durability| self.restoring(|| self.try_write(name, parts, durability)))
    }

    fn create(&self, name: &BlobName) -> Result<Box<dyn BlobWrite>> {
        files::create(self, name)
    }

    fn open(&self, name: &BlobName) -> Result<Option<Box<dyn BlobRead>>> {
        match files::open(self, &self.path(name))? {
            None => split::open(self, name),
            Some(blob) => Ok(Some(Box::new(blob))),
        }
    }

    fn create_around(&self, name: &BlobName, head: &[u8], format: NativeFormat) -> Result<Box<dyn BlobWrite>> {
        split::create(self, name, head, format)
    }

    fn file_of(&self, name: &BlobName) -> Option<PathBuf> {
        split::body_of(self, name)
    }

    fn read(&self, name: &BlobName, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        match read_whole(&*self.vfs, &self.path(name), max_bytes)? {
            None => split::read(self, name, max_bytes),
            whole => Ok(whole),
        }
    }

    fn read_range(&self, name: &BlobName, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
        match read_range(&*self.vfs, &self.path(name), offset, len)? {
            None => split::read_range(self, name, offset, len),
            range => Ok(range),
        }
    }

    fn remove(&self, name: &BlobName) -> Result<bool> {
        self.forget(name);
        self.shards.note_gap(name);
        let _kept = self.shards.keep();
        let path = self.path(name);
        match self.vfs.remove(&path) {
            Ok(()) => self.sync_removal(name).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => split::remove(self, name),
            Err(error) => Err(storage_error("remove", &path, error)),
        }
    }

    /// Moves the file to `quarantine/`. What is no regular file was not written here, and stays where it is.
    fn quarantine(&self, name: &BlobName) -> Result<()> {
        self.forget(name);
        self.shards.note_gap(name);
        self.paths(name)?.iter().try_for_each(|path| self.quarantine.take(&*self.vfs, path))
    }

    fn page(&self, after: Option<&BlobName>, limit: usize) -> Result<Vec<BlobInfo>> {
        let mut page = Vec::new();
        for digits in self.shards_from(after.map_or("", files::digits))? {
            let mut names = self.names_in(&digits)?;
            names.retain(|name| after.is_none_or(|after| name > after));
            for name in names {
                if page.len() >= limit {
                    return Ok(page);
                }
                page.extend(self.info(name)?);
            }
        }
        Ok(page)
    }

    /// One sync for each file written since the last call, and one for each directory these are in; if there are many,
    /// one of the whole file system, which costs a fraction. What fails does not keep the others from being synced, and
    /// is tried again by the next call, a file by writing it anew.
    fn sync(&self) -> Result<()> {
        let _turn = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out, so that writers need not wait for the disk.
        let mut waiting = std::mem::take(&mut *self.unsynced());
        let many = if waiting.are_many() { self.sync_many(&mut waiting) } else { Ok(()) };
        let synced = many.and_then(|()| self.sync_each(&mut waiting.names));
        self.unsynced().append(waiting);
        synced
    }

    fn tidy(&self) {
        self.shards.remove_empty(&*self.vfs);
    }
}

/// The blob that a file is, or belongs to, if it is one of ours.
fn blob_name(entry: &DirEntry) -> Option<BlobName> {
    let file = entry.name.to_str()?;
    let name = file.strip_suffix(SUFFIX).or_else(|| split::strip_suffix(file))?;
    (entry.kind == FileKind::File).then(|| BlobName::parse(name).ok())?
}

/// What is in a directory; nothing when it is gone.
fn list_or_nothing(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<DirEntry>> {
    match vfs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|error| storage_error("list", dir, error)),
    }
}

/// Success also for what is not there any more.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

// Damaged blobs, kept for inspection as long as there is room for them.

/// So many files are kept at most.
const MAX_QUARANTINED_FILES: usize = 100;
/// So many bytes are kept at most.
const MAX_QUARANTINED_BYTES: u64 = 100 << 20;

#[derive(Debug)]
struct Quarantine {
    dir: PathBuf,
    /// One at a time, so that two do not both take the last place.
    turn: Mutex<()>,
}

impl Quarantine {
    fn new(root: &Path) -> Self {
        Self { dir: root.join(QUARANTINE), turn: Mutex::default() }
    }

    /// Takes a file out of its place: keeps it, or removes it when there is no room. Anything but a file stays.
    fn take(&self, vfs: &dyn Vfs, path: &Path) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = metadata_of(vfs, path)?.filter(|found| found.kind == FileKind::File) else { return Ok(()) };
        if let Some(name) = path.file_name()
            && self.has_room_for(vfs, found.len)?
        {
            let kept = self.dir.join(name);
            unless_gone(vfs.rename(path, &kept)).map_err(|error| storage_error("move to quarantine", path, error))?;
        }
        // Still there when there was no room, or no directory to move it to.
        unless_gone(vfs.remove(path)).map_err(|error| storage_error("remove", path, error))
    }

    fn has_room_for(&self, vfs: &dyn Vfs, len: u64) -> Result<bool> {
        let (mut files, mut bytes) = (1, len);
        for entry in list_or_nothing(vfs, &self.dir)?.iter().filter(|entry| blob_name(entry).is_some()) {
            let found = metadata_of(vfs, &self.dir.join(&entry.name))?;
            files += 1;
            bytes = found.map_or(bytes, |found| found.len.saturating_add(bytes));
        }
        Ok(files <= MAX_QUARANTINED_FILES && bytes <= MAX_QUARANTINED_BYTES)
    }
}

fn metadata_of(vfs: &dyn Vfs, path: &Path) -> Result<Option<Metadata>> {
    match vfs.metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(storage_error("examine", path, error)),
    }
}

#[cfg(test)]
mod tests;
