use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::board::Board;
use super::context::{Flight, Leg, lock};
use super::hashed::{AsItIs, Hashed};
use super::patience::Usual;
use super::state::{Answer, Waiter};
use super::{Boarding, FlightKey, Landing, Lead};
use crate::util::threads::wake;

/// Enough that callers of different keys seldom meet.
const SHARDS: usize = 16;

type Shard<K> = HashMap<Hashed<K>, Arc<Flight>, BuildHasherDefault<AsItIs>>;

/// The flights of a cache that are under way.
///
/// Locks are taken in the order shard, flight. A flight in the map is led, or somebody aboard will lead it: the one
/// exception is a flight between its landing and its removal, which callers may see and which tells them so.
pub(crate) struct Flights<K> {
    shards: [Mutex<Shard<K>>; SHARDS],
    hasher: RandomState,
    /// How long a caller waits at least before it runs the body itself.
    least_wait: Duration,
    /// Of bodies that have no measure of their own.
    usual: Usual,
}

/// What the map has for a caller.
pub(super) enum Found {
    Lead(Arc<Flight>),
    Landed(Landing),
    /// The caller is aboard, with so many before it.
    Seat {
        flight: Arc<Flight>,
        ahead: usize,
    },
}

impl<K: FlightKey> Flights<K> {
    /// No flights. Callers wait this long at least before they run a body themselves.
    pub(crate) fn new(least_wait: Duration) -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { shards, hasher: RandomState::new(), least_wait, usual: Usual::default() })
    }

    /// Takes part in the flight of a key; sleeps while another caller leads it. `usual` is of the body to be run; without
    /// it, all such bodies share one.
    pub(crate) fn board(self: &Arc<Self>, key: &K, usual: Option<&Usual>) -> Boarding<K> {
        self.board_as(Waiter::Thread, key.clone(), usual).block()
    }

    /// The same as a future, on any executor. It may be dropped at any time.
    pub(crate) fn board_async(self: &Arc<Self>, key: K, usual: Option<&Usual>) -> Board<K> {
        self.board_as(Waiter::Task, key, usual)
    }

    fn board_as(self: &Arc<Self>, waiter: Waiter, key: K, usual: Option<&Usual>) -> Board<K> {
        let usual = usual.unwrap_or(&self.usual).clone();
        Board::new(Arc::clone(self), Hashed::new(key, &self.hasher), waiter, usual)
    }

    pub(super) fn least_wait(&self) -> Duration {
        self.least_wait
    }

    #[cfg(test)]
    /// How many keys are being worked on.
    pub(crate) fn in_flight(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    pub(super) fn find(&self, key: &Hashed<K>) -> Found {
        let new = key.clone();
        let mut shard = lock(self.shard(key));
        let flight = match shard.entry(new) {
            Entry::Vacant(place) => return Found::Lead(Arc::clone(place.insert(Flight::led()))),
            Entry::Occupied(found) => Arc::clone(found.get()),
        };
        // Still with the shard, so that the flight is not removed as deserted before the caller is aboard.
        let mut state = lock(&flight.state);
        match state.ask() {
            Answer::Landed(landing) => return Found::Landed(landing),
            Answer::Lead => {
                drop(state);
                return Found::Lead(flight);
            }
            Answer::Wait => {}
        }
        let ahead = state.board();
        drop(state);
        Found::Seat { flight, ahead }
    }

    /// The lead of a flight whose state says that the caller leads it.
    pub(super) fn lead(self: &Arc<Self>, key: Hashed<K>, flight: Arc<Flight>, usual: Usual) -> Lead<K> {
        Lead::new(Arc::clone(self), key, Leg::begin(flight), usual)
    }

    pub(super) fn land(&self, key: &Hashed<K>, flight: &Arc<Flight>, landing: Landing) {
        let landed = lock(&flight.state).land(landing);
        // Where another leader was first, the flight is gone already.
        let Ok(waiters) = landed else { return };
        self.remove_if(key, flight, |_| true);
        waiters.into_iter().for_each(wake);
    }

    pub(super) fn abandon(&self, key: &Hashed<K>, flight: &Arc<Flight>) {
        let waiters = lock(&flight.state).abandon();
        self.remove_deserted(key, flight);
        waiters.into_iter().for_each(wake);
    }

    pub(super) fn remove_deserted(&self, key: &Hashed<K>, flight: &Arc<Flight>) {
        self.remove_if(key, flight, |flight| lock(&flight.state).is_deserted());
    }

    fn remove_if(&self, key: &Hashed<K>, flight: &Arc<Flight>, condition: impl FnOnce(&Flight) -> bool) {
        let mut shard = lock(self.shard(key));
        if shard.get(key).is_some_and(|found| Arc::ptr_eq(found, flight) && condition(found)) {
            let removed = shard.remove_entry(key);
            drop(shard);
            drop(removed);
        }
    }

    fn shard(&self, key: &Hashed<K>) -> &Mutex<Shard<K>> {
        &self.shards[key.shard(SHARDS)]
    }
}
