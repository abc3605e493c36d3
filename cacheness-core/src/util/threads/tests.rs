use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::Wake;
use std::thread::{self, Thread};

use tokio::runtime::Builder;

use super::*;
use crate::error::{CacheError, ErrorKind};

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
    let outer: Vec<_> =
        (0..100u64).map(|n| thread::spawn(move || block_on(blocking(move || block_on(blocking(move || n)))))).collect();
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

#[test]
fn results_come_in_order_by_one_thread_or_two() {
    for both in [false, true] {
        let squares = each((0..1000u64).collect::<Vec<_>>(), both, || (), |(), n| Ok(n * n)).unwrap();
        assert_eq!(squares, (0..1000u64).map(|n| n * n).collect::<Vec<_>>());
    }
}

#[test]
fn an_error_ends_the_work_and_is_returned() {
    for both in [false, true] {
        let fails = |(): &mut (), n: u64| match n {
            7 => Err(CacheError::new(ErrorKind::Integrity, "seven")),
            _ => Ok(()),
        };
        let error = each((0..1000u64).collect::<Vec<_>>(), both, || (), fails).unwrap_err();
        assert_eq!(error.to_string(), "seven");
    }
}

#[test]
fn two_threads_work_at_the_same_time() {
    let (here, there) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    // Each waits for the other one to have begun.
    let pairs = vec![(here.0, Mutex::new(there.1)), (there.0, Mutex::new(here.1))];
    let met = each(
        pairs,
        true,
        || (),
        |(), (mine, other)| {
            let sent = mine.send(()).is_ok();
            Ok(sent && lock(&other).recv_timeout(std::time::Duration::from_secs(20)).is_ok())
        },
    );
    assert_eq!(met.unwrap(), [true, true]);
}

#[test]
fn a_panic_of_the_second_thread_is_no_hang() {
    let here = thread::current().id();
    let work = || assert_eq!(thread::current().id(), here, "on the other thread");
    assert!(std::panic::catch_unwind(|| by_two(true, work)).is_err());
}

/// Panics when it is woken, with what panics again when it is dropped.
pub(crate) struct Panics;

struct Again;

impl Drop for Again {
    fn drop(&mut self) {
        panic!("once more");
    }
}

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new(Again));
    }
}

#[test]
fn a_panic_whose_payload_panics_in_its_drop_is_contained() {
    assert_eq!(contained(|| resume_unwind(Box::new(Again))), None::<()>);
    wake(Waker::from(Arc::new(Panics)));
    assert_eq!(contained(|| 7), Some(7));
    assert_eq!(caught(|| resume_unwind(Box::new(Again))), Err::<(), _>("no message".to_owned()));
    assert_eq!(caught(|| panic!("plain")), Err::<(), _>("plain".to_owned()));
    assert_eq!(caught(|| panic!("{}", 1)), Err::<(), _>("1".to_owned()));
}

fn number() -> Option<u32> {
    carried().and_then(|carried| carried.downcast_ref().copied())
}

#[test]
fn the_last_one_that_was_entered_and_is_left_is_in_force_whatever_the_order_of_leaving() {
    assert_eq!(number(), None);
    let one = carry(Arc::new(1u32));
    let two = carry(Arc::new(2u32));
    let three = carry(Arc::new(3u32));
    assert_eq!(number(), Some(3));
    drop(two);
    assert_eq!(number(), Some(3));
    drop(three);
    assert_eq!(number(), Some(1));
    drop(one);
    assert_eq!(number(), None);
}

#[test]
fn what_a_task_enters_and_does_not_leave_is_there_at_its_next_poll_and_not_in_between() {
    let mut task = Luggage::of(Arc::new(1u32));
    let two = task.within(|| {
        assert_eq!(number(), Some(1));
        carry(Arc::new(2u32))
    });
    assert_eq!(number(), None);
    task.within(|| {
        assert_eq!(number(), Some(2));
        drop(two);
        assert_eq!(number(), Some(1));
    });
    let three = task.within(|| carry(Arc::new(3u32)));
    drop(three);
    assert_eq!(number(), None);
}

#[test]
fn other_threads_carry_what_is_given_along_and_nothing_else() {
    let _one = carry(Arc::new(1u32));
    let given = along(number);
    std::thread::scope(|scope| {
        assert_eq!(scope.spawn(number).join().unwrap(), None);
        assert_eq!(scope.spawn(given).join().unwrap(), Some(1));
    });
}
