//! The payload of a stream: its bytes in chunks of one length, each with a checksum of its own behind it.
//!
//! So a reader checks what it is about to return without having read the rest, and finds any place in the stream by
//! arithmetic. A chunk's checksum covers its place and the blob's header too: one that turns up elsewhere is damaged.
//! The last chunk is as long as what is left, and an empty stream has none; how long it is, the trailer says.

use crate::digest::checksum_within;

/// Bytes of the stream in every chunk but the last.
pub(crate) const CHUNK_LEN: usize = 256 << 10;
/// What follows the bytes of a chunk.
pub(crate) const SUM_LEN: usize = 8;

const STORED_LEN: u64 = (CHUNK_LEN + SUM_LEN) as u64;

/// The checksum of the chunk at a place, in the blob with this header.
pub(crate) fn sum(header_checksum: u64, chunk: u64, bytes: &[u8]) -> [u8; SUM_LEN] {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&header_checksum.to_le_bytes());
    place[8..].copy_from_slice(&chunk.to_le_bytes());
    checksum_within(&place, bytes).to_le_bytes()
}

/// How long the stream is that is stored in so many bytes; `None` if no stream is.
pub(crate) fn raw_len(stored: u64) -> Option<u64> {
    let rest = stored % STORED_LEN;
    let last = if rest == 0 { Some(0) } else { rest.checked_sub(SUM_LEN as u64).filter(|len| *len > 0) };
    last.map(|last| stored / STORED_LEN * CHUNK_LEN as u64 + last)
}

/// Where in the payload a chunk begins.
pub(crate) fn start_of(chunk: u64) -> u64 {
    chunk.saturating_mul(STORED_LEN)
}

/// The chunk that a place in the stream lies in, and where in it.
pub(crate) fn place_of(position: u64) -> (u64, usize) {
    (position / CHUNK_LEN as u64, (position % CHUNK_LEN as u64) as usize)
}

/// The bytes of a stored chunk, if its checksum is right.
pub(crate) fn checked(header_checksum: u64, chunk: u64, stored: &[u8]) -> Option<&[u8]> {
    let (bytes, found) = stored.split_last_chunk::<SUM_LEN>()?;
    (*found == sum(header_checksum, chunk, bytes)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_found_again_and_impossible_ones_are_none() {
        let (chunk, sum) = (CHUNK_LEN as u64, SUM_LEN as u64);
        for raw in [0, 1, chunk - 1, chunk, chunk + 1, 5 * chunk, 5 * chunk + 7] {
            assert_eq!(raw_len(raw + raw.div_ceil(chunk) * sum), Some(raw), "{raw}");
        }
        for stored in [1, sum, STORED_LEN + 1, 3 * STORED_LEN + sum] {
            assert_eq!(raw_len(stored), None, "{stored}");
        }
        assert_eq!((place_of(0), place_of(chunk - 1), place_of(3 * chunk + 5)), ((0, 0), (0, CHUNK_LEN - 1), (3, 5)));
        assert_eq!(start_of(3), 3 * STORED_LEN);
    }

    #[test]
    fn a_chunk_with_a_flipped_bit_in_another_place_or_of_another_blob_is_not_believed() {
        let bytes: Vec<u8> = (0..100).collect();
        let stored = [bytes.as_slice(), &sum(7, 3, &bytes)].concat();
        assert_eq!(checked(7, 3, &stored), Some(bytes.as_slice()));
        assert_eq!(checked(7, 2, &stored), None);
        assert_eq!(checked(8, 3, &stored), None);
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(checked(7, 3, &damaged), None, "bit {bit}");
        }
        assert_eq!(checked(7, 3, &stored[..7]), None);
    }

    #[test]
    fn the_layout_of_version_1_is_pinned() {
        assert_eq!(CHUNK_LEN, 262_144);
        assert_eq!(u64::from_le_bytes(sum(1, 2, b"chunk")), GOLDEN);
    }

    const GOLDEN: u64 = 16_200_266_261_140_298_242;
}
