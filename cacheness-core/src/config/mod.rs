//! What can be configured, and how.

mod durability;

pub use durability::Durability;
