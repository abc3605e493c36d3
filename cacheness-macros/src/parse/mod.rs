//! Tokens to options and function; what they mean together is judged later.

mod foreign;
mod function;
mod literal;
mod options;
mod spans;
mod suggest;
mod ttl;
mod values;

pub(crate) use function::Function;
pub(crate) use literal::{bare, text};
#[cfg(test)]
pub(crate) use options::option_names;
pub(crate) use options::{Flavor, Options};
pub(crate) use suggest::nearest;
pub(crate) use values::{CallName, ShareErrors, SingleFlight, Ttl, Version};
