//! Opening a cache directory: lock, handshake, index, recovery.

use std::sync::{Arc, Weak};
use std::thread;

use super::home::{Home, write_tags};
use super::index::Index;
use super::manifest::{self, Kind};
use super::neighbours::{self, Tenure, Users};
use super::recover::{self, Reconciled, Unnamed};
use super::write::Retired;
use super::{Flusher, Pace, Settings, Store, keys};
use crate::config::backends::{self, BackendOptions};
use crate::config::{CacheConfig, Durability, FILESYSTEM, MEMORY, SLED, values_are_gone};
use crate::engine::memory::Tier;
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::Rules;
use crate::index::backend::{LEASE, Swap, Traits};
use crate::index::neighbours::Joined;
use crate::index::sled::{Health, SledIndex, SledOptions};
use crate::index::{self, MemoryMetadata, MetadataBackend};
use crate::security::Signing;
use crate::storage::blob::{self, BlobBackend, FilesystemBlobs, MemoryBlobs, Restore};
use crate::storage::vfs::publish::remove_left_over;
use crate::storage::vfs::root::{HeldLock, lock_root, make_rooms};

impl Settings {
    pub(crate) fn of(config: &CacheConfig, signing: Arc<Signing>) -> Self {
        Self {
            limits: config.limits,
            durability: config.durability,
            values: config.value_compression(),
            numbers: config.number_compression(),
            compress_from: config.compression.threshold_bytes,
            inline_up_to: config.storage.inline_bytes,
            verify: config.metadata.verify_cache_integrity,
            damage_is_absence: true,
            signing,
        }
    }
}

/// Rows that were opened and not yet brought together with the blobs.
enum Rows {
    Sled(Arc<SledIndex>, Health),
    Other(Arc<dyn MetadataBackend>),
}

/// Where the rows of other backends than sled say that they are in use, and in which format.
const FORMAT_STATE: &str = "cacheness.format";
const FORMAT: &[u8] = b"2";

impl Rows {
    /// Opens the rows of a directory whose lock the caller holds. One with rows of another backend is refused: values may
    /// lie in them alone.
    fn open(home: &Home, config: &CacheConfig, signing: &Arc<Signing>) -> Result<Self> {
        let backend = config.metadata.backend.as_str();
        if let Some(found) = index::found_in(home.root()).filter(|found| *found != backend) {
            let message = format!(
                "{} has an index of its own: open it with metadata.backend `{found}`, or choose another directory",
                home.root().display()
            );
            return Err(CacheError::new(ErrorKind::Conflict, message));
        }
        if backend == SLED {
            let (page_cache_bytes, signing) = (config.page_cache_bytes(), Arc::clone(signing));
            let (sled, health) = SledIndex::open(SledOptions { root: home.way(), page_cache_bytes, signing })?;
            return Ok(Self::Sled(Arc::new(sled), health));
        }
        let options = BackendOptions::of(&backends::METADATA, &home.way(), &config.metadata.backend_options());
        index::open_in(backend, &options).map(Self::Other)
    }

    fn backend(&self) -> Arc<dyn MetadataBackend> {
        match self {
            Self::Sled(sled, _) => Arc::clone(sled) as Arc<dyn MetadataBackend>,
            Self::Other(rows) => Arc::clone(rows),
        }
    }

    fn sled(&self) -> Option<Arc<SledIndex>> {
        match self {
            Self::Sled(sled, _) => Some(Arc::clone(sled)),
            Self::Other(_) => None,
        }
    }

    /// The index over these rows, in agreement with the blobs.
    fn into_index(
        self,
        (home, alone): (&Home, bool),
        blobs: &dyn BlobBackend,
        config: &CacheConfig,
        signing: &Arc<Signing>,
    ) -> Result<Arc<Index>> {
        let index = index_over(self.backend(), config, signing);
        let rules = Rules { limits: &config.limits, signing };
        match self {
            Self::Sled(sled, health) => agree_with_sled(&index, &sled, health, (home, blobs), rules),
            Self::Other(rows) => match agree_with_rows(&index, (&*rows, alone), blobs, rules) {
                // Its server does not answer yet: nothing is taken up or removed on its word in any case.
                Err(error) if rows.traits().waits && error.is_metadata() => {
                    log::debug!("rows are used as they are: {error}");
                    Ok(())
                }
                agreed => agreed,
            },
        }?;
        Ok(index)
    }
}

fn agree_with_sled(
    index: &Index,
    sled: &SledIndex,
    health: Health,
    (home, blobs): (&Home, &dyn BlobBackend),
    rules: Rules<'_>,
) -> Result<()> {
    // What is not believed may have been lost with the index: with its key at hand it will be taken up.
    let proof = sled.take_proof();
    let unnamed = if neighbours::has_guests(home) { Unnamed::MayBeNew } else { Unnamed::LeftOver };
    let reconciled = recover::reconcile(index, (blobs, unnamed), health, proof.as_ref(), rules)?;
    if health == Health::Damaged {
        sled.count_losses();
    }
    // A kill must not leave blobs that were taken up without a record and without what proves them.
    if matches!(health, Health::New | Health::Damaged) {
        index.flush()?;
    }
    sled.begin_use(reconciled == Reconciled::Whole)
}

/// Rows that live and die with the process are made of what the blobs say, and so are those of a backend that says nothing
/// of an earlier use. Where others share them, blobs without a row may be about to get one.
fn agree_with_rows(
    index: &Index,
    (rows, alone): (&dyn MetadataBackend, bool),
    blobs: &dyn BlobBackend,
    rules: Rules<'_>,
) -> Result<()> {
    let traits = rows.traits();
    let users = if traits.shared && !traits.waits { neighbours::users_before(rows, alone)? } else { Users::Unknown };
    let health = match rows.state(FORMAT_STATE, None)? {
        None => Health::New,
        Some(format) if format == FORMAT && users == Users::AllLeft => Health::Clean,
        Some(format) if format == FORMAT => Health::Unclean,
        Some(format) => {
            let message = format!(
                "the rows of the metadata backend `{}` have the format {:?}, and this release reads {:?}: use the release \
                 that wrote them",
                traits.name,
                String::from_utf8_lossy(&format),
                String::from_utf8_lossy(FORMAT)
            );
            return Err(CacheError::new(ErrorKind::Conflict, message));
        }
    };
    if alone {
        let reconciled = recover::reconcile(index, (blobs, Unnamed::LeftOver), health, None, rules)?;
        if reconciled == Reconciled::WithoutDistrusted {
            // With their key at hand they will be taken up.
            return if traits.persistent { Ok(()) } else { recover::note_distrusted(index, blobs, rules) };
        }
    }
    if health == Health::New && traits.persistent {
        rows.state(FORMAT_STATE, Some(Swap { expected: None, new: Some(FORMAT) }))?;
        index.flush()?;
    }
    Ok(())
}

/// A guest that may become the owner.
struct Successor {
    home: Home,
    manifest: String,
    config: CacheConfig,
    signing: Arc<Signing>,
    blobs: Arc<dyn BlobBackend>,
    tenure: Weak<Tenure>,
}

impl Successor {
    /// Opens the index and serves the other guests; `None` if another process has it.
    fn take_over(&self) -> Result<Option<Arc<dyn MetadataBackend>>> {
        let Some(tenure) = self.tenure.upgrade() else { return Ok(None) };
        let lock = match lock_root(&*self.home.vfs(), self.home.root()) {
            Err(error) if error.is_locked() => return Ok(None),
            lock => lock?,
        };
        self.home.check_is_still(&self.manifest)?;
        let (page_cache_bytes, signing) = (self.config.page_cache_bytes(), Arc::clone(&self.signing));
        let (sled, health) = SledIndex::open(SledOptions { root: self.home.way(), page_cache_bytes, signing })?;
        let sled = Arc::new(sled);
        let index = Index::new(Arc::clone(&sled) as Arc<dyn MetadataBackend>, Arc::clone(&self.signing), None);
        let rules = Rules { limits: &self.config.limits, signing: &self.signing };
        agree_with_sled(&index, &sled, health, (&self.home, &*self.blobs), rules)?;
        // What the other guests were told by the owner before, and have not asked for again, is over.
        sled.keep_journal();
        thread::sleep(LEASE);
        tenure.begin(lock);
        tenure.serve(&self.home, Arc::clone(&sled));
        Ok(Some(sled))
    }
}

/// The blobs of a directory whose lock the caller holds.
fn open_blobs(home: &Home, config: &CacheConfig, manifest: &str, rows: Traits) -> Result<Arc<dyn BlobBackend>> {
    match config.blob_backend() {
        FILESYSTEM => {
            let mut files = FilesystemBlobs::new(home.vfs(), home.root(), restore(home, manifest));
            if !rows.persistent && config.durability == Durability::Immediate {
                files = files.with_durable_removals();
            }
            Ok(Arc::new(files))
        }
        MEMORY if rows.persistent => {
            let message = format!("blob.backend is \"memory\": {}", values_are_gone(rows.name));
            Err(CacheError::new(ErrorKind::Config, message))
        }
        name => {
            let options = BackendOptions::of(&backends::BLOB, &home.way(), &config.blob.options);
            blob::open_in(name, &options)
        }
    }
}

/// Makes a directory that was emptied while it was in use one of ours again: what is made in it would be nobody's else.
fn restore(home: &Home, manifest: &str) -> Restore {
    let (home, manifest) = (home.clone(), manifest.to_owned());
    Restore::by(move || {
        home.check_is_still(&manifest)?;
        if home.kind() == Kind::Cache && manifest::is_gone(&*home.vfs(), home.root()) {
            write_tags(&*home.vfs(), home.root());
        }
        make_rooms(&*home.vfs(), home.root())?;
        manifest::restore(&*home.vfs(), home.root(), &manifest)
    })
}

/// The index over the rows of a backend, with values in memory if there are to be any.
fn index_over(rows: Arc<dyn MetadataBackend>, config: &CacheConfig, signing: &Arc<Signing>) -> Arc<Index> {
    let memory = config.memory().map(|bounds| Arc::new(Tier::new(bounds)));
    Arc::new(Index::new(rows, Arc::clone(signing), memory))
}

impl Store {
    /// Opens a [prepared](super::prepare) directory for this process alone.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) if another process has it; [`Conflict`](crate::ErrorKind::Conflict) if another kind
    /// of index is there; [`Storage`](crate::ErrorKind::Storage) and [`Metadata`](crate::ErrorKind::Metadata). Damage is
    /// not an error: what can be believed is kept.
    pub(crate) fn open(home: Home, config: &CacheConfig) -> Result<Self> {
        let (vfs, root, kind) = (home.vfs(), home.root(), home.kind());
        let hold = match neighbours::hold(&home, config) {
            Err(error) if error.is_locked() && neighbours::may_be_joined(&home, config) => {
                return Self::join(home, config);
            }
            hold => hold?,
        };
        if hold.is_alone() {
            remove_left_over(&*vfs, root, &[manifest::MANIFEST])?;
        }
        let found = manifest::shake_hands(&*vfs, root, kind)?;
        let signing = Arc::new(keys::signing_of(&*vfs, root, kind, found, &config.security)?);
        let manifest = manifest::text_of(&*vfs, root)?;
        let rows = Rows::open(&home, config, &signing)?;
        let traits = rows.backend().traits();
        let blobs = open_blobs(&home, config, &manifest, traits)?;
        // Other machines may use the same rows, and hold no lock that is seen here: blobs that no row names may be theirs.
        let alone = hold.is_alone() && !traits.waits;
        if alone && !neighbours::has_guests(&home) {
            neighbours::clear_locks(&home);
        }
        let sled = rows.sled();
        let index = rows.into_index((&home, alone), &*blobs, config, &signing)?;
        let tenure = Arc::<Tenure>::default();
        tenure.begin(hold.of(traits, &home, config)?);
        // Who is there matters only where somebody may be alone.
        if traits.shared && !traits.waits {
            neighbours::enter(index.backend())?;
            tenure.set_counted();
        }
        let store = Self::of_directory(home, (manifest, signing), (index, blobs), tenure, config)?;
        if let (Some(home), Some(sled)) = (&store.home, sled)
            && neighbours::may_be_joined(home, config)
        {
            if neighbours::has_guests(home) {
                sled.keep_journal();
                store.index.expect_guests();
                thread::sleep(LEASE);
            }
            store.tenure.serve(home, sled);
        }
        Ok(store)
    }

    /// Opens a directory whose index another process has open, as its guest.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Locked`](crate::ErrorKind::Locked) if the other process does not take guests.
    fn join(home: Home, config: &CacheConfig) -> Result<Self> {
        let (vfs, root, kind) = (home.vfs(), home.root(), home.kind());
        let as_guest = neighbours::announce_guest(&home)?;
        let found = manifest::shake_hands(&*vfs, root, kind)?;
        let signing = Arc::new(keys::signing_of(&*vfs, root, kind, found, &config.security)?);
        let manifest = manifest::text_of(&*vfs, root)?;
        let rows = Traits::new(SLED).persistent();
        let blobs = open_blobs(&home, config, &manifest, rows)?;
        let tenure = Arc::<Tenure>::default();
        let successor = Successor {
            home: home.clone(),
            manifest: manifest.clone(),
            config: config.clone(),
            signing: Arc::clone(&signing),
            blobs: Arc::clone(&blobs),
            tenure: Arc::downgrade(&tenure),
        };
        let joined = Joined::open(home.way(), root, Box::new(move || successor.take_over()))?;
        let index = index_over(Arc::new(joined), config, &signing);
        let store = Self::of_directory(home, (manifest, signing), (index, blobs), tenure, config)?;
        store.as_guest.hold(as_guest);
        Ok(store)
    }

    fn of_directory(
        home: Home,
        (manifest, signing): (String, Arc<Signing>),
        (index, blobs): (Arc<Index>, Arc<dyn BlobBackend>),
        tenure: Arc<Tenure>,
        config: &CacheConfig,
    ) -> Result<Self> {
        let damage_is_absence = home.kind() == Kind::Cache;
        let mut settings = Settings { damage_is_absence, ..Settings::of(config, signing) };
        if !index.backend().traits().persistent {
            // What rows in memory hold is not there the next time.
            settings.inline_up_to = 0;
        }
        // A power cut may leave a file of the right length with zeros in it, and only the checksum tells.
        settings.verify |= settings.leaves_blobs_to_the_system();
        let retired = Arc::<Retired>::default();
        let flusher = match config.durability {
            Durability::Immediate => None,
            Durability::Interval => {
                let (index, blobs, retired) = (Arc::clone(&index), Arc::clone(&blobs), Arc::clone(&retired));
                let leave_blobs = settings.leaves_blobs_to_the_system();
                let pace = Pace { interval: config.flush_interval(), leave_blobs };
                Some(Arc::new(Flusher::start(index, blobs, retired, pace)?))
            }
        };
        tenure.set_host(&home, &index, flusher.as_ref());
        let as_guest = HeldLock::default();
        Ok(Self { home: Some(home), manifest, index, blobs, settings, flusher, retired, tenure, as_guest })
    }

    /// A store that lives and dies with the process.
    pub(crate) fn in_memory(config: &CacheConfig) -> Self {
        Self::of_parts(Arc::new(MemoryMetadata::new()), Arc::new(MemoryBlobs::new()), config)
    }

    /// [`in_memory`](Self::in_memory), with the index that the configuration names.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn open_in_memory(config: &CacheConfig) -> Result<Self> {
        let rows = index::open_in(&config.metadata.backend, &BackendOptions::new())?;
        Ok(Self::of_parts(rows, Arc::new(MemoryBlobs::new()), config))
    }

    /// A store without a directory of its own, which flushes when it is told to.
    pub(crate) fn of_parts(rows: Arc<dyn MetadataBackend>, blobs: Arc<dyn BlobBackend>, config: &CacheConfig) -> Self {
        let index = index_over(rows, config, &Arc::default());
        Self {
            home: None,
            manifest: String::new(),
            index,
            blobs,
            settings: Settings::of(config, Arc::default()),
            flusher: None,
            retired: Arc::default(),
            tenure: Arc::default(),
            as_guest: HeldLock::default(),
        }
    }
}
