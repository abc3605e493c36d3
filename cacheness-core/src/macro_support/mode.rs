//! What the cached calls that a thread makes directly do with the cache.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Read, and write after a miss.
    Usual,
    /// Run the body and replace the entry.
    Refresh,
    /// Run the body; neither read nor write.
    Bypass,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Usual) };
}

pub(super) fn current() -> Mode {
    MODE.get()
}

/// Puts the mode back, also when the work in between panics.
struct Restore(Mode);

impl Drop for Restore {
    fn drop(&mut self) {
        MODE.set(self.0);
    }
}

pub(super) fn within<R>(mode: Mode, work: impl FnOnce() -> R) -> R {
    let _restore = Restore(MODE.replace(mode));
    work()
}

/// Sets the mode whenever `work` is polled and puts it back in between: other tasks poll on the same thread.
pub(super) async fn within_async<F: Future>(mode: Mode, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|cx| within(mode, || work.as_mut().poll(cx))).await
}

/// Runs `work`; each cached function that it calls runs its body and replaces its entry.
///
/// Only the calls that `work` makes itself: cached functions that those call in turn answer from the cache as usual.
///
/// ```
/// let fresh = cacheness_core::refresh(|| 6 * 7); // in place of the arithmetic, a call of a cached function
/// assert_eq!(fresh, 42);
/// ```
pub fn refresh<R>(work: impl FnOnce() -> R) -> R {
    within(Mode::Refresh, work)
}

/// Runs `work`; each cached function that it calls runs its body and neither reads nor writes its cache.
///
/// Only the calls that `work` makes itself: cached functions that those call in turn answer from the cache as usual.
///
/// ```
/// let fresh = cacheness_core::bypass(|| 6 * 7); // in place of the arithmetic, a call of a cached function
/// assert_eq!(fresh, 42);
/// ```
pub fn bypass<R>(work: impl FnOnce() -> R) -> R {
    within(Mode::Bypass, work)
}

/// [`refresh`] for a future, such as the call of a cached `async fn`. Tasks that the future spawns are not part of it.
///
/// ```
/// let fresh = cacheness_core::refresh_async(async { 6 * 7 });
/// # drop(fresh);
/// ```
pub fn refresh_async<F: Future>(work: F) -> impl Future<Output = F::Output> {
    within_async(Mode::Refresh, work)
}

/// [`bypass`] for a future, such as the call of a cached `async fn`. Tasks that the future spawns are not part of it.
///
/// ```
/// let fresh = cacheness_core::bypass_async(async { 6 * 7 });
/// # drop(fresh);
/// ```
pub fn bypass_async<F: Future>(work: F) -> impl Future<Output = F::Output> {
    within_async(Mode::Bypass, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_puts_the_mode_back() {
        let _ = std::panic::catch_unwind(|| bypass(|| panic!("on purpose")));
        assert_eq!(current(), Mode::Usual);
    }

    #[test]
    fn the_inner_mode_wins_and_the_outer_one_comes_back() {
        refresh(|| {
            assert_eq!(bypass(current), Mode::Bypass);
            assert_eq!(current(), Mode::Refresh);
        });
    }
}
