//! Single flight.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::Hash;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread::ThreadId;

/// The keys that are being computed.
#[derive(Debug)]
pub(crate) struct Flights<K: Eq + Hash + Clone>(Mutex<HashMap<K, Arc<Flight>>>);

#[derive(Debug)]
struct Flight {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    outcome: Option<Option<Landing>>,
    leader: Option<ThreadId>,
    wakers: Vec<Waker>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Landing {
    Stored,
    NotStored,
}

pub(crate) enum Boarding<K: FlightKey> {
    Lead(Lead<K>),
    Landed(Landing),
    Alone,
}

pub(crate) struct Lead<K: FlightKey> {
    key: PhantomData<fn() -> K>,
    flight: Arc<Flight>,
    landing: Option<Landing>,
    leave: Option<Box<dyn FnOnce() + Send + Sync>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) trait FlightKey: Eq + Hash + Clone + Send + Sync + 'static {}

impl<K: Eq + Hash + Clone + Send + Sync + 'static> FlightKey for K {}

impl<K: FlightKey> Flights<K> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn join(self: &Arc<Self>, key: &K) -> Result<Lead<K>, Arc<Flight>> {
        let mut map = lock(&self.0);
        if let Some(flight) = map.get(key) {
            return Err(flight.clone());
        }
        let state = State { outcome: None, leader: None, wakers: Vec::new() };
        let flight = Arc::new(Flight { state: Mutex::new(state), changed: Condvar::new() });
        map.insert(key.clone(), flight.clone());
        let (flights, key): (_, K) = (self.clone(), key.clone());
        let leave = Box::new(move || drop(lock(&flights.0).remove(&key)));
        Ok(Lead { key: PhantomData, flight, landing: None, leave: Some(leave) })
    }

    pub(crate) fn board(self: &Arc<Self>, key: &K) -> Boarding<K> {
        loop {
            let flight = match self.join(key) {
                Ok(lead) => return Boarding::Lead(lead),
                Err(flight) => flight,
            };
            let mut state = lock(&flight.state);
            if state.leader == Some(std::thread::current().id()) {
                return Boarding::Alone;
            }
            while state.outcome.is_none() {
                state = flight.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if let Some(Some(landing)) = state.outcome {
                return Boarding::Landed(landing);
            }
        }
    }

    pub(crate) fn board_async(self: &Arc<Self>, key: K) -> impl Future<Output = Boarding<K>> + Send + use<K> {
        self.clone().boarding(key)
    }

    async fn boarding(self: Arc<Self>, key: K) -> Boarding<K> {
        loop {
            let flight = match self.join(&key) {
                Ok(lead) => return Boarding::Lead(lead),
                Err(flight) => flight,
            };
            let landing = poll_fn(|cx| {
                let mut state = lock(&flight.state);
                if state.leader == Some(std::thread::current().id()) {
                    return Poll::Ready(Err(()));
                }
                if let Some(outcome) = state.outcome {
                    return Poll::Ready(Ok(outcome));
                }
                state.wakers.push(cx.waker().clone());
                Poll::Pending
            });
            match landing.await {
                Err(()) => return Boarding::Alone,
                Ok(Some(landing)) => return Boarding::Landed(landing),
                Ok(None) => {}
            }
        }
    }
}

impl<K: FlightKey> Lead<K> {
    fn mark(&self) -> Leading<'_, K> {
        lock(&self.flight.state).leader = Some(std::thread::current().id());
        Leading(self)
    }

    pub(crate) fn run<R>(&self, body: impl FnOnce() -> R) -> R {
        let _leading = self.mark();
        body()
    }

    pub(crate) async fn run_async<F: Future>(&self, body: F) -> F::Output {
        let mut body = pin!(body);
        poll_fn(|cx| {
            let _leading = self.mark();
            body.as_mut().poll(cx)
        })
        .await
    }

    pub(crate) fn land(mut self, landing: Landing) {
        self.landing = Some(landing);
    }
}

struct Leading<'l, K: FlightKey>(&'l Lead<K>);

impl<K: FlightKey> Drop for Leading<'_, K> {
    fn drop(&mut self) {
        lock(&self.0.flight.state).leader = None;
    }
}

impl<K: FlightKey> Drop for Lead<K> {
    fn drop(&mut self) {
        if let Some(leave) = self.leave.take() {
            leave();
        }
        let mut state = lock(&self.flight.state);
        state.outcome = Some(self.landing);
        state.wakers.drain(..).for_each(Waker::wake);
        self.flight.changed.notify_all();
    }
}
