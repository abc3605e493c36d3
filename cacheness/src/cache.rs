//! [`Cache`] and [`AsyncCache`]: options of a put, statistics, and moving entries from one cache to another.

#[doc(no_inline)]
pub use crate::{AsyncCache, Cache, PutOptions, Stats};
pub use cacheness_core::{Expired, MemoryStats, Transfer, migrate_cache, migrate_cache_with};
