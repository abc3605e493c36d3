//! The digest of a directory: kind, name and content of each entry, sorted by name.

use std::ffi::OsString;
use std::fs::{self, DirEntry, Metadata};
use std::path::{Path, PathBuf};
use std::{io, iter};

use super::{Content, file, ours, special, unreadable};
use crate::config::VerifyPaths;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest::{Identity, IdentityHasher};
use crate::util::threads;

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
pub(super) fn digest(path: &Path, verify: VerifyPaths) -> Result<Identity> {
    listing(path, &items(path)?, 0, verify)
}

/// The digest of a directory inside another one. What a cache keeps there is left out, for what a call stores must not
/// change the key of the next one; `None` if there is nothing else.
fn inner(path: &Path, depth: usize, verify: VerifyPaths) -> Result<Option<Identity>> {
    if depth >= MAX_DEPTH {
        let message = format!("`{}` is nested deeper than {MAX_DEPTH} directories", path.display());
        return Err(CacheError::new(ErrorKind::Limit, message));
    }
    let mut items = items(path)?;
    if items.iter().any(|item| item.name == ours::MANIFEST) && ours::is_one(path) {
        items.retain(|item| !ours::is_name(&item.name) && !ours::is_tag(path, &item.name));
        if items.is_empty() {
            return Ok(None);
        }
    }
    listing(path, &items, depth, verify).map(Some)
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

fn listing(path: &Path, items: &[Item], depth: usize, verify: VerifyPaths) -> Result<Identity> {
    let directories = items.iter().filter(|item| item.found.is_dir()).count();
    let both = depth == 0 && directories >= MANY_DIRECTORIES;
    let contents = threads::each(
        items,
        both,
        || path.join("entry"),
        |entry, Item { name, found }| {
            entry.set_file_name(name);
            content(entry, found, depth, verify)
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

fn content(entry: &Path, found: &Metadata, depth: usize, verify: VerifyPaths) -> Result<Inside> {
    if found.is_symlink() {
        fs::read_link(entry).map(Inside::Link).map_err(|error| unreadable(entry, error))
    } else if found.is_dir() {
        let digest = inner(entry, depth + 1, verify)?;
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
