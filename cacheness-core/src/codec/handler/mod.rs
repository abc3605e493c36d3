//! Values to bytes and back: by a [`Handler`] that is registered for their type (`registry`, `custom`), else by serde.
//!
//! By serde, values are written as bincode, which does not describe itself: bytes of one struct are as good as any to another. So
//! each value is written with a fingerprint of its type and of its *shape* (`shape`: which fields, variants and kinds of
//! values it consists of), and what is read must have the same shape again. A struct whose fields were swapped, renamed
//! or retyped between two builds is an error, never another value.
//!
//! Some values cannot be read back from bincode (untagged enums, `flatten`, `skip_serializing_if`, `serde_json::Value`).
//! So each value is read back and compared before it is stored (`proof`), but for types of plain numbers and texts. What does not come back as it was is written as MessagePack with named fields instead, and then as
//! MessagePack as to a reader of texts; if neither gives it back, it is refused. With names the fingerprint covers the
//! contents as well, since a name that is not found may be left out or replaced by a default.
//!
//! Bytes are not trusted. Whatever they say, reading takes memory in proportion to their length, ends soon, does not
//! nest too deep for the stack (`guard`), and a panic of the type's own code is an error.

mod codec;
mod custom;
mod guard;
mod payload;
mod plain;
mod proof;
mod registry;
mod shape;
#[cfg(test)]
mod tests;

pub(crate) use codec::{Encoded, Raw, decode_raw, encode};
pub use custom::{ByFile, FileHandler};
pub use custom::{Handler, HandlerError};
pub(crate) use custom::{check_is_named, is_written_by, name_of, read_by, write_by};
pub(crate) use payload::{PLAIN_BYTES, PayloadFormat};
pub(crate) use plain::{Kind, LENGTH, Numbers, numbers_in, width_of_numbers};
#[cfg(feature = "testing")]
pub use proof::store_unproven;
pub(crate) use proof::{Back, Proven};
pub use proof::{ByDebug, ByEq, ByEqOrDebug, ByNothing, Evidence};
pub(crate) use registry::Handlers;
pub use registry::{HandlerInfo, list_handlers, register_handler, unregister_handler};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::util::digest::checksum;

/// A value the cache can keep: every type that serde can write and read.
///
/// It is implemented for all of them, and by nothing else.
///
/// ```
/// use cacheness::handler::Storable;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Reading {
///     station: String,
///     celsius: f64,
/// }
///
/// fn can_be_stored<T: Storable>() {}
/// can_be_stored::<Vec<Option<Reading>>>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in a cache",
    label = "this type cannot be written to a cache and read back",
    note = "if the type is yours, derive `serde::Serialize` and `serde::Deserialize` for it and all it contains, and let it borrow nothing",
    note = "of a foreign type return the value inside (the `T` of a `Json<T>`), of an array longer than 32 a `Vec`, or give a `handler`"
)]
pub trait Storable: Serialize + DeserializeOwned + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> Storable for T {}

/// A [`Storable`] value that can also stay in memory and be given out again: one that can be cloned and that threads can
/// share.
///
/// It is implemented for all of them, and by nothing else. A large value is cloned cheaply in an [`Arc`](std::sync::Arc):
/// `Arc<T>` is stored as its `T` is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot stay in memory between calls",
    label = "this type is not `Clone + Send + Sync`, or cannot be written to a cache and read back",
    note = "derive `Clone`, `serde::Serialize` and `serde::Deserialize`, or use the `_stored` method of the same name"
)]
pub trait Shareable: Storable + Clone + Send + Sync {}

#[diagnostic::do_not_recommend]
impl<T: Storable + Clone + Send + Sync> Shareable for T {}

/// Tells types apart: a checksum of the type's path. Another compiler may name a type differently, which is a miss.
pub(crate) fn type_fingerprint<T: ?Sized + 'static>() -> u64 {
    checksum(std::any::type_name::<T>().as_bytes())
}
