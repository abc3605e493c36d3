//! The two ends of the socket in the directory: the owner's, which answers guests on a thread for each connection, and a
//! guest's, which has a connection for each thread that asks at the same time.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::SOCKET;
use super::wire::{self, Answer, Failure, Guests, Hello, NotConnected, Owner, PROTOCOL, Reply, Request, Welcome};
use crate::clock::monotonic_micros;
use crate::error::Result;
use crate::index::backend::Swap;
use crate::util::digest::random;
use crate::util::threads::lock;

/// Each is a thread and an open file of the owner. Who comes when there are more does without the cache.
const MOST_CONNECTIONS: usize = 512;

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
    connections: Mutex<HashMap<u64, Arc<UnixStream>>>,
    listener: UnixListener,
    /// Tells the socket from one that another owner has made in its place.
    inode: u64,
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
        let inode = fs::symlink_metadata(&socket)?.ino();
        let (stopped, connections) = (AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { owner, guests, socket, stopped, connections, listener, inode });
        let mine = Arc::clone(&shared);
        let accepting = thread::Builder::new().name("cacheness-owner".to_owned()).spawn(move || mine.accept())?;
        Ok(Self { shared, accepting: Some(accepting) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.stopped.store(true, Ordering::SeqCst);
        let is_ours = fs::symlink_metadata(&shared.socket).is_ok_and(|found| found.ino() == shared.inode);
        let woken = shared.wake(is_ours);
        if is_ours {
            let _ = fs::remove_file(&shared.socket);
        }
        for stream in lock(&shared.connections).values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take().filter(|_| woken) {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    /// Wakes the thread that accepts; says whether that was possible.
    #[cfg(target_os = "linux")]
    fn wake(&self, _: bool) -> bool {
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).is_ok()
    }

    #[cfg(not(target_os = "linux"))]
    fn wake(&self, is_ours: bool) -> bool {
        is_ours && UnixStream::connect(&self.socket).is_ok()
    }

    fn accept(self: Arc<Self>) {
        let mut last = 0;
        for stream in self.listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else {
                // Too many files are open: that may end.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            if lock(&self.connections).len() >= MOST_CONNECTIONS {
                continue;
            }
            last += 1;
            let (this, number, stream) = (Arc::clone(&self), last, Arc::new(stream));
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

    fn serve(&self, stream: &Arc<UnixStream>, number: u64) -> io::Result<()> {
        if !is_of_this_user(stream)? {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.set_read_timeout(Some(TO_CONNECT))?;
        lock(&self.connections).insert(number, Arc::clone(stream));
        // Who was accepted while the others were ended is not among them.
        if self.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut stream: &UnixStream = stream;
        let hello: Hello = wire::receive(&mut stream)?;
        stream.set_read_timeout(None)?;
        if hello.protocol != PROTOCOL {
            let message = format!("it speaks protocol {PROTOCOL}, and this program {}", hello.protocol);
            return wire::send(&mut Quiet(stream), &Welcome::Err(message));
        }
        let Some(owner) = self.owner.upgrade() else { return Ok(()) };
        if owner.keeps_to_itself() {
            return wire::send(&mut Quiet(stream), &Welcome::Err("it has it for itself".to_owned()));
        }
        owner.guest_came();
        let _guest = hello.stays.then(|| self.guests.enter(hello.guest));
        if hello.stays {
            owner.guest_entered();
        }
        drop(owner);
        if !self.guests.knows(hello.guest) {
            // It came to another owner, and has to hear of what changed since.
            return wire::send(&mut Quiet(stream), &Welcome::Err("it knows no such guest".to_owned()));
        }
        wire::send(&mut Quiet(stream), &Welcome::Ok(()))?;
        loop {
            let request = match wire::receive(&mut stream) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                request => request?,
            };
            let Some(owner) = self.owner.upgrade() else { return Ok(()) };
            let answer: Answer = self.answer(&*owner, hello.guest, request).map_err(|error| wire::Refusal::of(&error));
            drop(owner);
            wire::send(&mut Quiet(stream), &answer)?;
        }
    }

    fn answer(&self, owner: &dyn Owner, guest: u64, request: Request) -> Result<Reply> {
        let rows = owner.rows();
        Ok(match request {
            Request::Get(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| &key.0[..]).collect();
                Reply::of_rows(rows.get_many(&keys)?)
            }
            Request::Apply(changes, until) => {
                let in_time = || monotonic_micros() <= until;
                let apply = |change: &wire::OwnedChange| owner.apply(guest, &change.borrowed(), &in_time);
                let applied = changes.iter().map(apply).collect::<Result<Vec<_>>>()?;
                owner.changed();
                Reply::of_applied(applied)
            }
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
            Request::Changes(since) => Reply::of_changes(self.guests.since(since, guest, rows.epoch())),
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
}

fn size(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

// A guest's end.

/// How long a connection may take that the owner should accept at once.
const TO_CONNECT: Duration = Duration::from_secs(1);

/// Connections that are kept for the next question.
const MOST_IDLE: usize = 2;

#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
    guest: u64,
    idle: Mutex<Vec<UnixStream>>,
    /// By which the owner knows that this process is there.
    _stays: UnixStream,
}

impl Client {
    /// Becomes a guest of the owner of a directory.
    pub(super) fn connect(dir: &Path) -> Result<Self, NotConnected> {
        let (socket, guest) = (dir.join(SOCKET), random() | 1);
        let stays = connection(&socket, guest, true)?;
        Ok(Self { socket, guest, idle: Mutex::default(), _stays: stays })
    }

    /// Asks the owner, and waits so long for its answer.
    pub(super) fn ask(&self, request: &Request, patience: Duration) -> Result<Answer, Failure> {
        let until = Instant::now() + patience;
        loop {
            let kept = lock(&self.idle).pop();
            let was_kept = kept.is_some();
            let stream = match kept {
                Some(stream) => stream,
                None => connection(&self.socket, self.guest, false).map_err(|error| match error {
                    // It is there, and does not answer.
                    NotConnected::Nobody(error) if is_late(&error) => Failure::Late,
                    _ => Failure::Gone,
                })?,
            };
            match exchange(&stream, request, until.saturating_duration_since(Instant::now())) {
                Ok(answer) => {
                    let mut idle = lock(&self.idle);
                    if idle.len() < MOST_IDLE {
                        idle.push(stream);
                    }
                    return Ok(answer);
                }
                // It was never received: the other end had closed it before.
                Err((Failure::Gone, false)) if was_kept => {}
                Err((failure, _)) => return Err(failure),
            }
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The answer; or what went wrong, and whether the request was sent by then.
fn exchange(mut stream: &UnixStream, request: &Request, patience: Duration) -> Result<Answer, (Failure, bool)> {
    // Nothing would mean for ever.
    let patience = patience.max(Duration::from_millis(1));
    let sent = stream.set_read_timeout(Some(patience)).and_then(|()| stream.set_write_timeout(Some(patience)));
    sent.and_then(|()| wire::send(&mut Quiet(stream), request)).map_err(|error| (error.into(), false))?;
    wire::receive(&mut stream).map_err(|error| (error.into(), true))
}

fn connection(socket: &Path, guest: u64, stays: bool) -> Result<UnixStream, NotConnected> {
    let mut stream = to(socket).map_err(NotConnected::Nobody)?;
    let ours = is_of_this_user(&stream).map_err(NotConnected::Nobody)?;
    if !ours {
        return Err(NotConnected::Refused("its socket belongs to another user".to_owned()));
    }
    let greet = |stream: &mut UnixStream| {
        stream.set_read_timeout(Some(TO_CONNECT))?;
        stream.set_write_timeout(Some(TO_CONNECT))?;
        wire::send(&mut Quiet(stream), &Hello { protocol: PROTOCOL, guest, stays })?;
        wire::receive::<Welcome>(stream)
    };
    match greet(&mut stream) {
        Ok(Ok(())) => Ok(stream),
        Ok(Err(why)) => Err(NotConnected::Refused(why)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(NotConnected::Refused("what listens on its socket is no cache".to_owned()))
        }
        Err(error) => Err(NotConnected::Nobody(error)),
    }
}

/// Writes to a socket whose other end may be gone: that is an error, and no signal, also in a program that has the signal end
/// it.
struct Quiet<'a>(&'a UnixStream);

impl io::Write for Quiet<'_> {
    #[cfg(not(target_vendor = "apple"))]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, rustix::net::SendFlags::NOSIGNAL)?)
    }

    /// Sockets of the standard library raise no signal there.
    #[cfg(target_vendor = "apple")]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut &*self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Connects without waiting where a stopped owner has too many callers.
#[cfg(target_os = "linux")]
fn to(socket: &Path) -> io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

    let address = SocketAddrUnix::new(socket)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&stream, &address)?;
    let stream = UnixStream::from(stream);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(not(target_os = "linux"))]
fn to(socket: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(socket)
}

/// Whether the other end of a socket is a process of the user whose process this is.
#[cfg(target_os = "linux")]
fn is_of_this_user(stream: &UnixStream) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    Ok(peer.uid == rustix::process::geteuid())
}

/// Nobody else may write into the directory, so that nobody else can have made the socket; nor write to the socket.
#[cfg(not(target_os = "linux"))]
fn is_of_this_user(_: &UnixStream) -> io::Result<bool> {
    Ok(true)
}
