//! One call of a cached function, from the key to the result.

use std::ops::Deref;
use std::time::Duration;

use super::attribute::{CallMetadata, Lifetime, Site, SiteFlight};
use super::default::IsolationHint;
use super::default::default_cache;
use super::default::{Current, current_as, report_without_cache};
use super::handle::Function;
use super::returns::{CallPlan, Failing, ResultPolicy};
use super::sharing::Shares;
use super::{Mode, current_mode, within};
use crate::cache::Cache;
use crate::cache::{Attempt, Flight, PutOptions, Turn, ValueCodec};
use crate::engine::Fence;
use crate::engine::flight::{Joined, Leader, Outcome};
use crate::error::{CacheError, Result};
use crate::key::{Key, KeyWriter};

pub(super) const OPENING: &str = "open the cache for a function call";
pub(super) const KEYING: &str = "make the key of a function call";
pub(super) const READING: &str = "read a function result";
pub(super) const READING_STALE: &str = "read an expired function result";
pub(super) const WRITING: &str = "store a function result";

/// One call of a cached function, with its key written.
pub struct Call<'c, K = &'c mut KeyWriter> {
    pub(super) key: K,
    pub(super) cache: Option<&'c Cache>,
    pub(super) options: CallOptions<'c>,
}

/// The options of a call, and whom it counts for.
#[derive(Debug)]
pub(super) struct CallOptions<'c> {
    pub(super) site: &'static Site,
    pub(super) function: &'static Function,
    pub(super) ttl: Option<Duration>,
    metadata: Option<&'c CallMetadata>,
    /// Asked when the call is made.
    pub(super) isolation: IsolationHint,
}

impl CallOptions<'_> {
    /// Remembers which cache the function used.
    #[inline]
    fn uses(&self, cache: &Cache) {
        match self.isolation {
            IsolationHint::None => self.function.uses(cache),
            IsolationHint::Some => self.function.uses_in_scope(cache),
        }
    }

    #[inline]
    fn count_hit(&self) {
        match self.isolation {
            IsolationHint::None => self.function.hits.count(),
            IsolationHint::Some => self.function.count_in_scope(&self.function.hits, |calls| &mut calls.hits),
        }
    }

    pub(super) fn count_miss(&self) {
        match self.isolation {
            IsolationHint::None => self.function.misses.count(),
            IsolationHint::Some => self.function.count_in_scope(&self.function.misses, |calls| &mut calls.misses),
        }
    }

    fn count_stale(&self) {
        match self.isolation {
            IsolationHint::None => self.function.stale.count(),
            IsolationHint::Some => self.function.count_in_scope(&self.function.stale, |calls| &mut calls.stale),
        }
    }
}

/// The answer of memory to a call.
enum InMemory<R> {
    Hit(R),
    Miss,
    /// The cache is not open, or the key takes I/O to make.
    NotAsked,
}

/// The cache that a call uses.
#[derive(Debug)]
pub(super) enum CacheRef<'c> {
    Given(&'c Cache),
    Default(Current),
    Opened(Cache),
}

impl Deref for CacheRef<'_> {
    type Target = Cache;

    #[inline]
    fn deref(&self) -> &Cache {
        match self {
            Self::Given(cache) => cache,
            Self::Default(cache) => cache,
            Self::Opened(cache) => cache,
        }
    }
}

impl CacheRef<'_> {
    /// The same cache for as long as the body runs: what replaces the default cache must not wait for that.
    fn kept(self) -> Self {
        match self {
            Self::Default(cache) => Self::Opened(cache.clone()),
            used => used,
        }
    }
}

/// A call whose key and cache are resolved.
#[derive(Debug)]
pub(super) struct ResolvedCall<'c, T: 'static> {
    pub(super) cache: CacheRef<'c>,
    pub(super) key: Key,
    pub(super) options: CallOptions<'c>,
    pub(super) mode: Mode,
    /// How results are stored.
    pub(super) codec: ValueCodec<'c, T>,
}

impl<'c, K> Call<'c, K> {
    pub(super) fn new(key: K, site: &'static Site, function: &'static Function) -> Self {
        Self {
            key,
            cache: None,
            options: CallOptions { site, function, ttl: site.ttl, metadata: None, isolation: IsolationHint::now() },
        }
    }

    /// Uses this cache instead of the default one.
    pub fn cache(&mut self, cache: &'c Cache) {
        self.cache = Some(cache);
    }

    /// Results of this call live so long; not at all if that is no time.
    pub fn ttl(&mut self, ttl: impl Lifetime) {
        self.options.ttl = ttl.lifetime().or(self.options.ttl);
    }

    /// Where the function records metadata of its result.
    #[must_use]
    #[inline]
    pub fn metadata(mut self, metadata: &'c CallMetadata) -> Self {
        self.options.metadata = Some(metadata);
        self
    }
}

impl<'c> Call<'c> {
    /// Answers the call from the cache, or runs the body and stores its result.
    #[inline]
    pub fn run<R, S: ResultPolicy<R>, C: FnOnce(&R) -> bool, F: Failing<R>>(
        mut self,
        plan: CallPlan<'c, R, S, C, F>,
        body: impl FnOnce() -> R,
    ) -> R {
        let codec = plan.codec;
        let mode = current_mode();
        let body = || if mode == Mode::Usual { body() } else { within(Mode::Usual, body) };
        if mode == Mode::Bypass {
            return body();
        }
        let attempt = match mode {
            Mode::Usual => match self.in_memory::<R, S>(&codec) {
                InMemory::Hit(result) => return result,
                InMemory::Miss => Attempt::AfterMemory,
                InMemory::NotAsked => Attempt::First,
            },
            _ => Attempt::First,
        };
        let call = match self.resolve(mode, codec) {
            Ok(call) => call,
            Err(error) => return plan.refusal(&error).unwrap_or_else(body),
        };
        if mode == Mode::Refresh {
            return call.for_long().compute(plan, body, None).0;
        }
        match call.get::<R, S>(attempt) {
            Ok(Some(result)) => result,
            Ok(None) => call.for_long().missed(plan, body),
            Err(error) => match plan.refusal(&error) {
                Some(refusal) => refusal,
                None => {
                    call.cache.report(READING, &error);
                    call.for_long().missed(plan, body)
                }
            },
        }
    }

    /// Looks into memory before the key itself is made: its identity is enough.
    #[inline]
    fn in_memory<R, S: ResultPolicy<R>>(&mut self, codec: &ValueCodec<'_, S::Stored>) -> InMemory<R> {
        if !codec.may_be_in_memory() {
            return InMemory::NotAsked;
        }
        let current;
        let cache = match self.cache {
            Some(cache) => cache,
            None => match current_as(self.options.isolation) {
                Some(cache) => {
                    current = cache;
                    &current
                }
                None => return InMemory::NotAsked,
            },
        };
        self.key.narrow(&cache.key_rules());
        let Some(identity) = self.key.identity() else { return InMemory::NotAsked };
        match cache.get_in_memory(identity, self.options.ttl, codec) {
            Some(Some(stored)) => {
                self.options.uses(cache);
                self.options.count_hit();
                InMemory::Hit(S::rebuild(stored))
            }
            Some(None) => InMemory::Miss,
            None => InMemory::NotAsked,
        }
    }

    /// Resolves cache and key. A failure has been reported.
    fn resolve<T: 'static>(self, mode: Mode, codec: ValueCodec<'c, T>) -> Result<ResolvedCall<'c, T>> {
        let cache = match self.cache {
            Some(cache) => CacheRef::Given(cache),
            None => match current_as(self.options.isolation) {
                Some(cache) => CacheRef::Default(cache),
                None => CacheRef::Opened(default_cache().inspect_err(|error| report_without_cache(OPENING, error))?),
            },
        };
        self.key.narrow(&cache.key_rules());
        let key = self.key.key().inspect_err(|error| cache.report(KEYING, error))?;
        Ok(ResolvedCall::new(cache, key, self.options, mode, codec))
    }
}

impl<'c, T: 'static> ResolvedCall<'c, T> {
    pub(super) fn new(
        cache: CacheRef<'c>,
        key: Key,
        options: CallOptions<'c>,
        mode: Mode,
        codec: ValueCodec<'c, T>,
    ) -> Self {
        options.uses(&cache);
        Self { cache, key, options, mode, codec }
    }

    fn get<R, S: ResultPolicy<R, Stored = T>>(&self, attempt: Attempt) -> Result<Option<R>> {
        let stored = self.cache.get_by_key(&self.key, self.options.ttl, self.codec, attempt)?;
        Ok(stored.map(|stored| self.hit::<R, S>(stored)))
    }

    /// The same call, which is a miss.
    pub(super) fn for_long(self) -> Self {
        Self { cache: self.cache.kept(), ..self }
    }

    pub(super) fn hit<R, S: ResultPolicy<R, Stored = T>>(&self, stored: T) -> R {
        self.options.count_hit();
        S::rebuild(stored)
    }

    #[cold]
    fn missed<R, S: ResultPolicy<R, Stored = T>, C: FnOnce(&R) -> bool, F: Failing<R>>(
        self,
        plan: CallPlan<'c, R, S, C, F>,
        body: impl FnOnce() -> R,
    ) -> R {
        let shares = plan.shares;
        match self.join() {
            Joined::Alone => self.compute(plan, body, None).0,
            Joined::Leader(leader) => {
                // All that may call this function again happens inside the leader, also conditions, `Serialize` and `Clone`.
                let look = || self.get::<R, S>(Attempt::Again);
                let usual = Some(&self.options.function.usual);
                let (result, outcome) = leader.run(|| match self.cache.turn(&self.key, self.flight(), usual, look) {
                    Turn::Take(result) => (result, Outcome::Stored),
                    Turn::Compute(computing) => {
                        let (result, outcome) = self.compute(plan, body, Some((&leader, computing.fence())));
                        computing.end(&outcome);
                        let outcome = shared(outcome, &result, shares, &leader, || self.key.check_sources().is_ok());
                        (result, outcome)
                    }
                });
                leader.complete(outcome);
                result
            }
            // What panicked said nothing about the result, so one that comes now is stored.
            Joined::Completed(Outcome::Panicked) => self.compute(plan, body, None).0,
            Joined::Completed(outcome) => self
                .after_completion::<R, S>(outcome, shares)
                .unwrap_or_else(|| self.only_answer::<R, S, F>(plan.failing, body)),
        }
    }

    /// Which processes the flight of this call spans.
    pub(super) fn flight(&self) -> Flight {
        if self.options.site.flight == SiteFlight::Global { Flight::Global } else { Flight::OfCache }
    }

    fn join(&self) -> Joined<Key> {
        if self.options.site.flight != SiteFlight::None {
            self.cache.in_flight().join(&self.key, Some(&self.options.function.usual))
        } else {
            Joined::Alone
        }
    }

    fn after_completion<R, S: ResultPolicy<R, Stored = T>>(
        &self,
        outcome: Outcome,
        shares: Option<Shares<R>>,
    ) -> Option<R> {
        match outcome {
            Outcome::Stored => self.get::<R, S>(Attempt::Again).ok().flatten(),
            Outcome::Stale => self.get_stale::<R, S>(),
            outcome => taken(&outcome, shares),
        }
    }

    /// An expired value in place of a result. The function has failed or its leader has: no error of the cache changes
    /// what the caller is recorded.
    fn get_stale<R, S: ResultPolicy<R, Stored = T>>(&self) -> Option<R> {
        let stored = self.cache.get_stale_by_key(&self.key, self.codec);
        self.stale::<R, S>(stored)
    }

    pub(super) fn stale<R, S: ResultPolicy<R, Stored = T>>(&self, stored: Result<Option<T>>) -> Option<R> {
        let stored = stored.inspect_err(|error| self.cache.report(READING_STALE, error)).ok().flatten()?;
        self.options.count_stale();
        log::debug!("`{}` failed: an expired result stands in", self.options.function.scope());
        Some(S::rebuild(stored))
    }

    /// An expired value in place of a failure, unless the caller asked for what the body says.
    fn stale_or_failure<R, S: ResultPolicy<R, Stored = T>, F: Failing<R>>(&self, failure: F::Failure) -> (R, Outcome) {
        match (self.mode == Mode::Usual).then(|| self.get_stale::<R, S>()).flatten() {
            Some(result) => (result, Outcome::Stale),
            None => (F::result_of(failure), Outcome::NotStored(None)),
        }
    }

    /// Runs the body and stores nothing.
    fn only_answer<R, S: ResultPolicy<R, Stored = T>, F: Failing<R>>(&self, failing: F, body: impl FnOnce() -> R) -> R {
        failing.sort(self.only_run(body)).unwrap_or_else(|failure| self.stale_or_failure::<R, S, F>(failure).0)
    }

    fn only_run<R>(&self, body: impl FnOnce() -> R) -> R {
        self.options.count_miss();
        body()
    }

    /// Runs the body and stores what there is to store, unless another leader has ended the flight: what is stored by now
    /// is newer, as this run began before.
    fn compute<R, S: ResultPolicy<R, Stored = T>, C: FnOnce(&R) -> bool, F: Failing<R>>(
        &self,
        plan: CallPlan<'c, R, S, C, F>,
        body: impl FnOnce() -> R,
        lead: Option<(&Leader<Key>, Option<Fence>)>,
    ) -> (R, Outcome) {
        let (leader, fence) = lead.unzip();
        let result = self.only_run(body);
        let on_error = plan.on_error;
        let value = match next::<R, S, C, F>(result, plan) {
            Ok(Next::Store(value)) => value,
            Ok(Next::ServeStale(failure)) => return self.stale_or_failure::<R, S, F>(failure),
            Err(result) => return (result, Outcome::NotStored(None)),
        };
        let Some(options) = self.put_options() else { return (S::rebuild(value), Outcome::NotStored(None)) };
        if !self.cache.is_current(&self.key, WRITING) || leader.is_some_and(Leader::is_completed) {
            return (S::rebuild(value), Outcome::NotStored(None));
        }
        let options = PutOptions { fence: fence.flatten(), ..options };
        match self.cache.put_by_key(&self.key, &value, options, self.codec) {
            Ok(()) => (S::rebuild(value), Outcome::Stored),
            Err(error) => (self.not_stored::<R, S>(value, &error, on_error), Outcome::NotStored(None)),
        }
    }

    pub(super) fn not_stored<R, S: ResultPolicy<R, Stored = T>>(
        &self,
        value: T,
        error: &CacheError,
        on_error: Option<fn(CacheError) -> R>,
    ) -> R {
        match on_error {
            Some(result_of) => result_of(error.clone()),
            None => {
                self.cache.report(WRITING, error);
                S::rebuild(value)
            }
        }
    }

    /// What is stored beside the value. `None` if the TTL of the result is zero, so that it is not stored.
    pub(super) fn put_options(&self) -> Option<PutOptions> {
        let recorded = self.options.metadata.map(CallMetadata::take).unwrap_or_default();
        let ttl = recorded.ttl.or(self.options.ttl);
        if ttl.is_some_and(|ttl| ttl.is_zero()) {
            return None;
        }
        Some(PutOptions {
            ttl,
            function: Some(self.options.function.scope().to_string()),
            prefix: self.options.site.prefix.map(str::to_owned),
            tags: recorded.tags,
            metadata: recorded.metadata,
            params: recorded.params,
            ..PutOptions::default()
        })
    }
}

/// The outcome, with a copy of a result that is not stored for those who wait. They may have made the key of other files
/// with the same content: what was made while its own files changed is not for them.
pub(super) fn shared<R>(
    outcome: Outcome,
    result: &R,
    shares: Option<Shares<R>>,
    leader: &Leader<Key>,
    is_current: impl FnOnce() -> bool,
) -> Outcome {
    match (outcome, shares) {
        (Outcome::NotStored(None), Some(shares)) if leader.is_awaited() && is_current() => {
            Outcome::NotStored(shares.give(result))
        }
        (outcome, _) => outcome,
    }
}

/// A copy of the result of another call, if it was shared.
pub(super) fn taken<R>(outcome: &Outcome, shares: Option<Shares<R>>) -> Option<R> {
    let Outcome::NotStored(Some(shared)) = outcome else { return None };
    shares?.take(shared)
}

/// What is to be done before a result is recorded.
pub(super) enum Next<T, F> {
    Store(T),
    ServeStale(F),
}

/// What is to be done, or the result if nothing is.
pub(super) fn next<R, S: ResultPolicy<R>, C: FnOnce(&R) -> bool, F: Failing<R>>(
    result: R,
    plan: CallPlan<'_, R, S, C, F>,
) -> Result<Next<S::Stored, F::Failure>, R> {
    match plan.failing.sort(result) {
        Err(failure) => Ok(Next::ServeStale(failure)),
        Ok(result) if S::keeps(&result) && (plan.condition)(&result) => S::split(result).map(Next::Store),
        Ok(result) => Err(result),
    }
}
