//! InFlight as their callers use them: a harness that stores values as a cache does and counts how often a body ran.

mod cancel;
mod deadlock;
mod herd;
mod patience;

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::context::lock;
use super::{InFlight, Joined, Outcome};

/// A hang is a failure: runs a test on a thread of its own, and gives it ten seconds.
fn within_ten_seconds(test: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel::<()>();
    let runner = std::thread::spawn(move || {
        let _done = done;
        test();
    });
    assert_ne!(wait.recv_timeout(Duration::from_secs(10)), Err(mpsc::RecvTimeoutError::Timeout), "hangs");
    if let Err(panic) = runner.join() {
        resume_unwind(panic);
    }
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn multi_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap()
}

/// Longer than any test: what ends has not waited for its patience to end.
const UNHEARD_OF: Duration = Duration::from_secs(86_400);

/// A cache that keeps no values, only which keys have one.
struct Harness {
    in_flight: Arc<InFlight<u32>>,
    stored: Mutex<HashSet<u32>>,
    computes: AtomicUsize,
}

impl Harness {
    fn new() -> Arc<Self> {
        Self::patient(UNHEARD_OF)
    }

    fn patient(least_wait: Duration) -> Arc<Self> {
        Arc::new(Self { in_flight: InFlight::new(least_wait), stored: Mutex::default(), computes: AtomicUsize::new(0) })
    }

    fn computes(&self) -> usize {
        self.computes.load(Ordering::SeqCst)
    }

    fn has(&self, key: u32) -> bool {
        lock(&self.stored).contains(&key)
    }

    fn store(&self, key: u32) {
        lock(&self.stored).insert(key);
    }

    fn count(&self) {
        self.computes.fetch_add(1, Ordering::SeqCst);
    }

    fn call(&self, key: u32, body: impl FnOnce()) {
        match self.in_flight.join(&key, None) {
            Joined::Leader(leader) => {
                if !self.has(key) {
                    self.count();
                    leader.run(body);
                    self.store(key);
                }
                leader.complete(Outcome::Stored);
            }
            Joined::Completed(Outcome::Stored | Outcome::Stale) => assert!(self.has(key)),
            Joined::Completed(Outcome::NotStored(_) | Outcome::Panicked) | Joined::Alone => {
                self.count();
                body();
            }
        }
    }

    async fn call_async(&self, key: u32, body: impl Future<Output = ()>) {
        match self.in_flight.join_async(key, None).await {
            Joined::Leader(leader) => {
                if !self.has(key) {
                    self.count();
                    leader.run_async(body).await;
                    self.store(key);
                }
                leader.complete(Outcome::Stored);
            }
            Joined::Completed(Outcome::Stored | Outcome::Stale) => assert!(self.has(key)),
            Joined::Completed(Outcome::NotStored(_) | Outcome::Panicked) | Joined::Alone => {
                self.count();
                body.await;
            }
        }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.in_flight.len(), 0, "a flight is left behind");
        }
    }
}
