//! Flights, which of them the current thread or the future it polls leads right now, and which flights wait for which.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::AccessError;
use std::time::Duration;

use super::Outcome;
use super::patience::Pulse;
use super::state::State;

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
mod tests {
    use super::*;

    fn innermost_id() -> Option<u64> {
        innermost().unwrap().map(|execution| execution.flight.id)
    }

    #[test]
    fn a_body_is_inside_its_flight_and_nothing_is_afterwards_even_if_it_panics() {
        let (outer, inner) = (Execution::begin(Flight::led()), Execution::begin(Flight::led()));
        outer.run(|| {
            assert_eq!(innermost_id(), Some(outer.flight.id));
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| inner.run(|| panic!("boom"))));
            assert!(panic.is_err());
            assert_eq!(innermost_id(), Some(outer.flight.id));
        });
        assert_eq!(innermost_id(), None);
    }

    #[test]
    fn a_leg_knows_the_body_that_began_it() {
        let outer = Execution::begin(Flight::led());
        let inner = outer.run(|| Execution::begin(Flight::led()));
        assert_eq!(inner.inside.as_ref().map(|execution| execution.flight.id), Some(outer.flight.id));
    }

    fn execution() -> Arc<Execution> {
        Execution::begin(Flight::led())
    }

    fn wait(by: &Arc<Execution>, of: &Arc<Execution>) -> Option<Wait> {
        Wait::begin(Arc::clone(by), of.flight.id)
    }

    #[test]
    fn a_body_does_not_wait_for_itself_nor_for_the_bodies_around_it() {
        let _quiet = lock(&QUIET);
        let outer = execution();
        let inner = outer.run(execution);
        assert!(wait(&outer, &outer).is_none());
        assert!(wait(&inner, &outer).is_none());
    }

    #[test]
    fn the_wait_that_would_close_a_circle_of_three_is_refused_until_another_ends() {
        let _quiet = lock(&QUIET);
        let (a, b, c) = (execution(), execution(), execution());
        let ab = wait(&a, &b).expect("no circle");
        let bc = wait(&b, &c).expect("no circle");
        assert!(wait(&c, &a).is_none());
        drop(ab);
        assert!(wait(&c, &a).is_some());
        drop(bc);
        assert_eq!(waits(), 0);
    }

    #[test]
    fn waits_inside_inner_bodies_hold_up_the_outer_ones() {
        let _quiet = lock(&QUIET);
        let (outer, other) = (execution(), execution());
        let inner = outer.run(execution);
        let _wait = wait(&inner, &other).expect("no circle");
        assert!(wait(&other, &outer).is_none(), "outer waits for inner, which waits for other");
    }

    #[test]
    fn bodies_that_run_side_by_side_in_one_body_do_not_hold_up_each_other() {
        let _quiet = lock(&QUIET);
        let (outer, other) = (execution(), execution());
        let beside = outer.run(execution);
        let _wait = wait(&outer, &other).expect("no circle");
        assert!(wait(&other, &beside).is_some(), "beside completes without the rest of outer");
    }
}
