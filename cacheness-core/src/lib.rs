//! The engine of `cacheness`. Depend on the `cacheness` crate, which re-exports all of this together with the attributes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[allow(dead_code, unused_imports, reason = "the store above is not there yet")]
mod blob;
mod clock;
#[allow(dead_code, reason = "the store above is not there yet")]
mod compress;
mod config;
mod digest;
mod error;
#[allow(dead_code, unused_imports, reason = "the store above is not there yet")]
mod format;
mod key;
mod limits;
#[allow(dead_code, reason = "called by the cache")]
mod policy;
mod value;
#[cfg(feature = "testing")]
pub mod testing;
#[allow(dead_code, unused_imports, reason = "the store above is not there yet")]
mod vfs;

pub use blob::{BlobBackend, BlobName, MemoryBlobs};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use compress::Codec;
pub use config::{CacheConfig, CacheMetadataConfig, CacheStorageConfig, CompressionConfig, Durability};
pub use error::{CacheError, ErrorKind, Result};
pub use key::{CacheKey, Key, KeyFields, KeyWriter, Params, PendingKey, SerdeKey, ToKey, serialize_key};
pub use limits::Limits;
pub use value::{Metadata, Value};
