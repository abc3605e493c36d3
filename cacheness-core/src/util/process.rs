//! The process as the system sees it: which of those it was forked from it is not, and its normal end.

#[cfg(feature = "remote")]
use std::mem::forget;
use std::panic::catch_unwind;
#[cfg(feature = "remote")]
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

#[cfg(feature = "remote")]
use arc_swap::{ArcSwapOption, Guard};

/// How often this process and those before it were forked, each in its own memory.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// How many children this process has forked, but for those that ran another program at once.
static CHILDREN: AtomicU32 = AtomicU32::new(0);

/// Whether there may be children that have copies of what this process has open.
pub(crate) fn has_forked() -> bool {
    CHILDREN.load(Ordering::Relaxed) > 0
}

/// The process in which something was made. A forked child has a copy of it, without the threads that belong to it, and with
/// files that are still its parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(u32);

impl Origin {
    pub(crate) fn here() -> Self {
        register();
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Whether it was made in this process, and not in one that this was forked from.
    #[inline]
    pub(crate) fn is_here(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }
}

/// What each process makes for itself when it is first asked for, such as a connection.
///
/// What a forked child has inherited is left as it is, and not dropped: that could end a connection of the parent. There is no
/// mutex, which a thread that was not forked along might hold.
#[cfg(feature = "remote")]
pub(crate) struct PerProcess<T: ?Sized>(ArcSwapOption<(Origin, Arc<T>)>);

#[cfg(feature = "remote")]
impl<T: ?Sized> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(ArcSwapOption::const_empty())
    }

    /// What was made in this process, or is made now. Of two threads that do so at a time, both get the same.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn get<E>(&self, mut make: impl FnMut() -> Result<Arc<T>, E>) -> Result<Arc<T>, E> {
        loop {
            let there = self.0.load();
            if let Some(made) = &*there
                && made.0.is_here()
            {
                return Ok(Arc::clone(&made.1));
            }
            let new = make()?;
            let before = self.0.compare_and_swap(&*there, Some(Arc::new((Origin::here(), Arc::clone(&new)))));
            if there.as_ref().map(Arc::as_ptr) == before.as_ref().map(Arc::as_ptr) {
                forget(Guard::into_inner(before));
                return Ok(new);
            }
        }
    }

    /// Drops what was made in this process.
    pub(crate) fn clear(&self) {
        if let Some(made) = self.0.swap(None)
            && !made.0.is_here()
        {
            forget(made);
        }
    }

    /// As a forked child finds it. What is there stays, for those who have it.
    #[cfg(test)]
    pub(crate) fn pretend_to_be_forked(&self) {
        if let Some(made) = self.0.load_full() {
            forget(self.0.swap(Some(Arc::new((Origin(u32::MAX), Arc::clone(&made.1))))));
        }
    }
}

#[cfg(feature = "remote")]
impl<T: ?Sized> Drop for PerProcess<T> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The one place with `unsafe` in this crate: std has no hooks at a fork and at the end of a process.
#[allow(unsafe_code, reason = "std has no such hooks")]
fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: `at_exit` is a plain function that lives as long as the program and never unwinds. If the table of
        // `atexit` is full it refuses, and caches are then closed when they are dropped.
        unsafe { libc::atexit(at_exit) };
        // SAFETY: so are these, which add to a number and do nothing else, as they must in a child of several threads.
        #[cfg(unix)]
        unsafe {
            libc::pthread_atfork(None, Some(has_child), Some(is_child))
        };
    });
}

#[cfg(unix)]
extern "C" fn has_child() {
    CHILDREN.fetch_add(1, Ordering::Relaxed);
}

#[cfg(unix)]
extern "C" fn is_child() {
    CHILDREN.store(0, Ordering::Relaxed);
    FORKS.fetch_add(1, Ordering::Relaxed);
}

// The normal end of the process keeps every put, also when the cache lies in a static, which is never dropped.
//
// Whoever keeps a table of what is open [registers](close_at_exit) it here, once.

/// Longer than any flush; a disk that hangs must not keep a process from ending for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// A table of what this process has open.
#[derive(Debug)]
pub(crate) struct Openings {
    /// Whether there is anything to close.
    pub has_open: fn() -> bool,
    pub close_all: fn(),
}

static OPENINGS: Mutex<Vec<&'static Openings>> = Mutex::new(Vec::new());

fn openings() -> MutexGuard<'static, Vec<&'static Openings>> {
    OPENINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has everything in a table closed when the process ends by returning from `main` or by `std::process::exit`.
pub(crate) fn close_at_exit(table: &'static Openings) {
    {
        let mut openings = openings();
        if !openings.iter().any(|known| std::ptr::eq(*known, table)) {
            openings.push(table);
        }
    }
    register();
}

extern "C" fn at_exit() {
    // Unwinding into the caller, which is C, would abort.
    let _ = catch_unwind(close_on_a_fresh_thread);
}

/// The thread-locals of this thread are gone already, and sled uses some: a fresh thread has its own.
fn close_on_a_fresh_thread() {
    // Copied, so that no lock is held while things close.
    let tables = openings().clone();
    if !tables.iter().any(|table| (table.has_open)()) {
        return;
    }
    let (done, closed) = channel();
    let closer = thread::Builder::new().name("cacheness-exit".to_owned()).spawn(move || {
        tables.iter().for_each(|table| (table.close_all)());
        // Nobody listens any more if it took too long.
        let _ = done.send(());
    });
    if closer.is_ok() {
        // A panic of the closer drops its end of the channel, which ends the wait too.
        let _ = closed.recv_timeout(PATIENCE);
    }
}
