//! The directories in which this process has a blob store open, whatever their paths.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use once_cell::sync::Lazy;

use super::engine::Engine;
use crate::engine::Home;
use crate::error::{CacheError, ErrorKind, Result};
use crate::storage::vfs::DirId;
use crate::util::threads::{self, Openings};

static OPEN: Lazy<Mutex<HashMap<DirId, Slot>>> = Lazy::new(Mutex::default);
static OPENINGS: Openings = Openings { has_open, close_all };

struct Slot {
    /// Nothing while it is being opened.
    engine: Weak<Engine>,
    /// The process that opened it: a forked child has a copy of this table, and no store.
    process: u32,
}

fn open_stores() -> MutexGuard<'static, HashMap<DirId, Slot>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a store in a directory that this process has no store open in.
///
/// # Errors
/// [`Locked`](ErrorKind::Locked) if it has; what `open` says.
pub(super) fn open(home: &Home, open: impl FnOnce() -> Result<Engine>) -> Result<Arc<Engine>> {
    let claim = Claim::of(home)?;
    let engine = Arc::new(open()?);
    open_stores().insert(home.id().clone(), Slot { engine: Arc::downgrade(&engine), process: std::process::id() });
    std::mem::forget(claim);
    threads::close_at_exit(&OPENINGS);
    Ok(engine)
}

/// Frees the directory if opening fails or panics.
struct Claim<'a>(&'a DirId);

impl<'a> Claim<'a> {
    fn of(home: &'a Home) -> Result<Self> {
        let (mut open, process) = (open_stores(), std::process::id());
        if open.get(home.id()).is_some_and(|slot| slot.process == process) {
            let message = format!(
                "this process has the blob store in {} open already: clone its handle, or close it first",
                home.root().display()
            );
            return Err(CacheError::new(ErrorKind::Locked, message));
        }
        open.insert(home.id().clone(), Slot { engine: Weak::new(), process });
        Ok(Self(home.id()))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        closed(self.0);
    }
}

/// Says that a store has let go of its directory.
pub(super) fn closed(id: &DirId) {
    open_stores().remove(id);
}

fn close_all() {
    let this = std::process::id();
    let open: Vec<_> =
        open_stores().values().filter(|slot| slot.process == this).filter_map(|slot| slot.engine.upgrade()).collect();
    open.iter().for_each(|engine| engine.shut_and_tell());
}

fn has_open() -> bool {
    let this = std::process::id();
    open_stores().values().any(|slot| slot.process == this)
}
