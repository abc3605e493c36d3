//! Cached functions: the default cache, handles of functions, and what the expansions of attributes call. Here: calls made
//! otherwise than usual, which refresh or bypass the cache.

mod argument;
mod attribute;
mod call;
mod call_async;
mod choice;
pub(crate) mod default;
mod handle;
mod returns;
mod sharing;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomPinned;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// What the attributes expand to, and the control of cached functions by the function itself.
///
/// An expansion writes the key ([`begin`](macro_support::begin), [`arg`](macro_support::arg)), then hands the body to
/// [`Call::run`](macro_support::Call::run) or [`Call::run_async`](macro_support::Call::run_async). Everything that is
/// decided at run time is decided here, so that an annotated function stays small.
#[doc(hidden)]
pub mod macro_support {
    pub use crate::function::argument::{
        Captures, KeyArgument, Writer, arg, begin, begin_sibling, param, text, tuple, unless_default,
    };
    pub use crate::function::attribute::{AttributeId, CallMetadata, Lifetime, Site, lifetime};
    pub use crate::function::call::Call;
    pub use crate::function::choice::{Choice, Compared};
    pub use crate::function::handle::{
        BoundCall, FunctionHandle, FunctionInfo, Later, Now, bind, bind_async, function,
    };
    pub use crate::function::returns::{CallPlan, Failing, ResultPolicy, Returns, output};
    pub use crate::function::sharing::{Sharable, SharedError, SharedResult, Shares};
    pub use crate::function::{InMode, Work, bypass, bypass_async, refresh, refresh_async};

    pub use crate::cache::Cache;
    pub use crate::codec::handler::{ByDebug, ByEq, ByEqOrDebug, ByNothing, Evidence};
    // What the derives name.
    pub use crate::error::Result;
    pub use crate::key::{CacheKey, KeyFields, KeyWriter, SerdeKey};
    pub use crate::query::{Column, ColumnField, ColumnSchema, CustomMetadata, Schema};
    pub use crate::value::Metadata;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
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

fn current_mode() -> Mode {
    MODE.get()
}

/// Puts the mode back, also when the work in between panics.
struct Restore(Mode);

impl Drop for Restore {
    fn drop(&mut self) {
        MODE.set(self.0);
    }
}

fn within<R>(mode: Mode, work: impl FnOnce() -> R) -> R {
    let _restore = Restore(MODE.replace(mode));
    work()
}

/// Sets the mode whenever `work` is polled and puts it back in between: other tasks poll on the same thread.
async fn within_async<F: Future>(mode: Mode, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|cx| within(mode, || work.as_mut().poll(cx))).await
}

/// What the work of [`refresh`] and [`bypass`] may return: a value, or a future that is yet to run.
///
/// `Kind` is inferred. A future of an `async fn` or an `async` block is known by not being `Unpin`; what is both `Unpin`
/// and a future is ambiguous and does not compile, since its calls would silently be made as usual.
#[diagnostic::on_unimplemented(
    message = "`refresh` and `bypass` cannot follow `{Self}`: return a value that is `Unpin`, or one `async` block that awaits what is to be awaited"
)]
pub trait Work<Kind>: Sized {
    /// What comes back: the value itself, or a future in the same mode.
    type Output;

    #[doc(hidden)]
    fn done(self, mode: Governed) -> Self::Output;
}

/// A mode to be kept up; only this module makes one.
#[derive(Clone, Copy, Debug)]
pub struct Governed(Mode);

/// The kind of [`Work`] that is done when the closure returns.
#[derive(Debug)]
pub enum AsValue {}

/// The kind of [`Work`] that is a future.
#[derive(Debug)]
pub enum AsFuture {}

impl<R: Unpin> Work<AsValue> for R {
    type Output = R;

    fn done(self, _: Governed) -> R {
        self
    }
}

impl<F: Future> Work<AsFuture> for F {
    type Output = InMode<F>;

    fn done(self, mode: Governed) -> InMode<F> {
        InMode { mode: mode.0, work: RefCell::new(Box::pin(self)), _pinned: PhantomPinned }
    }
}

/// The future that [`refresh`] and [`bypass`] make of a future.
///
/// Not `Unpin`, so that one within another is seen as a future again.
#[must_use = "futures do nothing unless polled"]
pub struct InMode<F> {
    mode: Mode,
    /// In a cell, since a pinned future that is not `Unpin` lends itself only shared in safe code.
    work: RefCell<Pin<Box<F>>>,
    _pinned: PhantomPinned,
}

impl<F> fmt::Debug for InMode<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMode").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl<F: Future> Future for InMode<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        within(self.mode, || self.work.borrow_mut().as_mut().poll(cx))
    }
}

fn under<R: Work<Kind>, Kind>(mode: Mode, work: impl FnOnce() -> R) -> R::Output {
    within(mode, work).done(Governed(mode))
}

/// Runs `work`; each cached function that it calls runs its body and replaces its entry.
///
/// Only the calls that `work` makes itself: cached functions that those call in turn answer from the cache as usual.
///
/// If `work` returns a future, what comes back is a future that refreshes in the same way: `refresh(|| f(1)).await` and
/// `refresh(|| async { join!(f(1), f(2)) }).await` both do what they say. Tasks that the future spawns are not part of it.
/// A boxed future (`Pin<Box<dyn Future>>`) and the handle of a task do not compile here; use [`refresh_async`], or await
/// them in an `async` block.
///
/// ```
/// let fresh = cacheness::refresh(|| 6 * 7); // in place of the arithmetic, a call of a cached function
/// assert_eq!(fresh, 42);
/// let fresh = cacheness::refresh(|| async { 6 * 7 }); // a future
/// # drop(fresh);
/// ```
// The compiler tells the name of a parameter that it cannot infer: so this one says what to do.
pub fn refresh<R: Work<IfBoxedUseRefreshAsync>, IfBoxedUseRefreshAsync>(work: impl FnOnce() -> R) -> R::Output {
    under(Mode::Refresh, work)
}

/// Runs `work`; each cached function that it calls runs its body and neither reads nor writes its cache.
///
/// Only the calls that `work` makes itself: cached functions that those call in turn answer from the cache as usual.
/// A future that `work` returns does the same, as in [`refresh`].
///
/// ```
/// let fresh = cacheness::bypass(|| 6 * 7); // in place of the arithmetic, a call of a cached function
/// assert_eq!(fresh, 42);
/// ```
pub fn bypass<R: Work<IfBoxedUseBypassAsync>, IfBoxedUseBypassAsync>(work: impl FnOnce() -> R) -> R::Output {
    under(Mode::Bypass, work)
}

/// [`refresh`] without the look at what kind of value it is, for the bound call.
fn refresh_value<R>(work: impl FnOnce() -> R) -> R {
    within(Mode::Refresh, work)
}

/// [`bypass`] in the same way.
fn bypass_value<R>(work: impl FnOnce() -> R) -> R {
    within(Mode::Bypass, work)
}

/// [`refresh`] for a future, such as the call of a cached `async fn`. Tasks that the future spawns are not part of it.
///
/// ```
/// let fresh = cacheness::refresh_async(async { 6 * 7 });
/// # drop(fresh);
/// ```
pub fn refresh_async<F: Future>(work: F) -> impl Future<Output = F::Output> {
    within_async(Mode::Refresh, work)
}

/// [`bypass`] for a future, such as the call of a cached `async fn`. Tasks that the future spawns are not part of it.
///
/// ```
/// let fresh = cacheness::bypass_async(async { 6 * 7 });
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
        assert_eq!(current_mode(), Mode::Usual);
    }

    #[test]
    fn the_inner_mode_wins_and_the_outer_one_comes_back() {
        refresh(|| {
            assert_eq!(bypass(current_mode), Mode::Bypass);
            assert_eq!(current_mode(), Mode::Refresh);
        });
    }
}
