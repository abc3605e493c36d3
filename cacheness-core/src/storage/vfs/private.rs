//! A directory for a moment, for code that only knows paths.

use std::io;
use std::path::{Path, PathBuf};

use super::{RealVfs, Vfs};
use crate::util::digest::unique_name;

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
