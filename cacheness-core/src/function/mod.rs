//! Cached functions: the default cache, handles of functions, and what the expansions of attributes call.

pub(crate) mod default;
#[doc(hidden)]
pub mod macro_support;
pub(crate) mod utility;
