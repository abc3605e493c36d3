//! Which of several processes computes the value of a key.
//!
//! The leader of a flight in this process takes a lock on a file that is named after the key, and holds it while it computes.
//! The leaders in other processes look for its value now and then until they get the lock themselves. A lock ends with its
//! process, so that one that is killed keeps nobody waiting; where no value was stored, those who waited compute side by
//! side, as they do in one process.

use std::time::{Duration, Instant};

use super::Cache;
use crate::engine::KeyLock;
use crate::engine::flight::{Outcome, UsualDuration, pause};
use crate::error::Result;
use crate::key::Key;

/// Waiting for another process is bounded as waiting for another thread is, though less tightly: it is known of no process
/// what it waits for itself, but few of them wait for each other.
const LONGER: u32 = 10;
/// Between two looks, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_micros(500), Duration::from_millis(20)];

/// What the leader of a flight does.
pub(crate) enum Turn<R> {
    /// It takes the result that there is by now.
    Take(R),
    /// It computes one.
    Compute(Computing),
}

/// The right to compute a value, while other processes wait, if there are others.
#[must_use]
pub(crate) struct Computing(Option<KeyLock>);

impl Computing {
    /// Lets others go on, who find a value if one was stored.
    pub(crate) fn end(self, outcome: &Outcome) {
        if let Some(lock) = self.0.filter(|_| !matches!(outcome, Outcome::Stored)) {
            lock.end_without_value();
        }
    }
}

/// One leader's wait for other processes.
struct Wait<'c> {
    cache: &'c Cache,
    name: String,
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

impl<'c> Wait<'c> {
    /// `None` if no other process is there.
    fn begin(cache: &'c Cache, key: &Key, usual: Option<&UsualDuration>) -> Option<Self> {
        let engine = cache.engine().ok().filter(|engine| engine.store().index().may_have_neighbours())?;
        let least = engine.config().single_flight_wait();
        let patience = usual.map_or(least, |usual| usual.patience(least)).saturating_mul(LONGER);
        let name = format!("{:016x}", key.hash());
        Some(Self { cache, name, since: Instant::now(), patience, without_owner: least, waited: false })
    }

    fn step(&mut self) -> Step {
        let Ok(engine) = self.cache.engine() else { return Step::Last(Computing(None)) };
        match engine.store().key_lock(&self.name) {
            Some(lock) if self.waited && lock.had_no_value() => Step::Last(Computing(None)),
            Some(lock) => Step::Last(Computing(Some(lock.taken()))),
            None if self.since.elapsed() >= self.patience => Step::Last(Computing(None)),
            None => {
                self.waited = true;
                let [first, most] = PAUSES;
                Step::Pause((self.since.elapsed() / 8).clamp(first, most))
            }
        }
    }
}

impl<'c> Wait<'c> {
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
        usual: Option<&UsualDuration>,
        mut look: impl FnMut() -> Result<Option<R>>,
    ) -> Turn<R> {
        if let Ok(Some(result)) = look() {
            return Turn::Take(result);
        }
        let Some(mut wait) = Wait::begin(self, key, usual) else { return Turn::Compute(Computing(None)) };
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
        usual: Option<&UsualDuration>,
        mut look: impl FnMut() -> L,
    ) -> Turn<R> {
        if let Ok(Some(result)) = look().await {
            return Turn::Take(result);
        }
        let Some(mut wait) = Wait::begin(self, key, usual) else { return Turn::Compute(Computing(None)) };
        loop {
            let step = wait.step();
            if let Step::Pause(time) = step {
                pause(time).await;
            }
            if let Some(turn) = wait.end(step, look().await) {
                return turn;
            }
        }
    }
}
