//! A value to bytes and back: the handlers and their registry, the formats of serde, vectors of numbers, the shape of a
//! type, and compression.

pub(crate) mod compress;
pub(crate) mod handler;
pub(crate) mod native;

use std::borrow::Cow;

use self::handler::Encoded;
use self::native::Body;
use crate::util::digest::{self, Checksum};

/// What is to be stored of a value.
#[derive(Debug)]
pub(crate) enum Content<'v> {
    /// Its bytes.
    Bytes(Parts<'v>),
    /// The value itself, to be written where it lies.
    Body(Body<'v>),
}

impl<'v, P: Into<Parts<'v>>> From<P> for Content<'v> {
    fn from(parts: P) -> Self {
        Self::Bytes(parts.into())
    }
}

impl<'v, 'w: 'v> From<&'v Encoded<'w>> for Content<'v> {
    fn from(encoded: &'v Encoded<'w>) -> Self {
        match encoded.body {
            Some(body) => Self::Body(body),
            None => Self::Bytes((&encoded.bytes).into()),
        }
    }
}

// The bytes of a value in two pieces: what was made for it, and what is taken from the value as it lies in memory.

/// Bytes that lie in two places and count as one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts<'v> {
    head: Cow<'v, [u8]>,
    tail: &'v [u8],
}

impl<'v> Parts<'v> {
    pub(crate) fn new(head: impl Into<Cow<'v, [u8]>>, tail: &'v [u8]) -> Self {
        Self { head: head.into(), tail }
    }

    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// The pieces in order; one of them may be empty.
    pub(crate) fn pieces(&self) -> [&[u8]; 2] {
        [&self.head, self.tail]
    }

    pub(crate) fn checksum(&self) -> u64 {
        match self.pieces() {
            [bytes, []] | [[], bytes] => digest::checksum(bytes),
            pieces => {
                let mut sum = Checksum::new();
                pieces.into_iter().for_each(|piece| sum.update(piece));
                sum.finish()
            }
        }
    }

    /// All of it in one place: a copy only if it lies in two.
    pub(crate) fn contiguous(&self) -> Cow<'_, [u8]> {
        match self.pieces() {
            [bytes, []] | [[], bytes] => Cow::Borrowed(bytes),
            pieces => Cow::Owned(pieces.concat()),
        }
    }

    /// The same bytes without the value.
    pub(crate) fn into_owned(self) -> Parts<'static> {
        let mut copying = self.copying();
        while copying.step() {}
        copying.finish()
    }

    /// [`into_owned`](Self::into_owned) in steps, for those who must not be away for long.
    pub(crate) fn copying(self) -> Copying<'v> {
        let mut to = self.head.into_owned();
        to.reserve_exact(self.tail.len());
        Copying { rest: self.tail, to }
    }
}

/// Bytes being copied, some at a time.
#[derive(Debug)]
pub(crate) struct Copying<'v> {
    rest: &'v [u8],
    to: Vec<u8>,
}

impl Copying<'_> {
    /// What is copied at a time: with the first touch of the memory that it takes, half a millisecond.
    const STEP: usize = 1 << 20;

    /// Copies some more; says whether there is anything left.
    pub(crate) fn step(&mut self) -> bool {
        let (now, rest) = self.rest.split_at(self.rest.len().min(Self::STEP));
        self.to.extend_from_slice(now);
        self.rest = rest;
        !rest.is_empty()
    }

    /// The copy, what is left of it made at once.
    pub(crate) fn finish(mut self) -> Parts<'static> {
        self.to.extend_from_slice(self.rest);
        self.to.into()
    }
}

impl From<Vec<u8>> for Parts<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes, &[])
    }
}

impl<'v> From<&'v [u8]> for Parts<'v> {
    fn from(bytes: &'v [u8]) -> Self {
        Self::new(&[][..], bytes)
    }
}

impl<'v> From<&'v Vec<u8>> for Parts<'v> {
    fn from(bytes: &'v Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl<'v, 'w: 'v> From<&'v Parts<'w>> for Parts<'v> {
    fn from(parts: &'v Parts<'w>) -> Self {
        Self::new(&*parts.head, parts.tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pieces_count_as_one_run_of_bytes() {
        let whole: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for at in [0, 8, 500, 1000] {
            let parts = Parts::new(whole[..at].to_vec(), &whole[at..]);
            assert_eq!((parts.len(), parts.checksum()), (whole.len(), digest::checksum(&whole)), "{at}");
            assert_eq!(parts.contiguous(), whole);
            assert_eq!(Parts::from(&parts).into_owned().pieces(), [whole.as_slice(), &[]]);
        }
    }

    #[test]
    fn a_copy_is_the_same_in_steps_and_at_once() {
        let value: Vec<u8> = (0..=250).cycle().take(Copying::STEP * 2 + 5).collect();
        let parts = || Parts::new(vec![1, 2, 3], &value);
        let mut copying = parts().copying();
        assert_eq!([copying.step(), copying.step(), copying.step()], [true, true, false]);
        for copy in [copying.finish(), parts().copying().finish(), parts().into_owned()] {
            assert!(copy.contiguous() == parts().contiguous());
        }
    }

    #[test]
    fn what_lies_in_one_place_is_not_copied() {
        let whole = vec![1, 2, 3];
        assert!(matches!(Parts::from(&whole).contiguous(), Cow::Borrowed(bytes) if bytes.as_ptr() == whole.as_ptr()));
    }
}
