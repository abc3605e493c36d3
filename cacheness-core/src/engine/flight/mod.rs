//! Single flight: of the callers who ask for one key at the same time, one computes the value and the others wait for it.
//!
//! A caller [joins](InFlight::join) the flight of its key and is told what to do: run the body as its [leader](Joined::Leader)
//! and then [complete](Leader::complete) it, use the [outcome](Joined::Completed) of another leader, or run the body
//! [alone](Joined::Alone). Threads and tasks join the same flights and wait in one queue; a task needs nothing of its executor
//! but wakers.
//!
//! - A leader that is dropped before it completes (its future was cancelled) abandons the flight: one of the waiters leads
//!   next, and the others keep waiting. If its body panicked, all waiters go on at once, side by side.
//! - No lock is held while a body runs, nor while a waker is woken, cloned or dropped.
//! - A wait that could never end is not begun. While a body runs, its flight is recorded for the thread or the poll that
//!   runs it, and what such callers wait for is kept in one graph of the process (`context`). A caller whose wait would close
//!   a cycle becomes another leader: two bodies that call each other's keys, longer cycles, also across caches and between
//!   threads and tasks. A call of a key inside its own body runs alone. A caller also becomes another leader if it is a
//!   thread that itself polled the leading future last, or finds that a leading future was woken and is not polled (`Pulse`).
//! - Every wait is bounded (`patience`), since a body may depend on its waiters in ways that cannot be observed: by a
//!   thread that it starts and joins, a pool whose threads all wait, a channel, a lock. A caller that has waited long enough
//!   becomes another leader beside the first one, and the first leader to complete decides for all.

mod context;
mod join;
mod patience;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use context::in_current_flight;
pub(crate) use join::Leader;
pub(crate) use patience::{UsualDuration, pause};

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::context::{Execution, Flight, lock};
use self::join::Join;
use self::state::{Answer, WaiterKind};
use crate::util::threads::wake;

/// What a flight needs of its key.
pub(crate) trait FlightKey: Eq + Hash + Clone + Send + Sync + 'static {}

impl<K: Eq + Hash + Clone + Send + Sync + 'static> FlightKey for K {}

/// A result that was not stored, for those who waited for it.
pub type SharedResult = Arc<dyn Any + Send + Sync>;

/// How a flight ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The value is in the cache now.
    Stored,
    /// There is a result, but not in the cache: each caller has to make its own if there is none to be shared.
    NotStored(Option<SharedResult>),
    /// The body failed, and an expired value that is still in the cache stands in for its result.
    Stale,
    /// The body panicked: each caller has to run it.
    Panicked,
}

/// What a caller has to do.
pub(crate) enum Joined<K: FlightKey> {
    /// Run the body inside [`Leader::run`] or [`Leader::run_async`], then [`Leader::complete`].
    Leader(Leader<K>),
    /// Another caller has run it in the meantime.
    Completed(Outcome),
    /// Run the body and wait for nobody: the call is made by a body of this flight.
    Alone,
}

/// Enough that callers of different keys seldom meet.
const SHARDS: usize = 16;

type Shard<K> = HashMap<Hashed<K>, Arc<Flight>, BuildHasherDefault<PrecomputedHash>>;

/// The flights of a cache: which keys are being computed.
///
/// Locks are taken in the order shard, flight. A flight in the map has a leader, or one of its waiters will become it. The
/// one exception is a flight between its completion and its removal: callers who find it are given its outcome.
pub(crate) struct InFlight<K> {
    shards: [Mutex<Shard<K>>; SHARDS],
    hasher: RandomState,
    /// How long a caller waits at least before it runs the body itself.
    least_wait: Duration,
    /// Of bodies that have no measure of their own.
    usual: UsualDuration,
}

/// What the map has for a caller.
enum Lookup {
    Lead(Arc<Flight>),
    Completed(Outcome),
    /// The caller is one of the waiters, with so many before it.
    Wait {
        flight: Arc<Flight>,
        ahead: usize,
    },
}

impl<K: FlightKey> InFlight<K> {
    /// An empty map. Callers wait this long at least before they run a body themselves.
    pub(crate) fn new(least_wait: Duration) -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { shards, hasher: RandomState::new(), least_wait, usual: UsualDuration::default() })
    }

    /// Takes part in the flight of a key; sleeps while another caller leads it. `usual` is of the body to be run; without
    /// it, all such bodies share one.
    pub(crate) fn join(self: &Arc<Self>, key: &K, usual: Option<&UsualDuration>) -> Joined<K> {
        self.join_as(WaiterKind::Thread, key.clone(), usual).block()
    }

    /// The same as a future, on any executor. It may be dropped at any time.
    pub(crate) fn join_async(self: &Arc<Self>, key: K, usual: Option<&UsualDuration>) -> Join<K> {
        self.join_as(WaiterKind::Task, key, usual)
    }

    fn join_as(self: &Arc<Self>, kind: WaiterKind, key: K, usual: Option<&UsualDuration>) -> Join<K> {
        let usual = usual.unwrap_or(&self.usual).clone();
        Join::new(Arc::clone(self), Hashed::new(key, &self.hasher), kind, usual)
    }

    fn least_wait(&self) -> Duration {
        self.least_wait
    }

    /// How many keys are being worked on.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn find(&self, key: &Hashed<K>) -> Lookup {
        let new = key.clone();
        let mut shard = lock(self.shard(key));
        let flight = match shard.entry(new) {
            Entry::Vacant(place) => return Lookup::Lead(Arc::clone(place.insert(Flight::led()))),
            Entry::Occupied(found) => Arc::clone(found.get()),
        };
        // Still with the shard, so that the flight is not removed as deserted before the caller is one of its waiters.
        let mut state = lock(&flight.state);
        match state.ask() {
            Answer::Completed(outcome) => return Lookup::Completed(outcome),
            Answer::Lead => {
                drop(state);
                return Lookup::Lead(flight);
            }
            Answer::Wait => {}
        }
        let ahead = state.add_waiter();
        drop(state);
        Lookup::Wait { flight, ahead }
    }

    /// Makes the caller the leader of a flight whose state has answered [`Answer::Lead`].
    fn lead(self: &Arc<Self>, key: Hashed<K>, flight: Arc<Flight>, usual: UsualDuration) -> Leader<K> {
        Leader::new(Arc::clone(self), key, Execution::begin(flight), usual)
    }

    fn complete(&self, key: &Hashed<K>, flight: &Arc<Flight>, outcome: Outcome) {
        let completed = lock(&flight.state).complete(outcome);
        // Where another leader was first, the flight is gone already.
        let Ok(waiters) = completed else { return };
        self.remove_if(key, flight, |_| true);
        waiters.into_iter().for_each(wake);
    }

    fn abandon(&self, key: &Hashed<K>, flight: &Arc<Flight>) {
        let waiters = lock(&flight.state).abandon();
        self.remove_deserted(key, flight);
        waiters.into_iter().for_each(wake);
    }

    fn remove_deserted(&self, key: &Hashed<K>, flight: &Arc<Flight>) {
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

/// A key with its hash, which is made once a call: a flight looks its key up three times.
#[derive(Clone, PartialEq, Eq)]
struct Hashed<K> {
    hash: u64,
    key: K,
}

impl<K: Hash> Hashed<K> {
    fn new(key: K, state: &RandomState) -> Self {
        Self { hash: state.hash_one(&key), key }
    }

    /// One of `count` shards. Not by the lowest bits, which the maps use themselves.
    fn shard(&self, count: usize) -> usize {
        (self.hash >> 32) as usize % count
    }
}

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Takes the hash of a [`Hashed`] as it is.
#[derive(Default)]
struct PrecomputedHash(u64);

impl Hasher for PrecomputedHash {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Never called by `Hashed`, but right for everything.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
