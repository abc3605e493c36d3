//! Entries from one cache to another, as they are stored: nothing is decoded on the way.

#[cfg(feature = "archive")]
mod archive;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use super::Cache;
use super::engine::Engine;
use super::removal::EntryScan;
use crate::engine::Found;
use crate::entry::Entry;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest;

/// What has come of bringing entries to another place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transfer {
    /// Entries that were brought there.
    pub copied: u64,
    /// Entries that the place had already, of the same time or newer.
    pub present: u64,
    /// Entries that were left behind because they have expired.
    pub expired: u64,
    /// Entries that were left behind because their value was damaged or gone, or because they are not believed.
    pub damaged: u64,
    /// Entries that were left behind because they are over a limit of the place, or have custom metadata with a unique
    /// value that another entry there has.
    pub refused: u64,
    /// Bytes of the values that were brought there, as stored.
    pub bytes: u64,
    /// Entries that there were when it began, or 0 where that is not known.
    pub total: u64,
}

impl Transfer {
    /// Entries looked at so far.
    pub fn seen(&self) -> u64 {
        self.copied + self.present + self.expired + self.damaged + self.refused
    }
}

/// What could be had of the stored bytes of an entry.
enum Taken {
    Whole(Box<Entry>, Vec<u8>),
    /// They are damaged or gone, or not believed.
    Damaged,
    /// They are over a limit that was lowered since.
    TooLarge,
}

impl Taken {
    /// Counts an entry that is left behind.
    fn count(&self, transfer: &mut Transfer) {
        match self {
            Self::Whole(..) => {}
            Self::Damaged => transfer.damaged += 1,
            Self::TooLarge => transfer.refused += 1,
        }
    }
}

impl Engine {
    /// Visits every entry with its stored bytes.
    fn each_stored(&self, mut visit: impl FnMut(Taken) -> Result<()>) -> Result<()> {
        self.each(EntryScan::Everything, |key, record| {
            if !record.is_believed() {
                return visit(Taken::Damaged);
            }
            let mut found = Found { core: record.core()?, record: record.clone() };
            let taken = match self.store().load_unsealed(key, &mut found) {
                // Also where reads are configured not to look: damage must not get a new checksum elsewhere.
                Ok(Some((mut entry, stored))) if digest::checksum(&stored) == entry.core.checksum => {
                    entry.accessed_at = self.store().index().last_access(key)?;
                    Taken::Whole(Box::new(entry), stored)
                }
                Ok(_) => Taken::Damaged,
                Err(error) if error.is_limit() => Taken::TooLarge,
                Err(error) => return Err(error),
            };
            visit(taken)
        })
    }

    /// Takes over an entry as another cache had it, and counts what came of it.
    fn take_over(&self, entry: &Entry, stored: &[u8], transfer: &mut Transfer) -> Result<()> {
        if self.is_expired(entry) {
            transfer.expired += 1;
            return Ok(());
        }
        let there = self.store().find(&entry.key)?;
        if there.as_ref().is_some_and(|there| there.core.created_at >= entry.core.created_at) {
            transfer.present += 1;
            return Ok(());
        }
        let reserved = match self.reserve_unique(&entry.key, &entry.details, None) {
            Err(error) if error.is_conflict() => {
                log::debug!("an entry is left behind: {error}");
                transfer.refused += 1;
                return Ok(());
            }
            reserved => reserved?,
        };
        let put =
            self.store().put_stored_over(there.as_ref().map(|there| &there.record), entry, stored, self.max_bytes());
        drop(reserved);
        match put {
            Ok(false) => self.take_over(entry, stored, transfer),
            Ok(true) => {
                self.stored(&entry.key);
                if let Some(at) = entry.accessed_at {
                    self.store().index().accessed(&entry.key, at);
                }
                transfer.copied += 1;
                transfer.bytes += stored.len() as u64;
                Ok(())
            }
            Err(error) if error.is_limit() => {
                log::debug!("an entry is left behind: {error}");
                transfer.refused += 1;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Brings the entries of one cache to another, which may have another directory, backend or configuration. The old cache
/// stays as it is.
///
/// Entries keep their keys, values, times and all that was said about them. What the new cache has already, of the same
/// time or newer, is not touched: a migration that was interrupted goes on where it was when it is started again. A cache
/// that evicts while entries arrive needs a larger limit.
///
/// ```
/// use cacheness::Cache;
/// use cacheness::cache::migrate_cache;
///
/// # fn main() -> cacheness::Result<()> {
/// let (old, new) = (Cache::in_memory(), Cache::in_memory());
/// old.put("answer", &42u8)?;
/// assert_eq!(migrate_cache(&old, &new)?.copied, 1);
/// assert_eq!(migrate_cache(&old, &new)?.present, 1);
/// assert_eq!(new.get::<u8>("answer")?, Some(42));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) or [`Metadata`](ErrorKind::Metadata) of either cache; [`Closed`](ErrorKind::Closed).
/// What was copied before is there.
pub fn migrate_cache(old: &Cache, new: &Cache) -> Result<Transfer> {
    migrate_cache_with(old, new, |_| ControlFlow::Continue(()))
}

/// [`migrate_cache`] that tells how far it is after each entry, and ends early when `progress` says so.
///
/// ```
/// use std::ops::ControlFlow;
/// use cacheness::Cache;
/// use cacheness::cache::migrate_cache_with;
///
/// # fn main() -> cacheness::Result<()> {
/// let (old, new) = (Cache::in_memory(), Cache::in_memory());
/// old.put_batch([("a", &1u8), ("b", &2u8)])?;
/// let done = migrate_cache_with(&old, &new, |so_far| {
///     println!("{} of {}", so_far.seen(), so_far.total);
///     ControlFlow::Break(())
/// })?;
/// assert_eq!(done.copied, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`migrate_cache`].
pub fn migrate_cache_with(
    old: &Cache,
    new: &Cache,
    mut progress: impl FnMut(&Transfer) -> ControlFlow<()>,
) -> Result<Transfer> {
    let (from, to) = (old.engine()?, new.engine()?);
    let mut transfer = Transfer { total: old.len()?, ..Transfer::default() };
    let moved = from.each_stored(|taken| {
        match taken {
            Taken::Whole(entry, stored) => to.take_over(&entry, &stored, &mut transfer)?,
            left => left.count(&mut transfer),
        }
        match progress(&transfer) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(stopped()),
        }
    });
    match moved {
        Err(error) if !is_stop(&error) => Err(error),
        _ => Ok(transfer),
    }
}

/// Ends a scan without an error.
#[derive(Debug)]
struct Stop;

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped by the caller")
    }
}

impl std::error::Error for Stop {}

fn stopped() -> CacheError {
    CacheError::caused_by(ErrorKind::Closed, "the migration was stopped", Stop)
}

fn is_stop(error: &CacheError) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<Stop>())
}
