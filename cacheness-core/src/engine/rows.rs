//! The rows of a directory while it is opened: whose they are, in which format, and that they agree with the blobs.

use std::path::PathBuf;
use std::sync::Arc;

use super::acknowledge::Lease;
use super::home::Home;
use super::index::Index;
use super::manifest;
use super::memory::Tier;
use super::neighbours::{self, Users};
use super::recover::{self, Reconciled, Unnamed};
use crate::config::backends::{self, BackendOptions};
use crate::config::{CacheConfig, FILESYSTEM, MEMORY, SLED};
use crate::error::{CacheError, ErrorKind, Result};
use crate::format::Rules;
use crate::index;
use crate::index::backend::{MetadataBackend, Swap};
use crate::index::sled::{Health, SledIndex, SledOptions};
use crate::security::Signing;
use crate::storage::blob::BlobBackend;
use crate::util::digest::unique_name;

/// Rows that were opened and not yet brought together with the blobs.
pub(super) enum Rows {
    Sled(Arc<SledIndex>, Health),
    Other(Arc<dyn MetadataBackend>),
}

/// Where the rows of other backends than sled say that they are in use, and in which format.
const FORMAT_STATE: &str = "cacheness.format";
const FORMAT: &[u8] = b"2";
/// Where rows that lie elsewhere say whose they are.
const DIRECTORY_STATE: &str = "cacheness.directory";

impl Rows {
    /// Opens the rows of a directory whose lock the caller holds. One with rows of another backend is refused: values may
    /// lie in them alone.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the rows are of another backend, of another directory, or in another format; those
    /// of the backend.
    pub(super) fn open(home: &Home, config: &CacheConfig, manifest: &str, signing: &Arc<Signing>) -> Result<Self> {
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
        let binding = Binding::of(home, config, manifest);
        index::open_if(backend, &options, move |rows| binding.check(rows)).map(Self::Other)
    }

    pub(super) fn backend(&self) -> Arc<dyn MetadataBackend> {
        match self {
            Self::Sled(sled, _) => Arc::clone(sled) as Arc<dyn MetadataBackend>,
            Self::Other(rows) => Arc::clone(rows),
        }
    }

    /// These rows, asked by way of others.
    pub(super) fn by_way_of(rows: Arc<dyn MetadataBackend>) -> Self {
        Self::Other(rows)
    }

    pub(super) fn sled(&self) -> Option<Arc<SledIndex>> {
        match self {
            Self::Sled(sled, _) => Some(Arc::clone(sled)),
            Self::Other(_) => None,
        }
    }

    /// The index over these rows, in agreement with the blobs.
    pub(super) fn into_index(
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
            // Blobs that they do not name may be those of other machines.
            Self::Other(rows) if rows.traits().waits => Ok(()),
            Self::Other(rows) => agree_with_rows(&index, (&*rows, alone), blobs, rules),
        }?;
        Ok(index)
    }
}

/// What must be true of rows of other backends than sled before they are used, be that when the store is opened or when their
/// server is reached.
struct Binding {
    /// Where the blobs lie that they name: in the directory of this id, or in a place that several directories share.
    blobs: Option<String>,
    root: PathBuf,
}

impl Binding {
    fn of(home: &Home, config: &CacheConfig, manifest: &str) -> Self {
        let blobs = match config.blob_backend() {
            FILESYSTEM => manifest::id_in(manifest).map(str::to_owned),
            MEMORY => None,
            name => {
                let option = |of: &str| config.blob.options.get(of).map(ToString::to_string).unwrap_or_default();
                let place = ["bucket", "container", "prefix"].map(option).join(" ");
                Some(format!("{} in {name}: {place}", home.kind().domain()))
            }
        };
        Self { blobs, root: home.root().to_path_buf() }
    }

    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the rows are in another format, or belong to another directory, whose blobs would be
    /// missed here, and their rows removed.
    fn check(&self, rows: &dyn MetadataBackend) -> Result<()> {
        let (traits, root) = (rows.traits(), &self.root);
        if format_of(rows)?.is_none() && traits.waits {
            rows.state(FORMAT_STATE, Some(Swap { expected: None, new: Some(FORMAT) }))?;
        }
        let lie_elsewhere = traits.shared && index::found_in(root).is_none();
        let Some(id) = self.blobs.as_deref().filter(|_| lie_elsewhere) else { return Ok(()) };
        let bound = rows.state(DIRECTORY_STATE, Some(Swap { expected: None, new: Some(id.as_bytes()) }))?;
        if bound.as_deref() == Some(id.as_bytes()) {
            return Ok(());
        }
        let message = format!(
            "the rows of the metadata backend `{}` belong to another cache directory or bucket, in which their blobs lie: name \
             that one, or a database or a namespace of its own for {}",
            traits.name,
            root.display()
        );
        Err(CacheError::new(ErrorKind::Conflict, message))
    }
}

/// The format that rows say they are in; `None` if they are new.
///
/// # Errors
/// [`Conflict`](ErrorKind::Conflict) if it is not the one of this release.
fn format_of(rows: &dyn MetadataBackend) -> Result<Option<()>> {
    match rows.state(FORMAT_STATE, None)? {
        None => Ok(None),
        Some(format) if format == FORMAT => Ok(Some(())),
        Some(format) => {
            let message = format!(
                "the rows of the metadata backend `{}` have the format {:?}, and this release reads {:?}: use the release \
                 that wrote them",
                rows.traits().name,
                String::from_utf8_lossy(&format),
                String::from_utf8_lossy(FORMAT)
            );
            Err(CacheError::new(ErrorKind::Conflict, message))
        }
    }
}

pub(super) fn agree_with_sled(
    index: &Index,
    sled: &SledIndex,
    health: Health,
    (home, blobs): (&Home, &dyn BlobBackend),
    rules: Rules<'_>,
) -> Result<()> {
    // What is not believed may have been lost with the index: with its key at hand it will be taken up.
    let proof = sled.take_proof();
    let unnamed = if neighbours::has_guests(home) { Unnamed::MayBeNew } else { Unnamed::LeftOver };
    let reconciled =
        unless_out_of_reach(blobs, recover::reconcile(index, (blobs, unnamed), health, proof.as_ref(), rules))?;
    if health == Health::Damaged {
        sled.count_losses();
    }
    // A kill must not leave blobs that were taken up without a record and without what proves them.
    if matches!(health, Health::New | Health::Damaged) {
        index.flush()?;
    }
    sled.begin_use(reconciled == Reconciled::Whole)
}

/// Blobs that cannot be reached now stay as they are, and are brought together with the index at another opening.
fn unless_out_of_reach(blobs: &dyn BlobBackend, reconciled: Result<Reconciled>) -> Result<Reconciled> {
    match reconciled {
        Err(error) if blobs.is_remote() && error.is_unavailable() => {
            log::warn!("what the index does not know stays in the bucket: {error}");
            Ok(Reconciled::WithoutDistrusted)
        }
        reconciled => reconciled,
    }
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
    // That nobody else has the directory says nothing of other machines.
    let alone = alone && !(traits.shared && blobs.is_remote());
    let users = if traits.shared { neighbours::users_before(rows, alone)? } else { Users::Unknown };
    let health = match format_of(rows)? {
        None => Health::New,
        Some(()) if users == Users::AllLeft => Health::Clean,
        Some(()) => Health::Unclean,
    };
    if alone {
        let reconciled = recover::reconcile(index, (blobs, Unnamed::LeftOver), health, None, rules);
        let reconciled = unless_out_of_reach(blobs, reconciled)?;
        if traits.shared {
            neighbours::begin_to_count(rows)?;
        }
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

/// Where rows that several directories may share say whose the blobs are in a place that others may reach.
const BLOBS_STATE: &str = "cacheness.blobs";

/// Tells those whose rows name the blobs from all others: the directory, or its rows where they are shared.
pub(super) fn owner_of_blobs(
    manifest: &str,
    rows: &dyn MetadataBackend,
    config: &CacheConfig,
) -> Result<Option<String>> {
    if !rows.traits().shared || [FILESYSTEM, MEMORY].contains(&config.blob_backend()) {
        return Ok(manifest::id_in(manifest).map(str::to_owned));
    }
    let known = match rows.state(BLOBS_STATE, None) {
        Ok(None) => rows.state(BLOBS_STATE, Some(Swap { expected: None, new: Some(unique_name().as_bytes()) })),
        known => known,
    };
    let known = match known {
        // It is not known now whose they are, and nothing is removed by looking for left-overs.
        Err(error) if error.is_unavailable() => return Ok(None),
        known => known?,
    };
    Ok(known.map(|owner| String::from_utf8_lossy(&owner).into_owned()))
}

/// The index over the rows of a backend, with values in memory if there are to be any.
pub(super) fn index_over(rows: Arc<dyn MetadataBackend>, config: &CacheConfig, signing: &Arc<Signing>) -> Arc<Index> {
    let memory = config.memory().map(|bounds| Arc::new(Tier::new(bounds)));
    let mut index = Index::new(rows, Arc::clone(signing), memory);
    if config.local.dir.is_some() {
        index.lease = index.lease.map(|_| Lease::new(config.local.lease()));
    }
    Arc::new(index)
}
