//! Two threads for one large value: the second one comes for the length of a call and is gone at its end.

use std::panic::resume_unwind;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use crate::error::Result;

/// Below this many bytes a second thread costs more than it takes off the first one.
pub(crate) const WORTH_TWO: usize = 8 << 20;

/// Whether work on so many bytes goes faster by two.
pub(crate) fn is_worth_two(bytes: usize) -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    bytes >= WORTH_TWO && *SEVERAL.get_or_init(|| thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1))
}

/// Runs `work` here, and on a second thread at the same time if `both` and if there is one to be had.
pub(crate) fn by_two(both: bool, work: impl Fn() + Sync) {
    thread::scope(|scope| {
        let second = both.then(|| thread::Builder::new().name("cacheness-bulk".into()).spawn_scoped(scope, &work));
        work();
        if let Some(Ok(second)) = second
            && let Err(panic) = second.join()
        {
            resume_unwind(panic);
        }
    });
}

/// Does `work` on every item, with a state for each thread that works, and returns the results in order.
///
/// # Errors
/// That of the item that failed, the first one that was found; the rest is left undone.
pub(crate) fn each<I: Send, S, R: Send>(
    items: impl IntoIterator<Item = I, IntoIter: ExactSizeIterator + Send>,
    both: bool,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, I) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let items = items.into_iter();
    let done = Mutex::new((Vec::with_capacity(items.len()), None));
    let items = Mutex::new(items.enumerate());
    by_two(both, || {
        let mut state = state();
        loop {
            // A statement of its own, at whose end the lock is released: not so in the head of a loop.
            let next = lock(&items).next();
            let Some((n, item)) = next else { return };
            let outcome = work(&mut state, item);
            let (done, failed) = &mut *lock(&done);
            match outcome {
                Ok(result) => done.push((n, result)),
                Err(error) => drop(failed.get_or_insert(error)),
            }
            if failed.is_some() {
                return;
            }
        }
    });
    let (mut done, failed) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(n, _)| *n);
    failed.map_or_else(|| Ok(done.into_iter().map(|(_, result)| result).collect()), Err)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CacheError, ErrorKind};

    #[test]
    fn results_come_in_order_by_one_thread_or_two() {
        for both in [false, true] {
            let squares = each((0..1000u64).collect::<Vec<_>>(), both, || (), |(), n| Ok(n * n)).unwrap();
            assert_eq!(squares, (0..1000u64).map(|n| n * n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_ends_the_work_and_is_returned() {
        for both in [false, true] {
            let fails = |(): &mut (), n: u64| match n {
                7 => Err(CacheError::new(ErrorKind::Integrity, "seven")),
                _ => Ok(()),
            };
            let error = each((0..1000u64).collect::<Vec<_>>(), both, || (), fails).unwrap_err();
            assert_eq!(error.to_string(), "seven");
        }
    }

    #[test]
    fn two_threads_work_at_the_same_time() {
        let (here, there) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        // Each waits for the other one to have begun.
        let pairs = vec![(here.0, Mutex::new(there.1)), (there.0, Mutex::new(here.1))];
        let met = each(
            pairs,
            true,
            || (),
            |(), (mine, other)| {
                let sent = mine.send(()).is_ok();
                Ok(sent && lock(&other).recv_timeout(std::time::Duration::from_secs(20)).is_ok())
            },
        );
        assert_eq!(met.unwrap(), [true, true]);
    }

    #[test]
    fn a_panic_of_the_second_thread_is_no_hang() {
        let here = thread::current().id();
        let work = || assert_eq!(thread::current().id(), here, "on the other thread");
        assert!(std::panic::catch_unwind(|| by_two(true, work)).is_err());
    }
}
