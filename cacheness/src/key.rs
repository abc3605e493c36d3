//! What makes a [`Key`]: text, numbers, tuples, [`params!`](crate::params), any type that is `serde::Serialize` or
//! [`CacheKey`](trait@crate::CacheKey).
//!
//! ```
//! use cacheness::key::ToKey;
//! use cacheness::params;
//!
//! # fn main() -> cacheness::Result<()> {
//! assert_ne!(("ab", "c").to_key()?, ("a", "bc").to_key()?);
//! assert_eq!(params! { a: 1, b: 2 }.to_key()?, params! { b: 2, a: 1 }.to_key()?);
//! # Ok(())
//! # }
//! ```

#[doc(no_inline)]
pub use crate::{CacheKey, Key, params};
pub use cacheness_core::{KeyFields, KeyWriter, Params, PendingKey, SerdeKey, ToKey, serialize_key};
