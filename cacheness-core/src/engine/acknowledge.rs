//! Values in memory where other processes change rows: until when they are current, and how long a change waits until it
//! is acknowledged.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::index::Index;
use crate::entry::IndexKey;
use crate::index::backend::{LEASE, Traits};
use crate::util::threads::lock;

/// The lease of rows behind a network: so late a process may hear of what another one has removed.
const LEASE_FAR_AWAY: Duration = Duration::from_secs(1);

/// Until when values in memory are current, where other processes change rows.
///
/// A process asks for the changes of others before it uses a value in memory, and not again for the time of a lease. Whoever
/// changes a row that others may have in memory waits as long before the change is acknowledged. So no value that was
/// acknowledged to be gone comes out of any memory, and a hit there costs a look at the clock. Where rows lie behind a
/// network, nobody waits, and others hear of a change within [`LEASE_FAR_AWAY`].
#[derive(Debug)]
pub(super) struct Lease {
    length: Duration,
    since: Instant,
    /// In nanoseconds since then.
    until: AtomicU64,
    /// Held by who renews it; what to ask with.
    mark: Mutex<u64>,
}

impl Lease {
    /// `None` if nobody else changes rows.
    pub(super) fn of(traits: Traits) -> Option<Self> {
        let length = if traits.waits { LEASE_FAR_AWAY } else { LEASE };
        traits.shared.then(|| Self::new(length))
    }

    /// One of this length, which does not run yet.
    pub(super) fn new(length: Duration) -> Self {
        Self { length, since: Instant::now(), until: AtomicU64::new(0), mark: Mutex::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[inline]
    pub(super) fn is_running(&self) -> bool {
        self.now() < self.until.load(Ordering::Acquire)
    }

    /// Renews it if the question for changes has an answer: the mark for the next one. Says whether it has.
    pub(super) fn renew(&self, ask: impl FnOnce(u64) -> Option<u64>) -> bool {
        self.renew_if(|| !self.is_running(), ask)
    }

    /// [`renew`](Self::renew), also while it runs.
    pub(super) fn prolong(&self, ask: impl FnOnce(u64) -> Option<u64>) -> bool {
        self.renew_if(|| true, ask)
    }

    /// What the next question is asked with.
    pub(super) fn mark(&self) -> u64 {
        *lock(&self.mark)
    }

    fn renew_if(&self, is_due: impl FnOnce() -> bool, ask: impl FnOnce(u64) -> Option<u64>) -> bool {
        let mut mark = lock(&self.mark);
        if !is_due() {
            return true;
        }
        // Before the question: a change that is made after the answer waits from then on.
        let asked = self.now();
        let Some(new) = ask(*mark) else { return false };
        *mark = new;
        let length = u64::try_from(self.length.as_nanos()).unwrap_or(u64::MAX);
        self.until.store(asked.saturating_add(length), Ordering::Release);
        true
    }
}

thread_local! {
    /// How this thread acknowledges changes that others may have to hear of.
    static ACKNOWLEDGE: Cell<Acknowledge> = const { Cell::new(Acknowledge::Each) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledge {
    /// Each for itself.
    Each,
    /// All together; there was none yet, or there was.
    Together,
    Owed,
    /// None: others may go on with what they remember.
    None,
}

/// How changes are acknowledged until this is dropped.
#[must_use]
pub(crate) struct Acknowledging {
    before: Acknowledge,
}

impl Acknowledging {
    pub(super) fn begin(how: Acknowledge) -> Self {
        Self { before: ACKNOWLEDGE.replace(how) }
    }
}

impl Drop for Acknowledging {
    fn drop(&mut self) {
        let ended = ACKNOWLEDGE.replace(self.before);
        match (ended, self.before) {
            (Acknowledge::Owed, Acknowledge::Each) => thread::sleep(LEASE),
            (Acknowledge::Owed, Acknowledge::Together) => ACKNOWLEDGE.set(Acknowledge::Owed),
            _ => {}
        }
    }
}

impl Index {
    /// Whether [`is_memory_current`](Self::is_memory_current) would ask now.
    #[inline]
    pub(crate) fn would_ask(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| !lease.is_running())
    }

    /// Whether memory has heard of every change that was acknowledged by now. Where it has not, it asks.
    #[inline]
    pub(crate) fn is_memory_current(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.is_running() || self.renew(lease))
    }

    #[cold]
    fn renew(&self, lease: &Lease) -> bool {
        lease.renew(|mark| {
            let changes = match self.ask(|backend| backend.changes(mark)) {
                // Nobody can have been told that a value is gone: for that the server is needed.
                Err(error) if error.is_unavailable() => return Some(mark),
                changes => changes.inspect_err(|error| log::debug!("values in memory are not used: {error}")).ok()?,
            };
            match changes.keys {
                Some(keys) => keys.iter().filter_map(|key| IndexKey::from_stored(key).ok()).for_each(|key| {
                    let _forgotten = self.changing(&key);
                }),
                None => self.memory().iter().for_each(|memory| memory.forget()),
            }
            Some(changes.mark)
        })
    }

    /// Changes of this thread are acknowledged together, when the result is dropped: each alone would wait until nobody else
    /// can have its row in memory.
    pub(crate) fn together(&self) -> Acknowledging {
        Acknowledging::begin(Acknowledge::Together)
    }

    /// [`together`](Self::together) for one who removes all that it finds: what is not there any more may have been removed
    /// just now, and others may not have heard of that.
    pub(crate) fn together_with_others(&self) -> Acknowledging {
        Acknowledging::begin(if self.has_neighbours() { Acknowledge::Owed } else { Acknowledge::Together })
    }

    /// Changes of this thread need not be heard of by others for as long as the result is there: what is evicted was not
    /// wrong.
    pub(crate) fn unheard(&self) -> Acknowledging {
        Acknowledging::begin(Acknowledge::None)
    }

    /// Each change is acknowledged for itself in `work`, which is the user's.
    pub(crate) fn apart<R>(&self, work: impl FnOnce() -> R) -> R {
        let _each = Acknowledging::begin(Acknowledge::Each);
        work()
    }
}

/// Comes back when no other process can have what a change took out in memory any more.
pub(super) fn acknowledge(is_settled: bool, is_alone: impl FnOnce() -> bool) {
    match ACKNOWLEDGE.get() {
        _ if is_settled => {}
        // Asked after the change: who comes later finds it made.
        Acknowledge::Each if is_alone() => {}
        Acknowledge::Each => thread::sleep(LEASE),
        Acknowledge::Together => ACKNOWLEDGE.set(Acknowledge::Owed),
        Acknowledge::Owed | Acknowledge::None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_runs_from_before_the_question_that_renewed_it() {
        let lease = Lease::of(Traits::new("near").shared()).unwrap();
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
