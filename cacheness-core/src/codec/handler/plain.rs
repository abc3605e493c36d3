//! Vectors of numbers, without a walk: their bincode is the length and then the elements as they lie in memory. Bytes and
//! shape are those that bincode and the tracer give, element by element.
//!
//! On big-endian machines elements lie otherwise, and vectors go the way of all values.

use std::any::Any;
use std::sync::LazyLock;

use bytemuck::Pod;
use serde::Serialize;

use super::shape::{SHAPE, Trace, trace, trace_of_repeated};
use super::{PayloadFormat, type_fingerprint};
use crate::codec::Parts;
use crate::entry::Core;
use crate::error::{CacheError, ErrorKind, Result};

/// What bincode writes before the elements.
pub(crate) const LENGTH: usize = size_of::<u64>();

/// A number whose bincode is its bytes.
trait Number: Serialize + Default + Pod {}

macro_rules! numbers {
    ($($kind:ident $type:ident),*) => {
        $(impl Number for $type {})*

        /// Which numbers a vector consists of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($kind,)*
        }

        impl Kind {
            /// Bytes of one number.
            pub(crate) const fn width(self) -> usize {
                match self {
                    $(Self::$kind => size_of::<$type>(),)*
                }
            }
        }

        /// A vector of numbers that is read from somewhere: whose type is known when it is taken out.
        #[derive(Debug)]
        pub(crate) enum Numbers {
            $($kind(Vec<$type>),)*
        }

        impl Numbers {
            /// So many zeros. Memory that was not touched yet is not touched by this.
            ///
            /// # Errors
            /// `Limit` if memory cannot hold them.
            pub(crate) fn zeroed(kind: Kind, len: usize) -> Result<Self> {
                Ok(match kind {
                    $(Kind::$kind => Self::$kind(zeroed(len)?),)*
                })
            }

            /// Their bytes, to be written over.
            pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
                match self {
                    $(Self::$kind(numbers) => bytemuck::cast_slice_mut(numbers),)*
                }
            }

            /// The vector; `None` if `T` is another one.
            pub(super) fn into_value<T: 'static>(self) -> Option<T> {
                match self {
                    $(Self::$kind(numbers) => same(numbers),)*
                }
            }
        }

        /// The shape of a value, if it is a vector of numbers.
        pub(super) fn shape<T: 'static>(value: &T) -> Option<Trace> {
            let value: &dyn Any = value;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$type>>() {
                return shape_of::<$type>(numbers.len() as u64);
            })*
            None
        }

        /// The bytes of a value, if it is a vector of numbers: borrowed from it, but for the length.
        pub(super) fn write<T: 'static>(value: &T) -> Option<Parts<'_>> {
            let value: &dyn Any = value;
            $(if let Some(numbers) = value.downcast_ref::<Vec<$type>>() {
                return borrow(numbers);
            })*
            None
        }

        /// A vector of numbers of a known shape. None if `T` is something else, or the bytes are: the caller then takes
        /// the long way, which tells what is wrong.
        pub(super) fn read<T: 'static>(bytes: &[u8], shape: u64) -> Option<T> {
            let (any, shape_wanted) = (std::any::TypeId::of::<T>(), shape);
            $(if any == std::any::TypeId::of::<Vec<$type>>() {
                return unpack::<$type>(bytes, shape_wanted).and_then(same);
            })*
            None
        }

        /// Which numbers a stored value of type `T` consists of, if it is a vector of numbers and its sizes say so too.
        pub(crate) fn numbers_in<T: 'static>(core: &Core) -> Option<Kind> {
            let any = std::any::TypeId::of::<T>();
            $(if any == std::any::TypeId::of::<Vec<$type>>() {
                return matches_shape::<$type>(core).then_some(Kind::$kind);
            })*
            None
        }
    };
}

numbers! { U8 u8, U16 u16, U32 u32, U64 u64, I8 i8, I16 i16, I32 i32, I64 i64, F32 f32, F64 f64 }

/// Bytes of one number of this value; `None` if it is no vector of numbers that lie there as in memory. Bytes are no
/// numbers: they are as often text.
pub(crate) fn width_of_numbers(core: &Core) -> Option<usize> {
    (core.payload_format == PayloadFormat::Bincode.id()).then(|| width_of(core.type_fingerprint)).flatten()
}

pub(super) fn width_of(fingerprint: u64) -> Option<usize> {
    static FINGERPRINTS: LazyLock<[(u64, usize); 9]> = LazyLock::new(|| {
        [
            (type_fingerprint::<Vec<u16>>(), 2),
            (type_fingerprint::<Vec<u32>>(), 4),
            (type_fingerprint::<Vec<u64>>(), 8),
            (type_fingerprint::<Vec<i8>>(), 1),
            (type_fingerprint::<Vec<i16>>(), 2),
            (type_fingerprint::<Vec<i32>>(), 4),
            (type_fingerprint::<Vec<i64>>(), 8),
            (type_fingerprint::<Vec<f32>>(), 4),
            (type_fingerprint::<Vec<f64>>(), 8),
        ]
    });
    FINGERPRINTS.iter().find(|(known, _)| *known == fingerprint).map(|(_, width)| *width)
}

/// A value as a `T`, if it is one.
fn same<T: 'static, N: 'static>(value: N) -> Option<T> {
    let mut value = Some(value);
    let slot: &mut dyn Any = &mut value;
    slot.downcast_mut::<Option<T>>()?.take()
}

fn shape_of<N: Number>(len: u64) -> Option<Trace> {
    Some(trace_of_repeated(trace::<SHAPE>(&N::default()).ok()?, len))
}

const AS_IN_MEMORY: bool = cfg!(target_endian = "little");

fn borrow<N: Number>(numbers: &[N]) -> Option<Parts<'_>> {
    let length = (numbers.len() as u64).to_le_bytes();
    AS_IN_MEMORY.then(|| Parts::new(length.to_vec(), bytemuck::cast_slice(numbers)))
}

fn unpack<N: Number>(bytes: &[u8], shape: u64) -> Option<Vec<N>> {
    let (length, elements) = bytes.split_first_chunk::<LENGTH>()?;
    let len = u64::from_le_bytes(*length);
    let fits = len.checked_mul(size_of::<N>() as u64)? == elements.len() as u64;
    (AS_IN_MEMORY && fits && shape_of::<N>(len)?.hash == shape).then(|| bytemuck::pod_collect_to_vec(elements))
}

fn matches_shape<N: Number>(core: &Core) -> bool {
    let elements = core.raw_size.saturating_sub(LENGTH as u64);
    let len = elements / size_of::<N>() as u64;
    AS_IN_MEMORY
        && core.raw_size >= LENGTH as u64
        && elements.is_multiple_of(size_of::<N>() as u64)
        && core.payload_format == PayloadFormat::Bincode.id()
        && core.type_fingerprint == type_fingerprint::<Vec<N>>()
        && shape_of::<N>(len).is_some_and(|shape| shape.hash == core.shape)
}

fn zeroed<N: Number>(len: usize) -> Result<Vec<N>> {
    bytemuck::allocation::try_zeroed_vec(len).map_err(|()| {
        CacheError::new(ErrorKind::Limit, format!("no memory for {len} numbers of {} bytes each", size_of::<N>()))
    })
}
