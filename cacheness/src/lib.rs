//! Persistent function caching: one attribute, and a result survives calls, processes and machines.

pub use cacheness_core::*;
pub use cacheness_macros::{CacheKey, cache_async, cache_if, cached};

/// Variants of [`macro@cached`]: `#[cached::for_api]`.
pub mod cached {
    pub use cacheness_macros::for_api;
}

/// What expansions name. The version in the name keeps versions of the macros and of the engine from being mixed.
#[doc(hidden)]
pub mod __private {
    pub use cacheness_core::macro_support as v0_1_0;
}
