//! Files that are not what they were: flipped, cut off, spliced, with other lengths in them. Each is an error or a value, and takes no
//! memory that its limit does not allow.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use cacheness::native::{Native, NativeFormat, Table, Tensor, Tensors};
use cacheness::testing::{native_from_bytes, native_to_bytes};
use ndarray::{Array2, ArrayD, IxDyn, ShapeBuilder};
use polars_core::prelude::DataFrame;

/// What a value may take, and what a reader may take beside it.
const LIMIT: u64 = 1 << 20;
const BESIDE: u64 = 64 << 20;

/// Numbers that lengths, offsets and counts are most often wrong by.
const NUMBERS: [u64; 8] = [0, 1, 0x7f, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 62, u64::MAX];

struct Mutator(u64);

impl Mutator {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => {
                    let (width, number) = ([1, 2, 4, 8][self.below(4)], NUMBERS[self.below(NUMBERS.len())]);
                    bytes.iter_mut().skip(at).zip(&number.to_le_bytes()[..width]).for_each(|(byte, new)| *byte = *new);
                }
                2 => {
                    let from = self.below(bytes.len());
                    let part: Vec<u8> = bytes.iter().skip(from).take(1 + self.below(32)).copied().collect();
                    bytes.splice(at..at, part);
                }
                3 => drop(bytes.drain(at..(at + 1 + self.below(16)).min(bytes.len()))),
                _ => {
                    let bit = self.below(8);
                    bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
                }
            }
        }
    }
}

/// How long each target runs. In CI a minute.
fn seconds() -> Duration {
    let asked = std::env::var("CACHENESS_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(asked.unwrap_or(2))
}

fn check<T: Native>(format: NativeFormat, bytes: Vec<u8>, what: &dyn Fn() -> String) {
    let mut outcome = None;
    let counted = allocation_counter::measure(|| {
        outcome = Some(catch_unwind(AssertUnwindSafe(|| native_from_bytes::<T>(format, bytes, LIMIT).is_ok())));
    });
    // What reads tables is the code of others, whose panics a cache takes for errors.
    let is_ours = [NativeFormat::Npy, NativeFormat::SafeTensors].contains(&format);
    assert!(!is_ours || outcome.is_some_and(|outcome| outcome.is_ok()), "{} panicked", what());
    assert!(counted.bytes_max < LIMIT + BESIDE, "{} took {} bytes", what(), counted.bytes_max);
}

/// The panics that a cache catches are not told here: there are many.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.location().is_none_or(|place| !place.file().contains("registry")) {
                told(info);
            }
        }));
    });
}

/// First every bit by itself and every length, then anything.
fn fuzz<T: Native>(format: NativeFormat, values: &[T]) {
    silence_panics();
    let files: Vec<Vec<u8>> = values.iter().map(|value| native_to_bytes(format, value).unwrap()).collect();
    let (end, mut count) = (Instant::now() + seconds(), 0_u64);
    let shortest = files.iter().min_by_key(|file| file.len()).unwrap();
    for at in 0..shortest.len().min(20_000) {
        check::<T>(format, shortest[..at].to_vec(), &|| format!("{format} cut off at {at}"));
        if Instant::now() > end {
            break;
        }
    }
    for bit in 0..(8 * shortest.len()).min(20_000) {
        let mut bytes = shortest.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        check::<T>(format, bytes, &|| format!("{format} with bit {bit} flipped"));
        if Instant::now() > end {
            break;
        }
    }
    for seed in 0.. {
        if Instant::now() > end {
            break;
        }
        let mut mutator = Mutator(seed);
        let mut bytes = files[mutator.below(files.len())].clone();
        mutator.mutate(&mut bytes);
        check::<T>(format, bytes, &|| format!("{format} of seed {seed}"));
        count += 1;
    }
    println!("{format}: {count} files beside those of one bit and of every length");
}

#[test]
fn no_file_of_numpy_panics_or_takes_more_memory_than_it_may() {
    let arrays = [
        ArrayD::from_shape_fn(IxDyn(&[2, 3]), |at| at[0] as f64),
        ArrayD::from_shape_fn(IxDyn(&[4, 1, 2]).f(), |at| at[0] as f64),
        ArrayD::zeros(IxDyn(&[])),
    ];
    fuzz(NativeFormat::Npy, &arrays);
    fuzz(NativeFormat::Npy, &[Array2::from_elem((3, 3), true)]);
}

#[test]
fn no_file_of_tensors_panics_or_takes_more_memory_than_it_may() {
    let mut tensors = Tensors::new();
    tensors.insert("a", Tensor::from_slice::<f32>(&[2, 2], &[1.0; 4]).unwrap());
    tensors.insert("b", Tensor::from_slice::<u8>(&[3], &[1, 2, 3]).unwrap());
    fuzz(NativeFormat::SafeTensors, &[tensors]);
}

#[test]
fn no_file_of_parquet_panics_or_takes_more_memory_than_it_may() {
    fuzz(NativeFormat::Parquet, &[Table::from(super::tables::batch())]);
}

#[test]
fn no_file_of_arrow_panics_or_takes_more_memory_than_it_may() {
    fuzz(NativeFormat::Arrow, &[Table::from(super::tables::batch())]);
}

#[test]
fn no_frame_in_parquet_panics_or_takes_more_memory_than_it_may() {
    fuzz::<DataFrame>(NativeFormat::Parquet, &[super::tables::frame()]);
}

#[test]
fn no_frame_in_arrow_panics_or_takes_more_memory_than_it_may() {
    fuzz::<DataFrame>(NativeFormat::Arrow, &[super::tables::frame()]);
}
