//! Until when values in memory are current, where other processes change rows.
//!
//! A process asks for the changes of others before it uses a value in memory, and not again for the time of a lease. Whoever
//! changes a row that others may have in memory waits as long before the change is acknowledged. So no value that was
//! acknowledged to be gone comes out of any memory, and a hit there costs a look at the clock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::index::backend::LEASE;
use crate::util::threads::lock;

const LEASE_NANOS: u64 = LEASE.as_nanos() as u64;

#[derive(Debug)]
pub(super) struct Lease {
    since: Instant,
    /// In nanoseconds since then.
    until: AtomicU64,
    /// Held by who renews it; what to ask with.
    mark: Mutex<u64>,
}

impl Default for Lease {
    fn default() -> Self {
        Self { since: Instant::now(), until: AtomicU64::new(0), mark: Mutex::new(0) }
    }
}

impl Lease {
    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[inline]
    pub(super) fn is_running(&self) -> bool {
        self.now() < self.until.load(Ordering::Acquire)
    }

    /// Renews it if the question for changes has an answer: the mark for the next one. Says whether it has.
    pub(super) fn renew(&self, ask: impl FnOnce(u64) -> Option<u64>) -> bool {
        let mut mark = lock(&self.mark);
        if self.is_running() {
            return true;
        }
        // Before the question: a change that is made after the answer waits from then on.
        let asked = self.now();
        let Some(new) = ask(*mark) else { return false };
        *mark = new;
        self.until.store(asked.saturating_add(LEASE_NANOS), Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_runs_from_before_the_question_that_renewed_it() {
        let lease = Lease::default();
        assert!(!lease.is_running());
        assert!(!lease.renew(|_| None), "nobody answered");
        assert!(lease.renew(|mark| Some(mark + 7)));
        std::thread::sleep(LEASE);
        assert!(!lease.is_running());
        assert!(lease.renew(|mark| {
            assert_eq!(mark, 7);
            std::thread::sleep(LEASE);
            Some(8)
        }));
        assert!(!lease.is_running(), "the answer took as long");
    }
}
