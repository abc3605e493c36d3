//! The digest of one file: remembered, or read.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind as IoKind, Read};
use std::path::Path;

use super::remembered::{self, State};
use super::{special, unreadable};
use crate::clock::{Clock, SystemClock};
use crate::config::VerifyPaths;
use crate::error::Result;
use crate::util::digest::{Identity, IdentityHasher};

const READ_LEN: usize = 256 << 10;

/// The longest file that two threads read. They note each part of it; a sparse file may tell any length.
#[cfg(unix)]
const LONGEST_BY_TWO: u64 = 1 << 40;

/// The digest of the file at `path`, which was just found there.
pub(super) fn digest(path: &Path, found: &Metadata, verify: VerifyPaths) -> Result<Identity> {
    if verify == VerifyPaths::WhenChanged
        && let Some(known) = State::of(found).and_then(|state| remembered::find(&state))
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
        remembered::keep(&file, &before, begun, digest.of_len(found.len()));
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
    #[cfg(unix)]
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

#[cfg(test)]
thread_local! {
    /// How many files this thread has read.
    pub(in crate::key) static READS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
