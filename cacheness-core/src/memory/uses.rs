//! When values in memory were used, until the index is told.
//!
//! The first use of a value since the index was told puts it on a list; all later ones write one number.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::entry::IndexKey;

const LISTS: usize = 16;
/// So many wait at most, or so.
const MANY: usize = 8192;

#[derive(Debug)]
pub(super) struct Use {
    pub(super) key: IndexKey,
    at: AtomicI64,
    listed: AtomicBool,
    /// The value was taken out for a change of its entry.
    ended: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct Uses {
    lists: [Mutex<Vec<Arc<Use>>>; LISTS],
    waiting: AtomicUsize,
}

impl Use {
    pub(super) fn of(key: IndexKey, at: Timestamp) -> Self {
        Self { key, at: AtomicI64::new(at.as_micros()), listed: AtomicBool::new(false), ended: AtomicBool::new(false) }
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.at.load(Ordering::Relaxed))
    }

    /// The end of its noting: when it was used, if that is still to be told.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.ended.store(true, Ordering::SeqCst);
        self.listed.load(Ordering::SeqCst).then(|| self.at())
    }
}

impl Uses {
    #[inline]
    pub(super) fn note(&self, used: &Arc<Use>, now: Timestamp) {
        let now = now.as_micros();
        // Many threads that use one value within a microsecond need not write.
        if used.at.load(Ordering::Relaxed) != now {
            used.at.store(now, Ordering::Relaxed);
        }
        if !used.listed.load(Ordering::Relaxed) {
            self.list(used);
        }
    }

    #[cold]
    fn list(&self, used: &Arc<Use>) {
        if !used.listed.swap(true, Ordering::SeqCst) && !used.ended.load(Ordering::SeqCst) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            lock(&self.lists[used.key.hash() as usize % LISTS]).push(Arc::clone(used));
        }
    }

    pub(super) fn are_many(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= MANY
    }

    pub(super) fn settle(&self, mut tell: impl FnMut(&IndexKey, Timestamp)) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        for list in &self.lists {
            let listed = std::mem::take(&mut *lock(list));
            self.waiting.fetch_sub(listed.len(), Ordering::SeqCst);
            for used in listed {
                // Before the time is read: whoever uses it after that puts it on the list again.
                used.listed.store(false, Ordering::SeqCst);
                if !used.ended.load(Ordering::SeqCst) {
                    tell(&used.key, used.at());
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
