use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// A key with its hash, which is made once a call: a flight looks its key up three times.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hashed<K> {
    hash: u64,
    key: K,
}

impl<K: Hash> Hashed<K> {
    pub(super) fn new(key: K, state: &RandomState) -> Self {
        Self { hash: state.hash_one(&key), key }
    }

    /// One of `count` shards. Not by the lowest bits, which the maps use themselves.
    pub(super) fn shard(&self, count: usize) -> usize {
        (self.hash >> 32) as usize % count
    }
}

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Takes the hash of a [`Hashed`] as it is.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Never called by `Hashed`, but right for everything.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
