use std::path::PathBuf;
use std::sync::Arc;

use super::BlobStore;
use super::contents::Contents;
use super::engine::Engine;
use super::registry;
use crate::config::Codec;
use crate::config::limits::Limits;
use crate::config::{CacheConfig, Durability, SecurityConfig};
use crate::engine::manifest::Kind;
use crate::engine::{Home, Store};
use crate::error::Result;

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

    /// The backend by its name: `sled` (index on disk, values in files, the default) or `memory` (nothing is written to
    /// disk).
    pub fn backend(mut self, name: impl Into<String>) -> Self {
        self.config = self.config.with_backend(name);
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
    /// Default false. It may differ from one opening of a directory to the next.
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
    /// [`Config`](crate::ErrorKind::Config) if the backend is not known, the codec has no such level or a limit is 0;
    /// [`Conflict`](crate::ErrorKind::Conflict) if the directory is a cache's or of another release;
    /// [`Locked`](crate::ErrorKind::Locked) if the store is open already, in this process or another;
    /// [`Storage`](crate::ErrorKind::Storage) if the directory cannot be made or written, is owned by another user, may
    /// be written by others, or holds something of others under a name that the store would use.
    pub fn open(self) -> Result<BlobStore> {
        self.config.validate()?;
        let contents = self.content_addressable;
        if self.config.is_in_memory() {
            return Ok(self.in_memory());
        }
        let home = Home::prepare(Kind::BlobStore, &self.config.storage.cache_dir)?;
        let store = || Store::open(home.clone(), &self.config);
        registry::open(&home, || Engine::open(store()?, contents)).map(BlobStore::over)
    }

    /// Opens a store in memory, whatever the backend is.
    pub(super) fn in_memory(self) -> BlobStore {
        let store = Store::in_memory(&self.config);
        BlobStore::over(Arc::new(Engine::new(store, Contents::default(), self.content_addressable)))
    }
}
