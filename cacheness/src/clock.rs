//! Where a cache gets the time from: of the system, or in tests from a [`ManualClock`] that is set by hand.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use cacheness::clock::ManualClock;
//! use cacheness::{Cache, PutOptions};
//!
//! # fn main() -> cacheness::Result<()> {
//! let clock = Arc::new(ManualClock::default());
//! let cache = Cache::with_clock(clock.clone());
//! cache.put_with("key", &1u8, PutOptions::new().ttl(Duration::from_secs(60)))?;
//! clock.advance(Duration::from_secs(60));
//! assert_eq!(cache.get::<u8>("key")?, None);
//! # Ok(())
//! # }
//! ```

pub use cacheness_core::{Clock, ManualClock, SystemClock, Timestamp};
