use proptest::prelude::*;

use super::open::Opened;
use super::*;
use crate::error::{CacheError, Result};
use crate::security::{Distrust, SigningKey};
use crate::util::digest::checksum;

const LIMITS: Limits = Limits::DEFAULT;
const RULES: Rules<'_> = Rules::unsigned(&LIMITS);
/// What a plain envelope adds.
const OVERHEAD: usize = 46;

fn sealed(header: &[u8], payload: &[u8]) -> Vec<u8> {
    let envelope = seal(header, payload, RULES).unwrap();
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
        assert_eq!(open(&bytes, RULES).unwrap(), Opened { header, payload });
        assert_eq!(bytes.len(), OVERHEAD + header.len() + payload.len());
    }
}

#[test]
fn the_ends_of_a_blob_tell_what_is_between_them_and_any_damage_to_them_is_found() {
    let good = sample();
    let (start, end) = (&good[..76], &good[276..]);
    let ends = open_ends(start, end, 300, RULES).unwrap();
    assert_eq!((ends.header, ends.payload_start), (&good[14..68], 76));
    let payload = Expected { len: 200, checksum: checksum(&good[76..276]), tag: None };
    assert_eq!(ends.payload, payload);
    for bit in 0..100 * 8 {
        let mut bytes = [start, end].concat();
        bytes[bit / 8] ^= 1 << (bit % 8);
        damage(open_ends(&bytes[..76], &bytes[76..], 300, RULES), &format!("bit {bit}"));
    }
    for len in [0, 99, 100, 299, 301] {
        damage(open_ends(start, end, len, RULES), &format!("{len} bytes"));
    }
    damage(open_ends(start, &end[1..], 300, RULES), "a short end");
}

#[test]
fn a_blob_whose_payload_came_in_pieces_is_the_same_blob() {
    let start = Start::of(b"header", RULES).unwrap();
    let mut proof = start.proof();
    [&b"the "[..], b"payload"].iter().for_each(|piece| proof.update(piece));
    let pieces = [start.bytes(), b"the ", b"payload", &start.trailer(proof.found())].concat();
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
    assert_eq!(open(&golden, RULES).unwrap(), Opened { header: b"header", payload: b"the payload" });
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
        damage(open(&bytes, RULES), &format!("bit {bit}"));
    }
}

#[test]
fn every_truncation_appended_byte_and_doubled_file_is_found() {
    let good = sample();
    for len in 0..good.len() {
        damage(open(&good[..len], RULES), &format!("{len} bytes"));
    }
    for byte in 0..=255 {
        damage(open(&[good.as_slice(), &[byte]].concat(), RULES), "an appended byte");
    }
    damage(open(&good.repeat(2), RULES), "a doubled file");
    damage(open(&vec![0; good.len()], RULES), "zeros");
}

#[test]
fn the_payload_of_another_blob_is_found_behind_this_header() {
    let (one, other) = (sealed(b"header one", b"payload"), sealed(b"header two", b"payload"));
    let spliced = [&one[..one.len() - 31], &other[other.len() - 31..]].concat();
    let error = damage(open(&spliced, RULES), "spliced");
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
        (284, "damaged trailer"),
        (299, "damaged trailer"),
    ] {
        let mut bytes = good.clone();
        bytes[at] ^= if at == 8 { 1 } else { 0x80 };
        let error = damage(open(&bytes, RULES), part);
        assert!(error.to_string().contains(part), "byte {at}: {error}");
    }
}

#[test]
fn a_newer_format_version_is_told_apart_from_damage_by_the_checksum_of_the_header() {
    let mut bytes = sample();
    bytes[8..10].copy_from_slice(&513u16.to_le_bytes());
    damage(open(&bytes, RULES), "header");
    let sum = checksum(&bytes[..68]);
    bytes[68..76].copy_from_slice(&sum.to_le_bytes());
    for error in [open(&bytes, RULES).unwrap_err(), open_header(&bytes, RULES).unwrap_err()] {
        assert_eq!(Distrust::behind(&error), Some(Distrust::Newer));
        assert!(error.is_conflict() && error.to_string().contains("newer release"), "{error}");
    }
    bytes[8..10].copy_from_slice(&0u16.to_le_bytes());
    damage(open(&bytes, RULES), "version");
}

#[test]
fn a_header_is_read_from_the_start_of_a_file_alone() {
    let good = sample();
    let end = 14 + 54 + 8;
    for len in 0..good.len() {
        let read = open_header(&good[..len], RULES).unwrap();
        match len {
            0..14 => assert_eq!(read, HeaderRead::Needs(14)),
            14..76 => assert_eq!(read, HeaderRead::Needs(end)),
            _ => assert_eq!(read, HeaderRead::Whole(&good[14..68], None)),
        }
    }
    for bit in 0..end * 8 {
        let mut bytes = good.clone();
        bytes[bit as usize / 8] ^= 1 << (bit % 8);
        match open_header(&bytes, RULES) {
            // A length that grew can ask for more than there is: then the file is cut off.
            Ok(HeaderRead::Needs(more)) => assert!(more > bytes.len() as u64, "bit {bit}"),
            other => drop(damage(other, &format!("bit {bit}"))),
        }
    }
}

#[test]
fn who_trusts_the_payload_still_sees_every_other_bit() {
    let good = sample();
    let opened = open(&good, RULES).unwrap();
    assert_eq!(open_trusting(&good, RULES).unwrap(), opened);
    let (start, len) = (good.len() - opened.payload.len() - PLAIN_TRAILER_LEN, opened.payload.len());
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let in_payload = (start..start + len).contains(&(bit / 8));
        assert_eq!(open_trusting(&bytes, RULES).is_ok(), in_payload, "bit {bit}");
    }
    for len in 0..good.len() {
        assert!(open_trusting(&good[..len], RULES).is_err(), "cut at {len}");
    }
}

#[test]
fn what_is_over_the_limits_is_neither_sealed_nor_opened() {
    let mut tight = LIMITS;
    tight.max_value_bytes = 10;
    assert!(seal(b"", &[0; 11], Rules::unsigned(&tight)).unwrap_err().is_limit());
    assert!(open(&sealed(b"", &[0; 11]), Rules::unsigned(&tight)).unwrap_err().is_limit());
    assert_eq!(open(&sealed(b"", &[0; 10]), Rules::unsigned(&tight)).unwrap().payload, [0; 10]);
    tight.max_header_bytes = 0;
    let header = vec![0; HEADER_ROOM as usize + 1];
    assert!(seal(&header, b"", Rules::unsigned(&tight)).unwrap_err().is_limit());
    assert_eq!(
        open(&sealed(&header, b""), Rules::unsigned(&tight)).unwrap().header,
        header,
        "it was written within wider limits"
    );
    let mut forged = sealed(&header, b"");
    forged[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
    damage(open(&forged, Rules::unsigned(&tight)), "header over every limit");
    assert!(seal(&header[1..], b"", Rules::unsigned(&tight)).is_ok());
}

fn signing(byte: u8) -> Signing {
    Signing::with(SigningKey::from_bytes([byte; 32]), [])
}

fn sealed_by(signing: &Signing, header: &[u8], payload: &[u8]) -> Vec<u8> {
    seal(header, payload, Rules { limits: &LIMITS, signing }).unwrap().parts().concat()
}

/// Puts the checksums right that somebody without the key can put right.
fn with_right_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    let header_len = u32::from_le_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]) as usize;
    let header_end = FIXED_LEN + header_len;
    let header_sum = checksum(&bytes[..header_end]);
    bytes[header_end..header_end + 8].copy_from_slice(&header_sum.to_le_bytes());
    let (start, end) = (header_end + 8 + SIGNATURE_LEN, bytes.len() - SIGNED_TRAILER_LEN);
    let tags = bytes[end + 16..bytes.len() - 8].to_vec();
    let payload = Expected { len: (end - start) as u64, checksum: checksum(&bytes[start..end]), tag: None };
    let said = [payload.to_bytes(), tags].concat();
    let sum = checksum(&[&header_sum.to_le_bytes(), said.as_slice()].concat());
    bytes.splice(end.., [said, sum.to_le_bytes().to_vec()].concat());
    bytes
}

#[test]
fn a_signed_blob_is_opened_by_who_has_the_key_and_by_who_asks_for_none() {
    let ours = signing(1);
    let bytes = sealed_by(&ours, b"header", b"the payload");
    for signing in
        [&ours, &Signing::OFF, &Signing::with(SigningKey::from_bytes([2; 32]), [SigningKey::from_bytes([1; 32])])]
    {
        let rules = Rules { limits: &LIMITS, signing };
        assert_eq!(open(&bytes, rules).unwrap(), Opened { header: b"header", payload: b"the payload" });
        assert_eq!(open_header(&bytes, rules).unwrap(), HeaderRead::Whole(b"header", ours.key_id()));
    }
    let theirs = signing(2);
    let error = damage(open(&bytes, Rules { limits: &LIMITS, signing: &theirs }), "another key");
    assert!(Distrust::is_behind(&error), "{error}");
}

#[test]
fn a_blob_that_is_not_signed_is_believed_only_where_that_is_accepted() {
    let plain = sealed(b"header", b"payload");
    let strict = signing(1);
    let error = damage(open(&plain, Rules { limits: &LIMITS, signing: &strict }), "unsigned");
    assert!(Distrust::is_behind(&error) && error.to_string().contains("not signed"), "{error}");
    let lenient = strict.accepting_unsigned(true);
    assert!(open(&plain, Rules { limits: &LIMITS, signing: &lenient }).is_ok());
}

#[test]
fn no_flipped_bit_of_a_signed_blob_is_believed_whatever_the_checksums_say() {
    let ours = signing(1);
    let rules = Rules { limits: &LIMITS, signing: &ours };
    let good = sealed_by(&ours, b"a header", &[7; 100]);
    for bit in 14 * 8..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        for bytes in [bytes.clone(), with_right_checksums(bytes)] {
            if bytes != good {
                damage(open(&bytes, rules), &format!("bit {bit}"));
                damage(open_trusting(&bytes, rules), &format!("bit {bit}, without a look at checksums"));
            }
        }
    }
}

#[test]
fn the_payload_of_another_signed_blob_is_not_believed_behind_this_header() {
    let ours = signing(1);
    let [one, other] = [b"header one", b"header two"].map(|header| sealed_by(&ours, header, b"payload"));
    let payload_len = b"payload".len() + SIGNED_TRAILER_LEN;
    let spliced = [&one[..one.len() - payload_len], &other[other.len() - payload_len..]].concat();
    damage(open(&with_right_checksums(spliced), Rules { limits: &LIMITS, signing: &ours }), "spliced");
}

#[test]
fn a_signed_blob_that_came_in_pieces_is_checked_by_its_ends_and_its_pieces() {
    let ours = signing(1);
    let rules = Rules { limits: &LIMITS, signing: &ours };
    let start = Start::of(b"header", rules).unwrap();
    let mut written = start.proof();
    written.update(b"the payload");
    let trailer = start.trailer(written.found());
    let bytes = [start.bytes(), b"the payload", &trailer].concat();
    assert_eq!(bytes, sealed_by(&ours, b"header", b"the payload"));
    assert_eq!(trailer_len(&bytes), trailer.len());
    let ends = open_ends(start.bytes(), &trailer, bytes.len() as u64, rules).unwrap();
    for (payload, genuine) in [(b"the payload", true), (b"the pay1oad", false)] {
        let mut proof = ends.proof(false);
        proof.update(payload);
        assert_eq!(proof.shows(&ends.payload), genuine, "also where checksums are not looked at");
    }
}

#[test]
fn what_a_signed_trailer_says_is_believed_by_who_reads_no_payload_only_from_who_has_the_key() {
    let ours = signing(1);
    let rules = Rules { limits: &LIMITS, signing: &ours };
    let good = sealed_by(&ours, b"a header", &[7; 100]);
    let (start, end) = (14 + 8 + 8 + SIGNATURE_LEN, good.len() - SIGNED_TRAILER_LEN);
    assert!(open_ends(&good[..start], &good[end..], good.len() as u64, rules).is_ok());
    let cut = with_right_checksums([&good[..start + 50], &good[end..]].concat());
    damage(open_ends(&cut[..start], &cut[cut.len() - SIGNED_TRAILER_LEN..], cut.len() as u64, rules), "cut");
    assert!(open_ends(&cut[..start], &cut[cut.len() - SIGNED_TRAILER_LEN..], cut.len() as u64, RULES).is_ok());
}

/// A signed file is these bytes, in every later version of this crate.
#[test]
fn the_bytes_of_version_2_are_pinned() {
    let bytes = sealed_by(&signing(1), b"header", b"the payload");
    assert_eq!(bytes[..20], *b"cnssblob\x02\x00\x06\x00\x00\x00header");
    assert_eq!(bytes.len(), 20 + 8 + 40 + 11 + 88);
    assert_eq!(checksum(&bytes), GOLDEN_SIGNED);
}

const GOLDEN_SIGNED: u64 = 4_832_264_963_759_898_104;

proptest! {
    #[test]
    fn random_bytes_are_never_opened_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(&bytes, RULES).is_err());
        prop_assert!(open_trusting(&bytes, RULES).is_err());
        let _ = open_header(&bytes, RULES);
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
        prop_assert_eq!(open(&bytes, RULES).is_ok(), bytes == good);
        let _ = open_header(&bytes, RULES);
    }
}

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
fn seals_behind_all_chunks_are_those_behind_each_however_the_bytes_come() {
    let bytes: Vec<u8> = (0..2 * CHUNK_LEN + 77).map(|at| (at % 251) as u8).collect();
    for chunks in [plain(7), signed()[0].clone()] {
        for len in [0, 1, CHUNK_LEN, CHUNK_LEN + 1, bytes.len()] {
            let sealed = bytes[..len].chunks(CHUNK_LEN).enumerate().flat_map(|(n, chunk)| {
                let mut sealed = chunk.to_vec();
                chunks.seal(n as u64, &mut sealed);
                sealed.split_off(chunk.len())
            });
            let expected: Vec<u8> = sealed.collect();
            for part in [1000, CHUNK_LEN, 3 * CHUNK_LEN] {
                let mut seals = chunks.seals();
                bytes[..len].chunks(part).for_each(|part| seals.update(part));
                assert_eq!(seals.finish(), expected, "{len} bytes by {part}");
            }
        }
    }
}

fn sum_of(chunks: &Chunks, chunk: u64, bytes: &[u8]) -> u64 {
    let mut seal = chunks.begin(chunk);
    seal.update(bytes);
    seal.sum.finish()
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
    let sum = sum_of(&without_key, 0, &stored[..5]);
    stored[5..13].copy_from_slice(&sum.to_le_bytes());
    assert!(without_key.checked(0, &stored).is_some(), "a checksum is no defence");
    assert_eq!(signed.checked(0, &stored), None);
}

#[test]
fn the_layout_of_version_1_is_pinned() {
    assert_eq!(CHUNK_LEN, 262_144);
    assert_eq!(sum_of(&Chunks::of(1, None, &Signing::OFF), 2, b"chunk"), GOLDEN);
}

const GOLDEN: u64 = 16_200_266_261_140_298_242;
