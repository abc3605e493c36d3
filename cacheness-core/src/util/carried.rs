//! What a thread carries along, and gives to the threads that work for it.
//!
//! A process in which nobody carries anything pays for the question with one relaxed load. That is enough: a thread sees its
//! own [`enter`] in the count, and asks about no other thread.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Something that a room above knows the type of.
pub(crate) type Carried = Arc<dyn Any + Send + Sync>;

/// How many things all threads carry.
static ALL: AtomicUsize = AtomicUsize::new(0);
static SERIALS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The last one is in force. A list, since guards of one thread may be dropped in any order.
    static HERE: RefCell<Vec<(u64, Carried)>> = const { RefCell::new(Vec::new()) };
}

/// Whether any thread carries anything.
#[inline]
pub(crate) fn is_any() -> bool {
    ALL.load(Ordering::Relaxed) != 0
}

/// What this thread carries.
#[inline]
pub(crate) fn current() -> Option<Carried> {
    if is_any() { look() } else { None }
}

#[cold]
fn look() -> Option<Carried> {
    HERE.try_with(|here| here.borrow().last().map(|(_, carried)| Arc::clone(carried))).ok().flatten()
}

/// Lets this thread carry something, on top of what it carries already.
pub(crate) fn enter(carried: Carried) -> Entered {
    let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
    ALL.fetch_add(1, Ordering::Relaxed);
    // A thread that is ending carries nothing any more.
    let _ = HERE.try_with(|here| here.borrow_mut().push((serial, carried)));
    Entered { serial, _of_this_thread: PhantomData }
}

/// Until it is dropped, the thread carries what it was [made](enter) for.
#[derive(Debug)]
pub(crate) struct Entered {
    serial: u64,
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Dropped when the list is free again: what is carried may ask in its turn.
        let gone = HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            let at = here.iter().rposition(|(serial, _)| *serial == self.serial)?;
            Some(here.remove(at))
        });
        ALL.fetch_sub(1, Ordering::Relaxed);
        drop(gone);
    }
}

/// What a task carries: wherever it is polled, the thread carries that while it polls.
#[derive(Debug)]
pub(crate) struct Luggage {
    serial: u64,
    /// What it carries, and what was entered in the task and is not left yet. On the list of the thread while it is polled.
    carried: Vec<(u64, Carried)>,
}

impl Luggage {
    pub(crate) fn of(carried: Carried) -> Self {
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        Self { serial, carried: vec![(serial, carried)] }
    }

    /// Polls, or does anything else, with what the task carries.
    pub(crate) fn within<R>(&mut self, work: impl FnOnce() -> R) -> R {
        ALL.fetch_add(1, Ordering::Relaxed);
        let _ = HERE.try_with(|here| here.borrow_mut().append(&mut self.carried));
        let _back = Back(self);
        work()
    }
}

/// Takes the luggage off the list again, also when the work in between panics.
struct Back<'a>(&'a mut Luggage);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        let Self(luggage) = self;
        let _ = HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            if let Some(at) = here.iter().rposition(|(serial, _)| *serial == luggage.serial) {
                luggage.carried = here.split_off(at);
            }
        });
        ALL.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The same work, which carries on whatever thread runs it what this thread carries now.
pub(crate) fn along<R>(work: impl FnOnce() -> R) -> impl FnOnce() -> R {
    let carried = current();
    move || {
        let _entered = carried.map(enter);
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number() -> Option<u32> {
        current().and_then(|carried| carried.downcast_ref().copied())
    }

    #[test]
    fn the_last_one_that_was_entered_and_is_left_is_in_force_whatever_the_order_of_leaving() {
        assert_eq!(number(), None);
        let one = enter(Arc::new(1u32));
        let two = enter(Arc::new(2u32));
        let three = enter(Arc::new(3u32));
        assert_eq!(number(), Some(3));
        drop(two);
        assert_eq!(number(), Some(3));
        drop(three);
        assert_eq!(number(), Some(1));
        drop(one);
        assert_eq!(number(), None);
    }

    #[test]
    fn what_a_task_enters_and_does_not_leave_is_there_at_its_next_poll_and_not_in_between() {
        let mut task = Luggage::of(Arc::new(1u32));
        let two = task.within(|| {
            assert_eq!(number(), Some(1));
            enter(Arc::new(2u32))
        });
        assert_eq!(number(), None);
        task.within(|| {
            assert_eq!(number(), Some(2));
            drop(two);
            assert_eq!(number(), Some(1));
        });
        let three = task.within(|| enter(Arc::new(3u32)));
        drop(three);
        assert_eq!(number(), None);
    }

    #[test]
    fn other_threads_carry_what_is_given_along_and_nothing_else() {
        let _one = enter(Arc::new(1u32));
        let given = along(number);
        std::thread::scope(|scope| {
            assert_eq!(scope.spawn(number).join().unwrap(), None);
            assert_eq!(scope.spawn(given).join().unwrap(), Some(1));
        });
    }
}
