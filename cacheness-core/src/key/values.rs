//! Scalars, texts, paths, times and addresses, and what points to a value.

use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytemuck::NoUninit;

use super::{CacheKey, KeyWriter, tag};

// One list of scalars is one value, under one tag for all: a large array is written in pieces of many elements.

/// Which container the elements of a list belong to.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyList {
    /// Of any length: slices and what derefs to them, deques.
    Sequence,
    /// Of a length that is part of the type.
    Array,
}

/// Bytes of the widest scalar.
const MAX_WIDTH: usize = 16;

macro_rules! scalars {
    ($($(#[$doc:meta])* $write:ident($value:ident: $type:ty) = $tag:ident, $bytes:expr;)+) => {
        /// Values of a fixed width.
        impl KeyWriter {
            $(
                $(#[$doc])*
                #[inline]
                pub fn $write(&mut self, $value: $type) {
                    self.scalar(tag::$tag, $bytes);
                }
            )+
        }

        $(
            impl CacheKey for $type {
                #[inline]
                fn may_panic(&self) -> bool {
                    false
                }

                #[inline]
                fn encode(&self, writer: &mut KeyWriter) {
                    writer.$write(*self);
                }

                fn encode_list<'a>(
                    list: KeyList,
                    count: usize,
                    parts: impl Iterator<Item = &'a [Self]>,
                    writer: &mut KeyWriter,
                ) {
                    writer.packed_head(list, tag::$tag, count);
                    writer.append_packed(parts, |&$value| $bytes);
                }
            }
        )+
    };
}

scalars! {
    /// Writes a `bool`.
    write_bool(value: bool) = BOOL, [u8::from(value)];
    /// Writes a `char`.
    write_char(value: char) = CHAR, u32::from(value).to_le_bytes();
    /// Writes a `u16`.
    write_u16(value: u16) = U16, value.to_le_bytes();
    /// Writes a `u32`.
    write_u32(value: u32) = U32, value.to_le_bytes();
    /// Writes a `u64`.
    write_u64(value: u64) = U64, value.to_le_bytes();
    /// Writes a `u128`.
    write_u128(value: u128) = U128, value.to_le_bytes();
    /// Writes a `usize`, as 64 bits on every machine.
    write_usize(value: usize) = USIZE, (value as u64).to_le_bytes();
    /// Writes an `i8`.
    write_i8(value: i8) = I8, value.to_le_bytes();
    /// Writes an `i16`.
    write_i16(value: i16) = I16, value.to_le_bytes();
    /// Writes an `i32`.
    write_i32(value: i32) = I32, value.to_le_bytes();
    /// Writes an `i64`.
    write_i64(value: i64) = I64, value.to_le_bytes();
    /// Writes an `i128`.
    write_i128(value: i128) = I128, value.to_le_bytes();
    /// Writes an `isize`, as 64 bits on every machine.
    write_isize(value: isize) = ISIZE, (value as i64).to_le_bytes();
    /// Writes an `f32`. There is one NaN; `-0.0` is not `0.0`.
    write_f32(value: f32) = F32, canonical_f32(value).to_le_bytes();
    /// Writes an `f64`. There is one NaN; `-0.0` is not `0.0`.
    write_f64(value: f64) = F64, canonical_f64(value).to_le_bytes();
}

/// Complex numbers are two floats each.
#[cfg(feature = "ndarray")]
mod complex {
    use num_complex::Complex;

    use super::{canonical_f32, canonical_f64};
    use crate::key::{CacheKey, KeyList, KeyWriter, tag};

    scalars! {
        /// Writes a `Complex<f32>`, as two of `f32`.
        write_complex_f32(value: Complex<f32>) = COMPLEX_F32, {
            let parts = u64::from(canonical_f32(value.re)) | u64::from(canonical_f32(value.im)) << 32;
            parts.to_le_bytes()
        };
        /// Writes a `Complex<f64>`, as two of `f64`.
        write_complex_f64(value: Complex<f64>) = COMPLEX_F64, {
            let parts = u128::from(canonical_f64(value.re)) | u128::from(canonical_f64(value.im)) << 64;
            parts.to_le_bytes()
        };
    }
}

impl CacheKey for u8 {
    #[inline]
    fn may_panic(&self) -> bool {
        false
    }

    #[inline]
    fn encode(&self, writer: &mut KeyWriter) {
        writer.write_u8(*self);
    }

    fn encode_list<'a>(list: KeyList, count: usize, parts: impl Iterator<Item = &'a [Self]>, writer: &mut KeyWriter) {
        writer.packed_head(list, tag::U8, count);
        parts.for_each(|part| writer.append(part));
    }
}

impl KeyWriter {
    /// Writes a `u8`.
    #[inline]
    pub fn write_u8(&mut self, value: u8) {
        self.scalar(tag::U8, [value]);
    }

    /// Writes bytes, as a slice of `u8` does.
    pub fn write_bytes(&mut self, value: &[u8]) {
        value.encode(self);
    }

    #[inline]
    fn scalar<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        let mut tagged = [tag; 1 + MAX_WIDTH];
        tagged[1..=N].copy_from_slice(&bytes);
        self.value(&tagged[..=N]);
    }

    /// Scalars side by side, without their tags: as they lie in memory where that is what is written, else one by one.
    fn append_packed<'a, T, const N: usize>(
        &mut self,
        parts: impl Iterator<Item = &'a [T]>,
        bytes: impl Fn(&T) -> [u8; N],
    ) where
        T: NoUninit,
    {
        let mut buffer = Buffer { bytes: [0; 512], len: 0 };
        for part in parts {
            for chunk in part.chunks(PIECE / N) {
                if size_of_val(chunk) > buffer.bytes.len() && lies_as_written(chunk, &bytes) {
                    buffer.empty_into(self);
                    self.append(bytemuck::cast_slice(chunk));
                } else {
                    chunk.iter().for_each(|item| buffer.push(bytes(item), self));
                }
                if self.failed() {
                    return;
                }
            }
        }
        buffer.empty_into(self);
    }

    fn packed_head(&mut self, list: KeyList, tag: u8, count: usize) {
        let packed = match list {
            KeyList::Sequence => tag::PACKED_SEQUENCE,
            KeyList::Array => tag::PACKED_ARRAY,
        };
        self.value(&[packed, tag]);
        self.number(count as u64);
    }
}

/// Scalars are looked at in pieces of so many bytes before they are written in one.
const PIECE: usize = 32 << 10;

/// Whether memory has the bytes that are written: not those of a NaN that is not the one, nor those of another machine.
fn lies_as_written<T: NoUninit, const N: usize>(items: &[T], bytes: &impl Fn(&T) -> [u8; N]) -> bool {
    // Without an end before the last one, so that it is many at a time.
    size_of::<T>() == N && items.iter().fold(true, |same, item| same & (bytemuck::bytes_of(item) == bytes(item)))
}

/// Scalars to be written together: each alone takes as long as many.
struct Buffer {
    bytes: [u8; 512],
    len: usize,
}

impl Buffer {
    fn push<const N: usize>(&mut self, scalar: [u8; N], writer: &mut KeyWriter) {
        if self.len + N > self.bytes.len() {
            self.empty_into(writer);
        }
        if let Some(free) = self.bytes.get_mut(self.len..self.len + N) {
            free.copy_from_slice(&scalar);
            self.len += N;
        }
    }

    fn empty_into(&mut self, writer: &mut KeyWriter) {
        if self.len > 0 {
            writer.append(&self.bytes[..self.len]);
            self.len = 0;
        }
    }
}

fn canonical_f32(value: f32) -> u32 {
    if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }
}

fn canonical_f64(value: f64) -> u64 {
    if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() }
}

// Texts, paths, times and addresses.

macro_rules! owned {
    ($($owned:ty => $borrowed:ty),+ $(,)?) => {
        $(impl CacheKey for $owned {
            #[inline]
            fn may_panic(&self) -> bool {
                <$borrowed>::may_panic(self)
            }

            #[inline]
            fn encode(&self, writer: &mut KeyWriter) {
                <$borrowed>::encode(self, writer);
            }
        })+
    };
}

owned!(String => str, CString => CStr, OsString => OsStr, PathBuf => Path);

impl CacheKey for str {
    #[inline]
    fn may_panic(&self) -> bool {
        false
    }

    #[inline]
    fn encode(&self, writer: &mut KeyWriter) {
        writer.write_str(self);
    }
}

impl CacheKey for CStr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::C_STR]);
        writer.blob(self.to_bytes());
    }
}

impl CacheKey for OsStr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::OS_STR]);
        writer.blob(self.as_encoded_bytes());
    }
}

impl CacheKey for Path {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.write_path(self);
    }
}

impl CacheKey for Duration {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::DURATION]);
        append_duration(writer, *self);
    }
}

impl CacheKey for SystemTime {
    fn encode(&self, writer: &mut KeyWriter) {
        let (before, distance) = match self.duration_since(UNIX_EPOCH) {
            Ok(after) => (0, after),
            Err(error) => (1, error.duration()),
        };
        writer.value(&[tag::SYSTEM_TIME, before]);
        append_duration(writer, distance);
    }
}

fn append_duration(writer: &mut KeyWriter, duration: Duration) {
    writer.append(&duration.as_secs().to_le_bytes());
    writer.append(&duration.subsec_nanos().to_le_bytes());
}

impl CacheKey for Ipv4Addr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::IPV4]);
        writer.append(&self.octets());
    }
}

impl CacheKey for Ipv6Addr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::IPV6]);
        writer.append(&self.octets());
    }
}

impl CacheKey for IpAddr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::IP, 1, |writer| match self {
            Self::V4(address) => address.encode(writer),
            Self::V6(address) => address.encode(writer),
        });
    }
}

impl CacheKey for SocketAddrV4 {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::SOCKET_V4]);
        writer.append(&self.ip().octets());
        writer.append(&self.port().to_le_bytes());
    }
}

impl CacheKey for SocketAddrV6 {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::SOCKET_V6]);
        writer.append(&self.ip().octets());
        writer.append(&self.port().to_le_bytes());
        writer.append(&self.flowinfo().to_le_bytes());
        writer.append(&self.scope_id().to_le_bytes());
    }
}

impl CacheKey for SocketAddr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::SOCKET, 1, |writer| match self {
            Self::V4(address) => address.encode(writer),
            Self::V6(address) => address.encode(writer),
        });
    }
}

// What points to a value is keyed as that value.

macro_rules! pointers {
    ($($pointer:ty),+ $(,)?) => {
        $(impl<T: CacheKey + ?Sized> CacheKey for $pointer {
            #[inline]
            fn may_panic(&self) -> bool {
                (**self).may_panic()
            }

            #[inline]
            fn encode(&self, writer: &mut KeyWriter) {
                (**self).encode(writer);
            }
        })+
    };
}

pointers!(&T, &mut T, Box<T>, Rc<T>, Arc<T>);

impl<T: CacheKey + ToOwned + ?Sized> CacheKey for Cow<'_, T> {
    fn encode(&self, writer: &mut KeyWriter) {
        (**self).encode(writer);
    }
}
