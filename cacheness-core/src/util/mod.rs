//! Tools that know nothing of caches. Here: counters and warnings; `breaker`: who is not asked for a while; `digest`: checksums and unique names; `threads`: a pool
//! for work that blocks, what a thread carries along, a second thread, panics of code that is not ours; `process`: forks, and
//! the end of the process; `remote`: asynchronous clients for callers that block;
//! `tls`: how servers prove who they are.

pub(crate) mod breaker;
pub(crate) mod digest;
pub(crate) mod process;
#[cfg(feature = "remote")]
#[cfg_attr(
    not(any(feature = "postgresql", feature = "redis")),
    allow(dead_code, reason = "for backends over a network")
)]
pub(crate) mod remote;
pub(crate) mod threads;
#[cfg(feature = "tls")]
pub(crate) mod tls;

use std::cell::Cell;
use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{CacheError, ErrorKind};

// One warning, not a thousand.

/// After a warning, further ones of its kind are only counted for this long.
const QUIET: Duration = Duration::from_secs(60);

/// Tells of errors that are kept from the caller: once for each kind, then at most once a minute.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<HashMap<ErrorKind, LastWarning>>);

#[derive(Debug)]
struct LastWarning {
    at: Instant,
    suppressed: u64,
}

impl Warnings {
    pub(crate) fn tell(&self, doing: &str, error: &CacheError) {
        if let Some(suppressed) = self.is_due(error.kind()) {
            emit(&text(doing, error, suppressed));
        }
    }

    /// How many of a kind were kept back since the last warning, if it is time for one.
    fn is_due(&self, kind: ErrorKind) -> Option<u64> {
        let mut warnings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match warnings.get_mut(&kind) {
            Some(last) if now.duration_since(last.at) < QUIET => {
                last.suppressed += 1;
                None
            }
            Some(last) => {
                last.at = now;
                Some(std::mem::take(&mut last.suppressed))
            }
            None => {
                warnings.insert(kind, LastWarning { at: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}

fn text(doing: &str, error: &CacheError, suppressed: u64) -> String {
    let mut text = format!("cacheness: cannot {doing}: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        // Some messages end with their cause.
        let cause_text = format!(": {cause}");
        if !text.ends_with(&cause_text) {
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    if suppressed > 0 {
        text.push_str(&format!(" (and {suppressed} more of this kind)"));
    }
    text
}

/// To the program's log, or to standard error where it keeps none: a cache that fails without a word would be worse.
pub(crate) fn emit(text: &str) {
    if log::max_level() == log::LevelFilter::Off {
        // Not `eprintln`, which panics when nobody reads standard error any more.
        let _ = writeln!(std::io::stderr(), "{text}");
    } else {
        log::warn!("{text}");
    }
}

/// Of one thread each, the first that count.
const OWN: usize = 4;
/// Of all other threads together.
const SHARED: usize = 8;
const STRIPES: usize = OWN + SHARED;

/// A counter that threads do not fight over: the first of them count in a cache line of their own, without so much as an
/// atomic addition.
#[derive(Debug, Default)]
pub(crate) struct Counter([Stripe; STRIPES]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A thread that has not counted yet.
const NONE: usize = usize::MAX;

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(NONE) };
}

/// Without a destructor, it is there until the thread ends.
fn mine() -> usize {
    match MINE.get() {
        NONE => {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let mine = if number < OWN { number } else { OWN + number % SHARED };
            MINE.set(mine);
            mine
        }
        mine => mine,
    }
}

impl Counter {
    #[inline]
    pub(crate) fn count(&self) {
        let mine = mine();
        let count = &self.0[mine].0;
        if mine >= OWN {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            // No other thread ever has this stripe.
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_error_of_a_kind_is_kept_back_and_one_of_another_kind_is_not() {
        let warnings = Warnings::default();
        assert_eq!(warnings.is_due(ErrorKind::Storage), Some(0));
        assert_eq!(warnings.is_due(ErrorKind::Storage), None);
        assert_eq!(warnings.is_due(ErrorKind::Locked), Some(0));
    }

    #[test]
    fn a_warning_names_every_cause_and_how_many_were_kept_back() {
        let error = CacheError::caused_by(ErrorKind::Storage, "cannot write blob", "disk full");
        assert_eq!(
            text("store a result", &error, 3),
            "cacheness: cannot store a result: cannot write blob: disk full (and 3 more of this kind)"
        );
    }

    #[test]
    fn a_cause_that_the_message_ends_with_is_not_told_twice() {
        let error = CacheError::caused_by(ErrorKind::Handler, "handler `csv` failed in `read`: no table", "no table");
        let told = "cacheness: cannot return a value: handler `csv` failed in `read`: no table";
        assert_eq!(text("return a value", &error, 0), told);
    }

    #[test]
    fn counts_of_all_threads_are_in_the_sum() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..50).for_each(|_| counter.count()));
            }
        });
        assert_eq!(counter.sum(), 1000);
    }
}
