//! Persistent function caching.
pub use cacheness_core::*;
