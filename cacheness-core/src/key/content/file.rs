//! The digest of one file: remembered, or read.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind as IoKind, Read};
use std::mem;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::{special, unreadable};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::VerifyPaths;
use crate::error::Result;
use crate::util::digest::{Identity, IdentityHasher};

const READ_LEN: usize = 256 << 10;

/// The longest file that two threads read. They note each part of it; a sparse file may tell any length.
const LONGEST_BY_TWO: u64 = 1 << 40;

/// The digest of the file at `path`, which was just found there.
pub(super) fn digest(path: &Path, found: &Metadata, verify: VerifyPaths) -> Result<Identity> {
    if verify == VerifyPaths::WhenChanged
        && let Some(known) = State::of(found).and_then(|state| remembered(&state))
    {
        return Ok(known);
    }
    read(path, verify).map_err(|error| match error {
        Failure::Io(error) => unreadable(path, error),
        Failure::Special => special(path),
    })
}

enum Failure {
    Io(io::Error),
    /// It may have become a pipe since somebody looked.
    Special,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn read(path: &Path, verify: VerifyPaths) -> Result<Identity, Failure> {
    let mut file = open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Failure::Special);
    }
    let begun = SystemClock.now();
    let digest = whole(&mut file, found.len())?;
    if verify == VerifyPaths::WhenChanged
        && let Some(before) = State::of(&found)
        && let Some(after) = State::of(&file.metadata()?)
        && before == after
    {
        remember(&file, &before, begun, digest.of_len(found.len()));
    }
    Ok(digest.digest)
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

/// What was read, and how much.
struct Digested {
    digest: Identity,
    len: u64,
}

impl Digested {
    /// The digest, if so many bytes were read: the files of `/proc` say nothing of their length, and change without a sign.
    fn of_len(&self, len: u64) -> Option<Identity> {
        (self.len == len).then_some(self.digest)
    }
}

fn whole(file: &mut File, len: u64) -> io::Result<Digested> {
    #[cfg(test)]
    READS.set(READS.get() + 1);
    if len <= LONGEST_BY_TWO
        && usize::try_from(len).is_ok_and(crate::util::threads::is_worth_two)
        && let Some(digest) = by_two(file, len)
    {
        return Ok(Digested { digest, len });
    }
    stream(file)
}

fn stream(file: &mut File) -> io::Result<Digested> {
    let mut hasher = IdentityHasher::new();
    let mut buffer = vec![0; READ_LEN];
    let mut len = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digested { digest: hasher.finish(), len }),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                len += count as u64;
            }
            Err(error) if error.kind() == IoKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The digest by two threads. `None` if the file got shorter or cannot be read: reading it by one tells.
#[cfg(unix)]
fn by_two(file: &File, len: u64) -> Option<Identity> {
    use std::os::unix::fs::FileExt;

    use crate::error::{CacheError, ErrorKind};
    use crate::util::digest::{SUBTREE_LEN, Subtree};

    let starts: Vec<u64> = (0..len).step_by(SUBTREE_LEN as usize).collect();
    let subtrees = crate::util::threads::each(
        starts,
        true,
        || vec![0; READ_LEN],
        |buffer, start| {
            let mut subtree = Subtree::at(start);
            let end = len.min(start + SUBTREE_LEN);
            let mut at = start;
            while at < end {
                let piece = READ_LEN.min((end - at) as usize);
                file.read_exact_at(&mut buffer[..piece], at)
                    .map_err(|error| CacheError::caused_by(ErrorKind::Storage, "cannot read", error))?;
                subtree.update(&buffer[..piece]);
                at += piece as u64;
            }
            Ok(subtree.finish())
        },
    );
    crate::util::digest::identity_of_subtrees(&subtrees.ok()?)
}

/// Reading at a place would move the one that [`stream`] reads from.
#[cfg(not(unix))]
fn by_two(_: &File, _: u64) -> Option<Identity> {
    None
}

#[cfg(test)]
thread_local! {
    /// How many files this thread has read.
    pub(in crate::key) static READS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

// Digests of files that have not changed since they were read.
//
// A file is known by its device and inode, and its state by its length and the times of its last modification and status
// change. Programs can set the first of these times and not the second, so that who sets back the one moves the other.
//
// A file that changes twice within one tick of the clock has one state for two contents, and so has one that is read in
// the middle of a write: the kernel sets the times as a write begins. So, as in git's index, a digest is kept only if the
// last change was well before the file was read. Only file systems are believed whose times come from the kernel of this
// machine. What goes unnoticed: a single write that takes longer than that, and writes through a memory map that was
// there before the file was read, until the system has written them back.

/// Files whose digests are kept at most: some 20 MB.
const MAX_FILES: usize = 1 << 17;

/// How long before a reading the last change must be, in microseconds: longer than all but the longest writes, and than a
/// tick of any kernel's clock, also where a file system counts whole seconds. Tests only wait for the tick.
const SETTLED_MICROS: i64 = if cfg!(test) { 50_000 } else { 3_000_000 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileId {
    device: u64,
    inode: u64,
}

/// Which file, and what is known of it without reading it. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    id: FileId,
    stamp: Stamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: i64,
    changed: i64,
}

impl State {
    /// `None` where the system does not tell, or tells nonsense.
    #[cfg(target_os = "linux")]
    pub(super) fn of(found: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let nanos = |seconds: i64, nanos: i64| seconds.checked_mul(1_000_000_000)?.checked_add(nanos);
        Some(Self {
            id: FileId { device: found.dev(), inode: found.ino() },
            stamp: Stamp {
                len: found.len(),
                modified: nanos(found.mtime(), found.mtime_nsec())?,
                changed: nanos(found.ctime(), found.ctime_nsec())?,
            },
        })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn of(_: &Metadata) -> Option<Self> {
        None
    }

    /// Whether a change after `read` could not leave this very state.
    fn is_settled(&self, read: Timestamp) -> bool {
        self.stamp.changed / 1000 + SETTLED_MICROS < read.as_micros()
    }
}

/// The digest of a file in this state, if it is remembered.
pub(super) fn remembered(state: &State) -> Option<Identity> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner).find(state)
}

/// Remembers the digest of a file that was in `state` before it was read, at `begun`, and is in it still.
pub(super) fn remember(file: &File, state: &State, begun: Timestamp, digest: Option<Identity>) {
    if let Some(digest) = digest
        && state.is_settled(begun)
        && keeps_times(file)
    {
        TABLE.lock().unwrap_or_else(PoisonError::into_inner).insert(state.id, (state.stamp, digest));
    }
}

/// Whether the file system is one whose times the kernel sets at every change: not one over a network or in a process,
/// which may tell them late, and not an image (squashfs, EROFS, whatever is mounted read-only), whose times come from who
/// built it.
#[cfg(target_os = "linux")]
fn keeps_times(file: &File) -> bool {
    // From linux/magic.h: ext2 to ext4, XFS, btrfs, tmpfs, overlayfs, ZFS, F2FS, bcachefs, ramfs.
    const LOCAL: [u64; 9] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x0102_1994,
        0x794c_7630,
        0x2fc1_2fc1,
        0xf2f5_2010,
        0xca45_1a4e,
        0x8584_58f6,
    ];
    let is_writable =
        rustix::fs::fstatvfs(file).is_ok_and(|found| !found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    // The type is signed on some architectures: the magic is its lower half.
    is_writable && rustix::fs::fstatfs(file).is_ok_and(|found| LOCAL.contains(&(found.f_type as u64 & 0xffff_ffff)))
}

#[cfg(not(target_os = "linux"))]
fn keeps_times(_: &File) -> bool {
    false
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

type Known = HashMap<FileId, (Stamp, Identity)>;

/// What is asked for moves to the young half; when that is full, the old one goes.
#[derive(Default)]
struct Table {
    young: Known,
    old: Known,
}

impl Table {
    fn find(&mut self, state: &State) -> Option<Identity> {
        if let Some((stamp, digest)) = self.young.get(&state.id) {
            return (*stamp == state.stamp).then_some(*digest);
        }
        let known @ (stamp, digest) = self.old.remove(&state.id)?;
        if stamp != state.stamp {
            return None;
        }
        self.insert(state.id, known);
        Some(digest)
    }

    fn insert(&mut self, id: FileId, known: (Stamp, Identity)) {
        if self.young.len() >= MAX_FILES / 2 && !self.young.contains_key(&id) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(id, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(inode: u64) -> State {
        State { id: FileId { device: 1, inode }, stamp: Stamp { len: 1, modified: 5, changed: 5 } }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_asked_for_stays() {
        let mut table = Table::default();
        let often = state(0);
        table.insert(often.id, (often.stamp, [7; 32]));
        for inode in 1..=3 * MAX_FILES as u64 {
            let other = state(inode);
            table.insert(other.id, (other.stamp, [1; 32]));
            if inode % 1000 == 0 {
                assert_eq!(table.find(&often), Some([7; 32]), "after {inode} others");
            }
        }
        assert!(table.young.len() + table.old.len() <= MAX_FILES);
        assert_eq!(table.find(&state(1)), None, "one that nobody asked for");
    }

    #[test]
    fn another_state_of_a_file_is_not_known() {
        let mut table = Table::default();
        let known = state(1);
        table.insert(known.id, (known.stamp, [7; 32]));
        for stamp in
            [Stamp { len: 2, ..known.stamp }, Stamp { modified: 6, ..known.stamp }, Stamp { changed: 6, ..known.stamp }]
        {
            assert_eq!(table.find(&State { stamp, ..known }), None);
        }
        assert_eq!(table.find(&known), Some([7; 32]));
    }

    #[test]
    fn a_change_shortly_before_the_reading_is_not_settled() {
        let changed_at = |changed: i64| State { stamp: Stamp { len: 1, modified: 0, changed }, ..state(1) };
        let at = |micros| Timestamp::from_micros(micros);
        let second = 1_700_000_000_000_000;
        assert!(!changed_at(second * 1000 + 1).is_settled(at(second)));
        assert!(!changed_at(second * 1000 + 1).is_settled(at(second + SETTLED_MICROS)));
        assert!(changed_at(second * 1000 + 1).is_settled(at(second + SETTLED_MICROS + 1)));
        assert!(!changed_at(second * 1000 + 1).is_settled(at(second - 60_000_000)), "in the future");
    }
}
