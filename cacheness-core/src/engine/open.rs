//! Opening a cache directory: lock, handshake, index, recovery.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::coherent::Coherent;
use super::flusher::Pace;
use super::home::Home;
use super::manifest::Kind;
use super::recover::Reconciled;
use super::retired::Retired;
use super::{Flusher, Settings, Store, keys, manifest, recover, tags};
use crate::config::{CacheConfig, Durability};
use crate::engine::memory::Tier;
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::Rules;
use crate::index::sled::{Health, SledIndex, SledOptions};
use crate::index::{MemoryIndex, MetadataBackend, WithColumns};
use crate::security::Signing;
use crate::storage::blob::{BlobBackend, FilesystemBlobs, MemoryBlobs, Restore};
use crate::storage::vfs::Lock;
use crate::storage::vfs::lock::lock_root;
use crate::storage::vfs::publish::remove_left_over;
use crate::storage::vfs::root::make_rooms;

/// The lock of the directory, until it is released or the store is gone.
#[derive(Debug, Default)]
pub(crate) struct HeldLock(Mutex<Option<Box<dyn Lock>>>);

impl HeldLock {
    fn of(lock: Box<dyn Lock>) -> Self {
        Self(Mutex::new(Some(lock)))
    }

    pub(crate) fn release(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Settings {
    pub(crate) fn of(config: &CacheConfig, signing: Arc<Signing>) -> Self {
        Self {
            limits: config.limits,
            durability: config.durability,
            values: config.value_compression(),
            numbers: config.number_compression(),
            compress_from: config.compression.threshold_bytes,
            // What an index in memory holds is not there the next time.
            inline_up_to: if keeps_files_alone(config) { 0 } else { config.storage.inline_bytes },
            verify: config.metadata.verify_cache_integrity,
            damage_is_absence: true,
            signing,
        }
    }
}

/// Whether there is nothing but files to find the entries by.
fn keeps_files_alone(config: &CacheConfig) -> bool {
    config.has_index_in_memory() && !config.is_in_memory()
}

/// The index of a directory, in agreement with its blobs.
fn open_index(
    home: &Home,
    blobs: &FilesystemBlobs,
    config: &CacheConfig,
    signing: &Arc<Signing>,
) -> Result<Arc<dyn MetadataBackend>> {
    let rules = Rules { limits: &config.limits, signing };
    if keeps_files_alone(config) {
        return index_of_files(home.root(), blobs, rules);
    }
    let options =
        SledOptions { root: home.way(), page_cache_bytes: config.page_cache_bytes(), signing: Arc::clone(signing) };
    let (index, health) = SledIndex::open(options)?;
    // What is not believed may have been lost with the index: with its key at hand it will be taken up.
    let proof = index.take_proof();
    let reconciled = recover::reconcile(&index, blobs, health, proof.as_ref(), rules)?;
    if health == Health::Damaged {
        index.count_losses();
    }
    // A kill must not leave blobs that were taken up without a record and without what proves them.
    if matches!(health, Health::New | Health::Damaged) {
        index.flush()?;
    }
    index.begin_use(reconciled == Reconciled::Whole)?;
    Ok(Arc::new(index))
}

/// An index in memory of what the files say. A directory that has an index is refused: values may lie in that alone.
fn index_of_files(root: &Path, blobs: &FilesystemBlobs, rules: Rules<'_>) -> Result<Arc<dyn MetadataBackend>> {
    if SledIndex::is_at(root) {
        let message = format!(
            "{} has an index of its own: open it with metadata.backend `sled`, or choose another directory",
            root.display()
        );
        return Err(CacheError::new(ErrorKind::Config, message));
    }
    let index = MemoryIndex::default();
    if recover::reconcile(&index, blobs, Health::New, None, rules)? == Reconciled::WithoutDistrusted {
        recover::note_distrusted(&index, blobs, rules)?;
    }
    Ok(Arc::new(index))
}

/// Makes a directory that was emptied while it was in use one of ours again: what is made in it would be nobody's else.
fn restore(home: &Home, manifest: &str) -> Restore {
    let (home, manifest) = (home.clone(), manifest.to_owned());
    Restore::by(move || {
        home.check_is_still(&manifest)?;
        if home.kind() == Kind::Cache && manifest::is_gone(&*home.vfs(), home.root()) {
            tags::write(&*home.vfs(), home.root());
        }
        make_rooms(&*home.vfs(), home.root())?;
        manifest::restore(&*home.vfs(), home.root(), &manifest)
    })
}

/// An index with what stands before it.
struct Fronted {
    index: Arc<dyn MetadataBackend>,
    columns: Arc<WithColumns>,
    memory: Option<Arc<Tier>>,
}

/// The index with orders over columns before it, and before those the values in memory, if there are to be any.
fn before(index: Arc<dyn MetadataBackend>, config: &CacheConfig) -> Fronted {
    let columns = Arc::new(WithColumns::new(index));
    match config.memory() {
        Some(bounds) => {
            let memory = Arc::new(Tier::new(bounds));
            let index = Arc::new(Coherent::new(Arc::clone(&columns) as Arc<dyn MetadataBackend>, Arc::clone(&memory)));
            Fronted { index, columns, memory: Some(memory) }
        }
        None => Fronted { index: Arc::clone(&columns) as Arc<dyn MetadataBackend>, columns, memory: None },
    }
}

impl Store {
    /// Opens a [prepared](super::prepare) directory for this process alone.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) if another process has it; [`Config`](crate::ErrorKind::Config) if another kind
    /// of index is there; [`Storage`](crate::ErrorKind::Storage) and [`Metadata`](crate::ErrorKind::Metadata). Damage is
    /// not an error: what can be believed is kept.
    pub(crate) fn open(home: Home, config: &CacheConfig) -> Result<Self> {
        let (vfs, root, kind) = (home.vfs(), home.root(), home.kind());
        let lock = lock_root(&*vfs, root)?;
        remove_left_over(&*vfs, root, &[manifest::FILE_NAME])?;
        let found = manifest::shake_hands(&*vfs, root, kind)?;
        let signing = Arc::new(keys::signing_of(&*vfs, root, kind, found, &config.security)?);
        let manifest = manifest::text_of(&*vfs, root)?;
        let mut blobs = FilesystemBlobs::new(vfs, root, restore(&home, &manifest));
        if keeps_files_alone(config) && config.durability == Durability::Immediate {
            blobs = blobs.with_durable_removals();
        }
        let Fronted { index, columns, memory } = before(open_index(&home, &blobs, config, &signing)?, config);
        let blobs: Arc<dyn BlobBackend> = Arc::new(blobs);
        let mut settings = Settings { damage_is_absence: kind == Kind::Cache, ..Settings::of(config, signing) };
        // A power cut may leave a file of the right length with zeros in it, and only the checksum tells.
        settings.verify |= settings.leaves_blobs_to_the_system();
        let retired = Arc::<Retired>::default();
        let flusher = match config.durability {
            Durability::Immediate => None,
            Durability::Interval => {
                let (index, blobs, retired) = (Arc::clone(&index), Arc::clone(&blobs), Arc::clone(&retired));
                let leave_blobs = settings.leaves_blobs_to_the_system();
                Some(Flusher::start(index, blobs, retired, Pace { interval: config.flush_interval(), leave_blobs })?)
            }
        };
        Ok(Self {
            home: Some(home),
            manifest,
            index,
            columns,
            memory,
            blobs,
            settings,
            flusher,
            retired,
            lock: HeldLock::of(lock),
        })
    }

    /// A store that lives and dies with the process.
    pub(crate) fn in_memory(config: &CacheConfig) -> Self {
        Self::of_parts(Arc::new(MemoryIndex::default()), Arc::new(MemoryBlobs::new()), config)
    }

    /// A store without a directory of its own, which flushes when it is told to.
    pub(crate) fn of_parts(index: Arc<dyn MetadataBackend>, blobs: Arc<dyn BlobBackend>, config: &CacheConfig) -> Self {
        let Fronted { index, columns, memory } = before(index, config);
        Self {
            home: None,
            manifest: String::new(),
            index,
            columns,
            memory,
            blobs,
            settings: Settings::of(config, Arc::default()),
            flusher: None,
            retired: Arc::default(),
            lock: HeldLock::default(),
        }
    }
}
