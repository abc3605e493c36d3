//! Changes and uses of entries that have a value in memory.
//!
//! A slow reader must not insert a value that was replaced meanwhile. So every change of an entry begins and ends here, a
//! reader takes a token before it reads, and a token is void once a change has begun. Keys share stripes: a change of one
//! key may cost another one an insert, never a wrong value.
//!
//! Uses of values are collected here until they are flushed to the index. The first use of a value since the last flush puts
//! it on a list; all later ones write one number.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Held;
use crate::clock::Timestamp;
use crate::key::Key;

const STRIPES: usize = 256;

/// The changes of the keys that share a stripe.
#[derive(Clone, Copy, Debug, Default)]
struct Stripe {
    under_way: u32,
    ended: u64,
}

#[derive(Debug)]
pub(super) struct StripedLock([Mutex<Stripe>; STRIPES]);

/// Permission to insert a value, as long as no change of its entry begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InsertToken {
    hash: u64,
    ended: u64,
}

impl InsertToken {
    /// The same permission for one who makes exactly one change.
    pub(crate) fn after_own_change(self) -> Self {
        Self { ended: self.ended + 1, ..self }
    }
}

impl Default for StripedLock {
    fn default() -> Self {
        Self([const { Mutex::new(Stripe { under_way: 0, ended: 0 }) }; STRIPES])
    }
}

impl StripedLock {
    /// Begins a change; `take_out` runs before anybody can put something in.
    pub(super) fn begin(&self, hash: u64, take_out: impl FnOnce()) {
        let mut stripe = self.of(hash);
        stripe.under_way += 1;
        take_out();
    }

    pub(super) fn end(&self, hash: u64) {
        let mut stripe = self.of(hash);
        stripe.under_way -= 1;
        stripe.ended += 1;
    }

    /// Ends every permission that was given, for what became of the entries is not known.
    pub(super) fn revoke_all(&self) {
        for stripe in &self.0 {
            stripe.lock().unwrap_or_else(PoisonError::into_inner).ended += 1;
        }
    }

    pub(super) fn insert_token(&self, hash: u64) -> Option<InsertToken> {
        let stripe = self.of(hash);
        (stripe.under_way == 0).then_some(InsertToken { hash, ended: stripe.ended })
    }

    /// Runs `put_in` if nothing has changed since the token was given.
    pub(super) fn if_valid(&self, token: InsertToken, put_in: impl FnOnce()) {
        let stripe = self.of(token.hash);
        if stripe.under_way == 0 && stripe.ended == token.ended {
            put_in();
        }
    }

    fn of(&self, hash: u64) -> MutexGuard<'_, Stripe> {
        // Nothing that can panic runs under it but the map of values, which is whole after a panic.
        self.0[hash as usize % STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }
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
