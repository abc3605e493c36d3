//! Keeping the size limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use super::engine::Engine;
use crate::entry::IndexKey;
use crate::entry::policy::{self, Eviction};
use crate::error::Result;
use crate::util::emit;

/// Entries looked at in one step.
const PAGE: usize = 64;
/// Entries that one put removes beyond what brings the cache back under its limit. A fifth of a large cache at once would
/// keep one caller waiting for seconds.
const SHARE: usize = 128;

#[derive(Debug)]
pub(super) struct Evictor {
    max_bytes: u64,
    /// One thread makes room at a time; others go on.
    busy: Mutex<()>,
    /// Set when the limit was passed, until the cache is down to 80 % of it.
    making_room: AtomicBool,
}

impl Evictor {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, busy: Mutex::new(()), making_room: AtomicBool::new(false) }
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// The right to make room, if nobody has it. A logger that panicked under it must not end eviction for ever.
    fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.busy.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Removes the least recently used entries until the cache is within its limit, if it is over it; and from then on, with
/// every put some more, until it is down to 80 %. The entry `newest`, which was just put, stays also if it takes more than
/// that.
pub(super) fn make_room(engine: &Engine, evictor: &Evictor, newest: &IndexKey) {
    let wanted = |has_begun| match engine.store().index().totals() {
        Ok(totals) => policy::eviction(totals.bytes, evictor.max_bytes, has_begun),
        Err(error) => {
            log::debug!("no room is made: {error}");
            None
        }
    };
    let has_begun = || evictor.making_room.load(Ordering::Relaxed);
    let mut too_much = wanted(has_begun()).is_some();
    while too_much {
        let Some(turn) = evictor.turn() else { return };
        // Asked again: who had the turn before may have made the room.
        let Some(eviction) = wanted(has_begun()) else { return };
        let freed = free(engine, eviction, evictor.max_bytes, newest);
        // Asked now: the next put would find one entry too many and go on for ever.
        evictor.making_room.store(wanted(true).is_some(), Ordering::Relaxed);
        drop(turn);
        match freed {
            Err(error) => return engine.report("make room in the cache", &error),
            Ok(0) => return,
            // Whoever found the turn taken meanwhile left to its holder what goes beyond the limit.
            Ok(_) => too_much = wanted(false).is_some(),
        }
    }
}

/// Returns how many bytes it freed.
fn free(engine: &Engine, eviction: Eviction, max_bytes: u64, newest: &IndexKey) -> Result<u64> {
    let (mut freed, mut removed) = (0, 0);
    let enough = |freed: u64, removed: usize| match removed < SHARE {
        true => freed >= eviction.wanted,
        false => freed >= eviction.needed,
    };
    while !enough(freed, removed) {
        let before = freed;
        for (key, record) in engine.store().index().least_recently_used(PAGE)? {
            if enough(freed, removed) {
                break;
            }
            if key == *newest {
                continue;
            }
            let size = engine.store().index().footprint(&record);
            if engine.store().remove_expected(&key, &record)? {
                freed += size;
                removed += 1;
                announce_first(engine, max_bytes);
            }
        }
        if freed == before {
            break;
        }
    }
    Ok(freed)
}

fn announce_first(engine: &Engine, max_bytes: u64) {
    if engine.counters().evicted() {
        let place = engine.store().root().map_or_else(|| "memory".to_owned(), |root| root.display().to_string());
        emit(&format!(
            "cacheness: the cache in {place} has reached its limit of {max_bytes} bytes and now removes its least \
             recently used entries (storage.max_cache_size_mb)"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_room_is_made_leaves_the_turn_to_the_next() {
        let evictor = Evictor::new(1);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _turn = evictor.turn();
            panic!("as a logger may");
        }));
        assert!(panic.is_err());
        assert!(evictor.turn().is_some());
    }
}
