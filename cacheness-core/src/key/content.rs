//! What lies at a path, as a digest that does not depend on where the path is; hashes and sizes of contents, for whoever
//! names or measures things as the cache does.

mod file;

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, ErrorKind as IoKind, Read};
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::config::{Limits, VerifyPaths};
use crate::error::{CacheError, ErrorKind, Result};
use crate::key::{KeyWriter, ToKey};
use crate::storage::vfs::root;
use crate::util::digest::{self, Identity, IdentityHasher, hex};
use crate::util::{self, threads};
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
                warn_if_inside_cache(path);
                directory_digest(path, verify).map(Self::Directory)
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

// Directories that belong to a cache or a blob store.

/// Whether a directory says of itself that it is one of ours. Its name alone proves nothing.
fn is_our_directory(directory: &Path) -> bool {
    read_manifest(directory).as_deref().and_then(root::manifest_body).and_then(root::manifest_format).is_some()
}

/// Whether something in such a directory is ours by its name. All else there is its owner's.
fn is_our_name(name: &OsStr) -> bool {
    name == root::MANIFEST || root::OTHER_NAMES.iter().any(|ours| name == *ours)
}

/// Whether something in such a directory is a tag as we write it. One that says something else is its owner's.
fn is_our_tag(directory: &Path, name: &OsStr) -> bool {
    let tag = root::TAGS.iter().find(|(tag, _)| name == *tag);
    tag.is_some_and(|(_, text)| read_start(&directory.join(name)).as_deref() == Some(*text))
}

fn read_manifest(directory: &Path) -> Option<String> {
    read_start(&directory.join(root::MANIFEST))
}

fn read_start(path: &Path) -> Option<String> {
    // Opening a pipe would wait for its writer.
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(root::MAX_MANIFEST_LEN).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Tells once that an argument is the directory of a cache, or lies in one: it counts by its content as any other does,
/// but that of a cache in use changes with every call.
fn warn_if_inside_cache(directory: &Path) {
    static TOLD: Once = Once::new();
    if TOLD.is_completed() {
        return;
    }
    let Ok(real) = fs::canonicalize(directory) else { return };
    if let Some(cache) = real.ancestors().find(|above| is_our_directory(above)) {
        TOLD.call_once(|| {
            util::emit(&format!(
                "cacheness: `{}` counts by its content and lies in the cache directory `{}`: while that is in use, every \
                 put changes the key and nothing is found again; leave it out with `skip(..)`, or name another directory",
                directory.display(),
                cache.display()
            ));
        });
    }
}

// The digest of a directory: kind, name and content of each entry, sorted by name.

/// Deepest nesting of directories: a bound on the stack.
const MAX_DEPTH: usize = 128;

/// From so many entries on two threads look at them.
const MANY_ENTRIES: usize = 1000;
/// From so many directories on two threads walk them.
const MANY_DIRECTORIES: usize = 16;

struct Item {
    name: OsString,
    found: Metadata,
}

/// The digest of the directory that an argument names, whatever it is.
fn directory_digest(path: &Path, verify: VerifyPaths) -> Result<Identity> {
    listing_digest(path, &items(path)?, 0, verify)
}

/// The digest of a directory inside another one. What a cache keeps there is left out, for what a call stores must not
/// change the key of the next one; `None` if there is nothing else.
fn inner_digest(path: &Path, depth: usize, verify: VerifyPaths) -> Result<Option<Identity>> {
    if depth >= MAX_DEPTH {
        let message = format!("`{}` is nested deeper than {MAX_DEPTH} directories", path.display());
        return Err(CacheError::new(ErrorKind::Limit, message));
    }
    let mut items = items(path)?;
    if items.iter().any(|item| item.name == root::MANIFEST) && is_our_directory(path) {
        items.retain(|item| !is_our_name(&item.name) && !is_our_tag(path, &item.name));
        if items.is_empty() {
            return Ok(None);
        }
    }
    listing_digest(path, &items, depth, verify).map(Some)
}

fn items(path: &Path) -> Result<Vec<Item>> {
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.map_err(|error| unreadable(path, error))?;
    let mut items = if entries.len() >= MANY_ENTRIES {
        let parts: Vec<Vec<DirEntry>> =
            iter::from_fn(|| (!entries.is_empty()).then(|| entries.split_off(entries.len().saturating_sub(100))))
                .collect();
        let look = |(): &mut (), part: Vec<DirEntry>| part.into_iter().map(|entry| item(path, entry)).collect();
        threads::each(parts, true, || (), look)?.into_iter().flat_map(|part: Vec<Item>| part).collect()
    } else {
        entries.into_iter().map(|entry| item(path, entry)).collect::<Result<Vec<_>>>()?
    };
    items.sort_unstable_by(|a, b| a.name.as_encoded_bytes().cmp(b.name.as_encoded_bytes()));
    Ok(items)
}

/// Links are not followed.
fn item(directory: &Path, entry: DirEntry) -> Result<Item> {
    let name = entry.file_name();
    match entry.metadata() {
        Ok(found) => Ok(Item { name, found }),
        Err(error) => Err(unreadable(&directory.join(name), error)),
    }
}

fn listing_digest(path: &Path, items: &[Item], depth: usize, verify: VerifyPaths) -> Result<Identity> {
    let directories = items.iter().filter(|item| item.found.is_dir()).count();
    let both = depth == 0 && directories >= MANY_DIRECTORIES;
    let contents = threads::each(
        items,
        both,
        || path.join("entry"),
        |entry, Item { name, found }| {
            entry.set_file_name(name);
            entry_content(entry, found, depth, verify)
        },
    )?;
    let mut listing = IdentityHasher::new();
    for (Item { name, .. }, content) in items.iter().zip(contents) {
        let name = name.as_encoded_bytes();
        match content {
            Inside::Content(content) => {
                listing.update(&[content.kind()]);
                append_sized(&mut listing, name);
                listing.update(content.digest());
            }
            Inside::Link(target) => {
                listing.update(&[Content::LINK]);
                append_sized(&mut listing, name);
                append_sized(&mut listing, target.as_os_str().as_encoded_bytes());
            }
            Inside::LeftOut => {}
        }
    }
    Ok(listing.finish())
}

/// What an entry of a directory counts by.
enum Inside {
    Content(Content),
    /// The text of its target: what it leads to may lie outside, or above.
    Link(PathBuf),
    LeftOut,
}

fn entry_content(entry: &Path, found: &Metadata, depth: usize, verify: VerifyPaths) -> Result<Inside> {
    if found.is_symlink() {
        fs::read_link(entry).map(Inside::Link).map_err(|error| unreadable(entry, error))
    } else if found.is_dir() {
        let digest = inner_digest(entry, depth + 1, verify)?;
        Ok(digest.map_or(Inside::LeftOut, |digest| Inside::Content(Content::Directory(digest))))
    } else if found.is_file() {
        file::digest(entry, found, verify).map(|digest| Inside::Content(Content::File(digest)))
    } else {
        Err(special(entry))
    }
}

fn append_sized(listing: &mut IdentityHasher, bytes: &[u8]) {
    listing.update(&(bytes.len() as u64).to_le_bytes());
    listing.update(bytes);
}

// Hashes and sizes for users.

/// Sets directories apart from files that have the bytes of a listing in them. Part of every hash: never changed.
const DIRECTORY: &str = "cacheness 2026-11-24 hash of a directory";

/// The hash of any content as 64 hexadecimal digits: BLAKE3 of its canonical encoding as a key.
///
/// The same value has the same hash in every process and on every machine, and values or types that differ have different
/// ones, also chosen ones: a hash can stand for its content. A type that only implements `serde::Serialize` is wrapped in
/// [`SerdeKey`](crate::SerdeKey). A [`Path`] counts by what lies there, as in keys; [`hash_file_path`] is for files alone.
/// Content of any size is hashed; it is not held twice.
///
/// # Errors
/// [`Serialization`](ErrorKind::Serialization) if it cannot be encoded, [`Limit`](ErrorKind::Limit) if it is nested deeper
/// than 128 values, [`Storage`](ErrorKind::Storage) if it contains a path that cannot be read.
///
/// ```
/// use cacheness::key::SerdeKey;
/// use cacheness::hash_content;
///
/// #[derive(serde::Serialize)]
/// struct City { name: &'static str }
///
/// assert_eq!(hash_content("London")?, hash_content(&String::from("London"))?);
/// assert_ne!(hash_content(&("ab", "c"))?, hash_content(&("a", "bc"))?);
/// assert_ne!(hash_content(&1)?, hash_content(&1.0)?);
/// assert_eq!(hash_content(&SerdeKey(City { name: "London" }))?.len(), 64);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
pub fn hash_content<T: ToKey + ?Sized>(content: &T) -> Result<String> {
    let limits = Limits { max_key_bytes: u64::MAX, ..Limits::DEFAULT };
    let key = content.to_key_with(KeyWriter::with_limits(&limits)).resolve()?;
    Ok(hex(&key.digest()))
}

/// The hash of what lies at a path, as 64 hexadecimal digits.
///
/// Of a file it is BLAKE3 of its bytes, as `b3sum` prints it. Of a directory it is a hash of the relative names and the
/// contents of everything in it, sorted by name, wherever the directory lies; a link inside counts by the text of its
/// target. Directories of caches and blob stores inside of it are left out. An empty directory has a hash of its own, and
/// every empty directory the same. What lies there is read at every call.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) naming what does not exist, cannot be read, or is neither a file nor a directory;
/// [`Limit`](ErrorKind::Limit) if directories are nested too deeply.
///
/// ```
/// use cacheness::hash_file_path;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = std::env::temp_dir().join(format!("cacheness-doc-hash-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// std::fs::write(dir.join("one.csv"), "a,b")?;
/// std::fs::write(dir.join("two.csv"), "a,b")?;
/// assert_eq!(hash_file_path(dir.join("one.csv"))?, hash_file_path(dir.join("two.csv"))?);
/// assert!(hash_file_path(dir.join("three.csv")).is_err());
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok(())
/// # }
/// ```
pub fn hash_file_path(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    match Content::of(path, VerifyPaths::Always)? {
        Content::Missing => Err(missing(path, None)),
        Content::File(digest) => Ok(hex(&digest)),
        Content::Directory(digest) => Ok(hex(&digest::identity_within(DIRECTORY, &digest))),
    }
}

/// What a file takes, in megabytes of 1,048,576 bytes.
///
/// Of a directory it is the sum of all files below it, by their length and not by the blocks of the file system. A link
/// is followed if it is the path itself; inside a directory links, pipes and the directories themselves count nothing.
/// What is removed while it is counted does not count.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) naming what does not exist or cannot be read.
///
/// ```
/// use cacheness::get_size_mb;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let file = std::env::temp_dir().join(format!("cacheness-doc-size-{}", std::process::id()));
/// std::fs::write(&file, vec![0; 524_288])?;
/// assert_eq!(get_size_mb(&file)?, 0.5);
/// # std::fs::remove_file(&file)?;
/// # Ok(())
/// # }
/// ```
pub fn get_size_mb(path: impl AsRef<Path>) -> Result<f64> {
    let path = path.as_ref();
    let found = fs::metadata(path).map_err(|error| cannot_read(path, error))?;
    let bytes = if found.is_dir() { size_below(path)? } else { found.len() };
    Ok(bytes as f64 / f64::from(1u32 << 20))
}

fn size_below(top: &Path) -> Result<u64> {
    let (mut total, mut left) = (0u64, vec![top.to_owned()]);
    while let Some(dir) = left.pop() {
        match add_files(&dir, &mut total, &mut left) {
            Err(error) if error.kind() == IoKind::NotFound && dir != top => {}
            counted => counted.map_err(|error| cannot_read(&dir, error))?,
        }
    }
    Ok(total)
}

fn add_files(dir: &Path, total: &mut u64, left: &mut Vec<PathBuf>) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let item = item?;
        match item.metadata() {
            Ok(found) if found.is_dir() => left.push(item.path()),
            Ok(found) if found.is_file() => *total = total.saturating_add(found.len()),
            Ok(_) => {}
            Err(error) if error.kind() == IoKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn cannot_read(path: &Path, cause: io::Error) -> CacheError {
    if cause.kind() == IoKind::NotFound {
        return missing(path, Some(cause));
    }
    let message = format!("`{}` cannot be read ({cause}): make it readable", path.display());
    CacheError::caused_by(ErrorKind::Storage, message, cause)
}

fn missing(path: &Path, cause: Option<io::Error>) -> CacheError {
    let message = format!("there is no file or directory `{}`: check the path", path.display());
    match cause {
        Some(cause) => CacheError::caused_by(ErrorKind::Storage, message, cause),
        None => CacheError::new(ErrorKind::Storage, message),
    }
}

#[cfg(test)]
mod tests;
