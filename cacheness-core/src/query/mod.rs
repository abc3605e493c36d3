//! Questions about entries as plain data: conditions on fields and on columns of custom metadata, orders and sums, and
//! whether an entry meets them. No I/O.

mod column;
mod field;
mod filter;
mod order;
#[cfg(test)]
mod properties;
mod schema;
#[cfg(test)]
mod tests;

pub use column::{Column, Measure, Number, Total};
pub use field::{EntryField, Field};
pub use filter::Filter;
pub use order::Order;
pub(crate) use order::{Admitted, Rank, Span};
pub use schema::{ColumnField, ColumnSchema, ColumnType, ColumnValue, CustomMetadata, Schema};

use crate::entry::Entry;
use crate::error::Result;

impl Entry {
    /// The custom metadata of type `E` that was stored with it; `None` if there is none of that kind.
    ///
    /// # Errors
    /// [`Serialization`](crate::ErrorKind::Serialization) if it was stored by another version of the type, which this one
    /// cannot read.
    pub fn custom<E: CustomMetadata>(&self) -> Result<Option<E>> {
        self.details.row(E::SCHEMA.name).map(E::from_row).transpose()
    }
}
