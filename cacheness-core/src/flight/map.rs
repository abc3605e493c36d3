use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex};

use super::board::{Board, Seat};
use super::context::{Flight, Leg, lock};
use super::hashed::{AsItIs, Hashed};
use super::state::{Answer, Waiter};
use super::{Boarding, FlightKey, Landing, Lead};

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
}

/// What the map has for a caller.
pub(super) enum Found {
    Lead(Arc<Flight>),
    Landed(Landing),
    Seat(Seat),
}

impl<K: FlightKey> Flights<K> {
    /// No flights.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() })
    }

    /// Takes part in the flight of a key; sleeps while another caller leads it.
    pub(crate) fn board(self: &Arc<Self>, key: &K) -> Boarding<K> {
        self.board_as(Waiter::Thread, key.clone()).block()
    }

    /// The same as a future, on any executor. It may be dropped at any time.
    pub(crate) fn board_async(self: &Arc<Self>, key: K) -> Board<K> {
        self.board_as(Waiter::Task, key)
    }

    fn board_as(self: &Arc<Self>, waiter: Waiter, key: K) -> Board<K> {
        Board::new(Arc::clone(self), Hashed::new(key, &self.hasher), waiter)
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
            Answer::TakeOver => {
                drop(state);
                return Found::Lead(flight);
            }
            Answer::Wait => state.board(),
        }
        drop(state);
        Found::Seat(Seat::new(flight))
    }

    /// The lead of a flight whose state says that the caller leads it.
    pub(super) fn lead(self: &Arc<Self>, key: Hashed<K>, flight: Arc<Flight>) -> Lead<K> {
        Lead::new(Arc::clone(self), key, Leg::begin(flight))
    }

    pub(super) fn land(&self, key: &Hashed<K>, flight: &Arc<Flight>, landing: Landing) {
        let waiters = lock(&flight.state).land(landing);
        self.remove_if(key, flight, |_| true);
        waiters.into_iter().for_each(|waiter| waiter.wake());
    }

    pub(super) fn abandon(&self, key: &Hashed<K>, flight: &Arc<Flight>) {
        let waiters = lock(&flight.state).abandon();
        self.remove_deserted(key, flight);
        waiters.into_iter().for_each(|waiter| waiter.wake());
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
