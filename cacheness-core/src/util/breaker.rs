//! A server that fails again and again is asked no more for a while.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::util::threads::lock;

/// So many failures in a row, and the server is left alone.
pub(crate) const FAILURES: u32 = 3;
/// For so long.
pub(crate) const PAUSE: Duration = Duration::from_millis(1500);

/// Whether a server is asked.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    /// How many outages are over, in each of which changes may have been missed.
    outages: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Until then nobody asks; then one does.
    open_until: Option<Instant>,
    is_tried: bool,
}

/// One call that asks the server. It has failed unless it says that it was answered, also by a panic.
pub(crate) struct Attempt<'a> {
    breaker: &'a Breaker,
    pub(crate) answered: bool,
    is_probe: bool,
}

impl Breaker {
    pub(crate) fn outages(&self) -> u64 {
        self.outages.load(Ordering::SeqCst)
    }

    /// Whether the server answers, as far as is known.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).open_until.is_none()
    }

    /// Whether a call would ask now.
    pub(crate) fn may_ask(&self, now: Instant) -> bool {
        let state = lock(&self.state);
        state.open_until.is_none_or(|until| now >= until && !state.is_tried)
    }

    /// Whether this call asks; `None` if the server is not to be asked now.
    pub(crate) fn enter(&self, now: Instant) -> Option<Attempt<'_>> {
        let mut state = lock(&self.state);
        let is_probe = match state.open_until {
            None => false,
            Some(until) if now < until || state.is_tried => return None,
            Some(_) => {
                state.is_tried = true;
                true
            }
        };
        Some(Attempt { breaker: self, answered: false, is_probe })
    }

    pub(crate) fn fail(&self, now: Instant) {
        let mut state = lock(&self.state);
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.open_until = Some(now + PAUSE);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            lock(&self.breaker.state).is_tried = false;
        }
        if self.answered {
            let before = std::mem::take(&mut *lock(&self.breaker.state));
            if before.open_until.is_some() {
                self.breaker.outages.fetch_add(1, Ordering::SeqCst);
            }
        } else {
            self.breaker.fail(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_three_failures_nobody_asks_for_a_while_and_then_one_does() {
        let breaker = Breaker::default();
        let now = Instant::now();
        // An attempt that is dropped has failed.
        (0..FAILURES).for_each(|_| assert!(breaker.enter(now).is_some()));
        let later = Instant::now() + PAUSE;
        assert!(breaker.enter(Instant::now()).is_none());
        let probe = breaker.enter(later).unwrap();
        assert!(breaker.enter(later).is_none(), "one is enough");
        drop(probe);
        assert!(breaker.enter(later).is_none(), "it was not answered");
        let mut probe = breaker.enter(later + PAUSE).unwrap();
        probe.answered = true;
        drop(probe);
        assert!(breaker.enter(now).is_some() && breaker.enter(now).is_some(), "all ask again");
    }
}
