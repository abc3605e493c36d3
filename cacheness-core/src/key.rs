//! Arguments to keys.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::{CacheError, ErrorKind, Result, digest};

/// What a key is written from.
pub trait CacheKey {
    /// Writes this value.
    fn encode(&self, w: &mut KeyWriter);
}

/// Writes one key.
#[derive(Debug, Default)]
pub struct KeyWriter {
    bytes: Vec<u8>,
    paths: Vec<PathBuf>,
    error: Option<CacheError>,
}

impl KeyWriter {
    /// Starts a key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes which function the key belongs to.
    pub fn scope(&mut self, function: &str, prefix: Option<&str>, version: Option<&str>) {
        self.put(b'S', function.as_bytes());
        for part in [prefix, version] {
            self.put(if part.is_some() { b's' } else { b'n' }, part.unwrap_or_default().as_bytes());
        }
    }

    /// Begins the next argument.
    pub fn argument(&mut self) {
        self.put(b'a', b"");
    }

    /// Begins an argument that is known by its name.
    pub fn named_argument(&mut self, name: &str) {
        self.put(b'A', name.as_bytes());
    }

    fn put(&mut self, tag: u8, bytes: &[u8]) {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    /// Ends the key.
    pub fn finish(self) -> PendingKey {
        PendingKey(self)
    }
}

/// Writes a value that only implements `Serialize`.
pub fn serialize_key<T: Serialize + ?Sized>(value: &T, w: &mut KeyWriter) {
    match bincode::serde::encode_to_vec(value, bincode::config::standard()) {
        Ok(bytes) => w.put(b'z', &bytes),
        Err(error) => {
            w.error =
                Some(CacheError::caused_by(ErrorKind::Serialization, "an argument cannot be part of a key", error))
        }
    }
}

/// A key whose files have not been read yet.
#[derive(Debug)]
pub struct PendingKey(KeyWriter);

impl PendingKey {
    /// Whether files have to be read.
    pub fn needs_io(&self) -> bool {
        !self.0.paths.is_empty()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// When an argument could not be written.
    pub fn resolve(mut self) -> Result<Key> {
        for path in std::mem::take(&mut self.0.paths) {
            let content = std::fs::read(&path).unwrap_or_default();
            self.0.put(b'p', &content);
        }
        match self.0.error {
            Some(error) => Err(error),
            None => Ok(Key(self.0.bytes.into())),
        }
    }
}

/// The key of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(Arc<[u8]>);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", digest::checksum(&self.0))
    }
}

macro_rules! numbers {
    ($($tag:literal $t:ty),*) => {$(
        impl CacheKey for $t {
            fn encode(&self, w: &mut KeyWriter) {
                w.put($tag, &self.to_le_bytes());
            }
        }
    )*};
}

numbers!(1 u8, 2 u16, 3 u32, 4 u64, 5 usize, 6 i8, 7 i16, 8 i32, 9 i64, 10 f64, 11 u128);

impl CacheKey for str {
    fn encode(&self, w: &mut KeyWriter) {
        w.put(b't', self.as_bytes());
    }
}

impl CacheKey for String {
    fn encode(&self, w: &mut KeyWriter) {
        self.as_str().encode(w);
    }
}

impl CacheKey for bool {
    fn encode(&self, w: &mut KeyWriter) {
        w.put(b'b', &[u8::from(*self)]);
    }
}

impl CacheKey for () {
    fn encode(&self, w: &mut KeyWriter) {
        w.put(b'u', b"");
    }
}

impl CacheKey for Path {
    fn encode(&self, w: &mut KeyWriter) {
        w.paths.push(self.to_path_buf());
    }
}

impl CacheKey for PathBuf {
    fn encode(&self, w: &mut KeyWriter) {
        self.as_path().encode(w);
    }
}

impl<T: CacheKey> CacheKey for [T] {
    fn encode(&self, w: &mut KeyWriter) {
        w.put(b'l', &(self.len() as u64).to_le_bytes());
        self.iter().for_each(|item| item.encode(w));
    }
}

impl<T: CacheKey, const N: usize> CacheKey for [T; N] {
    fn encode(&self, w: &mut KeyWriter) {
        self.as_slice().encode(w);
    }
}

impl<T: CacheKey> CacheKey for Vec<T> {
    fn encode(&self, w: &mut KeyWriter) {
        self.as_slice().encode(w);
    }
}

impl<T: CacheKey> CacheKey for Option<T> {
    fn encode(&self, w: &mut KeyWriter) {
        w.put(b'o', &[u8::from(self.is_some())]);
        if let Some(value) = self {
            value.encode(w);
        }
    }
}

impl<A: CacheKey, B: CacheKey> CacheKey for (A, B) {
    fn encode(&self, w: &mut KeyWriter) {
        self.0.encode(w);
        self.1.encode(w);
    }
}

impl<T: CacheKey + ?Sized> CacheKey for &T {
    fn encode(&self, w: &mut KeyWriter) {
        (**self).encode(w);
    }
}
