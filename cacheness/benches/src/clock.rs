//! Time, less that in which the thread could have run and another had the core.

use std::time::Instant;

/// The time of one thread at one piece of work.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    start: Instant,
    waited: Option<f64>,
}

impl Stopwatch {
    /// Begins now, for this thread.
    pub fn start() -> Self {
        // In this order: what it takes to ask is not to count.
        let waited = waited_for_core();
        Self { start: Instant::now(), waited }
    }

    /// Seconds since the start.
    pub fn elapsed(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Seconds since the start for which this thread waited for a core; none where that cannot be told.
    pub fn without_core(&self) -> Option<f64> {
        Some(waited_for_core()? - self.waited?)
    }

    /// Seconds since the start, as if there had always been a core. Waiting for locks, files and other threads counts.
    pub fn seconds(&self) -> f64 {
        let elapsed = self.elapsed();
        elapsed - self.without_core().unwrap_or(0.0)
    }
}

/// Seconds for which this thread has waited for a core so far.
fn waited_for_core() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(nanoseconds as f64 / 1e9)
}
