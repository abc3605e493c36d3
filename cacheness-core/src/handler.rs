//! What can be stored.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type whose values can be stored: it implements `Serialize` and `Deserialize` and borrows nothing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in a cache",
    label = "this type cannot be written to a cache and read back",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, and let it borrow nothing"
)]
pub trait Storable: Serialize + DeserializeOwned + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> Storable for T {}
