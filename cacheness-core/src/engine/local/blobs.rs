//! Blobs that many machines share, with copies of them on this machine.

use std::sync::Arc;

use super::Tier;
use super::copies::LARGEST_PART;
use crate::config::Durability;
use crate::engine::opened::Opened;
use crate::error::Result;
use crate::storage::BlobName;
use crate::storage::blob::{BlobBackend, BlobInfo, BlobRead, BlobWrite};

/// So much of a blob is copied at a time.
const PIECE: usize = 1 << 20;

/// Reads a blob from its copy; what is written goes to where all machines have it, and is copied.
#[derive(Debug)]
pub(super) struct TieredBlobs {
    pub(super) tier: Arc<Tier>,
    pub(super) shared: Arc<dyn BlobBackend>,
}

impl Tier {
    fn is_worth_copying(&self, len: u64) -> bool {
        self.takes_copies() && len <= self.max_bytes / LARGEST_PART
    }

    /// What a copy gives, if there is one that can be read.
    fn near_blob<R>(&self, name: &BlobName, read: impl FnOnce(&dyn BlobBackend) -> Result<Option<R>>) -> Option<R> {
        let found = read(&self.blobs).unwrap_or_else(|error| {
            log::debug!("the copy of blob {name} is not used: {error}");
            self.remove_blob(name);
            None
        });
        if found.is_some() {
            self.value_hits.count()
        } else {
            self.value_misses.count()
        }
        found
    }

    /// A copy without a row that names it would be found by nobody who makes room.
    fn is_named(&self, name: &BlobName) -> bool {
        let owner = Opened::owner(&self.blobs, name, &self.limits);
        let row = owner.and_then(|key| Some((self.near(key.as_bytes())?, key)));
        row.and_then(|(row, key)| self.record(key.as_bytes(), &row)?.blob()).as_ref() == Some(name)
    }

    /// Copies a blob; says whether there is a copy now.
    fn write_copy(&self, name: &BlobName, parts: &[&[u8]]) -> bool {
        if !self.is_worth_copying(parts.iter().map(|part| part.len() as u64).sum()) {
            return false;
        }
        let written = self.blobs.write(name, parts, Durability::Interval);
        written.inspect_err(|error| self.rest_after(error)).is_ok()
    }

    /// Copies a blob that is open; says whether there is a copy now.
    ///
    /// # Errors
    /// Those of reading it.
    fn copy_blob(&self, name: &BlobName, far: &mut dyn BlobRead) -> Result<bool> {
        let not_taken = |error| {
            self.rest_after(&error);
            Ok(false)
        };
        let mut near = match self.blobs.create(name) {
            Ok(near) => near,
            Err(error) => return not_taken(error),
        };
        let (mut at, mut piece) = (0, Vec::new());
        while at < far.len() {
            piece.clear();
            far.append_to(at, PIECE, &mut piece)?;
            if piece.is_empty() {
                return Ok(false);
            }
            if let Err(error) = near.write(&piece) {
                return not_taken(error);
            }
            at += piece.len() as u64;
        }
        match near.publish(Durability::Interval) {
            Ok(()) if self.is_named(name) => Ok(true),
            Ok(()) => {
                self.remove_blob(name);
                Ok(false)
            }
            Err(error) => not_taken(error),
        }
    }
}

impl BlobBackend for TieredBlobs {
    fn name(&self) -> &'static str {
        self.shared.name()
    }

    fn is_remote(&self) -> bool {
        self.shared.is_remote()
    }

    fn write(&self, name: &BlobName, parts: &[&[u8]], durability: Durability) -> Result<()> {
        self.shared.write(name, parts, durability)?;
        self.tier.write_copy(name, parts);
        Ok(())
    }

    fn write_tagged(&self, name: &BlobName, parts: &[&[u8]], durability: Durability) -> Result<Option<String>> {
        let tag = self.shared.write_tagged(name, parts, durability)?;
        self.tier.write_copy(name, parts);
        Ok(tag)
    }

    fn create(&self, name: &BlobName) -> Result<Box<dyn BlobWrite>> {
        self.shared.create(name)
    }

    fn open(&self, name: &BlobName) -> Result<Option<Box<dyn BlobRead>>> {
        if let Some(near) = self.tier.near_blob(name, |near| near.open(name)) {
            return Ok(Some(near));
        }
        let Some(mut far) = self.shared.open(name)? else { return Ok(None) };
        if self.tier.is_worth_copying(far.len()) && self.tier.copy_blob(name, &mut *far)? {
            // Who removes it meanwhile takes the one that is far away, too.
            return Ok(Some(self.tier.blobs.open(name).ok().flatten().unwrap_or(far)));
        }
        Ok(Some(far))
    }

    fn read(&self, name: &BlobName, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        if let Some(near) = self.tier.near_blob(name, |near| near.read(name, max_bytes)) {
            return Ok(Some(near));
        }
        let far = self.shared.read(name, max_bytes)?;
        if let Some(bytes) = &far
            && self.tier.write_copy(name, &[bytes])
            && !self.tier.is_named(name)
        {
            self.tier.remove_blob(name);
        }
        Ok(far)
    }

    fn read_range(&self, name: &BlobName, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
        match self.tier.near_blob(name, |near| near.read_range(name, offset, len)) {
            Some(near) => Ok(Some(near)),
            None => self.shared.read_range(name, offset, len),
        }
    }

    fn remove(&self, name: &BlobName) -> Result<bool> {
        self.tier.remove_blob(name);
        self.shared.remove(name)
    }

    fn remove_many(&self, names: &[BlobName]) -> Result<u64> {
        names.iter().for_each(|name| self.tier.remove_blob(name));
        self.shared.remove_many(names)
    }

    fn quarantine(&self, name: &BlobName) -> Result<()> {
        self.tier.remove_blob(name);
        self.shared.quarantine(name)
    }

    fn give_up_copy(&self, name: &BlobName) -> bool {
        self.tier.blobs.remove(name).unwrap_or(false)
    }

    fn page(&self, after: Option<&BlobName>, limit: usize) -> Result<Vec<BlobInfo>> {
        self.shared.page(after, limit)
    }

    fn sync(&self) -> Result<()> {
        self.shared.sync()
    }

    fn tidy(&self) {
        self.shared.tidy();
    }
}
