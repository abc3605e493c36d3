use proptest::prelude::*;

use super::open::Opened;
use super::*;
use crate::{CacheError, Result};

const LIMITS: Limits = Limits::DEFAULT;

fn sealed(header: &[u8], payload: &[u8]) -> Vec<u8> {
    let envelope = seal(header, payload, &LIMITS).unwrap();
    let bytes = envelope.parts().concat();
    assert_eq!(envelope.len(), bytes.len() as u64);
    bytes
}

/// 300 bytes in all.
fn sample() -> Vec<u8> {
    let header: Vec<u8> = (0..54).collect();
    let payload: Vec<u8> = (0..200u8).map(|n| n.wrapping_mul(37)).collect();
    let bytes = sealed(&header, &payload);
    assert_eq!(bytes.len(), 300);
    bytes
}

fn damage<T: std::fmt::Debug>(result: Result<T>, context: &str) -> CacheError {
    let error = result.expect_err(context);
    assert!(error.is_integrity(), "{context}: {error:?}");
    error
}

#[test]
fn what_was_sealed_is_what_is_opened() {
    for (header, payload) in [(&b""[..], &b""[..]), (b"h", b""), (b"", b"p"), (b"head", &[7; 100_000])] {
        let bytes = sealed(header, payload);
        assert_eq!(open(&bytes, &LIMITS).unwrap(), Opened { header, payload });
        assert_eq!(bytes.len() as u64, OVERHEAD + (header.len() + payload.len()) as u64);
    }
}

#[test]
fn the_ends_of_a_blob_tell_what_is_between_them_and_any_damage_to_them_is_found() {
    let good = sample();
    let (start, end) = (&good[..76], &good[276..]);
    let ends = open_ends(start, end, 300, &LIMITS).unwrap();
    assert_eq!((ends.header, ends.payload_start, ends.payload_len), (&good[14..68], 76, 200));
    assert_eq!(ends.payload_checksum, checksum(&good[76..276]));
    for bit in 0..100 * 8 {
        let mut bytes = [start, end].concat();
        bytes[bit / 8] ^= 1 << (bit % 8);
        damage(open_ends(&bytes[..76], &bytes[76..], 300, &LIMITS), &format!("bit {bit}"));
    }
    for len in [0, 99, 100, 299, 301] {
        damage(open_ends(start, end, len, &LIMITS), &format!("{len} bytes"));
    }
    damage(open_ends(start, &end[1..], 300, &LIMITS), "a short end");
}

#[test]
fn a_blob_whose_payload_came_in_pieces_is_the_same_blob() {
    let start = Start::of(b"header", &LIMITS).unwrap();
    let pieces = [start.bytes(), b"the ", b"payload", &start.trailer(11, checksum(b"the payload"))].concat();
    assert_eq!(pieces, sealed(b"header", b"the payload"));
}

/// A file of format version 1 is these bytes, in every later version of this crate.
#[test]
fn the_bytes_of_version_1_are_pinned() {
    let golden = [
        b"cnssblob\x01\x00\x06\x00\x00\x00".as_slice(),
        b"header",
        &GOLDEN_HEADER_CHECKSUM.to_le_bytes(),
        b"the payload",
        &11u64.to_le_bytes(),
        &GOLDEN_PAYLOAD_CHECKSUM.to_le_bytes(),
        &GOLDEN_TRAILER_CHECKSUM.to_le_bytes(),
    ]
    .concat();
    assert_eq!(sealed(b"header", b"the payload"), golden);
    assert_eq!(open(&golden, &LIMITS).unwrap(), Opened { header: b"header", payload: b"the payload" });
}

const GOLDEN_HEADER_CHECKSUM: u64 = 0xe77a_9ae8_bea2_ee85;
const GOLDEN_PAYLOAD_CHECKSUM: u64 = 0xcea6_65cc_5351_61c9;
const GOLDEN_TRAILER_CHECKSUM: u64 = 0x426c_6639_9018_41e7;

#[test]
fn every_flipped_bit_is_found() {
    let good = sample();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        damage(open(&bytes, &LIMITS), &format!("bit {bit}"));
    }
}

#[test]
fn every_truncation_appended_byte_and_doubled_file_is_found() {
    let good = sample();
    for len in 0..good.len() {
        damage(open(&good[..len], &LIMITS), &format!("{len} bytes"));
    }
    for byte in 0..=255 {
        damage(open(&[good.as_slice(), &[byte]].concat(), &LIMITS), "an appended byte");
    }
    damage(open(&good.repeat(2), &LIMITS), "a doubled file");
    damage(open(&vec![0; good.len()], &LIMITS), "zeros");
}

#[test]
fn the_payload_of_another_blob_is_found_behind_this_header() {
    let (one, other) = (sealed(b"header one", b"payload"), sealed(b"header two", b"payload"));
    let spliced = [&one[..one.len() - 31], &other[other.len() - 31..]].concat();
    let error = damage(open(&spliced, &LIMITS), "spliced");
    assert!(error.to_string().contains("another blob"), "{error}");
}

#[test]
fn the_error_names_the_damaged_part() {
    let good = sample();
    for (at, part) in [
        (0, "begin"),
        (8, "version 0"),
        (13, "claims a header"),
        (20, "damaged header"),
        (70, "damaged header"),
        (100, "damaged payload"),
        (276, "200 bytes of payload"),
        (284, "damaged payload"),
        (299, "damaged trailer"),
    ] {
        let mut bytes = good.clone();
        bytes[at] ^= if at == 8 { 1 } else { 0x80 };
        let error = damage(open(&bytes, &LIMITS), part);
        assert!(error.to_string().contains(part), "byte {at}: {error}");
    }
}

#[test]
fn another_format_version_is_told_apart_from_damage() {
    let mut bytes = sample();
    bytes[8..10].copy_from_slice(&513u16.to_le_bytes());
    let error = damage(open(&bytes, &LIMITS), "version");
    assert!(error.to_string().contains("format version 513") && error.to_string().contains("reads 1"), "{error}");
}

#[test]
fn a_header_is_read_from_the_start_of_a_file_alone() {
    let good = sample();
    let end = 14 + 54 + 8;
    for len in 0..good.len() {
        let read = open_header(&good[..len], &LIMITS).unwrap();
        match len {
            0..14 => assert_eq!(read, HeaderRead::Needs(14)),
            14..76 => assert_eq!(read, HeaderRead::Needs(end)),
            _ => assert_eq!(read, HeaderRead::Whole(&good[14..68])),
        }
    }
    for bit in 0..end * 8 {
        let mut bytes = good.clone();
        bytes[bit as usize / 8] ^= 1 << (bit % 8);
        match open_header(&bytes, &LIMITS) {
            // A length that grew can ask for more than there is: then the file is cut off.
            Ok(HeaderRead::Needs(more)) => assert!(more > bytes.len() as u64, "bit {bit}"),
            other => drop(damage(other, &format!("bit {bit}"))),
        }
    }
}

#[test]
fn who_trusts_the_payload_still_sees_every_other_bit() {
    let good = sample();
    let opened = open(&good, &LIMITS).unwrap();
    assert_eq!(open_trusting(&good, &LIMITS).unwrap(), opened);
    let (start, len) = (good.len() - opened.payload.len() - TRAILER_LEN, opened.payload.len());
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let in_payload = (start..start + len).contains(&(bit / 8));
        assert_eq!(open_trusting(&bytes, &LIMITS).is_ok(), in_payload, "bit {bit}");
    }
    for len in 0..good.len() {
        assert!(open_trusting(&good[..len], &LIMITS).is_err(), "cut at {len}");
    }
}

#[test]
fn what_is_over_the_limits_is_neither_sealed_nor_opened() {
    let mut tight = LIMITS;
    tight.max_value_bytes = 10;
    assert!(seal(b"", &[0; 11], &tight).unwrap_err().is_limit());
    assert!(open(&sealed(b"", &[0; 11]), &tight).unwrap_err().is_limit());
    assert_eq!(open(&sealed(b"", &[0; 10]), &tight).unwrap().payload, [0; 10]);
    tight.max_header_bytes = 0;
    let header = vec![0; HEADER_ROOM as usize + 1];
    assert!(seal(&header, b"", &tight).unwrap_err().is_limit());
    assert_eq!(open(&sealed(&header, b""), &tight).unwrap().header, header, "it was written within wider limits");
    let mut forged = sealed(&header, b"");
    forged[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
    damage(open(&forged, &tight), "header over every limit");
    assert!(seal(&header[1..], b"", &tight).is_ok());
}

proptest! {
    #[test]
    fn random_bytes_are_never_opened_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(&bytes, &LIMITS).is_err());
        prop_assert!(open_trusting(&bytes, &LIMITS).is_err());
        let _ = open_header(&bytes, &LIMITS);
    }

    #[test]
    fn changed_envelopes_are_never_opened_and_never_panic(
        changes in prop::collection::vec((0usize..300, any::<u8>()), 1..6),
        len in 0usize..=300,
        magic_kept in any::<bool>(),
    ) {
        let good = sample();
        let mut bytes = good.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if magic_kept {
            bytes[..10].copy_from_slice(&good[..10]);
        }
        bytes.truncate(len);
        prop_assert_eq!(open(&bytes, &LIMITS).is_ok(), bytes == good);
        let _ = open_header(&bytes, &LIMITS);
    }
}
