//! What to serve and what to evict: pure decisions over plain numbers.

use std::time::Duration;

use crate::clock::Timestamp;

/// How far an entry may lie in the future and still be served: clocks of two machines differ a little, a clock is set
/// back by a second, and a reader may have asked for the time just before the entry was written.
const CLOCK_SLACK_MICROS: i64 = 60 * 1_000_000;

/// Whether an entry may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fresh,
    Expired,
}

/// Judges an entry.
///
/// `end`, the moment it expires, is the earlier of `expires_at` and `created_at + reader_ttl`: a reader's own TTL
/// narrows the writer's and never widens it. Without either the entry is fresh for ever. Otherwise, with
/// `ttl = end - created_at` and `slack = min(ttl, 60 s)`, it is fresh exactly while
///
/// ```text
/// created_at - slack <= now < end
/// ```
///
/// The left side is for clocks that jump back: without it, what a clock ten years ahead wrote would be served for ten
/// years after the clock was put right. With it, an entry is served for at most `ttl + slack` of the time that passes
/// after the last jump, however often and far the clock jumped before, and a jump costs each key at most one more
/// computation, because what is written after it is fresh again.
///
/// More than that cannot be had from timestamps alone: an entry from ten years ahead that nobody touches for ten years
/// looks newly written then. A call that finds it expired writes a new one in its place; a reader leaves it there.
#[inline]
pub(crate) fn judge(
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    reader_ttl: Option<Duration>,
    now: Timestamp,
) -> Verdict {
    let readers_end = reader_ttl.map(|ttl| created_at.after(ttl));
    let end = match (expires_at, readers_end) {
        (Some(entrys), Some(readers)) => entrys.min(readers),
        (Some(end), None) | (None, Some(end)) => end,
        (None, None) => return Verdict::Fresh,
    };
    if now >= end || now < starts_at(created_at, end) { Verdict::Expired } else { Verdict::Fresh }
}

/// The `created_at - slack` of [`judge`]: from when on an entry is fresh that ends then.
#[inline]
pub(crate) fn starts_at(created_at: Timestamp, end: Timestamp) -> Timestamp {
    let slack = end.micros_since(created_at).clamp(0, CLOCK_SLACK_MICROS);
    Timestamp::from_micros(created_at.as_micros().saturating_sub(slack))
}

/// How many bytes to free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Eviction {
    /// What brings the total back under the limit.
    pub needed: u64,
    /// What brings it down to 80 % of the limit, so that not every later put has to evict again.
    pub wanted: u64,
}

/// What to evict when `total_bytes` are stored. Begins above the limit and, once it has begun, ends at 80 % of it.
pub(crate) fn eviction(total_bytes: u64, max_bytes: u64, has_begun: bool) -> Option<Eviction> {
    let eighty_percent = max_bytes - max_bytes.div_ceil(5);
    let goes_on = total_bytes > max_bytes || (has_begun && total_bytes > eighty_percent);
    goes_on.then(|| Eviction {
        needed: total_bytes.saturating_sub(max_bytes),
        wanted: total_bytes.saturating_sub(eighty_percent),
    })
}

/// Whether an entry can be stored at all. One larger than the whole limit is refused before it makes others go.
pub(crate) fn fits(entry_bytes: u64, max_bytes: u64) -> bool {
    entry_bytes <= max_bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CREATED: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);
    const MICRO: Duration = Duration::from_micros(1);
    const CLOCK_SLACK: Duration = Duration::from_micros(CLOCK_SLACK_MICROS.unsigned_abs());

    fn with_ttl(ttl: Duration, now: Timestamp) -> Verdict {
        judge(CREATED, Some(CREATED.after(ttl)), None, now)
    }

    #[test]
    fn an_entry_expires_at_the_very_moment_it_says() {
        assert_eq!(with_ttl(HOUR, CREATED.after(HOUR).before(MICRO)), Verdict::Fresh);
        assert_eq!(with_ttl(HOUR, CREATED.after(HOUR)), Verdict::Expired);
    }

    #[test]
    fn an_entry_without_any_ttl_is_fresh_whatever_the_clock_says() {
        for now in [Timestamp::from_micros(i64::MIN), Timestamp::from_micros(0), CREATED, Timestamp::MAX] {
            assert_eq!(judge(CREATED, None, None, now), Verdict::Fresh);
        }
    }

    #[test]
    fn a_readers_ttl_narrows_and_never_widens() {
        let judged = |reader| judge(CREATED, Some(CREATED.after(HOUR)), Some(reader), CREATED.after(SECOND * 60));
        assert_eq!(judged(SECOND * 60), Verdict::Expired);
        assert_eq!(judged(SECOND * 61), Verdict::Fresh);
        assert_eq!(judge(CREATED, Some(CREATED.after(HOUR)), Some(HOUR * 9), CREATED.after(HOUR)), Verdict::Expired);
        assert_eq!(judge(CREATED, None, Some(SECOND), CREATED.after(SECOND)), Verdict::Expired);
    }

    #[test]
    fn a_clock_set_back_a_little_keeps_what_was_just_written() {
        assert_eq!(with_ttl(HOUR, CREATED.before(SECOND)), Verdict::Fresh);
        assert_eq!(with_ttl(HOUR, CREATED.before(CLOCK_SLACK)), Verdict::Fresh);
    }

    #[test]
    fn an_entry_from_the_far_future_is_expired_rather_than_immortal() {
        assert_eq!(with_ttl(HOUR, CREATED.before(CLOCK_SLACK + MICRO)), Verdict::Expired);
        assert_eq!(with_ttl(HOUR, CREATED.before(HOUR * 24 * 3650)), Verdict::Expired);
        assert_eq!(with_ttl(SECOND, CREATED.before(SECOND + MICRO)), Verdict::Expired);
    }

    #[test]
    fn an_entry_that_expires_before_it_was_created_is_never_fresh() {
        for now in [CREATED.before(HOUR), CREATED.before(SECOND), CREATED] {
            assert_eq!(judge(CREATED, Some(CREATED.before(SECOND)), None, now), Verdict::Expired);
        }
    }

    #[test]
    fn eviction_starts_above_the_limit_and_ends_at_eighty_percent() {
        assert_eq!(eviction(100, 100, false), None);
        assert_eq!(eviction(101, 100, false), Some(Eviction { needed: 1, wanted: 21 }));
        assert_eq!(eviction(90, 100, true), Some(Eviction { needed: 0, wanted: 10 }));
        assert_eq!(eviction(80, 100, true), None);
        assert_eq!(eviction(1, 0, false), Some(Eviction { needed: 1, wanted: 1 }));
        assert_eq!(eviction(u64::MAX, u64::MAX, false), None);
    }

    #[test]
    fn an_entry_as_large_as_the_limit_fits_and_one_byte_more_does_not() {
        assert!(fits(100, 100));
        assert!(!fits(101, 100));
    }

    fn timestamps() -> impl Strategy<Value = Timestamp> {
        prop_oneof![any::<i64>(), -10_000_000_000_i64..10_000_000_000].prop_map(Timestamp::from_micros)
    }

    fn ttls() -> impl Strategy<Value = Duration> {
        prop_oneof![0_u64..200_000_000, any::<u64>()].prop_map(Duration::from_micros)
    }

    proptest! {
        #[test]
        fn what_is_written_now_is_fresh_now(created in (i64::MIN..i64::MAX).prop_map(Timestamp::from_micros), ttl in ttls()) {
            prop_assume!(ttl >= MICRO);
            prop_assert_eq!(judge(created, Some(created.after(ttl)), Some(ttl), created), Verdict::Fresh);
        }

        #[test]
        fn nothing_is_fresh_after_it_expires_and_no_reader_can_make_it(
            created in timestamps(), expires in prop::option::of(timestamps()), reader in ttls(), now in timestamps(),
        ) {
            if judge(created, expires, Some(reader), now) == Verdict::Fresh {
                prop_assert_eq!(judge(created, expires, None, now), Verdict::Fresh);
                prop_assert!(expires.is_none_or(|end| now < end));
                prop_assert!(now < created.after(reader));
            }
        }

        /// A clock that jumped to `start` and runs on from there finds the entry fresh for `ttl + slack` at most.
        #[test]
        fn no_jump_of_the_clock_makes_an_entry_immortal(
            created in timestamps(), ttl in ttls(), start in timestamps(), steps in prop::collection::vec(ttls(), 1..20),
        ) {
            let expires = Some(created.after(ttl));
            let mut fresh_at = Vec::new();
            let mut now = start;
            for step in steps {
                if judge(created, expires, None, now) == Verdict::Fresh {
                    fresh_at.push(now);
                }
                now = now.after(step);
            }
            if let (Some(first), Some(last)) = (fresh_at.first(), fresh_at.last()) {
                prop_assert!(last.since(*first) < ttl + ttl.min(CLOCK_SLACK));
            }
        }

        #[test]
        fn eviction_frees_what_is_asked_and_no_more(total in any::<u64>(), max in any::<u64>()) {
            match eviction(total, max, false) {
                None => prop_assert!(total <= max),
                Some(Eviction { needed, wanted }) => {
                    prop_assert_eq!(total - needed, max);
                    let left = u128::from(total - wanted);
                    prop_assert!(left * 5 <= u128::from(max) * 4 && (left + 1) * 5 > u128::from(max) * 4);
                }
            }
        }
    }
}
