//! What lies at a path, as a digest that does not depend on where the path is.

mod directory;
mod file;
mod ours;
mod remembered;

use std::fs;
use std::io::{self, ErrorKind as IoKind};
use std::path::Path;

use crate::config::VerifyPaths;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest::Identity;

#[cfg(test)]
pub(super) use file::READS;

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Missing,
    /// BLAKE3 of the bytes.
    File(Identity),
    /// BLAKE3 of the listing: kind, name and content of each entry, sorted by name.
    Directory(Identity),
}

impl Content {
    /// Stands in place of a [`kind`](Self::kind) where a path is keyed by its text.
    pub(super) const NAMED: u8 = 3;

    /// Kind of an entry of a directory that is keyed by the text of its target.
    const LINK: u8 = 4;

    /// What lies at `path`, following links.
    ///
    /// # Errors
    ///
    /// `Storage` if something cannot be read, or is neither a file nor a directory; `Limit` if directories are nested
    /// too deeply.
    pub(crate) fn of(path: &Path, verify: VerifyPaths) -> Result<Self> {
        match fs::metadata(path) {
            Err(error) if is_absence(&error) => Ok(Self::Missing),
            Err(error) => Err(unreadable(path, error)),
            Ok(found) if found.is_dir() => {
                ours::tell_if_inside(path);
                directory::digest(path, verify).map(Self::Directory)
            }
            Ok(found) if found.is_file() => file::digest(path, &found, verify).map(Self::File),
            Ok(_) => Err(special(path)),
        }
    }

    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Missing => 0,
            Self::File(_) => 1,
            Self::Directory(_) => 2,
        }
    }

    pub(super) fn digest(&self) -> &[u8] {
        match self {
            Self::Missing => &[],
            Self::File(digest) | Self::Directory(digest) => digest,
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), IoKind::NotFound | IoKind::NotADirectory)
}

fn unreadable(path: &Path, cause: io::Error) -> CacheError {
    let message = format!(
        "`{}` counts by its content and cannot be read ({cause}): \
         make it readable, or key it by its text with `hash_path_content = false`",
        path.display()
    );
    CacheError::caused_by(ErrorKind::Storage, message, cause)
}

fn special(path: &Path) -> CacheError {
    let message = format!(
        "`{}` counts by its content, but is neither a file nor a directory: \
         it can only be part of a key by its text, with `hash_path_content = false`",
        path.display()
    );
    CacheError::new(ErrorKind::Storage, message)
}
