//! What must be true of keys as a whole.

#[cfg(feature = "ndarray")]
mod arrays;
mod collisions;
mod distinct;
mod golden;
mod injective;
mod limits;
mod nested_caches;
mod paths;
mod process;
mod remembered;
mod rules;
mod serde;
#[cfg(feature = "safetensors")]
mod tensors;

use super::{Key, KeyWriter, ToKey};

/// The key of something that is known to have one.
fn key(value: impl ToKey) -> Key {
    value.to_key().unwrap()
}

/// The key of a function with arguments that `encode` writes.
fn function_key(name: &str, encode: impl FnOnce(&mut KeyWriter)) -> Key {
    let mut writer = KeyWriter::new();
    writer.scope(name, None, None);
    encode(&mut writer);
    writer.finish().resolve().unwrap()
}
