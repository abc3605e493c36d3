//! The owner's end: answers guests on a socket in the directory, a thread for each connection.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::wire::{self, Answer, Hello, PROTOCOL, Reply, Request, Welcome};
use super::{SOCKET, is_of_this_user};
use crate::error::Result;
use crate::index::backend::{Applied, Change, Changes, LEASE, MetadataBackend, Swap};
use crate::util::digest::random;
use crate::util::threads::lock;

/// What a guest gets done by the owner.
pub(crate) trait Owner: Send + Sync {
    /// Answers what changes nothing.
    fn rows(&self) -> &dyn MetadataBackend;

    /// Makes a change for a guest, so that whoever remembers the row here hears of it.
    fn apply(&self, change: &Change<'_>) -> Result<Applied>;

    /// A guest has come: what is acknowledged to it must outlive this process, however that ends.
    fn guest_came(&self);

    /// A guest has changed something, which is to be flushed.
    fn changed(&self);
}

/// How many changes are told one by one. Who has missed more forgets all that it remembers.
const MOST_CHANGES: usize = 4096;
/// Bits of a mark that count changes; those above tell one owner from another.
const COUNT_BITS: u32 = 40;

/// Who is there beside the owner, and the changes that they may have to hear of.
#[derive(Debug)]
pub(crate) struct Guests {
    count: AtomicUsize,
    here: Mutex<HashSet<u64>>,
    log: Mutex<ChangeLog>,
}

#[derive(Debug)]
struct ChangeLog {
    mark: u64,
    /// The last one has the number `mark`.
    recent: VecDeque<Noted>,
}

#[derive(Debug)]
struct Noted {
    by: u64,
    key: Arc<[u8]>,
    at: Instant,
}

/// What stands for the owner among those who make changes.
pub(crate) const OWNER: u64 = 0;

impl Default for Guests {
    fn default() -> Self {
        // Marks of another owner are in another range, but for one of 16 million.
        let mark = random() << COUNT_BITS;
        Self {
            count: AtomicUsize::new(0),
            here: Mutex::default(),
            log: Mutex::new(ChangeLog { mark, recent: VecDeque::new() }),
        }
    }
}

impl Guests {
    /// Whether nobody else is there.
    pub(crate) fn are_none(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Notes what a change did. Says whether it is settled: nobody can remember what was there before, nor what was there
    /// before another change of the key that is not acknowledged yet.
    pub(crate) fn note(&self, by: u64, key: &[u8], applied: &Applied) -> bool {
        let mut log = lock(&self.log);
        let now = Instant::now();
        let mut lately = log.recent.iter().rev().take_while(|noted| now.duration_since(noted.at) < LEASE * 2);
        let settled = applied.is_settled() && !lately.any(|noted| *noted.key == *key);
        if applied.made && !self.are_none() {
            log.mark += 1;
            log.recent.push_back(Noted { by, key: key.into(), at: now });
            if log.recent.len() > MOST_CHANGES {
                log.recent.pop_front();
            }
        }
        settled
    }

    fn since(&self, mark: u64, guest: u64) -> Changes {
        let log = lock(&self.log);
        let missed = log.mark.checked_sub(mark).and_then(|missed| usize::try_from(missed).ok());
        let keys = missed.filter(|missed| *missed <= log.recent.len()).map(|missed| {
            let new = log.recent.iter().skip(log.recent.len() - missed);
            new.filter(|noted| noted.by != guest).map(|noted| noted.key.to_vec()).collect()
        });
        Changes { mark: log.mark, keys }
    }
}

/// Serves guests until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    owner: Weak<dyn Owner>,
    guests: Arc<Guests>,
    socket: PathBuf,
    stopped: AtomicBool,
    /// Those that are open, to end them.
    connections: Mutex<HashMap<u64, UnixStream>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("guests", &self.guests).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens in a directory whose lock the caller holds: what is there under the name of the socket is left over.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn start(dir: &Path, owner: Weak<dyn Owner>, guests: Arc<Guests>) -> io::Result<Self> {
        let socket = dir.join(SOCKET);
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&socket)?;
        // Others cannot get at it before either: who connects is asked for its user.
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
        let shared =
            Arc::new(Shared { owner, guests, socket, stopped: AtomicBool::new(false), connections: Mutex::default() });
        let mine = Arc::clone(&shared);
        let accept = move || mine.accept(&listener);
        let accepting = thread::Builder::new().name("cacheness-owner".to_owned()).spawn(accept)?;
        Ok(Self { shared, accepting: Some(accepting) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread; the name goes before the lock does, so that it is not the one of the next owner.
        let woken = UnixStream::connect(&self.shared.socket);
        let _ = fs::remove_file(&self.shared.socket);
        for stream in lock(&self.shared.connections).values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take().filter(|_| woken.is_ok()) {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &UnixListener) {
        let mut last = 0;
        for stream in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else {
                // Too many files are open: that may end.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            last += 1;
            let (this, number) = (Arc::clone(&self), last);
            let serve = move || {
                let served = this.serve(&stream, number);
                lock(&this.connections).remove(&number);
                if let Err(error) = served {
                    log::debug!("a guest of the cache is let go: {error}");
                }
            };
            // Without a thread for it, the guest finds its connection closed and does without the cache.
            let _ = thread::Builder::new().name("cacheness-guest".to_owned()).spawn(serve);
        }
    }

    fn serve(&self, stream: &UnixStream, number: u64) -> io::Result<()> {
        if !is_of_this_user(stream)? {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        lock(&self.connections).insert(number, stream.try_clone()?);
        // Who was accepted while the others were ended is not among them.
        if self.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut stream = stream;
        let hello: Hello = wire::receive(&mut stream)?;
        if hello.protocol != PROTOCOL {
            let message = format!("it speaks protocol {PROTOCOL}, and this program {}", hello.protocol);
            return wire::send(&mut stream, &Welcome::Err(message));
        }
        let Some(owner) = self.owner.upgrade() else { return Ok(()) };
        owner.guest_came();
        drop(owner);
        let _guest = hello.stays.then(|| Guest::enter(&self.guests, hello.guest));
        if !lock(&self.guests.here).contains(&hello.guest) {
            // It came to another owner, and has to hear of what changed since.
            return wire::send(&mut stream, &Welcome::Err("it knows no such guest".to_owned()));
        }
        wire::send(&mut stream, &Welcome::Ok(()))?;
        loop {
            let request = match wire::receive(&mut stream) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                request => request?,
            };
            let Some(owner) = self.owner.upgrade() else { return Ok(()) };
            let answer: Answer = self.answer(&*owner, hello.guest, request).map_err(|error| wire::Refusal::of(&error));
            // A guest whose change has an answer must not meet another owner that has not heard of it.
            drop(owner);
            wire::send(&mut stream, &answer)?;
        }
    }

    fn answer(&self, owner: &dyn Owner, guest: u64, request: Request) -> Result<Reply> {
        let rows = owner.rows();
        Ok(match request {
            Request::Get(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| &key.0[..]).collect();
                Reply::of_rows(rows.get_many(&keys)?)
            }
            Request::Apply(changes) => self.apply(owner, guest, &changes)?,
            Request::Page(scan, limit) => Reply::of_page(rows.page(&scan.borrowed(), size(limit))?),
            Request::Keys(after, limit) => {
                let keys = rows.keys(wire::borrowed(&after), size(limit))?;
                Reply::Keys(keys.iter().map(|key| (&**key).into()).collect())
            }
            Request::Used(uses) => {
                let uses: Vec<_> = uses.iter().map(|(key, at)| (&key.0[..], *at)).collect();
                rows.used(&uses)?;
                Reply::Done
            }
            Request::LastUsed(key) => Reply::LastUsed(rows.last_used(&key.0)?),
            Request::Totals => Reply::of_totals(rows.totals()?),
            Request::State(name, swap) => {
                let swap = swap
                    .as_ref()
                    .map(|(expected, new)| Swap { expected: wire::borrowed(expected), new: wire::borrowed(new) });
                Reply::State(rows.state(&name, swap)?.map(wire::Bytes))
            }
            Request::Changes(since) => Reply::of_changes(self.guests.since(since, guest)),
            Request::DoubtBlobs => {
                rows.doubt_blobs();
                Reply::Done
            }
            Request::Flush => {
                rows.flush()?;
                Reply::Done
            }
        })
    }

    fn apply(&self, owner: &dyn Owner, guest: u64, changes: &[wire::OwnedChange]) -> Result<Reply> {
        let mut applied = Vec::with_capacity(changes.len());
        for change in changes {
            let change = change.borrowed();
            let one = owner.apply(&change)?;
            let unsettled = !self.guests.note(guest, change.key, &one);
            applied.push(Applied { unsettled, ..one });
        }
        owner.changed();
        Ok(Reply::of_applied(applied))
    }
}

fn size(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// A guest that is there, as long as its connection that stays is.
struct Guest<'g> {
    all: &'g Guests,
    id: u64,
}

impl<'g> Guest<'g> {
    fn enter(all: &'g Guests, id: u64) -> Self {
        lock(&all.here).insert(id);
        all.count.fetch_add(1, Ordering::SeqCst);
        Self { all, id }
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        lock(&self.all.here).remove(&self.id);
        self.all.count.fetch_sub(1, Ordering::SeqCst);
    }
}
