//! What is known of a value in memory: how its type is cloned, until when it may be used, and when it was used last.
//!
//! Uses are collected here until they are flushed to the index. The first use of a value since the last flush puts it on a
//! list; all later ones write one number.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::Held;
use crate::clock::{Clock, ROUGHLY, Timestamp};
use crate::entry::Core;
use crate::entry::policy::{Verdict, judge, starts_at};
use crate::key::Key;
use crate::util::threads::contained;

/// How values of a type are put into memory and cloned out of it, as function pointers: callers need not repeat the bounds
/// of the type, and those without one do without memory.
pub(crate) struct CloneOps<T> {
    clone: fn(&T) -> T,
    hold: fn(T, Held<()>) -> Arc<Held>,
    /// Bytes that a value takes, where that is more than it takes encoded.
    size: Option<fn(&T) -> u64>,
}

impl<T: Clone + Send + Sync + 'static> CloneOps<T> {
    /// By cloning.
    pub(crate) const fn cloned() -> Self {
        Self { clone: T::clone, hold: hold::<T>, size: None }
    }

    /// What a value weighs is told by itself.
    pub(crate) const fn weighed_by(self, size: fn(&T) -> u64) -> Self {
        Self { size: Some(size), ..self }
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

    /// What an entry says of a value, for memory: by its size there, if that is known and more than it takes encoded.
    pub(crate) fn weighed(&self, value: &T, core: &Core) -> Core {
        let size = self.size.map_or(0, |size| size(value));
        Core { raw_size: core.raw_size.max(size), ..*core }
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

const LISTS: usize = 16;
/// With more than this the next hit flushes: the memory of a removed value is freed only when its `Weak` is. Few get there:
/// writing to disk, evicting and listing flush all uses.
const MANY: usize = 1 << 14;

#[derive(Debug)]
pub(super) struct Use {
    at: AtomicI64,
    listed: AtomicBool,
    /// The value was taken out for a change of its entry.
    ended: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Weak: a value that is gone must not stay for this.
    lists: [Mutex<Vec<Weak<Held>>>; LISTS],
    waiting: AtomicUsize,
}

impl Use {
    pub(super) fn at(now: Timestamp) -> Self {
        Self { at: AtomicI64::new(now.as_micros()), listed: AtomicBool::new(false), ended: AtomicBool::new(false) }
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_micros(self.at.load(Ordering::Relaxed))
    }

    /// When it was used, if that is still to be flushed.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.listed.load(Ordering::SeqCst).then(|| self.time())
    }

    /// No use is recorded from now on. Returns the last one, if that is still to be flushed.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.ended.store(true, Ordering::SeqCst);
        self.last()
    }
}

impl Uses {
    #[inline]
    pub(super) fn note(&self, held: &Arc<Held>, now: Timestamp) {
        let (used, now) = (&held.used, now.as_micros());
        // Many threads that use one value at one time need not write.
        if used.at.load(Ordering::Relaxed) != now {
            used.at.store(now, Ordering::Relaxed);
        }
        if !used.listed.load(Ordering::Relaxed) {
            self.list(held);
        }
    }

    #[cold]
    fn list(&self, held: &Arc<Held>) {
        if !held.used.listed.swap(true, Ordering::SeqCst) && !held.used.ended.load(Ordering::SeqCst) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            lock(&self.lists[held.key.hash() as usize % LISTS]).push(Arc::downgrade(held));
        }
    }

    pub(super) fn are_many(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= MANY
    }

    pub(super) fn flush_uses(&self, mut on_use: impl FnMut(&Key, Timestamp)) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        for list in &self.lists {
            let listed = std::mem::take(&mut *lock(list));
            self.waiting.fetch_sub(listed.len(), Ordering::SeqCst);
            for held in listed.iter().filter_map(Weak::upgrade) {
                // Before the time is read: whoever uses it after that puts it on the list again.
                held.used.listed.store(false, Ordering::SeqCst);
                if !held.used.ended.load(Ordering::SeqCst) {
                    on_use(&held.key, held.used.time());
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
