//! What shows that a payload is the one that was written.

use crate::util::digest::{Checksum, Mac, Tag};

/// What a payload must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) len: u64,
    pub(crate) checksum: u64,
    /// Of a signed blob.
    pub(crate) tag: Option<Tag>,
}

impl Expected {
    /// What a trailer says, up to its tag.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = [self.len, self.checksum].map(u64::to_le_bytes).concat();
        bytes.extend(self.tag.iter().flatten());
        bytes
    }
}

/// Takes a payload piece by piece, in order.
#[derive(Clone)]
pub(crate) struct Proof {
    checksum: Option<Checksum>,
    mac: Option<Mac>,
    len: u64,
}

impl Proof {
    /// With a checksum, if damage is to be found, and with a tag, if forgery is.
    pub(super) fn of(checks: bool, mac: Option<Mac>) -> Self {
        Self { checksum: checks.then(Checksum::new), mac, len: 0 }
    }

    /// Of bytes whose checksum alone is wanted.
    pub(crate) fn of_checksum() -> Self {
        Self::of(true, None)
    }

    /// Whether there is anything to show.
    pub(crate) fn is_needed(&self) -> bool {
        self.checksum.is_some() || self.mac.is_some()
    }

    pub(crate) fn update(&mut self, piece: &[u8]) {
        if let Some(checksum) = &mut self.checksum {
            checksum.update(piece);
        }
        if let Some(mac) = &mut self.mac {
            mac.update(piece);
        }
        self.len += piece.len() as u64;
    }

    /// What the payload is, as far as was looked at.
    pub(crate) fn found(&self) -> Expected {
        let checksum = self.checksum.as_ref().map_or(0, Checksum::finish);
        Expected { len: self.len, checksum, tag: self.ended().map(|mac| mac.finish()) }
    }

    /// Whether it is what it must be. Without the key of a tag, its checksum decides.
    pub(crate) fn shows(&self, expected: &Expected) -> bool {
        self.len == expected.len && self.has_checksum(expected.checksum) && self.is_genuine(expected)
    }

    fn has_checksum(&self, expected: u64) -> bool {
        self.checksum.as_ref().is_none_or(|checksum| checksum.finish() == expected)
    }

    fn is_genuine(&self, expected: &Expected) -> bool {
        self.ended().is_none_or(|mac| expected.tag.is_some_and(|tag| mac.is(&tag)))
    }

    fn ended(&self) -> Option<Mac> {
        let mut mac = self.mac.clone()?;
        mac.update(&self.len.to_le_bytes());
        Some(mac)
    }
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("len", &self.len).finish_non_exhaustive()
    }
}
