//! What is known of one stored value: an [`Entry`], and lists of them.

#[doc(no_inline)]
pub use crate::{Entry, Metadata, Value};
pub use cacheness_core::{AsyncEntries, CompressionInfo, Entries};
