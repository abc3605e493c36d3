//! Other threads and what this one carries along to them, and panics of code that is not ours.
//!
//! Blocking work of async callers runs on threads of our own, since those of the runtime that polls may all be waiting for
//! this very work. It is never refused and never waits for a thread that cannot come: if no thread is idle and none can be
//! started (a limit on processes, say), the work runs on the caller's thread.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::mem::{self, forget};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::error::Result;

/// Beyond this many threads, work queues. More than disks can serve at once, and what tokio allows.
const MAX_THREADS: usize = 512;
/// An idle thread ends after this long.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Runs `work` on another thread, which [carries](along) what this one does. A panic of `work` passes
/// through. Once it has begun, `work` runs to its end, also if the future is dropped.
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
    if let Err(job) = POOL.take(job) {
        job();
    }
    Pending(outcome).await.unwrap_or_else(|panic| resume_unwind(panic))
}

static POOL: Pool =
    Pool::new(MAX_THREADS, || thread::Builder::new().name("cacheness".to_owned()).spawn(|| POOL.serve()).is_ok());

/// Runs `work` on another thread, if there is one to be had. Nobody waits for it.
pub(crate) fn later(work: impl FnOnce() + Send + 'static) {
    // A panic was shown when it happened.
    let job: Job = Box::new(move || _ = catch_unwind(AssertUnwindSafe(work)));
    drop(POOL.take(job));
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

// Two threads for one large value: the second one comes for the length of a call and is gone at its end.

/// Below this many bytes a second thread costs more than it takes off the first one.
pub(crate) const WORTH_TWO: usize = 8 << 20;

/// Whether work on so many bytes goes faster by two.
pub(crate) fn is_worth_two(bytes: usize) -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    bytes >= WORTH_TWO && *SEVERAL.get_or_init(|| thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1))
}

/// Runs `work` here, and on a second thread at the same time if `both` and if there is one to be had.
pub(crate) fn by_two(both: bool, work: impl Fn() + Sync) {
    by_several(1 + usize::from(both), work);
}

/// Runs `work` here, and on so many threads less one at the same time, as far as they are to be had.
fn by_several(threads: usize, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        let start = |_| thread::Builder::new().name("cacheness-bulk".into()).spawn_scoped(scope, &work).ok();
        let others: Vec<_> = (1..threads).map_while(start).collect();
        work();
        for other in others {
            if let Err(panic) = other.join() {
                resume_unwind(panic);
            }
        }
    });
}

/// Does `work` on every item, here and on a second thread if `both`, with a state for each thread, and returns the results in
/// order.
///
/// # Errors
/// That of the item that failed, the first one that was found; the rest is left undone.
pub(crate) fn each<I: Send, S, R: Send>(
    items: impl IntoIterator<Item = I, IntoIter: ExactSizeIterator + Send>,
    both: bool,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, I) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    each_by(items, 1 + usize::from(both), state, work)
}

/// [`each`] on so many threads: for work that waits, of which there can be more than processors.
///
/// # Errors
/// As [`each`].
pub(crate) fn each_by<I: Send, S, R: Send>(
    items: impl IntoIterator<Item = I, IntoIter: ExactSizeIterator + Send>,
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, I) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let items = items.into_iter();
    let threads = threads.min(items.len());
    let done = Mutex::new((Vec::with_capacity(items.len()), None));
    let items = Mutex::new(items.enumerate());
    by_several(threads, || {
        let mut state = state();
        loop {
            // A statement of its own, at whose end the lock is released: not so in the head of a loop.
            let next = lock(&items).next();
            let Some((n, item)) = next else { return };
            let outcome = work(&mut state, item);
            let (done, failed) = &mut *lock(&done);
            match outcome {
                Ok(result) => done.push((n, result)),
                Err(error) => drop(failed.get_or_insert(error)),
            }
            if failed.is_some() {
                return;
            }
        }
    });
    let (mut done, failed) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(n, _)| *n);
    failed.map_or_else(|| Ok(done.into_iter().map(|(_, result)| result).collect()), Err)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// Panics of code that is not ours. What it panicked with is not dropped where it ends here: its `Drop` may panic as well.

/// What `work` returns, or what its panic said.
///
/// Unwind safety: what the work left half done is dropped with it, or it is a value that the caller gives up.
#[inline]
pub(crate) fn caught<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(message_of)
}

#[cold]
fn message_of(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|panic| panic.downcast::<String>().map(|text| *text));
    text.map_err(forget).unwrap_or_else(|()| "no message".to_owned())
}

/// What `work` returns; `None` if it panics and nobody is to be told of that.
#[inline]
pub(crate) fn contained<R>(work: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(work)).map_err(forget).ok()
}

/// Wakes a task, whose waker is its executor's.
pub(crate) fn wake(waker: Waker) {
    contained(|| waker.wake());
}

// What a thread carries along, and gives to the threads that work for it.
//
// A process in which nobody carries anything pays for the question with one relaxed load. That is enough: a thread sees its
// own [`carry`] in the count, and asks about no other thread.

/// Something that a room above knows the type of.
pub(crate) type Carried = Arc<dyn Any + Send + Sync>;

/// How many things all threads carry.
static CARRIED_IN_ALL: AtomicUsize = AtomicUsize::new(0);
static SERIALS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The last one is in force. A list, since guards of one thread may be dropped in any order.
    static CARRIED: RefCell<Vec<(u64, Carried)>> = const { RefCell::new(Vec::new()) };
}

/// Whether any thread carries anything.
#[inline]
pub(crate) fn is_any_carried() -> bool {
    CARRIED_IN_ALL.load(Ordering::Relaxed) != 0
}

/// What this thread carries.
#[inline]
pub(crate) fn carried() -> Option<Carried> {
    if is_any_carried() { look_carried() } else { None }
}

#[cold]
fn look_carried() -> Option<Carried> {
    CARRIED.try_with(|here| here.borrow().last().map(|(_, carried)| Arc::clone(carried))).ok().flatten()
}

/// Lets this thread carry something, on top of what it carries already.
pub(crate) fn carry(what: Carried) -> Entered {
    let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
    CARRIED_IN_ALL.fetch_add(1, Ordering::Relaxed);
    // A thread that is ending carries nothing any more.
    let _ = CARRIED.try_with(|here| here.borrow_mut().push((serial, what)));
    Entered { serial, _of_this_thread: PhantomData }
}

/// Until it is dropped, the thread carries what it was [made](carry) for.
#[derive(Debug)]
pub(crate) struct Entered {
    serial: u64,
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Dropped when the list is free again: what is carried may ask in its turn.
        let gone = CARRIED.try_with(|here| {
            let mut here = here.borrow_mut();
            let at = here.iter().rposition(|(serial, _)| *serial == self.serial)?;
            Some(here.remove(at))
        });
        CARRIED_IN_ALL.fetch_sub(1, Ordering::Relaxed);
        drop(gone);
    }
}

/// What a task carries: wherever it is polled, the thread carries that while it polls.
#[derive(Debug)]
pub(crate) struct Luggage {
    serial: u64,
    /// What it carries, and what was entered in the task and is not left yet. On the list of the thread while it is polled.
    carried: Vec<(u64, Carried)>,
}

impl Luggage {
    pub(crate) fn of(carried: Carried) -> Self {
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        Self { serial, carried: vec![(serial, carried)] }
    }

    /// Polls, or does anything else, with what the task carries.
    pub(crate) fn within<R>(&mut self, work: impl FnOnce() -> R) -> R {
        CARRIED_IN_ALL.fetch_add(1, Ordering::Relaxed);
        let _ = CARRIED.try_with(|here| here.borrow_mut().append(&mut self.carried));
        let _back = Back(self);
        work()
    }
}

/// Takes the luggage off the list again, also when the work in between panics.
struct Back<'a>(&'a mut Luggage);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        let Self(luggage) = self;
        let _ = CARRIED.try_with(|here| {
            let mut here = here.borrow_mut();
            if let Some(at) = here.iter().rposition(|(serial, _)| *serial == luggage.serial) {
                luggage.carried = here.split_off(at);
            }
        });
        CARRIED_IN_ALL.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The same work, which carries on whatever thread runs it what this thread carries now.
pub(crate) fn along<R>(work: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let carried = carried();
    move || {
        let _entered = carried.map(carry);
        work()
    }
}

#[cfg(test)]
pub(crate) mod tests;
