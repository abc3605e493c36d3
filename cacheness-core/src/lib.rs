//! The engine of `cacheness`. Depend on the `cacheness` crate, which re-exports all of this together with the attributes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod clock;
mod config;
mod digest;
mod error;
#[allow(dead_code, unused_imports, reason = "used by the cache")]
mod flight;
#[allow(dead_code, unused_imports, reason = "used by the store")]
mod handler;
mod limits;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use config::Durability;
pub use error::{CacheError, ErrorKind, Result};
pub use handler::Storable;
pub use limits::Limits;
