//! When values in memory were used, until the index is told.
//!
//! The first use of a value since the index was told puts it on a list; all later ones write one number.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Held;
use crate::clock::Timestamp;
use crate::key::Key;

const LISTS: usize = 16;
/// More than this are told of by the next hit: a value that is gone leaves its memory only when its `Weak` does. Few get
/// there: flushing, evicting and listing tell of all.
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

    /// When it was used, if that is still to be told.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.listed.load(Ordering::SeqCst).then(|| self.time())
    }

    /// The end of its noting: when it was used, if that is still to be told.
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

    pub(super) fn settle(&self, mut tell: impl FnMut(&Key, Timestamp)) {
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
                    tell(&held.key, held.used.time());
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
