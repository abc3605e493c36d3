use std::time::Duration;

use crate::config::LONGEST;

/// How long a result lives, as an attribute's `ttl` says it: a value, or what a closure makes of the result.
#[diagnostic::on_unimplemented(
    message = "`ttl` is a `Duration` or an `Option<Duration>`, not `{Self}`",
    label = "write `Duration::from_secs(..)` for a number of seconds"
)]
pub trait Lifetime {
    /// The time; `None` is the default of the cache.
    fn lifetime(self) -> Option<Duration>;
}

/// The time that a result says. A function for expansions to hand on: a bound where it is called would be reported twice.
pub fn lifetime<L: Lifetime>(told: L) -> Option<Duration> {
    told.lifetime()
}

impl Lifetime for Duration {
    fn lifetime(self) -> Option<Duration> {
        // `Duration::MAX` is how code says "for ever".
        Some(self.min(LONGEST))
    }
}

impl Lifetime for Option<Duration> {
    fn lifetime(self) -> Option<Duration> {
        self.and_then(Duration::lifetime)
    }
}
