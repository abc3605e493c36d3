//! A finished key.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::sink::INLINE_LEN;
use crate::digest::{IDENTITY_LEN, Identity};

/// Names and texts of parameters.
pub(super) type Texts = Arc<[(String, String)]>;

/// First byte of an identity that holds the canonical encoding itself.
const WHOLE: u8 = 0;
/// First byte of an identity that holds a digest of the canonical encoding.
const DIGEST: u8 = 1;

/// What an entry is found by: made of a value that implements [`CacheKey`](super::CacheKey), of
/// [`params!`](crate::params), or of a function and its arguments.
///
/// Two keys are equal when they stand for the same values of the same types; a key prints as 16 hexadecimal digits,
/// which name an entry but do not prove which one it is.
///
/// ```
/// use cacheness_core::ToKey;
///
/// let key = ("London", 7).to_key()?;
/// assert_eq!(key, (String::from("London"), 7).to_key()?);
/// assert_ne!(key, ("London", 7_u8).to_key()?);
/// assert_eq!(key.to_string().len(), 16);
/// # Ok::<(), cacheness_core::CacheError>(())
/// ```
#[derive(Clone)]
pub struct Key {
    hash: u64,
    len: u8,
    // Inline: a clone is a copy of a few cache lines, without an allocation or a counter shared by threads.
    identity: [u8; 1 + INLINE_LEN],
    params: Option<Texts>,
}

impl Key {
    /// `encoding` has at most [`INLINE_LEN`] bytes; `hash` is its checksum.
    #[inline]
    pub(super) fn of_short(hash: u64, encoding: &[u8], params: Option<Texts>) -> Self {
        Self::with_identity(hash, WHOLE, encoding, params)
    }

    pub(super) fn of_digest(hash: u64, digest: Identity, params: Option<Texts>) -> Self {
        const { assert!(IDENTITY_LEN <= INLINE_LEN) };
        Self::with_identity(hash, DIGEST, &digest, params)
    }

    #[inline]
    fn with_identity(hash: u64, kind: u8, content: &[u8], params: Option<Texts>) -> Self {
        let mut identity = [0; 1 + INLINE_LEN];
        identity[0] = kind;
        identity[1..=content.len()].copy_from_slice(content);
        Self { hash, len: 1 + content.len() as u8, identity, params }
    }

    /// XXH3-64 of the canonical encoding: quick to look up by, but different keys with one hash are easy to make.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// What tells this key from every other one, also from chosen ones: a zero byte and the canonical encoding if that
    /// has at most 128 bytes, else a one byte and the 32 bytes of its BLAKE3 digest.
    #[inline]
    pub fn identity(&self) -> &[u8] {
        &self.identity[..usize::from(self.len)]
    }

    /// Names and `Debug` texts of the parameters, sorted by name, of a key made by [`params!`](crate::params); empty for
    /// other keys.
    pub fn params(&self) -> &[(String, String)] {
        self.params.as_deref().unwrap_or_default()
    }

    /// The same key with another hash, for tests of what happens when hashes collide.
    #[cfg(test)]
    pub(crate) fn with_hash(mut self, hash: u64) -> Self {
        self.hash = hash;
        self
    }
}

impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Key {}

impl Hash for Key {
    /// Feeds the identity and not the XXH3 value, so that chosen keys cannot degrade a map with a secret hasher.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.hash)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_one_hash_are_still_two_keys() {
        let one = Key::of_short(1, b"a", None);
        let other = Key::of_short(2, b"b", None).with_hash(1);
        assert_eq!(one.hash(), other.hash());
        assert_ne!(one, other);
    }

    #[test]
    fn an_encoding_that_looks_like_a_digest_is_not_one() {
        assert_ne!(Key::of_short(1, &[7; IDENTITY_LEN], None), Key::of_digest(1, [7; IDENTITY_LEN], None));
    }

    #[test]
    fn a_key_prints_as_16_digits_also_when_its_hash_is_small() {
        let key = Key::of_short(0xab, b"", None);
        assert_eq!(format!("{key} {key:?}"), "00000000000000ab 00000000000000ab");
    }
}
