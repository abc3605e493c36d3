//! Which blobs are written and not synced.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::storage::blob::BlobName;

/// So many are remembered by name; of more, only that there are some. That bounds memory where nobody asks for a sync.
const MOST: usize = 1024;
/// From so many on, one sync of the file system is cheaper than one for each.
const MANY: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Unsynced {
    names: BTreeSet<BlobName>,
    /// There are others.
    more: bool,
    /// A sync of all has failed, and not all of them are known by name yet.
    failed: bool,
}

impl Unsynced {
    pub(super) fn note(&mut self, name: &BlobName) {
        match self.names.len() < MOST {
            true => drop(self.names.insert(name.clone())),
            false => self.more = true,
        }
    }

    pub(super) fn forget(&mut self, name: &BlobName) {
        self.names.remove(name);
    }

    pub(super) fn are_many(&self) -> bool {
        self.more || self.failed || self.names.len() >= MANY
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn set_failed(&mut self, failed: bool) {
        self.failed = failed;
    }

    pub(super) fn names(&self) -> &BTreeSet<BlobName> {
        &self.names
    }

    pub(super) fn names_mut(&mut self) -> &mut BTreeSet<BlobName> {
        &mut self.names
    }

    /// All are synced but these.
    pub(super) fn keep_only(&mut self, again: impl Fn(&BlobName) -> bool) {
        self.names.retain(again);
        self.more = false;
    }

    /// Remembers all by name. Where some are not known, that is every blob there is.
    pub(super) fn name_all(
        &mut self,
        list: impl FnOnce(&mut dyn FnMut(BlobName) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        if self.more {
            list(&mut |name| {
                self.names.insert(name);
                Ok(())
            })?;
            self.more = false;
        }
        Ok(())
    }

    /// Takes up what is to be synced again.
    pub(super) fn append(&mut self, mut again: Self) {
        self.names.append(&mut again.names);
        self.more |= again.more;
        self.failed |= again.failed;
    }
}
