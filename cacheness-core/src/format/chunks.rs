//! The payload of a stream: its bytes in chunks of one length, each with a seal of its own behind it.
//!
//! So a reader checks what it is about to return without having read the rest, and finds any place in the stream by
//! arithmetic. A seal is a checksum and, in a signed blob, a tag. It covers the chunk's place and the blob's header too: a
//! chunk that turns up elsewhere is damaged. The last chunk is as long as what is left, and an empty stream has none; how
//! long it is, the trailer says.

use crate::security::{Purpose, Signature, Signing};
use crate::util::digest::{Mac, TAG_LEN, checksum_within};

/// Bytes of the stream in every chunk but the last.
pub(crate) const CHUNK_LEN: usize = 256 << 10;
const SUM_LEN: usize = 8;

/// The longest seal of a chunk.
pub(crate) const MAX_SEAL_LEN: usize = SUM_LEN + TAG_LEN;

/// How the chunks of one blob are sealed.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    header_checksum: u64,
    is_signed: bool,
    /// Begun with the tag of the header; none if the key is not asked for.
    mac: Option<Mac>,
}

impl Chunks {
    /// Of the blob with this header.
    pub(super) fn of(header_checksum: u64, signature: Option<&Signature>, signing: &Signing) -> Self {
        let mac = signing.begin_behind(Purpose::Chunk, signature);
        Self { header_checksum, is_signed: signature.is_some(), mac }
    }

    /// What follows the bytes of a chunk.
    pub(crate) fn seal_len(&self) -> usize {
        if self.is_signed { MAX_SEAL_LEN } else { SUM_LEN }
    }

    fn stored_len(&self) -> u64 {
        (CHUNK_LEN + self.seal_len()) as u64
    }

    /// Puts the seal behind the bytes of the chunk at a place.
    pub(crate) fn seal(&self, chunk: u64, bytes: &mut Vec<u8>) {
        let (sum, tag) = (self.sum(chunk, bytes), self.tagged(chunk, bytes).map(|mac| mac.finish()));
        bytes.extend_from_slice(&sum);
        bytes.extend(tag.iter().flatten());
    }

    /// The bytes of a stored chunk, if its seal is right.
    pub(crate) fn checked<'b>(&self, chunk: u64, stored: &'b [u8]) -> Option<&'b [u8]> {
        let (bytes, seal) = stored.split_at_checked(stored.len().checked_sub(self.seal_len())?)?;
        let (sum, tag) = seal.split_first_chunk::<SUM_LEN>()?;
        let sound = *sum == self.sum(chunk, bytes);
        let genuine = || self.tagged(chunk, bytes).is_none_or(|mac| tag.first_chunk().is_some_and(|tag| mac.is(tag)));
        (sound && genuine()).then_some(bytes)
    }

    fn sum(&self, chunk: u64, bytes: &[u8]) -> [u8; SUM_LEN] {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&self.header_checksum.to_le_bytes());
        place[8..].copy_from_slice(&chunk.to_le_bytes());
        checksum_within(&place, bytes).to_le_bytes()
    }

    fn tagged(&self, chunk: u64, bytes: &[u8]) -> Option<Mac> {
        let mut mac = self.mac.clone()?;
        mac.update(&chunk.to_le_bytes());
        mac.update(bytes);
        Some(mac)
    }

    /// How long the stream is that is stored in so many bytes; `None` if no stream is.
    pub(crate) fn raw_len(&self, stored: u64) -> Option<u64> {
        let (rest, seal_len) = (stored % self.stored_len(), self.seal_len() as u64);
        let last = if rest == 0 { Some(0) } else { rest.checked_sub(seal_len).filter(|len| *len > 0) };
        last.map(|last| stored / self.stored_len() * CHUNK_LEN as u64 + last)
    }

    /// Where in the payload a chunk begins.
    pub(crate) fn start_of(&self, chunk: u64) -> u64 {
        chunk.saturating_mul(self.stored_len())
    }

    /// The bytes of a stream of which all chunks are known to be right.
    pub(crate) fn without_seals(&self, mut stored: Vec<u8>) -> Vec<u8> {
        let (mut from, mut to) = (0, 0);
        while from < stored.len() {
            let end = stored.len().min(from + CHUNK_LEN + self.seal_len());
            let len = (end - from).saturating_sub(self.seal_len());
            stored.copy_within(from..from + len, to);
            (from, to) = (end, to + len);
        }
        stored.truncate(to);
        stored
    }
}

/// The chunk that a place in the stream lies in, and where in it.
pub(crate) fn place_of(position: u64) -> (u64, usize) {
    (position / CHUNK_LEN as u64, (position % CHUNK_LEN as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::SigningKey;

    /// Of one blob, and of another with the same header checksum.
    fn signed() -> [Chunks; 2] {
        let signing = Signing::with(SigningKey::from_bytes([1; 32]), []);
        [[0], [1]].map(|header| {
            let signature = signing.sign(Purpose::Header, &[&header]);
            Chunks::of(7, signature.as_ref(), &signing)
        })
    }

    fn plain(header_checksum: u64) -> Chunks {
        Chunks::of(header_checksum, None, &Signing::OFF)
    }

    #[test]
    fn every_length_is_found_again_and_impossible_ones_are_none() {
        let [signed, _] = signed();
        for chunks in [plain(7), signed] {
            let (chunk, seal) = (CHUNK_LEN as u64, chunks.seal_len() as u64);
            for raw in [0, 1, chunk - 1, chunk, chunk + 1, 5 * chunk, 5 * chunk + 7] {
                assert_eq!(chunks.raw_len(raw + raw.div_ceil(chunk) * seal), Some(raw), "{raw}");
            }
            let stored_len = chunk + seal;
            for stored in [1, seal, stored_len + 1, 3 * stored_len + seal] {
                assert_eq!(chunks.raw_len(stored), None, "{stored}");
            }
            assert_eq!(chunks.start_of(3), 3 * stored_len);
        }
        let chunk = CHUNK_LEN as u64;
        assert_eq!((place_of(0), place_of(chunk - 1), place_of(3 * chunk + 5)), ((0, 0), (0, CHUNK_LEN - 1), (3, 5)));
    }

    #[test]
    fn a_chunk_with_a_flipped_bit_in_another_place_or_of_another_blob_is_not_believed() {
        let [signed, other] = signed();
        for (chunks, other) in [(plain(7), plain(8)), (signed, other)] {
            let bytes: Vec<u8> = (0..100).collect();
            let mut stored = bytes.clone();
            chunks.seal(3, &mut stored);
            assert_eq!(stored.len(), 100 + chunks.seal_len());
            assert_eq!(chunks.checked(3, &stored), Some(bytes.as_slice()));
            assert_eq!(chunks.checked(2, &stored), None);
            assert_eq!(other.checked(3, &stored), None);
            for bit in 0..stored.len() * 8 {
                let mut damaged = stored.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(chunks.checked(3, &damaged), None, "bit {bit}");
            }
            assert_eq!(chunks.checked(3, &stored[..7]), None);
            assert_eq!(chunks.without_seals(stored), bytes);
        }
    }

    #[test]
    fn who_has_no_key_finds_accidents_in_signed_chunks_and_who_has_it_finds_forgeries() {
        let [signed, _] = signed();
        let without_key = Chunks { mac: None, ..signed.clone() };
        let mut stored = b"chunk".to_vec();
        signed.seal(0, &mut stored);
        assert_eq!(without_key.checked(0, &stored), Some(b"chunk".as_slice()));
        stored[0] ^= 1;
        assert_eq!(without_key.checked(0, &stored), None);
        let sum = without_key.sum(0, &stored[..5]);
        stored[5..13].copy_from_slice(&sum);
        assert!(without_key.checked(0, &stored).is_some(), "a checksum is no defence");
        assert_eq!(signed.checked(0, &stored), None);
    }

    #[test]
    fn the_layout_of_version_1_is_pinned() {
        assert_eq!(CHUNK_LEN, 262_144);
        assert_eq!(u64::from_le_bytes(Chunks::of(1, None, &Signing::OFF).sum(2, b"chunk")), GOLDEN);
    }

    const GOLDEN: u64 = 16_200_266_261_140_298_242;
}
