//! Other processes on the directory of a store: who owns the index, and which of them computes the value of a key.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use super::flusher::Flusher;
use super::home::Home;
use super::index::Index;
use super::manifest::Kind;
use crate::config::{CacheConfig, SLED, SecondProcess};
use crate::error::Result;
use crate::index::backend::{Applied, Change, MetadataBackend};
use crate::index::neighbours::{Owner, Server};
use crate::index::sled::SledIndex;
use crate::storage::vfs::root::{GUESTS, HeldLock, LOCKS};
use crate::storage::vfs::{Lock, Vfs, storage_error};
use crate::util::threads::lock;

/// Whether several processes may have a directory with this configuration open.
pub(super) fn may_be_joined(home: &Home, config: &CacheConfig) -> bool {
    home.kind() == Kind::Cache
        && config.metadata.backend == SLED
        && config.metadata.second_process == SecondProcess::Join
}

/// What this process does for others as the owner of a directory, and for how long.
#[derive(Debug, Default)]
pub(super) struct Tenure {
    /// Held as long as the store is open; other processes are kept out by it.
    lock: HeldLock,
    server: Mutex<Option<Server>>,
    host: OnceLock<Arc<Host>>,
    /// The index, once it is this process's.
    sled: OnceLock<Arc<SledIndex>>,
}

impl Tenure {
    pub(super) fn begin(&self, held: Box<dyn Lock>) {
        self.lock.hold(held);
    }

    /// Says by which index guests are served as soon as this process is the owner, which it may be already.
    pub(super) fn set_host(&self, home: &Home, index: &Arc<Index>, flusher: Option<&Arc<Flusher>>) {
        let mut server = lock(&self.server);
        let host = Host { index: Arc::clone(index), flusher: flusher.cloned(), sled: OnceLock::new() };
        let _ = self.host.set(Arc::new(host));
        self.start(home, &mut server);
    }

    /// Serves guests, as soon as it is known [by which index](Self::set_host).
    pub(super) fn serve(&self, home: &Home, sled: Arc<SledIndex>) {
        let mut server = lock(&self.server);
        let _ = self.sled.set(sled);
        self.start(home, &mut server);
    }

    /// Where guests cannot be served they do without this directory.
    fn start(&self, home: &Home, server: &mut Option<Server>) {
        let (Some(host), Some(sled)) = (self.host.get(), self.sled.get()) else { return };
        let _ = host.sled.set(Arc::clone(sled));
        let owner: Arc<dyn Owner> = Arc::clone(host) as Arc<dyn Owner>;
        match Server::start(&home.way(), Arc::downgrade(&owner), Arc::clone(host.index.guests())) {
            Ok(started) => *server = Some(started),
            Err(error) => log::debug!("other processes cannot join {}: {error}", home.root().display()),
        }
    }

    /// Lets the guests go, who look for another owner from now on.
    pub(super) fn end_service(&self) {
        let server = lock(&self.server).take();
        drop(server);
    }

    pub(super) fn release(&self) {
        self.lock.release();
    }
}

/// What guests have done by this process.
struct Host {
    index: Arc<Index>,
    flusher: Option<Arc<Flusher>>,
    sled: OnceLock<Arc<SledIndex>>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Owner for Host {
    fn rows(&self) -> &dyn MetadataBackend {
        self.index.backend()
    }

    fn apply(&self, change: &Change<'_>) -> Result<Applied> {
        self.index.apply_for_guest(change)
    }

    fn guest_came(&self) {
        if let Some(sled) = self.sled.get()
            && let Err(error) = sled.keep_journal()
        {
            log::debug!("what is not flushed would not survive a kill: {error}");
        }
    }

    fn changed(&self) {
        self.flusher.iter().for_each(|flusher| flusher.wake());
    }
}

/// Says that this process may be writing blobs, whoever owns the index, until it is dropped or the process ends.
///
/// # Errors
/// [`Storage`](crate::ErrorKind::Storage).
pub(super) fn announce_guest(home: &Home) -> Result<Box<dyn Lock>> {
    let path = home.root().join(GUESTS);
    home.vfs().lock_shared(&path).map_err(|error| storage_error("lock", &path, error))
}

/// Whether there may be guests, of this owner or of the one before it. Their blobs may be about to get a record.
pub(super) fn has_guests(home: &Home) -> bool {
    let path = home.root().join(GUESTS);
    home.vfs().metadata(&path).is_ok() && home.vfs().lock_file(&path).is_err()
}

/// The right to compute the value of a key, of all processes on a directory; it ends with the process at the latest.
#[derive(Debug)]
pub(crate) struct KeyLock {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    held: Option<Box<dyn Lock>>,
    /// Whether the value was to be computed with it.
    taken: bool,
}

/// Behind the name of the lock of a key: who had it last has stored no value.
const NO_VALUE: &str = "none";

impl KeyLock {
    /// `None` while another process has it. Where files cannot be locked, nobody waits for anybody.
    pub(super) fn try_take(home: &Home, name: &str) -> Option<Self> {
        let vfs = home.vfs();
        let dir = home.root().join(LOCKS);
        let path = dir.join(name);
        let locked = vfs.lock_file(&path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let _ = vfs.make_dir(&dir);
                vfs.lock_file(&path)
            }
            _ => Err(error),
        });
        match locked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            locked => Some(Self { vfs, path, held: locked.ok(), taken: false }),
        }
    }

    /// Whether the one who had it before has ended without a value, so that those who waited compute it side by side.
    pub(crate) fn had_no_value(&self) -> bool {
        self.vfs.metadata(&self.no_value()).is_ok()
    }

    /// Begins to compute.
    #[must_use]
    pub(crate) fn taken(mut self) -> Self {
        let _ = self.vfs.remove(&self.no_value());
        self.taken = true;
        self
    }

    /// Ends it, and tells those who wait that there will be no value of this one.
    pub(crate) fn end_without_value(self) {
        self.note_no_value();
    }

    fn note_no_value(&self) {
        let _ = self.vfs.create_new(&self.no_value());
    }

    fn no_value(&self) -> PathBuf {
        self.path.with_extension(NO_VALUE)
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        if self.taken && std::thread::panicking() {
            self.note_no_value();
        }
        // While it is held: whoever locks the file afterwards finds that it has no name, and makes another one.
        if self.held.is_some() {
            let _ = self.vfs.remove(&self.path);
        }
    }
}

/// Removes what is left of the locks of keys, where nobody else uses the directory.
pub(super) fn clear_locks(home: &Home) {
    let (vfs, dir) = (home.vfs(), home.root().join(LOCKS));
    for file in vfs.list(&dir).unwrap_or_default() {
        let _ = vfs.remove(&dir.join(file.name));
    }
}
