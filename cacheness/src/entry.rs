//! What is known of one stored value: an [`Entry`], and lists of them.
//!
//! ```
//! use cacheness::{Cache, PutOptions};
//!
//! # fn main() -> cacheness::Result<()> {
//! let cache = Cache::in_memory();
//! cache.put_with("model", &vec![1u8, 2, 3], PutOptions::new().description("of last week"))?;
//! for entry in &cache {
//!     assert_eq!(entry?.description(), Some("of last week"));
//! }
//! # Ok(())
//! # }
//! ```

#[doc(no_inline)]
pub use crate::{Entry, Metadata, Value};
pub use cacheness_core::{AsyncEntries, CompressionInfo, Entries};
