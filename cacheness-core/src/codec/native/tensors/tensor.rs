//! One tensor: a type, a shape, and bytes.

use std::fmt;

use bytemuck::{CheckedBitPattern, NoUninit};
use safetensors::Dtype;

use crate::error::{CacheError, ErrorKind, Result};

/// Elements of one type, row by row, in a shape.
///
/// Two are equal if their bytes are: a NaN equals itself, and `0.0` does not equal `-0.0`. `Debug` shows type and shape alone.
///
/// ```
/// use cacheness::native::{Dtype, Tensor};
///
/// let tensor = Tensor::from_slice(&[2, 2], &[1_i64, 2, 3, 4])?;
/// assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::I64, [2, 2].as_slice()));
/// assert_eq!(tensor.to_vec::<i64>(), Some(vec![1, 2, 3, 4]));
/// assert_eq!(tensor.to_vec::<f64>(), None);
///
/// // Elements that Rust has no type for are bytes.
/// let half = Tensor::new(Dtype::F16, &[2], &[0x00, 0x3c, 0x00, 0xbc])?;
/// assert_eq!(half.bytes().len(), 4);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Aligned,
}

impl Tensor {
    /// A tensor of the bytes of its elements, row by row, each with its lowest byte first. They are copied, to where numbers may
    /// lie.
    ///
    /// # Errors
    /// `InvalidArgument` if there are more or fewer bytes than the shape has.
    pub fn new(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<Self> {
        check_len(dtype, shape, bytes.len())?;
        let mut aligned = Aligned::zeroed(bytes.len())?;
        aligned.as_mut_bytes().copy_from_slice(bytes);
        Ok(Self::of_parts(dtype, shape.to_vec(), aligned))
    }

    /// A tensor of these elements, row by row.
    ///
    /// # Errors
    /// `InvalidArgument` if there are more or fewer of them than the shape has.
    pub fn from_slice<T: TensorElement>(shape: &[usize], elements: &[T]) -> Result<Self> {
        let mut tensor = Self::new(T::DTYPE, shape, bytemuck::cast_slice(elements))?;
        swap_on_big_endian(T::NUMBER, tensor.bytes.as_mut_bytes());
        Ok(tensor)
    }

    /// Without a look at whether the bytes are as many as the shape has.
    pub(super) fn of_parts(dtype: Dtype, shape: Vec<usize>, bytes: Aligned) -> Self {
        Self { dtype, shape, bytes }
    }

    /// What the elements are.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// How long each axis is; empty if it is one number.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The bytes of all elements, row by row.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_bytes()
    }

    /// The elements, row by row. None if they are of another type, or are no `bool`s; always on a big-endian machine, where they
    /// lie otherwise: [`to_vec`](Self::to_vec) has them there.
    pub fn as_slice<T: TensorElement>(&self) -> Option<&[T]> {
        let in_order = cfg!(target_endian = "little") || T::NUMBER == 1;
        if self.dtype == T::DTYPE && in_order { bytemuck::checked::try_cast_slice(self.bytes()).ok() } else { None }
    }

    /// A copy of the elements, row by row. None if they are of another type, or are no `bool`s.
    pub fn to_vec<T: TensorElement>(&self) -> Option<Vec<T>> {
        if self.dtype != T::DTYPE {
            return None;
        }
        if let Some(elements) = self.as_slice() {
            return Some(elements.to_vec());
        }
        let mut swapped = self.bytes.clone();
        swap_on_big_endian(T::NUMBER, swapped.as_mut_bytes());
        bytemuck::checked::try_cast_slice(swapped.as_bytes()).ok().map(<[T]>::to_vec)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tensor").field("dtype", &self.dtype).field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// Bytes of so many elements, in whole ones.
fn check_len(dtype: Dtype, shape: &[usize], len: usize) -> Result<()> {
    let bits = shape.iter().try_fold(dtype.bitsize(), |bits, axis| bits.checked_mul(*axis));
    // Eight times as many bits as there are bytes may be more than fit.
    if bits.is_some_and(|bits| bits % 8 == 0 && bits / 8 == len) {
        return Ok(());
    }
    let message = format!("{len} bytes are no tensor of {dtype} of shape {shape:?}");
    Err(CacheError::new(ErrorKind::InvalidArgument, message))
}

fn swap_on_big_endian(number: usize, bytes: &mut [u8]) {
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(number).for_each(<[u8]>::reverse);
    }
}

/// Bytes that lie where every number may lie.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Aligned {
    words: Vec<u64>,
    len: usize,
}

impl Aligned {
    /// Memory that was not touched yet is not touched by this.
    ///
    /// # Errors
    /// `Limit` if memory cannot hold them.
    pub(super) fn zeroed(len: usize) -> Result<Self> {
        let words = bytemuck::allocation::try_zeroed_vec(len.div_ceil(size_of::<u64>()))
            .map_err(|()| CacheError::new(ErrorKind::Limit, format!("no memory for a tensor of {len} bytes")))?;
        Ok(Self { words, len })
    }

    fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words).get(..self.len).unwrap_or_default()
    }

    pub(super) fn as_mut_bytes(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.words).get_mut(..self.len).unwrap_or_default()
    }
}

/// Elements of a [`Tensor`] that Rust has a type for: `i8` to `i64`, `u8` to `u64`, `f32`, `f64` and `bool`; with the feature
/// `ndarray` also `Complex<f32>`.
///
/// It is implemented for these, and for nothing else.
#[diagnostic::on_unimplemented(
    message = "a tensor has no elements of type `{Self}`",
    note = "they may be i8 to i64, u8 to u64, f32, f64 and bool; with the feature `ndarray` also `Complex<f32>`"
)]
pub trait TensorElement: parts::Part {}

mod parts {
    use super::{CheckedBitPattern, Dtype, NoUninit};

    /// What is behind a [`TensorElement`](super::TensorElement).
    pub trait Part: CheckedBitPattern + NoUninit {
        const DTYPE: Dtype;

        /// Bytes of one number: of half of a complex one.
        const NUMBER: usize;
    }
}

macro_rules! elements {
    ($($(#[$when:meta])* $type:ty: $dtype:ident, $number:literal;)+) => {
        $(
            $(#[$when])*
            impl TensorElement for $type {}

            $(#[$when])*
            impl parts::Part for $type {
                const DTYPE: Dtype = Dtype::$dtype;
                const NUMBER: usize = $number;
            }
        )+
    };
}

elements! {
    bool: BOOL, 1;
    u8: U8, 1;
    i8: I8, 1;
    u16: U16, 2;
    i16: I16, 2;
    u32: U32, 4;
    i32: I32, 4;
    f32: F32, 4;
    u64: U64, 8;
    i64: I64, 8;
    f64: F64, 8;
    #[cfg(feature = "ndarray")]
    num_complex::Complex<f32>: C64, 4;
}

// With arrays of the crate ndarray.

#[cfg(feature = "ndarray")]
mod arrays {
    use ndarray::{ArrayBase, ArrayD, ArrayRef, Data, Dimension};

    use super::{Tensor, TensorElement};
    use crate::error::{CacheError, ErrorKind, Result};

    /// A copy of an array, row by row.
    impl<T: TensorElement, D: Dimension> TryFrom<&ArrayRef<T, D>> for Tensor {
        type Error = CacheError;

        fn try_from(array: &ArrayRef<T, D>) -> Result<Self> {
            match array.as_slice() {
                Some(elements) => Self::from_slice(array.shape(), elements),
                None => Self::from_slice(array.shape(), &array.iter().copied().collect::<Vec<_>>()),
            }
        }
    }

    /// A copy of an array, row by row.
    impl<T: TensorElement, S: Data<Elem = T>, D: Dimension> TryFrom<&ArrayBase<S, D>> for Tensor {
        type Error = CacheError;

        fn try_from(array: &ArrayBase<S, D>) -> Result<Self> {
            let array: &ArrayRef<T, D> = array;
            Self::try_from(array)
        }
    }

    /// A copy of a tensor, whose elements must be of the array's type.
    impl<T: TensorElement> TryFrom<&Tensor> for ArrayD<T> {
        type Error = CacheError;

        fn try_from(tensor: &Tensor) -> Result<Self> {
            let invalid = |message| CacheError::new(ErrorKind::InvalidArgument, message);
            let elements = tensor.to_vec::<T>().ok_or_else(|| {
                invalid(format!("{tensor:?} has no elements of type `{}`", std::any::type_name::<T>()))
            })?;
            Self::from_shape_vec(tensor.shape(), elements).map_err(|error| invalid(format!("{tensor:?}: {error}")))
        }
    }
}
