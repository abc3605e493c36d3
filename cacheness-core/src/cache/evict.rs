//! Keeping the size limit.

use std::sync::Mutex;

use super::engine::Engine;
use super::warn::emit;
use crate::entry::IndexKey;
use crate::error::Result;
use crate::policy;

/// Entries looked at in one step.
const PAGE: usize = 64;

#[derive(Debug)]
pub(super) struct Evictor {
    max_bytes: u64,
    /// One thread makes room at a time; others go on.
    busy: Mutex<()>,
}

impl Evictor {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, busy: Mutex::new(()) }
    }

    pub(super) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }
}

/// Removes the least recently used entries until the cache is down to 80 % of its limit, if it is over it. The entry
/// `newest`, which was just put, stays also if it takes more than that.
pub(super) fn make_room(engine: &Engine, evictor: &Evictor, newest: &IndexKey) {
    let total = engine.store().index().totals().bytes;
    let Some(to_free) = policy::eviction_target(total, evictor.max_bytes) else { return };
    let Ok(_busy) = evictor.busy.try_lock() else { return };
    if let Err(error) = free(engine, to_free, evictor.max_bytes, newest) {
        engine.report("make room in the cache", &error);
    }
}

fn free(engine: &Engine, to_free: u64, max_bytes: u64, newest: &IndexKey) -> Result<()> {
    let mut freed = 0;
    while freed < to_free {
        let before = freed;
        for (key, record) in engine.store().index().least_recently_used(PAGE)? {
            if freed >= to_free {
                break;
            }
            if key == *newest {
                continue;
            }
            let size = record.core()?.stored_size;
            if engine.store().remove_expected(&key, &record)? {
                freed += size;
                announce_first(engine, max_bytes);
            }
        }
        if freed == before {
            break;
        }
    }
    Ok(())
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
