//! A value to bytes and back: the handlers and their registry, the formats of serde, vectors of numbers, the shape of a
//! type, and compression.

pub(crate) mod compress;
pub(crate) mod handler;
pub(crate) mod parts;
