//! Lists and maps, encoded and decoded to a limited depth: two bytes from a disk are enough for one more level, and a
//! stack that runs out ends the process.

use std::cell::Cell;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) const DEEPEST: usize = 32;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// One level; leaves it when dropped, also by a panic.
struct Level;

impl Level {
    fn enter() -> Result<Self, String> {
        let depth = DEPTH.get();
        if depth == DEEPEST {
            return Err(format!("metadata is nested more than {DEEPEST} deep"));
        }
        DEPTH.set(depth + 1);
        Ok(Self)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

pub(super) fn serialize<T: Serialize, S: Serializer>(values: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let _level = Level::enter().map_err(serde::ser::Error::custom)?;
    values.serialize(serializer)
}

pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let _level = Level::enter().map_err(serde::de::Error::custom)?;
    T::deserialize(deserializer)
}
