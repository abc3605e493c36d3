//! How a store is opened and what a put says of its entry; the directories in which this process has a store open; and how
//! many entries refer to the blob of each content, which is counted at opening.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use once_cell::sync::Lazy;

use super::BlobStore;
use super::engine::Engine;
use crate::config::backends::OptionValue;
use crate::config::{
    CacheConfig, Codec, ConnectionUrl, Durability, Limits, SecondProcess, SecurityConfig, StoredCodec,
};
use crate::engine::index::Index;
use crate::engine::manifest::Kind;
use crate::engine::{Home, Store};
use crate::entry::{Core, IndexKey};
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::Record;
use crate::storage::BlobName;
use crate::storage::vfs::DirId;
use crate::util::digest::Identity;
use crate::util::process::{self, Openings, Origin};
use crate::value::{Metadata, Value};

/// How a [`BlobStore`] is opened: made by [`BlobStore::builder`].
///
/// ```
/// use cacheness::BlobStore;
/// use cacheness::config::Codec;
///
/// # fn main() -> cacheness::Result<()> {
/// # let dir = std::env::temp_dir().join(format!("cacheness-doc-blobs-{}", std::process::id()));
/// let store = BlobStore::builder().dir(&dir).codec(Codec::None).content_addressable(true).open()?;
/// let (first, second) = (store.put(&"the same".to_owned())?, store.put(&"the same".to_owned())?);
/// assert_eq!(first, second);
/// # drop(store);
/// # std::fs::remove_dir_all(dir).ok();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct BlobStoreBuilder {
    config: CacheConfig,
    content_addressable: bool,
}

impl BlobStoreBuilder {
    pub(super) fn new() -> Self {
        let config = CacheConfig::new(".blobstore")
            .with_inline_bytes(0)
            .with_memory_cache(false)
            .with_durability(Durability::Immediate);
        Self { config, content_addressable: false }
    }

    /// The directory of the store, made if it is not there. Default `.blobstore`.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.config = self.config.with_cache_dir(dir);
        self
    }

    /// The backend of the index by its name: `sled` (the default), `memory` (nothing is written to disk) or another one of
    /// [`list_metadata_backends`](crate::list_metadata_backends).
    pub fn backend(mut self, name: impl Into<String>) -> Self {
        self.config = self.config.with_backend(name);
        self
    }

    /// The file of the database, for the backend `sqlite`: a path, or `sqlite:///` and a path.
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.config = self.config.with_database_url(url);
        self
    }

    /// The address of the server, for the backends `postgresql` and `redis`.
    pub fn connection_url(mut self, url: impl Into<ConnectionUrl>) -> Self {
        self.config = self.config.with_connection_url(url);
        self
    }

    /// An option of the backend of the index.
    pub fn metadata_option(mut self, name: impl Into<String>, value: impl Into<OptionValue>) -> Self {
        self.config = self.config.with_metadata_option(name, value);
        self
    }

    /// The backend of values by its name, which is one of [`list_blob_backends`](crate::list_blob_backends): files in the
    /// directory by default.
    pub fn blob_backend(mut self, name: impl Into<String>) -> Self {
        self.config = self.config.with_blob_backend(name);
        self
    }

    /// An option of the backend of values.
    pub fn blob_option(mut self, name: impl Into<String>, value: impl Into<OptionValue>) -> Self {
        self.config = self.config.with_blob_option(name, value);
        self
    }

    /// How values are compressed, at the codec's own level; another follows by [`level`](Self::level). Default
    /// [`Codec::Lz4`]. Streams are never compressed: see [`BlobStore::writer`].
    pub fn codec(mut self, codec: Codec) -> Self {
        self.config = self.config.with_codec(codec);
        self
    }

    /// The level of the codec, where it has levels.
    pub fn level(mut self, level: u8) -> Self {
        self.config = self.config.with_compression_level(level);
        self
    }

    /// Whether equal values are stored once, whatever their keys, and keys that the store makes are made of the content.
    /// Default false. It may differ from one opening of a directory to the next. A store that does so, and one whose entries
    /// share blobs, is for one process at a time.
    pub fn content_addressable(mut self, yes: bool) -> Self {
        self.content_addressable = yes;
        self
    }

    /// When a put is safe from a power cut. Default [`Durability::Immediate`]. With [`Durability::Interval`] new entries
    /// reach the disk half a second later; whatever replaces or removes one still reaches it at once.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.config = self.config.with_durability(durability);
        self
    }

    /// Signs every entry with the key in a file, which is made if it is not there, and believes nothing else; see
    /// [`SecurityConfig`]. What is not believed is an error of the kind [`Integrity`](crate::ErrorKind::Integrity).
    pub fn signing_key_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = self.config.with_signing_key_file(file);
        self
    }

    /// Whether entries are signed, with which keys, and what is believed. Default: nothing is signed.
    pub fn security(mut self, security: SecurityConfig) -> Self {
        self.config.security = security;
        self
    }

    /// The largest values and headers accepted.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config = self.config.with_limits(limits);
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if the backend is not known, the codec has no such level or a limit is 0, or a
    /// content-addressable store is to have its index on a server;
    /// [`Conflict`](crate::ErrorKind::Conflict) if the directory is a cache's or of another release;
    /// [`Locked`](crate::ErrorKind::Locked) if this process has the store open already, or another one has it for itself;
    /// [`Storage`](crate::ErrorKind::Storage) if the directory cannot be made or written, is owned by another user, may
    /// be written by others, or holds something of others under a name that the store would use.
    pub fn open(self) -> Result<BlobStore> {
        self.config.validate()?;
        let content_addressable = self.content_addressable;
        if self.config.is_in_memory() {
            let store = Store::open_in_memory(&self.config)?;
            return Ok(BlobStore::over(Arc::new(Engine::new(store, References::default(), content_addressable))));
        }
        let home = Home::prepare(Kind::BlobStore, &self.config.storage.cache_dir)?;
        open(&home, || self.engine(home.clone())).map(BlobStore::over)
    }

    /// Who shares blobs counts in memory how many entries refer to each, and has the directory for itself.
    fn engine(mut self, home: Home) -> Result<Engine> {
        if self.content_addressable {
            self.config.metadata.second_process = SecondProcess::Refuse;
        }
        let mut references = References::default();
        let store = Store::open_if(home, &self.config, |index| {
            // Nobody shares blobs where other machines may be.
            if !index.is_on_a_server() {
                references = References::of(index)?;
            }
            Ok(references.are_none())
        })?;
        if self.content_addressable && store.index().is_on_a_server() {
            let message = format!(
                "a content-addressable store cannot have its index on `{}`: other machines would not know how many entries \
                 share a blob; choose another backend",
                self.config.metadata.backend
            );
            return Err(CacheError::new(ErrorKind::Config, message));
        }
        Ok(Engine::new(store, references, self.content_addressable))
    }

    /// Opens a store in memory, whatever the backend is.
    pub(super) fn in_memory(self) -> BlobStore {
        let store = Store::in_memory(&self.config);
        BlobStore::over(Arc::new(Engine::new(store, References::default(), self.content_addressable)))
    }
}

/// What a put to a [`BlobStore`](crate::BlobStore) says of its entry: its key, and what describes it.
///
/// A text alone is the key:
///
/// ```
/// use cacheness::{BlobOptions, BlobStore};
///
/// # fn main() -> cacheness::Result<()> {
/// let store = BlobStore::in_memory();
/// store.put_with("weights/v1.0", &vec![0.5, 0.25])?;
/// store.put_with(BlobOptions::key("weights/v1.1").metadata("accuracy", 0.95).tag("best"), &vec![0.5, 0.75])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BlobOptions {
    /// The key; one is made if `None`.
    pub key: Option<String>,
    /// A sentence for the reader of a listing.
    pub description: Option<String>,
    /// Groups that the entry belongs to.
    pub tags: Vec<String>,
    /// Values that describe the entry.
    pub metadata: Metadata,
}

impl BlobOptions {
    /// An entry whose key is made by the store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry with this key.
    pub fn key(key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// A sentence for the reader of a listing.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Adds a group.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Adds a value that describes the entry.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }
}

impl From<&str> for BlobOptions {
    fn from(key: &str) -> Self {
        Self::key(key)
    }
}

impl From<String> for BlobOptions {
    fn from(key: String) -> Self {
        Self::key(key)
    }
}

impl From<&String> for BlobOptions {
    fn from(key: &String) -> Self {
        Self::key(key)
    }
}

/// The directories in which this process has a blob store open, whatever their paths.
static OPEN: Lazy<Mutex<HashMap<DirId, Slot>>> = Lazy::new(Mutex::default);
static OPENINGS: Openings = Openings { has_open, close_all };

struct Slot {
    /// Nothing while it is being opened.
    engine: Weak<Engine>,
    /// The process that opened it: a forked child has a copy of this table, and no store.
    origin: Origin,
}

fn open_stores() -> MutexGuard<'static, HashMap<DirId, Slot>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a store in a directory that this process has no store open in.
///
/// # Errors
/// [`Locked`](ErrorKind::Locked) if it has; what `open` says.
fn open(home: &Home, open: impl FnOnce() -> Result<Engine>) -> Result<Arc<Engine>> {
    let opening = OpeningSlot::of(home)?;
    let engine = Arc::new(open()?);
    open_stores().insert(home.id().clone(), Slot { engine: Arc::downgrade(&engine), origin: Origin::here() });
    std::mem::forget(opening);
    process::close_at_exit(&OPENINGS);
    Ok(engine)
}

/// Frees the directory if opening fails or panics.
struct OpeningSlot<'a>(&'a DirId);

impl<'a> OpeningSlot<'a> {
    fn of(home: &'a Home) -> Result<Self> {
        let mut open = open_stores();
        if open.get(home.id()).is_some_and(|slot| slot.origin.is_here()) {
            let message = format!(
                "this process has the blob store in {} open already: clone its handle, or close it first",
                home.root().display()
            );
            return Err(CacheError::new(ErrorKind::Locked, message));
        }
        let slot = Slot { engine: Weak::new(), origin: Origin::here() };
        if let Some(inherited) = open.insert(home.id().clone(), slot)
            && let Some(engine) = inherited.engine.upgrade()
        {
            engine.store().abandon();
        }
        Ok(Self(home.id()))
    }
}

impl Drop for OpeningSlot<'_> {
    fn drop(&mut self) {
        closed(self.0);
    }
}

/// Removes a store that has released its directory.
pub(super) fn closed(id: &DirId) {
    open_stores().remove(id);
}

fn close_all() {
    let open: Vec<_> =
        open_stores().values().filter(|slot| slot.origin.is_here()).filter_map(|slot| slot.engine.upgrade()).collect();
    open.iter().for_each(|engine| engine.shut_and_tell());
}

fn has_open() -> bool {
    // Somebody is opening or closing one, or was when this process was forked.
    let Ok(stores) = OPEN.try_lock() else { return true };
    stores.values().any(|slot| slot.origin.is_here())
}

// What refers to a blob. Nothing of this is stored: the counts are taken from the records when a store is opened. So no
// crash can leave a wrong one. While the store is open a count goes up before a record is written and down after one is
// gone; it may be too high after an error, and then a blob stays too long. An index that was rebuilt meanwhile is counted
// again.

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

    /// Whether no entries share a blob, or may come to do so.
    fn are_none(&self) -> bool {
        self.blobs.is_empty()
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
