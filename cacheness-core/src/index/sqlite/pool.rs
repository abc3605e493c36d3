//! The connections to one database: one that writes, a few that read, and what becomes of them in a forked child.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use super::open::{DatabaseFile, Place, Role, failed};
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::threads::lock;

/// More threads than this seldom read at the very same moment.
const READERS: usize = 4;

/// A connection that is made when it is first used.
type Slot = Mutex<Option<Connection>>;

/// The connections to a database.
#[derive(Debug)]
pub(super) struct Pool {
    place: Place,
    writer: Slot,
    readers: [Slot; READERS],
    /// For checkpoints, which nobody waits for.
    upkeep: Slot,
    /// The process that the connections belong to.
    process: AtomicU32,
    closed: AtomicBool,
}

impl Pool {
    /// A pool with its first connection, which writes.
    pub(super) fn new(place: Place, writer: Connection) -> Arc<Self> {
        let pool = Arc::new(Self {
            place,
            writer: Mutex::new(Some(writer)),
            readers: Default::default(),
            upkeep: Slot::default(),
            process: AtomicU32::new(std::process::id()),
            closed: AtomicBool::new(false),
        });
        let mut open = lock(&OPEN);
        open.retain(|pool| pool.strong_count() > 0);
        open.push(Arc::downgrade(&pool));
        drop(open);
        pool
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Reads by a connection that nobody else uses meanwhile.
    pub(super) fn read<R>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R> {
        self.enter()?;
        if self.place.is_memory() {
            return self.run(lock(&self.writer), Role::Writer, work);
        }
        let free = self.readers.iter().find_map(|slot| match slot.try_lock() {
            Ok(slot) => Some(slot),
            Err(TryLockError::Poisoned(slot)) => Some(slot.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        let slot = free.unwrap_or_else(|| lock(&self.readers[READERS - 1]));
        self.run(slot, Role::Reader, work)
    }

    /// Writes in a transaction, which is undone after an error.
    pub(super) fn write<R>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R> {
        self.enter()?;
        self.run(lock(&self.writer), Role::Writer, |connection| in_transaction(connection, work))
    }

    /// Runs beside readers and the writer.
    pub(super) fn upkeep<R>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R> {
        self.enter()?;
        self.run(lock(&self.upkeep), Role::Reader, work)
    }

    fn run<R>(
        &self,
        mut slot: MutexGuard<'_, Option<Connection>>,
        role: Role,
        work: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R> {
        // Looked at behind the lock: `close` takes each connection after it has said so.
        if self.is_closed() {
            return Err(closed());
        }
        let connection = match &mut *slot {
            Some(connection) => connection,
            slot => slot.insert(self.place.connect(role)?),
        };
        work(connection).map_err(|error| {
            self.place.note_damage(&error);
            failed(self.place.name(), &error)
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Lets go of all connections. Calls that come later fail.
    pub(super) fn close(&self) {
        if self.enter().is_err() {
            return;
        }
        self.closed.store(true, Ordering::SeqCst);
        self.slots().for_each(|slot| drop(lock(slot).take()));
    }

    /// Lets go of connections to a file that another process has set aside and made anew: what is put into it would be lost.
    pub(super) fn follow(&self) {
        if self.place.file().is_some_and(DatabaseFile::was_replaced) {
            self.slots().for_each(|slot| drop(lock(slot).take()));
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.readers.iter().chain([&self.upkeep, &self.writer])
    }

    /// That the connections are those of this process.
    fn enter(&self) -> Result<()> {
        let process = std::process::id();
        if self.process.load(Ordering::Acquire) == process {
            return Ok(());
        }
        leave_parent(process)
    }

    /// Makes these the connections of another process, as they are in a forked child.
    #[cfg(test)]
    pub(super) fn pretend_to_be_forked(&self) {
        self.process.store(0, Ordering::SeqCst);
    }

    /// Closes what a forked child has inherited; says whether nobody was using it when the process was forked.
    fn leave_parent(&self, process: u32) -> bool {
        for slot in self.slots() {
            let mut slot = match slot.try_lock() {
                Ok(slot) => slot,
                Err(TryLockError::Poisoned(slot)) => slot.into_inner(),
                Err(TryLockError::WouldBlock) => return false,
            };
            // A database in memory was copied with the process, and is the child's own.
            if !self.place.is_memory() {
                drop(slot.take());
            }
        }
        self.process.store(process, Ordering::Release);
        true
    }
}

fn closed() -> CacheError {
    CacheError::new(ErrorKind::Closed, "the cache is closed")
}

/// Runs work in a transaction that begins with the lock of the writer, so that it never fails for what it has read before.
fn in_transaction<R>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<R>,
) -> rusqlite::Result<R> {
    let execute = |sql: &str| connection.prepare_cached(sql)?.execute([]);
    if !connection.is_autocommit() {
        // Left by a panic.
        execute("ROLLBACK")?;
    }
    execute("BEGIN IMMEDIATE")?;
    let done = work(connection).and_then(|result| execute("COMMIT").map(|_| result));
    if done.is_err() && !connection.is_autocommit() {
        // SQLite has done so by itself after most errors.
        let _ = execute("ROLLBACK");
    }
    done
}

// A forked child must use no connection of its parent: what SQLite knows of locks that the process holds is not true in the
// child. It knows so by file, for all connections together, so that a new connection beside an inherited one would take
// locks for its own that it does not have. So the child first closes all that it has inherited. That touches nothing of the
// parent: no connection makes a checkpoint when it closes, and locks of files belong to the process that took them.
//
// Only what nobody was using at the fork can be closed. Otherwise a thread that is not here any more has left SQLite in the
// middle of something, and the child goes without.

static OPEN: Mutex<Vec<Weak<Pool>>> = Mutex::new(Vec::new());
/// A child in which connections of the parent cannot be closed.
static STUCK: AtomicU32 = AtomicU32::new(0);
/// So long another thread of the child may take to close what was inherited.
const PATIENCE: Duration = Duration::from_millis(1);
const TRIES: usize = 1000;

/// Closes the connections that this process has inherited, if it is a forked child of one that had some.
///
/// # Errors
/// [`Metadata`](ErrorKind::Metadata) if they were in use at the fork.
pub(super) fn leave_parent(process: u32) -> Result<()> {
    if STUCK.load(Ordering::SeqCst) != process {
        for _ in 0..TRIES {
            // Perhaps held by a thread that was not forked with the process.
            let open = match OPEN.try_lock() {
                Ok(open) => open,
                Err(TryLockError::Poisoned(open)) => PoisonError::into_inner(open),
                Err(TryLockError::WouldBlock) => {
                    thread::sleep(PATIENCE);
                    continue;
                }
            };
            let pools: Vec<_> = open.iter().filter_map(Weak::upgrade).collect();
            let inherited = |pool: &&Arc<Pool>| pool.process.load(Ordering::Acquire) != process;
            let mut left = true;
            for pool in pools.iter().filter(inherited) {
                left &= pool.leave_parent(process);
            }
            if left {
                return Ok(());
            }
            break;
        }
        STUCK.store(process, Ordering::SeqCst);
    }
    let message = "this process was forked while a thread of its parent used a SQLite database: it cannot use one before it \
                   starts another program; open the cache behind the fork";
    Err(CacheError::new(ErrorKind::Metadata, message))
}
