//! Vectors of numbers at the speed of memory. The bytes and the shape are those that bincode and the tracer give, element
//! by element; this only gets there sooner.

use std::any::Any;
use std::sync::LazyLock;

use serde::Serialize;

use super::shape::{Trace, trace, trace_of_repeated};
use super::type_fingerprint;

/// What bincode writes before the elements.
const LENGTH: usize = size_of::<u64>();

/// A number whose bincode is its bytes.
trait Number: Serialize + Default + Copy + 'static {
    const SIZE: usize = size_of::<Self>();

    fn put(self, into: &mut [u8]);
    fn get(from: &[u8]) -> Self;
}

macro_rules! numbers {
    ($($type:ident)*) => {
        $(impl Number for $type {
            #[inline]
            fn put(self, into: &mut [u8]) {
                into.copy_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn get(from: &[u8]) -> Self {
                let mut bytes = [0; size_of::<Self>()];
                bytes.copy_from_slice(from);
                Self::from_le_bytes(bytes)
            }
        })*

        /// The shape of a value, if it is a vector of numbers.
        pub(super) fn shape<T: 'static>(value: &T) -> Option<Trace> {
            let value: &dyn Any = value;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$type>>() {
                return shape_of::<$type>(numbers.len());
            })*
            None
        }

        /// The bytes of a value, if it is a vector of numbers.
        pub(super) fn write<T: 'static>(value: &T) -> Option<Vec<u8>> {
            let value: &dyn Any = value;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$type>>() {
                return Some(pack(numbers));
            })*
            None
        }

        /// A vector of numbers of a known shape. None if `T` is something else, or the bytes are: the caller then takes
        /// the long way, which tells what is wrong.
        pub(super) fn read<T: 'static>(bytes: &[u8], shape: u64) -> Option<T> {
            let mut value = None::<T>;
            let slot: &mut dyn Any = &mut value;
            $(if let Some(slot) = slot.downcast_mut::<Option<Vec<$type>>>() {
                *slot = unpack(bytes, shape);
            })*
            value
        }
    };
}

/// Whether a [type fingerprint](type_fingerprint) is that of a vector of numbers. Bytes are no numbers: they are as often
/// text.
pub(crate) fn holds_numbers(fingerprint: u64) -> bool {
    static FINGERPRINTS: LazyLock<[u64; 9]> = LazyLock::new(|| {
        [
            type_fingerprint::<Vec<u16>>(),
            type_fingerprint::<Vec<u32>>(),
            type_fingerprint::<Vec<u64>>(),
            type_fingerprint::<Vec<i8>>(),
            type_fingerprint::<Vec<i16>>(),
            type_fingerprint::<Vec<i32>>(),
            type_fingerprint::<Vec<i64>>(),
            type_fingerprint::<Vec<f32>>(),
            type_fingerprint::<Vec<f64>>(),
        ]
    });
    FINGERPRINTS.contains(&fingerprint)
}

numbers! { u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 }

fn shape_of<N: Number>(len: usize) -> Option<Trace> {
    Some(trace_of_repeated(trace::<false>(&N::default()).ok()?, len as u64))
}

fn pack<N: Number>(numbers: &[N]) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH + numbers.len() * N::SIZE];
    let (length, elements) = bytes.split_at_mut(LENGTH);
    (numbers.len() as u64).put(length);
    elements.chunks_exact_mut(N::SIZE).zip(numbers).for_each(|(into, number)| number.put(into));
    bytes
}

fn unpack<N: Number>(bytes: &[u8], shape: u64) -> Option<Vec<N>> {
    let (length, elements) = bytes.split_at_checked(LENGTH)?;
    let len = usize::try_from(u64::get(length)).ok()?;
    if len.checked_mul(N::SIZE)? != elements.len() || shape_of::<N>(len)?.hash != shape {
        return None;
    }
    Some(elements.chunks_exact(N::SIZE).map(N::get).collect())
}
