//! Boarding as a future, and the thread that waits for it.

use std::cell::LazyCell;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::alarm::Alarm;
use super::context::{Flight, Leg, innermost, lock};
use super::graph::Wait;
use super::hashed::Hashed;
use super::map::{Flights, Found};
use super::patience::{self, Usual};
use super::pulse::Watch;
use super::state::{Answer, Ticket, Waiter};
use super::{Boarding, FlightKey, Landing};
use crate::util::threads::wake;

/// A caller who boards. As a future it may be polled by any executor, and dropped at any time.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Board<K: FlightKey> {
    flights: Arc<Flights<K>>,
    key: Hashed<K>,
    waiter: Waiter,
    usual: Usual,
    /// Boxed: few calls wait, and their futures should be small.
    seat: Option<Box<Seat>>,
}

/// A caller's place in a flight that others lead.
struct Seat {
    flight: Arc<Flight>,
    ticket: Option<Ticket>,
    wait: Option<Wait>,
    /// How many were aboard before.
    ahead: usize,
    since: Instant,
    /// When patience ends; nothing if that is beyond all clocks.
    until: Option<Instant>,
    watch: Watch,
    /// When to look at the flight again, whatever happens to it.
    look: Option<Instant>,
    alarm: Option<Alarm>,
}

impl Seat {
    fn new(flight: Arc<Flight>, ahead: usize, least_wait: Duration, usual: &Usual) -> Self {
        let since = Instant::now();
        let until = patience::until(since, usual.patience(least_wait), ahead);
        let watch = Watch::new(least_wait);
        Self { flight, ticket: None, wait: None, ahead, since, until, watch, look: None, alarm: None }
    }

    /// What to do now, and queues the caller if that is to wait. Nothing inside a body of this flight: what such a call
    /// makes is a part of what the flight makes, and no end of it.
    fn ask(&mut self, waiter: Waiter, waker: Waker) -> Option<Answer<Landing>> {
        // Nobody knows while the thread is being torn down.
        let leg = innermost().ok()?;
        if leg.as_ref().is_some_and(|leg| leg.is_inside(self.flight.id)) {
            return None;
        }
        if !self.may_wait(waiter, leg) || !self.is_patient(waiter, &waker) {
            return Some(lock(&self.flight.state).join());
        }
        let mut state = lock(&self.flight.state);
        let answer = state.ask();
        let unneeded = match answer {
            Answer::Wait => state.wait(waiter, &mut self.ticket, waker),
            Answer::Lead | Answer::Landed(_) => Some(waker),
        };
        drop(state);
        drop(unneeded);
        Some(answer)
    }

    /// Whether waiting can end. Asked at each poll, since a future may be polled inside different bodies.
    fn may_wait(&mut self, waiter: Waiter, leg: Option<Arc<Leg>>) -> bool {
        if waiter == Waiter::Thread && self.flight.needs_this_thread() {
            return false;
        }
        if leg.as_ref().map(|leg| leg.flight.id) == self.wait.as_ref().map(Wait::by) {
            return true;
        }
        self.wait = None;
        let Some(leg) = leg else { return true };
        self.wait = Wait::begin(leg, self.flight.id);
        self.wait.is_some()
    }

    /// Whether it is still time to wait; then also sees to it that the caller looks again in time. A task that nobody
    /// could wake in time is not patient.
    fn is_patient(&mut self, waiter: Waiter, waker: &Waker) -> bool {
        let now = Instant::now();
        let pulse = self.flight.pulse();
        let is_idle = pulse.as_ref().is_some_and(|pulse| self.watch.sees_idle(pulse, now, waker, self.ahead));
        if is_idle || self.until.is_some_and(|until| until <= now) {
            return false;
        }
        let look = pulse.and_then(|_| self.watch.next_look(self.since, now));
        self.look = [self.until, look].into_iter().flatten().min();
        match self.look {
            Some(look) if waiter == Waiter::Task => self.wakes_at(look, now, waker),
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

impl<K: FlightKey> Board<K> {
    pub(super) fn new(flights: Arc<Flights<K>>, key: Hashed<K>, waiter: Waiter, usual: Usual) -> Self {
        Self { flights, key, waiter, usual, seat: None }
    }

    /// Boards by putting this thread to sleep.
    pub(super) fn block(mut self) -> Boarding<K> {
        let bell = LazyCell::new(|| Arc::new(Bell::default()));
        loop {
            match self.step(|| Waker::from(Arc::clone(&bell))) {
                Poll::Ready(boarding) => return boarding,
                Poll::Pending => bell.sleep(self.seat.as_ref().and_then(|seat| seat.look)),
            }
        }
    }

    fn step(&mut self, waker: impl FnOnce() -> Waker) -> Poll<Boarding<K>> {
        if self.seat.is_none() {
            match self.flights.find(&self.key) {
                Found::Lead(flight) => return Poll::Ready(self.lead(flight)),
                Found::Landed(landing) => return Poll::Ready(Boarding::Landed(landing)),
                Found::Seat { flight, ahead } => {
                    let seat = Seat::new(flight, ahead, self.flights.least_wait(), &self.usual);
                    self.seat = Some(Box::new(seat));
                }
            }
        }
        let Some(seat) = &mut self.seat else { return Poll::Pending };
        match seat.ask(self.waiter, waker()) {
            Some(Answer::Wait) => Poll::Pending,
            Some(Answer::Landed(landing)) => {
                self.leave();
                Poll::Ready(Boarding::Landed(landing))
            }
            None => {
                self.leave();
                Poll::Ready(Boarding::Alone)
            }
            Some(Answer::Lead) => {
                let flight = Arc::clone(&seat.flight);
                self.leave();
                Poll::Ready(self.lead(flight))
            }
        }
    }

    fn lead(&self, flight: Arc<Flight>) -> Boarding<K> {
        Boarding::Lead(self.flights.lead(self.key.clone(), flight, self.usual.clone()))
    }

    /// Gives up the seat, and passes on a call that might have been meant for it.
    fn leave(&mut self) {
        let Some(seat) = self.seat.take() else { return };
        let Seat { flight, ticket, wait, since, alarm, .. } = *seat;
        drop((wait, alarm));
        if let Ok(Some(leg)) = innermost() {
            leg.has_waited(since.elapsed());
        }
        let (others, own, deserted) = {
            let mut state = lock(&flight.state);
            let (others, own) = state.leave(ticket);
            (others, own, state.is_deserted())
        };
        drop(own);
        if deserted {
            self.flights.remove_deserted(&self.key, &flight);
        }
        others.into_iter().for_each(wake);
    }
}

// Nothing in it is pinned: the fields are moved freely between polls.
impl<K: FlightKey> Unpin for Board<K> {}

impl<K: FlightKey> Future for Board<K> {
    type Output = Boarding<K>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Boarding<K>> {
        self.step(|| cx.waker().clone())
    }
}

impl<K: FlightKey> Drop for Board<K> {
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
