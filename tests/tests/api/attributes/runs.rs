use std::sync::atomic::{AtomicU32, Ordering};

/// Counts how often a body ran.
pub(crate) struct Runs(AtomicU32);

impl Runs {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn so_far(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}
