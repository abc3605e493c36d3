//! Tests of what all codecs have in common, and of gzip and Zstandard.

use lz4_flex::block;
use proptest::prelude::*;

use super::lz4::{FRAME_END, FRAME_START, LARGEST_BLOCK, frame};
use super::*;

const STORED: [StoredCodec; 7] = [
    StoredCodec::None,
    StoredCodec::Lz4Block,
    StoredCodec::Lz4Frame,
    StoredCodec::Zstd,
    StoredCodec::Gzip,
    StoredCodec::Lz4Blocks,
    StoredCodec::Blosclz,
];

const LIMITS: Limits = Limits { max_value_bytes: 8 << 20, ..Limits::DEFAULT };

fn text(len: usize) -> Vec<u8> {
    (0u32..).flat_map(|n| format!("row {n}, ").into_bytes()).take(len).collect()
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

fn round_trip(raw: &[u8]) -> Option<StoredCodec> {
    come_back(Codec::Lz4.into(), raw)
}

fn come_back(with: Compression, raw: &[u8]) -> Option<StoredCodec> {
    let compressed = compress(with, &raw.into(), 1).unwrap()?;
    let back = inflate(compressed.codec, &compressed.bytes, raw.len() as u64, &LIMITS).unwrap();
    assert!(back == raw, "{} bytes", raw.len());
    Some(compressed.codec)
}

/// Every codec at every level, and at its own choice.
fn all() -> impl Iterator<Item = Compression> {
    Codec::ALL.iter().flat_map(|&codec| {
        let levels = codec.levels().into_iter().flatten().map(Some);
        levels.chain([None]).map(move |level| Compression { codec, level })
    })
}

/// The codecs that inflate, with what they made of `raw`.
fn squeezed(raw: &[u8]) -> Vec<Compressed> {
    let compressing = Codec::ALL.iter().filter(|codec| **codec != Codec::None);
    let blocks = lz4::compress_blocks(&raw.into(), 1).unwrap();
    compressing.map(|codec| squeeze((*codec).into(), raw, 1).unwrap()).chain([blocks]).collect()
}

#[test]
fn every_codec_gives_back_what_it_took_at_every_level() {
    for with in all() {
        for raw in [text(100), text(5000), text(100_000), vec![7; 70_000]] {
            let stored = come_back(with, &raw);
            let expected = (with.codec != Codec::None).then(|| with.codec.name());
            assert_eq!(stored.map(StoredCodec::name), expected, "{with:?} on {} bytes", raw.len());
        }
    }
}

#[test]
fn a_higher_level_is_denser() {
    for codec in Codec::ALL {
        let Some(levels) = codec.levels() else { continue };
        let raw: Vec<u8> = text(30_000).iter().zip(noise(30_000)).map(|(text, noise)| text ^ (noise & 1)).collect();
        let size = |level| squeeze(Compression { codec: *codec, level: Some(level) }, &raw, 1).unwrap().bytes.len();
        assert!(size(*levels.end()) < size(*levels.start()), "{codec}");
    }
}

#[test]
fn values_become_a_block_a_frame_or_blocks_by_their_size_and_come_back() {
    for (len, codec) in [
        (SMALLEST * 4, StoredCodec::Lz4Block),
        (LARGEST_BLOCK, StoredCodec::Lz4Block),
        (LARGEST_BLOCK + 1, StoredCodec::Lz4Frame),
        (BLOCKS_FROM - 1, StoredCodec::Lz4Frame),
        (BLOCKS_FROM, StoredCodec::Lz4Blocks),
        (3 * BLOCKS_FROM + 7, StoredCodec::Lz4Blocks),
    ] {
        assert_eq!(round_trip(&text(len)), Some(codec), "{len}");
    }
}

#[test]
fn what_does_not_shrink_or_is_tiny_stays_as_it_is() {
    for len in [0, SMALLEST, 10_000, LARGEST_BLOCK + 1, SAMPLED_FROM, 2 * SAMPLED_FROM] {
        assert!(compress(Codec::Lz4, &noise(len).into(), 1).unwrap().is_none(), "{len}");
    }
    assert!(compress(Codec::Lz4, &vec![0; SMALLEST - 1].into(), 1).unwrap().is_none());
    assert!(compress(Codec::None, &vec![0; 10_000].into(), 1).unwrap().is_none());
}

#[test]
fn large_values_are_judged_by_a_sample() {
    let mut value = vec![0; 2 * BLOCKS_FROM];
    let stride = (value.len() - SAMPLE_BYTES) / (SAMPLES - 1);
    for sample in 0..SAMPLES {
        value[sample * stride..][..SAMPLE_BYTES].copy_from_slice(&noise(SAMPLE_BYTES));
    }
    assert!(compress(Codec::Lz4, &Parts::from(&value), 1).unwrap().is_none());
    value[..SAMPLE_BYTES].fill(0);
    assert_eq!(round_trip(&value), Some(StoredCodec::Lz4Blocks), "a part that shrinks is enough");
}

#[test]
fn the_start_of_a_frame_is_fixed() {
    let framed = frame(&text(100_000)).unwrap();
    assert!(framed.starts_with(&FRAME_START) && framed.ends_with(&FRAME_END));
}

#[test]
fn a_block_and_a_frame_written_by_hand_are_read() {
    // One literal, a match of 94 bytes one back, five literals.
    let block = [0x1f, b'a', 1, 0, 75, 0x50, b'a', b'a', b'a', b'a', b'a'];
    assert_eq!(inflate(StoredCodec::Lz4Block, &block, 100, &LIMITS).unwrap(), [b'a'; 100].as_slice());
    let (compressed, plain) = ([11, 0, 0, 0], [3, 0, 0, 0x80]);
    let frame = [&FRAME_START[..], &compressed, &block, &plain, b"xyz", &FRAME_END].concat();
    let expected = [&[b'a'; 100][..], b"xyz"].concat();
    assert_eq!(inflate(StoredCodec::Lz4Frame, &frame, 103, &LIMITS).unwrap(), expected);
}

#[test]
fn a_forged_size_is_an_error_and_takes_no_memory() {
    for codec in STORED {
        if codec.check_available().is_err() {
            continue;
        }
        assert!(inflate(codec, b"1234", u64::MAX, &LIMITS).unwrap_err().is_limit());
        let unlimited = Limits { max_value_bytes: u64::MAX, ..LIMITS };
        let error = inflate(codec, b"1234", u64::MAX, &unlimited).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Compression);
    }
}

#[test]
fn a_bomb_stops_at_the_promised_size() {
    let zeros = vec![0; 8 << 20];
    for Compressed { codec, bytes } in squeezed(&zeros) {
        assert!(bytes.len() < 64 << 10, "{codec:?}");
        let error = inflate(codec, &bytes, 1000, &LIMITS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Compression, "{codec:?}");
    }
    let small = block::compress(&[0; 60_000]);
    assert!(inflate(StoredCodec::Lz4Block, &small, 1000, &LIMITS).is_err());
}

#[test]
fn memory_never_exceeds_the_promised_size() {
    let raw = text(1_000_001);
    for Compressed { codec, bytes } in squeezed(&raw) {
        let Cow::Owned(back) = inflate(codec, &bytes, raw.len() as u64, &LIMITS).unwrap() else { unreachable!() };
        assert!(back.capacity() <= raw.len(), "{codec:?}: {}", back.capacity());
    }
}

#[test]
fn one_byte_more_or_less_on_either_side_is_an_error() {
    for raw in [text(1000), text(200_000)] {
        for Compressed { codec, bytes } in squeezed(&raw) {
            let size = raw.len() as u64;
            let longer = [bytes.as_slice(), &[0]].concat();
            let twice = [bytes.as_slice(), &bytes].concat();
            assert!(inflate(codec, &bytes, size - 1, &LIMITS).is_err(), "{codec:?}");
            assert!(inflate(codec, &bytes, size + 1, &LIMITS).is_err(), "{codec:?}");
            assert!(inflate(codec, &longer, size, &LIMITS).is_err(), "{codec:?}");
            assert!(inflate(codec, &twice, size, &LIMITS).is_err(), "{codec:?}");
            assert!(inflate(codec, &twice, 2 * size, &LIMITS).is_err(), "{codec:?}");
        }
    }
    assert!(inflate(StoredCodec::None, b"1234", 5, &LIMITS).is_err());
    assert_eq!(inflate(StoredCodec::None, b"1234", 4, &LIMITS).unwrap(), b"1234".as_slice());
}

#[test]
fn every_truncation_is_an_error() {
    for raw in [text(1000), text(80_000)] {
        for Compressed { codec, bytes } in squeezed(&raw) {
            for len in 0..bytes.len() {
                assert!(inflate(codec, &bytes[..len], raw.len() as u64, &LIMITS).is_err(), "{codec:?} cut at {len}");
            }
        }
    }
}

/// The envelope's checksum finds such damage before; here it only must not do harm.
#[test]
fn a_flipped_bit_anywhere_is_an_error_or_gives_as_many_bytes_as_there_were() {
    for raw in [text(300), text(70_000)] {
        for Compressed { codec, mut bytes } in squeezed(&raw) {
            let step = 1 + bytes.len() / 400;
            for at in (0..bytes.len()).step_by(step) {
                for bit in 0..8 {
                    bytes[at] ^= 1 << bit;
                    if let Ok(back) = inflate(codec, &bytes, raw.len() as u64, &LIMITS) {
                        assert_eq!(back.len(), raw.len(), "{codec:?}");
                    }
                    bytes[at] ^= 1 << bit;
                }
            }
        }
    }
}

#[test]
fn frames_of_other_kinds_are_not_decoded() {
    let legacy = [0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0];
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0];
    for foreign in [&legacy[..], &skippable, &[]] {
        let error = inflate(StoredCodec::Lz4Frame, foreign, 0, &LIMITS).unwrap_err();
        assert!(error.to_string().contains("not an LZ4 frame"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_value_comes_back(raw in prop::collection::vec(0u8..4, 0..200_000)) {
        for codec in Codec::ALL {
            // Long values of this one, which takes its time without optimisation, are tried beside it.
            let most = if codec.name() == "blosclz" { 20_000 } else { raw.len() };
            come_back((*codec).into(), &raw[..raw.len().min(most)]);
        }
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 0u64..70_000) {
        let framed = [&FRAME_START[..], &bytes, &FRAME_END].concat();
        let zstd = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 0][..], &bytes].concat();
        let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..], &bytes].concat();
        let lengths = [100, 100, 24 + bytes.len() as u32, 20, bytes.len() as u32].map(u32::to_le_bytes).concat();
        let blosclz = [&[2, 1, 0x10, 1][..], &lengths, &bytes].concat();
        for codec in STORED {
            for bytes in [&bytes, &framed, &zstd, &gzip, &blosclz] {
                if let Ok(raw) = inflate(codec, bytes, size, &LIMITS) {
                    prop_assert_eq!(raw.len() as u64, size);
                }
            }
        }
    }
}

#[cfg(feature = "gzip")]
mod gzip {
    use super::super::gzip::*;

    #[test]
    fn a_member_written_by_hand_is_read_and_one_by_another_program_is_not() {
        // One stored block, then CRC-32 and length.
        let member =
            [&START[..], &[0, 255], &[1, 3, 0, 252, 255], b"abc", &0x3524_41c2_u32.to_le_bytes(), &[3, 0, 0, 0]]
                .concat();
        assert_eq!(inflate(&member, 3).unwrap(), b"abc");
        let mut named = member;
        named[3] = 8;
        assert!(inflate(&named, 3).unwrap_err().to_string().contains("that this cache wrote"));
    }

    #[test]
    fn every_level_begins_alike() {
        for level in 1..=9 {
            assert!(compress(&[0; 1000], Some(level)).unwrap().starts_with(&START), "{level}");
        }
    }
}

#[cfg(feature = "zstd")]
mod zstd {
    use super::super::zstd::*;

    /// The window of a frame of ours, as RFC 8878 computes it.
    fn window(frame: &[u8]) -> u64 {
        let base = 1_u64 << (10 + (frame[5] >> 3));
        base + base / 8 * u64::from(frame[5] & 7)
    }

    #[test]
    fn a_frame_of_any_level_begins_alike_and_looks_back_at_most_8_mib() {
        let large = vec![0; 20 << 20];
        for level in 1..=22 {
            let frame = compress(&large, Some(level)).unwrap();
            assert!(frame.starts_with(&START), "{level}");
            assert!(window(&frame) <= 8 << 20, "{level}");
        }
        assert_eq!(window(&compress(&large, Some(22)).unwrap()), 8 << 20);
    }

    #[test]
    fn a_frame_looks_back_no_further_than_its_value_is_long() {
        for size in [64, 1000, 1024, 1025, 5000, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 9 << 20] {
            for level in [1, 3, 11, 22] {
                let frame = compress(&vec![0; size], Some(level)).unwrap();
                assert!(window(&frame) <= 1 << window_log(size), "{size} bytes at level {level}");
                assert_eq!(inflate(&frame, size).unwrap().len(), size);
            }
        }
    }

    #[test]
    fn a_frame_written_by_hand_is_read() {
        // A window of 1 KiB, a block that repeats one byte 100 times, a last block of three plain bytes.
        let frame = [&START[..], &[0], &[0x22, 0x03, 0x00, b'a'], &[0x19, 0x00, 0x00], b"xyz"].concat();
        assert_eq!(inflate(&frame, 103).unwrap(), [&[b'a'; 100][..], b"xyz"].concat());
    }

    #[test]
    fn a_frame_that_looks_back_further_is_refused_before_memory_is_taken() {
        for exponent in [1, 13, 14, 31] {
            let frame = [&START[..], &[exponent << 3], &[0x22, 0x03, 0x00, b'a'], &[0x19, 0x00, 0x00], b"xyz"].concat();
            let error = inflate(&frame, 103).unwrap_err();
            assert!(error.to_string().contains("damaged"), "{error}");
        }
    }

    #[test]
    fn a_gibibyte_of_zeros_in_32_kib_ends_where_it_was_promised_to() {
        let block = |last: u32| (last | 1 << 1 | (128 << 10) << 3).to_le_bytes()[..3].to_vec();
        let blocks = 8192;
        let zeros = |n| [block(u32::from(n == blocks)), vec![0]].concat();
        let bomb: Vec<u8> = START.into_iter().chain([7 << 3]).chain((1..=blocks).flat_map(zeros)).collect();
        assert!(bomb.len() < 33 << 10);
        let error = inflate(&bomb, 200_000).unwrap_err();
        assert!(error.to_string().contains("more than 200000 bytes"), "{error}");
    }

    #[test]
    fn frames_of_other_kinds_are_not_decoded() {
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
        let with_size = ::zstd::bulk::compress(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 3).unwrap();
        for foreign in [&skippable[..], &with_size, &[]] {
            assert!(inflate(foreign, 32).unwrap_err().to_string().contains("that this cache wrote"));
        }
    }
}
