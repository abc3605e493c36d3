//! [`Call::run`] as a future.
//!
//! The body is a closure that makes the user's future: only a miss makes it, in a box of its own, as the rest
//! of the way a miss goes is in another. So the future of a cached function is small, and only as `Send` as its body.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::call::{Call, KEYING, OPENING, READING, Ready, keep};
use super::mode::{self, Mode};
use super::returns::{Plan, Strategy};
use crate::default::report_without_cache;
use crate::flight::{Boarding, Landing};
use crate::key::{Key, PendingKey};
use crate::{Cache, Result, default_cache, runtime};

impl<'c> Call<'c> {
    /// Answers the call from the cache, or runs the body and stores its result.
    pub async fn run_async<R, S: Strategy<R>, C: FnOnce(&R) -> bool, F: Future<Output = R>>(
        self,
        plan: Plan<R, S, C>,
        body: impl FnOnce() -> F,
    ) -> R {
        let mode = mode::current();
        if mode == Mode::Bypass {
            return mode::within_async(Mode::Usual, Box::pin(body())).await;
        }
        let ready = match self.ready_async().await {
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
        Box::pin(ready.missed_async(mode, plan, body)).await
    }

    /// Resolves cache and key. A failure has been reported.
    async fn ready_async(self) -> Result<Ready<'c>> {
        let cache = match self.cache {
            Some(cache) => Cow::Borrowed(cache),
            None => Cow::Owned(open_default().await.inspect_err(|error| report_without_cache(OPENING, error))?),
        };
        let key =
            resolve(self.key.within(&cache.key_rules())).await.inspect_err(|error| cache.report(KEYING, error))?;
        Ok(Ready::new(cache, key, self.order))
    }
}

/// The default cache. The first call may open it, which is no work for an executor thread.
async fn open_default() -> Result<Cache> {
    static OPENED: AtomicBool = AtomicBool::new(false);
    if OPENED.load(Ordering::Relaxed) {
        return default_cache();
    }
    let cache = runtime::blocking(default_cache).await?;
    OPENED.store(true, Ordering::Relaxed);
    Ok(cache)
}

async fn resolve(key: PendingKey) -> Result<Key> {
    if key.needs_io() { runtime::blocking(move || key.resolve()).await } else { key.resolve() }
}

impl Ready<'_> {
    async fn recall_async<R, S: Strategy<R>>(&self) -> Result<Option<R>> {
        let stored = self.cache.recall_async::<S::Stored>(&self.key, self.order.ttl).await?;
        Ok(stored.map(|stored| self.hit::<R, S>(stored)))
    }

    async fn missed_async<R, S: Strategy<R>, C: FnOnce(&R) -> bool, F: Future<Output = R>>(
        self,
        mode: Mode,
        plan: Plan<R, S, C>,
        body: impl FnOnce() -> F,
    ) -> R {
        match self.board_async(mode).await {
            Boarding::Alone => self.compute_async(plan, body).await.0,
            Boarding::Lead(lead) => {
                // All that may call this function again happens inside the lead, also conditions and `Serialize`.
                let (result, landing) = lead
                    .run_async(async {
                        if let Some(result) = self.recall_again_async::<R, S>().await {
                            return (result, Landing::Stored);
                        }
                        self.compute_async(plan, body).await
                    })
                    .await;
                lead.land(landing);
                result
            }
            Boarding::Landed(Landing::NotStored) => self.only_run_async(body).await,
            Boarding::Landed(Landing::Stored) => {
                if let Some(result) = self.recall_again_async::<R, S>().await {
                    return result;
                }
                self.only_run_async(body).await
            }
        }
    }

    async fn board_async(&self, mode: Mode) -> Boarding<Key> {
        if mode == Mode::Usual && self.order.site.single_flight {
            self.cache.flights().board_async(self.key.clone()).await
        } else {
            Boarding::Alone
        }
    }

    /// What is in the cache by now. An error was reported when the call first looked, or is as good as a miss.
    async fn recall_again_async<R, S: Strategy<R>>(&self) -> Option<R> {
        let stored = Box::pin(self.cache.recall_again_async::<S::Stored>(&self.key, self.order.ttl)).await;
        stored.ok().flatten().map(|stored| self.hit::<R, S>(stored))
    }

    async fn only_run_async<F: Future>(&self, body: impl FnOnce() -> F) -> F::Output {
        self.order.function.misses.count();
        // Boxed by itself: recursive functions would otherwise carry it through the stack frame of every step.
        mode::within_async(Mode::Usual, Box::pin(body())).await
    }

    async fn compute_async<R, S: Strategy<R>, C: FnOnce(&R) -> bool, F: Future<Output = R>>(
        &self,
        plan: Plan<R, S, C>,
        body: impl FnOnce() -> F,
    ) -> (R, Landing) {
        let result = self.only_run_async(body).await;
        let on_error = plan.on_error;
        let value = match keep::<R, S, C>(result, plan) {
            Ok(value) => value,
            Err(result) => return (result, Landing::NotStored),
        };
        // The result itself is gone before the next await: an error that is not `Send` must not make the future so.
        match Box::pin(self.cache.retain_async(&self.key, &value, self.put_options())).await {
            Ok(()) => (S::rebuild(value), Landing::Stored),
            Err(error) => (self.not_stored::<R, S>(value, &error, on_error), Landing::NotStored),
        }
    }
}
