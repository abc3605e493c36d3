//! `cacheness.toml`: what a cache directory says of itself.

use std::path::Path;

use crate::config::Durability;
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::BlobName;
use crate::storage::vfs::publish::{publish, publish_new};

use crate::storage::vfs::root::{
    self, MANIFEST_COPY, MAX_MANIFEST_LEN, OTHER_NAMES, make_rooms, manifest_body, manifest_format,
};
use crate::storage::vfs::{Vfs, read_whole, storage_error};

/// The format that this release reads and writes. A change of what lies in a directory is a new number; see
/// `tests/golden`. Format 1 was that of the time before the first release.
pub(crate) const FORMAT: u32 = 2;
/// Begins the line that tells the key.
const SIGNER: &str = "signed_with = \"";
/// In place of that line where it was lost: without it, the second opening would find a directory that was never signed.
const SIGNER_LOST: &str = "signed_with = \"\"";

pub(crate) use crate::storage::vfs::root::MANIFEST;

/// Who a directory belongs to. One does not open that of the other: a cache removes entries when it is full or when they
/// are old, a store never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cache,
    BlobStore,
    /// Copies of what a cache has elsewhere: nothing is lost with it.
    LocalTier,
}

impl Kind {
    /// What sets its signatures apart from those of the other.
    pub(crate) fn domain(self) -> u8 {
        match self {
            Self::Cache => b'c',
            Self::BlobStore => b'b',
            Self::LocalTier => b'l',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::BlobStore => "blob store",
            Self::LocalTier => "local tier",
        }
    }
}

/// Since when a directory says that it is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    Before,
    /// Since this very call.
    Now,
}

/// Makes sure that a directory is ours before anything in it is touched: it says so itself, or it has nothing of the names
/// that we use and is told to be ours now, before anything else. Nothing is changed where it is refused.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) if there is something in the way that is not known to be ours;
/// [`Conflict`](ErrorKind::Conflict) if another release wrote the directory, or it is one of the other kind.
pub(crate) fn claim(vfs: &dyn Vfs, root: &Path, kind: Kind) -> Result<Claimed> {
    match find(vfs, root)? {
        Found::Whole(text) => check(root, &text, kind).map(|()| Claimed::Before),
        // Somebody says that it is ours, and was asked to; see `refuse`.
        Found::Empty => Ok(Claimed::Before),
        Found::Other => refuse(root, MANIFEST, "is not a manifest of cacheness, or is a damaged one"),
        Found::Missing => {
            let taken = names_in_the_way(vfs, root)?;
            if !taken.is_empty() {
                return match find(vfs, root)? {
                    // Another process has made all of it since this one looked.
                    Found::Whole(text) => check(root, &text, kind).map(|()| Claimed::Before),
                    _ => refuse(root, &taken.join(", "), "is there without a manifest `cacheness.toml`"),
                };
            }
            match publish_new(vfs, &root.join(MANIFEST), sealed(&new_body(kind)).as_bytes())? {
                true => Ok(Claimed::Now),
                // Another process was first.
                false => claim_again(vfs, root, kind).map(|()| Claimed::Before),
            }
        }
    }
}

fn claim_again(vfs: &dyn Vfs, root: &Path, kind: Kind) -> Result<()> {
    match find(vfs, root)? {
        Found::Whole(text) => check(root, &text, kind),
        _ => refuse(root, MANIFEST, "appeared while the directory was opened"),
    }
}

fn refuse<R>(root: &Path, what: &str, why: &str) -> Result<R> {
    let message = format!(
        "{} is not known to be a directory of cacheness: {what} {why}. Name another directory. If it is one of cacheness \
         that has lost its manifest, write an empty file {MANIFEST} into it and open it again",
        root.display()
    );
    Err(CacheError::new(ErrorKind::Storage, message))
}

/// Whether a directory with this manifest may be opened as one of this kind.
fn check(root: &Path, text: &str, kind: Kind) -> Result<()> {
    let refused = |why: String| Err(CacheError::new(ErrorKind::Conflict, format!("{} {why}", root.display())));
    let body = manifest_body(text).unwrap_or_default();
    match (manifest_format(body), kind_of(body)) {
        (Some(format), _) if format > FORMAT => refused(format!(
            "has format {format}, this release of cacheness reads format {FORMAT}: use the newer release or another \
             directory"
        )),
        (Some(FORMAT), found) if found == kind.name() => Ok(()),
        (Some(FORMAT), found) => {
            refused(format!("is the directory of a {found}, not of a {}: name another directory", kind.name()))
        }
        (older, _) => refused(format!(
            "has format {}, from before the first release, and this release of cacheness reads format {FORMAT}: remove the \
             directory or name another",
            older.map_or_else(|| "none".to_owned(), |format| format.to_string())
        )),
    }
}

/// Reads the manifest of a directory that was [claimed](claim) and is locked, and puts right what of it is damaged.
///
/// # Errors
/// As [`claim`].
pub(crate) fn shake_hands(vfs: &dyn Vfs, root: &Path, kind: Kind) -> Result<Manifest> {
    match find(vfs, root)? {
        Found::Whole(text) => {
            check(root, &text, kind)?;
            // One of them is whole: that the other cannot be mended is no reason not to open.
            if let Err(error) = restore(vfs, root, &text) {
                log::debug!("a manifest stays damaged: {error}");
            }
            Ok(if is_signer_lost(&text) { Manifest::Lost } else { Manifest::Known })
        }
        Found::Empty => {
            write(vfs, root, &format!("{}{SIGNER_LOST}\n", new_body(kind)))?;
            Ok(Manifest::Lost)
        }
        Found::Missing | Found::Other => refuse(root, MANIFEST, "changed while the directory was opened"),
    }
}

/// What a directory said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manifest {
    Known,
    /// It had one: what it said of keys is not known any more. So it stays until a key is noted again.
    Lost,
}

/// What stands in the place of the manifest.
enum Found {
    /// A whole one, there or in the copy.
    Whole(String),
    Empty,
    /// Something else.
    Other,
    Missing,
}

fn find(vfs: &dyn Vfs, root: &Path) -> Result<Found> {
    let first = look(vfs, &root.join(MANIFEST));
    if let Ok(Found::Whole(_)) = first {
        return first;
    }
    match look(vfs, &root.join(MANIFEST_COPY)) {
        Ok(Found::Whole(text)) => Ok(Found::Whole(text)),
        _ => first,
    }
}

fn look(vfs: &dyn Vfs, path: &Path) -> Result<Found> {
    let bytes = match read_whole(vfs, path, MAX_MANIFEST_LEN) {
        Ok(None) => return Ok(Found::Missing),
        Ok(Some(bytes)) => bytes,
        Err(error) if error.is_storage() => return Err(error),
        Err(_) => return Ok(Found::Other),
    };
    Ok(match String::from_utf8(bytes) {
        Ok(text) if manifest_body(&text).and_then(manifest_format).is_some() => Found::Whole(text),
        Ok(text) if text.trim().is_empty() => Found::Empty,
        _ => Found::Other,
    })
}

/// Names in a directory that the cache would use.
fn names_in_the_way(vfs: &dyn Vfs, root: &Path) -> Result<Vec<String>> {
    let entries = vfs.list(root).map_err(|error| storage_error("list", root, error))?;
    let names = entries.into_iter().filter_map(|entry| entry.name.into_string().ok());
    let mut taken: Vec<_> = names.filter(|name| OTHER_NAMES.contains(&name.as_str())).collect();
    taken.sort();
    Ok(taken)
}

/// What a directory says of itself, to be [put back](restore) later.
///
/// # Errors
/// As [`claim`].
pub(crate) fn text_of(vfs: &dyn Vfs, root: &Path) -> Result<String> {
    match find(vfs, root)? {
        Found::Whole(text) => Ok(text),
        _ => refuse(root, MANIFEST, "changed while the directory was opened"),
    }
}

/// Whether a directory is still the one that had this manifest. One without any is: it was emptied.
pub(crate) fn is_still(vfs: &dyn Vfs, root: &Path, text: &str) -> bool {
    match find(vfs, root) {
        Ok(Found::Whole(found)) => manifest_body(&found).and_then(id_of) == manifest_body(text).and_then(id_of),
        Ok(Found::Missing) => names_in_the_way(vfs, root).is_ok_and(|taken| taken.is_empty()),
        Ok(Found::Empty | Found::Other) | Err(_) => false,
    }
}

/// Whether nothing of a manifest is there: somebody emptied the directory.
pub(crate) fn is_gone(vfs: &dyn Vfs, root: &Path) -> bool {
    matches!(find(vfs, root), Ok(Found::Missing))
}

/// Writes manifest and copy where they do not say this.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage).
pub(crate) fn restore(vfs: &dyn Vfs, root: &Path, text: &str) -> Result<()> {
    for name in [MANIFEST, MANIFEST_COPY] {
        let path = root.join(name);
        if !matches!(look(vfs, &path), Ok(Found::Whole(found)) if found == text) {
            make_rooms(vfs, root)?;
            publish(vfs, root, &path, &[text.as_bytes()], Durability::Immediate)?;
        }
    }
    Ok(())
}

/// The key that the directory was last signed with, by its id; `None` if it was not signed yet.
pub(crate) fn signed_with(vfs: &dyn Vfs, root: &Path) -> Option<String> {
    let text = text_of(vfs, root).ok()?;
    manifest_body(&text)?.lines().find_map(signer_of).filter(|signer| !signer.is_empty()).map(str::to_owned)
}

fn is_signer_lost(text: &str) -> bool {
    manifest_body(text).is_some_and(|body| body.lines().any(|line| line == SIGNER_LOST))
}

/// Notes the key that the directory is signed with from now on. A key that is lost later is then not replaced in silence.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage).
pub(crate) fn note_signer(vfs: &dyn Vfs, root: &Path, kind: Kind, key_id: &str) -> Result<()> {
    if signed_with(vfs, root).is_some_and(|noted| noted == key_id) {
        return Ok(());
    }
    let text = text_of(vfs, root).ok();
    let body = text.as_deref().and_then(manifest_body).map_or_else(|| new_body(kind), str::to_owned);
    let rest: String = body.lines().filter(|line| signer_of(line).is_none()).map(|line| format!("{line}\n")).collect();
    write(vfs, root, &format!("{rest}{SIGNER}{key_id}\"\n"))
}

fn new_body(kind: Kind) -> String {
    body_with(kind, &BlobName::unique())
}

fn body_with(kind: Kind, id: &BlobName) -> String {
    let kind = kind.name();
    format!("# A directory of cacheness.\nformat = {FORMAT}\nkind = \"{kind}\"\nid = \"{id}\"\n")
}

fn write(vfs: &dyn Vfs, root: &Path, body: &str) -> Result<()> {
    restore(vfs, root, &sealed(body))
}

/// A manifest with this id and no key.
#[cfg(test)]
pub(crate) fn with_id(kind: Kind, id: &BlobName) -> String {
    sealed(&body_with(kind, id))
}

fn sealed(body: &str) -> String {
    root::manifest_text(body)
}

fn signer_of(line: &str) -> Option<&str> {
    line.strip_prefix(SIGNER)?.strip_suffix('"')
}

fn id_of(body: &str) -> Option<&str> {
    body.lines().find_map(|line| line.strip_prefix("id = \"")?.strip_suffix('"'))
}

/// What tells a directory with this manifest from all others.
pub(crate) fn id_in(text: &str) -> Option<&str> {
    manifest_body(text).and_then(id_of)
}

/// A manifest without a kind is that of a cache.
fn kind_of(body: &str) -> &str {
    let kind = body.lines().find_map(|line| line.strip_prefix("kind = \"")?.strip_suffix('"'));
    kind.unwrap_or(Kind::Cache.name())
}

#[cfg(test)]
mod tests;
