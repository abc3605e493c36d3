//! [`Call::run`] as a future.
//!
//! The body is a closure that makes the user's future: only a miss makes it, in a box of its own, as the rest
//! of the way a miss goes is in another. So the future of a cached function is small, and only as `Send` as its body.

use super::call::{Call, KEYING, Next, OPENING, READING, Ready, Used, WRITING, next, shared, taken};
use super::memory::Memory;
use super::mode::{self, Mode};
use super::returns::{Failing, Plan, Strategy};
use super::sharing::Shares;
use crate::cache::{Cache, Look, Means};
use crate::engine::flight::{Boarding, Landing, Lead};
use crate::error::Result;
use crate::function::default::{current_as, default_cache, report_without_cache};
use crate::function::isolation::Suspicion;
use crate::key::{Key, PendingKey};
use crate::util::threads;

impl<'c> Call<'c, PendingKey> {
    /// Answers the call from the cache, or runs the body and stores its result.
    pub async fn run_async<
        R,
        S: Strategy<R>,
        M: Memory<S::Stored> + 'c,
        C: FnOnce(&R) -> bool,
        F: Failing<R>,
        B: Future<Output = R>,
    >(
        self,
        plan: Plan<R, S, M, C, F>,
        body: impl FnOnce() -> B,
    ) -> R {
        let (means, plan) = (plan.means(), plan.rest());
        let mode = mode::current();
        if mode == Mode::Bypass {
            return mode::within_async(Mode::Usual, Box::pin(body())).await;
        }
        let ready = match self.ready_async(mode, means).await {
            Ok(ready) => ready,
            Err(error) => {
                if let Some(refusal) = plan.refusal(&error) {
                    return refusal;
                }
                return mode::within_async(Mode::Usual, Box::pin(body())).await;
            }
        };
        if mode == Mode::Usual {
            match ready.recall_async::<R, S>().await {
                Ok(Some(result)) => return result,
                Ok(None) => {}
                Err(error) => match plan.refusal(&error) {
                    Some(refusal) => return refusal,
                    None => ready.cache.report(READING, &error),
                },
            }
        }
        Box::pin(ready.for_long().missed_async(plan, body)).await
    }

    /// Resolves cache and key. A failure has been reported.
    async fn ready_async<T: 'static>(mut self, mode: Mode, means: Means<'c, T>) -> Result<Ready<'c, T>> {
        self.order.suspicion = Suspicion::now();
        let cache = match self.cache {
            Some(cache) => Used::Given(cache),
            None => match current_as(self.order.suspicion) {
                Some(cache) => Used::Default(cache),
                None => Used::Opened(open_default().await.inspect_err(|error| report_without_cache(OPENING, error))?),
            },
        };
        let key =
            resolve(self.key.within(&cache.key_rules())).await.inspect_err(|error| cache.report(KEYING, error))?;
        Ok(Ready::new(cache, key, self.order, mode, means))
    }
}

/// Opens the default cache, which is no work for an executor thread.
async fn open_default() -> Result<Cache> {
    threads::blocking(default_cache).await
}

async fn resolve(key: PendingKey) -> Result<Key> {
    if key.needs_io() { threads::blocking(move || key.resolve()).await } else { key.resolve() }
}

impl<T: 'static> Ready<'_, T> {
    async fn recall_async<R, S: Strategy<R, Stored = T>>(&self) -> Result<Option<R>> {
        let stored = self.cache.recall_async(&self.key, self.order.ttl, self.means, Look::First).await?;
        Ok(stored.map(|stored| self.hit::<R, S>(stored)))
    }

    async fn missed_async<
        R,
        S: Strategy<R, Stored = T>,
        C: FnOnce(&R) -> bool,
        F: Failing<R>,
        B: Future<Output = R>,
    >(
        self,
        plan: Plan<R, S, (), C, F>,
        body: impl FnOnce() -> B,
    ) -> R {
        let shares = plan.shares;
        match self.board_async().await {
            Boarding::Alone | Boarding::Landed(Landing::Panicked) => self.compute_async(plan, body, None).await.0,
            Boarding::Lead(lead) => {
                // All that may call this function again happens inside the lead, also conditions, `Serialize` and `Clone`.
                let (result, landing) = lead
                    .run_async(async {
                        if let Some(result) = self.recall_again_async::<R, S>().await {
                            return (result, Landing::Stored);
                        }
                        let (result, landing) = self.compute_async(plan, body, Some(&lead)).await;
                        // Files are not looked at here: that blocks, and the result must not be held across an await.
                        let landing = shared(landing, &result, shares, &lead, || !self.key.has_sources());
                        (result, landing)
                    })
                    .await;
                lead.land(landing);
                result
            }
            Boarding::Landed(landing) => {
                if let Some(result) = self.after_landing_async::<R, S>(landing, shares).await {
                    return result;
                }
                self.only_answer_async::<R, S, F, B>(plan.failing, body).await
            }
        }
    }

    async fn after_landing_async<R, S: Strategy<R, Stored = T>>(
        &self,
        landing: Landing,
        shares: Option<Shares<R>>,
    ) -> Option<R> {
        match landing {
            Landing::Stored => self.recall_again_async::<R, S>().await,
            Landing::Stale => self.recall_stale_async::<R, S>().await,
            landing => taken(&landing, shares),
        }
    }

    async fn board_async(&self) -> Boarding<Key> {
        if self.mode == Mode::Usual && self.order.site.single_flight {
            self.cache.flights().board_async(self.key.clone(), Some(&self.order.function.usual)).await
        } else {
            Boarding::Alone
        }
    }

    /// What is in the cache by now. An error was reported when the call first looked, or is as good as a miss.
    async fn recall_again_async<R, S: Strategy<R, Stored = T>>(&self) -> Option<R> {
        let stored = Box::pin(self.cache.recall_async(&self.key, self.order.ttl, self.means, Look::Again)).await;
        stored.ok().flatten().map(|stored| self.hit::<R, S>(stored))
    }

    /// [`recall_stale`](Self::recall_stale) for a task.
    async fn recall_stale_async<R, S: Strategy<R, Stored = T>>(&self) -> Option<R> {
        let stored = Box::pin(self.cache.recall_stale_async(&self.key, self.means)).await;
        self.stale::<R, S>(stored)
    }

    async fn excuse_async<R, S: Strategy<R, Stored = T>, F: Failing<R>>(&self, failure: F::Failure) -> (R, Landing) {
        if self.mode == Mode::Usual
            && let Some(result) = self.recall_stale_async::<R, S>().await
        {
            return (result, Landing::Stale);
        }
        (F::result_of(failure), Landing::NotStored(None))
    }

    async fn only_answer_async<R, S: Strategy<R, Stored = T>, F: Failing<R>, B: Future<Output = R>>(
        &self,
        failing: F,
        body: impl FnOnce() -> B,
    ) -> R {
        // The result itself is gone before the next await, see `compute_async`.
        let failure = match failing.sort(self.only_run_async(body).await) {
            Ok(result) => return result,
            Err(failure) => failure,
        };
        self.excuse_async::<R, S, F>(failure).await.0
    }

    async fn only_run_async<F: Future>(&self, body: impl FnOnce() -> F) -> F::Output {
        self.order.count_miss();
        // Boxed by itself: recursive functions would otherwise carry it through the stack frame of every step.
        mode::within_async(Mode::Usual, Box::pin(body())).await
    }

    async fn compute_async<
        R,
        S: Strategy<R, Stored = T>,
        C: FnOnce(&R) -> bool,
        F: Failing<R>,
        B: Future<Output = R>,
    >(
        &self,
        plan: Plan<R, S, (), C, F>,
        body: impl FnOnce() -> B,
        lead: Option<&Lead<Key>>,
    ) -> (R, Landing) {
        let result = self.only_run_async(body).await;
        let (on_error, shares) = (plan.on_error, plan.shares);
        let next = match next::<R, S, C, F>(result, plan) {
            Ok(next) => next,
            Err(result) => return (result, Landing::NotStored(None)),
        };
        let value = match next {
            Next::Store(value) => value,
            Next::Excuse(failure) => return self.excuse_async::<R, S, F>(failure).await,
        };
        if !self.cache.is_current_async(&self.key, WRITING).await || lead.is_some_and(Lead::is_over) {
            return (S::rebuild(value), Landing::NotStored(None));
        }
        // The result itself is gone before the next await: an error that is not `Send` must not make the future so.
        let Some(options) = self.put_options() else { return (S::rebuild(value), Landing::NotStored(None)) };
        let (value, stored) = Box::pin(self.cache.retain_async(&self.key, value, options, self.means)).await;
        match stored {
            Ok(()) => (S::rebuild(value), Landing::Stored),
            Err(error) => {
                let result = self.not_stored::<R, S>(value, &error, on_error);
                let landing = Landing::NotStored(None);
                // The files were looked at after the body had run.
                let landing = match lead {
                    Some(lead) => shared(landing, &result, shares, lead, || true),
                    None => landing,
                };
                (result, landing)
            }
        }
    }
}
