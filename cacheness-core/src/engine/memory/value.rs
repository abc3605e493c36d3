//! What is known of a value in memory: how its type is cloned, and until when it may be used.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Held;
use crate::clock::{Clock, ROUGHLY, Timestamp};
use crate::entry::Core;
use crate::entry::policy::{Verdict, judge, starts_at};
use crate::util::threads::contained;

/// How values of a type are put into memory and cloned out of it, as function pointers: callers need not repeat the bounds
/// of the type, and those without one do without memory.
pub(crate) struct CloneOps<T> {
    clone: fn(&T) -> T,
    hold: fn(T, Held<()>) -> Arc<Held>,
}

impl<T: Clone + Send + Sync + 'static> CloneOps<T> {
    /// By cloning.
    pub(crate) const fn cloned() -> Self {
        Self { clone: T::clone, hold: hold::<T> }
    }
}

fn hold<T: Any + Send + Sync>(value: T, about: Held<()>) -> Arc<Held> {
    let Held { key, freshness, used, value: () } = about;
    Arc::new(Held { key, freshness, used, value: Quiet(Some(value)) })
}

/// A value in memory. What takes it out is the call of somebody else, the thread that flushes or the end of the process:
/// a panic of its `Drop` ends here.
struct Quiet<T>(Option<T>);

impl<T> Drop for Quiet<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        if contained(|| drop(value)).is_none() {
            log::debug!("the `Drop` of a value in memory panicked");
        }
    }
}

thread_local! {
    static CLONING: Cell<bool> = const { Cell::new(false) };
}

/// While this thread clones a value. Its `Clone` may read the cache: that gets no values from memory and inserts none, since
/// cloning the same value inside itself would never end.
struct Cloning;

impl Cloning {
    #[inline]
    fn begin() -> Option<Self> {
        (!CLONING.replace(true)).then(|| Self)
    }
}

impl Drop for Cloning {
    #[inline]
    fn drop(&mut self) {
        CLONING.set(false);
    }
}

impl<T> CloneOps<T> {
    /// A clone. `None` if `Clone` panics, or inside of another clone: the store has the value.
    #[inline(always)]
    pub(crate) fn clone_value(&self, value: &T) -> Option<T> {
        let _cloning = Cloning::begin()?;
        contained(|| (self.clone)(value))
    }

    pub(super) fn hold(&self, value: T, about: Held<()>) -> Arc<Held> {
        (self.hold)(value, about)
    }

    /// A clone of the value, if it is a `T`.
    pub(super) fn clone_of(&self, held: &Held) -> Option<T>
    where
        T: 'static,
    {
        let Quiet(value) = held.value.downcast_ref()?;
        self.clone_value(value.as_ref()?)
    }
}

impl<T> Clone for CloneOps<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for CloneOps<T> {}

impl<T> fmt::Debug for CloneOps<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CloneOps")
    }
}

/// What a value takes beside its bytes: its key, its places in the map and in the order of eviction, what is known of it.
const OVERHEAD: u64 = 512;

/// What a value in memory may be used for, and what it weighs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freshness {
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    ttl: Option<Duration>,
    /// When it is to be read from the index again.
    reread_at: Option<Timestamp>,
    /// For a reader that narrows nothing, it is fresh from here to here: worked out once, for every hit asks.
    from: Timestamp,
    until: Timestamp,
    pub(super) bytes: u64,
}

impl Freshness {
    /// Those of a value with this record, kept now, and not longer than the tier allows.
    pub(super) fn of(core: &Core, longest: Option<Duration>, now: Timestamp) -> Self {
        let reread_at = longest.map(|longest| now.after(longest));
        let start = core.expires_at.map(|end| starts_at(core.created_at, end));
        // A clock that was set back must not let it stay longer than the tier allows.
        let from = start.into_iter().chain(reread_at.map(|_| now)).max();
        Self {
            created_at: core.created_at,
            expires_at: core.expires_at,
            ttl: core.expires_at.map(|end| end.since(core.created_at)),
            reread_at,
            from: from.unwrap_or(Timestamp::MIN),
            until: core.expires_at.into_iter().chain(reread_at).min().unwrap_or(Timestamp::MAX),
            bytes: weight_of(core.raw_size),
        }
    }

    /// Whether a value with these is as good as one of the same record with the others.
    pub(super) fn serve_as_long_as(&self, others: &Self) -> bool {
        (self.from, self.until) == (others.from, others.until)
    }

    /// The time, if the value may be given out now to a reader with this time to live.
    #[inline]
    pub(super) fn fresh_at(&self, reader_ttl: Option<Duration>, clock: &dyn Clock) -> Option<Timestamp> {
        let narrows = reader_ttl.is_some_and(|readers| self.ttl.is_none_or(|own| readers < own));
        let roughly = clock.roughly();
        // Where a few milliseconds decide nothing, the exact time need not be asked for.
        if !narrows && self.from <= roughly && roughly.after(ROUGHLY) < self.until {
            return Some(roughly);
        }
        self.exactly_fresh_at(reader_ttl, clock)
    }

    fn exactly_fresh_at(&self, reader_ttl: Option<Duration>, clock: &dyn Clock) -> Option<Timestamp> {
        let now = clock.now();
        let is_kept = self.reread_at.is_none_or(|at| now < at && self.from <= now);
        let fresh = is_kept && judge(self.created_at, self.expires_at, reader_ttl, now) == Verdict::Fresh;
        fresh.then_some(now)
    }
}

pub(super) fn weight_of(raw_size: u64) -> u64 {
    raw_size.saturating_add(OVERHEAD)
}
