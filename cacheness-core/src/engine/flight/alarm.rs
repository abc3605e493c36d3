//! Wakes tasks that have waited for their time. A thread of our own, since an executor need not have a timer; it starts
//! with the first alarm and ends when there has been none for a while.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};
use std::{mem, thread};

use super::context::lock;
use crate::util::threads::wake;

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
    /// Nothing if no thread can be started.
    pub(super) fn set(at: Instant, waker: &Waker) -> Option<Self> {
        let (kept, told) = (waker.clone(), waker.clone());
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
        alarms.set.insert(at, told);
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

fn ring() {
    while let Some(waker) = next() {
        wake(waker);
    }
}

/// The next waker that is due. Nothing when none has been set for a while.
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
