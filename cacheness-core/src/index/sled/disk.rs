//! Bringing the files of sled to the disk.
//!
//! sled writes its log and asks the system to write these pages. On Linux that brings neither the new length of the file
//! nor the blocks behind it to the disk, and nothing brings its directories and the files of large records there. So
//! every flush is followed by a sync of our own. One sync serves all threads that flushed before it began.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use crate::error::{CacheError, ErrorKind, Result};
use crate::index::{remove, shown, sync_dir};
use crate::storage::vfs::largest_file;
use crate::storage::vfs::publish::STAGING;
use crate::util::digest::unique_name;
use crate::util::process;
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

// The files of an index: where they lie, and what may lie there.

pub(super) fn index_dir(root: &Path) -> PathBuf {
    root.join("index")
}

/// Whether a file is there, and no link to one.
pub(super) fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

/// Removes what is no file from the places of files: nothing is read from it or written to it.
pub(super) fn clear_places(root: &Path) -> std::io::Result<()> {
    let beside = ["index.clean", "index.orders", "index.used", "index.rebuilding"].map(|name| root.join(name));
    // What is in the index and sled can do without.
    let within = fs::read_dir(index_dir(root)).into_iter().flatten().flatten();
    let within = within.filter(|item| is_dispensable(&item.file_name())).map(|item| item.path());
    let is_no_file = |place: &PathBuf| fs::symlink_metadata(place).is_ok_and(|found| !found.is_file());
    beside.into_iter().chain(within).filter(is_no_file).try_for_each(|place| remove(&place))
}

/// Whether an index was made and its log is gone: sled would begin a new one, as if there had never been an entry.
pub(super) fn lacks_log(index: &Path) -> bool {
    index.exists() && !fs::metadata(index.join("db")).is_ok_and(|found| found.len() > 0)
}

/// Whether what sled reads is of the kind that it writes: opening a pipe would wait, a link leads elsewhere.
pub(super) fn is_of_files(index: &Path) -> bool {
    let is_dir = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let fits = |item: std::io::Result<fs::DirEntry>| {
        item.is_ok_and(|item| match item.file_name().as_encoded_bytes() {
            b"blobs" => is_dir(&item.path()),
            name if name == b"db" || is_dispensable(&item.file_name()) => {
                item.file_type().is_ok_and(|kind| kind.is_file())
            }
            _ => true,
        })
    };
    fs::symlink_metadata(index).is_err() || is_dir(index) && fs::read_dir(index).is_ok_and(|mut all| all.all(fits))
}

pub(super) fn storage(path: &Path, doing: &str, error: std::io::Error) -> CacheError {
    CacheError::caused_by(ErrorKind::Storage, format!("{doing} in {}: {error}", shown(path).display()), error)
}

/// Where a damaged index lies for one who wants to look at it.
pub(super) fn aside(root: &Path) -> PathBuf {
    root.join("quarantine").join("index")
}

/// Copies a damaged index out of the way; the one before goes. Until the copy is whole and on the disk it has another name.
pub(super) fn set_aside(root: &Path) -> Result<()> {
    let part = root.join("quarantine").join("index.part");
    let set = remove(&part)
        .and_then(|()| fs::create_dir_all(&part))
        .and_then(|()| copy_files(&index_dir(root), &part))
        .and_then(|()| remove(&aside(root)))
        .and_then(|()| fs::rename(&part, aside(root)))
        .and_then(|()| sync_dir(&root.join("quarantine")));
    set.map_err(|error| storage(root, "cannot set the damaged index aside", error))
}

/// What sled can do without: its settings, which are ours, and a snapshot that spares it reading the log. A damaged one
/// would make the whole log unreadable.
fn is_dispensable(name: &OsStr) -> bool {
    name == "conf" || name.as_encoded_bytes().starts_with(b"snap")
}

/// Copies instead of renaming: a database that was given up may still hold the old files.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    if !fs::symlink_metadata(from).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    for item in fs::read_dir(from)? {
        let item = item?;
        if is_dispensable(&item.file_name()) {
            continue;
        }
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy_files(&item.path(), &target)?;
        } else if item.file_type()?.is_file() {
            fs::copy(item.path(), &target)?;
            sync_path(&target)?;
        }
    }
    sync_dir(to)
}

// Who has the file of a sled open, and with it the lock on it.

/// How long the threads of a closed database may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long another process may keep a closing or an opening waiting: a child that is about to run another program has copies of
/// the files until then.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(1);

/// Waits until the last thread of a closed sled has let go of its file: until then the file may still change, and the
/// lock on it is not free.
pub(super) fn wait_until_released(index: &Path) {
    // A child has copies of the files, and does not let them go.
    let patience = if process::has_forked() { PATIENCE_WITH_OTHERS } else { PATIENCE };
    is_released_within(index, patience);
}

/// Whether nobody has the file of a sled open, after a time in which no child needs it any more.
pub(super) fn is_released_soon(index: &Path) -> bool {
    is_released_within(index, PATIENCE_WITH_OTHERS)
}

/// Whether nobody has the file of a sled open, after some time at most.
fn is_released_within(index: &Path, patience: Duration) -> bool {
    // Opening a pipe would wait, and nobody holds the lock of what is no file.
    if !is_file(&index.join("db")) {
        return true;
    }
    let start = Instant::now();
    while is_held(index) {
        if start.elapsed() >= patience {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Whether somebody has the file of a sled open.
fn is_held(index: &Path) -> bool {
    let Ok(file) = File::open(index.join("db")) else { return false };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => true,
        // Not by closing it alone: a child that is being forked has a copy, and with it the lock.
        locked => {
            if locked.is_ok() {
                let _ = file.unlock();
            }
            false
        }
    }
}

/// Opens a sled, again and again while a child that is about to run another program has a copy of its file.
pub(super) fn open_released(config: &sled::Config, index: &Path) -> sled::Result<sled::Db> {
    let start = Instant::now();
    loop {
        match config.open() {
            Err(error) if is_of_lock(&error) && start.elapsed() < PATIENCE_WITH_OTHERS => wait_until_released(index),
            opened => return opened,
        }
    }
}

/// sled tells it by its text alone.
fn is_of_lock(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

// How far the files of the index may grow where the size of files is limited (`ulimit -f`).
//
// Growing past such a limit ends the process by a signal, also in the middle of a flush at its end. sled writes when it
// likes, and what a change needs is not known before: so changes end early enough. Where nothing is limited, nothing is
// asked.

/// What the index takes at least: a few segments of sled, and the room that is kept.
const LEAST: u64 = 32 << 20;
/// What is kept for what sled has not written yet.
const KEPT: u64 = 4 << 20;
/// What is kept for removals: they are what makes room.
const KEPT_FOR_REMOVALS: u64 = 16 << 20;

#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// An entry comes, or changes.
    More,
    /// An entry goes.
    Less,
}

#[derive(Debug)]
pub(super) struct Room {
    /// `u64::MAX` where there is no limit.
    largest: u64,
}

impl Room {
    /// By the limit of this process.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) if it leaves no room for an index.
    pub(super) fn of_process(index: &Path) -> Result<Self> {
        Self::within(largest_file(), index)
    }

    fn within(largest: u64, index: &Path) -> Result<Self> {
        if largest >= LEAST {
            return Ok(Self { largest });
        }
        let message = format!(
            "the limit for the size of files of this process (ulimit -f) is {largest} bytes, and the index {} takes at least \
             {LEAST}: raise the limit, or choose the metadata backend `memory`",
            shown(index).display()
        );
        Err(CacheError::new(ErrorKind::Storage, message))
    }

    /// Whether there is room for one more change.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) if there is not.
    pub(super) fn check(&self, change: Change, root: &Path) -> Result<()> {
        if self.largest == u64::MAX { Ok(()) } else { self.check_len(change, root) }
    }

    #[cold]
    fn check_len(&self, change: Change, root: &Path) -> Result<()> {
        let db = index_dir(root).join("db");
        let len = std::fs::metadata(&db).map_or(0, |found| found.len());
        let kept = match change {
            Change::More => KEPT_FOR_REMOVALS,
            Change::Less => KEPT,
        };
        if len.saturating_add(kept) <= self.largest {
            return Ok(());
        }
        let message = format!(
            "the index has {len} bytes, and the limit for the size of files of this process (ulimit -f) is {}: raise it, or \
             clear the cache",
            self.largest
        );
        Err(CacheError::new(ErrorKind::Storage, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_snapshot_is_that_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}

#[cfg(test)]
mod room_tests {
    use super::*;

    #[test]
    fn an_index_ends_to_grow_before_its_file_meets_the_limit_and_removals_go_on_longer() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(index_dir(root.path())).unwrap();
        let db = std::fs::File::create(index_dir(root.path()).join("db")).unwrap();
        let room = Room::within(LEAST, root.path()).unwrap();
        let allowed = |len: u64| {
            db.set_len(len).unwrap();
            [Change::More, Change::Less].map(|change| room.check(change, root.path()).is_ok())
        };
        assert_eq!(allowed(LEAST - KEPT_FOR_REMOVALS), [true, true]);
        assert_eq!(allowed(LEAST - KEPT_FOR_REMOVALS + 1), [false, true]);
        assert_eq!(allowed(LEAST - KEPT + 1), [false, false]);
        assert!(Room::within(LEAST - 1, root.path()).unwrap_err().is_storage());
    }
}
