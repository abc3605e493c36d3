//! Persistent function caching.
pub use cacheness_core::*;
pub use cacheness_macros::CacheKey;
