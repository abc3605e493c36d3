//! Several processes on one directory: the one that holds its lock keeps the index and answers the others.
//!
//! The [owner](Owner) listens on a socket in the directory. A process that finds the lock taken becomes its guest: it asks
//! for rows and has them changed over the socket ([`Joined`] is just one more backend), and reads and writes blobs itself.
//! When the owner ends, however it ends, its guests race for the lock: one of them opens the index and is the owner from then
//! on, the others become its guests. A call that meets this waits for it, though not for long.
//!
//! What guests remember of rows stays right by [`MetadataBackend::changes`], which the owner answers from a log of the last
//! changes.

#[cfg(unix)]
mod socket;
#[cfg(all(test, unix))]
mod tests;
#[cfg_attr(not(unix), allow(dead_code, reason = "no process joins another one there"))]
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use self::socket::Client;
use self::wire::{Failure, NotConnected, OwnedChange, OwnedScan, Reply, Request};
use super::backend::{Applied, Change, Changes, Expected, MetadataBackend, Row, Scan, Swap, Totals, Traits};
use crate::clock::{Timestamp, monotonic_micros};
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::threads::lock;

pub(crate) use socket::Server;
pub(crate) use wire::{Guests, OWNER, Owner};

/// The name of the socket in the directory.
#[cfg(unix)]
pub(crate) const SOCKET: &str = "socket";

/// How long a call waits for an answer of the owner.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a call waits for another owner in the place of one that has ended.
const PATIENCE_WITHOUT_OWNER: Duration = Duration::from_secs(1);
/// How long it may take to answer what reads or writes much.
const PATIENCE_FOR_MUCH: Duration = Duration::from_secs(10);
/// After a failure nobody is asked for so long.
const PAUSE: Duration = Duration::from_millis(1500);
/// Between two tries to become owner or guest, at first and at most.
const BETWEEN_TRIES: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(32)];
/// So many uses are told at once.
const USES_AT_ONCE: usize = 256;

/// Makes this process the owner: takes the lock, opens the index and brings it together with its blobs. `None` if another
/// process has the lock.
pub(crate) type TakeOver = Box<dyn Fn() -> Result<Option<Arc<dyn MetadataBackend>>> + Send + Sync>;

/// The rows of a directory that another process owns, or has owned.
pub(crate) struct Joined {
    /// A way to the directory, for the socket.
    way: PathBuf,
    role: RwLock<Role>,
    take_over: TakeOver,
    /// Grows with each new owner: changes may have been missed.
    epoch: AtomicU64,
    /// Uses that the owner was not told of.
    uses: Mutex<HashMap<Vec<u8>, Timestamp>>,
    /// Until then nobody is asked, and why.
    paused: Mutex<Option<(Instant, ErrorKind)>>,
}

#[derive(Clone)]
enum Role {
    Guest(Arc<Client>),
    Owner(Arc<dyn MetadataBackend>),
    Closed,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined").field("way", &self.way).finish_non_exhaustive()
    }
}

impl Joined {
    /// Becomes a guest of the owner, or the owner where that has ended by now. `way` leads to the directory.
    ///
    /// # Errors
    /// [`Locked`](ErrorKind::Locked) if there is an owner that does not take guests; what `take_over` says.
    pub(crate) fn open(way: PathBuf, place: &Path, take_over: TakeOver) -> Result<Self> {
        let role = find_role(&way, &take_over, PATIENCE_FOR_MUCH).map_err(|error| match error {
            NoRole::Failed(error) => error,
            NoRole::Refused(why) => CacheError::new(
                ErrorKind::Locked,
                format!("another process uses the cache directory {} and is not to be joined: {why}", place.display()),
            ),
        })?;
        Ok(Self {
            way,
            role: RwLock::new(role),
            take_over,
            epoch: AtomicU64::new(0),
            uses: Mutex::default(),
            paused: Mutex::default(),
        })
    }

    fn role(&self) -> Role {
        self.role.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does something with the index if this process has it, or asks the owner.
    fn with<R>(
        &self,
        own: impl Fn(&dyn MetadataBackend) -> Result<R>,
        request: impl Fn() -> Request,
        read: impl Fn(Reply) -> Option<R>,
    ) -> Result<R> {
        self.with_patience(PATIENCE, own, request, read)
    }

    fn with_patience<R>(
        &self,
        patience: Duration,
        own: impl Fn(&dyn MetadataBackend) -> Result<R>,
        request: impl Fn() -> Request,
        read: impl Fn(Reply) -> Option<R>,
    ) -> Result<R> {
        let until = Instant::now() + patience;
        loop {
            let client = match self.role() {
                Role::Owner(rows) => return own(&*rows),
                Role::Closed => return Err(closed()),
                Role::Guest(client) => client,
            };
            self.check_not_paused()?;
            match client.ask(&request(), until.saturating_duration_since(Instant::now())) {
                Ok(Ok(reply)) => return read(reply).ok_or_else(|| odd("it answered another question")),
                // It is about to end.
                Ok(Err(refusal)) => match refusal.into_error() {
                    error if error.is_closed() => self.replace(&client)?,
                    error => return Err(error),
                },
                Err(Failure::Gone) => self.replace(&client)?,
                Err(Failure::Late) => return Err(self.pause(ErrorKind::Metadata)),
                Err(Failure::Odd(error)) => return Err(odd(&error.to_string())),
            }
        }
    }

    fn check_not_paused(&self) -> Result<()> {
        let mut paused = lock(&self.paused);
        match *paused {
            Some((until, kind)) if Instant::now() < until => Err(CacheError::new(kind, UNANSWERED)),
            _ => {
                *paused = None;
                Ok(())
            }
        }
    }

    fn pause(&self, kind: ErrorKind) -> CacheError {
        *lock(&self.paused) = Some((Instant::now() + PAUSE, kind));
        CacheError::new(kind, UNANSWERED)
    }

    /// Finds another owner in the place of one that is gone, unless another thread has done so.
    ///
    /// # Errors
    /// [`Locked`](ErrorKind::Locked) if there is none in time: others come and go, and a call had better do without.
    fn replace(&self, gone: &Arc<Client>) -> Result<()> {
        let mut role = self.role.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(&*role, Role::Guest(client) if Arc::ptr_eq(client, gone)) {
            return Ok(());
        }
        // Whoever waited for the turn of another thread need not try what that has tried.
        self.check_not_paused()?;
        let found = find_role(&self.way, &self.take_over, PATIENCE_WITHOUT_OWNER);
        *role = found.inspect_err(|_| drop(self.pause(ErrorKind::Locked))).map_err(|error| match error {
            NoRole::Failed(error) => error,
            NoRole::Refused(why) => CacheError::new(
                ErrorKind::Locked,
                format!(
                    "the process that kept the index has ended, and the one that has it now is not to be asked: {why}"
                ),
            ),
        })?;
        self.epoch.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Tells the owner of uses. Those that get lost make eviction less wise and nothing else.
    fn tell_uses(&self) -> Result<()> {
        let uses = std::mem::take(&mut *lock(&self.uses));
        if uses.is_empty() {
            return Ok(());
        }
        self.with(
            |rows| rows.used(&uses.iter().map(|(key, at)| (&key[..], *at)).collect::<Vec<_>>()),
            || Request::Used(uses.iter().map(|(key, at)| (key[..].into(), *at)).collect()),
            |reply| matches!(reply, Reply::Done).then_some(()),
        )
    }

    /// One change of a row. Where the answer got lost with the owner, what is there now tells whether it was made.
    fn apply_one(&self, change: &Change<'_>) -> Result<Applied> {
        let until = Instant::now() + PATIENCE;
        let mut doubtful = false;
        loop {
            let client = match self.role() {
                Role::Owner(rows) => {
                    let applied = rows.apply(std::slice::from_ref(change))?.pop().unwrap_or(Applied::NOT_MADE);
                    return if doubtful { self.settled(change, applied) } else { Ok(applied) };
                }
                Role::Closed => return Err(closed()),
                Role::Guest(client) => client,
            };
            self.check_not_paused()?;
            let patience = until.saturating_duration_since(Instant::now());
            let ends = monotonic_micros().saturating_add(i64::try_from(patience.as_micros()).unwrap_or(i64::MAX));
            let request = Request::Apply(vec![OwnedChange::of(change)], ends);
            match client.ask(&request, patience) {
                Ok(Ok(reply)) => {
                    let mut applied = reply.into_applied().ok_or_else(|| odd("it answered another question"))?;
                    let applied = applied.pop().unwrap_or(Applied::NOT_MADE);
                    return if doubtful { self.settled(change, applied) } else { Ok(applied) };
                }
                Ok(Err(refusal)) => match refusal.into_error() {
                    error if error.is_closed() => self.replace(&client)?,
                    error => return Err(error),
                },
                Err(Failure::Gone) => {
                    doubtful = true;
                    self.replace(&client)?;
                }
                Err(Failure::Late) => return Err(self.pause(ErrorKind::Metadata)),
                Err(Failure::Odd(error)) => return Err(odd(&error.to_string())),
            }
        }
    }

    /// What a change did that was tried a second time, since the first one may have been made.
    fn settled(&self, change: &Change<'_>, again: Applied) -> Result<Applied> {
        // A blob that the first one took the row of is named by nobody.
        self.doubt_blobs();
        if again.made && again.previous.as_deref() == change.row.map(|(row, _)| row) {
            // It took out its own row: what that names is not to go.
            return Ok(Applied { previous: None, ..again });
        }
        if again.made || change.expected == Expected::Anything {
            return Ok(again);
        }
        let there = self.get(change.key)?;
        if there.as_deref() != change.row.map(|(row, _)| row) {
            return Ok(again);
        }
        let previous = match change.expected {
            Expected::Bytes(bytes) => Some(bytes.to_vec()),
            Expected::Absent | Expected::Anything => None,
        };
        Ok(Applied::made(previous))
    }
}

/// Why there is no role to play.
enum NoRole {
    Failed(CacheError),
    Refused(String),
}

/// Becomes the owner of a directory, or a guest of it.
fn find_role(way: &Path, take_over: &TakeOver, patience: Duration) -> Result<Role, NoRole> {
    let until = Instant::now() + patience;
    let mut pause = BETWEEN_TRIES[0];
    loop {
        // The socket of an owner that was killed is still there, and refuses.
        let error = match Client::connect(way) {
            Ok(client) => return Ok(Role::Guest(Arc::new(client))),
            Err(NotConnected::Refused(why)) => return Err(NoRole::Refused(why)),
            Err(NotConnected::Nobody(error)) => error,
        };
        if let Some(rows) = take_over().map_err(NoRole::Failed)? {
            return Ok(Role::Owner(rows));
        }
        if Instant::now() >= until {
            return Err(NoRole::Refused(format!("it does not answer on its socket: {error}")));
        }
        thread::sleep(pause);
        // Many that wait must not take the time of the one that opens the index.
        pause = (pause * 2).min(BETWEEN_TRIES[1]);
    }
}

const UNANSWERED: &str = "the process that keeps the index does not answer";

fn odd(why: &str) -> CacheError {
    CacheError::new(ErrorKind::Metadata, format!("the process that keeps the index is not understood: {why}"))
}

fn closed() -> CacheError {
    CacheError::new(ErrorKind::Closed, "the cache is closed")
}

impl MetadataBackend for Joined {
    fn traits(&self) -> Traits {
        Traits::new("sled").persistent().shared()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let request = || Request::Get(vec![key.into()]);
        self.with(|rows| rows.get(key), request, |reply| reply.into_rows()?.pop())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let request = || Request::Get(keys.iter().map(|key| (*key).into()).collect());
        self.with(
            |rows| rows.get_many(keys),
            request,
            |reply| reply.into_rows().filter(|rows| rows.len() == keys.len()),
        )
    }

    fn apply(&self, changes: &[Change<'_>]) -> Result<Vec<Applied>> {
        // A use of the row that is there must not be taken for one of the row that comes.
        let are_used = {
            let uses = lock(&self.uses);
            changes.iter().any(|change| uses.contains_key(change.key))
        };
        if are_used {
            self.tell_uses()?;
        }
        changes.iter().map(|change| self.apply_one(change)).collect()
    }

    fn page(&self, scan: &Scan<'_>, limit: usize) -> Result<Vec<Row>> {
        if matches!(scan, Scan::LeastUsed) {
            self.tell_uses()?;
        }
        let request = || Request::Page(OwnedScan::of(scan), limit as u64);
        self.with_patience(PATIENCE_FOR_MUCH, |rows| rows.page(scan, limit), request, Reply::into_page)
    }

    fn keys(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Arc<[u8]>>> {
        let request = || Request::Keys(after.map(Into::into), limit as u64);
        let read = |reply| match reply {
            Reply::Keys(keys) => Some(keys.into_iter().map(|key| key.0.into()).collect()),
            _ => None,
        };
        self.with_patience(PATIENCE_FOR_MUCH, |rows| rows.keys(after, limit), request, read)
    }

    fn used(&self, uses: &[(&[u8], Timestamp)]) -> Result<()> {
        if let Role::Owner(rows) = self.role() {
            return rows.used(uses);
        }
        let many = {
            let mut waiting = lock(&self.uses);
            waiting.extend(uses.iter().map(|(key, at)| (key.to_vec(), *at)));
            waiting.len() >= USES_AT_ONCE
        };
        if many { self.tell_uses() } else { Ok(()) }
    }

    fn last_used(&self, key: &[u8]) -> Result<Option<Timestamp>> {
        let own = lock(&self.uses).get(key).copied();
        if own.is_some() {
            return Ok(own);
        }
        let read = |reply| match reply {
            Reply::LastUsed(at) => Some(at),
            _ => None,
        };
        self.with(|rows| rows.last_used(key), || Request::LastUsed(key.into()), read)
    }

    fn totals(&self) -> Result<Totals> {
        self.with(|rows| rows.totals(), || Request::Totals, Reply::into_totals)
    }

    fn footprint(&self, row: u64, blob: u64) -> u64 {
        super::sled::footprint(row, blob)
    }

    fn state(&self, name: &str, swap: Option<Swap<'_>>) -> Result<Option<Vec<u8>>> {
        let read = |reply| match reply {
            Reply::State(value) => Some(value.map(|value| value.0)),
            _ => None,
        };
        self.with(|rows| rows.state(name, swap), || wire::state(name, swap), read)
    }

    fn epoch(&self) -> u64 {
        // The owner's own grows as well, where it loses rows.
        let own = if let Role::Owner(rows) = self.role() { rows.epoch() } else { 0 };
        self.epoch.load(Ordering::SeqCst).wrapping_add(own)
    }

    fn changes(&self, since: u64) -> Result<Changes> {
        // Whoever has the index itself has heard of every change.
        let none = |_: &dyn MetadataBackend| Ok(Changes { mark: since, keys: Some(Vec::new()) });
        self.with(none, || Request::Changes(since), Reply::into_changes)
    }

    fn doubt_blobs(&self) {
        let own = |rows: &dyn MetadataBackend| {
            rows.doubt_blobs();
            Ok(())
        };
        let told = self.with(own, || Request::DoubtBlobs, |reply| matches!(reply, Reply::Done).then_some(()));
        if let Err(error) = told {
            log::debug!("the owner of the index is not told of doubtful blobs: {error}");
        }
    }

    fn tidy(&self, go_on: &dyn Fn() -> bool) -> Result<()> {
        match self.role() {
            Role::Owner(rows) => rows.tidy(go_on),
            Role::Guest(_) | Role::Closed => Ok(()),
        }
    }

    fn flush(&self) -> Result<()> {
        let read = |reply| matches!(reply, Reply::Done).then_some(());
        self.with_patience(PATIENCE_FOR_MUCH, |rows| rows.flush(), || Request::Flush, read)
    }

    fn is_alone(&self) -> bool {
        // While another owner is looked for nobody waits for that.
        self.role.try_read().is_ok_and(|role| matches!(*role, Role::Owner(_)))
    }

    fn close(&self) -> Result<()> {
        let uses = std::mem::take(&mut *lock(&self.uses));
        let mut role = self.role.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *role, Role::Closed) {
            Role::Owner(rows) => {
                let uses: Vec<_> = uses.iter().map(|(key, at)| (&key[..], *at)).collect();
                rows.used(&uses).and(rows.close())
            }
            Role::Guest(client) => {
                // An owner that is gone is not replaced for that.
                if !uses.is_empty() {
                    let request = Request::Used(uses.into_iter().map(|(key, at)| (wire::Bytes(key), at)).collect());
                    let _told = client.ask(&request, PATIENCE);
                }
                Ok(())
            }
            Role::Closed => Ok(()),
        }
    }
}

/// Where there are no sockets in directories, no process joins another one.
#[cfg(not(unix))]
mod socket {
    use std::io;
    use std::path::Path;
    use std::sync::{Arc, Weak};
    use std::time::Duration;

    use super::wire::{Answer, Failure, Guests, NotConnected, Owner, Request};

    #[derive(Debug)]
    pub(crate) struct Server;

    impl Server {
        pub(crate) fn start(_: &Path, _: Weak<dyn Owner>, _: Arc<Guests>) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[derive(Debug)]
    pub(super) struct Client;

    impl Client {
        pub(super) fn connect(_: &Path) -> Result<Self, NotConnected> {
            Err(NotConnected::Refused("on this system no process can".to_owned()))
        }

        pub(super) fn ask(&self, _: &Request, _: Duration) -> Result<Answer, Failure> {
            Err(Failure::Gone)
        }
    }
}
