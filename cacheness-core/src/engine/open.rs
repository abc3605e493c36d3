//! Opening a directory: held by a handle, so that it stays the same one, also when it is moved and another one takes its
//! path; then lock, handshake, index, recovery.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::index::Index;
use super::manifest::{self, Claimed, Kind, MANIFEST};
use super::recover::{self, Reconciled};
use super::write::Retired;
use super::{Flusher, Pace, Settings, Store, keys};
use crate::config::backends::{self, BackendOptions};
use crate::config::{CacheConfig, Durability, FILESYSTEM, MEMORY, SLED, values_are_gone};
use crate::engine::memory::Tier;
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::Rules;
use crate::index::backend::{Swap, Traits};
use crate::index::sled::{Health, SledIndex, SledOptions};
use crate::index::{MemoryMetadata, MetadataBackend, registry};
use crate::security::Signing;
use crate::storage::blob::{self, BlobBackend, FilesystemBlobs, MemoryBlobs, Restore};
use crate::storage::vfs::publish::remove_left_over;
use crate::storage::vfs::root::{HeldLock, OTHER_NAMES, TAGS, check, find_root, lock_root, make_rooms};
use crate::storage::vfs::{DirId, RealVfs, Vfs, storage_error};

/// A directory that is known to be one of cacheness, and may be used.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    vfs: Arc<RealVfs>,
    root: PathBuf,
    id: DirId,
    kind: Kind,
}

/// Makes a cache directory where it is missing, and checks that it is ours and safe to use. Nothing is changed in one that
/// is not.
///
/// # Errors
/// [`Storage`](ErrorKind::Storage) if it cannot be made, must not be used, or something is in the way;
/// [`Conflict`](ErrorKind::Conflict) if another release wrote it, or it belongs to a blob store.
pub(crate) fn prepare(dir: &Path) -> Result<Home> {
    Home::prepare(Kind::Cache, dir)
}

impl Home {
    /// [`prepare`] for a directory of either kind.
    pub(crate) fn prepare(kind: Kind, dir: &Path) -> Result<Self> {
        let root = find_root(&RealVfs::new(), dir)?;
        let open = || RealVfs::at_home(&root).and_then(|vfs| Ok((vfs.home_id()?, vfs)));
        let (id, vfs) = open().map_err(|error| storage_error("open the directory", &root, error))?;
        // What was checked by its path may be another directory by now.
        check(&vfs, &root)?;
        if manifest::claim(&vfs, &root, kind)? == Claimed::Now && kind == Kind::Cache {
            write_tags(&vfs, &root);
        }
        make_rooms(&vfs, &root)?;
        Ok(Self { vfs: Arc::new(vfs), root, id, kind })
    }

    /// Its path when it was opened, without links.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Tells it from all other directories, whatever their paths.
    pub(crate) fn id(&self) -> &DirId {
        &self.id
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn vfs(&self) -> Arc<dyn Vfs> {
        Arc::clone(&self.vfs) as Arc<dyn Vfs>
    }

    /// A path that leads to it, for code that only knows paths.
    pub(crate) fn way(&self) -> PathBuf {
        self.vfs.way_home().unwrap_or_else(|| self.root.clone())
    }

    /// Whether it is still the directory that had this manifest: where directories can be found by their path alone, another
    /// one may have taken it, and its contents may have been replaced.
    ///
    /// # Errors
    /// [`Storage`](ErrorKind::Storage) if it is not.
    pub(crate) fn check_is_still(&self, manifest: &str) -> Result<()> {
        let by_path = || RealVfs::at_home(&self.root).and_then(|vfs| vfs.home_id());
        let in_place = self.vfs.way_home().is_some() || by_path().is_ok_and(|id| id == self.id);
        if in_place && manifest::is_still(&*self.vfs, &self.root, manifest) {
            return Ok(());
        }
        let message = format!(
            "{} was replaced by another directory while it was in use: nothing is written into that one; open it again to \
             use it",
            self.root.display()
        );
        Err(CacheError::new(ErrorKind::Storage, message))
    }
}

// `CACHEDIR.TAG` and `.gitignore`: a directory that a cache has for itself is no matter of backups, nor of git.
//
// They are written once, when the directory becomes one of a cache. Who removes them or writes others does not find ours
// again.

/// Tags a directory that has just become one of a cache, if nothing of others is in it: what somebody keeps beside a cache
/// must not be left out of backups. A cache works as well without them, so that nothing that fails here is an error.
pub(crate) fn write_tags(vfs: &dyn Vfs, root: &Path) {
    if !is_alone(vfs, root).unwrap_or(false) {
        return;
    }
    for (name, text) in TAGS {
        let path = root.join(name);
        match write_new(vfs, &path, text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                log::debug!("{} is not written: {error}", path.display());
            }
            _ => {}
        }
    }
}

/// Whether everything in a directory has a name that a cache gives.
fn is_alone(vfs: &dyn Vfs, root: &Path) -> io::Result<bool> {
    Ok(vfs.list(root)?.iter().all(|entry| is_ours(&entry.name)))
}

fn is_ours(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    // Also the file beside it, of another process that wants to be the first.
    name.starts_with(MANIFEST) || OTHER_NAMES.contains(&name) || TAGS.iter().any(|(tag, _)| name == *tag)
}

fn write_new(vfs: &dyn Vfs, path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = vfs.create_new(path)?;
    file.write_all(text).inspect_err(|_| {
        // Half a tag is none.
        let _ = vfs.remove(path);
    })
}

// The rows, the blobs and the store in it.

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
        if let Some(found) = registry::found_in(home.root()).filter(|found| *found != backend) {
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
        let options = BackendOptions::of(&backends::METADATA, &home.way(), &config.metadata.options);
        registry::open_in(backend, &options).map(Self::Other)
    }

    fn backend(&self) -> Arc<dyn MetadataBackend> {
        match self {
            Self::Sled(sled, _) => Arc::clone(sled) as Arc<dyn MetadataBackend>,
            Self::Other(rows) => Arc::clone(rows),
        }
    }

    /// The index over these rows, in agreement with the blobs.
    fn into_index(self, blobs: &dyn BlobBackend, config: &CacheConfig, signing: &Arc<Signing>) -> Result<Arc<Index>> {
        let index = index_over(self.backend(), config, signing);
        let rules = Rules { limits: &config.limits, signing };
        match self {
            Self::Sled(sled, health) => agree_with_sled(&index, &sled, health, blobs, rules),
            Self::Other(rows) => agree_with_rows(&index, &*rows, blobs, rules),
        }?;
        Ok(index)
    }
}

fn agree_with_sled(
    index: &Index,
    sled: &SledIndex,
    health: Health,
    blobs: &dyn BlobBackend,
    rules: Rules<'_>,
) -> Result<()> {
    // What is not believed may have been lost with the index: with its key at hand it will be taken up.
    let proof = sled.take_proof();
    let reconciled = recover::reconcile(index, blobs, health, proof.as_ref(), rules)?;
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
fn agree_with_rows(index: &Index, rows: &dyn MetadataBackend, blobs: &dyn BlobBackend, rules: Rules<'_>) -> Result<()> {
    let traits = rows.traits();
    let health = match rows.state(FORMAT_STATE, None)? {
        None => Health::New,
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
    if !traits.shared {
        let reconciled = recover::reconcile(index, blobs, health, None, rules)?;
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
        let lock = lock_root(&*vfs, root)?;
        remove_left_over(&*vfs, root, &[manifest::MANIFEST])?;
        let found = manifest::shake_hands(&*vfs, root, kind)?;
        let signing = Arc::new(keys::signing_of(&*vfs, root, kind, found, &config.security)?);
        let manifest = manifest::text_of(&*vfs, root)?;
        let rows = Rows::open(&home, config, &signing)?;
        let traits = rows.backend().traits();
        let blobs = open_blobs(&home, config, &manifest, traits)?;
        let index = rows.into_index(&*blobs, config, &signing)?;
        let mut settings = Settings { damage_is_absence: kind == Kind::Cache, ..Settings::of(config, signing) };
        if !traits.persistent {
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
                Some(Flusher::start(index, blobs, retired, Pace { interval: config.flush_interval(), leave_blobs })?)
            }
        };
        Ok(Self { home: Some(home), manifest, index, blobs, settings, flusher, retired, lock: HeldLock::of(lock) })
    }

    /// A store that lives and dies with the process.
    pub(crate) fn in_memory(config: &CacheConfig) -> Self {
        Self::of_parts(Arc::new(MemoryMetadata::new()), Arc::new(MemoryBlobs::new()), config)
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
            lock: HeldLock::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::blob_store::BlobStore;
    use crate::cache::Cache;
    use crate::storage::vfs::{Fault, Repeat, SimVfs};

    const TAG: &str = "CACHEDIR.TAG";

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("cache");
        (dir, place)
    }

    fn tags_in(dir: &Path) -> [bool; 2] {
        TAGS.map(|(name, _)| dir.join(name).exists())
    }

    #[test]
    fn a_directory_that_a_cache_makes_or_finds_empty_is_tagged_for_backups_and_for_git() {
        let (_dir, place) = place();
        for _ in 0..2 {
            Cache::open(&place).unwrap().close().unwrap();
            let tag = fs::read_to_string(place.join(TAG)).unwrap();
            assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"), "{tag}");
            assert!(tag.contains("cacheness") && tag.contains("https://bford.info/cachedir/"), "{tag}");
            assert!(fs::read_to_string(place.join(".gitignore")).unwrap().lines().any(|line| line == "*"));
            fs::remove_dir_all(&place).unwrap();
            fs::create_dir(&place).unwrap();
        }
    }

    #[test]
    fn what_is_there_is_not_written_over_and_what_was_removed_does_not_come_back() {
        let (_dir, place) = place();
        fs::create_dir(&place).unwrap();
        fs::write(place.join(".gitignore"), "*.log").unwrap();
        Cache::open(&place).unwrap().close().unwrap();
        assert_eq!(fs::read_to_string(place.join(".gitignore")).unwrap(), "*.log");
        assert_eq!(tags_in(&place), [true, true]);
        TAGS.iter().for_each(|(name, _)| fs::remove_file(place.join(name)).unwrap());
        Cache::open(&place).unwrap().close().unwrap();
        assert_eq!(tags_in(&place), [false, false]);
    }

    #[test]
    fn a_blob_store_is_not_tagged_nor_a_directory_with_files_of_others() {
        let (_dir, place) = place();
        BlobStore::open(&place).unwrap().close().unwrap();
        assert_eq!(tags_in(&place), [false, false], "a backup must have it");
        fs::remove_dir_all(&place).unwrap();
        fs::create_dir(&place).unwrap();
        fs::write(place.join("notes.txt"), "mine").unwrap();
        Cache::open(&place).unwrap().close().unwrap();
        assert_eq!(tags_in(&place), [false, false], "nor may the notes be left out");
    }

    #[test]
    fn a_directory_that_was_emptied_in_use_is_tagged_again() {
        let (_dir, place) = place();
        let cache = Cache::open(&place).unwrap();
        for item in fs::read_dir(&place).unwrap().map(|item| item.unwrap().path()) {
            if item.is_dir() { fs::remove_dir_all(item).unwrap() } else { fs::remove_file(item).unwrap() }
        }
        cache.put("large", &vec![7u8; 1 << 20]).unwrap();
        assert_eq!(tags_in(&place), [true, true]);
        drop(cache);
    }

    #[test]
    fn a_tag_that_cannot_be_written_is_no_error_and_leaves_no_half_of_it() {
        let root = Path::new("/cache");
        for call in 0..6 {
            let vfs = SimVfs::new();
            vfs.make_dir(root).unwrap();
            vfs.fail_at(call, Fault::Kind(io::ErrorKind::StorageFull), Repeat::Once);
            write_tags(&vfs, root);
            vfs.clear_faults();
            let whole = |(name, text): (&str, &str)| match vfs.metadata(&root.join(name)) {
                Ok(found) => found.len == text.len() as u64,
                Err(_) => true,
            };
            assert!(TAGS.into_iter().all(whole), "call {call}");
        }
    }

    #[test]
    fn tags_are_ours_to_the_key_of_a_directory_and_those_of_others_are_not() {
        use crate::key::ToKey;
        let (dir, place) = place();
        let project = dir.path();
        fs::write(project.join("main"), "code").unwrap();
        let before = project.to_key().unwrap();
        Cache::open(&place).unwrap().close().unwrap();
        assert_eq!(project.to_key().unwrap(), before);
        fs::write(place.join(".gitignore"), "*.log").unwrap();
        let with_other = project.to_key().unwrap();
        assert_ne!(with_other, before, "it says something of the project now");
        fs::write(place.join(".gitignore"), "*.tmp").unwrap();
        assert_ne!(project.to_key().unwrap(), with_other);
    }
}
