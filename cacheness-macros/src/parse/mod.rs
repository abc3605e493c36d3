//! Tokens to options and function; what they mean together is judged later.

mod function;
mod options;
mod suggest;
mod ttl;

pub(crate) use function::Function;
#[cfg(test)]
pub(crate) use options::option_names;
pub(crate) use options::{CallName, Flavor, Options, ShareErrors, Ttl, Version};
pub(crate) use suggest::nearest;
pub(crate) use ttl::bare;
