//! A caller of a flight: the future that joins it, its wait for others, and its right to lead.

use std::cell::LazyCell;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::context::{Answer, Execution, Flight, QueueSlot, Wait, WaiterKind, innermost, lock};
use super::patience::{self, Alarm, Pulse, UsualDuration, Watch};
use super::{FlightKey, Hashed, InFlight, Joined, Lookup, Outcome};
use crate::util::threads::wake;

/// A caller that joins the flight of a key. As a future it may be polled by any executor, and dropped at any time.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Join<K: FlightKey> {
    in_flight: Arc<InFlight<K>>,
    key: Hashed<K>,
    kind: WaiterKind,
    usual: UsualDuration,
    /// Boxed: few calls wait, and their futures should be small.
    waiter: Option<Box<Waiter>>,
}

/// A caller's place in a flight that others lead.
struct Waiter {
    flight: Arc<Flight>,
    slot: Option<QueueSlot>,
    wait: Option<Wait>,
    /// How many waited before.
    ahead: usize,
    since: Instant,
    /// When patience ends; nothing if that is beyond all clocks.
    until: Option<Instant>,
    watch: Watch,
    /// When to look at the flight again, whatever happens to it.
    look: Option<Instant>,
    alarm: Option<Alarm>,
}

impl Waiter {
    fn new(flight: Arc<Flight>, ahead: usize, least_wait: Duration, usual: &UsualDuration) -> Self {
        let since = Instant::now();
        let until = patience::until(since, usual.patience(least_wait), ahead);
        let watch = Watch::new(least_wait);
        Self { flight, slot: None, wait: None, ahead, since, until, watch, look: None, alarm: None }
    }

    /// What to do now, and queues the caller if that is to wait. `None` inside a body of this flight: the result of such a
    /// call is a part of the result of the flight, and does not complete it.
    fn ask(&mut self, kind: WaiterKind, waker: Waker) -> Option<Answer<Outcome>> {
        // Nobody knows while the thread is being torn down.
        let execution = innermost().ok()?;
        if execution.as_ref().is_some_and(|execution| execution.is_inside(self.flight.id)) {
            return None;
        }
        if !self.may_wait(kind, execution) || !self.is_patient(kind, &waker) {
            return Some(lock(&self.flight.state).add_leader());
        }
        let mut state = lock(&self.flight.state);
        let answer = state.ask();
        let unneeded = match answer {
            Answer::Wait => state.wait(kind, &mut self.slot, waker),
            Answer::Lead | Answer::Completed(_) => Some(waker),
        };
        drop(state);
        drop(unneeded);
        Some(answer)
    }

    /// Whether waiting can end. Asked at each poll, since a future may be polled inside different bodies.
    fn may_wait(&mut self, kind: WaiterKind, execution: Option<Arc<Execution>>) -> bool {
        if kind == WaiterKind::Thread && self.flight.needs_this_thread() {
            return false;
        }
        if execution.as_ref().map(|execution| execution.flight.id) == self.wait.as_ref().map(Wait::by) {
            return true;
        }
        self.wait = None;
        let Some(execution) = execution else { return true };
        self.wait = Wait::begin(execution, self.flight.id);
        self.wait.is_some()
    }

    /// Whether the caller keeps waiting; if so, also makes sure that it looks again in time. A task that cannot be woken in
    /// time is not patient.
    fn is_patient(&mut self, kind: WaiterKind, waker: &Waker) -> bool {
        let now = Instant::now();
        let pulse = self.flight.pulse();
        let is_idle = pulse.as_ref().is_some_and(|pulse| self.watch.sees_idle(pulse, now, waker, self.ahead));
        if is_idle || self.until.is_some_and(|until| until <= now) {
            return false;
        }
        let look = pulse.and_then(|_| self.watch.next_look(self.since, now));
        self.look = [self.until, look].into_iter().flatten().min();
        match self.look {
            Some(look) if kind == WaiterKind::Task => self.wakes_at(look, now, waker),
            _ => true,
        }
    }

    fn wakes_at(&mut self, look: Instant, now: Instant, waker: &Waker) -> bool {
        if !self.alarm.as_ref().is_some_and(|alarm| alarm.serves(now, look, waker)) {
            self.alarm = Alarm::set(look, waker);
        }
        self.alarm.is_some()
    }
}

impl<K: FlightKey> Join<K> {
    pub(super) fn new(in_flight: Arc<InFlight<K>>, key: Hashed<K>, kind: WaiterKind, usual: UsualDuration) -> Self {
        Self { in_flight, key, kind, usual, waiter: None }
    }

    /// Joins by putting this thread to sleep.
    pub(super) fn block(mut self) -> Joined<K> {
        let bell = LazyCell::new(|| Arc::new(Bell::default()));
        loop {
            match self.step(|| Waker::from(Arc::clone(&bell))) {
                Poll::Ready(joined) => return joined,
                Poll::Pending => bell.sleep(self.waiter.as_ref().and_then(|waiter| waiter.look)),
            }
        }
    }

    fn step(&mut self, waker: impl FnOnce() -> Waker) -> Poll<Joined<K>> {
        if self.waiter.is_none() {
            match self.in_flight.find(&self.key) {
                Lookup::Lead(flight) => return Poll::Ready(self.lead(flight)),
                Lookup::Completed(outcome) => return Poll::Ready(Joined::Completed(outcome)),
                Lookup::Wait { flight, ahead } => {
                    let waiter = Waiter::new(flight, ahead, self.in_flight.least_wait(), &self.usual);
                    self.waiter = Some(Box::new(waiter));
                }
            }
        }
        let Some(waiter) = &mut self.waiter else { return Poll::Pending };
        match waiter.ask(self.kind, waker()) {
            Some(Answer::Wait) => Poll::Pending,
            Some(Answer::Completed(outcome)) => {
                self.leave();
                Poll::Ready(Joined::Completed(outcome))
            }
            None => {
                self.leave();
                Poll::Ready(Joined::Alone)
            }
            Some(Answer::Lead) => {
                let flight = Arc::clone(&waiter.flight);
                self.leave();
                Poll::Ready(self.lead(flight))
            }
        }
    }

    fn lead(&self, flight: Arc<Flight>) -> Joined<K> {
        Joined::Leader(self.in_flight.lead(self.key.clone(), flight, self.usual.clone()))
    }

    /// Stops waiting, and passes on a wake that might have been meant for this caller.
    fn leave(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        let Waiter { flight, slot, wait, since, alarm, .. } = *waiter;
        drop((wait, alarm));
        if let Ok(Some(execution)) = innermost() {
            execution.has_waited(since.elapsed());
        }
        let (others, own, deserted) = {
            let mut state = lock(&flight.state);
            let (others, own) = state.leave(slot);
            (others, own, state.is_deserted())
        };
        drop(own);
        if deserted {
            self.in_flight.remove_deserted(&self.key, &flight);
        }
        others.into_iter().for_each(wake);
    }
}

// Nothing in it is pinned: the fields are moved freely between polls.
impl<K: FlightKey> Unpin for Join<K> {}

impl<K: FlightKey> Future for Join<K> {
    type Output = Joined<K>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Joined<K>> {
        self.step(|| cx.waker().clone())
    }
}

impl<K: FlightKey> Drop for Join<K> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Wakes one thread. Not `thread::park`, whose one token belongs to the program: a wait here would swallow it.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
}

impl Bell {
    /// Until it is rung, or until then.
    fn sleep(&self, until: Option<Instant>) {
        let rung = lock(&self.rung);
        let rest = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        let (mut rung, _) =
            self.ring.wait_timeout_while(rung, rest, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *lock(&self.rung) = true;
        self.ring.notify_one();
    }
}

/// The right and the duty to run the body of a key and then [complete](Self::complete) its flight. If it is dropped before,
/// the flight is abandoned, and one of its waiters leads next; if a panic drops it, the flight completes as
/// [`Outcome::Panicked`].
#[must_use = "a leader that is dropped abandons its flight"]
pub(crate) struct Leader<K: FlightKey> {
    in_flight: Arc<InFlight<K>>,
    key: Hashed<K>,
    execution: Arc<Execution>,
    usual: UsualDuration,
    begun: Instant,
    completed: bool,
}

impl<K: FlightKey> Leader<K> {
    pub(super) fn new(
        in_flight: Arc<InFlight<K>>,
        key: Hashed<K>,
        execution: Arc<Execution>,
        usual: UsualDuration,
    ) -> Self {
        Self { in_flight, key, execution, usual, begun: Instant::now(), completed: false }
    }

    /// Runs the body on this thread. Calls of the same key inside it do not wait for it.
    pub(crate) fn run<R>(&self, body: impl FnOnce() -> R) -> R {
        self.execution.run(body)
    }

    /// The same for a body that is a future. It is boxed, so that the future of a cached call stays small.
    pub(crate) fn run_async<F: Future>(&self, body: F) -> LeaderFuture<F> {
        let pulse = Pulse::new();
        self.execution.flight.has_pulse(Some(Arc::clone(&pulse)));
        LeaderFuture { execution: Arc::clone(&self.execution), pulse, body: Box::pin(body) }
    }

    /// Whether another leader has ended this flight, in whatever way. A later flight may have stored a newer value since.
    pub(crate) fn is_completed(&self) -> bool {
        lock(&self.execution.flight.state).completed().is_some()
    }

    /// Whether somebody waits for the outcome.
    pub(crate) fn is_awaited(&self) -> bool {
        lock(&self.execution.flight.state).is_awaited()
    }

    /// Completes the flight and wakes all its waiters.
    pub(crate) fn complete(mut self, outcome: Outcome) {
        self.completed = true;
        let took = self.begun.elapsed().saturating_sub(self.execution.waited());
        // Somebody lost patience: what held up the body then is no measure of it.
        if !took.is_zero() && !lock(&self.execution.flight.state).had_several_leaders() {
            self.usual.note(took);
        }
        self.in_flight.complete(&self.key, &self.execution.flight, outcome);
    }
}

impl<K: FlightKey> Drop for Leader<K> {
    fn drop(&mut self) {
        if self.completed {
            return;
        }
        if std::thread::panicking() {
            // What panicked once may well panic again: those who wait are not to find that out one after another.
            self.in_flight.complete(&self.key, &self.execution.flight, Outcome::Panicked);
        } else {
            self.in_flight.abandon(&self.key, &self.execution.flight);
        }
    }
}

/// A body that is being polled by its leader.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct LeaderFuture<F> {
    execution: Arc<Execution>,
    pulse: Arc<Pulse>,
    body: Pin<Box<F>>,
}

impl<F: Future> Future for LeaderFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let future = self.get_mut();
        future.pulse.polled(cx.waker());
        let waker = Waker::from(Arc::clone(&future.pulse));
        future.execution.run_poll(|| future.body.as_mut().poll(&mut Context::from_waker(&waker)))
    }
}
