//! Writing a file anew whose sync failed.
//!
//! After such a failure a system may take what it could not write for written: the next sync of the file succeeds and
//! means nothing. So it is not asked again. What the file says goes into another one, which is synced and takes its place.

use std::io;
use std::path::Path;

use crate::config::Durability;
use crate::error::Result;
use crate::storage::vfs::publish::Staged;
use crate::storage::vfs::read::open_regular;
use crate::storage::vfs::{ReadFile, Vfs, storage_error};

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
