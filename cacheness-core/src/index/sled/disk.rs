//! Bringing the files of sled to the disk.
//!
//! sled writes its log and asks the system to write these pages. On Linux that brings neither the new length of the file
//! nor the blocks behind it to the disk, and nothing brings its directories and the files of large records there. So
//! every flush is followed by a sync of our own. One sync serves all threads that flushed before it began.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::files::is_file;
use crate::index::files::sync_dir;
use crate::storage::vfs::publish::STAGING;
use crate::util::digest::unique_name;
use crate::util::threads::lock;

/// The files of an open database.
#[derive(Debug)]
pub(super) struct Disk {
    index: PathBuf,
    db: File,
    /// How many syncs were asked for.
    asked: AtomicU64,
    synced: Mutex<Synced>,
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct Synced {
    /// Of the syncs that were asked for, this one and all before it are done.
    done: u64,
    /// Whether the names of the files are on the disk.
    named: bool,
    /// Files of large records that are on the disk.
    large: HashSet<OsString>,
}

impl Disk {
    /// The files of a database that sled has just opened.
    pub(super) fn of(index: &Path) -> io::Result<Self> {
        // Some systems sync only what may be written.
        let db = OpenOptions::new().read(true).write(true).open(db_file(index))?;
        let (asked, synced, failed) = (AtomicU64::new(0), Mutex::default(), AtomicBool::new(false));
        Ok(Self { index: index.to_path_buf(), db, asked, synced, failed })
    }

    /// Makes everything that sled wrote before this call survive a power cut.
    ///
    /// After a failure a system may take what it could not write for written, so no later sync is believed: each fails
    /// until the database has been [written anew](write_anew).
    pub(super) fn sync(&self) -> io::Result<()> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut synced = lock(&self.synced);
        if self.has_failed() {
            return Err(io::Error::other("an earlier sync of the index failed"));
        }
        if synced.done >= mine {
            return Ok(());
        }
        let all = self.asked.load(Ordering::SeqCst);
        self.sync_files(&mut synced).inspect_err(|_| self.failed.store(true, Ordering::SeqCst))?;
        synced.done = all;
        Ok(())
    }

    pub(super) fn index(&self) -> &Path {
        &self.index
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    fn sync_files(&self, synced: &mut Synced) -> io::Result<()> {
        self.sync_large(&mut synced.large)?;
        self.db.sync_data()?;
        if !synced.named {
            sync_path(&self.index.join("conf"))?;
            unless_gone(sync_dir(&self.index))?;
            unless_gone(self.index.parent().map_or(Ok(()), sync_dir))?;
            synced.named = true;
        }
        Ok(())
    }

    /// Records that are too large for the log lie in files of their own, which are written once.
    fn sync_large(&self, known: &mut HashSet<OsString>) -> io::Result<()> {
        let dir = self.index.join("blobs");
        let names = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            items => items?.map(|item| item.map(|item| item.file_name())).collect::<io::Result<HashSet<_>>>()?,
        };
        let mut new = names.difference(known).peekable();
        if new.peek().is_some() {
            new.try_for_each(|name| sync_path(&dir.join(name)))?;
            sync_dir(&dir)?;
        }
        *known = names;
        Ok(())
    }
}

fn db_file(index: &Path) -> PathBuf {
    index.join("db")
}

/// Brings what an earlier process left in the cache of the system to the disk, before sled writes a snapshot that speaks
/// of it.
pub(super) fn settle(index: &Path) -> io::Result<()> {
    let db = db_file(index);
    // What stands there instead of the log is damage, and told by sled.
    if is_file(&db) { sync_path(&db) } else { Ok(()) }
}

/// Syncs a file; success also when sled or somebody else has removed it meanwhile.
pub(super) fn sync_path(path: &Path) -> io::Result<()> {
    unless_gone(OpenOptions::new().read(true).write(true).open(path).and_then(|file| file.sync_all()))
}

fn unless_gone(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}

/// Files of databases of this process that were given up without closing them: they, and the lock on each, are held until
/// the process ends. Told by what they are and not by their names, which may change.
static GIVEN_UP: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

#[cfg(unix)]
fn identity(index: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(db_file(index)).map(|found| (found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity(index: &Path) -> io::Result<(u64, u64)> {
    Ok((0, crate::util::digest::checksum(index.as_os_str().as_encoded_bytes())))
}

/// Notes that a database was given up.
pub(super) fn give_up(index: &Path) {
    if let Ok(identity) = identity(index) {
        lock(&GIVEN_UP).insert(identity);
    }
}

/// Whether a database of this process that was given up still holds the files of an index.
pub(super) fn is_given_up(index: &Path) -> bool {
    identity(index).is_ok_and(|identity| lock(&GIVEN_UP).contains(&identity))
}

/// Gives an index files that nobody holds, if a database of this process was given up over them.
pub(super) fn take_back(root: &Path, index: &Path) -> io::Result<()> {
    if is_given_up(index) { write_anew(root, index) } else { Ok(()) }
}

/// Puts a copy that is on the disk in the place of the log.
fn write_anew(root: &Path, index: &Path) -> io::Result<()> {
    let (db, copy) = (db_file(index), root.join(STAGING).join(unique_name() + ".part"));
    let written = fs::copy(&db, &copy)
        .and_then(|_| sync_path(&copy))
        .and_then(|()| fs::rename(&copy, &db))
        .and_then(|()| sync_dir(index));
    if written.is_err() {
        // At the next opening it would be removed all the same.
        let _ = fs::remove_file(&copy);
    }
    written
}

/// Removes the snapshots of an index whose own checksum says that they are damaged; says whether there were any.
pub(super) fn drop_damaged_snapshots(index: &Path) -> bool {
    let items = fs::read_dir(index).into_iter().flatten().flatten();
    let snapshots = items.filter(|item| item.file_name().as_encoded_bytes().starts_with(b"snap"));
    let damaged = snapshots.filter(|item| fs::read(item.path()).is_ok_and(|bytes| !is_whole_snapshot(&bytes)));
    damaged.filter(|item| fs::remove_file(item.path()).is_ok()).count() > 0
}

/// A snapshot ends with a length, 8 bytes, and the CRC-32 of what stands before that.
fn is_whole_snapshot(bytes: &[u8]) -> bool {
    let Some((rest, sum)) = bytes.split_last_chunk::<4>() else { return false };
    rest.split_last_chunk::<8>().is_some_and(|(body, _)| !body.is_empty() && crc32(body) == u32::from_le_bytes(*sum))
}

/// As zip and PNG have it. Slow, and for damage alone.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

/// Waits until the log has the length that it will keep. Where sled shortens it, a thread of its own does that.
pub(super) fn wait_until_still(index: &Path) -> io::Result<()> {
    let len = || fs::metadata(db_file(index)).map(|found| found.len());
    let mut last = len()?;
    for _ in 0..100 {
        std::thread::sleep(std::time::Duration::from_millis(2));
        match len()? {
            now if now == last => return Ok(()),
            now => last = now,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_snapshot_is_that_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
