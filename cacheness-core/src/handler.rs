//! What can be stored.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type whose values can be stored: it implements `Serialize` and `Deserialize` and borrows nothing.
#[diagnostic::on_unimplemented(
    message = "a value of type `{Self}` cannot be stored in a cache",
    label = "what is stored must implement `Serialize` and `Deserialize` and borrow nothing",
    note = "derive `serde::Serialize` and `serde::Deserialize` for `{Self}`"
)]
pub trait Storable: Serialize + DeserializeOwned + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> Storable for T {}
