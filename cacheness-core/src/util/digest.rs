//! Checksums and digests: the one file that names their algorithms.
//!
//! XXH3-64 finds accidents and names entries; it is never trusted to tell two keys apart, since inputs that share one
//! value are easy to make. BLAKE3 tells keys apart, and with a secret it tells what its owner wrote from what others did.

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use blake3::Hasher as Blake3;
use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use crate::clock::{Clock, SystemClock};

/// A checksum against accidental damage: XXH3-64.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// A checksum of `bytes` that also differs when `context` does: XXH3-64 seeded with the context's.
pub(crate) fn checksum_within(context: &[u8], bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, checksum(context))
}

/// A hash of `bytes` for maps in memory, by a seed that only this process knows.
#[inline]
pub(crate) fn seeded(seed: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

/// [`checksum`] over parts as they come.
#[derive(Clone)]
pub(crate) struct Checksum(Xxh3);

impl Checksum {
    pub(crate) fn new() -> Self {
        Self(Xxh3::new())
    }

    /// [`checksum_within`] over parts as they come.
    pub(crate) fn within(context: &[u8]) -> Self {
        Self(Xxh3::with_seed(checksum(context)))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0.digest()
    }
}

/// Length of an [`Identity`] in bytes.
pub(crate) const IDENTITY_LEN: usize = 32;

/// A digest that tells contents apart, also chosen ones: BLAKE3.
pub(crate) type Identity = [u8; IDENTITY_LEN];

/// The identity of some bytes.
pub(crate) fn identity(bytes: &[u8]) -> Identity {
    *blake3::hash(bytes).as_bytes()
}

/// The identity of some bytes among those of one context: no bytes have it in another one, nor without any.
pub(crate) fn identity_within(context: &'static str, bytes: &[u8]) -> Identity {
    blake3::derive_key(context, bytes)
}

/// [`identity`] over parts as they come.
pub(crate) struct IdentityHasher(Blake3);

impl IdentityHasher {
    /// One whose identities nothing outside `context` has.
    pub(crate) fn within(context: &'static str) -> Self {
        Self(Blake3::new_derive_key(context))
    }

    pub(crate) fn new() -> Self {
        Self(Blake3::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(&self) -> Identity {
        *self.0.finalize().as_bytes()
    }
}

/// Bytes that one thread digests by itself: a power of two.
#[cfg_attr(not(unix), allow(dead_code, reason = "files are read by one thread there"))]
pub(crate) const SUBTREE_LEN: u64 = 4 << 20;

/// What one thread digests of a larger whole: the bytes from a multiple of [`SUBTREE_LEN`] to the next one, or to the end.
#[cfg_attr(not(unix), allow(dead_code, reason = "files are read by one thread there"))]
pub(crate) struct Subtree(Blake3);

#[cfg_attr(not(unix), allow(dead_code, reason = "files are read by one thread there"))]
impl Subtree {
    /// The bytes from `start`, a multiple of [`SUBTREE_LEN`].
    pub(crate) fn at(start: u64) -> Self {
        let mut hasher = Blake3::new();
        hasher.set_input_offset(start);
        Self(hasher)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> ChainingValue {
        self.0.finalize_non_root()
    }
}

/// The identity of the whole whose subtrees these are. `None` of fewer than two.
#[cfg_attr(not(unix), allow(dead_code, reason = "files are read by one thread there"))]
pub(crate) fn identity_of_subtrees(subtrees: &[ChainingValue]) -> Option<Identity> {
    let (left, right) = halves(subtrees)?;
    Some(*hazmat::merge_subtrees_root(&merged(left)?, &merged(right)?, Mode::Hash).as_bytes())
}

fn merged(subtrees: &[ChainingValue]) -> Option<ChainingValue> {
    match halves(subtrees) {
        Some((left, right)) => Some(hazmat::merge_subtrees_non_root(&merged(left)?, &merged(right)?, Mode::Hash)),
        None => subtrees.first().copied(),
    }
}

/// The left one is the largest power of two that leaves something to the right. `None` of fewer than two.
fn halves(subtrees: &[ChainingValue]) -> Option<(&[ChainingValue], &[ChainingValue])> {
    let last = subtrees.len().checked_sub(1).filter(|last| *last > 0)?;
    Some(subtrees.split_at(1 << last.ilog2()))
}

/// Bytes as lowercase hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a `String` does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Length of a [`Tag`] in bytes.
pub(crate) const TAG_LEN: usize = 32;

/// What only somebody with a secret can make of some bytes: keyed BLAKE3.
pub(crate) type Tag = [u8; TAG_LEN];

/// Makes a [`Tag`] of parts as they come.
#[derive(Clone)]
pub(crate) struct Mac(Blake3);

/// Of a secret nothing is told.
impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mac")
    }
}

impl Mac {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self(Blake3::new_keyed(secret))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(&self) -> Tag {
        *self.0.finalize().as_bytes()
    }

    /// Whether this is the tag of what came. Takes the same time whatever the answer is.
    pub(crate) fn is(&self, tag: &Tag) -> bool {
        self.0.finalize() == *tag
    }
}

/// A secret for one purpose, made of another secret: nobody gets from the one to the other, or to that of another purpose.
pub(crate) fn derived_secret(purpose: &'static str, secret: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key(purpose, secret)
}

// Names that nothing else has: for files being written and for blobs.

/// How many characters a unique name has.
pub(crate) const UNIQUE_LEN: usize = 32;

/// A new name of [`UNIQUE_LEN`] lowercase hex digits.
///
/// Random bits of the process tell processes apart, also those on other machines; the counter tells calls apart. The
/// process id and the time are there for a process that was forked or cloned with its memory.
pub(crate) fn unique_name() -> String {
    static SEED: LazyLock<[u64; 2]> = LazyLock::new(|| [random(), random()]);
    static CALLS: AtomicU64 = AtomicU64::new(0);

    let mut mixed = IdentityHasher::new();
    SEED.iter().for_each(|part| mixed.update(&part.to_le_bytes()));
    mixed.update(&CALLS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    mixed.update(&std::process::id().to_le_bytes());
    mixed.update(&SystemClock.now().as_micros().to_le_bytes());
    hex(&mixed.finish()[..UNIQUE_LEN / 2])
}

/// Whether `name` could be one of [`unique_name`].
pub(crate) fn is_unique_name(name: &str) -> bool {
    name.len() == UNIQUE_LEN && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Random bits from the operating system, through the standard library's only door to them.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_tag_is_right_for_its_bytes_and_its_secret_alone() {
        let mac = |secret: u8, bytes: &[u8]| {
            let mut mac = Mac::new(&[secret; 32]);
            mac.update(bytes);
            mac
        };
        let tag = mac(1, b"value").finish();
        assert!(mac(1, b"value").is(&tag));
        assert!(!mac(2, b"value").is(&tag) && !mac(1, b"other").is(&tag));
        assert_ne!(derived_secret("one", &[1; 32]), derived_secret("other", &[1; 32]));
    }

    #[test]
    fn parts_and_whole_have_the_same_digests() {
        let whole: Vec<u8> = (0..5000u32).flat_map(u32::to_le_bytes).collect();
        let (mut sum, mut within, mut id) = (Checksum::new(), Checksum::within(b"here"), IdentityHasher::new());
        for part in whole.chunks(333) {
            sum.update(part);
            within.update(part);
            id.update(part);
        }
        assert_eq!(sum.finish(), checksum(&whole));
        assert_eq!(within.finish(), checksum_within(b"here", &whole));
        assert_eq!(id.finish(), identity(&whole));
    }

    #[test]
    fn subtrees_and_whole_have_the_same_digest() {
        let whole: Vec<u8> = (0..5 * SUBTREE_LEN as u32 / 4 + 77).flat_map(u32::to_le_bytes).collect();
        for len in [SUBTREE_LEN + 1, 2 * SUBTREE_LEN, 3 * SUBTREE_LEN - 5, whole.len() as u64] {
            let whole = &whole[..len as usize];
            let subtrees: Vec<_> = whole
                .chunks(SUBTREE_LEN as usize)
                .enumerate()
                .map(|(n, part)| {
                    let mut subtree = Subtree::at(n as u64 * SUBTREE_LEN);
                    part.chunks(100_000).for_each(|piece| subtree.update(piece));
                    subtree.finish()
                })
                .collect();
            assert_eq!(identity_of_subtrees(&subtrees), Some(identity(whole)), "{len} bytes");
        }
        assert_eq!(identity_of_subtrees(&[]), None);
    }

    #[test]
    fn the_algorithms_are_the_published_ones() {
        assert_eq!(checksum(b""), 0x2d06_8005_38d3_94c2, "XXH3-64 of nothing, seed 0");
        assert_eq!(identity(b"")[..4], [0xaf, 0x13, 0x49, 0xb9], "BLAKE3 of nothing");
    }

    #[test]
    fn no_name_comes_twice_in_ten_thousand() {
        let names: HashSet<String> = (0..10_000).map(|_| unique_name()).collect();
        assert_eq!(names.len(), 10_000);
        assert!(names.iter().all(|name| is_unique_name(name)));
    }

    #[test]
    fn other_alphabets_and_lengths_are_not_unique_names() {
        for name in ["", "0123", &"A".repeat(32), &"g".repeat(32), &"a".repeat(33), &"é".repeat(16)] {
            assert!(!is_unique_name(name), "{name}");
        }
    }
}
