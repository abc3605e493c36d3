//! Names that nothing else has: for files being written and for blobs.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Clock, SystemClock};
use crate::util::digest::{IdentityHasher, hex};

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
fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

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
