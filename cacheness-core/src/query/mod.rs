//! Questions about entries as plain data: conditions on fields, and whether an entry meets them. No I/O.

mod field;
mod filter;
#[cfg(test)]
mod tests;

pub use field::{EntryField, Field};
pub use filter::Filter;
