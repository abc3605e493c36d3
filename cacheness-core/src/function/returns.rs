//! What of a result is stored: decided by its type, so that aliases of `Result` and `Option` work.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use super::attribute::CallMetadata;
use super::choice::Choice;
use super::sharing::Shares;
use crate::cache::ValueCodec;
use crate::error::CacheError;

/// Which part of a result is stored, and how the result is made from it again.
pub trait ResultPolicy<R> {
    /// What is stored.
    type Stored: 'static;

    /// Whether there is something to store.
    fn keeps(result: &R) -> bool;

    /// The part that is stored, if there is one.
    fn stored(result: &R) -> Option<&Self::Stored>;

    /// What is stored, or the result if nothing is.
    ///
    /// # Errors
    /// The result, if nothing of it is stored.
    fn split(result: R) -> Result<Self::Stored, R>;

    /// The result whose stored part this is.
    fn rebuild(stored: Self::Stored) -> R;
}

/// Stores the whole result.
#[derive(Debug)]
pub enum Whole {}

/// Stores what is in `Ok`.
#[derive(Debug)]
pub enum OkOnly {}

/// Stores what is in `Some`.
#[derive(Debug)]
pub enum SomeOnly {}

impl<R: 'static> ResultPolicy<R> for Whole {
    type Stored = R;

    fn keeps(_: &R) -> bool {
        true
    }

    fn stored(result: &R) -> Option<&R> {
        Some(result)
    }

    fn split(result: R) -> Result<R, R> {
        Ok(result)
    }

    fn rebuild(stored: R) -> R {
        stored
    }
}

impl<T: 'static, E> ResultPolicy<Result<T, E>> for OkOnly {
    type Stored = T;

    fn keeps(result: &Result<T, E>) -> bool {
        result.is_ok()
    }

    fn stored(result: &Result<T, E>) -> Option<&T> {
        result.as_ref().ok()
    }

    fn split(result: Result<T, E>) -> Result<T, Result<T, E>> {
        result.map_err(Err)
    }

    fn rebuild(stored: T) -> Result<T, E> {
        Ok(stored)
    }
}

impl<T: 'static> ResultPolicy<Option<T>> for SomeOnly {
    type Stored = T;

    fn keeps(result: &Option<T>) -> bool {
        result.is_some()
    }

    fn stored(result: &Option<T>) -> Option<&T> {
        result.as_ref()
    }

    fn split(result: Option<T>) -> Result<T, Option<T>> {
        result.ok_or(None)
    }

    fn rebuild(stored: T) -> Option<T> {
        Some(stored)
    }
}

/// What a function that returns `R` does with its results.
pub struct CallPlan<'h, R, S: ResultPolicy<R>, C = fn(&R) -> bool, F = NeverStale> {
    pub(super) condition: C,
    pub(super) on_error: Option<fn(CacheError) -> R>,
    pub(super) failing: F,
    /// How results that are not stored are given to those who waited.
    pub(super) shares: Option<Shares<R>>,
    /// How results are stored.
    pub(super) codec: ValueCodec<'h, S::Stored>,
}

impl<R, S: ResultPolicy<R>, C, F> fmt::Debug for CallPlan<'_, R, S, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallPlan").field("strict", &self.on_error.is_some()).finish_non_exhaustive()
    }
}

impl<'h, R, S: ResultPolicy<R>> CallPlan<'h, R, S> {
    pub(super) fn new(codec: ValueCodec<'h, S::Stored>) -> Self {
        Self { condition: |_| true, on_error: None, failing: NeverStale, shares: None, codec }
    }
}

impl<'h, R, S: ResultPolicy<R>, C, F> CallPlan<'h, R, S, C, F> {
    /// Stores only results that meet the condition.
    pub fn only_if<D: FnOnce(&R) -> bool>(self, condition: D) -> CallPlan<'h, R, S, D, F> {
        let Self { on_error, failing, shares, codec, .. } = self;
        CallPlan { condition, on_error, failing, shares, codec }
    }

    /// The stored part says how long it lives; one whose TTL is zero is not stored.
    pub fn lives<'x, L>(
        self,
        metadata: &'x CallMetadata,
        ttl: impl FnOnce(&S::Stored) -> L + 'x,
        lifetime: fn(L) -> Option<Duration>,
    ) -> CallPlan<'h, R, S, impl FnOnce(&R) -> bool + 'x, F>
    where
        C: FnOnce(&R) -> bool + 'x,
        L: 'x,
    {
        let Self { condition, on_error, failing, shares, codec } = self;
        let condition = move |result: &R| {
            let stored = S::stored(result).filter(|_| condition(result));
            let Some(ttl) = stored.map(|stored| lifetime(ttl(stored))) else { return false };
            ttl.iter().for_each(|ttl| metadata.ttl(*ttl));
            true
        };
        CallPlan { condition, on_error, failing, shares, codec }
    }

    /// Returns an expired value where the function fails.
    pub fn stale_on_error(self) -> CallPlan<'h, R, S, C, StaleOnError<R>>
    where
        R: MayFail,
    {
        let Self { condition, on_error, shares, codec, .. } = self;
        CallPlan { condition, on_error, failing: StaleOnError(R::has_failed), shares, codec }
    }

    /// Returns errors of the cache to the caller.
    #[must_use]
    pub fn strict(self) -> Self
    where
        R: FromCacheError,
    {
        Self { on_error: Some(R::from_cache_error), ..self }
    }

    /// Gives results that are not stored to those who waited.
    #[must_use]
    pub fn shared(self, shares: Option<Shares<R>>) -> Self {
        Self { shares, ..self }
    }

    /// The result that an error of the cache becomes, if the caller is to see it.
    pub(super) fn refusal(&self, error: &CacheError) -> Option<R> {
        self.on_error.map(|result_of| result_of(error.clone()))
    }
}

/// A result that an error of the cache can become.
#[diagnostic::on_unimplemented(
    message = "`ignore_errors = false` needs a return type of `Result<T, E>` with `E: From<CacheError>`",
    label = "`{Self}` cannot hold an error of the cache",
    note = "implement `From<cacheness::CacheError>` for the error type, or remove `ignore_errors = false`"
)]
pub trait FromCacheError {
    /// The result that the error becomes.
    fn from_cache_error(error: CacheError) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T, E: From<CacheError>> FromCacheError for Result<T, E> {
    fn from_cache_error(error: CacheError) -> Self {
        Err(error.into())
    }
}

/// Which results are failures that an expired value may stand in for.
pub trait Failing<R> {
    /// What is kept of a failure while an expired value is looked for.
    type Failure;

    /// The result, if it is none.
    ///
    /// # Errors
    /// The failure.
    fn sort(self, result: R) -> Result<R, Self::Failure>;

    /// The failure as a result.
    fn result_of(failure: Self::Failure) -> R;
}

/// Every result is returned. A type of its own, so that a future holds no failure which is not `Send`.
#[derive(Debug)]
pub struct NeverStale;

impl<R> Failing<R> for NeverStale {
    type Failure = Infallible;

    fn sort(self, result: R) -> Result<R, Infallible> {
        Ok(result)
    }

    fn result_of(failure: Infallible) -> R {
        match failure {}
    }
}

/// A failure is returned only if there is no expired value. A function pointer recognizes failures, and no bound: the compiler
/// would report one that is not met once for the call and once for waiting.
#[derive(Debug)]
pub struct StaleOnError<R>(fn(&R) -> bool);

impl<R> Failing<R> for StaleOnError<R> {
    type Failure = R;

    fn sort(self, result: R) -> Result<R, R> {
        if (self.0)(&result) { Err(result) } else { Ok(result) }
    }

    fn result_of(failure: R) -> R {
        failure
    }
}

/// A result that may be an `Err`.
#[diagnostic::on_unimplemented(
    message = "`stale_on_error` needs a return type of `Result<T, E>`",
    label = "`{Self}` has no `Err` that an expired value could stand in for",
    note = "return a `Result`, or remove `stale_on_error`"
)]
pub trait MayFail {
    /// Whether it is an `Err`.
    fn has_failed(&self) -> bool;
}

#[diagnostic::do_not_recommend]
impl<T, E> MayFail for Result<T, E> {
    fn has_failed(&self) -> bool {
        self.is_err()
    }
}

/// The return type of a function, to be asked for a plan. Method lookup finds `Result` and `Option` first and any other
/// type one deref later.
#[derive(Debug)]
pub struct Returns<R>(AnyType<R>);

/// A return type that is stored whole.
#[derive(Debug)]
pub struct AnyType<R>(PhantomData<fn() -> R>);

impl<R> Returns<R> {
    /// The return type.
    #[allow(clippy::new_without_default, reason = "only expansions make one")]
    pub fn new() -> Self {
        Self(AnyType(PhantomData))
    }
}

impl<T, E> Returns<Result<T, E>> {
    /// Stores what is in `Ok`.
    pub fn plan(&self) -> Choice<Result<T, E>, OkOnly> {
        Choice::new()
    }

    /// Stores what is in `Ok`, which is no `Option`.
    pub fn plan_none(&self) -> Choice<Result<T, E>, OkOnly> {
        Choice::new()
    }
}

impl<T> Returns<Option<T>> {
    /// Stores what is in `Some`.
    pub fn plan(&self) -> Choice<Option<T>, SomeOnly> {
        Choice::new()
    }

    /// Stores what is in `Some`, which is no `Result`.
    pub fn plan_err(&self) -> Choice<Option<T>, SomeOnly> {
        Choice::new()
    }
}

impl<R> AnyType<R> {
    /// Stores the result.
    pub fn plan(&self) -> Choice<R, Whole> {
        Choice::new()
    }

    /// Stores the result, also `None`.
    pub fn plan_none(&self) -> Choice<R, Whole> {
        Choice::new()
    }

    /// Stores the result, also `Err`.
    pub fn plan_err(&self) -> Choice<R, Whole> {
        Choice::new()
    }

    /// Stores the result, whatever it is.
    pub fn plan_all(&self) -> Choice<R, Whole> {
        Choice::new()
    }
}

impl<R> Deref for Returns<R> {
    type Target = AnyType<R>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Tells the compiler what an `async` block returns; never called.
pub fn output<R>() -> R {
    loop {
        std::thread::park();
    }
}
