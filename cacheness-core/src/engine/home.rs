//! The directory of a store, held open: it stays the same one, also when it is moved and another one takes its path.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::{self, Claimed, Kind, MANIFEST};
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::vfs::root::{OTHER_NAMES, TAGS, check, find_root, make_rooms};
use crate::storage::vfs::{DirId, RealVfs, Vfs, storage_error};

/// A directory that is known to be one of cacheness, and may be used.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    vfs: Arc<RealVfs>,
    root: PathBuf,
    id: DirId,
    kind: Kind,
}

/// Makes a cache directory where it is missing, and checks that it is ours and safe to use. Nothing is changed in one that
/// is not.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) if it cannot be made, must not be used, or something is in the way;
/// [`Conflict`](ErrorKind::Conflict) if another release wrote it, or it belongs to a blob store.
pub(crate) fn prepare(dir: &Path) -> Result<Home> {
    Home::prepare(Kind::Cache, dir)
}

impl Home {
    /// [`prepare`] for a directory of either kind.
    pub(crate) fn prepare(kind: Kind, dir: &Path) -> Result<Self> {
        let root = find_root(&RealVfs::new(), dir)?;
        let open = || RealVfs::at_home(&root).and_then(|vfs| Ok((vfs.home_id()?, vfs)));
        let (id, vfs) = open().map_err(|error| storage_error("open the directory", &root, error))?;
        // What was checked by its path may be another directory by now.
        check(&vfs, &root)?;
        if manifest::claim(&vfs, &root, kind)? == Claimed::Now && kind != Kind::BlobStore {
            write_tags(&vfs, &root);
        }
        make_rooms(&vfs, &root)?;
        Ok(Self { vfs: Arc::new(vfs), root, id, kind })
    }

    /// Its path when it was opened, without links.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Tells it from all other directories, whatever their paths.
    pub(crate) fn id(&self) -> &DirId {
        &self.id
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn vfs(&self) -> Arc<dyn Vfs> {
        Arc::clone(&self.vfs) as Arc<dyn Vfs>
    }

    /// A path that leads to it, for code that only knows paths.
    pub(crate) fn way(&self) -> PathBuf {
        self.vfs.way_home().unwrap_or_else(|| self.root.clone())
    }

    /// Whether it is still the directory that had this manifest: where directories can be found by their path alone, another
    /// one may have taken it, and its contents may have been replaced.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) if it is not.
    pub(crate) fn check_is_still(&self, manifest: &str) -> Result<()> {
        let by_path = || RealVfs::at_home(&self.root).and_then(|vfs| vfs.home_id());
        let in_place = self.vfs.way_home().is_some() || by_path().is_ok_and(|id| id == self.id);
        if in_place && manifest::is_still(&*self.vfs, &self.root, manifest) {
            return Ok(());
        }
        let message = format!(
            "{} was replaced by another directory while it was in use: nothing is written into that one; open it again to \
             use it",
            self.root.display()
        );
        Err(CacheError::new(ErrorKind::Storage, message))
    }
}

// `CACHEDIR.TAG` and `.gitignore`: a directory that a cache has for itself is no matter of backups, nor of git.
//
// They are written once, when the directory becomes one of a cache. Who removes them or writes others does not find ours
// again.

/// Tags a directory that has just become one of a cache, if nothing of others is in it: what somebody keeps beside a cache
/// must not be left out of backups. A cache works as well without them, so that nothing that fails here is an error.
pub(crate) fn write_tags(vfs: &dyn Vfs, root: &Path) {
    if !is_alone(vfs, root).unwrap_or(false) {
        return;
    }
    for (name, text) in TAGS {
        let path = root.join(name);
        match write_new(vfs, &path, text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                log::debug!("{} is not written: {error}", path.display());
            }
            _ => {}
        }
    }
}

/// Whether everything in a directory has a name that a cache gives.
fn is_alone(vfs: &dyn Vfs, root: &Path) -> io::Result<bool> {
    Ok(vfs.list(root)?.iter().all(|entry| is_ours(&entry.name)))
}

fn is_ours(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    // Also the file beside it, of another process that wants to be the first.
    name.starts_with(MANIFEST) || OTHER_NAMES.contains(&name) || TAGS.iter().any(|(tag, _)| name == *tag)
}

fn write_new(vfs: &dyn Vfs, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = vfs.create_new(path)?;
    file.write_all(text).inspect_err(|_| {
        // Half a tag is none.
        let _ = vfs.remove(path);
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::blob_store::BlobStore;
    use crate::cache::Cache;
    use crate::storage::vfs::{Fault, Repeat, SimVfs};

    const TAG: &str = "CACHEDIR.TAG";

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("cache");
        (dir, place)
    }

    fn tags_in(dir: &Path) -> [bool; 2] {
        TAGS.map(|(name, _)| dir.join(name).exists())
    }

    #[test]
    fn a_directory_that_a_cache_makes_or_finds_empty_is_tagged_for_backups_and_for_git() {
        let (_dir, place) = place();
        for _ in 0..2 {
            Cache::open(&place).unwrap().close().unwrap();
            let tag = fs::read_to_string(place.join(TAG)).unwrap();
            assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"), "{tag}");
            assert!(tag.contains("cacheness") && tag.contains("https://bford.info/cachedir/"), "{tag}");
            assert!(fs::read_to_string(place.join(".gitignore")).unwrap().lines().any(|line| line == "*"));
            fs::remove_dir_all(&place).unwrap();
            fs::create_dir(&place).unwrap();
        }
    }

    #[test]
    fn what_is_there_is_not_written_over_and_what_was_removed_does_not_come_back() {
        let (_dir, place) = place();
        fs::create_dir(&place).unwrap();
        fs::write(place.join(".gitignore"), "*.log").unwrap();
        Cache::open(&place).unwrap().close().unwrap();
        assert_eq!(fs::read_to_string(place.join(".gitignore")).unwrap(), "*.log");
        assert_eq!(tags_in(&place), [true, true]);
        TAGS.iter().for_each(|(name, _)| fs::remove_file(place.join(name)).unwrap());
        Cache::open(&place).unwrap().close().unwrap();
        assert_eq!(tags_in(&place), [false, false]);
    }

    #[test]
    fn a_blob_store_is_not_tagged_nor_a_directory_with_files_of_others() {
        let (_dir, place) = place();
        BlobStore::open(&place).unwrap().close().unwrap();
        assert_eq!(tags_in(&place), [false, false], "a backup must have it");
        fs::remove_dir_all(&place).unwrap();
        fs::create_dir(&place).unwrap();
        fs::write(place.join("notes.txt"), "mine").unwrap();
        Cache::open(&place).unwrap().close().unwrap();
        assert_eq!(tags_in(&place), [false, false], "nor may the notes be left out");
    }

    #[test]
    fn a_directory_that_was_emptied_in_use_is_tagged_again() {
        let (_dir, place) = place();
        let cache = Cache::open(&place).unwrap();
        for item in fs::read_dir(&place).unwrap().map(|item| item.unwrap().path()) {
            if item.is_dir() { fs::remove_dir_all(item).unwrap() } else { fs::remove_file(item).unwrap() }
        }
        cache.put("large", &vec![7u8; 1 << 20]).unwrap();
        assert_eq!(tags_in(&place), [true, true]);
        drop(cache);
    }

    #[test]
    fn a_tag_that_cannot_be_written_is_no_error_and_leaves_no_half_of_it() {
        let root = Path::new("/cache");
        for call in 0..6 {
            let vfs = SimVfs::new();
            vfs.make_dir(root).unwrap();
            vfs.fail_at(call, Fault::Kind(io::ErrorKind::StorageFull), Repeat::Once);
            write_tags(&vfs, root);
            vfs.clear_faults();
            let whole = |(name, text): (&str, &str)| match vfs.metadata(&root.join(name)) {
                Ok(found) => found.len == text.len() as u64,
                Err(_) => true,
            };
            assert!(TAGS.into_iter().all(whole), "call {call}");
        }
    }

    #[test]
    fn tags_are_ours_to_the_key_of_a_directory_and_those_of_others_are_not() {
        use crate::key::ToKey;
        let (dir, place) = place();
        let project = dir.path();
        fs::write(project.join("main"), "code").unwrap();
        let before = project.to_key().unwrap();
        Cache::open(&place).unwrap().close().unwrap();
        assert_eq!(project.to_key().unwrap(), before);
        fs::write(place.join(".gitignore"), "*.log").unwrap();
        let with_other = project.to_key().unwrap();
        assert_ne!(with_other, before, "it says something of the project now");
        fs::write(place.join(".gitignore"), "*.tmp").unwrap();
        assert_ne!(project.to_key().unwrap(), with_other);
    }
}
