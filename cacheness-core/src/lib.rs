//! The engine of `cacheness`. Depend on the `cacheness` crate, which re-exports all of this together with the attributes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod clock;
mod compress;
mod config;
mod digest;
mod error;
mod limits;
#[allow(dead_code, reason = "called by the cache")]
mod policy;
mod value;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use compress::Codec;
pub use config::{CacheConfig, CacheMetadataConfig, CacheStorageConfig, CompressionConfig, Durability};
pub use error::{CacheError, ErrorKind, Result};
pub use limits::Limits;
pub use value::{Metadata, Value};
