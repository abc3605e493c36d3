//! Boarding as a future, and the thread that waits for it.

use std::cell::LazyCell;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::context::{Flight, innermost, lock};
use super::graph::Wait;
use super::hashed::Hashed;
use super::map::{Flights, Found};
use super::state::{Answer, Ticket, Waiter};
use super::{Boarding, FlightKey};

/// A caller who boards. As a future it may be polled by any executor, and dropped at any time.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Board<K: FlightKey> {
    flights: Arc<Flights<K>>,
    key: Hashed<K>,
    waiter: Waiter,
    seat: Option<Seat>,
}

/// A caller's place in a flight that others lead.
pub(super) struct Seat {
    flight: Arc<Flight>,
    ticket: Option<Ticket>,
    wait: Option<Wait>,
}

impl Seat {
    pub(super) fn new(flight: Arc<Flight>) -> Self {
        Self { flight, ticket: None, wait: None }
    }

    /// What to do now, and queues the caller if that is to wait. Nothing if waiting would never end.
    fn ask(&mut self, waiter: Waiter, waker: impl FnOnce() -> Waker) -> Option<Answer> {
        if !self.may_wait(waiter) {
            return None;
        }
        let waker = waker();
        let mut state = lock(&self.flight.state);
        let answer = state.ask();
        let unneeded = match answer {
            Answer::Wait => state.wait(waiter, &mut self.ticket, waker),
            Answer::TakeOver | Answer::Landed(_) => Some(waker),
        };
        drop(state);
        drop(unneeded);
        Some(answer)
    }

    /// Whether waiting can end. Asked at each poll, since a future may be polled inside different bodies.
    fn may_wait(&mut self, waiter: Waiter) -> bool {
        if waiter == Waiter::Thread && self.flight.needs_this_thread() {
            return false;
        }
        let Ok(leg) = innermost() else { return false };
        if leg.as_ref().map(|leg| leg.flight.id) == self.wait.as_ref().map(Wait::by) {
            return true;
        }
        self.wait = None;
        let Some(leg) = leg else { return true };
        self.wait = Wait::begin(leg, self.flight.id);
        self.wait.is_some()
    }
}

impl<K: FlightKey> Board<K> {
    pub(super) fn new(flights: Arc<Flights<K>>, key: Hashed<K>, waiter: Waiter) -> Self {
        Self { flights, key, waiter, seat: None }
    }

    /// Boards by putting this thread to sleep.
    pub(super) fn block(mut self) -> Boarding<K> {
        let bell = LazyCell::new(|| Arc::new(Bell::default()));
        loop {
            match self.step(|| Waker::from(Arc::clone(&bell))) {
                Poll::Ready(boarding) => return boarding,
                Poll::Pending => bell.sleep(),
            }
        }
    }

    fn step(&mut self, waker: impl FnOnce() -> Waker) -> Poll<Boarding<K>> {
        if self.seat.is_none() {
            match self.flights.find(&self.key) {
                Found::Lead(flight) => return Poll::Ready(self.lead(flight)),
                Found::Landed(landing) => return Poll::Ready(Boarding::Landed(landing)),
                Found::Seat(seat) => self.seat = Some(seat),
            }
        }
        let answer = self.seat.as_mut().and_then(|seat| seat.ask(self.waiter, waker));
        self.act_on(answer)
    }

    fn act_on(&mut self, answer: Option<Answer>) -> Poll<Boarding<K>> {
        if answer == Some(Answer::Wait) {
            return Poll::Pending;
        }
        let flight = self.leave();
        Poll::Ready(match (answer, flight) {
            (Some(Answer::TakeOver), Some(flight)) => self.lead(flight),
            (Some(Answer::Landed(landing)), _) => Boarding::Landed(landing),
            _ => Boarding::Alone,
        })
    }

    fn lead(&self, flight: Arc<Flight>) -> Boarding<K> {
        Boarding::Lead(self.flights.lead(self.key.clone(), flight))
    }

    /// Gives up the seat, and passes on a call that might have been meant for it.
    fn leave(&mut self) -> Option<Arc<Flight>> {
        let Seat { flight, ticket, wait } = self.seat.take()?;
        drop(wait);
        let (others, own, deserted) = {
            let mut state = lock(&flight.state);
            let (others, own) = state.leave(ticket);
            (others, own, state.is_deserted())
        };
        drop(own);
        if deserted {
            self.flights.remove_deserted(&self.key, &flight);
        }
        others.into_iter().for_each(|other| other.wake());
        Some(flight)
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
    fn sleep(&self) {
        let mut rung = lock(&self.rung);
        while !std::mem::take(&mut *rung) {
            rung = self.ring.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
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
