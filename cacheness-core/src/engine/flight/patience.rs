//! How long a caller waits for others before it runs the body itself.
//!
//! What a leader waits for is not always to be seen: it may be the very caller who waits for the leader. So no wait is
//! without end. The first caller waits for the least time, or four times as long as the body usually takes, if that is
//! longer; the next two twice that, the next four four times, and so on: a thousand callers of a slow body do not all
//! lose their patience at once, but each does some time.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::context::lock;
use crate::util::threads::wake;

/// How many times the usual time a body may take before somebody stops waiting for it.
const SLACK: u32 = 4;
/// No body is so slow that the first caller waits longer than this many times the least.
const MOST: u32 = 100;

/// How long a body usually takes, of a function or of all that a cache makes itself. Clones share what they learn.
#[derive(Clone, Debug, Default)]
pub(crate) struct UsualDuration(Arc<AtomicU64>);

impl UsualDuration {
    /// Learns from a run that waited for no other flight. A slow run counts at once, and is forgotten slowly.
    pub(super) fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let usual = self.0.load(Ordering::Relaxed);
        // Two who note at the same time may lose one of the notes, no more.
        self.0.store(took.max(usual - usual / 8), Ordering::Relaxed);
    }

    /// How long the first caller waits.
    pub(crate) fn patience(&self, least: Duration) -> Duration {
        let usual = Duration::from_micros(self.0.load(Ordering::Relaxed));
        usual.saturating_mul(SLACK).min(least.saturating_mul(MOST)).max(least)
    }
}

/// Until when a caller waits who began now, with so many before it. Nothing if that is beyond all clocks.
pub(super) fn until(now: Instant, first: Duration, ahead: usize) -> Option<Instant> {
    let rank = ahead.saturating_add(1).ilog2();
    now.checked_add(first.saturating_mul(1 << rank.min(31)))
}

/// How long the first caller waits for a leader that was woken and is not polled, at most: an executor that is busy may
/// well take some time to poll it.
const IDLE: Duration = Duration::from_millis(100);
/// How often a caller in the task of such a leader is polled itself before it believes that the leader will not be. Two
/// polls would tell, if all that poll several futures did it in the same order each time.
const LOOKS: u8 = 3;

/// The waker of a leading future: passes wakes on, and remembers them until the next poll, so that a future that was woken
/// and is not polled is recognized. Such a future is held by somebody who does something else, perhaps waits for it: a pinned
/// call in a `select!` whose other arm makes the same call.
pub(super) struct Pulse(Mutex<Beat>);

#[derive(Clone)]
struct Beat {
    /// Shared, so that no waker is cloned or dropped under the lock.
    task: Arc<Waker>,
    woken: Option<Instant>,
    polls: u64,
}

impl Pulse {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Beat { task: Arc::new(Waker::noop().clone()), woken: None, polls: 0 })))
    }

    /// The future is polled by a task with this waker.
    pub(super) fn polled(&self, waker: &Waker) {
        let task = Arc::clone(&lock(&self.0).task);
        let task = if task.will_wake(waker) { task } else { Arc::new(waker.clone()) };
        let mut beat = lock(&self.0);
        beat.woken = None;
        beat.polls += 1;
        let _replaced = std::mem::replace(&mut beat.task, task);
        drop(beat);
    }

    fn beat(&self) -> Beat {
        lock(&self.0).clone()
    }
}

impl Wake for Pulse {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let now = Instant::now();
        let task = {
            let mut beat = lock(&self.0);
            beat.woken.get_or_insert(now);
            Arc::clone(&beat.task)
        };
        task.wake_by_ref();
    }
}

/// What a caller has seen of the leader it waits for.
pub(super) struct Watch {
    /// How long the first caller waits for a leader that is not polled.
    idle: Duration,
    polls: u64,
    looks: u8,
}

impl Watch {
    pub(super) fn new(least_wait: Duration) -> Self {
        Self { idle: least_wait.min(IDLE), polls: 0, looks: 0 }
    }

    /// Whether the leader is not polled though it was woken, asked by the caller with this waker and so many before it.
    pub(super) fn sees_idle(&mut self, pulse: &Pulse, now: Instant, waker: &Waker, ahead: usize) -> bool {
        let beat = pulse.beat();
        let Some(woken) = beat.woken else {
            self.looks = 0;
            return false;
        };
        if beat.task.will_wake(waker) {
            self.looks = if self.polls == beat.polls { self.looks + 1 } else { 1 };
            self.polls = beat.polls;
            if self.looks >= LOOKS {
                return true;
            }
            // To be polled again, after what else this task polls.
            waker.wake_by_ref();
        }
        until(woken, self.idle, ahead).is_some_and(|until| now >= until)
    }

    /// When to look again, having waited since then: seldom, if it has been long.
    pub(super) fn next_look(&self, since: Instant, now: Instant) -> Option<Instant> {
        now.checked_add(now.saturating_duration_since(since).max(self.idle))
    }
}

/// How long the thread that rings alarms stays without one. It is a thread of our own, since an executor need not have a timer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

static ALARMS: Mutex<Alarms> = Mutex::new(Alarms::new());
static CHANGED: Condvar = Condvar::new();

struct Alarms {
    set: BTreeMap<(Instant, u64), Waker>,
    last: u64,
    /// Whether the thread is there. Changed under the lock, so that no alarm is set which nobody would ring.
    running: bool,
    /// Whose alarms they are; 0 before the first one.
    process: u32,
}

impl Alarms {
    const fn new() -> Self {
        Self { set: BTreeMap::new(), last: 0, running: false, process: 0 }
    }

    /// In a forked child, forgets the alarms of its parent, whose thread is not here.
    fn forget_parent(&mut self) {
        let process = std::process::id();
        if self.process != process {
            // Not dropped: wakers are not ours.
            mem::forget(mem::take(&mut self.set));
            (self.running, self.process) = (false, process);
        }
    }
}

/// A wake that is due at some time, unless it is dropped before.
pub(super) struct Alarm {
    at: (Instant, u64),
    waker: Waker,
}

impl Alarm {
    /// `None` if no thread can be started.
    pub(super) fn set(at: Instant, waker: &Waker) -> Option<Self> {
        let (kept, queued) = (waker.clone(), waker.clone());
        let mut alarms = lock(&ALARMS);
        alarms.forget_parent();
        if !alarms.running {
            alarms.running = thread::Builder::new().name("cacheness-alarm".to_owned()).spawn(ring).is_ok();
            if !alarms.running {
                drop(alarms);
                return None;
            }
        }
        alarms.last += 1;
        let at = (at, alarms.last);
        alarms.set.insert(at, queued);
        let is_next = alarms.set.first_key_value().is_some_and(|(first, _)| *first == at);
        drop(alarms);
        if is_next {
            CHANGED.notify_one();
        }
        Some(Self { at, waker: kept })
    }

    /// Whether it still rings, not later than `at`, for this waker.
    pub(super) fn serves(&self, now: Instant, at: Instant, waker: &Waker) -> bool {
        now < self.at.0 && self.at.0 <= at && self.waker.will_wake(waker)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let _waker = lock(&ALARMS).set.remove(&self.at);
    }
}

/// Lets a task wait, on any executor.
pub(crate) async fn pause(time: Duration) {
    let (until, mut alarm) = (Instant::now() + time, None);
    std::future::poll_fn(|cx| {
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        alarm = Alarm::set(until, cx.waker());
        if alarm.is_some() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

fn ring() {
    while let Some(waker) = next() {
        wake(waker);
    }
}

/// The next waker that is due. `None` when none has been set for a while.
fn next() -> Option<Waker> {
    let mut alarms = lock(&ALARMS);
    loop {
        let first = alarms.set.first_key_value().map(|(at, _)| at.0);
        let rest = first.map_or(KEEP_ALIVE, |at| at.saturating_duration_since(Instant::now()));
        if first.is_some() && rest.is_zero() {
            return alarms.set.pop_first().map(|(_, waker)| waker);
        }
        let (woken, waited) = CHANGED.wait_timeout(alarms, rest).unwrap_or_else(PoisonError::into_inner);
        alarms = woken;
        if waited.timed_out() && first.is_none() && alarms.set.is_empty() {
            alarms.running = false;
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::task::Wake;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_more_wait_already_the_longer_a_caller_waits_but_never_more_than_its_place_in_the_line() {
        let now = Instant::now();
        let waits: Vec<_> = (0..8).map(|ahead| (until(now, SECOND, ahead).unwrap() - now).as_secs()).collect();
        assert_eq!(waits, [1, 2, 2, 4, 4, 4, 4, 8]);
        for ahead in 0..10_000 {
            assert!(until(now, SECOND, ahead).unwrap() <= now + SECOND * (ahead as u32 + 1));
        }
        assert_eq!(until(now, Duration::MAX, 7), None);
    }

    #[test]
    fn patience_grows_with_what_the_body_takes_and_shrinks_when_it_becomes_faster() {
        let usual = UsualDuration::default();
        assert_eq!(usual.patience(SECOND), SECOND);
        usual.note(SECOND * 2);
        assert_eq!(usual.patience(SECOND), SECOND * 8);
        usual.note(SECOND * 3600);
        assert_eq!(usual.patience(SECOND), SECOND * 100);
        (0..100).for_each(|_| usual.note(SECOND / 10));
        assert_eq!(usual.patience(SECOND), SECOND);
    }

    struct Says(Sender<u8>, u8);

    impl Wake for Says {
        fn wake(self: Arc<Self>) {
            self.0.send(self.1).unwrap();
        }
    }

    #[test]
    fn alarms_ring_in_their_order_and_those_that_are_dropped_do_not() {
        let (sender, heard) = channel();
        let alarm = |millis, n| {
            let waker = Waker::from(Arc::new(Says(sender.clone(), n)));
            Alarm::set(Instant::now() + Duration::from_millis(millis), &waker).unwrap()
        };
        let _alarms = [alarm(60, 3), alarm(0, 1), alarm(30, 2)];
        drop(alarm(45, 9));
        assert_eq!([(); 3].map(|()| heard.recv_timeout(Duration::from_secs(10)).unwrap()), [1, 2, 3]);
    }

    #[test]
    fn a_forked_child_forgets_the_alarms_and_the_thread_of_its_parent() {
        let mut alarms = Alarms { running: true, process: std::process::id(), ..Alarms::new() };
        alarms.set.insert((Instant::now(), 1), Waker::noop().clone());
        alarms.forget_parent();
        assert!(alarms.running && alarms.set.len() == 1, "they are its own");
        alarms.process += 1;
        alarms.forget_parent();
        assert!(!alarms.running && alarms.set.is_empty());
    }
}
