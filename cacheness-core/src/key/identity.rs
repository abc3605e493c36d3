//! A finished key, the files that it was made of, and the buffer that it is made in.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use super::content::Content;
use crate::config::VerifyPaths;
use crate::error::{CacheError, ErrorKind, Result};
use crate::util::digest::{self, Checksum, IDENTITY_LEN, Identity, IdentityHasher};
use crate::value::Value;

/// Names and values of parameters.
pub(super) type Noted = Arc<[(String, Value)]>;

/// The longest encoding that is its own identity.
const INLINE_LEN: usize = 128;

/// First byte of an identity that holds the canonical encoding itself.
const WHOLE: u8 = 0;
/// First byte of an identity that holds a digest of the canonical encoding.
const DIGEST: u8 = 1;

/// What tells a key from every other one. Inline: a copy is a few cache lines, without an allocation or a counter that
/// threads share.
#[derive(Clone, Copy)]
pub(super) struct Inline {
    len: u8,
    bytes: [u8; 1 + INLINE_LEN],
}

impl Inline {
    /// The identity of the empty encoding.
    #[inline]
    pub(super) fn new() -> Self {
        const { assert!(WHOLE == 0) };
        Self { len: 1, bytes: [0; 1 + INLINE_LEN] }
    }

    /// The identity of an encoding that is too long to be one itself.
    fn of_digest(digest: Identity) -> Self {
        const { assert!(IDENTITY_LEN <= INLINE_LEN) };
        let mut inline = Self::new();
        inline.bytes[0] = DIGEST;
        inline.append(&digest);
        inline
    }

    /// Appends to the encoding, if there is room for all of `new`.
    #[inline]
    pub(super) fn append(&mut self, new: &[u8]) -> bool {
        let start = usize::from(self.len);
        let end = start + new.len();
        let Some(free) = self.bytes.get_mut(start..end) else { return false };
        free.copy_from_slice(new);
        // At most 1 + INLINE_LEN, which a u8 holds.
        self.len = end as u8;
        true
    }

    /// All of them.
    #[inline]
    pub(super) fn identity(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The bytes without the first one.
    #[inline]
    pub(super) fn encoding(&self) -> &[u8] {
        &self.bytes[1..usize::from(self.len)]
    }
}

/// What an entry is found by: made of a value that implements [`CacheKey`](super::CacheKey), of
/// [`params!`](crate::params), or of a function and its arguments.
///
/// Two keys are equal when they stand for the same values of the same types; a key prints as 16 hexadecimal digits,
/// which name an entry but do not prove which one it is.
///
/// ```
/// use cacheness::key::ToKey;
///
/// let key = ("London", 7).to_key()?;
/// assert_eq!(key, (String::from("London"), 7).to_key()?);
/// assert_ne!(key, ("London", 7_u8).to_key()?);
/// assert_eq!(key.to_string().len(), 16);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[derive(Clone)]
pub struct Key {
    hash: u64,
    identity: Inline,
    params: Option<Noted>,
    sources: Sources,
}

impl Key {
    /// `hash` is the checksum of the encoding.
    #[inline]
    pub(super) fn from_parts(hash: u64, identity: Inline, params: Option<Noted>) -> Self {
        Self { hash, identity, params, sources: Sources::none() }
    }

    /// The same key, which was made of these files and directories.
    #[inline]
    pub(super) fn made_of(self, sources: Sources) -> Self {
        Self { sources, ..self }
    }

    /// The same key, which no longer knows what it was made of.
    pub(crate) fn without_sources(&self) -> Self {
        Self { hash: self.hash, identity: self.identity, params: self.params.clone(), sources: Sources::none() }
    }

    /// Whether files or directories are part of the key.
    #[inline]
    pub(crate) fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Looks whether all files and directories still are what the key was made of. Blocks if there are any.
    ///
    /// # Errors
    ///
    /// `Storage` if one has changed or cannot be read.
    pub(crate) fn check_sources(&self) -> crate::error::Result<()> {
        self.sources.check()
    }

    /// The key with this hash and this [`identity`](Self::identity), if it is one.
    pub(crate) fn from_stored(hash: u64, identity: &[u8], params: &[(String, Value)]) -> Option<Self> {
        let (&kind, encoding) = identity.split_first()?;
        let mut inline = Inline::new();
        inline.bytes[0] = kind;
        let params = (!params.is_empty()).then(|| params.into());
        inline.append(encoding).then_some(Self { hash, identity: inline, params, sources: Sources::none() })
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
        self.identity.identity()
    }

    /// BLAKE3 of the canonical encoding, also of one that is short enough to be its own identity.
    pub(crate) fn digest(&self) -> Identity {
        match self.identity().split_first() {
            Some((&DIGEST, digest)) => digest.try_into().unwrap_or_else(|_| digest::identity(digest)),
            Some((_, encoding)) => digest::identity(encoding),
            None => digest::identity(&[]),
        }
    }

    /// Names and values of the parameters, sorted by name, of a key made by [`params!`](crate::params); empty for other
    /// keys. A parameter that is neither number, text, truth value nor `None` is shown as the text of its `Debug` output.
    pub fn params(&self) -> &[(String, Value)] {
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

// Files and directories that a key was made of.

/// A path in a key, and what lay there when the key was made.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) content: Content,
}

impl Source {
    /// Looks whether the same lies there still.
    ///
    /// # Errors
    ///
    /// `Storage` if not; those of [`Content::of`].
    pub(super) fn check(&self, verify: VerifyPaths) -> Result<()> {
        if Content::of(&self.path, verify)? == self.content {
            return Ok(());
        }
        let message = format!(
            "`{}` has changed since the key was made of its content: leave what the call itself writes out of the key",
            self.path.display()
        );
        Err(CacheError::new(ErrorKind::Storage, message))
    }
}

/// All of them. Most keys have none.
#[derive(Clone)]
pub(super) struct Sources(Option<Arc<(VerifyPaths, Box<[Source]>)>>);

impl Sources {
    #[inline]
    pub(super) fn of(all: Vec<Source>, verify: VerifyPaths) -> Self {
        if all.is_empty() { Self::none() } else { Self::some(all, verify) }
    }

    #[cold]
    fn some(all: Vec<Source>, verify: VerifyPaths) -> Self {
        Self(Some(Arc::new((verify, all.into()))))
    }

    #[inline]
    pub(super) const fn none() -> Self {
        Self(None)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Checks each [`Source`].
    pub(super) fn check(&self) -> Result<()> {
        self.0.as_deref().map_or(Ok(()), |(verify, all)| all.iter().try_for_each(|source| source.check(*verify)))
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

// Where canonical bytes go: inline while they are few, then the heap, then only hashers.

/// From this length on bytes are hashed as they come and not kept, so that a large argument is never held twice.
const HEAP_LEN: usize = 64 << 10;

pub(super) enum Sink {
    Inline(Inline),
    Heap(Vec<u8>),
    Hashed(Box<Hashers>),
    /// All bytes are kept, whatever their number: they are going to be sorted.
    Kept(Vec<u8>),
}

pub(super) struct Hashers {
    checksum: Checksum,
    identity: IdentityHasher,
    /// Bytes not hashed yet: both algorithms are several times faster on large pieces.
    pending: Vec<u8>,
}

impl Hashers {
    fn update(&mut self, bytes: &[u8]) {
        if self.pending.len() + bytes.len() > HEAP_LEN {
            self.flush();
        }
        if bytes.len() > HEAP_LEN {
            self.hash(bytes);
        } else {
            self.pending.extend_from_slice(bytes);
        }
    }

    fn flush(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        self.hash(&pending);
        pending.clear();
        self.pending = pending;
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.checksum.update(bytes);
        self.identity.update(bytes);
    }

    fn finish(&mut self) -> (u64, Inline) {
        self.flush();
        (self.checksum.finish(), Inline::of_digest(self.identity.finish()))
    }
}

impl Sink {
    #[inline]
    pub(super) fn new() -> Self {
        Self::Inline(Inline::new())
    }

    pub(super) fn kept() -> Self {
        Self::Kept(Vec::new())
    }

    #[inline]
    pub(super) fn append(&mut self, new: &[u8]) {
        if let Self::Inline(inline) = self
            && inline.append(new)
        {
            return;
        }
        self.append_outside(new);
    }

    #[cold]
    fn append_outside(&mut self, new: &[u8]) {
        match self {
            Self::Kept(bytes) => bytes.extend_from_slice(new),
            Self::Hashed(hashers) => hashers.update(new),
            Self::Heap(bytes) if bytes.len() + new.len() <= HEAP_LEN => bytes.extend_from_slice(new),
            Self::Heap(bytes) => *self = Self::hashed(std::mem::take(bytes), new),
            Self::Inline(inline) => *self = Self::spilled(inline.encoding(), new),
        }
    }

    fn spilled(old: &[u8], new: &[u8]) -> Self {
        if old.len() + new.len() > HEAP_LEN {
            return Self::hashed(old.to_vec(), new);
        }
        let mut bytes = Vec::with_capacity((old.len() + new.len()).next_power_of_two());
        bytes.extend_from_slice(old);
        bytes.extend_from_slice(new);
        Self::Heap(bytes)
    }

    fn hashed(old: Vec<u8>, new: &[u8]) -> Self {
        let mut hashers = Hashers { checksum: Checksum::new(), identity: IdentityHasher::new(), pending: old };
        hashers.update(new);
        Self::Hashed(Box::new(hashers))
    }

    /// The identity of what was appended, as long as that is the encoding itself.
    #[inline]
    pub(super) fn identity(&self) -> Option<&[u8]> {
        match self {
            Self::Inline(inline) => Some(inline.identity()),
            Self::Heap(_) | Self::Hashed(_) | Self::Kept(_) => None,
        }
    }

    /// What was appended, as long as it is kept.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Inline(inline) => Some(inline.encoding()),
            Self::Heap(bytes) | Self::Kept(bytes) => Some(bytes),
            Self::Hashed(_) => None,
        }
    }

    /// Hash and identity of what was appended. In place: moving the buffer would take longer than hashing it.
    #[inline]
    pub(super) fn finish(&mut self) -> (u64, Inline) {
        match self {
            Self::Inline(inline) => (digest::checksum(inline.encoding()), *inline),
            Self::Heap(bytes) | Self::Kept(bytes) => whole(bytes),
            Self::Hashed(hashers) => hashers.finish(),
        }
    }
}

fn whole(bytes: &[u8]) -> (u64, Inline) {
    let mut inline = Inline::new();
    if !inline.append(bytes) {
        inline = Inline::of_digest(digest::identity(bytes));
    }
    (digest::checksum(bytes), inline)
}

#[cfg(test)]
mod tests {
    use super::{INLINE_LEN, *};
    use crate::key::Key;

    fn short(hash: u64, encoding: &[u8]) -> Key {
        let mut identity = Inline::new();
        assert!(identity.append(encoding));
        Key::from_parts(hash, identity, None)
    }

    #[test]
    fn keys_with_one_hash_are_still_two_keys() {
        let one = short(1, b"a");
        let other = short(2, b"b").with_hash(1);
        assert_eq!(one.hash(), other.hash());
        assert_ne!(one, other);
    }

    #[test]
    fn an_encoding_that_looks_like_a_digest_is_not_one() {
        let digest = Key::from_parts(1, Inline::of_digest([7; IDENTITY_LEN]), None);
        assert_ne!(short(1, &[7; IDENTITY_LEN]), digest);
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut identity = Inline::new();
        assert!(identity.append(&[1; INLINE_LEN - 1]) && !identity.append(&[2; 2]));
        assert_eq!(identity.encoding(), [1; INLINE_LEN - 1]);
        assert!(identity.append(&[3]) && !identity.append(&[4]));
    }

    #[test]
    fn a_key_prints_as_16_digits_also_when_its_hash_is_small() {
        let key = short(0xab, b"");
        assert_eq!(format!("{key} {key:?}"), "00000000000000ab 00000000000000ab");
    }

    impl Sink {
        fn key(mut self) -> Key {
            let (hash, identity) = self.finish();
            Key::from_parts(hash, identity, None)
        }
    }

    fn appended(total: usize, step: usize) -> Sink {
        let mut sink = Sink::new();
        let bytes: Vec<u8> = (0..total).map(|i| (i * 7 % 251) as u8).collect();
        bytes.chunks(step).for_each(|part| sink.append(part));
        sink
    }

    #[test]
    fn the_size_of_the_parts_does_not_matter_at_any_length() {
        for total in [0, 1, 127, 128, 129, 1000, HEAP_LEN - 1, HEAP_LEN, HEAP_LEN + 1, 200_000] {
            let whole = appended(total, usize::MAX).key();
            for step in [1, 3, 128, 129, 65_536] {
                assert_eq!(appended(total, step).key(), whole, "{total} bytes in parts of {step}");
                assert_eq!(appended(total, step).key().hash(), whole.hash());
            }
        }
    }

    #[test]
    fn few_bytes_stay_inline_and_many_are_not_kept() {
        assert!(matches!(appended(INLINE_LEN, 16), Sink::Inline(_)));
        assert!(matches!(appended(INLINE_LEN + 1, 16), Sink::Heap(_)));
        assert!(matches!(appended(HEAP_LEN, 16), Sink::Heap(_)));
        assert!(matches!(appended(HEAP_LEN + 1, 16), Sink::Hashed(_)));
    }

    #[test]
    fn a_long_encoding_has_the_published_digests() {
        let bytes = vec![9; 300];
        let mut sink = Sink::new();
        sink.append(&bytes);
        let key = sink.key();
        assert_eq!(key.hash(), digest::checksum(&bytes));
        assert_eq!(key.identity()[0], 1);
        assert_eq!(key.identity()[1..], digest::identity(&bytes));
    }
}
