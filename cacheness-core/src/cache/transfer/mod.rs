//! Entries from one cache to another, as they are stored: nothing is decoded on the way.

#[cfg(feature = "archive")]
mod archive;
mod migrate;
#[cfg(test)]
mod tests;

use super::engine::Engine;
use super::walk::Way;
use crate::engine::Found;
use crate::entry::Entry;
use crate::error::Result;
use crate::util::digest;

pub use migrate::{migrate_cache, migrate_cache_with};

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
        self.each(Way::Everything, |key, record| {
            if !record.is_believed() {
                return visit(Taken::Damaged);
            }
            let mut found = Found { core: record.core()?, record: record.clone() };
            let taken = match self.store().load_stored(key, &mut found) {
                // Also where reads are configured not to look: damage must not get a new checksum elsewhere.
                Ok(Some(stored)) if digest::checksum(&stored) == found.core.checksum => {
                    Taken::Whole(Box::new(self.describe(&found.record)?), stored)
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
        let claimed = match self.claim(&entry.key, &entry.details, None) {
            Err(error) if error.is_conflict() => {
                log::debug!("an entry is left behind: {error}");
                transfer.refused += 1;
                return Ok(());
            }
            claimed => claimed?,
        };
        let put =
            self.store().put_stored_over(there.as_ref().map(|there| &there.record), entry, stored, self.max_bytes());
        drop(claimed);
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
