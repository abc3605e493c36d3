use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::context::{Leg, lock};
use super::hashed::Hashed;
use super::map::Flights;
use super::patience::Usual;
use super::pulse::Pulse;
use super::{FlightKey, Landing};

/// The right and the duty to run the body of a key, until it [lands](Self::land). Dropped without, the flight is
/// abandoned, and one of its waiters leads next; dropped by a panic, it has landed as [`Landing::Panicked`].
#[must_use = "a lead that is dropped abandons its flight"]
pub(crate) struct Lead<K: FlightKey> {
    flights: Arc<Flights<K>>,
    key: Hashed<K>,
    leg: Arc<Leg>,
    usual: Usual,
    begun: Instant,
    landed: bool,
}

impl<K: FlightKey> Lead<K> {
    pub(super) fn new(flights: Arc<Flights<K>>, key: Hashed<K>, leg: Arc<Leg>, usual: Usual) -> Self {
        Self { flights, key, leg, usual, begun: Instant::now(), landed: false }
    }

    /// Runs the body on this thread. Calls of the same key inside it do not wait for it.
    pub(crate) fn run<R>(&self, body: impl FnOnce() -> R) -> R {
        self.leg.fly(body)
    }

    /// The same for a body that is a future. It is boxed, so that the future of a cached call stays small.
    pub(crate) fn run_async<F: Future>(&self, body: F) -> Flying<F> {
        let pulse = Pulse::new();
        self.leg.flight.has_pulse(Some(Arc::clone(&pulse)));
        Flying { leg: Arc::clone(&self.leg), pulse, body: Box::pin(body) }
    }

    /// Whether another leader has ended this flight, in whatever way. A later flight may have stored a newer value since.
    pub(crate) fn is_over(&self) -> bool {
        lock(&self.leg.flight.state).landed().is_some()
    }

    /// Whether somebody waits for what comes of this.
    pub(crate) fn is_awaited(&self) -> bool {
        lock(&self.leg.flight.state).is_awaited()
    }

    /// Ends the flight and wakes everybody who waits for it.
    pub(crate) fn land(mut self, landing: Landing) {
        self.landed = true;
        let took = self.begun.elapsed().saturating_sub(self.leg.waited());
        // Somebody lost patience: what held up the body then is no measure of it.
        if !took.is_zero() && !lock(&self.leg.flight.state).was_joined() {
            self.usual.note(took);
        }
        self.flights.land(&self.key, &self.leg.flight, landing);
    }
}

impl<K: FlightKey> Drop for Lead<K> {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        if std::thread::panicking() {
            // What panicked once may well panic again: those who wait are not to find that out one after another.
            self.flights.land(&self.key, &self.leg.flight, Landing::Panicked);
        } else {
            self.flights.abandon(&self.key, &self.leg.flight);
        }
    }
}

/// A body that is being polled by its leader.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Flying<F> {
    leg: Arc<Leg>,
    pulse: Arc<Pulse>,
    body: Pin<Box<F>>,
}

impl<F: Future> Future for Flying<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let flying = self.get_mut();
        flying.pulse.polled(cx.waker());
        let waker = Waker::from(Arc::clone(&flying.pulse));
        flying.leg.fly_poll(|| flying.body.as_mut().poll(&mut Context::from_waker(&waker)))
    }
}
