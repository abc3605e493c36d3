//! Where canonical bytes go: inline while they are few, then the heap, then only hashers.

use super::identity::Inline;
use crate::util::digest::{self, Checksum, IdentityHasher};

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
    use super::super::Key;
    use super::super::identity::INLINE_LEN;
    use super::*;

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
