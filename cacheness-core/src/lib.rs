//! The engine of `cacheness`. Depend on the `cacheness` crate, which re-exports all of this together with the attributes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cache;
mod clock;
mod config;
mod default;
mod digest;
mod error;
mod flight;
mod handler;
mod key;
mod limits;
#[doc(hidden)]
pub mod macro_support;
mod runtime;
mod value;

pub use cache::{Cache, Entry, PutOptions};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use config::Durability;
pub use default::{default_cache, set_default_cache};
pub use error::{CacheError, ErrorKind, Result};
pub use handler::Storable;
pub use key::{CacheKey, Key, KeyWriter, PendingKey};
pub use limits::Limits;
pub use macro_support::{
    BoundCall, FunctionHandle, FunctionInfo, Later, Now, bypass, bypass_async, function, refresh, refresh_async,
};
pub use value::{Metadata, Value};
