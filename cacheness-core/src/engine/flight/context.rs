//! Flights: the state of one, which of them the current thread or the future it polls leads right now, and which flights
//! wait for which.
//!
//! The state is a pure state machine: no locks, no threads, no clock. Wakers that have to be woken or dropped are returned,
//! so that it happens outside every lock.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::AccessError;
use std::time::Duration;

use super::Outcome;
use super::patience::Pulse;

/// Woken at once when a flight has lost its leader. More than one, so that a task that is never polled again cannot
/// hold up all the others; not all, so that a thousand callers who give up one after another do not wake each other a
/// million times.
const CANDIDATES: usize = 8;

/// Who waits. Threads come first: a woken thread always comes, a woken task might have to wait for its executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WaiterKind {
    Thread,
    Task,
}

/// A place in the queue of waiters, which is ordered by it.
pub(super) type QueueSlot = (WaiterKind, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase<L> {
    /// By so many callers, each of whom runs the body.
    Led(usize),
    /// The leaders are gone, whoever asks next leads.
    Vacant,
    Completed(L),
}

/// What a caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<L> {
    /// Lead from now on.
    Lead,
    Completed(L),
    Wait,
}

/// A flight. `W` wakes a waiter, `L` is the outcome.
///
/// A waiter is a caller that was [added](Self::add_waiter) and has not [left](Self::leave). While the flight is vacant and has
/// waiters, at least one of them has been woken and has neither asked nor left since: so the flight finds its next leader.
/// There is one leader, and beside it those that were [added](Self::add_leader) because they must not wait; the first to
/// complete decides for all.
pub(super) struct State<W, L> {
    phase: Phase<L>,
    waiters: usize,
    waiting: BTreeMap<QueueSlot, W>,
    last_slot: u64,
    several_leaders: bool,
}

impl<W, L: Clone> State<W, L> {
    /// A flight that is led by the caller who made it.
    pub(super) fn led() -> Self {
        Self { phase: Phase::Led(1), waiters: 0, waiting: BTreeMap::new(), last_slot: 0, several_leaders: false }
    }

    /// What to do for a caller who may wait.
    pub(super) fn ask(&mut self) -> Answer<L> {
        match &self.phase {
            Phase::Led(_) => Answer::Wait,
            Phase::Completed(outcome) => Answer::Completed(outcome.clone()),
            Phase::Vacant => {
                self.phase = Phase::Led(1);
                Answer::Lead
            }
        }
    }

    /// What to do for a caller who must not wait: if the flight is not completed, it leads too. Never [`Answer::Wait`].
    pub(super) fn add_leader(&mut self) -> Answer<L> {
        if let Phase::Led(leaders) = &mut self.phase {
            *leaders += 1;
            self.several_leaders = true;
            return Answer::Lead;
        }
        self.ask()
    }

    /// A caller joins to wait. Returns how many waiters there were before.
    pub(super) fn add_waiter(&mut self) -> usize {
        self.waiters += 1;
        self.waiters - 1
    }

    /// Queues a waiter, or replaces its waker. Returns the waker that is no longer needed.
    pub(super) fn wait(&mut self, kind: WaiterKind, slot: &mut Option<QueueSlot>, wake: W) -> Option<W> {
        if let Some(place) = slot.and_then(|slot| self.waiting.get_mut(&slot)) {
            return Some(std::mem::replace(place, wake));
        }
        self.last_slot += 1;
        let place = (kind, self.last_slot);
        *slot = Some(place);
        self.waiting.insert(place, wake)
    }

    /// A waiter leaves. Returns the wakers to wake in its place, and its own, which is no longer needed.
    pub(super) fn leave(&mut self, slot: Option<QueueSlot>) -> (Vec<W>, Option<W>) {
        self.waiters -= 1;
        let own = slot.and_then(|slot| self.waiting.remove(&slot));
        (if matches!(self.phase, Phase::Vacant) { self.candidates() } else { Vec::new() }, own)
    }

    /// A leader is done. Returns the wakers to wake, or the outcome if another leader was first.
    pub(super) fn complete(&mut self, outcome: L) -> Result<Vec<W>, L> {
        if self.completed().is_some() {
            return Err(outcome);
        }
        self.phase = Phase::Completed(outcome);
        Ok(std::mem::take(&mut self.waiting).into_values().collect())
    }

    /// A leader is gone without having completed. Returns the wakers to wake.
    pub(super) fn abandon(&mut self) -> Vec<W> {
        match &mut self.phase {
            Phase::Led(leaders) if *leaders > 1 => *leaders -= 1,
            Phase::Led(_) => {
                self.phase = Phase::Vacant;
                return self.candidates();
            }
            Phase::Vacant | Phase::Completed(_) => {}
        }
        Vec::new()
    }

    /// The outcome, if there is one.
    pub(super) fn completed(&self) -> Option<&L> {
        match &self.phase {
            Phase::Completed(outcome) => Some(outcome),
            Phase::Led(_) | Phase::Vacant => None,
        }
    }

    /// Whether several callers have led it at the same time.
    pub(super) fn had_several_leaders(&self) -> bool {
        self.several_leaders
    }

    /// Whether somebody waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiters > 0
    }

    /// Whether nobody leads and nobody is left who could.
    pub(super) fn is_deserted(&self) -> bool {
        matches!(self.phase, Phase::Vacant) && self.waiters == 0
    }

    fn candidates(&mut self) -> Vec<W> {
        std::iter::from_fn(|| self.waiting.pop_first()).take(CANDIDATES).map(|(_, wake)| wake).collect()
    }
}

/// Takes a lock. Nothing that can panic runs under the locks of this room but `Eq` and `Hash` of the key, which leave
/// the map as it was.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A flight that somebody leads, waits for, or has abandoned to those who wait.
pub(super) struct Flight {
    /// Never used again in this process.
    pub(super) id: u64,
    pub(super) state: Mutex<State<Waker, Outcome>>,
    /// The thread that polled the leading future last; `NO_THREAD` if a thread leads.
    polled_by: AtomicU64,
    /// Whether the leading future is polled; nothing if a thread leads. Of several leaders, the last one.
    pulse: Mutex<Option<Arc<Pulse>>>,
}

impl Flight {
    pub(super) fn led() -> Arc<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        Arc::new(Self {
            id,
            state: Mutex::new(State::led()),
            polled_by: AtomicU64::new(NO_THREAD),
            pulse: Mutex::default(),
        })
    }

    pub(super) fn pulse(&self) -> Option<Arc<Pulse>> {
        lock(&self.pulse).clone()
    }

    pub(super) fn has_pulse(&self, pulse: Option<Arc<Pulse>>) {
        let _former = std::mem::replace(&mut *lock(&self.pulse), pulse);
    }

    /// Whether the leader is a future that this thread polled last: if this thread sleeps, it may never be polled again.
    pub(super) fn needs_this_thread(&self) -> bool {
        self.polled_by.load(Ordering::Relaxed) == this_thread()
    }
}

/// One run of the body of a flight by one leader, with the run of another body that it was begun in.
pub(super) struct Execution {
    pub(super) flight: Arc<Flight>,
    pub(super) inside: Option<Arc<Execution>>,
    /// How long its body has waited for other flights, in microseconds.
    waited: AtomicU64,
}

impl Execution {
    /// Begins a run by the caller, inside the body that is running now.
    pub(super) fn begin(flight: Arc<Flight>) -> Arc<Self> {
        flight.polled_by.store(NO_THREAD, Ordering::Relaxed);
        flight.has_pulse(None);
        Arc::new(Self { flight, inside: innermost().ok().flatten(), waited: AtomicU64::new(0) })
    }

    /// Whether its body runs inside a body of this flight, or is one.
    pub(super) fn is_inside(&self, flight: u64) -> bool {
        let mut executions = std::iter::successors(Some(self), |execution| execution.inside.as_deref());
        executions.any(|execution| execution.flight.id == flight)
    }

    /// The body has waited, and so have those around it.
    pub(super) fn has_waited(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        for execution in std::iter::successors(Some(self), |execution| execution.inside.as_deref()) {
            execution.waited.fetch_add(micros, Ordering::Relaxed);
        }
    }

    pub(super) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }

    /// Runs a body, or polls it once, as this execution.
    pub(super) fn run<R>(self: &Arc<Self>, body: impl FnOnce() -> R) -> R {
        let _inside = Inside::enter(Arc::clone(self));
        body()
    }

    /// [`Self::run`] for one poll of a future.
    pub(super) fn run_poll<R>(self: &Arc<Self>, poll: impl FnOnce() -> R) -> R {
        self.flight.polled_by.store(this_thread(), Ordering::Relaxed);
        self.run(poll)
    }
}

thread_local! {
    static LEADING: RefCell<Vec<Arc<Execution>>> = const { RefCell::new(Vec::new()) };
}

/// The execution whose body is running on this thread, the innermost of several. Nobody knows while the thread is being torn
/// down.
pub(super) fn innermost() -> Result<Option<Arc<Execution>>, AccessError> {
    LEADING.try_with(|executions| executions.borrow().last().cloned())
}

/// Removes the execution again, also when the body panics. Counts depth, since an inner one always goes first.
struct Inside(usize);

impl Inside {
    fn enter(execution: Arc<Execution>) -> Self {
        let depth = LEADING.try_with(|executions| {
            let mut executions = executions.borrow_mut();
            executions.push(execution);
            executions.len() - 1
        });
        Self(depth.unwrap_or(usize::MAX))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // The execution is dropped outside the borrow: wakers may go with it, and they are not ours.
        let _execution = LEADING.try_with(|executions| {
            let mut executions = executions.borrow_mut();
            if self.0 < executions.len() { executions.drain(self.0..).next() } else { None }
        });
    }
}

const NO_THREAD: u64 = 0;

/// A number for this thread that no other thread of the process has had or will have.
fn this_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(NO_THREAD);
    thread_local! {
        static NUMBER: u64 = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    }
    // Without a destructor, this one outlives the tearing down of the thread.
    NUMBER.with(|number| *number)
}

/// Which flights cannot complete before which others: the waits of callers that lead a flight themselves.
///
/// A flight depends on a flight that is led inside its body, which every [`Execution`] remembers, and on a flight that its
/// body waits for, which is recorded here. A wait is only begun if it closes no cycle. Checking and recording happen under
/// one lock, so of several callers that would close a cycle together, the last one sees the others. A flight that gets a new
/// leader closes no cycle either, since it depends on nothing yet. One graph serves all caches of the process.
struct Graph {
    /// Edges by the flight that is waited for, and their own number.
    waits: BTreeMap<(u64, u64), Arc<Execution>>,
    last: u64,
}

static GRAPH: Mutex<Graph> = Mutex::new(Graph { waits: BTreeMap::new(), last: 0 });

/// The right of an execution to wait for a flight, until dropped.
pub(super) struct Wait {
    edge: (u64, u64),
    by: u64,
}

impl Wait {
    /// Records that the body of `execution` waits for a flight, unless the flight depends on `execution` already.
    pub(super) fn begin(execution: Arc<Execution>, awaited: u64) -> Option<Self> {
        let mut graph = lock(&GRAPH);
        if graph.is_needed_by(&execution, awaited) {
            return None;
        }
        graph.last += 1;
        let (edge, by) = ((awaited, graph.last), execution.flight.id);
        graph.waits.insert(edge, execution);
        Some(Self { edge, by })
    }

    /// The flight whose body waits.
    pub(super) fn by(&self) -> u64 {
        self.by
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let _execution = lock(&GRAPH).waits.remove(&self.edge);
    }
}

impl Graph {
    /// Whether `flight` cannot complete before `execution` does: walks from the execution to all that depend on it.
    fn is_needed_by(&self, execution: &Arc<Execution>, flight: u64) -> bool {
        let (mut seen, mut executions) = (BTreeSet::new(), vec![Arc::clone(execution)]);
        while let Some(execution) = executions.pop() {
            if execution.flight.id == flight {
                return true;
            }
            executions.extend(execution.inside.clone());
            if seen.insert(execution.flight.id) {
                executions.extend(
                    self.waits
                        .range((execution.flight.id, 0)..=(execution.flight.id, u64::MAX))
                        .map(|(_, by)| by.clone()),
                );
            }
        }
        false
    }
}

/// How many waits are recorded. Meaningful to a test that holds [`QUIET`].
#[cfg(test)]
pub(super) fn waits() -> usize {
    lock(&GRAPH).waits.len()
}

/// Held by tests whose bodies wait for flights, since they share the graph.
#[cfg(test)]
pub(super) static QUIET: Mutex<()> = Mutex::new(());

/// Work for another thread that stays inside the body running here: what it calls does not wait for that body.
pub(crate) fn in_current_flight<R>(work: impl FnOnce() -> R + Send) -> impl FnOnce() -> R + Send {
    let execution = innermost().ok().flatten();
    move || match execution {
        Some(execution) => execution.run(work),
        None => work(),
    }
}

#[cfg(test)]
mod tests;
