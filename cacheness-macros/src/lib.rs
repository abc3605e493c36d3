//! The attribute and derive macros of `cacheness`; use them through that crate.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cache_key;

use proc_macro::TokenStream;

/// Makes a type part of keys: its path, the names of its fields and variants, and the values of its fields.
///
/// Every field has to implement `CacheKey` itself. Two helper attributes:
/// - `#[cache_key(skip)]` on a field leaves it out of the key (a connection, a secret, something derived from others);
/// - `#[cache_key(crate = path)]` on the type says where `cacheness` is, if it was renamed or is re-exported.
///
/// Renaming or moving a type, or renaming a field, makes new keys: earlier results are computed again. Type parameters
/// get the bound `CacheKey` where a field that counts contains them; const parameters are part of the key. Only types of
/// one name inside two functions of one module are not told apart.
///
/// ```
/// use cacheness::{CacheKey, ToKey};
///
/// #[derive(CacheKey)]
/// struct Query {
///     city: String,
///     days: u32,
///     #[cache_key(skip)]
///     retries: u32,
/// }
///
/// let query = |days, retries| Query { city: "London".into(), days, retries }.to_key();
/// assert_eq!(query(7, 1)?, query(7, 2)?);
/// assert_ne!(query(7, 1)?, query(8, 1)?);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[proc_macro_derive(CacheKey, attributes(cache_key))]
pub fn derive_cache_key(input: TokenStream) -> TokenStream {
    cache_key::derive(input.into()).into()
}
