//! Conditions on entries, and questions about typed columns.
//!
//! A [`Filter`] is made by a [`Field`] of entries or by a [`Column`] of [`CustomMetadata`](trait@crate::CustomMetadata),
//! and is what listings, removals and a [`Query`] take.
//!
//! ```
//! use cacheness::{Cache, Field, PutOptions};
//!
//! # fn main() -> cacheness::Result<()> {
//! let cache = Cache::in_memory();
//! cache.put_with("model", &1u8, PutOptions::new().metadata("accuracy", 0.93).tag("weekly"))?;
//! let good = Field::metadata("accuracy").ge(0.9);
//! assert_eq!(cache.list_entries().matching(good).count(), 1);
//! # Ok(())
//! # }
//! ```

#[doc(no_inline)]
pub use crate::{CustomMetadata, Field, Query};
pub use cacheness_core::{
    AsyncQuery, Column, ColumnField, ColumnSchema, ColumnType, ColumnValue, EntryField, Filter, Found, Measure, Number,
    Order, Schema, Total,
};
