//! Whether a leading future is still polled. One that was woken and is not polled is kept by somebody who does something
//! else, perhaps wait for it: a pinned call in a `select!` whose other arm makes the same call.

use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use super::context::lock;
use super::patience;

/// How long the first caller waits for a leader that was woken and is not polled, at most: an executor that is busy may
/// well take some time to poll it.
const IDLE: Duration = Duration::from_millis(100);
/// How often a caller in the task of such a leader is polled itself before it believes that the leader will not be. Two
/// polls would tell, if all that poll several futures did it in the same order each time.
const LOOKS: u8 = 3;

/// The waker of a leading future: passes wakes on, and remembers them until the next poll.
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
        patience::until(woken, self.idle, ahead).is_some_and(|until| now >= until)
    }

    /// When to look again, having waited since then: seldom, if it has been long.
    pub(super) fn next_look(&self, since: Instant, now: Instant) -> Option<Instant> {
        now.checked_add(now.saturating_duration_since(since).max(self.idle))
    }
}
