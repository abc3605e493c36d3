//! Other processes on the directory of a store: who owns the index, which of them computes the value of a key, and until
//! when values in memory are current.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::Flusher;
use super::home::Home;
use super::index::Index;
use super::manifest::Kind;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{CacheConfig, JSON, MEMORY, SLED, SecondProcess};
use crate::error::Result;
use crate::index::backend::{Applied, Change, LEASE, MetadataBackend, Swap, Traits};
use crate::index::neighbours::{Owner, Server};
use crate::index::sled::SledIndex;
use crate::storage::vfs::root::{GUESTS, HeldLock, LOCKS, lock_root, locked, share_root};
use crate::storage::vfs::{Lock, Vfs, storage_error};
use crate::util::digest::{self, unique_name};
use crate::util::threads::lock;

/// Whether several processes may have a directory with this configuration open.
pub(super) fn may_be_joined(home: &Home, config: &CacheConfig) -> bool {
    home.kind() == Kind::Cache
        && config.metadata.backend == SLED
        && config.metadata.second_process == SecondProcess::Join
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
            Err(error) if error.is_locked() && may_be_shared(home, config) => error,
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
fn may_be_shared(home: &Home, config: &CacheConfig) -> bool {
    let own = [SLED, JSON, MEMORY].contains(&config.metadata.backend.as_str());
    home.kind() == Kind::Cache && !own && config.metadata.second_process == SecondProcess::Join
}

impl Hold {
    pub(super) fn is_alone(&self) -> bool {
        matches!(self, Self::Alone(_))
    }

    /// The lock for as long as the store is open: shared, where the backend is.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) if others have the directory and the backend is not for several processes.
    pub(super) fn of(self, traits: Traits, home: &Home, config: &CacheConfig) -> Result<Box<dyn Lock>> {
        let (vfs, root) = (home.vfs(), home.root());
        let shares = traits.shared && may_be_shared(home, config);
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

/// Looks who was there before this process; `alone` if nobody is there now, and counting begins anew.
///
/// # Errors
/// Those of the backend.
pub(super) fn users_before(rows: &dyn MetadataBackend, alone: bool) -> Result<Users> {
    let before = change_users(rows, |users| if alone { 0 } else { users })?;
    Ok(if before == 0 && alone { Users::AllLeft } else { Users::Unknown })
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

/// Returns how many there were.
fn change_users(rows: &dyn MetadataBackend, change: impl Fn(u64) -> u64) -> Result<u64> {
    loop {
        let there = rows.state(USERS, None)?;
        let text = there.as_deref().and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
        let users = text.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
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
    /// Whether it was counted among the users of shared rows.
    counted: AtomicBool,
    /// The store is being closed: changed under the lock of the server.
    ended: AtomicBool,
}

impl Tenure {
    pub(super) fn begin(&self, held: Box<dyn Lock>) {
        self.lock.hold(held);
    }

    /// This process [was counted](enter).
    pub(super) fn set_counted(&self) {
        self.counted.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_counted(&self) -> bool {
        self.counted.load(Ordering::SeqCst)
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

    fn guest_came(&self) {
        self.sled.get().iter().for_each(|sled| sled.keep_journal());
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
    process: u32,
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
            locked => Some(Self { vfs, path, held: locked.ok(), taken: false, process: std::process::id() }),
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
        if self.held.is_some() && self.process == std::process::id() {
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

const LEASE_NANOS: u64 = LEASE.as_nanos() as u64;

/// Until when values in memory are current, where other processes change rows.
///
/// A process asks for the changes of others before it uses a value in memory, and not again for the time of a lease. Whoever
/// changes a row that others may have in memory waits as long before the change is acknowledged. So no value that was
/// acknowledged to be gone comes out of any memory, and a hit there costs a look at the clock.
#[derive(Debug)]
pub(super) struct Lease {
    since: Instant,
    /// In nanoseconds since then.
    until: AtomicU64,
    /// Held by who renews it; what to ask with.
    mark: Mutex<u64>,
}

impl Default for Lease {
    fn default() -> Self {
        Self { since: Instant::now(), until: AtomicU64::new(0), mark: Mutex::new(0) }
    }
}

impl Lease {
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[inline]
    pub(super) fn is_running(&self) -> bool {
        self.now() < self.until.load(Ordering::Acquire)
    }

    /// Renews it if the question for changes has an answer: the mark for the next one. Says whether it has.
    pub(super) fn renew(&self, ask: impl FnOnce(u64) -> Option<u64>) -> bool {
        let mut mark = lock(&self.mark);
        if self.is_running() {
            return true;
        }
        // Before the question: a change that is made after the answer waits from then on.
        let asked = self.now();
        let Some(new) = ask(*mark) else { return false };
        *mark = new;
        self.until.store(asked.saturating_add(LEASE_NANOS), Ordering::Release);
        true
    }
}

thread_local! {
    /// How this thread acknowledges changes that others may have to hear of.
    static ACKNOWLEDGE: Cell<Acknowledge> = const { Cell::new(Acknowledge::Each) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledge {
    /// Each for itself.
    Each,
    /// All together; there was none yet, or there was.
    Together,
    Owed,
    /// None: others may go on with what they remember.
    None,
}

/// How changes are acknowledged until this is dropped.
#[must_use]
pub(crate) struct Acknowledging {
    before: Acknowledge,
}

impl Acknowledging {
    pub(super) fn begin(how: Acknowledge) -> Self {
        Self { before: ACKNOWLEDGE.replace(how) }
    }
}

impl Drop for Acknowledging {
    fn drop(&mut self) {
        let ended = ACKNOWLEDGE.replace(self.before);
        match (ended, self.before) {
            (Acknowledge::Owed, Acknowledge::Each) => thread::sleep(LEASE),
            (Acknowledge::Owed, Acknowledge::Together) => ACKNOWLEDGE.set(Acknowledge::Owed),
            _ => {}
        }
    }
}

/// Comes back when no other process can have what a change took out in memory any more.
pub(super) fn acknowledge(is_settled: bool) {
    match ACKNOWLEDGE.get() {
        _ if is_settled => {}
        Acknowledge::Each => thread::sleep(LEASE),
        Acknowledge::Together => ACKNOWLEDGE.set(Acknowledge::Owed),
        Acknowledge::Owed | Acknowledge::None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_runs_from_before_the_question_that_renewed_it() {
        let lease = Lease::default();
        assert!(!lease.is_running());
        assert!(!lease.renew(|_| None), "nobody answered");
        assert!(lease.renew(|mark| Some(mark + 7)));
        std::thread::sleep(LEASE);
        assert!(!lease.is_running());
        assert!(lease.renew(|mark| {
            assert_eq!(mark, 7);
            std::thread::sleep(LEASE);
            Some(8)
        }));
        assert!(!lease.is_running(), "the answer took as long");
    }
}
