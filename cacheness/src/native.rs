//! Types with a file format of their own, which other tools read: arrays, tables and tensors.
//!
//! They come with the cargo features `ndarray`, `arrow`, `polars` and `safetensors`, and are results of cached functions as any other
//! type is. By hand they go in and out by [`Cache::put_native`](crate::Cache::put_native) and
//! [`get_native`](crate::Cache::get_native), and [`open_file`](crate::Cache::open_file) gives the file.

#[cfg(feature = "ndarray")]
pub use cacheness_core::Element;
#[cfg(feature = "arrow")]
pub use cacheness_core::Table;
#[cfg(feature = "safetensors")]
pub use cacheness_core::{Dtype, Tensor, TensorElement, Tensors, TensorsIter};
pub use cacheness_core::{Native, NativeFormat, ValueFile, read_file, write_file};
