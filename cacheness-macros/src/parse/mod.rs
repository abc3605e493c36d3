//! Tokens to options and function; what they mean together is judged later.

mod function;
mod options;
mod suggest;
mod ttl;

pub(crate) use function::Function;
pub(crate) use options::{CallName, Flavor, Options, Ttl, Version};
pub(crate) use suggest::nearest;
