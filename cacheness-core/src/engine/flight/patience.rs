//! How long a caller waits for others before it runs the body itself.
//!
//! What a leader waits for is not always to be seen: it may be the very caller who waits for the leader. So no wait is
//! without end. The first caller waits for the least time, or four times as long as the body usually takes, if that is
//! longer; the next two twice that, the next four four times, and so on: a thousand callers of a slow body do not all
//! lose their patience at once, but each does some time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many times the usual time a body may take before somebody stops waiting for it.
const SLACK: u32 = 4;
/// No body is so slow that the first caller waits longer than this many times the least.
const MOST: u32 = 100;

/// How long a body usually takes, of a function or of all that a cache makes itself. Clones share what they learn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usual(Arc<AtomicU64>);

impl Usual {
    /// Learns from a run that waited for no other flight. A slow run counts at once, and is forgotten slowly.
    pub(super) fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let usual = self.0.load(Ordering::Relaxed);
        // Two who note at the same time may lose one of the notes, no more.
        self.0.store(took.max(usual - usual / 8), Ordering::Relaxed);
    }

    /// How long the first caller waits.
    pub(super) fn patience(&self, least: Duration) -> Duration {
        let usual = Duration::from_micros(self.0.load(Ordering::Relaxed));
        usual.saturating_mul(SLACK).min(least.saturating_mul(MOST)).max(least)
    }
}

/// Until when a caller waits who began now, with so many before it. Nothing if that is beyond all clocks.
pub(super) fn until(now: Instant, first: Duration, ahead: usize) -> Option<Instant> {
    let rank = ahead.saturating_add(1).ilog2();
    now.checked_add(first.saturating_mul(1 << rank.min(31)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_more_wait_already_the_longer_a_caller_waits_but_never_more_than_its_place_in_the_line() {
        let now = Instant::now();
        let waits: Vec<_> = (0..8).map(|ahead| (until(now, SECOND, ahead).unwrap() - now).as_secs()).collect();
        assert_eq!(waits, [1, 2, 2, 4, 4, 4, 4, 8]);
        for ahead in 0..10_000 {
            assert!(until(now, SECOND, ahead).unwrap() <= now + SECOND * (ahead as u32 + 1));
        }
        assert_eq!(until(now, Duration::MAX, 7), None);
    }

    #[test]
    fn patience_grows_with_what_the_body_takes_and_shrinks_when_it_becomes_faster() {
        let usual = Usual::default();
        assert_eq!(usual.patience(SECOND), SECOND);
        usual.note(SECOND * 2);
        assert_eq!(usual.patience(SECOND), SECOND * 8);
        usual.note(SECOND * 3600);
        assert_eq!(usual.patience(SECOND), SECOND * 100);
        (0..100).for_each(|_| usual.note(SECOND / 10));
        assert_eq!(usual.patience(SECOND), SECOND);
    }
}
