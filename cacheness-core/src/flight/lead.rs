use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::context::Leg;
use super::hashed::Hashed;
use super::map::Flights;
use super::{FlightKey, Landing};

/// The right and the duty to run the body of a key, until it [lands](Self::land). Dropped without, the flight is
/// abandoned, and one of its waiters leads next.
#[must_use = "a lead that is dropped abandons its flight"]
pub(crate) struct Lead<K: FlightKey> {
    flights: Arc<Flights<K>>,
    key: Hashed<K>,
    leg: Arc<Leg>,
    landed: bool,
}

impl<K: FlightKey> Lead<K> {
    pub(super) fn new(flights: Arc<Flights<K>>, key: Hashed<K>, leg: Arc<Leg>) -> Self {
        Self { flights, key, leg, landed: false }
    }

    /// Runs the body on this thread. Calls of the same key inside it are told to run alone.
    pub(crate) fn run<R>(&self, body: impl FnOnce() -> R) -> R {
        self.leg.fly(body)
    }

    /// The same for a body that is a future. It is boxed, so that the future of a cached call stays small.
    pub(crate) fn run_async<F: Future>(&self, body: F) -> Flying<F> {
        Flying { leg: Arc::clone(&self.leg), body: Box::pin(body) }
    }

    /// Ends the flight and wakes everybody who waits for it.
    pub(crate) fn land(mut self, landing: Landing) {
        self.landed = true;
        self.flights.land(&self.key, &self.leg.flight, landing);
    }
}

impl<K: FlightKey> Drop for Lead<K> {
    fn drop(&mut self) {
        if !self.landed {
            self.flights.abandon(&self.key, &self.leg.flight);
        }
    }
}

/// A body that is being polled by its leader.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct Flying<F> {
    leg: Arc<Leg>,
    body: Pin<Box<F>>,
}

impl<F: Future> Future for Flying<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let flying = self.get_mut();
        flying.leg.fly_poll(|| flying.body.as_mut().poll(cx))
    }
}
