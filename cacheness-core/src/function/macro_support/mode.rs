//! Calls made otherwise than usual: refreshing and bypassing the cache, and calls that are bound to be made later.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomPinned;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::Duration;

use super::call::Call;
use super::returns::{CallPlan, ResultPolicy};
use crate::cache::{Attempt, Cache};
use crate::error::Result;
use crate::function::default::default_cache;
use crate::key::{Key, PendingKey};

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
pub(super) fn refresh_value<R>(work: impl FnOnce() -> R) -> R {
    within(Mode::Refresh, work)
}

/// [`bypass`] in the same way.
pub(super) fn bypass_value<R>(work: impl FnOnce() -> R) -> R {
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

/// A call of a cached function with its arguments, not made yet: what the function added by `call = name` returns.
///
/// It reads and changes what the cache holds for exactly these arguments, and makes the call as asked.
/// `B` is [`Now`] for a function and [`Later`] for an `async fn`, whose `get`, `refresh` and `uncached` are futures.
#[must_use = "a bound call does nothing until one of its methods is called"]
pub struct BoundCall<R, B> {
    key: LazyLock<Result<Key>, Box<dyn FnOnce() -> Result<Key> + Send>>,
    cache: Option<Cache>,
    ttl: Option<Duration>,
    get: Box<Get<R>>,
    body: B,
}

type Get<R> = dyn Fn(&Cache, &Key, Option<Duration>) -> Result<Option<R>> + Send + Sync;

/// The call of a function.
pub struct Now<F>(F);

/// The call of an `async fn`.
pub struct Later<F>(F);

impl<R, B> fmt::Debug for BoundCall<R, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundCall").field("cache", &self.cache).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Now<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

impl<F> fmt::Debug for Later<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Later")
    }
}

/// Binds a call to what makes it.
pub fn bind<R, S: ResultPolicy<R>, F: FnOnce() -> R>(
    call: Call<'_, PendingKey>,
    plan: CallPlan<'static, R, S>,
    make: F,
) -> BoundCall<R, Now<F>> {
    BoundCall::new(call, &plan, Now(make))
}

/// Binds a call to the future that makes it.
pub fn bind_async<R, S: ResultPolicy<R>, F: Future<Output = R>>(
    call: Call<'_, PendingKey>,
    plan: CallPlan<'static, R, S>,
    make: F,
) -> BoundCall<R, Later<F>> {
    BoundCall::new(call, &plan, Later(make))
}

impl<R, B> BoundCall<R, B> {
    fn new<S: ResultPolicy<R>>(call: Call<'_, PendingKey>, plan: &CallPlan<'static, R, S>, body: B) -> Self {
        let key = call.key;
        let codec = plan.codec;
        let get = move |cache: &Cache, key: &Key, ttl: Option<Duration>| {
            Ok(cache.get_by_key(key, ttl, codec, Attempt::First)?.map(S::rebuild))
        };
        let cache = call.cache.cloned();
        let used = cache.clone();
        let resolve: Box<dyn FnOnce() -> Result<Key> + Send> = Box::new(move || {
            // Whether a file counts by its content, and when it is read again, is up to the cache.
            match key.needs_io().then(|| used.map_or_else(default_cache, Ok)) {
                Some(Ok(used)) => key.within(&used.key_rules()).resolve(),
                Some(Err(_)) | None => key.resolve(),
            }
        });
        Self { key: LazyLock::new(resolve), cache, ttl: call.options.ttl, get: Box::new(get), body }
    }

    /// The key of the call. The first use reads the files among the arguments.
    ///
    /// # Errors
    /// When an argument cannot be encoded or its file cannot be read.
    pub fn key(&self) -> Result<Key> {
        self.key.clone()
    }

    /// Whether the cache holds a result for this call that has not expired.
    ///
    /// # Errors
    /// When the key cannot be made or the cache cannot be opened or read.
    pub fn is_cached(&self) -> Result<bool> {
        self.cache()?.exists(&self.key()?)
    }

    /// The result that the cache holds for this call, without running the function.
    ///
    /// # Errors
    /// When the key cannot be made or the cache cannot be opened or read.
    pub fn peek(&self) -> Result<Option<R>> {
        (self.get)(&self.cache()?, &self.key()?, self.ttl)
    }

    /// Removes the result of this call from the cache; `false` if there was none.
    ///
    /// # Errors
    /// When the key cannot be made or the cache cannot be opened or written.
    pub fn invalidate(&self) -> Result<bool> {
        self.cache()?.invalidate(&self.key()?)
    }

    fn cache(&self) -> Result<Cache> {
        self.cache.clone().map_or_else(default_cache, Ok)
    }
}

impl<R, F: FnOnce() -> R> BoundCall<R, Now<F>> {
    /// Makes the call: from the cache, or by running the function.
    pub fn get(self) -> R {
        (self.body.0)()
    }

    /// Runs the function and replaces what the cache holds for this call.
    pub fn refresh(self) -> R {
        refresh_value(self.body.0)
    }

    /// Runs the function; the cache is neither read nor written.
    pub fn uncached(self) -> R {
        bypass_value(self.body.0)
    }
}

impl<R, F: Future<Output = R>> BoundCall<R, Later<F>> {
    /// Makes the call: from the cache, or by running the function.
    pub fn get(self) -> impl Future<Output = R> {
        self.body.0
    }

    /// Runs the function and replaces what the cache holds for this call.
    pub fn refresh(self) -> impl Future<Output = R> {
        refresh_async(self.body.0)
    }

    /// Runs the function; the cache is neither read nor written.
    pub fn uncached(self) -> impl Future<Output = R> {
        bypass_async(self.body.0)
    }
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
