//! A network that fails: stands before a server, counts what is asked, and passes on, delays, cuts or swallows, also in the
//! middle of a connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Network {
    /// It arrives.
    Works,
    /// Each piece of an answer comes so much later.
    Slow(Duration),
    /// Nothing arrives, and nothing is closed, also not later.
    BlackHole,
    /// A connection is cut after so many bytes of answers.
    Cut(usize),
    /// As `Cut`, the first time.
    CutOnce(usize),
    /// Connections are closed at once.
    Refuses,
}

/// A port before that of a server.
#[derive(Debug)]
pub struct Proxy {
    /// The port to connect to.
    pub port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    upstream: AtomicU16,
    network: Mutex<Network>,
    requests: Mutex<Vec<String>>,
    /// How often a client spoke first, or after an answer.
    trips: AtomicU64,
    /// Questions without an answer: now, and at most.
    waiting: Mutex<[usize; 2]>,
    /// Both ends of all connections.
    ends: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
}

/// What a connection has met.
#[derive(Default)]
struct Fate {
    /// A question of it waits for an answer.
    is_open: AtomicBool,
    /// The client spoke last.
    is_asked: AtomicBool,
    /// Something of it was swallowed: to go on would be to forge what was sent.
    is_swallowed: AtomicBool,
    /// How many bytes of answers are left until it is cut.
    left: Mutex<Option<usize>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Stands before a port of this machine.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let state = Arc::new(State {
            upstream: AtomicU16::new(upstream),
            network: Mutex::new(Network::Works),
            requests: Mutex::default(),
            trips: AtomicU64::new(0),
            waiting: Mutex::default(),
            ends: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&serving);
                thread::spawn(move || state.serve(client));
            }
        });
        Self { port, state }
    }

    /// What becomes of all that is sent from now on.
    pub fn becomes(&self, network: Network) {
        *lock(&self.state.network) = network;
    }

    /// Cuts all connections that there are.
    pub fn cut(&self) {
        for end in lock(&self.state.ends).drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Cuts all connections; later ones lead to this port.
    pub fn leads_to(&self, upstream: u16) {
        self.state.upstream.store(upstream, Ordering::SeqCst);
        self.cut();
    }

    /// Forgets what was asked so far.
    pub fn forget(&self) {
        lock(&self.state.requests).clear();
    }

    /// What was asked by HTTP, without what stands behind the path.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state.requests).clone()
    }

    /// What `work` returns, and how many round trips were made meanwhile, whatever is spoken.
    pub fn trips<R>(&self, work: impl FnOnce() -> R) -> (R, u64) {
        let before = self.state.trips.load(Ordering::SeqCst);
        let done = work();
        (done, self.state.trips.load(Ordering::SeqCst) - before)
    }

    /// How many questions by HTTP waited for an answer at the same time, at most.
    pub fn most_at_once(&self) -> usize {
        lock(&self.state.waiting)[1]
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl State {
    fn serve(self: Arc<Self>, client: TcpStream) {
        if *lock(&self.network) == Network::Refuses {
            return;
        }
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream.load(Ordering::SeqCst))) else {
            return;
        };
        let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
        for end in [&client, &server] {
            let _ = end.set_nodelay(true);
            lock(&self.ends).extend(end.try_clone());
        }
        let (asking, fate) = (Arc::clone(&self), Arc::new(Fate::default()));
        let of_questions = Arc::clone(&fate);
        let asked = thread::spawn(move || asking.pass_questions(from_client, to_server, &of_questions));
        self.pass_answers(server, client, &fate);
        self.is_answered(&fate);
        let _ = asked.join();
    }

    /// The network as it is now for a connection.
    fn network_of(&self, fate: &Fate) -> Network {
        let network = *lock(&self.network);
        if network == Network::BlackHole {
            fate.is_swallowed.store(true, Ordering::SeqCst);
        }
        if fate.is_swallowed.load(Ordering::SeqCst) { Network::BlackHole } else { network }
    }

    fn pass_questions(&self, mut client: TcpStream, mut server: TcpStream, fate: &Fate) {
        let mut buf = [0; 64 << 10];
        while let Ok(read @ 1..) = client.read(&mut buf) {
            if !fate.is_asked.swap(true, Ordering::SeqCst) {
                self.trips.fetch_add(1, Ordering::SeqCst);
            }
            if self.note(&buf[..read]) && !fate.is_open.swap(true, Ordering::SeqCst) {
                let [now, most] = &mut *lock(&self.waiting);
                *now += 1;
                *most = (*most).max(*now);
            }
            match self.network_of(fate) {
                Network::BlackHole => {}
                Network::Refuses => break,
                _ if server.write_all(&buf[..read]).is_err() => break,
                _ => {}
            }
        }
        let _ = server.shutdown(Shutdown::Both);
    }

    /// A question begins a piece of what is sent: none is sent before the answer to the last one.
    fn note(&self, bytes: &[u8]) -> bool {
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(&line[..line.len().min(1000)]).into_owned();
        let Some((question, _)) = line.split_once(" HTTP/1.1") else { return false };
        lock(&self.requests).push(question.to_owned());
        true
    }

    fn is_answered(&self, fate: &Fate) {
        if fate.is_open.swap(false, Ordering::SeqCst) {
            lock(&self.waiting)[0] -= 1;
        }
    }

    fn pass_answers(&self, mut server: TcpStream, mut client: TcpStream, fate: &Fate) {
        let mut buf = [0; 64 << 10];
        while let Ok(read @ 1..) = server.read(&mut buf) {
            fate.is_asked.store(false, Ordering::SeqCst);
            match self.network_of(fate) {
                Network::BlackHole => continue,
                Network::Refuses => break,
                Network::Slow(by) => thread::sleep(by),
                Network::Cut(bytes) => _ = lock(&fate.left).get_or_insert(bytes),
                Network::CutOnce(bytes) => {
                    lock(&fate.left).get_or_insert(bytes);
                    self.works_again();
                }
                Network::Works => {}
            }
            self.is_answered(fate);
            let mut left = lock(&fate.left);
            let now = left.map_or(read, |left| left.min(read));
            *left = left.map(|left| left - now);
            if client.write_all(&buf[..now]).is_err() || *left == Some(0) {
                break;
            }
        }
        // Where answers were swallowed, their end is, too.
        if !fate.is_swallowed.load(Ordering::SeqCst) {
            let _ = client.shutdown(Shutdown::Both);
        }
        let _ = server.shutdown(Shutdown::Both);
    }

    fn works_again(&self) {
        let mut network = lock(&self.network);
        if let Network::CutOnce(_) = *network {
            *network = Network::Works;
        }
    }
}
