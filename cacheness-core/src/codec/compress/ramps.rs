//! Numbers that differ from the one before always by the same, as unsigned integers that wrap around: an integer range,
//! a range of whole `f64`s between two powers of two, one value many times.
//!
//! A ramp is its count of numbers in four bytes, its first number and the step; all of them little endian. Ramps follow
//! one another.

use std::borrow::Cow;

use bytemuck::{Pod, pod_collect_to_vec, try_cast_slice, try_cast_slice_mut};

/// What the count of a ramp takes.
const COUNT: usize = 4;

/// Compared at a time, without a look at where the first difference is.
const STRIDE: usize = 32;

/// Numbers in a ramp, in the mean, at the least: fewer are no gain worth the time.
const NUMBERS_PER_RAMP: usize = 64;
/// Ramps beyond that which a block may begin with.
const SPARE_RAMPS: usize = 16;

trait Number: Pod + Eq {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    /// Between the order of this machine and that of the file.
    fn little_endian(self) -> Self;
}

macro_rules! number {
    ($($type:ident)*) => {
        $(impl Number for $type {
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }

            fn xor(self, other: Self) -> Self {
                self ^ other
            }

            fn or(self, other: Self) -> Self {
                self | other
            }

            fn little_endian(self) -> Self {
                self.to_le()
            }
        })*
    };
}

number! { u16 u32 u64 }

/// The ramps of a block of numbers of `width` bytes; `None` if they are too many to be worth it.
pub(super) fn compress(raw: &[u8], width: usize) -> Option<Vec<u8>> {
    match width {
        2 => ramps_of::<u16>(raw),
        4 => ramps_of::<u32>(raw),
        8 => ramps_of::<u64>(raw),
        _ => None,
    }
}

fn ramps_of<N: Number>(raw: &[u8]) -> Option<Vec<u8>> {
    if !raw.len().is_multiple_of(size_of::<N>()) {
        return None;
    }
    let numbers: Cow<'_, [N]> = try_cast_slice(raw).map_or_else(|_| pod_collect_to_vec(raw).into(), Cow::Borrowed);
    let (mut ramps, mut at, mut count) = (Vec::new(), 0, 0);
    while let Some((first, rest)) = numbers.get(at..).and_then(<[N]>::split_first) {
        let step = rest.first().map_or(*first, |second| difference(*second, *first));
        let len = 1 + steps(*first, rest, step);
        ramps.extend_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
        ramps.extend_from_slice(bytemuck::bytes_of(first));
        ramps.extend_from_slice(bytemuck::bytes_of(&step.little_endian()));
        (at, count) = (at + len, count + 1);
        if count > SPARE_RAMPS + at / NUMBERS_PER_RAMP {
            return None;
        }
    }
    // A block that is too short for the spare ones to pay.
    (ramps.len() <= raw.len() / 2).then_some(ramps)
}

fn difference<N: Number>(second: N, first: N) -> N {
    second.little_endian().minus(first.little_endian())
}

/// How many numbers follow a first one by the same step.
fn steps<N: Number>(first: N, rest: &[N], step: N) -> usize {
    let mut last = first;
    let mut len = 0;
    for stride in rest.chunks(STRIDE) {
        // No branch in here: several numbers at a time.
        let start = difference(stride[0], last).xor(step);
        let differs = stride.windows(2).fold(start, |differs, pair| differs.or(difference(pair[1], pair[0]).xor(step)));
        if differs != N::zeroed() {
            let mut before = last;
            let same = |number: &&N| difference(**number, std::mem::replace(&mut before, **number)) == step;
            return len + stride.iter().take_while(same).count();
        }
        len += stride.len();
        last = stride[stride.len() - 1];
    }
    len
}

/// Whether ramps are whole, and as many numbers come of them as are said to.
pub(super) fn can_be(ramps: &[u8], raw: usize, width: usize) -> bool {
    let ramp = COUNT + 2 * width;
    let counts =
        ramps.chunks(ramp).map(|ramp| ramp.first_chunk().map_or(0, |count| u64::from(u32::from_le_bytes(*count))));
    ramps.len().is_multiple_of(ramp) && width > 1 && counts.sum::<u64>().checked_mul(width as u64) == Some(raw as u64)
}

/// Writes the numbers; says whether they were as many as there is room for.
pub(super) fn inflate(ramps: &[u8], raw: &mut [u8], width: usize) -> bool {
    match width {
        2 => write::<u16>(ramps, raw),
        4 => write::<u32>(ramps, raw),
        8 => write::<u64>(ramps, raw),
        _ => false,
    }
}

fn write<N: Number>(ramps: &[u8], raw: &mut [u8]) -> bool {
    if let Ok(numbers) = try_cast_slice_mut::<u8, N>(raw) {
        return write_numbers(ramps, numbers);
    }
    // Not where such numbers may lie.
    let mut numbers = vec![N::zeroed(); raw.len() / size_of::<N>()];
    let whole = raw.len() == size_of_val(numbers.as_slice()) && write_numbers(ramps, &mut numbers);
    if whole {
        raw.copy_from_slice(bytemuck::cast_slice(&numbers));
    }
    whole
}

fn write_numbers<N: Number>(ramps: &[u8], mut numbers: &mut [N]) -> bool {
    for ramp in ramps.chunks(COUNT + 2 * size_of::<N>()) {
        let Some((count, both)) = ramp.split_first_chunk::<COUNT>() else { return false };
        let Some((first, step)) = both.split_at_checked(size_of::<N>()) else { return false };
        let (Ok(first), Ok(step)) =
            (bytemuck::try_pod_read_unaligned::<N>(first), bytemuck::try_pod_read_unaligned::<N>(step))
        else {
            return false;
        };
        let count = u32::from_le_bytes(*count) as usize;
        let Some((these, rest)) = std::mem::take(&mut numbers).split_at_mut_checked(count) else { return false };
        let (mut next, step) = (first.little_endian(), step.little_endian());
        for number in these {
            *number = next.little_endian();
            next = next.plus(step);
        }
        numbers = rest;
    }
    numbers.is_empty()
}
