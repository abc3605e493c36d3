//! Carrying over what can be believed of a damaged index.
//!
//! sled is never let near damaged files: from a flipped bit on it forgets what comes behind, gives older records back,
//! panics or hangs. A record tells its own length, key and checksum, so all versions of all records that are whole are
//! found by looking for them in the bytes of the files, and the [proof](Proof) tells which of them are current.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::disk::{aside, index_dir, is_file, set_aside, storage};
use super::orders::{Created, mark_of};
use super::pending::Pending;
use super::rewrite;
use super::shielded;
use super::{Contents, SledOptions, Trees};
use crate::entry::{Entry, IndexKey};
use crate::error::Result;
use crate::index::{Record, remove, replace_file};

/// A multiple of the length of sled's segments, whose bounds no record crosses.
const WINDOW: usize = 8 << 19;
/// What a disk reads at once or not at all.
const SECTOR: usize = 4096;

/// Sets the index aside and makes a new one of the records that can be believed: those that are proven to be current.
/// Where nothing proves them, those whose value lies in a blob of their own, because the blob of a replaced or removed
/// entry is gone.
///
/// What fails or is killed here begins again with the copy that was set aside, never with a part of the new index.
pub(super) fn carry_over(options: &SledOptions, proof: Option<&Proof>, pending: &Pending) -> Result<Contents> {
    let root = &options.root;
    let fails = |error| storage(root, "cannot rebuild the index", error);
    if Rebuilding::read(root) != Rebuilding::Aside {
        Rebuilding::Damaged.note(root)?;
        // While there is an index: an older one beside it would be taken for the new one.
        rewrite::settle(root).map_err(fails)?;
        set_aside(root)?;
        Rebuilding::Aside.note(root)?;
    }
    remove(&index_dir(root)).map_err(fails)?;
    let fresh = Trees::open_at(&index_dir(&options.root), options)?;
    let mut take = |key: IndexKey, record: Record| match proof {
        Some(proof) if proof.holds(&key, &record) => fresh.take_over(&key, &record),
        Some(_) => Ok(()),
        None if has_blob_of_its_own(&record) => fresh.take_over_newer(&key, &record),
        None => Ok(()),
    };
    for file in files_below(&aside(root)).map_err(|error| storage(root, "cannot list the damaged index", error))? {
        each_record_in(&file, options, &mut take)?;
    }
    pending.repeat_in(&fresh)?;
    let contents = super::open::take_stock(fresh)?;
    shielded("rebuild the index", || contents.trees.flush())?;
    Rebuilding::BlobsLeft.note(root)?;
    Ok(contents)
}

impl Trees {
    fn take_over(&self, key: &IndexKey, record: &Record) -> Result<()> {
        shielded("rebuild the index", || self.entries.insert(key.as_bytes(), record.as_bytes())).map(drop)
    }

    fn take_over_newer(&self, key: &IndexKey, record: &Record) -> Result<()> {
        let created = |record: &Record| record.core().map(|core| core.created_at).ok();
        let there = shielded("rebuild the index", || self.entries.get(key.as_bytes()))?;
        let there = there.and_then(|bytes| self.record(key, &bytes).ok());
        if there.is_some_and(|there| created(&there) > created(record)) {
            return Ok(());
        }
        self.take_over(key, record)
    }
}

/// Equal contents share a blob, which outlives any of its entries.
fn has_blob_of_its_own(record: &Record) -> bool {
    record.blob().is_some()
        && (!record.is_believed() || record.entry().is_ok_and(|entry| entry.details.content.is_none()))
}

fn files_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !dir.exists() {
        // Somebody has removed it.
        return Ok(files);
    }
    for item in fs::read_dir(dir)? {
        let item = item?;
        match item.file_type()? {
            kind if kind.is_dir() => files.extend(files_below(&item.path())?),
            kind if kind.is_file() => files.push(item.path()),
            _ => {}
        }
    }
    Ok(files)
}

/// Finds every whole record in a file. What cannot be read of it holds none.
fn each_record_in(
    path: &Path,
    options: &SledOptions,
    take: &mut impl FnMut(IndexKey, Record) -> Result<()>,
) -> Result<()> {
    let Ok(mut file) = File::open(path) else { return Ok(()) };
    let len = file.metadata().map_or(0, |metadata| metadata.len());
    // What lies in the log lies in one segment; a file of its own is one record.
    let window = if path.file_name().is_some_and(|name| name == "db") { WINDOW as u64 } else { len };
    let mut start = 0;
    while start < len {
        let wanted = usize::try_from(window.min(len - start)).unwrap_or(WINDOW);
        let bytes = readable(&mut file, start, wanted);
        let mut at = 0;
        while at < bytes.len() {
            match Record::found_in(&bytes[at..], &options.signing) {
                Some((key, record)) => {
                    at += record.as_bytes().len();
                    take(key, record)?;
                }
                None => at += 1,
            }
        }
        start += wanted as u64;
    }
    Ok(())
}

/// Bytes of a file, with zeros where the disk has lost them.
fn readable(file: &mut File, start: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut read = |at: u64, into: &mut [u8]| {
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(into)).inspect_err(|_| into.fill(0))
    };
    if read(start, &mut bytes).is_err() {
        for (n, sector) in bytes.chunks_mut(SECTOR).enumerate() {
            // It is zeros then, and costs the records in it.
            let _ = read(start + (n * SECTOR) as u64, sector);
        }
    }
    bytes
}

// Which records were current, by what is known outside the database.

/// The order of creation of an index, as it was closed or as it is in memory. A damaged database may give back records
/// that were replaced or removed: creation, hash and mark together tell them from the current ones.
#[derive(Debug)]
pub(crate) struct Proof(pub(super) Created);

impl Proof {
    /// Whether this record is the current one of its key.
    pub(super) fn holds(&self, key: &IndexKey, record: &Record) -> bool {
        record
            .core()
            .is_ok_and(|core| self.0.mark_of_one((core.created_at, key.hash())) == Some(mark_of(record.as_bytes())))
    }

    /// Whether an entry that a blob's header tells is current.
    pub(crate) fn knows(&self, entry: &Entry) -> bool {
        self.0.has((entry.core.created_at, entry.key.hash()))
    }
}

/// What is known of the database that was found.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) was_damaged: bool,
    pub(super) proof: Option<Proof>,
    /// How many entries it had.
    pub(super) entries: Option<u64>,
}

// How far an index has come that is made of what is left of another: the file `index.rebuilding`.
//
// | content | a crash has left | the next opening |
// |---|---|---|
// | empty | a whole index, and blobs that no record may name | opens the index and takes up the blobs |
// | `damaged` | a damaged index | carries over what can be believed of it |
// | `aside` | its whole copy in `quarantine/index`, and part of a new index | begins a new one from the copy |
//
// The marker of the clean close and the orders beside it prove what is current in a damaged index. They stay until the
// new index agrees with its blobs, so that an opening that fails or is killed takes nothing from the next one.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rebuilding {
    No,
    BlobsLeft,
    Damaged,
    Aside,
}

fn place(root: &Path) -> PathBuf {
    root.join("index.rebuilding")
}

impl Rebuilding {
    pub(super) fn read(root: &Path) -> Self {
        let place = place(root);
        if fs::symlink_metadata(&place).is_err() {
            return Self::No;
        }
        // What is no file, or says something else, says at least that there was one.
        match is_file(&place).then(|| fs::read(&place).unwrap_or_default()).as_deref() {
            Some(b"damaged") => Self::Damaged,
            Some(b"aside") => Self::Aside,
            _ => Self::BlobsLeft,
        }
    }

    /// Begins an index where there was none.
    pub(super) fn begin(root: &Path) -> Result<()> {
        fs::write(place(root), "").map_err(|error| storage(root, "cannot begin to rebuild the index", error))
    }

    /// Notes a state, on the disk and at once: there is never half of one.
    pub(super) fn note(self, root: &Path) -> Result<()> {
        let content = match self {
            Self::No => return Self::end(root),
            Self::BlobsLeft => "",
            Self::Damaged => "damaged",
            Self::Aside => "aside",
        };
        replace_file(&place(root), content.as_bytes())
            .map_err(|error| storage(root, "cannot note how far the index is rebuilt", error))
    }

    fn end(root: &Path) -> Result<()> {
        match fs::remove_file(place(root)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(storage(root, "cannot end to rebuild the index", error))
            }
            _ => Ok(()),
        }
    }
}
