//! Arrays of the crate ndarray as files of NumPy's.
//!
//! Such a file is a line of text and behind it the memory of the array, so that there is nothing to encode but the line
//! (`header`). The crate that does it, ndarray-npy 0.10, parses the line as any Python, allocates as much as it claims before it looks
//! whether that is there, and brings nineteen crates, some of which need a C compiler.

mod header;
#[cfg(test)]
mod tests;

use std::any::type_name;
use std::io::{self, Read};

use bytemuck::{NoUninit, Pod};
use ndarray::{ArcArray, Array, ArrayRef, Dimension, IxDyn, ShapeBuilder};
use num_complex::Complex;

use super::sealed::Sealed;
use super::{InMemory, Native, NativeFormat, NativeOptions, Source};
use crate::codec::handler::{HandlerError, Kind, Taken};
use header::Header;

/// Elements that do not lie side by side are written in pieces of so many bytes.
const PIECE: usize = 64 << 10;

/// What the arrays consist of that are stored as files of NumPy's: `i8` to `i64`, `u8` to `u64`, `f32`, `f64`, `bool`, and
/// `Complex` of `f32` or `f64`.
///
/// It is implemented for these, and for nothing else: of other numbers an array is refused by the compiler, with what to take instead.
///
/// ```
/// # use cacheness_core::Cache;
/// # use ndarray::Array1;
/// # fn main() -> cacheness_core::Result<()> {
/// Cache::in_memory().put_native("ids", &Array1::<u64>::zeros(3))?;
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0277
/// # use cacheness_core::Cache;
/// # use ndarray::Array1;
/// # fn main() -> cacheness_core::Result<()> {
/// Cache::in_memory().put_native("ids", &Array1::<u128>::zeros(3))?;
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "arrays of `{Self}` have no file format of their own",
    label = "NumPy has no such numbers",
    note = "elements may be i8 to i64, u8 to u64, f32, f64, bool, and `Complex` of f32 or f64",
    note = "take u64 instead of a wider or a pointer-sized integer, or return a `Vec`, which serde writes"
)]
pub trait Element: parts::Part {}

mod parts {
    use bytemuck::NoUninit;

    use super::{HandlerError, Kind, Source};

    /// What is behind an [`Element`](super::Element).
    pub trait Part: NoUninit + Send + Sync {
        /// Its letter in a `descr`.
        const KIND: char;

        /// Bytes of one number: of half of a complex one.
        const NUMBER: usize;

        /// What they are read as, where the file is large.
        const READ_AS: Option<Kind>;

        /// Reads so many, whose bytes are known to be there.
        fn read(from: &mut Source, len: usize, swapped: bool) -> Result<Vec<Self>, HandlerError>;
    }
}

macro_rules! elements {
    ($($type:ty: $kind:literal, $number:ty, $read_as:expr;)+) => {
        $(
            impl Element for $type {}

            impl parts::Part for $type {
                const KIND: char = $kind;
                const NUMBER: usize = size_of::<$number>();
                const READ_AS: Option<Kind> = $read_as;

                fn read(from: &mut Source, len: usize, swapped: bool) -> Result<Vec<Self>, HandlerError> {
                    let mut elements = elements_of::<Self>(from, len)?;
                    if swapped {
                        let bytes: &mut [u8] = bytemuck::cast_slice_mut::<Self, u8>(&mut elements);
                        bytes.chunks_exact_mut(Self::NUMBER).for_each(<[u8]>::reverse);
                    }
                    Ok(elements)
                }
            }
        )+
    };
}

elements! {
    i8: 'i', i8, Some(Kind::I8);
    i16: 'i', i16, Some(Kind::I16);
    i32: 'i', i32, Some(Kind::I32);
    i64: 'i', i64, Some(Kind::I64);
    u8: 'u', u8, Some(Kind::U8);
    u16: 'u', u16, Some(Kind::U16);
    u32: 'u', u32, Some(Kind::U32);
    u64: 'u', u64, Some(Kind::U64);
    f32: 'f', f32, Some(Kind::F32);
    f64: 'f', f64, Some(Kind::F64);
    Complex<f32>: 'c', f32, None;
    Complex<f64>: 'c', f64, None;
}

impl Element for bool {}

impl parts::Part for bool {
    const KIND: char = 'b';
    const NUMBER: usize = 1;
    const READ_AS: Option<Kind> = Some(Kind::U8);

    fn read(from: &mut Source, len: usize, _: bool) -> Result<Vec<Self>, HandlerError> {
        let bytes = elements_of::<u8>(from, len)?;
        if let Some(other) = bytes.iter().find(|byte| **byte > 1) {
            return Err(format!("{other} is neither true nor false").into());
        }
        // In the memory that the bytes are in: elements are as large.
        Ok(bytes.into_iter().map(|byte| byte != 0).collect())
    }
}

/// So many elements, which may lie there already.
fn elements_of<T: Pod>(from: &mut Source, len: usize) -> Result<Vec<T>, HandlerError> {
    if let Some(elements) = from.take_numbers::<T>().filter(|elements| elements.len() == len) {
        return Ok(elements);
    }
    // Memory that was not touched yet is not touched by this, and may be refused.
    let elements = bytemuck::allocation::try_zeroed_vec(len);
    let mut elements = elements.map_err(|()| format!("no memory for {len} elements"))?;
    from.read_exact(bytemuck::cast_slice_mut::<T, u8>(&mut elements))?;
    Ok(elements)
}

macro_rules! arrays {
    ($($array:ident),+) => {
        $(
            impl<A: Element, D: Dimension + 'static> Sealed for $array<A, D> {}

            impl<A: Element, D: Dimension + 'static> Native for $array<A, D> {
                const FORMATS: &'static [NativeFormat] = &[NativeFormat::Npy];

                fn size(&self) -> u64 {
                    size_of_all(self)
                }

                fn write(&self, options: NativeOptions, to: &mut (dyn io::Write + Send)) -> Result<(), HandlerError> {
                    check_format(options.format)?;
                    write(self, to)
                }

                fn in_memory(&self, options: NativeOptions) -> Result<Option<InMemory<'_>>, HandlerError> {
                    check_format(options.format)?;
                    let (header, elements) = in_memory(self)?;
                    Ok(elements.map(|elements| (header, elements)))
                }

                fn taken(_: NativeFormat) -> Option<Taken> {
                    A::READ_AS.map(|kind| Taken::Array(kind, Header::len_by))
                }

                fn read(format: NativeFormat, from: Source, limit: u64) -> Result<Self, HandlerError> {
                    check_format(format)?;
                    read(from, limit).map(Self::from)
                }
            }
        )+
    };
}

arrays!(Array, ArcArray);

fn check_format(format: NativeFormat) -> Result<(), HandlerError> {
    if format == NativeFormat::Npy { Ok(()) } else { Err(format!("arrays are not written as {format}").into()) }
}

fn size_of_all<A, D: Dimension>(array: &ArrayRef<A, D>) -> u64 {
    (array.len() as u64).saturating_mul(size_of::<A>() as u64)
}

/// The header, and the elements if they lie in memory as they lie in the file: in the order of memory if that is one of the two
/// that the format has, else row by row.
fn in_memory<A: Element, D: Dimension>(array: &ArrayRef<A, D>) -> Result<(Vec<u8>, Option<&[u8]>), HandlerError> {
    let fortran = !array.is_standard_layout() && array.view().reversed_axes().is_standard_layout();
    let header = Header { descr: descr::<A>(NATIVE), fortran, shape: array.shape().to_vec() }.to_bytes()?;
    let elements = if fortran { array.as_slice_memory_order() } else { array.as_slice() };
    Ok((header, elements.map(bytemuck::cast_slice)))
}

fn write<A: Element, D: Dimension>(
    array: &ArrayRef<A, D>,
    to: &mut (dyn io::Write + Send),
) -> Result<(), HandlerError> {
    let (header, elements) = in_memory(array)?;
    to.write_all(&header)?;
    match elements {
        Some(elements) => to.write_all(elements)?,
        None => write_apart(array.iter(), to)?,
    }
    Ok(())
}

fn write_apart<'a, A: NoUninit>(
    elements: impl Iterator<Item = &'a A>,
    to: &mut (dyn io::Write + Send),
) -> io::Result<()> {
    let room = PIECE / size_of::<A>();
    let mut piece = Vec::with_capacity(room);
    for element in elements {
        piece.push(*element);
        if piece.len() == room {
            to.write_all(bytemuck::cast_slice(&piece))?;
            piece.clear();
        }
    }
    to.write_all(bytemuck::cast_slice(&piece))
}

/// Allocates when the file is known to have what it claims.
fn read<A: Element, D: Dimension>(mut from: Source, limit: u64) -> Result<Array<A, D>, HandlerError> {
    let (header, start) = Header::read(&mut from)?;
    let (dimension, swapped) = expected::<A, D>(&header)?;
    let left = from.len() - start;
    if bytes_of::<A>(&header.shape) != Some(left) {
        return Err(format!("{left} bytes are no array of `{}` of shape {:?}", type_name::<A>(), header.shape).into());
    }
    if left > limit {
        return Err(format!("an array of {left} bytes, the limit is {limit}").into());
    }
    let elements = A::read(&mut from, usize::try_from(left / size_of::<A>() as u64)?, swapped)?;
    Ok(Array::from_shape_vec(dimension.set_f(header.fortran), elements)?)
}

fn bytes_of<A>(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(size_of::<A>() as u64, |bytes, axis| bytes.checked_mul(*axis as u64))
}

/// The shape as a `D`, and whether the bytes of the numbers are in the order of other machines.
fn expected<A: Element, D: Dimension>(header: &Header) -> Result<(D, bool), HandlerError> {
    let dimension = D::from_dimension(&IxDyn(&header.shape));
    let orders = [NATIVE, FOREIGN].map(|order| header.descr == descr::<A>(order));
    match (dimension, orders) {
        (Some(dimension), [true, _]) => Ok((dimension, false)),
        (Some(dimension), [false, true]) => Ok((dimension, true)),
        _ => {
            let dimensions = D::NDIM.map_or_else(|| "any number of".to_owned(), |number| number.to_string());
            let (found, of) = (header.descr.escape_debug(), header.shape.len());
            let expected = format!("expected an array of `{}` with {dimensions} dimensions", type_name::<A>());
            Err(format!("{expected}, the file has '{found}' with {of}").into())
        }
    }
}

const NATIVE: char = if cfg!(target_endian = "little") { '<' } else { '>' };
const FOREIGN: char = if cfg!(target_endian = "little") { '>' } else { '<' };

/// What NumPy calls the type.
fn descr<A: Element>(order: char) -> String {
    let order = if A::NUMBER == 1 { '|' } else { order };
    format!("{order}{}{}", A::KIND, size_of::<A>())
}
