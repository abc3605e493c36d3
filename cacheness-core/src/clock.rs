//! The only place that asks for the time.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time: microseconds since 1970-01-01T00:00:00Z, negative before it.
///
/// Arithmetic saturates, so that no clock and no TTL can make it overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest point in time that can be told.
    pub const MIN: Self = Self(i64::MIN);

    /// The latest point in time that can be told.
    pub const MAX: Self = Self(i64::MAX);

    /// A point in time from microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// By how many microseconds `earlier` was before this point; not more than zero if it was not before.
    #[inline]
    pub(crate) const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This point in time, later by `duration`.
    #[inline]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(duration)))
    }

    /// This point in time, earlier by `duration`.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(duration)))
    }

    /// How long before this point `earlier` was; zero if it was not before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }
}

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Every hit asks for the time, so this does without wider numbers.
#[inline]
fn micros_of(duration: Duration) -> i64 {
    let seconds = i64::try_from(duration.as_secs()).ok();
    let micros = seconds.and_then(|seconds| seconds.checked_mul(MICROS_PER_SECOND));
    micros.and_then(|micros| micros.checked_add(i64::from(duration.subsec_micros()))).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(micros_of(after)),
            Err(before) => Self(micros_of(before.duration()).saturating_neg()),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let distance = Duration::from_micros(time.0.unsigned_abs());
        let moved = if time.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
        moved.unwrap_or(UNIX_EPOCH)
    }
}

/// Tells the time. Implemented by [`SystemClock`], and by [`ManualClock`] for tests of expiry.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time now. It may jump in both directions.
    fn now(&self) -> Timestamp;

    /// The time at most 20 milliseconds ago, where that can be had for less than the time now.
    fn roughly(&self) -> Timestamp {
        self.now()
    }
}

/// How long ago [`Clock::roughly`] may be.
pub(crate) const ROUGHLY: Duration = Duration::from_millis(20);

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    /// What the kernel noted at its last tick: 10 milliseconds ago at most.
    #[cfg(target_os = "linux")]
    #[inline]
    fn roughly(&self) -> Timestamp {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Timestamp(time.tv_sec.saturating_mul(MICROS_PER_SECOND).saturating_add(time.tv_nsec / 1000))
    }
}

/// Microseconds of a clock that all processes of the machine have in common and that never jumps, where there is one.
pub(crate) fn monotonic_micros() -> i64 {
    #[cfg(unix)]
    let micros = {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        time.tv_sec.saturating_mul(MICROS_PER_SECOND).saturating_add(time.tv_nsec / 1000)
    };
    #[cfg(not(unix))]
    let micros = SystemClock.now().as_micros();
    micros
}

/// A clock that stands still until it is moved.
///
/// ```
/// use std::time::Duration;
/// use cacheness::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::default();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().since(before), Duration::from_secs(60));
/// ```
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_micros()))
    }

    /// Moves the clock forwards.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().after(by));
    }

    /// Puts the clock to any time, also an earlier one.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// Stands at 2020-01-01T00:00:00Z.
    fn default() -> Self {
        Self::new(Timestamp::from_micros(1_577_836_800_000_000))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_negative_and_survive_the_way_to_system_time_and_back() {
        let before = UNIX_EPOCH - Duration::from_secs(3);
        let time = Timestamp::from(before);
        assert_eq!(time.as_micros(), -3_000_000);
        assert_eq!(SystemTime::from(time), before);
    }

    #[test]
    fn a_ttl_longer_than_time_itself_saturates() {
        assert_eq!(Timestamp::from_micros(1).after(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_micros(1).since(Timestamp::MAX), Duration::ZERO);
    }
}
