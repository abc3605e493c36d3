//! Single flight: of the callers who ask for one key at the same time, one works and the others wait for it.
//!
//! A caller [boards](Flights::board) and is told what to do: [lead](Boarding::Lead) (run the body, then
//! [land](Lead::land)), use what a leader has [landed](Boarding::Landed), or run the body [alone](Boarding::Alone).
//! Threads and tasks board the same flights and wait in one list; a task needs nothing of its executor but wakers.
//!
//! - A leader that is dropped without landing (its body panicked, its future was cancelled) abandons the flight: one of
//!   the waiters leads next, and the others wait on.
//! - No lock is held while a body runs, nor while a waker is woken, cloned or dropped.
//! - A wait that could never end is not begun. While a body runs, its flight is noted for the thread or the poll that
//!   runs it (`context`), and what such callers wait for is kept in one graph of the process (`graph`). Whoever would
//!   close a circle runs alone: a call of a key inside its own body, two bodies that call each other's keys, longer
//!   circles, also across caches and between threads and tasks.
//!
//! What this cannot see, and who has to take care:
//!
//! - A thread or a task that a body starts and then waits for does not inherit the body's flights: if it calls the same
//!   key, it waits for the body, and the body for it.
//! - A future that leads and is neither polled nor dropped holds up its waiters, as a task that sleeps with a lock does:
//!   for one, awaiting a second call of the key beside it in the same task.
//! - A thread that waits blocks the executor it belongs to. If it polled the leader last itself, it runs alone instead;
//!   it does not know of a leader that other tasks of this executor keep waiting.

mod board;
mod carried;
mod context;
mod graph;
mod hashed;
mod lead;
mod map;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use carried::carried;
pub(crate) use lead::Lead;
pub(crate) use map::Flights;

use std::hash::Hash;

/// What a flight needs of its key.
pub(crate) trait FlightKey: Eq + Hash + Clone + Send + Sync + 'static {}

impl<K: Eq + Hash + Clone + Send + Sync + 'static> FlightKey for K {}

/// How a flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// The value is in the cache now.
    Stored,
    /// There is a value, but not in the cache: each caller has to make its own.
    NotStored,
    /// The body failed, and an expired value that is still in the cache stands in for its result.
    Stale,
}

/// What a caller has to do.
pub(crate) enum Boarding<K: FlightKey> {
    /// Run the body inside [`Lead::run`] or [`Lead::run_async`], then [`Lead::land`].
    Lead(Lead<K>),
    /// Another caller has run it in the meantime.
    Landed(Landing),
    /// Run the body and wait for nobody: waiting would never end.
    Alone,
}
