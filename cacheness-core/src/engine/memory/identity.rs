//! How values are found: by the identity of their key, hashed with a secret of this process.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use super::Held;
use crate::util::digest;

/// The key of a value in memory, which lies beside the value. Borrows as its identity, so that it is found without being
/// made.
#[derive(Clone, Debug)]
pub(super) struct Slot(pub(super) Arc<Held>);

impl Slot {
    pub(super) fn identity(&self) -> &[u8] {
        self.0.key.identity()
    }
}

impl Borrow<[u8]> for Slot {
    fn borrow(&self) -> &[u8] {
        self.identity()
    }
}

impl Hash for Slot {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Slot {}

/// A hasher with a secret seed: keys with one XXH3 value are easy to make, and must not meet in one place here.
#[derive(Clone, Debug)]
pub(super) struct Secret(u64);

impl Secret {
    pub(super) fn new() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }
}

impl BuildHasher for Secret {
    type Hasher = Seeded;

    #[inline]
    fn build_hasher(&self) -> Seeded {
        Seeded(self.0)
    }
}

/// Hashes one slice.
#[derive(Debug)]
pub(super) struct Seeded(u64);

impl Hasher for Seeded {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0 = digest::seeded(self.0, bytes);
    }

    /// The length, which the hash of the one slice that follows depends on anyway.
    #[inline]
    fn write_usize(&mut self, _: usize) {}

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
