//! What the handles of one store share, and the order of the steps of a put and a delete.
//!
//! A blob is written first, then the record that names it; what it replaced goes when that record is on the disk. So a
//! crash leaves the old value or the new one, and at most a blob too much.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::open::{self, BlobOptions, References, SharedBlob};
use crate::clock::{Clock, SystemClock};
use crate::config::{Durability, StoredCodec};
use crate::engine::Store;
use crate::engine::opened::Opened;
use crate::entry::{Core, Details, Entry, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::{Payload, Record};
use crate::security::Distrust;
use crate::storage::BlobName;
use crate::util::Warnings;
use crate::util::digest::{Identity, hex, unique_name};
use crate::util::process::Origin;
use crate::value::Metadata;

const PAGE: usize = 256;

pub(super) struct Engine {
    store: Arc<Store>,
    references: Mutex<References>,
    pending: PendingBlobs,
    content_addressable: bool,
    closed: AtomicBool,
    origin: Origin,
    warnings: Warnings,
}

/// What an entry says of how its value is encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoding {
    pub data_type: &'static str,
    pub type_fingerprint: u64,
    pub shape: u64,
    pub payload_format: u8,
}

impl Engine {
    pub(super) fn new(store: Store, references: References, content_addressable: bool) -> Self {
        Self {
            store: Arc::new(store),
            references: Mutex::new(references),
            pending: PendingBlobs::default(),
            content_addressable,
            closed: AtomicBool::new(false),
            origin: Origin::here(),
            warnings: Warnings::default(),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn pending(&self) -> &PendingBlobs {
        &self.pending
    }

    pub(super) fn is_content_addressable(&self) -> bool {
        self.content_addressable
    }

    pub(super) fn references(&self) -> MutexGuard<'_, References> {
        self.references.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before a record can go: that of a blob which is shared must have been counted by then.
    pub(super) fn keep_up(&self) {
        // A store that has guests shares no blobs.
        if !self.store.index.is_of_another_process() {
            self.references().keep_up_with(self.store.index());
        }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(CacheError::new(ErrorKind::Closed, "the blob store is closed: open it again to use it"));
        }
        if self.is_inherited() {
            let message = "the blob store is of the process that has forked this one: open it again to use it";
            return Err(CacheError::new(ErrorKind::Closed, message));
        }
        Ok(())
    }

    /// The entry that a put begins with, with its content if equal contents are to share a blob and it is known. Where it
    /// is not and the key is to be made of it, the entry has no name yet, and a key that nobody else has.
    pub(super) fn draft(&self, options: BlobOptions, encoding: &Encoding, content: Option<Identity>) -> Result<Entry> {
        let unnamed = self.content_addressable && options.key.is_none() && content.is_none();
        let name = options.key.or_else(|| content.as_ref().map(|content| hex(content))).unwrap_or_else(unique_name);
        let core = Core {
            created_at: SystemClock.now(),
            expires_at: None,
            ttl: None,
            type_fingerprint: encoding.type_fingerprint,
            shape: encoding.shape,
            payload_format: encoding.payload_format,
            codec: StoredCodec::None,
            raw_size: 0,
            stored_size: 0,
            checksum: 0,
        };
        let details = Details {
            data_type: encoding.data_type.to_owned(),
            description: options.description,
            tags: options.tags,
            metadata: options.metadata,
            name: Some(name.clone()).filter(|_| !unnamed),
            content,
            ..Details::default()
        };
        Ok(Entry { key: IndexKey::of_text(&name)?, core, details, accessed_at: None, signature: None })
    }

    /// How an entry's blob is written. Where there is a value to lose, the new one is on the disk before a record can name
    /// it: another thread may flush the index at any time.
    pub(super) fn durability_of(&self, entry: &Entry) -> Durability {
        // Another process may flush the record, and knows nothing of the blob.
        if self.store.index.may_have_neighbours() {
            return Durability::Immediate;
        }
        match self.store.index.get(&entry.key) {
            Ok(None) => self.store.settings.durability,
            Ok(Some(_)) | Err(_) => Durability::Immediate,
        }
    }

    /// Stores an entry: with the blob that has its content already, else with the one that `write` makes, which also
    /// tells the entry what is in it.
    pub(super) fn place(
        &self,
        mut entry: Entry,
        pending: &PendingBlob,
        write: impl FnOnce(&mut Entry, &BlobName) -> Result<()>,
    ) -> Result<Entry> {
        self.check_open()?;
        self.keep_up();
        if let Some(shared) = self.share(&entry)? {
            return Ok(shared);
        }
        write(&mut entry, pending.name())?;
        self.commit(&mut entry, pending.name())?;
        Ok(entry)
    }

    /// Commits the entry with the blob that has its content, if there is one and it is whole.
    fn share(&self, entry: &Entry) -> Result<Option<Entry>> {
        let Some(content) = entry.details.content else { return Ok(None) };
        let Some(shared) = self.references().find(&content).cloned() else { return Ok(None) };
        let mut entry = entry.clone();
        shared.describe(&mut entry.core);
        if !self.is_whole(&shared.name, &entry)? {
            self.references().forget(&content, &shared.name);
            return Ok(None);
        }
        let record = self.record(&entry, &shared.name)?;
        self.sync_shared(&entry)?;
        let replaced = {
            let mut references = self.references();
            if references.find(&content) != Some(&shared) {
                return Ok(None);
            }
            self.put_referring(&mut references, (content, shared), &entry.key, &record)?
        };
        self.finish_change(replaced.iter().map(|record| (&entry.key, record)))?;
        Ok(Some(entry))
    }

    /// What [`durability_of`](Self::durability_of) is for a new blob, for one that another put may have left unsynced.
    fn sync_shared(&self, entry: &Entry) -> Result<()> {
        match self.durability_of(entry) {
            Durability::Immediate => self.store.blobs.sync(),
            Durability::Interval => Ok(()),
        }
    }

    fn is_whole(&self, name: &BlobName, entry: &Entry) -> Result<bool> {
        let checked = Opened::open(&*self.store.blobs, name, self.store.rules()).and_then(|opened| match opened {
            Some(mut opened) => {
                opened.check_is_of(entry)?;
                // Nobody else than who signs now vouches for what is put now.
                let signed = self.store.settings.signing.signs_as(opened.signer());
                Ok(signed && opened.examine()? == (entry.core.checksum, true))
            }
            None => Ok(false),
        });
        match checked {
            Err(error) if error.is_integrity() || Distrust::is_behind(&error) => Ok(false),
            checked => checked,
        }
    }

    fn commit(&self, entry: &mut Entry, name: &BlobName) -> Result<()> {
        let replaced = match entry.details.content {
            None => {
                let record = self.record(entry, name).inspect_err(|_| self.store.discard(name))?;
                self.store.index.put(&entry.key, &record).inspect_err(|error| match error.is_closed() {
                    // It has not taken the record.
                    true => self.store.discard(name),
                    false => self.doubt(&entry.key, &record),
                })
            }
            Some(content) => self.commit_content(entry, content, name),
        }?;
        self.finish_change(replaced.iter().map(|record| (&entry.key, record)))
    }

    /// Commits with the new blob, or with that of another put of this content that came first.
    fn commit_content(&self, entry: &mut Entry, content: Identity, name: &BlobName) -> Result<Option<Record>> {
        let mut references = self.references();
        let ours = SharedBlob::new(name.clone(), &entry.core);
        let shared = references.find(&content).cloned().unwrap_or_else(|| ours.clone());
        shared.describe(&mut entry.core);
        let is_shared = shared.name != *name;
        let record = self.record(entry, &shared.name).and_then(|record| match is_shared {
            true => self.sync_shared(entry).map(|()| record),
            false => Ok(record),
        });
        // No record names ours, whatever comes of the commit.
        if is_shared || record.is_err() {
            self.store.discard(name);
        }
        let record = record?;
        self.put_referring(&mut references, (content, shared), &entry.key, &record)
    }

    /// Puts a record that refers to the blob of a content, and counts it. After an error the record may be in: then
    /// perhaps one too many is counted, and the blob stays. A closed index has not taken it.
    fn put_referring(
        &self,
        references: &mut References,
        (content, shared): (Identity, SharedBlob),
        key: &IndexKey,
        record: &Record,
    ) -> Result<Option<Record>> {
        let name = shared.name.clone();
        references.refer(content, shared);
        self.store.index.put(key, record).inspect_err(|error| {
            if !error.is_closed() {
                self.doubt(key, record);
            } else if references.release(&content, &name) {
                self.store.discard(&name);
            }
        })
    }

    /// After an error of the index a record may be in it or not: its blob stays until that is known. Where entries share
    /// it, that is at the next opening.
    fn doubt(&self, key: &IndexKey, record: &Record) {
        // The blob of a record that it may have replaced is not known here.
        self.store.index.doubt_blobs();
        if record.entry().is_ok_and(|entry| entry.details.content.is_none()) {
            self.store.doubt_blob_of(key, Some(record));
        }
    }

    fn record(&self, entry: &Entry, name: &BlobName) -> Result<Record> {
        self.store.record(entry, &Payload::Blob(name.clone()), &self.store.settings.signing)
    }

    /// What follows a change of records: flushes, if that was promised or something old is to go, and then removes what is old.
    pub(super) fn finish_change<'r>(&self, gone: impl Iterator<Item = (&'r IndexKey, &'r Record)>) -> Result<()> {
        let mut gone = gone.peekable();
        if gone.peek().is_none() {
            return self.store.after_change();
        }
        if let Err(error) = self.store.flush() {
            match error.is_closed() {
                // The close brings it to the disk.
                true => gone.for_each(|(key, record)| self.release(key, record, |name| self.store.retire_blob(name))),
                false => gone.for_each(|(key, record)| self.doubt(key, record)),
            }
            return Err(error);
        }
        gone.for_each(|(key, record)| self.release(key, record, |name| self.store.discard(name)));
        Ok(())
    }

    /// Ends the blob of a record that is gone, unless others share it.
    fn release(&self, key: &IndexKey, record: &Record, end: impl FnOnce(&BlobName)) {
        let Some(name) = record.blob() else { return };
        if !record.is_believed() {
            let mut references = self.references();
            // Perhaps one of several that share it.
            if references.release_name(&name) && self.store.own_blob(key, record).is_some() {
                end(&name);
            }
            return;
        }
        let Ok(entry) = record.entry() else { return };
        let Some(content) = entry.details.content else { return end(&name) };
        // Held until the file is gone, so that nobody shares it meanwhile.
        let mut references = self.references();
        if references.release(&content, &name) {
            end(&name);
        }
    }

    pub(super) fn remove(&self, key: &IndexKey) -> Result<bool> {
        self.keep_up();
        let removed = self.store.index.remove(key)?;
        self.finish_change(removed.iter().map(|record| (key, record)))?;
        Ok(removed.is_some())
    }

    pub(super) fn clear(&self) -> Result<u64> {
        let mut total = 0;
        self.each_page(|page| {
            self.keep_up();
            let (mut gone, mut failed) = (Vec::new(), Ok(()));
            for (key, record) in page {
                match self.store.index.remove_expected(&key, &record) {
                    Ok(true) => gone.push((key, record)),
                    Ok(false) => {}
                    Err(error) => {
                        failed = Err(error);
                        break;
                    }
                }
            }
            total += gone.len() as u64;
            // Also after an error: the blobs of those that are gone belong to nobody.
            let settled = self.finish_change(gone.iter().map(|(key, record)| (key, record)));
            failed.and(settled)
        })?;
        Ok(total)
    }

    /// Merges metadata into that of an entry; says whether there is one.
    pub(super) fn update_metadata(&self, key: &IndexKey, metadata: &Metadata) -> Result<bool> {
        loop {
            let Some(found) = self.store.find(key)? else { return Ok(false) };
            let mut entry = found.record.entry()?;
            entry.details.metadata.extend(metadata.clone());
            if self.store.redescribe(&found.record, &entry)? {
                return Ok(true);
            }
        }
    }

    /// Visits all records in pages. One that is put or removed meanwhile may be visited or not.
    pub(super) fn each_page(&self, mut visit: impl FnMut(Vec<(IndexKey, Record)>) -> Result<()>) -> Result<()> {
        let mut after: Option<IndexKey> = None;
        loop {
            let page = self.store.index.scan(after.as_ref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            visit(page)?;
        }
    }

    /// Whether this process is a forked child that has its parent's store, without the threads of it.
    fn is_inherited(&self) -> bool {
        !self.origin.is_here() && self.store.root().is_some()
    }

    /// Closes the store, once. An inherited one is its owner's to close.
    pub(super) fn shut(&self) -> Result<()> {
        if self.is_inherited() || self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let closed = self.store.close();
        if let Some(id) = self.store.id() {
            open::closed(id);
        }
        closed
    }

    /// Closes the store where nobody is there to be told of an error.
    pub(super) fn shut_and_tell(&self) {
        if let Err(error) = self.shut() {
            self.warnings.tell("close the blob store", &error);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.is_inherited() {
            // Dropping it would wait for a thread that only the parent has, and write into the parent's files.
            std::mem::forget(Arc::clone(&self.store));
        } else {
            self.shut_and_tell();
        }
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
