//! The directories that this process has open, whatever their paths: opening one again gives the same engine.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use once_cell::sync::Lazy;

use super::engine::Engine;
use crate::clock::Clock;
use crate::config::CacheConfig;
use crate::engine::{self, Store};
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::vfs::DirId;
use crate::util::emit;
use crate::util::threads::{self, Openings};

static OPEN: Lazy<Registry> = Lazy::new(Registry::default);

static OPENINGS: Openings = Openings { has_open, close_all };

#[derive(Default)]
struct Registry {
    slots: Mutex<HashMap<DirId, Slot>>,
    changed: Condvar,
}

enum Slot {
    /// A thread is opening it.
    Opening,
    /// It is open, or being closed by the last handle that left.
    Open { engine: Weak<Engine>, process: u32 },
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<DirId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, id: &DirId) {
        self.lock().remove(id);
        self.changed.notify_all();
    }
}

/// How a configuration is treated whose [shared](CacheConfig::differences) fields differ from those that a directory is open
/// with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// The difference is an error.
    Refused,
    /// The configuration in force stays, with a warning.
    Warned,
    /// The configuration in force stays: nothing else was asked for.
    Taken,
}

/// The engine of the configured directory: one that is open, or a new one.
pub(super) fn open(config: &CacheConfig, clock: Arc<dyn Clock>, difference: Difference) -> Result<Arc<Engine>> {
    if config.is_in_memory() {
        return Ok(Arc::new(Engine::new(Store::open_in_memory(config)?, config, clock)));
    }
    let home = engine::prepare(&config.storage.cache_dir)?;
    if let Some(engine) = join_or_reserve(home.id()) {
        return agreeing(engine, config, difference);
    }
    // From here on the slot is ours.
    let id = home.id().clone();
    let opening = OpeningSlot(&id);
    let engine = Arc::new(Engine::new(Store::open(home, config)?, config, clock));
    OPEN.lock().insert(id.clone(), Slot::Open { engine: Arc::downgrade(&engine), process: std::process::id() });
    std::mem::forget(opening);
    OPEN.changed.notify_all();
    threads::close_at_exit(&OPENINGS);
    Ok(engine)
}

/// An engine that is open already, unless it was opened with another configuration than this one.
fn agreeing(engine: Arc<Engine>, config: &CacheConfig, difference: Difference) -> Result<Arc<Engine>> {
    let place = config.storage.cache_dir.display();
    if engine.config().security != config.security {
        engine.leave()?;
        let message = format!(
            "{place} is open in this process with other settings for signatures: open it with the same `security`, or \
             close it first"
        );
        return Err(CacheError::new(ErrorKind::Conflict, message));
    }
    let differences = config.differences(engine.config());
    if differences.is_empty() || difference == Difference::Taken {
        return Ok(engine);
    }
    let differences = differences.join(", ");
    if difference == Difference::Warned {
        emit(&format!("cacheness: {place} is open in this process already, and stays as it is: {differences}"));
        return Ok(engine);
    }
    engine.leave()?;
    let message = format!(
        "{place} is open in this process already, with another configuration: {differences}. Open it with the same values, \
         or by `open`, which takes those in force, or close it first"
    );
    Err(CacheError::new(ErrorKind::Conflict, message))
}

/// Frees the slot if opening fails or panics.
struct OpeningSlot<'a>(&'a DirId);

impl Drop for OpeningSlot<'_> {
    fn drop(&mut self) {
        OPEN.free(self.0);
    }
}

/// Joins the open engine of a directory, waits for one that is being opened or closed, or reserves the free slot (`None`).
fn join_or_reserve(id: &DirId) -> Option<Arc<Engine>> {
    let mut slots = OPEN.lock();
    loop {
        match slots.get(id) {
            None => {
                slots.insert(id.clone(), Slot::Opening);
                return None;
            }
            Some(Slot::Open { engine, .. }) => {
                if let Some(engine) = engine.upgrade().filter(|engine| engine.join()) {
                    return Some(engine);
                }
            }
            Some(Slot::Opening) => {}
        }
        slots = OPEN.changed.wait(slots).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Removes an engine that has released its directory.
pub(super) fn closed(id: &DirId) {
    OPEN.free(id);
}

/// Closes every engine that this process opened. A forked child has inherited the table, not the engines' threads: it
/// closes nothing.
fn close_all() {
    let this = std::process::id();
    let open: Vec<_> = OPEN
        .lock()
        .values()
        .filter_map(|slot| match slot {
            Slot::Open { engine, process } if *process == this => engine.upgrade(),
            _ => None,
        })
        .collect();
    for engine in open {
        if let Err(error) = engine.shut() {
            engine.report("close the cache at exit", &error);
        }
    }
}

/// Whether this process has a cache open that it opened itself.
fn has_open() -> bool {
    let this = std::process::id();
    OPEN.lock().values().any(|slot| matches!(slot, Slot::Open { process, .. } if *process == this))
}
