//! Which flights the current thread, or the future it is polling, leads right now.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::AccessError;
use std::time::Duration;

use super::Landing;
use super::pulse::Pulse;
use super::state::State;

/// Takes a lock. Nothing that can panic runs under the locks of this room but `Eq` and `Hash` of the key, which leave
/// the map as it was.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A flight that somebody leads, waits for, or has abandoned to those who wait.
pub(super) struct Flight {
    /// Never used again in this process.
    pub(super) id: u64,
    pub(super) state: Mutex<State<Waker, Landing>>,
    /// The thread that polled the leading future last; `NO_THREAD` if a thread leads.
    polled_by: AtomicU64,
    /// Whether the leading future is polled; nothing if a thread leads. Of several leaders, the last one.
    pulse: Mutex<Option<Arc<Pulse>>>,
}

impl Flight {
    pub(super) fn led() -> Arc<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        Arc::new(Self {
            id,
            state: Mutex::new(State::led()),
            polled_by: AtomicU64::new(NO_THREAD),
            pulse: Mutex::default(),
        })
    }

    pub(super) fn pulse(&self) -> Option<Arc<Pulse>> {
        lock(&self.pulse).clone()
    }

    pub(super) fn has_pulse(&self, pulse: Option<Arc<Pulse>>) {
        let _former = std::mem::replace(&mut *lock(&self.pulse), pulse);
    }

    /// Whether the leader is a future that this thread polled last: if this thread sleeps, it may never be polled again.
    pub(super) fn needs_this_thread(&self) -> bool {
        self.polled_by.load(Ordering::Relaxed) == this_thread()
    }
}

/// A flight as led by one leader: with the flight whose body began it.
pub(super) struct Leg {
    pub(super) flight: Arc<Flight>,
    pub(super) inside: Option<Arc<Leg>>,
    /// How long its body has waited for other flights, in microseconds.
    waited: AtomicU64,
}

impl Leg {
    /// A flight the caller leads from now on, inside the body that is running now.
    pub(super) fn begin(flight: Arc<Flight>) -> Arc<Self> {
        flight.polled_by.store(NO_THREAD, Ordering::Relaxed);
        flight.has_pulse(None);
        Arc::new(Self { flight, inside: innermost().ok().flatten(), waited: AtomicU64::new(0) })
    }

    /// Whether its body runs inside a body of this flight, or is one.
    pub(super) fn is_inside(&self, flight: u64) -> bool {
        let mut legs = std::iter::successors(Some(self), |leg| leg.inside.as_deref());
        legs.any(|leg| leg.flight.id == flight)
    }

    /// The body has waited, and so have those around it.
    pub(super) fn has_waited(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        for leg in std::iter::successors(Some(self), |leg| leg.inside.as_deref()) {
            leg.waited.fetch_add(micros, Ordering::Relaxed);
        }
    }

    pub(super) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }

    /// Runs a body, or polls it once, as led by this leg.
    pub(super) fn fly<R>(self: &Arc<Self>, body: impl FnOnce() -> R) -> R {
        let _inside = Inside::enter(Arc::clone(self));
        body()
    }

    /// [`Self::fly`] for one poll of a future.
    pub(super) fn fly_poll<R>(self: &Arc<Self>, poll: impl FnOnce() -> R) -> R {
        self.flight.polled_by.store(this_thread(), Ordering::Relaxed);
        self.fly(poll)
    }
}

thread_local! {
    static LEADING: RefCell<Vec<Arc<Leg>>> = const { RefCell::new(Vec::new()) };
}

/// The leg whose body is running on this thread, the innermost of several. Nobody knows while the thread is being torn
/// down.
pub(super) fn innermost() -> Result<Option<Arc<Leg>>, AccessError> {
    LEADING.try_with(|legs| legs.borrow().last().cloned())
}

/// Takes the leg off again, also when the body panics. Counts depth, since an inner one always goes first.
struct Inside(usize);

impl Inside {
    fn enter(leg: Arc<Leg>) -> Self {
        let depth = LEADING.try_with(|legs| {
            let mut legs = legs.borrow_mut();
            legs.push(leg);
            legs.len() - 1
        });
        Self(depth.unwrap_or(usize::MAX))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // The leg is dropped outside the borrow: wakers may go with it, and they are not ours.
        let _leg = LEADING.try_with(|legs| {
            let mut legs = legs.borrow_mut();
            if self.0 < legs.len() { legs.drain(self.0..).next() } else { None }
        });
    }
}

const NO_THREAD: u64 = 0;

/// A number for this thread that no other thread of the process has had or will have.
fn this_thread() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(NO_THREAD);
    thread_local! {
        static NUMBER: u64 = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    }
    // Without a destructor, this one outlives the tearing down of the thread.
    NUMBER.with(|number| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn innermost_id() -> Option<u64> {
        innermost().unwrap().map(|leg| leg.flight.id)
    }

    #[test]
    fn a_body_is_inside_its_flight_and_nothing_is_afterwards_even_if_it_panics() {
        let (outer, inner) = (Leg::begin(Flight::led()), Leg::begin(Flight::led()));
        outer.fly(|| {
            assert_eq!(innermost_id(), Some(outer.flight.id));
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| inner.fly(|| panic!("boom"))));
            assert!(panic.is_err());
            assert_eq!(innermost_id(), Some(outer.flight.id));
        });
        assert_eq!(innermost_id(), None);
    }

    #[test]
    fn a_leg_knows_the_body_that_began_it() {
        let outer = Leg::begin(Flight::led());
        let inner = outer.fly(|| Leg::begin(Flight::led()));
        assert_eq!(inner.inside.as_ref().map(|leg| leg.flight.id), Some(outer.flight.id));
    }
}
