//! What lies at a path, as a digest that does not depend on where the path is.

use std::fs::{self, File};
use std::io::{self, ErrorKind as IoKind, Read};
use std::path::Path;

use crate::digest::{Identity, IdentityHasher};
use crate::error::{CacheError, ErrorKind, Result};

/// Deepest nesting of directories: a bound on the stack.
const MAX_DEPTH: usize = 128;

const READ_LEN: usize = 64 << 10;

/// What lies at a path.
#[derive(Debug, PartialEq, Eq)]
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

    /// Reads what lies at `path`, following links.
    ///
    /// # Errors
    ///
    /// `Storage` if something cannot be read, or is neither a file nor a directory; `Limit` if directories are nested
    /// too deeply.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        match fs::metadata(path) {
            Err(error) if is_absence(&error) => Ok(Self::Missing),
            Err(error) => Err(unreadable(path, error)),
            Ok(found) if found.is_dir() => directory(path, 0).map(Self::Directory),
            Ok(found) if found.is_file() => file(path).map(Self::File),
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

fn file(path: &Path) -> Result<Identity> {
    let mut file = open(path).map_err(|error| unreadable(path, error))?;
    // It may have become a pipe since somebody looked.
    if !file.metadata().map_err(|error| unreadable(path, error))?.is_file() {
        return Err(special(path));
    }
    stream(&mut file).map_err(|error| unreadable(path, error))
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // Opening a pipe would wait for its writer.
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

fn stream(file: &mut File) -> io::Result<Identity> {
    let mut hasher = IdentityHasher::new();
    let mut buffer = vec![0; READ_LEN];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == IoKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn directory(path: &Path, depth: usize) -> Result<Identity> {
    if depth >= MAX_DEPTH {
        let message = format!("`{}` is nested deeper than {MAX_DEPTH} directories", path.display());
        return Err(CacheError::new(ErrorKind::Limit, message));
    }
    let mut names = names(path).map_err(|error| unreadable(path, error))?;
    names.sort_unstable_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    let mut listing = IdentityHasher::new();
    for name in &names {
        append_entry(&mut listing, name.as_encoded_bytes(), &path.join(name), depth)?;
    }
    Ok(listing.finish())
}

fn names(path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
}

fn append_entry(listing: &mut IdentityHasher, name: &[u8], path: &Path, depth: usize) -> Result<()> {
    let found = fs::symlink_metadata(path).map_err(|error| unreadable(path, error))?;
    let content = if found.is_symlink() {
        return append_link(listing, name, path);
    } else if found.is_dir() {
        Content::Directory(directory(path, depth + 1)?)
    } else if found.is_file() {
        Content::File(file(path)?)
    } else {
        return Err(special(path));
    };
    listing.update(&[content.kind()]);
    append_sized(listing, name);
    listing.update(content.digest());
    Ok(())
}

/// A link in a directory counts by the text of its target: what it leads to may lie outside, or above.
fn append_link(listing: &mut IdentityHasher, name: &[u8], path: &Path) -> Result<()> {
    let target = fs::read_link(path).map_err(|error| unreadable(path, error))?;
    listing.update(&[Content::LINK]);
    append_sized(listing, name);
    append_sized(listing, target.as_os_str().as_encoded_bytes());
    Ok(())
}

fn append_sized(listing: &mut IdentityHasher, bytes: &[u8]) {
    listing.update(&(bytes.len() as u64).to_le_bytes());
    listing.update(bytes);
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
