//! Where blocking work of async callers runs: threads of our own, since those of the runtime that polls may all be
//! waiting for this very work.
//!
//! Work is never refused and never waits for a thread that cannot come: if no thread is idle and none can be started (a
//! limit on processes, say), the work runs on the caller's thread.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::util::carried::along;
use crate::util::panics::contained;

/// Beyond this many threads, work queues. More than disks can serve at once, and what tokio allows.
const MAX_THREADS: usize = 512;
/// An idle thread ends after this long.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Runs `work` on another thread, which [carries](crate::util::carried) what this one does. A panic of `work` passes through. Once it has begun, `work` runs to its end, also if the
/// future is dropped.
pub(crate) async fn blocking<R, F>(work: F) -> R
where
    R: Send + 'static,
    F: FnOnce() -> R + Send + 'static,
{
    let outcome = Arc::new(Mutex::new(Outcome { result: None, waker: None }));
    let (told, work) = (Arc::clone(&outcome), along(work));
    let job = Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        let waker = {
            let mut outcome = lock(&told);
            outcome.result = Some(result);
            outcome.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    });
    static POOL: Pool =
        Pool::new(MAX_THREADS, || thread::Builder::new().name("cacheness".to_owned()).spawn(|| POOL.serve()).is_ok());
    if let Err(job) = POOL.take(job) {
        job();
    }
    Pending(outcome).await.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Lets other tasks have their turn.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

type Job = Box<dyn FnOnce() + Send>;

struct Outcome<R> {
    result: Option<thread::Result<R>>,
    waker: Option<Waker>,
}

/// The result of work, when it is there.
struct Pending<R>(Arc<Mutex<Outcome<R>>>);

impl<R> Future for Pending<R> {
    type Output = thread::Result<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        let mut outcome = lock(&self.0);
        let replaced = match outcome.result.take() {
            Some(result) => return Poll::Ready(result),
            None => outcome.waker.replace(waker),
        };
        drop(outcome);
        drop(replaced);
        Poll::Pending
    }
}

struct Pool {
    state: Mutex<State>,
    queued: Condvar,
    max_threads: usize,
    /// Starts a thread that [serves](Self::serve); `false` if there is none to be had.
    start: fn() -> bool,
}

struct State {
    queue: VecDeque<Job>,
    threads: usize,
    /// Threads that wait for work. Below `max_threads`, each queued or promised job has one of its own, or one that is
    /// starting.
    idle: usize,
    /// Jobs for which a thread is being started and that are not queued yet. The thread may be idle before.
    promised: usize,
    /// Whose pool it is; 0 before the first job.
    process: u32,
}

impl State {
    const fn new() -> Self {
        Self { queue: VecDeque::new(), threads: 0, idle: 0, promised: 0, process: 0 }
    }

    /// In a forked child, forgets the jobs of its parent and its threads, which are not here.
    fn forget_parent(&mut self) {
        let process = std::process::id();
        if self.process != process {
            mem::forget(mem::replace(self, Self { process, ..Self::new() }));
        }
    }
}

impl Pool {
    const fn new(max_threads: usize, start: fn() -> bool) -> Self {
        Self { state: Mutex::new(State::new()), queued: Condvar::new(), max_threads, start }
    }

    /// Sees to it that a thread runs the job.
    ///
    /// # Errors
    /// The job, if none can be had.
    fn take(&self, job: Job) -> Result<(), Job> {
        let mut state = lock(&self.state);
        state.forget_parent();
        if state.idle <= state.queue.len() + state.promised && state.threads < self.max_threads {
            // Counted before it runs, so that callers at the same time do not start too many.
            state.threads += 1;
            state.promised += 1;
            drop(state);
            let started = (self.start)();
            state = lock(&self.state);
            state.promised -= 1;
            if !started {
                state.threads -= 1;
                return Err(job);
            }
        }
        state.queue.push_back(job);
        drop(state);
        self.queued.notify_one();
        Ok(())
    }

    /// Runs jobs until there have been none for a while.
    fn serve(&self) {
        let process = std::process::id();
        while let Some(job) = self.next() {
            // The job catches panics of the work itself; what is left are wakers.
            contained(job);
            // The pool of a child that the job has forked does not count this thread.
            if std::process::id() != process {
                return;
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        state.idle += 1;
        let (mut state, _) = self
            .queued
            .wait_timeout_while(state, KEEP_ALIVE, |state| state.queue.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        let job = state.queue.pop_front();
        if job.is_none() {
            state.threads -= 1;
        }
        job
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::task::Wake;
    use std::thread::{self, Thread};

    use tokio::runtime::Builder;

    use super::*;

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut future = std::pin::pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(result) => return result,
                Poll::Pending => thread::park(),
            }
        }
    }

    #[test]
    fn work_leaves_the_polling_thread_also_outside_tokio() {
        let here = thread::current().id();
        let there = block_on(blocking(|| thread::current().id()));
        assert_ne!(here, there);
    }

    #[test]
    fn a_panic_of_the_work_passes_through() {
        let caught = std::panic::catch_unwind(|| block_on(blocking(|| panic!("as the work does"))));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"as the work does"));
    }

    #[test]
    fn work_is_done_also_when_every_blocking_thread_of_the_runtime_waits_for_it() {
        let (done, waited) = channel();
        let full = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(1).build().unwrap();
        let handle = full.handle().clone();
        full.spawn_blocking(move || done.send(handle.block_on(blocking(|| 7))));
        let result = waited.recv_timeout(Duration::from_secs(5));
        full.shutdown_background();
        assert_eq!(result, Ok(7));
    }

    #[test]
    fn work_inside_of_work_and_many_at_once_are_all_done() {
        let outer: Vec<_> = (0..100u64)
            .map(|n| thread::spawn(move || block_on(blocking(move || block_on(blocking(move || n))))))
            .collect();
        assert_eq!(outer.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>(), 4950);
    }

    #[test]
    fn work_goes_back_to_the_caller_if_no_thread_is_idle_and_none_can_be_started() {
        static NONE: Pool = Pool::new(4, || false);
        let (done, told) = channel();
        let refused = NONE.take(Box::new(move || done.send(7).unwrap()));
        refused.map_or_else(|job| job(), |()| panic!("nobody would ever run it"));
        assert_eq!((told.recv(), lock(&NONE.state).threads), (Ok(7), 0));
    }

    #[test]
    fn work_that_a_busy_pool_cannot_take_is_not_left_in_its_queue() {
        static ONE: Pool = Pool::new(4, || {
            let first = lock(&ONE.state).threads == 1;
            first && thread::Builder::new().spawn(|| ONE.serve()).is_ok()
        });
        let ((release, held), (begun, begins)) = (channel::<()>(), channel());
        let busy = Box::new(move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
        });
        assert!(ONE.take(busy).is_ok());
        begins.recv().unwrap();
        assert!(ONE.take(Box::new(|| ())).is_err(), "its only thread may be waiting for this very work");
        release.send(()).unwrap();
    }

    #[test]
    fn a_thread_that_is_idle_before_its_job_is_queued_is_not_counted_on_by_others() {
        static STARTS: AtomicUsize = AtomicUsize::new(0);
        static JOBS: Mutex<Vec<Job>> = Mutex::new(Vec::new());
        static TWO: Pool = Pool::new(4, || {
            let started = thread::Builder::new().spawn(|| TWO.serve()).is_ok();
            if STARTS.fetch_add(1, Ordering::Relaxed) == 0 {
                while lock(&TWO.state).idle == 0 {
                    thread::yield_now();
                }
                // Another caller comes before the one for whom the thread was started goes on.
                if let Some(job) = lock(&JOBS).pop() {
                    assert!(TWO.take(job).is_ok());
                }
            }
            started
        });
        let ((done, told), (first_is_done, waits)) = (channel(), channel());
        lock(&JOBS).push(Box::new(move || done.send(waits.recv().is_ok()).unwrap()));
        assert!(TWO.take(Box::new(move || first_is_done.send(()).unwrap())).is_ok());
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(true), "the second job waits for the first one");
    }

    #[test]
    fn a_forked_child_starts_threads_of_its_own() {
        static INHERITED: Pool = Pool::new(4, || thread::Builder::new().spawn(|| INHERITED.serve()).is_ok());
        {
            let mut state = lock(&INHERITED.state);
            let process = std::process::id() + 1;
            *state = State { threads: 4, idle: 2, process, ..State::new() };
            state.queue.push_back(Box::new(|| unreachable!("it is the parent's")));
        }
        let (done, told) = channel();
        assert!(INHERITED.take(Box::new(move || done.send(7).unwrap())).is_ok());
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(7));
        assert_eq!(lock(&INHERITED.state).threads, 1);
    }

    #[test]
    fn at_the_limit_work_queues() {
        static ONE: Pool = Pool::new(1, || thread::Builder::new().spawn(|| ONE.serve()).is_ok());
        let (done, told) = channel();
        for n in 0..100 {
            let done = done.clone();
            assert!(ONE.take(Box::new(move || done.send(n).unwrap())).is_ok());
        }
        assert_eq!((0..100).map(|_| told.recv().unwrap()).sum::<i32>(), 4950);
        assert_eq!(lock(&ONE.state).threads, 1);
    }
}
