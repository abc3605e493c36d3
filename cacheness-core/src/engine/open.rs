//! Opening a cache directory: lock, handshake, index, recovery.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;

use super::home::{Home, write_tags};
use super::index::Index;
use super::lease::Leases;
use super::local::Tier as LocalTier;
use super::manifest::{self, Kind};
use super::neighbours::{self, Tenure};
use super::rows::{Rows, agree_with_sled, index_over, owner_of_blobs};
use super::sweep::{Retired, Sweep};
use super::{Flusher, Pace, Settings, Store, keys};
use crate::config::backends::{self, BackendOptions};
use crate::config::{CacheConfig, Durability, FILESYSTEM, MEMORY, SLED, values_are_gone};
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::Rules;
use crate::index::backend::{LEASE, Traits};
use crate::index::neighbours::Joined;
use crate::index::sled::{SledIndex, SledOptions};
use crate::index::{self, MemoryMetadata, MetadataBackend};
use crate::security::Signing;
use crate::storage::blob::{self, BlobBackend, FilesystemBlobs, MemoryBlobs, Restore};
use crate::storage::vfs::publish::remove_left_over;
use crate::storage::vfs::root::{HeldLock, lock_root, locked, make_rooms};

impl Settings {
    pub(crate) fn of(config: &CacheConfig, signing: Arc<Signing>) -> Self {
        Self {
            limits: config.limits,
            durability: config.durability,
            values: config.value_compression(),
            numbers: config.number_compression(),
            arrays: config.array_compression(),
            compress_from: config.compression.threshold_bytes,
            inline_up_to: config.storage.inline_bytes,
            verify: config.metadata.verify_cache_integrity,
            damage_is_absence: true,
            signing,
        }
    }
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
fn open_blobs(
    home: &Home,
    config: &CacheConfig,
    manifest: &str,
    (rows, owner): (Traits, Option<String>),
) -> Result<Arc<dyn BlobBackend>> {
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
            blob::open_in(name, &options.owned_by(owner))
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

impl Store {
    /// Opens a [prepared](super::prepare) directory: for this process alone, beside others, or as the guest of another one.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) if another process has it for itself, or others have it and this one wants to; [`Conflict`](crate::ErrorKind::Conflict) if another kind
    /// of index is there; [`Storage`](crate::ErrorKind::Storage) and [`Metadata`](crate::ErrorKind::Metadata). Damage is
    /// not an error: what can be believed is kept.
    pub(crate) fn open(home: Home, config: &CacheConfig) -> Result<Self> {
        Self::open_if(home, config, |_| Ok(true))
    }

    /// [`open`](Self::open), for this process alone unless `is_for_several` says of the index that others may use it, too.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_if(
        home: Home,
        config: &CacheConfig,
        is_for_several: impl FnOnce(&Index) -> Result<bool>,
    ) -> Result<Self> {
        let (vfs, root, kind) = (home.vfs(), home.root(), home.kind());
        let hold = match neighbours::hold(&home, config) {
            Err(error) if error.is_locked() && neighbours::may_join(config) => {
                return Self::join(home, config);
            }
            hold => hold?,
        };
        // Guests whose owner has ended may be writing.
        if hold.is_alone() && !neighbours::has_guests(&home) {
            remove_left_over(&*vfs, root, &[manifest::MANIFEST])?;
        }
        let found = manifest::shake_hands(&*vfs, root, kind)?;
        let signing = Arc::new(keys::signing_of(&*vfs, root, kind, found, &config.security)?);
        let manifest = manifest::text_of(&*vfs, root)?;
        let rows = Rows::open(&home, config, &manifest, &signing)?;
        let traits = rows.backend().traits();
        let owner = owner_of_blobs(&manifest, &*rows.backend(), config)?;
        let owner_known = owner.is_some();
        let blobs = open_blobs(&home, config, &manifest, (traits, owner))?;
        let (tier, rows, blobs) = match LocalTier::open(config, (rows.backend(), &blobs), &signing)? {
            Some((tier, rows, blobs)) => (Some(tier), Rows::by_way_of(rows), blobs),
            None => (None, rows, blobs),
        };
        // Other machines may use the same rows, and hold no lock that is seen here: blobs that no row names may be theirs.
        let alone = hold.is_alone() && !traits.waits;
        if alone && !neighbours::has_guests(&home) {
            neighbours::clear_locks(&home);
        }
        let sled = rows.sled();
        let index = rows.into_index((&home, alone), &*blobs, config, &signing)?;
        let takes_others = is_for_several(&index)? && neighbours::takes_others(config);
        if sled.is_some() && !takes_others && neighbours::has_guests(&home) {
            return Err(locked(root, io::ErrorKind::WouldBlock.into()));
        }
        let tenure = Arc::<Tenure>::default();
        tenure.begin(hold.of(traits, &home, takes_others)?);
        // Who is there matters only where somebody may be alone.
        if traits.shared && !traits.waits {
            neighbours::enter(index.backend())?;
            index.set_counted();
        }
        let mut store = Self::of_directory(home, (manifest, signing), (index, blobs), tenure, config)?;
        // Where it could not be asked whose the blobs are, they may be those of other rows.
        store.sweep = store.sweep.take().filter(|_| owner_known || !store.blobs.is_remote());
        // Copies of blobs are left to the system.
        store.settings.verify |= tier.is_some();
        tier.iter().for_each(|tier| tier.flush_by(store.flusher.as_ref()));
        store.tier = tier;
        match (&store.home, sled) {
            (Some(home), Some(sled)) if takes_others => {
                if neighbours::has_guests(home) {
                    sled.keep_journal();
                    store.index.expect_guests();
                    thread::sleep(LEASE);
                }
                store.tenure.serve(home, sled);
            }
            (Some(home), Some(sled)) => store.tenure.serve_nobody(home, sled),
            _ => {}
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
        let owner = manifest::id_in(&manifest).map(str::to_owned);
        let blobs = open_blobs(&home, config, &manifest, (rows, owner))?;
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
        let leases = index.is_on_a_server().then(|| Leases::of(index.shared_backend()));
        // Who opens rows that others share may not tell left-overs from what is about to get a row. What a blob store keeps has
        // nobody to make it anew: there, nothing goes but by name.
        let never_alone = leases.is_some() || index.backend().traits().shared && blobs.is_remote();
        let sweep =
            (never_alone && damage_is_absence).then(|| Sweep::new(settings.limits, Arc::clone(&settings.signing)));
        Ok(Self {
            home: Some(home),
            manifest,
            index,
            blobs,
            settings,
            flusher,
            retired,
            tenure,
            as_guest,
            leases,
            sweep,
            tier: None,
        })
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
            leases: None,
            sweep: None,
            tier: None,
        }
    }
}
