//! The digest of a directory: kind, name and content of each entry, sorted by name.

use std::ffi::OsString;
use std::fs::{self, DirEntry, Metadata};
use std::path::Path;

use super::{Content, file, ours, special, unreadable};
use crate::digest::{Identity, IdentityHasher};
use crate::error::{CacheError, ErrorKind, Result};
use crate::key::VerifyPaths;

/// Deepest nesting of directories: a bound on the stack.
const MAX_DEPTH: usize = 128;

struct Item {
    name: OsString,
    found: Metadata,
}

/// The digest of the directory that an argument names, whatever it is.
pub(super) fn digest(path: &Path, verify: VerifyPaths) -> Result<Identity> {
    listing(path, &items(path)?, 0, verify)
}

/// The digest of a directory inside another one. `None` if it is that of a cache: what a call stores there must not
/// change the key of the next one.
fn inner(path: &Path, depth: usize, verify: VerifyPaths) -> Result<Option<Identity>> {
    if depth >= MAX_DEPTH {
        let message = format!("`{}` is nested deeper than {MAX_DEPTH} directories", path.display());
        return Err(CacheError::new(ErrorKind::Limit, message));
    }
    let items = items(path)?;
    if items.iter().any(|item| item.name == ours::MANIFEST) && ours::is_one(path) {
        return Ok(None);
    }
    listing(path, &items, depth, verify).map(Some)
}

fn items(path: &Path) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| unreadable(path, error))? {
        items.push(item(path, entry.map_err(|error| unreadable(path, error))?)?);
    }
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

fn listing(path: &Path, items: &[Item], depth: usize, verify: VerifyPaths) -> Result<Identity> {
    let mut listing = IdentityHasher::new();
    let mut entry = path.join("entry");
    for Item { name, found } in items {
        entry.set_file_name(name);
        let content = if found.is_symlink() {
            append_link(&mut listing, name.as_encoded_bytes(), &entry)?;
            continue;
        } else if found.is_dir() {
            let Some(digest) = inner(&entry, depth + 1, verify)? else { continue };
            Content::Directory(digest)
        } else if found.is_file() {
            Content::File(file::digest(&entry, found, verify)?)
        } else {
            return Err(special(&entry));
        };
        listing.update(&[content.kind()]);
        append_sized(&mut listing, name.as_encoded_bytes());
        listing.update(content.digest());
    }
    Ok(listing.finish())
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
