//! Where canonical bytes go: inline while they are few, then the heap, then only hashers.

use super::Key;
use super::identity::Texts;
use crate::digest::{self, Checksum, IdentityHasher};

/// The longest encoding that is its own identity.
pub(super) const INLINE_LEN: usize = 128;

/// From this length on bytes are hashed as they come and not kept, so that a large argument is never held twice.
const HEAP_LEN: usize = 64 << 10;

pub(super) enum Sink {
    Inline {
        len: u8,
        bytes: [u8; INLINE_LEN],
    },
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

    fn into_key(mut self, params: Option<Texts>) -> Key {
        self.flush();
        Key::of_digest(self.checksum.finish(), self.identity.finish(), params)
    }
}

impl Sink {
    #[inline]
    pub(super) fn new() -> Self {
        Self::Inline { len: 0, bytes: [0; INLINE_LEN] }
    }

    pub(super) fn kept() -> Self {
        Self::Kept(Vec::new())
    }

    #[inline]
    pub(super) fn append(&mut self, new: &[u8]) {
        if let Self::Inline { len, bytes } = self {
            let start = usize::from(*len);
            if let Some(free) = bytes.get_mut(start..start + new.len()) {
                free.copy_from_slice(new);
                // At most INLINE_LEN, which a u8 holds.
                *len = (start + new.len()) as u8;
                return;
            }
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
            Self::Inline { len, bytes } => *self = Self::spilled(&bytes[..usize::from(*len)], new),
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

    #[inline]
    pub(super) fn into_key(self, params: Option<Texts>) -> Key {
        match self {
            Self::Inline { len, bytes } => Key::of_bytes(&bytes[..usize::from(len)], params),
            Self::Heap(bytes) | Self::Kept(bytes) => Key::of_bytes(&bytes, params),
            Self::Hashed(hashers) => hashers.into_key(params),
        }
    }
}

impl Key {
    /// The key whose canonical encoding is `bytes`.
    #[inline]
    fn of_bytes(bytes: &[u8], params: Option<Texts>) -> Self {
        let hash = digest::checksum(bytes);
        if bytes.len() <= INLINE_LEN {
            return Self::of_short(hash, bytes, params);
        }
        Self::of_digest(hash, digest::identity(bytes), params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appended(total: usize, step: usize) -> Sink {
        let mut sink = Sink::new();
        let bytes: Vec<u8> = (0..total).map(|i| (i * 7 % 251) as u8).collect();
        bytes.chunks(step).for_each(|part| sink.append(part));
        sink
    }

    #[test]
    fn the_size_of_the_parts_does_not_matter_at_any_length() {
        for total in [0, 1, 127, 128, 129, 1000, HEAP_LEN - 1, HEAP_LEN, HEAP_LEN + 1, 200_000] {
            let whole = appended(total, usize::MAX).into_key(None);
            for step in [1, 3, 128, 129, 65_536] {
                assert_eq!(appended(total, step).into_key(None), whole, "{total} bytes in parts of {step}");
                assert_eq!(appended(total, step).into_key(None).hash(), whole.hash());
            }
        }
    }

    #[test]
    fn few_bytes_stay_inline_and_many_are_not_kept() {
        assert!(matches!(appended(INLINE_LEN, 16), Sink::Inline { .. }));
        assert!(matches!(appended(INLINE_LEN + 1, 16), Sink::Heap(_)));
        assert!(matches!(appended(HEAP_LEN, 16), Sink::Heap(_)));
        assert!(matches!(appended(HEAP_LEN + 1, 16), Sink::Hashed(_)));
    }

    #[test]
    fn a_long_encoding_has_the_published_digests() {
        let bytes = vec![9; 300];
        let mut sink = Sink::new();
        sink.append(&bytes);
        let key = sink.into_key(None);
        assert_eq!(key.hash(), digest::checksum(&bytes));
        assert_eq!(key.identity()[0], 1);
        assert_eq!(key.identity()[1..], digest::identity(&bytes));
    }
}
