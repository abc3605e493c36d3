use proptest::prelude::*;

use super::*;

fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(|n| (n.wrapping_mul(n) / 7).to_le_bytes()).collect()
}

fn come_back(raw: &[u8], level: Option<u8>, width: usize) -> usize {
    let bytes = compress(raw, level, width);
    assert!(inflate(&bytes, raw.len()).unwrap() == raw, "{} bytes, level {level:?}, width {width}", raw.len());
    bytes.len()
}

#[test]
fn values_of_every_length_width_and_level_come_back() {
    let raw = numbers(BUFFER as u32 / 4 + 9);
    for width in [1, 2, 3, 4, 8] {
        for level in LEVELS {
            for len in [0, 1, 2, 5, 64, 1001, 5003] {
                come_back(&raw[..len], Some(level), width);
            }
        }
        let block = block_bytes(LEVEL);
        for len in [block - 1, block, block + 1, BUFFER, BUFFER + 7] {
            come_back(&raw[..len], None, width);
        }
    }
    come_back(&raw, Some(9), 4);
}

#[test]
fn sorted_bytes_of_numbers_are_denser_than_the_numbers_as_they_lie() {
    let raw = numbers(50_000);
    let [as_bytes, as_numbers] = [1, 4].map(|width| come_back(&raw, None, width));
    assert!(as_numbers * 3 < as_bytes * 2, "{as_numbers} and {as_bytes} of {}", raw.len());
    assert_eq!(compress(&raw, None, 4)[2..4], [UNSPLIT | SORTED, 4]);
}

#[test]
fn noise_takes_no_more_than_its_headers() {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    let noise: Vec<u8> = (0..200_000).map(|_| next()).collect();
    assert_eq!(come_back(&noise, Some(5), 1), noise.len() + HEADER + 2 * 8);
}

#[test]
fn references_of_every_distance_and_length_come_back() {
    for back in [1, 2, 7, 8, 255, 256, 8190, NEAR_END, NEAR_END + 1, 8447, 8448, 73_725, 73_726, 73_727] {
        for len in [4, 5, 6, 8, 9, 10, 263, 264, 265, 519, 2000] {
            let mut raw: Vec<u8> = (0..back)
                .flat_map(|n: usize| (n as u32).wrapping_mul(2_654_435_761).to_be_bytes())
                .take(back)
                .collect();
            raw.extend((0..len).map(|n| n as u8 ^ 0xa5));
            let repeated: Vec<u8> = (0..len).map(|at| raw[at % back]).collect();
            raw.extend(repeated);
            raw.push(0);
            come_back(&raw, Some(9), 1);
        }
    }
}

/// The last distance that takes no more than one byte behind the instruction.
const NEAR_END: usize = 8191;

/// By c-blosc 1.21.7 at level 9, sorted: numbers from 0 to 39 of four bytes.
const BY_C_BLOSC: &str = "02011104a0000000a0000000490000001400000031000000\
    3f000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f08202122232425262700e06c00010000";

#[test]
fn what_c_blosc_wrote_is_read() {
    let digits: Vec<u8> =
        BY_C_BLOSC.bytes().filter_map(|digit| char::from(digit).to_digit(16)).map(|digit| digit as u8).collect();
    let buffer: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let raw: Vec<u8> = (0..40_u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(inflate(&buffer, raw.len()).unwrap(), raw);
}

#[test]
fn a_buffer_has_these_bytes_in_every_release() {
    let raw: Vec<u8> = (0..40_u32).flat_map(u32::to_le_bytes).collect();
    // The last bytes of all numbers, one after the other, then zeros. C-Blosc reads it so, too.
    let places = [[31].as_slice(), &(0..32).collect::<Vec<u8>>(), &[8], &(32..40).collect::<Vec<u8>>(), &[0]].concat();
    let stream = [&places[..], &[0xe0, 109, 0, 0, 0]].concat();
    let buffer = compress(&raw, Some(9), 4);
    let header = [2, 1, 0x11, 4, 160, 0, 0, 0, 160, 0, 0, 0, buffer.len() as u8, 0, 0, 0, 20, 0, 0, 0];
    assert_eq!(buffer[..20], header);
    assert_eq!(buffer[24..], stream, "{:?}", &buffer[24..]);
}

#[test]
fn a_header_that_is_not_ours_is_refused() {
    let raw = numbers(20_000);
    let buffer = compress(&raw, Some(1), 4);
    for at in 0..HEADER + 4 * 3 {
        for bit in 0..8 {
            let mut forged = buffer.clone();
            forged[at] ^= 1 << bit;
            let error = inflate(&forged, raw.len()).unwrap_err();
            assert!(error.is_compression(), "bit {bit} of byte {at}: {error}");
        }
    }
}

#[test]
fn a_buffer_of_another_length_than_the_value_has_left_is_refused() {
    let raw = vec![7; BUFFER];
    let (half, whole) = (compress(&raw[..BUFFER / 2], None, 1), compress(&raw, None, 1));
    assert!(inflate(&[half.clone(), half.clone()].concat(), BUFFER).is_err(), "two halves are not what is written");
    assert!(inflate(&[whole.clone(), half].concat(), BUFFER + BUFFER / 2).is_ok());
    assert!(inflate(&[whole.clone(), whole].concat(), BUFFER + BUFFER / 2).is_err());
}

#[test]
fn memory_for_a_block_is_taken_once_and_is_no_larger_than_one() {
    let mut out = Vec::new();
    // 300 bytes from one, in a block that has room for ten.
    assert_eq!(inflate_stream(&[0, 7, 0xe0, 255, 36, 0], 10, &mut out), None);
    assert!(out.capacity() <= 16, "{}", out.capacity());
    assert_eq!(inflate_stream(&[0, 7, 0xe0, 255, 35, 0], 300, &mut out), Some(()));
    assert_eq!(out, [7; 300]);
}

#[test]
fn a_reference_before_the_beginning_is_refused() {
    let mut out = Vec::new();
    for stream in [&[0, 7, 0x20, 1][..], &[0, 7, 0x3f, 255, 0, 0], &[0x20, 7], &[0, 7, 0x20], &[0, 7, 0xe0, 255]] {
        assert_eq!(inflate_stream(stream, 4, &mut out), None, "{stream:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_come_back(
        raw in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..5000),
        level in LEVELS,
        width in prop::sample::select(vec![1_usize, 2, 4, 8]),
    ) {
        come_back(&raw, Some(level), width);
    }

    #[test]
    fn random_streams_never_panic_and_give_no_more_than_was_promised(
        stream in prop::collection::vec(any::<u8>(), 0..300),
        len in 0_usize..2000,
    ) {
        let mut out = Vec::new();
        if inflate_stream(&stream, len, &mut out).is_some() {
            prop_assert_eq!(out.len(), len);
        }
        prop_assert!(out.len() <= len);
    }

    #[test]
    fn random_bytes_in_place_of_any_part_of_a_buffer_never_panic(
        part in prop::collection::vec(any::<u8>(), 1..40),
        at in any::<prop::sample::Index>(),
        width in prop::sample::select(vec![1_usize, 8]),
    ) {
        let raw = numbers(2000);
        let mut bytes = compress(&raw, None, width);
        let at = at.index(bytes.len());
        bytes.iter_mut().skip(at).zip(&part).for_each(|(byte, new)| *byte = *new);
        if let Ok(back) = inflate(&bytes, raw.len()) {
            prop_assert_eq!(back.len(), raw.len());
        }
    }
}
