use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

fn bytes_of(numbers: &[u64], width: usize) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()[..width].to_vec()).collect()
}

/// As a vector of numbers is written: its length and its elements.
fn with_length(numbers: &[u64], width: usize) -> Vec<u8> {
    [&(numbers.len() as u64).to_le_bytes()[..], &bytes_of(numbers, width)].concat()
}

fn inflate(bytes: &[u8], raw_size: usize) -> Result<Vec<u8>> {
    Blocks::of(bytes, raw_size as u64, &Limits::DEFAULT)?.inflate()
}

fn noise(len: usize) -> Vec<u64> {
    let mut state = 1u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len).map(|_| next()).collect()
}

/// Compresses and inflates, from one piece and from two; says what is stored.
#[track_caller]
fn comes_back(raw: &[u8], width: usize) -> Vec<u8> {
    let stored = compress_blocks(&raw.into(), width).unwrap().bytes;
    let apart = Parts::new(raw[..raw.len().min(LEAD)].to_vec(), &raw[raw.len().min(LEAD)..]);
    assert!(compress_blocks(&apart, width).unwrap().bytes == stored, "in whichever pieces it lies");
    assert!(inflate(&stored, raw.len()).unwrap() == raw);
    stored
}

#[test]
fn blocks_have_the_bytes_they_always_had() {
    let ramps = with_length(&[10, 12, 14, 16, 9, 9, 9, 9, 9, 9], 2);
    let expected: &[&[u8]] =
        &[&[2, 8, 10, 0, 0, 0, 0, 0, 0, 0], &[16, 0, 0, 0, 2], &[4, 0, 0, 0, 10, 0, 2, 0], &[6, 0, 0, 0, 9, 0, 0, 0]];
    // Written by hand: two ramps of eight bytes are more than half of these twenty.
    assert_eq!(inflate(&expected.concat(), ramps.len()).unwrap(), ramps);

    let range: Vec<u64> = (0..1000).collect();
    let raw = with_length(&range, 4);
    let expected: &[&[u8]] =
        &[&[4, 8, 0xe8, 3, 0, 0, 0, 0, 0, 0], &[12, 0, 0, 0, 2], &[0xe8, 3, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]];
    assert_eq!(comes_back(&raw, 4), expected.concat());

    let repeated = [&[0; 8][..], &[b'a'; 100]].concat();
    let lz4 = [0x1f, b'a', 1, 0, 75, 0x50, b'a', b'a', b'a', b'a', b'a'];
    let expected: &[&[u8]] = &[&[1, 8, 0, 0, 0, 0, 0, 0, 0, 0], &[11, 0, 0, 0, 1], &lz4];
    assert_eq!(inflate(&expected.concat(), repeated.len()).unwrap(), repeated);

    let plain = [&[7; 8][..], b"xyz"].concat();
    let expected: &[&[u8]] = &[&[1, 8, 7, 7, 7, 7, 7, 7, 7, 7], &[3, 0, 0, 0, 0], b"xyz"];
    assert_eq!(comes_back(&plain, 1), expected.concat());
}

#[test]
fn regular_numbers_take_next_to_nothing_whatever_their_width() {
    let len = 3 * BLOCK / 8 + 5;
    let kinds: [(&str, Vec<u64>); 5] = [
        ("zeros", vec![0; len]),
        ("a range", (5..5 + len as u64).collect()),
        ("a range down", (0..len as u64).map(|n| 0u64.wrapping_sub(3 * n)).collect()),
        ("steps", (0..len as u64).map(|n| n / 1000).collect()),
        ("whole floats", (0..len as u64).map(|n| (n as f64).to_bits()).collect()),
    ];
    for (name, numbers) in kinds {
        for width in [2, 4, 8] {
            // Cut to two or four bytes, the lower parts of floats are zeros or ramps too.
            let stored = comes_back(&with_length(&numbers, width), width);
            assert!(stored.len() * 50 <= numbers.len() * width, "{name} of {width} bytes: {} bytes", stored.len());
        }
    }
}

#[test]
fn a_block_that_does_not_shrink_stays_and_the_others_are_compressed() {
    let mut numbers = vec![1; 3 * BLOCK / 8];
    numbers[BLOCK / 8..2 * BLOCK / 8].copy_from_slice(&noise(BLOCK / 8));
    let stored = comes_back(&with_length(&numbers, 8), 8);
    assert!(stored.len() > BLOCK && stored.len() < BLOCK + 100, "{}", stored.len());
}

#[test]
fn large_values_come_back_by_two_threads() {
    let len = crate::util::threads::WORTH_TWO / 4 + 3;
    let text: Vec<u64> = noise(1000).into_iter().cycle().take(len).collect();
    for numbers in [(0..len as u64).collect(), text, noise(len)] {
        comes_back(&with_length(&numbers, 4), 4);
    }
}

#[test]
fn values_of_any_length_come_back() {
    for len in (0..40).chain([BLOCK + 7, BLOCK + 8, BLOCK + 9, 2 * BLOCK + 8]) {
        for width in [1, 2, 4, 8] {
            comes_back(&vec![7; len], width);
        }
    }
}

#[test]
fn sizes_that_do_not_add_up_are_damage_before_memory_is_taken() {
    let huge = usize::try_from(Limits::DEFAULT.max_value_bytes).unwrap();
    let one_ramp = |count: u32, width: u8| {
        let ramp = [&count.to_le_bytes()[..], &vec![0; 2 * usize::from(width)]].concat();
        [&[width, 8][..], &[0; 8], &(ramp.len() as u32).to_le_bytes(), &[RAMPS], &ramp].concat()
    };
    assert_eq!(inflate(&one_ramp(1000, 8), 8008).unwrap(), [0; 8008]);
    for (bytes, raw_size) in [
        (one_ramp(1000, 8), 8007),
        (one_ramp(1000, 8), 8016),
        (one_ramp(u32::MAX, 8), huge),
        (one_ramp(1 << 17, 8), huge),
        (one_ramp(1000, 1), 1008),
        (one_ramp(1000, 3), 3008),
        ([&[1, 8][..], &[0; 8], &[1, 0, 0, 0, LZ4, 0]].concat(), 8 + 256),
        ([&[1, 8][..], &[0; 8], &[1, 0, 0, 0, 3, 0]].concat(), 9),
        (vec![1, 7, 0, 0, 0, 0, 0, 0, 0], 7 + 1),
        (vec![], 0),
    ] {
        let error = inflate(&bytes, raw_size).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Compression, "{raw_size}: {error}");
    }
}

#[test]
fn places_of_other_sizes_are_refused() {
    let stored = compress_blocks(&Parts::from(&vec![0; 100]), 1).unwrap().bytes;
    let blocks = Blocks::of(&stored, 100, &Limits::DEFAULT).unwrap();
    assert!(blocks.inflate_into(&mut [0; 8], &mut [0; 92]).is_ok());
    assert!(blocks.inflate_into(&mut [0; 7], &mut [0; 93]).is_err());
    assert!(blocks.inflate_into(&mut [0; 8], &mut [0; 91]).is_err());
}

proptest! {
    #[test]
    fn any_numbers_come_back(
        runs in prop::collection::vec((any::<u64>(), any::<u64>(), 1usize..300), 0..60),
        odd in 0usize..8,
    ) {
        for width in [1, 2, 4, 8] {
            let of_run = |(first, step, len): &(u64, u64, usize)| {
                let (first, step) = (*first, *step);
                (0..*len as u64).map(move |n| first.wrapping_add(step.wrapping_mul(n))).collect::<Vec<_>>()
            };
            let mut raw = bytes_of(&runs.iter().flat_map(of_run).collect::<Vec<_>>(), width);
            raw.extend(vec![3; odd]);
            comes_back(&raw, width);
        }
    }

    #[test]
    fn hostile_bytes_never_panic(
        width in prop::sample::select(vec![0u8, 1, 2, 4, 8, 9]),
        method in 0u8..4,
        body in prop::collection::vec(any::<u8>(), 0..100),
        tail in prop::collection::vec(any::<u8>(), 0..40),
        size in 0usize..3000,
    ) {
        let head = [&[width, 8][..], &[0; 8], &(body.len() as u32).to_le_bytes(), &[method]].concat();
        for bytes in [[&head[..], &body, &tail].concat(), [&head[..], &body].concat(), body, tail] {
            if let Ok(raw) = inflate(&bytes, size) {
                prop_assert_eq!(raw.len(), size);
            }
        }
    }

    #[test]
    fn a_changed_byte_is_an_error_or_gives_as_many_bytes(at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<bool>()) {
        let numbers: Vec<u64> = (0..500).map(|n| n / 100 * 7).chain(noise(20)).collect();
        let raw = with_length(&numbers, 8);
        let mut stored = compress_blocks(&raw.as_slice().into(), 8).unwrap().bytes;
        let at = at.index(stored.len());
        if cut { stored.truncate(at) } else { stored[at] = to }
        if let Ok(back) = inflate(&stored, raw.len()) {
            prop_assert_eq!(back.len(), raw.len());
        }
    }
}
