//! A network that fails: stands before a server, counts what is asked, and passes on, delays, cuts or swallows.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Network {
    Works,
    /// The first answer of a connection comes so much later.
    Slow(Duration),
    /// Nothing is answered, and nothing is closed.
    BlackHole,
    /// A connection is cut after so many bytes of the answer.
    Cut(usize),
    /// As `Cut`, the first time.
    CutOnce(usize),
    /// Connections are closed at once.
    Refuses,
}

pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    upstream: u16,
    network: Mutex<Network>,
    requests: Mutex<Vec<String>>,
    /// Questions without an answer: now, and at most.
    waiting: Mutex<[usize; 2]>,
    ended: AtomicBool,
}

impl Proxy {
    pub fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (network, requests) = (Mutex::new(Network::Works), Mutex::default());
        let state =
            Arc::new(State { upstream, network, requests, waiting: Mutex::default(), ended: AtomicBool::new(false) });
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

    pub fn becomes(&self, network: Network) {
        *self.state.network.lock().unwrap() = network;
    }

    /// Forgets what was asked so far.
    pub fn forget(&self) {
        self.state.requests.lock().unwrap().clear();
    }

    /// What was asked, without what stands behind the path.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// How many questions waited for an answer at the same time, at most.
    pub fn most_at_once(&self) -> usize {
        self.state.waiting.lock().unwrap()[1]
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
        let network = {
            let mut network = self.network.lock().unwrap();
            let now = *network;
            if let Network::CutOnce(_) = now {
                *network = Network::Works;
            }
            now
        };
        if network == Network::Refuses {
            return;
        }
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream)) else { return };
        let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let (asking, open) = (Arc::clone(&self), Arc::new(AtomicBool::new(false)));
        let opened = Arc::clone(&open);
        let asked = thread::spawn(move || asking.pass_questions(from_client, to_server, network, &opened));
        pass_answers(server, client, network, || self.is_answered(&open));
        self.is_answered(&open);
        let _ = asked.join();
    }

    fn is_answered(&self, open: &AtomicBool) {
        if open.swap(false, Ordering::SeqCst) {
            self.waiting.lock().unwrap()[0] -= 1;
        }
    }

    fn pass_questions(&self, mut client: TcpStream, mut server: TcpStream, network: Network, open: &AtomicBool) {
        let mut buf = [0; 64 << 10];
        while let Ok(read @ 1..) = client.read(&mut buf) {
            if self.note(&buf[..read]) && !open.swap(true, Ordering::SeqCst) {
                let [now, most] = &mut *self.waiting.lock().unwrap();
                *now += 1;
                *most = (*most).max(*now);
            }
            if network != Network::BlackHole && server.write_all(&buf[..read]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
    }

    /// A question begins a piece of what is sent: none is sent before the answer to the last one.
    fn note(&self, bytes: &[u8]) -> bool {
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(&line[..line.len().min(1000)]).into_owned();
        let Some((question, _)) = line.split_once(" HTTP/1.1") else { return false };
        self.requests.lock().unwrap().push(question.to_owned());
        true
    }
}

fn pass_answers(mut server: TcpStream, mut client: TcpStream, network: Network, answered: impl Fn()) {
    let mut left = match network {
        Network::Cut(bytes) | Network::CutOnce(bytes) => bytes,
        _ => usize::MAX,
    };
    let mut buf = [0; 64 << 10];
    let mut first = true;
    while let Ok(read @ 1..) = server.read(&mut buf) {
        if let Network::Slow(by) = network
            && first
        {
            thread::sleep(by);
        }
        first = false;
        answered();
        let now = read.min(left);
        left -= now;
        if client.write_all(&buf[..now]).is_err() || left == 0 {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
