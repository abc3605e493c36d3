//! How far the files of the index may grow where the size of files is limited (`ulimit -f`).
//!
//! Growing past such a limit ends the process by a signal, also in the middle of a flush at its end. sled writes when it
//! likes, and what a change needs is not known before: so changes end early enough. Where nothing is limited, nothing is
//! asked.

use std::path::Path;

use super::files::index_dir;
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::files::shown;
use crate::storage::vfs::largest_file;

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
