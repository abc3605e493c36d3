//! Single flight: of the callers who ask for one key at the same time, one works and the others wait for it.
//!
//! A caller [boards](Flights::board) and is told what to do: [lead](Boarding::Lead) (run the body, then
//! [land](Lead::land)), use what a leader has [landed](Boarding::Landed), or run the body [alone](Boarding::Alone).
//! Threads and tasks board the same flights and wait in one list; a task needs nothing of its executor but wakers.
//!
//! - A leader that is dropped without landing (its future was cancelled) abandons the flight: one of the waiters leads
//!   next, and the others wait on. If its body panicked, all who wait go on at once, side by side.
//! - No lock is held while a body runs, nor while a waker is woken, cloned or dropped.
//! - A wait that could never end is not begun. While a body runs, its flight is noted for the thread or the poll that
//!   runs it (`context`), and what such callers wait for is kept in one graph of the process (`graph`). Whoever would
//!   close a circle leads as well: two bodies that call each other's keys, longer circles, also across caches and between
//!   threads and tasks. A call of a key inside its own body runs alone. A caller leads as well, too, if it is a thread
//!   that polled the leading future last itself, or finds that a leading future was woken and is not polled (`pulse`).
//! - No wait is without end (`patience`), since a body may depend on those who wait for it in ways that nobody sees: by a
//!   thread that it starts and joins, a pool whose threads all wait, a channel, a lock. Who has waited long enough leads
//!   as well, beside the first leader, and whoever lands first lands for all.

mod alarm;
mod board;
mod carried;
mod context;
mod graph;
mod hashed;
mod lead;
mod map;
mod patience;
mod pulse;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use carried::carried;
pub(crate) use lead::Lead;
pub(crate) use map::Flights;
pub(crate) use patience::Usual;

use std::any::Any;
use std::hash::Hash;
use std::sync::Arc;

/// What a flight needs of its key.
pub(crate) trait FlightKey: Eq + Hash + Clone + Send + Sync + 'static {}

impl<K: Eq + Hash + Clone + Send + Sync + 'static> FlightKey for K {}

/// A result that was not stored, for those who waited for it.
pub type Shared = Arc<dyn Any + Send + Sync>;

/// How a flight ended.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    /// The value is in the cache now.
    Stored,
    /// There is a result, but not in the cache: each caller has to make its own if there is none to be shared.
    NotStored(Option<Shared>),
    /// The body failed, and an expired value that is still in the cache stands in for its result.
    Stale,
    /// The body panicked: each caller has to run it.
    Panicked,
}

/// What a caller has to do.
pub(crate) enum Boarding<K: FlightKey> {
    /// Run the body inside [`Lead::run`] or [`Lead::run_async`], then [`Lead::land`].
    Lead(Lead<K>),
    /// Another caller has run it in the meantime.
    Landed(Landing),
    /// Run the body and wait for nobody: the call is made by a body of this flight.
    Alone,
}
