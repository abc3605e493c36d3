//! The directory of a store, held open: it stays the same one, also when it is moved and another one takes its path.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::{self, Claimed, Kind};
use super::tags;
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::vfs::root::{check, find_root, make_rooms};
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
        if manifest::claim(&vfs, &root, kind)? == Claimed::Now && kind == Kind::Cache {
            tags::write(&vfs, &root);
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
