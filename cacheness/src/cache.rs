//! [`Cache`] and [`AsyncCache`]: options of a put, statistics, and moving entries from one cache to another.
//!
//! ```
//! use cacheness::Cache;
//! use cacheness::cache::{Expired, migrate_cache};
//!
//! # fn main() -> cacheness::Result<()> {
//! let (old, new) = (Cache::in_memory(), Cache::in_memory());
//! old.put("answer", &42u8)?;
//! assert_eq!(migrate_cache(&old, &new)?.copied, 1);
//! assert!(new.get_metadata("answer", Expired::Skip)?.is_some());
//! # Ok(())
//! # }
//! ```

#[doc(no_inline)]
pub use crate::{AsyncCache, Cache, PutOptions, Stats};
pub use cacheness_core::{Expired, LocalStats, MemoryStats, Transfer, migrate_cache, migrate_cache_with};
