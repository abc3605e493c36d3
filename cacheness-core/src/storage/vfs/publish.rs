//! The one way a file appears: written under a name of its own in `staging/`, made durable, then renamed into place.
//!
//! Whoever looks at the target sees nothing, the old file or the whole new one. What a crash leaves behind is a file in
//! `staging/`, and [`remove_left_over`] removes it at the next open.

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::{DirEntry, FileKind, RealVfs, Vfs, WriteFile, storage_error};
use crate::config::Durability;
use crate::error::Result;
use crate::util::digest::{is_unique_name, unique_name};

/// Where files are written before they appear, below the cache directory.
pub(crate) const STAGING: &str = "staging";

const SUFFIX: &str = ".part";

/// Up to this many bytes the parts of a file are put together and written by one call.
const ONE_WRITE: usize = 64 << 10;

/// Writes the file `target` below the cache directory `root`, replacing what has that name.
///
/// # Errors
/// `Storage`. The target is untouched then and nothing is left in `staging/`, unless the last step failed: with
/// [`Durability::Immediate`] the file can be in place without a promise that its name survives a power cut.
pub(crate) fn publish(
    vfs: &dyn Vfs,
    root: &Path,
    target: &Path,
    parts: &[&[u8]],
    durability: Durability,
) -> Result<()> {
    let mut staged = Staged::create(vfs, root)?;
    if parts.iter().map(|part| part.len()).sum::<usize>() <= ONE_WRITE {
        staged.write(&parts.concat())?;
    } else {
        parts.iter().try_for_each(|part| staged.write(part))?;
    }
    staged.commit(target, durability)
}

/// Writes a file that nothing has the name of yet, durable, by way of a file beside it: nothing else need be there. Says
/// whether it was written; if something has the name already, that stays.
///
/// # Errors
/// `Storage`.
pub(crate) fn publish_new(vfs: &dyn Vfs, target: &Path, bytes: &[u8]) -> Result<bool> {
    let mut beside = target.as_os_str().to_owned();
    beside.push(format!(".{}{SUFFIX}", unique_name()));
    let mut staged = Staged::create_at(vfs, PathBuf::from(beside))?;
    staged.write(bytes)?;
    staged.on_file("sync", |file| file.sync())?;
    if cfg!(windows) {
        // There nobody else can read what is locked, and it is locked until it is closed.
        staged.file = None;
    }
    match vfs.rename_new(&staged.path, target) {
        Ok(()) => staged.committed = true,
        // Either something has the name, or another process took the file beside it for one that was left over.
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
            return Ok(false);
        }
        // Not all file systems give a file a second name.
        Err(_) => return staged.commit(target, Durability::Immediate).map(|()| true),
    }
    let dir = target.parent().unwrap_or(target);
    vfs.sync_dir(dir).map_err(|error| storage_error("sync", dir, error))?;
    Ok(true)
}

/// A file being written, by way of a file system that it borrows or shares. Dropped without [`commit`](Self::commit), it
/// is removed.
#[derive(Debug)]
pub(crate) struct Staged<V: Deref<Target: Vfs>> {
    vfs: V,
    path: PathBuf,
    /// None once the file is closed for its last step.
    file: Option<Box<dyn WriteFile>>,
    committed: bool,
}

impl<V: Deref<Target: Vfs>> Staged<V> {
    /// Begins a file in the `staging/` of a cache directory.
    pub(crate) fn create(vfs: V, root: &Path) -> Result<Self> {
        Self::create_at(vfs, root.join(STAGING).join(unique_name() + SUFFIX))
    }

    fn create_at(vfs: V, path: PathBuf) -> Result<Self> {
        let file = vfs.create_new(&path).map_err(|error| storage_error("create", &path, error))?;
        Ok(Self { vfs, path, file: Some(file), committed: false })
    }

    /// Appends to the file.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.on_file("write", |file| file.write_all(bytes))
    }

    /// Lets the file appear as `target`: the rename and, when durable, the syncs before and after it are one step, so
    /// that none can be forgotten. It may be tried again if the rename failed.
    pub(crate) fn commit(&mut self, target: &Path, durability: Durability) -> Result<()> {
        let durable = durability == Durability::Immediate;
        if durable {
            self.on_file("sync", |file| file.sync())?;
        }
        self.file = None;
        self.vfs.rename(&self.path, target).map_err(|error| storage_error("rename a new file to", target, error))?;
        self.committed = true;
        match target.parent() {
            Some(dir) if durable => self.vfs.sync_dir(dir).map_err(|error| storage_error("sync", dir, error)),
            _ => Ok(()),
        }
    }

    fn on_file(&mut self, doing: &str, call: impl FnOnce(&mut dyn WriteFile) -> io::Result<()>) -> Result<()> {
        match &mut self.file {
            Some(file) => call(&mut **file).map_err(|error| storage_error(doing, &self.path, error)),
            None => Ok(()),
        }
    }
}

impl<V: Deref<Target: Vfs>> Drop for Staged<V> {
    fn drop(&mut self) {
        if !self.committed {
            self.file = None;
            // The error that brought us here is the one to tell; a file that stays is removed at the next open.
            let _ = self.vfs.remove(&self.path);
        }
    }
}

/// Removes what earlier processes left in `staging/`, and beside files that were [new](publish_new); returns how many files
/// that were. Files of others stay, and those that another process is writing.
///
/// # Errors
/// `Storage`.
pub(crate) fn remove_left_over(vfs: &dyn Vfs, root: &Path, new: &[&str]) -> Result<u64> {
    let staged = |name: &str| name.strip_suffix(SUFFIX).is_some_and(is_unique_name);
    let beside =
        |name: &str| new.iter().any(|new| name.strip_prefix(new).and_then(|n| n.strip_prefix('.')).is_some_and(staged));
    Ok(remove_ours(vfs, &root.join(STAGING), staged)? + remove_ours(vfs, root, beside)?)
}

fn remove_ours(vfs: &dyn Vfs, dir: &Path, is_ours: impl Fn(&str) -> bool) -> Result<u64> {
    let entries = vfs.list(dir).map_err(|error| storage_error("list", dir, error))?;
    let ours = |entry: &&DirEntry| entry.kind == FileKind::File && entry.name.to_str().is_some_and(&is_ours);
    let mut removed = 0;
    for entry in entries.iter().filter(ours) {
        let path = dir.join(&entry.name);
        if vfs.is_being_written(&path).unwrap_or(true) {
            continue;
        }
        match vfs.remove(&path) {
            Ok(()) => removed += 1,
            // By who wrote it, and was done or gave up meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(storage_error("remove", &path, error)),
        }
    }
    Ok(removed)
}

// A directory for a moment, for code that only knows paths.

/// A directory of its own below the system's one for temporary files, for its owner alone. It is gone with everything in
/// it when this is dropped, also by a panic; only a kill leaves it.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    path: PathBuf,
    vfs: RealVfs,
}

impl PrivateDir {
    /// # Errors
    /// Those of the file system.
    pub(crate) fn new() -> io::Result<Self> {
        let vfs = RealVfs::new();
        let path = vfs.canonical(&std::env::temp_dir())?.join(format!("cacheness-{}", unique_name()));
        vfs.make_dir(&path)?;
        Ok(Self { path, vfs })
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a file of what is read, for its owner alone.
    ///
    /// # Errors
    /// Those of the file system, and of the reader.
    pub(crate) fn fill(&self, path: &Path, from: &mut dyn io::Read) -> io::Result<()> {
        let mut file = self.vfs.create_new(path)?;
        io::copy(from, &mut file)?;
        file.flush()
    }

    /// Copies a file, which must be one: no link, no pipe.
    ///
    /// # Errors
    /// Those of the file system, and of the writer.
    pub(crate) fn copy_out(&self, path: &Path, to: &mut dyn io::Write) -> io::Result<()> {
        io::copy(&mut self.vfs.open(path)?, to).map(drop)
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // Of links in it, the links go and not what they point to.
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            log::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::storage::vfs::root::prepare_root;
    use crate::storage::vfs::{Fault, Repeat, SimVfs, read_whole};

    fn prepared() -> (SimVfs, PathBuf) {
        let vfs = SimVfs::new();
        let root = prepare_root(&vfs, Path::new("/cache")).unwrap();
        (vfs, root)
    }

    #[test]
    fn a_published_file_is_its_parts_in_order_whether_small_or_large() {
        let (vfs, root) = prepared();
        for size in [0, 10, ONE_WRITE, ONE_WRITE * 2] {
            let body = vec![7; size];
            publish(&vfs, &root, &root.join("file"), &[b"head", &body, b"tail"], Durability::Interval).unwrap();
            let found = read_whole(&vfs, &root.join("file"), u64::MAX).unwrap().unwrap();
            assert_eq!(found, [b"head".as_slice(), &body, b"tail"].concat());
        }
        assert_eq!(vfs.list(&root.join(STAGING)).unwrap(), []);
    }

    #[test]
    fn a_failure_at_any_call_keeps_the_old_file_and_leaves_no_staging_file() {
        for call in 0.. {
            let (vfs, root) = prepared();
            let target = root.join("file");
            publish(&vfs, &root, &target, &[b"old"], Durability::Immediate).unwrap();
            vfs.fail_at(call, Fault::Kind(io::ErrorKind::StorageFull), Repeat::Once);
            let result = publish(&vfs, &root, &target, &[b"new"], Durability::Immediate);
            let failed = vfs.clear_faults();
            assert_eq!(failed, result.is_err(), "call {call}: {result:?}");
            assert_eq!(vfs.list(&root.join(STAGING)).unwrap(), [], "call {call}");
            let found = read_whole(&vfs, &target, 10).unwrap().unwrap();
            assert!(found == b"old" || found == b"new", "call {call}: {found:?}");
            if !failed {
                assert_eq!((found.as_slice(), call), (b"new".as_slice(), 5), "create, write, sync, rename, sync");
                break;
            }
        }
    }

    #[test]
    fn a_file_that_is_being_written_is_not_taken_for_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let (vfs, root) = (crate::storage::vfs::RealVfs::new(), dir.path().canonicalize().unwrap());
        prepare_root(&vfs, &root).unwrap();
        let mut staged = Staged::create(&vfs, &root).unwrap();
        staged.write(b"half").unwrap();
        assert_eq!(remove_left_over(&vfs, &root, &[]).unwrap(), 0);
        staged.commit(&root.join("file"), Durability::Immediate).unwrap();
        let left = root.join(STAGING).join(unique_name() + SUFFIX);
        std::fs::write(&left, "of a process that is gone").unwrap();
        assert_eq!(remove_left_over(&vfs, &root, &[]).unwrap(), 1);
    }

    #[test]
    fn a_file_that_is_gone_before_it_is_removed_was_no_left_over() {
        for call in 0.. {
            let (vfs, root) = prepared();
            drop(vfs.create_new(&root.join(STAGING).join(unique_name() + SUFFIX)).unwrap());
            vfs.fail_at(call, Fault::Kind(io::ErrorKind::NotFound), Repeat::Once);
            match remove_left_over(&vfs, &root, &[]) {
                Ok(removed) if !vfs.clear_faults() => {
                    assert!(removed == 1 && call > 2, "{call}");
                    break;
                }
                Ok(removed) => assert_eq!(removed, 0),
                Err(error) => assert!(error.to_string().contains("cannot list"), "{error}"),
            }
        }
    }

    #[test]
    fn staging_is_emptied_of_our_own_files_only() {
        let (vfs, root) = prepared();
        let staging = root.join(STAGING);
        drop(vfs.create_new(&staging.join(unique_name() + SUFFIX)).unwrap());
        let foreign = ["notes.part", "0123.part", &unique_name()];
        foreign.iter().for_each(|name| drop(vfs.create_new(&staging.join(name)).unwrap()));
        vfs.make_dir(&staging.join(unique_name() + SUFFIX)).unwrap();
        assert_eq!(remove_left_over(&vfs, &root, &[]).unwrap(), 1);
        assert_eq!(vfs.list(&staging).unwrap().len(), foreign.len() + 1);
    }

    #[test]
    fn a_private_directory_is_gone_with_what_is_in_it_also_after_a_panic() {
        let mut path = None;
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let dir = PrivateDir::new().unwrap();
            let file = path.insert(dir.join("file"));
            dir.fill(file, &mut &b"content"[..]).unwrap();
            std::fs::create_dir(dir.join("below")).unwrap();
            assert_eq!(std::fs::read(file).unwrap(), b"content");
            panic!("on purpose");
        }));
        let path = path.unwrap();
        assert!(panicked.is_err() && !path.exists() && !path.parent().unwrap().exists());
    }

    #[cfg(unix)]
    #[test]
    fn directory_and_file_are_for_their_owner_alone_and_a_link_is_not_read() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = PrivateDir::new().unwrap();
        let file = dir.join("file");
        dir.fill(&file, &mut &b"content"[..]).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&dir.path), mode(&file)), (0o700, 0o600));
        let link = dir.join("link");
        symlink(&file, &link).unwrap();
        assert!(dir.fill(&file, &mut io::empty()).is_err(), "nothing is written over");
        let mut taken = Vec::new();
        assert!(dir.copy_out(&link, &mut taken).is_err() && taken.is_empty());
        dir.copy_out(&file, &mut taken).unwrap();
        assert_eq!(taken, b"content");
    }
}
