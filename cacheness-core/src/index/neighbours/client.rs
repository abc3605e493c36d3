//! A guest's end: questions to the owner, on a connection for each thread that asks at the same time.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::wire::{self, Answer, Hello, PROTOCOL, Request, Welcome};
use super::{SOCKET, is_of_this_user};
use crate::util::digest::random;
use crate::util::threads::lock;

/// How long a connection may take that the owner should accept at once.
const TO_CONNECT: Duration = Duration::from_secs(1);

/// Connections that are kept for the next question.
const MOST_IDLE: usize = 8;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The owner is gone, whatever it did before.
    Gone,
    /// It did not answer in time, and may yet do what it was asked to.
    Late,
    /// It sent what makes no sense.
    Odd(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            io::ErrorKind::InvalidData => Self::Odd(error),
            _ => Self::Gone,
        }
    }
}

#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
    guest: u64,
    idle: Mutex<Vec<UnixStream>>,
    /// By which the owner knows that this process is there.
    _stays: UnixStream,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NotConnected {
    /// Nobody listens, or not yet.
    Nobody(io::Error),
    /// Who listens is not to be asked, or does not want to be.
    Refused(String),
}

impl Client {
    /// Becomes a guest of the owner of a directory.
    pub(super) fn connect(dir: &Path) -> Result<Self, NotConnected> {
        let (socket, guest) = (dir.join(SOCKET), random() | 1);
        let stays = open(&socket, guest, true)?;
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
                None => open(&self.socket, self.guest, false).map_err(|_| Failure::Gone)?,
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

/// The answer; or what went wrong, and whether the request was sent by then.
fn exchange(mut stream: &UnixStream, request: &Request, patience: Duration) -> Result<Answer, (Failure, bool)> {
    // Nothing would mean for ever.
    let patience = patience.max(Duration::from_millis(1));
    let sent = stream.set_read_timeout(Some(patience)).and_then(|()| stream.set_write_timeout(Some(patience)));
    sent.and_then(|()| wire::send(&mut stream, request)).map_err(|error| (error.into(), false))?;
    wire::receive(&mut stream).map_err(|error| (error.into(), true))
}

fn open(socket: &Path, guest: u64, stays: bool) -> Result<UnixStream, NotConnected> {
    let mut stream = to(socket).map_err(NotConnected::Nobody)?;
    let ours = is_of_this_user(&stream).map_err(NotConnected::Nobody)?;
    if !ours {
        return Err(NotConnected::Refused("its socket belongs to another user".to_owned()));
    }
    let greet = |stream: &mut UnixStream| {
        stream.set_read_timeout(Some(TO_CONNECT))?;
        stream.set_write_timeout(Some(TO_CONNECT))?;
        wire::send(stream, &Hello { protocol: PROTOCOL, guest, stays })?;
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

/// Connects without waiting where a stopped owner has too many callers.
fn to(socket: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(socket)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&stream, &address)?;
    let stream = UnixStream::from(stream);
    stream.set_nonblocking(false)?;
    Ok(stream)
}
