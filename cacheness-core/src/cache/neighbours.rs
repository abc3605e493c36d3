//! Which of several processes computes the value of a key.
//!
//! The leader of a flight in this process takes a lock on a file that is named after the key, and holds it while it computes;
//! or a [lease](crate::engine::Lease) of all machines, where that is asked for. The leaders in other processes look for its
//! value now and then until they get the lock themselves. A lock ends with its process, so that one that is killed keeps nobody
//! waiting; where no value was stored, those who waited compute side by side, as they do in one process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Cache;
use super::engine::Engine;
use crate::config::SingleFlight;
use crate::engine::flight::{Outcome, UsualDuration, pause};
use crate::engine::{Fence, KeyLock, Lease, Watch};
use crate::entry::IndexKey;
use crate::error::Result;
use crate::key::Key;
use crate::util::threads::blocking;

/// Waiting for another process is bounded as waiting for another thread is, though less tightly: it is known of no process
/// what it waits for itself, but few of them wait for each other.
const LONGER: u32 = 10;
/// Between two looks, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_micros(500), Duration::from_millis(20)];
/// The same where each look is two round trips.
const PAUSES_FAR_AWAY: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];

/// Which processes a flight spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flight {
    /// As the cache is configured.
    OfCache,
    /// All that use its rows, on whatever machine.
    Global,
}

/// What the leader of a flight does.
pub(crate) enum Turn<R> {
    /// It takes the result that there is by now.
    Take(R),
    /// It computes one.
    Compute(Computing),
}

/// The right to compute a value, while other processes wait, if there are others.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct Computing {
    lock: Option<KeyLock>,
    /// Given back when this is dropped.
    _lease: Option<Lease>,
    fence: Option<Fence>,
}

impl Computing {
    /// What the value may take the place of, where a process that was stopped meanwhile may come too late.
    pub(crate) fn fence(&self) -> Option<Fence> {
        self.fence.clone()
    }

    /// Lets others go on, who find a value if one was stored.
    pub(crate) fn end(self, outcome: &Outcome) {
        if let Some(lock) = self.lock.filter(|_| !matches!(outcome, Outcome::Stored)) {
            lock.end_without_value();
        }
    }
}

/// One leader's wait for other processes.
struct Wait {
    engine: Arc<Engine>,
    key: IndexKey,
    name: String,
    /// What was seen of the lease of all machines, if that is what is waited for.
    lease: Option<Watch>,
    since: Instant,
    patience: Duration,
    /// How long to look for an owner of the index.
    without_owner: Duration,
    waited: bool,
}

/// What to do next.
enum Step {
    /// Look once more, and compute with this lock if nothing is there.
    Last(Computing),
    Pause(Duration),
}

impl Wait {
    /// `None` if no other process is there.
    fn begin(cache: &Cache, key: &Key, flight: Flight, usual: Option<&UsualDuration>) -> Option<Self> {
        let engine = cache.engine().ok().filter(|engine| engine.store().index().may_have_neighbours())?;
        let (config, store) = (engine.config(), engine.store());
        let is_global = flight == Flight::Global || config.single_flight == SingleFlight::Global;
        let least = config.single_flight_wait();
        Some(Self {
            key: IndexKey::of(key),
            name: format!("{:016x}", key.hash()),
            lease: (is_global && store.has_leases()).then(Watch::default),
            since: Instant::now(),
            patience: usual.map_or(least, |usual| usual.patience(least)).saturating_mul(LONGER),
            without_owner: least,
            waited: false,
            engine: Arc::clone(engine),
        })
    }

    fn step(&mut self) -> Step {
        let taken = match &mut self.lease {
            Some(watch) => match self.engine.store().lease(&format!("flight.{}", self.name), watch) {
                // Whoever had it has ended without a value.
                Ok(Some(lease)) if self.waited && !lease.is_inherited() => Some(self.beside()),
                Ok(Some(lease)) => Some(Computing { _lease: Some(lease), ..self.beside() }),
                Ok(None) => None,
                Err(error) => {
                    log::debug!("a call does not wait for those of other machines: {error}");
                    Some(self.beside())
                }
            },
            None => match self.engine.store().key_lock(&self.name) {
                Some(lock) if self.waited && lock.had_no_value() => Some(Computing::default()),
                Some(lock) => Some(Computing { lock: Some(lock.taken()), ..Computing::default() }),
                None => None,
            },
        };
        match taken {
            Some(computing) => Step::Last(computing),
            None if self.since.elapsed() >= self.patience => Step::Last(self.beside()),
            None => {
                self.waited = true;
                let [first, most] = if self.lease.is_some() { PAUSES_FAR_AWAY } else { PAUSES };
                Step::Pause((self.since.elapsed() / 8).clamp(first, most))
            }
        }
    }

    /// Computing beside others, whose value is not replaced by an older one.
    fn beside(&self) -> Computing {
        let fence = self.lease.as_ref().map(|_| self.engine.store().fence(&self.key));
        Computing { fence, ..Computing::default() }
    }

    /// What follows from a look after this step, if anything but another one.
    fn end<R>(&self, step: Step, looked: Result<Option<R>>) -> Option<Turn<R>> {
        match (step, looked) {
            (_, Ok(Some(result))) => Some(Turn::Take(result)),
            // Between two owners of the index: there may well be a value, and none can be stored now.
            (Step::Last(_), Err(error)) if error.is_locked() && self.since.elapsed() < self.without_owner => None,
            (Step::Last(computing), _) => Some(Turn::Compute(computing)),
            (Step::Pause(_), _) => None,
        }
    }
}

impl Cache {
    /// Waits while another process computes the value of a key; `look` looks for it.
    pub(crate) fn turn<R>(
        &self,
        key: &Key,
        flight: Flight,
        usual: Option<&UsualDuration>,
        mut look: impl FnMut() -> Result<Option<R>>,
    ) -> Turn<R> {
        if let Ok(Some(result)) = look() {
            return Turn::Take(result);
        }
        let Some(mut wait) = Wait::begin(self, key, flight, usual) else {
            return Turn::Compute(Computing::default());
        };
        loop {
            let step = wait.step();
            if let Step::Pause(time) = step {
                std::thread::sleep(time);
            }
            if let Some(turn) = wait.end(step, look()) {
                return turn;
            }
        }
    }

    /// [`turn`](Self::turn) for a task.
    pub(crate) async fn turn_async<R, L: Future<Output = Result<Option<R>>>>(
        &self,
        key: &Key,
        flight: Flight,
        usual: Option<&UsualDuration>,
        mut look: impl FnMut() -> L,
    ) -> Turn<R> {
        if let Ok(Some(result)) = look().await {
            return Turn::Take(result);
        }
        let Some(mut wait) = Wait::begin(self, key, flight, usual) else {
            return Turn::Compute(Computing::default());
        };
        loop {
            let (waiting, step) = blocking(move || {
                let step = wait.step();
                (wait, step)
            })
            .await;
            wait = waiting;
            if let Step::Pause(time) = step {
                pause(time).await;
            }
            if let Some(turn) = wait.end(step, look().await) {
                return turn;
            }
        }
    }
}
