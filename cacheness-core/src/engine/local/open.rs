//! Opening the directory of a local tier.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use super::blobs::TieredBlobs;
use super::follow::COPIES_STATE;
use super::rows::TieredRows;
use super::turns::Turns;
use super::{Resting, Tier};
use crate::config::CacheConfig;
use crate::engine::acknowledge::Lease;
use crate::engine::home::Home;
use crate::engine::manifest::{self, Kind};
use crate::entry::IndexKey;
use crate::error::{CacheError, ErrorKind, Result};
use crate::index::Record;
use crate::index::backend::{MetadataBackend, Scan, Swap};
use crate::index::sled::{Health, SledIndex, SledOptions};
use crate::security::Signing;
use crate::storage::blob::{BlobBackend, FilesystemBlobs, Restore, all_names};
use crate::storage::vfs::publish::remove_left_over;
use crate::storage::vfs::root::{HeldLock, lock_root, make_rooms};
use crate::util::{Counter, Warnings, emit};

const PAGE: usize = 256;

/// Rows and blobs that go by way of the tier.
type Tiered = (Arc<Tier>, Arc<dyn MetadataBackend>, Arc<dyn BlobBackend>);

impl Tier {
    /// Puts the configured directory before rows and blobs; `None` if there is none, or if it cannot be used now, which is told.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the rows are on this machine already; [`Conflict`](ErrorKind::Conflict) if the directory
    /// is that of a cache, of a blob store or of another release.
    pub(in crate::engine) fn open(
        config: &CacheConfig,
        (rows, blobs): (Arc<dyn MetadataBackend>, &Arc<dyn BlobBackend>),
        signing: &Arc<Signing>,
    ) -> Result<Option<Tiered>> {
        let Some(dir) = &config.local.dir else { return Ok(None) };
        let traits = rows.traits();
        if !traits.waits {
            let message = format!(
                "local.dir is {dir:?}: the rows of the metadata backend `{}` do not lie behind a network, and a copy of them is \
                 no gain: leave it out",
                traits.name
            );
            return Err(CacheError::new(ErrorKind::Config, message));
        }
        match Self::open_in(dir, config, rows, signing) {
            Ok(tier) => {
                let tier = Arc::new(tier);
                let rows = Arc::new(TieredRows { tier: Arc::clone(&tier) });
                let blobs = Arc::new(TieredBlobs { tier: Arc::clone(&tier), shared: Arc::clone(blobs) });
                Ok(Some((tier, rows, blobs)))
            }
            Err(error) if error.is_conflict() => Err(error),
            Err(error) => {
                let why = match error.is_locked() {
                    true => "another process, or another cache of this one, uses it".to_owned(),
                    false => error.to_string(),
                };
                let dir = dir.display();
                emit(&format!(
                    "cacheness: the local tier {dir} is not used, and nothing is kept on this machine: {why}"
                ));
                Ok(None)
            }
        }
    }

    pub(super) fn open_in(
        dir: &Path,
        config: &CacheConfig,
        shared: Arc<dyn MetadataBackend>,
        signing: &Arc<Signing>,
    ) -> Result<Self> {
        let home = Home::prepare(Kind::LocalTier, dir)?;
        let (vfs, root) = (home.vfs(), home.root());
        let held = lock_root(&*vfs, root)?;
        remove_left_over(&*vfs, root, &[manifest::MANIFEST])?;
        manifest::shake_hands(&*vfs, root, Kind::LocalTier)?;
        let (page_cache_bytes, signing) = (config.page_cache_bytes(), Arc::clone(signing));
        let options = SledOptions { root: home.way(), page_cache_bytes, signing: Arc::clone(&signing) };
        let (rows, health) = SledIndex::open(options)?;
        let restore = {
            let (vfs, root) = (Arc::clone(&vfs), root.to_path_buf());
            Restore::by(move || make_rooms(&*vfs, &root))
        };
        let blobs = FilesystemBlobs::new(vfs, root, restore);
        if health != Health::Clean {
            remove_unnamed(&rows, &blobs, &signing)?;
        }
        rows.begin_use(true)?;
        let turns = Turns::new();
        if health == Health::Damaged {
            // Older rows may have come back: what was known of them is not known any more.
            let known = rows.state(COPIES_STATE, None)?;
            rows.state(COPIES_STATE, Some(Swap { expected: known.as_deref(), new: None }))?;
        }
        let followed_here = AtomicU64::new(rows.epoch());
        let [hits, misses, value_hits, value_misses] = std::array::from_fn(|_| Counter::default());
        Ok(Self {
            rows,
            blobs,
            shared,
            signing,
            limits: config.limits,
            max_bytes: config.local.max_bytes(),
            turns,
            lease: Lease::new(config.local.lease()),
            recognised: Mutex::default(),
            is_recognised: AtomicBool::new(false),
            followed: AtomicU64::new(0),
            followed_here,
            compared_up_to: Mutex::default(),
            resting: Resting { since: Instant::now(), until: AtomicU64::new(0) },
            untold: Mutex::default(),
            given_up: AtomicBool::new(false),
            evicting: Mutex::default(),
            flushed: AtomicU64::new(0),
            hits,
            misses,
            value_hits,
            value_misses,
            warnings: Warnings::default(),
            flusher: OnceLock::new(),
            held: HeldLock::of(held),
        })
    }
}

/// Removes copies of blobs of which a kill has taken the rows: nobody who makes room would find them.
fn remove_unnamed(rows: &SledIndex, blobs: &FilesystemBlobs, signing: &Signing) -> Result<()> {
    let mut named = HashSet::new();
    let mut after = None;
    loop {
        let page = rows.page(&Scan::Keys { after: after.as_deref() }, PAGE)?;
        let at_the_end = page.len() < PAGE;
        after = page.last().map(|row| row.key.clone());
        for row in page {
            let record = IndexKey::from_shared(row.key).and_then(|key| Record::from_stored(&key, row.bytes, signing));
            named.extend(record.ok().and_then(|record| record.blob()));
        }
        if at_the_end {
            break;
        }
    }
    let unnamed: Vec<_> = all_names(blobs)?.into_iter().filter(|name| !named.contains(name)).collect();
    blobs.remove_many(&unnamed).map(drop)
}
