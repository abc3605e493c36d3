//! Tables, by their schema and by what their rows hold; how they are divided, and what lies where nothing is, does not count.

#[cfg(feature = "arrow")]
mod arrow;
#[cfg(feature = "polars")]
mod polars;

#[cfg(feature = "arrow")]
pub(crate) use arrow::encode_table;
