//! Blobs and what refers to them: how many entries refer to the blob of each content, and which blobs are being written.
//!
//! Nothing of this is stored: the counts are taken from the records when a store is opened. So no crash can leave a
//! wrong one. While the store is open a count goes up before a record is written and down after one is gone; it may be
//! too high after an error, and then a blob stays too long. An index that was rebuilt meanwhile is counted again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::StoredCodec;
use crate::engine::index::Index;
use crate::entry::{Core, IndexKey};
use crate::error::Result;
use crate::index::Record;
use crate::storage::BlobName;
use crate::util::digest::Identity;

const PAGE: usize = 1024;

/// How many entries refer to each blob.
#[derive(Debug, Default)]
pub(super) struct References {
    blobs: HashMap<BlobName, u64>,
    by_identity: HashMap<Identity, SharedBlob>,
    /// Which replacement of the index was looked at.
    of_epoch: u64,
}

/// A blob that entries of one content share.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SharedBlob {
    pub name: BlobName,
    codec: StoredCodec,
    raw_size: u64,
    stored_size: u64,
    checksum: u64,
}

impl SharedBlob {
    pub(super) fn new(name: BlobName, core: &Core) -> Self {
        let Core { codec, raw_size, stored_size, checksum, .. } = *core;
        Self { name, codec, raw_size, stored_size, checksum }
    }

    /// Tells a core what is stored in this blob.
    pub(super) fn describe(&self, core: &mut Core) {
        core.codec = self.codec;
        core.raw_size = self.raw_size;
        core.stored_size = self.stored_size;
        core.checksum = self.checksum;
    }
}

impl References {
    /// Counts what the records refer to.
    pub(super) fn of(index: &Index) -> Result<Self> {
        // Asked first: what is replaced during the look is looked at again.
        let mut references = Self { of_epoch: index.epoch(), ..Self::default() };
        let mut after: Option<IndexKey> = None;
        loop {
            let page = index.scan(after.as_ref(), PAGE)?;
            page.iter().for_each(|(_, record)| references.count(record));
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(references),
            }
        }
    }

    /// Counts again if the index was replaced meanwhile: records that were removed may have come back. Of both counts the
    /// higher one is kept, for somebody may be about to release what was removed just now.
    pub(super) fn keep_up_with(&mut self, index: &Index) {
        if index.epoch() == self.of_epoch {
            return;
        }
        match Self::of(index) {
            Ok(now) => self.merge(now),
            Err(error) => log::debug!("references are counted later: {error}"),
        }
    }

    fn merge(&mut self, now: Self) {
        for (name, count) in now.blobs {
            let known = self.blobs.entry(name).or_default();
            *known = count.max(*known);
        }
        for (content, shared) in now.by_identity {
            self.by_identity.entry(content).or_insert(shared);
        }
        self.of_epoch = now.of_epoch;
    }

    fn count(&mut self, record: &Record) {
        if !record.is_believed() {
            // Perhaps one of several that share a blob, and whoever has its key wants it back.
            if let Some(name) = record.blob() {
                *self.blobs.entry(name).or_default() += 1;
            }
            return;
        }
        if let (Ok(entry), Some(name)) = (record.entry(), record.blob())
            && let Some(content) = entry.details.content
        {
            self.refer(content, SharedBlob::new(name, &entry.core));
        }
    }

    pub(super) fn find(&self, content: &Identity) -> Option<&SharedBlob> {
        self.by_identity.get(content)
    }

    /// Notes one more reference to the blob of a content.
    pub(super) fn refer(&mut self, content: Identity, shared: SharedBlob) {
        *self.blobs.entry(shared.name.clone()).or_default() += 1;
        self.by_identity.entry(content).or_insert(shared);
    }

    /// Notes one reference less; says whether that was the last one.
    pub(super) fn release(&mut self, content: &Identity, name: &BlobName) -> bool {
        let last = self.blobs.contains_key(name) && self.release_name(name);
        if last {
            self.forget(content, name);
        }
        last
    }

    /// Notes one reference less by a record that is not believed; says whether no other is known.
    pub(super) fn release_name(&mut self, name: &BlobName) -> bool {
        let Some(count) = self.blobs.get_mut(name) else { return true };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.blobs.remove(name);
        }
        last
    }

    /// Lets the next value of this content have a blob of its own: this one is damaged.
    pub(super) fn forget(&mut self, content: &Identity, name: &BlobName) {
        if self.by_identity.get(content).is_some_and(|shared| shared.name == *name) {
            self.by_identity.remove(content);
        }
    }

    pub(super) fn refers_to(&self, name: &BlobName) -> bool {
        self.blobs.contains_key(name)
    }
}

/// The blobs that are written and not committed: nothing refers to them, and they are not garbage.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingBlobs(Arc<Mutex<HashSet<BlobName>>>);

/// Keeps a blob from being taken for garbage.
#[derive(Debug)]
pub(super) struct PendingBlob {
    all: PendingBlobs,
    name: BlobName,
}

impl PendingBlobs {
    fn lock(&self) -> MutexGuard<'_, HashSet<BlobName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self) -> PendingBlob {
        let name = BlobName::unique();
        self.lock().insert(name.clone());
        PendingBlob { all: self.clone(), name }
    }

    pub(super) fn names(&self) -> HashSet<BlobName> {
        self.lock().clone()
    }
}

impl PendingBlob {
    pub(super) fn name(&self) -> &BlobName {
        &self.name
    }
}

impl Drop for PendingBlob {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
    }
}
