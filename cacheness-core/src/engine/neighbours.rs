//! Other processes on the directory of a store: who owns the index, and which of them computes the value of a key.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::home::Home;
use super::index::Index;
use super::{Flusher, Store};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{CacheConfig, JSON, MEMORY, SLED, SecondProcess};
use crate::error::Result;
use crate::index::backend::{Applied, Change, MetadataBackend, Swap, Traits};
use crate::index::neighbours::{Owner, Server};
use crate::index::sled::SledIndex;
use crate::storage::vfs::root::{GUESTS, HeldLock, LOCKS, lock_root, locked, share_root};
use crate::storage::vfs::{Lock, Vfs, storage_error};
use crate::util::digest::{self, unique_name};
use crate::util::process::Origin;
use crate::util::threads::lock;

/// Whether this process is content with not being the only one on its directory.
pub(super) fn takes_others(config: &CacheConfig) -> bool {
    config.metadata.second_process == SecondProcess::Join
}

/// Whether this process may use a directory whose index another process has open.
pub(super) fn may_join(config: &CacheConfig) -> bool {
    config.metadata.backend == SLED && takes_others(config)
}

/// How a process has a directory while it opens it.
pub(super) enum Hold {
    Alone(Box<dyn Lock>),
    /// Others have it open too, by a backend that all of them may use.
    Beside(Box<dyn Lock>),
}

/// How long an opening waits for another one to end.
const LONGEST_OPENING: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// Takes the lock of a directory, alone if nobody else has it, else with others that share it.
///
/// # Errors
/// [`Locked`](crate::ErrorKind::Locked) if another process has it for itself; [`Storage`](crate::ErrorKind::Storage).
pub(super) fn hold(home: &Home, config: &CacheConfig) -> Result<Hold> {
    let (vfs, root) = (home.vfs(), home.root());
    let until = Instant::now() + LONGEST_OPENING;
    loop {
        let locked = match lock_root(&*vfs, root) {
            Err(error) if error.is_locked() && may_be_shared(config) => error,
            lock => return lock.map(Hold::Alone),
        };
        match share_root(&*vfs, root) {
            // Another process is opening it, which does not take long, or is no sharer.
            Err(error) if error.is_locked() && Instant::now() < until => thread::sleep(BETWEEN_TRIES),
            Err(_) => return Err(locked),
            Ok(lock) => return Ok(Hold::Beside(lock)),
        }
    }
}

/// Whether the backend may be one that several processes use, which is known for sure when it is open.
fn may_be_shared(config: &CacheConfig) -> bool {
    let own = [SLED, JSON, MEMORY].contains(&config.metadata.backend.as_str());
    !own && takes_others(config)
}

impl Hold {
    pub(super) fn is_alone(&self) -> bool {
        matches!(self, Self::Alone(_))
    }

    /// The lock for as long as the store is open: shared, where the backend is.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) if others have the directory and the store is not for several processes.
    pub(super) fn of(self, traits: Traits, home: &Home, takes_others: bool) -> Result<Box<dyn Lock>> {
        let (vfs, root) = (home.vfs(), home.root());
        let shares = traits.shared && takes_others;
        match self {
            Self::Alone(lock) if !shares => Ok(lock),
            Self::Beside(_) if !shares => Err(locked(root, io::ErrorKind::WouldBlock.into())),
            Self::Beside(lock) => Ok(lock),
            Self::Alone(lock) => {
                drop(lock);
                let until = Instant::now() + LONGEST_OPENING;
                loop {
                    // One that opens it meanwhile has it alone for a moment.
                    match share_root(&*vfs, root) {
                        Err(error) if error.is_locked() && Instant::now() < until => thread::sleep(BETWEEN_TRIES),
                        lock => return lock,
                    }
                }
            }
        }
    }
}

/// How many processes use rows that they share. One that was killed, or has left blobs that may be nobody's, stays counted.
const USERS: &str = "cacheness.users";

/// What is known of those who used shared rows before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// All have left in order.
    AllLeft,
    /// Somebody is there, or was killed.
    Unknown,
}

/// Looks who was there before this process, which is `alone` if nobody is there now.
///
/// # Errors
/// Those of the backend.
pub(super) fn users_before(rows: &dyn MetadataBackend, alone: bool) -> Result<Users> {
    let before = users_in(rows.state(USERS, None)?.as_deref());
    Ok(if before == 0 && alone { Users::AllLeft } else { Users::Unknown })
}

/// Begins to count anew: nobody else is there, and what they have left is brought together with the blobs.
///
/// # Errors
/// Those of the backend.
pub(super) fn begin_to_count(rows: &dyn MetadataBackend) -> Result<()> {
    change_users(rows, |_| 0).map(drop)
}

/// Counts this process in, which shares the directory from now on.
///
/// # Errors
/// Those of the backend.
pub(super) fn enter(rows: &dyn MetadataBackend) -> Result<()> {
    change_users(rows, |users| users + 1).map(drop)
}

/// Counts this process out.
///
/// # Errors
/// Those of the backend.
pub(super) fn leave(rows: &dyn MetadataBackend) -> Result<()> {
    change_users(rows, |users| users.saturating_sub(1)).map(drop)
}

/// Whether no other process uses rows that this one was [counted](enter) among the users of.
pub(super) fn is_the_only_user(rows: &dyn MetadataBackend) -> bool {
    rows.state(USERS, None).is_ok_and(|there| users_in(there.as_deref()) == 1)
}

fn users_in(state: Option<&[u8]>) -> u64 {
    let text = state.and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
    text.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Returns how many there were.
fn change_users(rows: &dyn MetadataBackend, change: impl Fn(u64) -> u64) -> Result<u64> {
    loop {
        let there = rows.state(USERS, None)?;
        let users = users_in(there.as_deref());
        // With a name of this very change: of two who want the same count, one has made it.
        let new = format!("{} {}", change(users), unique_name());
        let swap = Swap { expected: there.as_deref(), new: Some(new.as_bytes()) };
        if rows.state(USERS, Some(swap))?.as_deref() == Some(new.as_bytes()) {
            return Ok(users);
        }
    }
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
    /// The store is being closed: changed under the lock of the server.
    ended: AtomicBool,
}

impl Tenure {
    pub(super) fn begin(&self, held: Box<dyn Lock>) {
        self.lock.hold(held);
    }

    /// Says by which index guests are served as soon as this process is the owner, which it may be already.
    pub(super) fn set_host(&self, home: &Home, index: &Arc<Index>, flusher: Option<&Arc<Flusher>>) {
        let mut server = lock(&self.server);
        let (sled, keeps_to_itself) = (OnceLock::new(), AtomicBool::new(false));
        let host = Host { index: Arc::clone(index), flusher: flusher.cloned(), sled, keeps_to_itself };
        let _ = self.host.set(Arc::new(host));
        self.start(home, &mut server);
    }

    /// Serves guests, as soon as it is known [by which index](Self::set_host).
    pub(super) fn serve(&self, home: &Home, sled: Arc<SledIndex>) {
        let mut server = lock(&self.server);
        let _ = self.sled.set(sled);
        self.start(home, &mut server);
    }

    /// Tells those who want to join that they cannot, so that they need not wait.
    pub(super) fn serve_nobody(&self, home: &Home, sled: Arc<SledIndex>) {
        self.host.get().iter().for_each(|host| host.keeps_to_itself.store(true, Ordering::SeqCst));
        self.serve(home, sled);
    }

    /// Where guests cannot be served they do without this directory.
    fn start(&self, home: &Home, server: &mut Option<Server>) {
        let (Some(host), Some(sled)) = (self.host.get(), self.sled.get()) else { return };
        if self.ended.load(Ordering::SeqCst) {
            return;
        }
        let _ = host.sled.set(Arc::clone(sled));
        let owner: Arc<dyn Owner> = Arc::clone(host) as Arc<dyn Owner>;
        match Server::start(&home.way(), Arc::downgrade(&owner), Arc::clone(host.index.guests())) {
            Ok(started) => *server = Some(started),
            Err(error) => log::debug!("other processes cannot join {}: {error}", home.root().display()),
        }
    }

    /// Lets the guests go, who look for another owner from now on, and takes no more.
    pub(super) fn end_service(&self) {
        let server = {
            let mut server = lock(&self.server);
            self.ended.store(true, Ordering::SeqCst);
            server.take()
        };
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
    keeps_to_itself: AtomicBool,
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

    fn apply(&self, guest: u64, change: &Change<'_>, in_time: &dyn Fn() -> bool) -> Result<Applied> {
        self.index.apply_for_guest(guest, change, in_time)
    }

    fn keeps_to_itself(&self) -> bool {
        self.keeps_to_itself.load(Ordering::SeqCst)
    }

    fn guest_came(&self) {
        self.sled.get().iter().for_each(|sled| sled.keep_journal());
    }

    fn guest_entered(&self) {
        self.index.unique_turns().wait_until_ended();
    }

    fn changed(&self) {
        match &self.flusher {
            Some(flusher) => flusher.wake(),
            // What is put here is flushed by each put.
            None => {
                if let Err(error) = self.index.flush() {
                    log::debug!("what a guest has changed is not on the disk yet: {error}");
                }
            }
        }
    }
}

/// Says that this process may be writing blobs, whoever owns the index, until it is dropped or the process ends.
///
/// # Errors
/// [`Storage`](crate::ErrorKind::Storage).
pub(super) fn announce_guest(home: &Home) -> Result<Box<dyn Lock>> {
    let path = home.root().join(GUESTS);
    let until = Instant::now() + LONGEST_OPENING;
    loop {
        match home.vfs().lock_shared(&path) {
            // Somebody looks whether there are guests.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                thread::sleep(BETWEEN_TRIES);
            }
            locked => return locked.map_err(|error| storage_error("lock", &path, error)),
        }
    }
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
    /// A forked child has a copy of it, which is not its own.
    origin: Origin,
}

/// Behind the name of the lock of a key: who had it last has stored no value.
const NO_VALUE: &str = "none";
/// Whoever waited has found it by then.
const STALE: Duration = Duration::from_secs(60);

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
            locked => Some(Self { vfs, path, held: locked.ok(), taken: false, origin: Origin::here() }),
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
        // Those that nobody waited for are not needed any more; not at each call, since that takes a look at all.
        if digest::random().is_multiple_of(32) {
            self.sweep(SystemClock.now());
        }
    }

    fn sweep(&self, now: Timestamp) {
        let Some(dir) = self.path.parent() else { return };
        for file in self.vfs.list(dir).unwrap_or_default() {
            let path = dir.join(file.name);
            let modified = self.vfs.metadata(&path).ok().and_then(|found| found.modified);
            let is_old = modified.is_some_and(|at| now.since(at) > STALE);
            if is_old && path.extension().is_some_and(|extension| extension == NO_VALUE) {
                let _ = self.vfs.remove(&path);
            }
        }
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
        if self.held.is_some() && self.origin.is_here() {
            let _ = self.vfs.remove(&self.path);
        }
    }
}

/// The name of the lock under which unique values are reserved.
const UNIQUE: &str = "unique";
/// A process that holds it for longer was stopped.
const LONGEST_RESERVATION: Duration = Duration::from_secs(5);
/// So long a guest that comes waits for the reservations of an owner that was alone.
const LONGEST_ARRIVAL: Duration = Duration::from_millis(500);
const BETWEEN_LOOKS: Duration = Duration::from_micros(200);

/// A turn to look for unique values and store some, among all processes. Has neither where another process holds the lock and
/// does not go on.
#[derive(Default)]
pub(crate) struct UniqueTurn<'i> {
    /// There are no others; those who come wait until this is dropped.
    _alone: Option<UniqueAlone<'i>>,
    _lock: Option<KeyLock>,
}

/// The turns that were begun alone.
#[derive(Debug, Default)]
pub(super) struct UniqueTurns(AtomicU64);

struct UniqueAlone<'i>(&'i UniqueTurns);

impl UniqueTurns {
    fn begin(&self) -> UniqueAlone<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        UniqueAlone(self)
    }

    fn wait_until_ended(&self) {
        let until = Instant::now() + LONGEST_ARRIVAL;
        while self.0.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}

impl Drop for UniqueAlone<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Store {
    /// Waits for the turn of this process to reserve unique values, all of them together.
    pub(crate) fn unique_turn(&self) -> UniqueTurn<'_> {
        // Counted before the look: whoever comes after it finds the turn begun.
        let alone = self.index.unique_turns().begin();
        if !self.index.may_have_neighbours() {
            return UniqueTurn { _alone: Some(alone), ..UniqueTurn::default() };
        }
        drop(alone);
        let until = Instant::now() + LONGEST_RESERVATION;
        while Instant::now() < until {
            let lock = self.key_lock(UNIQUE);
            if lock.is_some() {
                return UniqueTurn { _lock: lock, ..UniqueTurn::default() };
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        UniqueTurn::default()
    }
}

/// Removes what is left of the locks of keys, where nobody else uses the directory.
pub(super) fn clear_locks(home: &Home) {
    let (vfs, dir) = (home.vfs(), home.root().join(LOCKS));
    for file in vfs.list(&dir).unwrap_or_default() {
        let _ = vfs.remove(&dir.join(file.name));
    }
}
