//! File calls of systems that are not Unix, by the standard library alone.
//!
//! A link at the end of a path is refused by a look before the call; there is no way here to make the two one step.

use std::fs::{self, File, FileType, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::{DirEntry, FileKind, Metadata, not_regular};
use crate::clock::Timestamp;

/// The only way there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sys;

/// A path as it is: there is no handle to begin at.
#[cfg(not(unix))]
pub(super) struct At;

#[cfg(not(unix))]
impl At {
    pub(super) fn path(path: &Path) -> &Path {
        path
    }
}

/// A directory by its path.
#[derive(Debug)]
#[cfg_attr(unix, allow(dead_code, reason = "the tests of Unix compile this file, too"))]
pub(super) struct Home {
    root: PathBuf,
}

#[cfg_attr(unix, allow(dead_code, reason = "the tests of Unix compile this file, too"))]
impl Home {
    pub(super) fn open(_: Sys, root: &Path) -> io::Result<Self> {
        Ok(Self { root: root.to_path_buf() })
    }

    pub(super) fn at<'a>(&'a self, path: &'a Path) -> &'a Path {
        path
    }

    pub(super) fn identity(&self) -> io::Result<super::DirId> {
        Ok(super::DirId::Path(self.root.clone()))
    }

    pub(super) fn way(&self) -> Option<PathBuf> {
        None
    }
}

impl Sys {
    pub(super) fn strictest() -> Self {
        Self
    }

    pub(super) fn open(self, path: &Path) -> io::Result<File> {
        self.refuse_all_but_files(path)?;
        File::open(path)
    }

    pub(super) fn open_to_sync(self, path: &Path) -> io::Result<File> {
        self.refuse_all_but_files(path)?;
        OpenOptions::new().write(true).open(path)
    }

    pub(super) fn create_new(self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    pub(super) fn open_lock(self, path: &Path) -> io::Result<File> {
        match self.refuse_all_but_files(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path),
        }
    }

    /// Directories cannot be locked here.
    #[cfg_attr(unix, allow(dead_code, reason = "the tests of Unix compile this file, too"))]
    pub(super) fn open_parent(self, _: &Path) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The standard library cannot tell one file from another here: of two processes that lock a file as it is replaced, both
    /// may go on.
    #[cfg_attr(unix, allow(dead_code, reason = "the tests of Unix compile this file, too"))]
    pub(super) fn is_at(self, _: &File, path: &Path) -> io::Result<bool> {
        Ok(path.exists())
    }

    pub(super) fn rename(self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    pub(super) fn rename_new(self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)?;
        fs::remove_file(from)
    }

    pub(super) fn remove(self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    pub(super) fn make_dir(self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    pub(super) fn remove_dir(self, path: &Path) -> io::Result<()> {
        if self.metadata(path)?.kind != FileKind::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        fs::remove_dir(path)
    }

    /// Such systems offer no sync of a directory; the rename itself is journaled.
    pub(super) fn sync_dir(self, path: &Path) -> io::Result<()> {
        self.metadata(path).map(drop)
    }

    pub(super) fn metadata(self, path: &Path) -> io::Result<Metadata> {
        let metadata = fs::symlink_metadata(path)?;
        let modified = metadata.modified().ok().map(Timestamp::from);
        Ok(Metadata { kind: kind_of(metadata.file_type()), len: metadata.len(), owner: None, modified })
    }

    pub(super) fn list(self, path: &Path) -> io::Result<Vec<DirEntry>> {
        if self.metadata(path)?.kind != FileKind::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let entry = |found: fs::DirEntry| Ok(DirEntry { name: found.file_name(), kind: kind_of(found.file_type()?) });
        fs::read_dir(path)?.map(|found| found.and_then(entry)).collect()
    }

    fn refuse_all_but_files(self, path: &Path) -> io::Result<()> {
        if self.metadata(path)?.kind == FileKind::File { Ok(()) } else { Err(not_regular()) }
    }
}

/// Nothing that could be asked here.
#[cfg_attr(unix, allow(dead_code, reason = "the tests of Unix compile this file, too"))]
pub(super) fn owner(_: &fs::Metadata) -> Option<super::Owner> {
    None
}

fn kind_of(kind: FileType) -> FileKind {
    if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Dir
    } else if kind.is_symlink() {
        FileKind::Link
    } else {
        FileKind::Other
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_and_directories_are_refused_here_too() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, sub] = ["file", "link", "sub"].map(|name| dir.path().join(name));
        let sys = Sys::strictest();
        drop(sys.create_new(&file).unwrap());
        sys.make_dir(&sub).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(sys.open(&file).is_ok() && sys.open_to_sync(&file).is_ok() && sys.open_lock(&file).is_ok());
        for path in [&link, &sub] {
            assert!(sys.open(path).is_err() && sys.open_to_sync(path).is_err() && sys.open_lock(path).is_err());
        }
        assert_eq!(sys.list(dir.path()).unwrap().len(), 3);
        assert!(sys.list(&link).is_err() && sys.sync_dir(&sub).is_ok());
        sys.rename(&file, &sub.join("file")).unwrap();
        drop(sys.create_new(&file).unwrap());
        assert_eq!(sys.rename_new(&file, &sub.join("file")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        sys.rename_new(&file, &sub.join("other")).unwrap();
        assert_eq!((sys.list(&sub).unwrap().len(), file.exists()), (2, false));
        sys.remove(&sub.join("file")).unwrap();
        assert!(sys.remove_dir(&sub).is_err() && sys.remove_dir(&link).is_err());
        sys.remove(&sub.join("other")).unwrap();
        sys.remove_dir(&sub).unwrap();
    }
}
