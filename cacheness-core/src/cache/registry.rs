//! The directories that this process has open: opening one again gives the same engine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use once_cell::sync::Lazy;

use super::engine::Engine;
use crate::clock::Clock;
use crate::config::CacheConfig;
use crate::error::{CacheError, ErrorKind, Result};
use crate::exit::{self, Openings};
use crate::store::{self, Store};

static OPEN: Lazy<Registry> = Lazy::new(Registry::default);

static OPENINGS: Openings = Openings { has_open, close_all };

#[derive(Default)]
struct Registry {
    slots: Mutex<HashMap<PathBuf, Slot>>,
    changed: Condvar,
}

enum Slot {
    /// A thread is opening it.
    Opening,
    /// It is open, or being closed by the last handle that left.
    Open { engine: Weak<Engine>, process: u32 },
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, root: &Path) {
        self.lock().remove(root);
        self.changed.notify_all();
    }
}

/// The engine of the configured directory: one that is open, or a new one.
pub(super) fn open(config: &CacheConfig, clock: Arc<dyn Clock>) -> Result<Arc<Engine>> {
    if config.is_in_memory() {
        return Ok(Arc::new(Engine::in_memory(config, clock)));
    }
    let root = store::prepare(&config.storage.cache_dir)?;
    if let Some(engine) = join_or_claim(&root) {
        return believing_alike(engine, config);
    }
    // From here on the slot is ours; it is freed if opening fails or panics.
    let claim = Claim(&root);
    let engine = Arc::new(Engine::new(Store::open(&root, config)?, config, clock));
    OPEN.lock().insert(root.clone(), Slot::Open { engine: Arc::downgrade(&engine), process: std::process::id() });
    std::mem::forget(claim);
    OPEN.changed.notify_all();
    exit::close_at_exit(&OPENINGS);
    Ok(engine)
}

/// An engine that is open already, unless it believes other entries than it is opened to believe here.
fn believing_alike(engine: Arc<Engine>, config: &CacheConfig) -> Result<Arc<Engine>> {
    if *engine.security() == config.security {
        return Ok(engine);
    }
    engine.leave()?;
    let message = format!(
        "{} is open in this process with other settings for signatures: open it with the same `security`, or close it first",
        config.storage.cache_dir.display()
    );
    Err(CacheError::new(ErrorKind::Config, message))
}

struct Claim<'a>(&'a Path);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        OPEN.free(self.0);
    }
}

/// Joins the open engine of a directory, waits for one that is being opened or closed, or claims the free slot (`None`).
fn join_or_claim(root: &Path) -> Option<Arc<Engine>> {
    let mut slots = OPEN.lock();
    loop {
        match slots.get(root) {
            None => {
                slots.insert(root.to_path_buf(), Slot::Opening);
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

/// Says that an engine has let go of its directory.
pub(super) fn closed(root: &Path) {
    OPEN.free(root);
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
