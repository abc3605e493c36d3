//! [`Call::run`] as a future.
//!
//! The body is a closure that makes the user's future: only a miss makes it, in a box of its own, as the rest
//! of the way a miss goes is in another. So the future of a cached function is small, and only as `Send` as its body.

use super::attribute::SiteFlight;
use super::call::{CacheRef, Call, KEYING, Next, OPENING, READING, ResolvedCall, WRITING, next, shared, taken};
use super::default::IsolationHint;
use super::default::default_cache;
use super::default::{current_as, report_without_cache};
use super::returns::{CallPlan, Failing, ResultPolicy};
use super::sharing::Shares;
use super::{Mode, current_mode, within_async};
use crate::cache::Cache;
use crate::cache::{Attempt, PutOptions, Turn, ValueCodec};
use crate::engine::Fence;
use crate::engine::flight::{Joined, Leader, Outcome};
use crate::error::Result;
use crate::key::{Key, PendingKey};
use crate::util::threads;

impl<'c> Call<'c, PendingKey> {
    /// Answers the call from the cache, or runs the body and stores its result.
    pub async fn run_async<R, S: ResultPolicy<R>, C: FnOnce(&R) -> bool, F: Failing<R>, B: Future<Output = R>>(
        self,
        plan: CallPlan<'c, R, S, C, F>,
        body: impl FnOnce() -> B,
    ) -> R {
        let codec = plan.codec;
        let mode = current_mode();
        if mode == Mode::Bypass {
            return within_async(Mode::Usual, Box::pin(body())).await;
        }
        let call = match self.resolve_async(mode, codec).await {
            Ok(call) => call,
            Err(error) => {
                if let Some(refusal) = plan.refusal(&error) {
                    return refusal;
                }
                return within_async(Mode::Usual, Box::pin(body())).await;
            }
        };
        if mode == Mode::Usual {
            match call.get_async::<R, S>().await {
                Ok(Some(result)) => return result,
                Ok(None) => {}
                Err(error) => match plan.refusal(&error) {
                    Some(refusal) => return refusal,
                    None => call.cache.report(READING, &error),
                },
            }
        }
        Box::pin(call.for_long().missed_async(plan, body)).await
    }

    /// Resolves cache and key. A failure has been reported.
    async fn resolve_async<T: 'static>(mut self, mode: Mode, codec: ValueCodec<'c, T>) -> Result<ResolvedCall<'c, T>> {
        self.options.isolation = IsolationHint::now();
        let cache = match self.cache {
            Some(cache) => CacheRef::Given(cache),
            None => match current_as(self.options.isolation) {
                Some(cache) => CacheRef::Default(cache),
                None => {
                    CacheRef::Opened(open_default().await.inspect_err(|error| report_without_cache(OPENING, error))?)
                }
            },
        };
        let key =
            resolve(self.key.within(&cache.key_rules())).await.inspect_err(|error| cache.report(KEYING, error))?;
        Ok(ResolvedCall::new(cache, key, self.options, mode, codec))
    }
}

/// Opens the default cache, which is no work for an executor thread.
async fn open_default() -> Result<Cache> {
    threads::blocking(default_cache).await
}

async fn resolve(key: PendingKey) -> Result<Key> {
    if key.needs_io() { threads::blocking(move || key.resolve()).await } else { key.resolve() }
}

impl<'c, T: 'static> ResolvedCall<'c, T> {
    async fn get_async<R, S: ResultPolicy<R, Stored = T>>(&self) -> Result<Option<R>> {
        let stored = self.cache.get_by_key_async(&self.key, self.options.ttl, self.codec, Attempt::First).await?;
        Ok(stored.map(|stored| self.hit::<R, S>(stored)))
    }

    async fn missed_async<
        R,
        S: ResultPolicy<R, Stored = T>,
        C: FnOnce(&R) -> bool,
        F: Failing<R>,
        B: Future<Output = R>,
    >(
        self,
        plan: CallPlan<'c, R, S, C, F>,
        body: impl FnOnce() -> B,
    ) -> R {
        let shares = plan.shares;
        match self.join_async().await {
            Joined::Alone | Joined::Completed(Outcome::Panicked) => self.compute_async(plan, body, None).await.0,
            Joined::Leader(leader) => {
                // All that may call this function again happens inside the leader, also conditions, `Serialize` and `Clone`.
                let (result, outcome) = leader
                    .run_async(async {
                        let look = || self.get_again_async::<R, S>();
                        let usual = Some(&self.options.function.usual);
                        let computing = match self.cache.turn_async(&self.key, self.flight(), usual, look).await {
                            Turn::Take(result) => return (result, Outcome::Stored),
                            Turn::Compute(computing) => computing,
                        };
                        let (result, outcome) =
                            self.compute_async(plan, body, Some((&leader, computing.fence()))).await;
                        computing.end(&outcome);
                        // Files are not looked at here: that blocks, and the result must not be held across an await.
                        let outcome = shared(outcome, &result, shares, &leader, || !self.key.has_sources());
                        (result, outcome)
                    })
                    .await;
                leader.complete(outcome);
                result
            }
            Joined::Completed(outcome) => {
                if let Some(result) = self.after_completion_async::<R, S>(outcome, shares).await {
                    return result;
                }
                self.only_answer_async::<R, S, F, B>(plan.failing, body).await
            }
        }
    }

    async fn after_completion_async<R, S: ResultPolicy<R, Stored = T>>(
        &self,
        outcome: Outcome,
        shares: Option<Shares<R>>,
    ) -> Option<R> {
        match outcome {
            Outcome::Stored => self.get_again_async::<R, S>().await.ok().flatten(),
            Outcome::Stale => self.get_stale_async::<R, S>().await,
            outcome => taken(&outcome, shares),
        }
    }

    async fn join_async(&self) -> Joined<Key> {
        if self.mode == Mode::Usual && self.options.site.flight != SiteFlight::None {
            self.cache.in_flight().join_async(self.key.clone(), Some(&self.options.function.usual)).await
        } else {
            Joined::Alone
        }
    }

    /// What is in the cache by now. An error was reported when the call first looked, or is as good as a miss.
    async fn get_again_async<R, S: ResultPolicy<R, Stored = T>>(&self) -> Result<Option<R>> {
        let stored =
            Box::pin(self.cache.get_by_key_async(&self.key, self.options.ttl, self.codec, Attempt::Again)).await;
        Ok(stored?.map(|stored| self.hit::<R, S>(stored)))
    }

    /// [`get_stale`](Self::get_stale) for a task.
    async fn get_stale_async<R, S: ResultPolicy<R, Stored = T>>(&self) -> Option<R> {
        let stored = Box::pin(self.cache.get_stale_by_key_async(&self.key, self.codec)).await;
        self.stale::<R, S>(stored)
    }

    async fn stale_or_failure_async<R, S: ResultPolicy<R, Stored = T>, F: Failing<R>>(
        &self,
        failure: F::Failure,
    ) -> (R, Outcome) {
        if self.mode == Mode::Usual
            && let Some(result) = self.get_stale_async::<R, S>().await
        {
            return (result, Outcome::Stale);
        }
        (F::result_of(failure), Outcome::NotStored(None))
    }

    async fn only_answer_async<R, S: ResultPolicy<R, Stored = T>, F: Failing<R>, B: Future<Output = R>>(
        &self,
        failing: F,
        body: impl FnOnce() -> B,
    ) -> R {
        // The result itself is gone before the next await, see `compute_async`.
        let failure = match failing.sort(self.only_run_async(body).await) {
            Ok(result) => return result,
            Err(failure) => failure,
        };
        self.stale_or_failure_async::<R, S, F>(failure).await.0
    }

    async fn only_run_async<F: Future>(&self, body: impl FnOnce() -> F) -> F::Output {
        self.options.count_miss();
        // Boxed by itself: recursive functions would otherwise carry it through the stack frame of every step.
        within_async(Mode::Usual, Box::pin(body())).await
    }

    async fn compute_async<
        R,
        S: ResultPolicy<R, Stored = T>,
        C: FnOnce(&R) -> bool,
        F: Failing<R>,
        B: Future<Output = R>,
    >(
        &self,
        plan: CallPlan<'c, R, S, C, F>,
        body: impl FnOnce() -> B,
        lead: Option<(&Leader<Key>, Option<Fence>)>,
    ) -> (R, Outcome) {
        let (leader, fence) = lead.unzip();
        let result = self.only_run_async(body).await;
        let (on_error, shares) = (plan.on_error, plan.shares);
        let next = match next::<R, S, C, F>(result, plan) {
            Ok(next) => next,
            Err(result) => return (result, Outcome::NotStored(None)),
        };
        let value = match next {
            Next::Store(value) => value,
            Next::ServeStale(failure) => return self.stale_or_failure_async::<R, S, F>(failure).await,
        };
        if !self.cache.is_current_async(&self.key, WRITING).await || leader.is_some_and(Leader::is_completed) {
            return (S::rebuild(value), Outcome::NotStored(None));
        }
        // The result itself is gone before the next await: an error that is not `Send` must not make the future so.
        let Some(options) = self.put_options() else { return (S::rebuild(value), Outcome::NotStored(None)) };
        let options = PutOptions { fence: fence.flatten(), ..options };
        let (value, stored) = Box::pin(self.cache.put_by_key_async(&self.key, value, options, self.codec)).await;
        match stored {
            Ok(()) => (S::rebuild(value), Outcome::Stored),
            Err(error) => {
                let result = self.not_stored::<R, S>(value, &error, on_error);
                let outcome = Outcome::NotStored(None);
                // The files were looked at after the body had run.
                let outcome = match leader {
                    Some(leader) => shared(outcome, &result, shares, leader, || true),
                    None => outcome,
                };
                (result, outcome)
            }
        }
    }
}
