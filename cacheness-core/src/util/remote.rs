//! The bridge from callers that block to clients that are asynchronous.
//!
//! One thread drives one runtime for all clients of the process. A caller hands a future over and blocks on a channel, so it
//! may itself run inside a runtime of any flavour, or outside of one: it never enters ours. No code of users runs on that
//! thread, but for a logger that a client writes to.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::error::{CacheError, ErrorKind, Result};
use crate::util::process::PerProcess;

/// A call of a server, as its errors name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    kind: ErrorKind,
    doing: &'static str,
}

impl Call {
    /// A call whose failures are of this kind. `doing` stands behind "cannot", and names the server: `read a row from
    /// PostgreSQL`.
    pub(crate) const fn new(kind: ErrorKind, doing: &'static str) -> Self {
        Self { kind, doing }
    }

    /// The same with failures of another kind.
    #[cfg(any(feature = "postgresql", feature = "redis"))]
    pub(crate) const fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The error of a call that failed for this reason.
    pub(crate) fn failed(self, why: impl std::fmt::Display) -> CacheError {
        CacheError::new(self.kind, format!("cannot {}: {why}", self.doing))
    }
}

/// Runs `work` on the thread of clients and blocks until it is done.
///
/// Over the deadline `work` is dropped, wherever it stands. It runs inside the runtime: `tokio::spawn` gives it tasks that
/// outlive it.
///
/// # Errors
/// Those of `work`; [`Unavailable`](ErrorKind::Unavailable) if the deadline passes; of the kind of `call` if `work` panics, if the thread cannot be started, and if
/// this is that very thread, which must not wait for itself.
pub(crate) fn wait<T: Send + 'static>(
    call: Call,
    deadline: Duration,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    if IS_NET.get() {
        return Err(call.failed("this thread carries the answers of the server and cannot wait for one"));
    }
    let net = NET
        .get(|| Net::start().map(Arc::new))
        .map_err(|error| call.failed(format!("the thread for it cannot be started: {error}")))?;
    let (done, outcome) = sync_channel(1);
    let task = net.handle.spawn(async move {
        // Nobody listens any more over the deadline.
        let _ = done.send(work.await);
    });
    match outcome.recv_timeout(deadline) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            task.abort();
            Err(Call { kind: ErrorKind::Unavailable, ..call }
                .failed(format!("no answer within {} ms", deadline.as_millis())))
        }
        Err(RecvTimeoutError::Disconnected) => Err(call.failed("the client panicked")),
    }
}

/// The thread of clients, of this process.
#[derive(Debug)]
struct Net {
    handle: Handle,
    /// The thread ends when this is dropped.
    _running: oneshot::Sender<()>,
}

static NET: PerProcess<Net> = PerProcess::new();

thread_local! {
    static IS_NET: Cell<bool> = const { Cell::new(false) };
}

impl Net {
    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        thread::Builder::new().name("cacheness-net".to_owned()).spawn(move || {
            IS_NET.set(true);
            // An error says that the sender is gone.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { handle, _running: running })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;

    const ASK: Call = Call::new(ErrorKind::Metadata, "ask the server");
    const LONG: Duration = Duration::from_secs(20);

    fn answer() -> Result<u32> {
        wait(ASK, LONG, async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(7)
        })
    }

    #[test]
    fn a_caller_gets_its_answer_in_a_runtime_of_any_flavour_and_outside() {
        assert_eq!(answer().unwrap(), 7);
        for mut builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
            let runtime = builder.worker_threads(1).build().unwrap();
            let task = runtime.spawn(async { answer().unwrap() });
            assert_eq!(runtime.block_on(async move { (answer().unwrap(), task.await.unwrap()) }), (7, 7));
        }
    }

    #[test]
    fn all_callers_share_one_thread() {
        let thread = || {
            wait(ASK, LONG, async {
                let thread = thread::current();
                Ok((thread.id(), thread.name().map(str::to_owned)))
            })
        };
        let first = thread().unwrap();
        assert_eq!(first.1.as_deref(), Some("cacheness-net"));
        let others = thread::scope(|scope| {
            let others: Vec<_> = (0..8).map(|_| scope.spawn(thread)).collect();
            others.into_iter().map(|other| other.join().unwrap().unwrap().1).collect::<Vec<_>>()
        });
        assert!(others.iter().all(|name| *name == first.1));
    }

    #[test]
    fn over_the_deadline_work_is_dropped_and_the_error_says_so() {
        struct Dropped(Arc<AtomicBool>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let gone = Arc::new(AtomicBool::new(false));
        let held = Dropped(Arc::clone(&gone));
        let begin = Instant::now();
        let error = wait(ASK, Duration::from_millis(30), async move {
            let _held = held;
            std::future::pending::<Result<()>>().await
        })
        .unwrap_err();
        assert!(error.is_unavailable());
        assert_eq!(error.to_string(), "cannot ask the server: no answer within 30 ms");
        while !gone.load(Ordering::SeqCst) {
            assert!(begin.elapsed() < LONG, "it was never dropped");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_thread_of_clients_does_not_wait_for_itself() {
        let inner = wait(ASK, LONG, async { Ok(answer()) }).unwrap();
        assert!(inner.unwrap_err().to_string().contains("cannot wait"));
    }

    #[test]
    fn a_panic_of_a_client_is_an_error_and_the_thread_goes_on() {
        let error = wait(ASK, LONG, async { if true { panic!("by a test") } else { Ok(()) } }).unwrap_err();
        assert_eq!(error.to_string(), "cannot ask the server: the client panicked");
        assert_eq!(answer().unwrap(), 7);
    }

    #[test]
    fn a_forked_child_has_a_thread_of_its_own() {
        assert_eq!(answer().unwrap(), 7);
        NET.pretend_to_be_forked();
        assert_eq!(answer().unwrap(), 7);
    }
}
