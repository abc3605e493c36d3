//! What values are written from: tags, numbers, texts and containers that close themselves.

use std::hash::{Hash, Hasher};
use std::mem;

use super::{Frame, KeyFields, KeyWriter};
use crate::config::VerifyPaths;
use crate::error::{CacheError, ErrorKind};
use crate::key::{KeyRules, tag};
use crate::util::digest::IdentityHasher;

/// Parts of values, for the implementations in this room.
impl KeyWriter {
    /// Begins a value, whose first byte is its tag.
    #[inline]
    pub(in crate::key) fn value(&mut self, bytes: &[u8]) {
        self.written += 1;
        self.append(bytes);
    }

    /// Bytes that mean something only after a tag.
    #[inline]
    pub(in crate::key) fn append(&mut self, bytes: &[u8]) {
        let length = self.length + bytes.len() as u64;
        if length > self.rules.max_bytes || self.error.is_some() {
            return self.refuse(length);
        }
        self.length = length;
        self.sink.append(bytes);
    }

    #[cold]
    fn refuse(&mut self, length: u64) {
        let limit = self.rules.max_bytes;
        let message = format!(
            "a key of {length} bytes or more is larger than the limit of {limit} bytes: \
             leave large arguments out of the key, or raise `max_key_bytes`"
        );
        self.fail(CacheError::new(ErrorKind::Limit, message));
    }

    /// Holds what has been written, and what follows, to rules that were not known at the start.
    #[inline]
    pub(crate) fn narrow(&mut self, rules: &KeyRules) {
        self.rules.max_bytes = self.rules.max_bytes.min(rules.max_bytes);
        self.rules.max_depth = self.rules.max_depth.min(rules.max_depth);
        self.rules.path_content &= rules.path_content;
        if rules.verify == VerifyPaths::Always {
            self.rules.verify = VerifyPaths::Always;
        }
        if self.length > self.rules.max_bytes {
            self.refuse(self.length);
        }
        self.check_depth(self.deepest);
        self.check_paths_read();
    }

    /// A number in as few bytes as it takes: seven bits each, the lowest first, the top bit set on all but the last.
    #[inline]
    pub(in crate::key) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.append(&[number as u8 | 0x80]);
            number >>= 7;
        }
        self.append(&[number as u8]);
    }

    /// Bytes after their number.
    #[inline]
    pub(in crate::key) fn blob(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.append(bytes);
    }

    /// A tag and bytes after their number, the short ones with fewer steps.
    #[inline]
    pub(super) fn tagged_blob(&mut self, tag: u8, bytes: &[u8]) {
        if bytes.len() < 0x80 {
            self.append(&[tag, bytes.len() as u8]);
        } else {
            self.append(&[tag]);
            self.number(bytes.len() as u64);
        }
        self.append(bytes);
    }

    pub(super) fn optional_blob(&mut self, text: Option<&str>) {
        match text {
            None => self.append(&[0]),
            Some(text) => self.tagged_blob(1, text.as_bytes()),
        }
    }

    /// Writes the head of a struct or variant and returns the number of values that have to follow.
    pub(in crate::key) fn record_head(&mut self, name: &str, variant: Option<&str>, fields: KeyFields) -> u64 {
        let (tag, count) = match (variant, fields) {
            (None, KeyFields::Unit) => (tag::UNIT_STRUCT, 0),
            (None, KeyFields::Positional(count)) => (tag::TUPLE_STRUCT, count),
            (None, KeyFields::Named(count)) => (tag::STRUCT, count),
            (Some(_), KeyFields::Unit) => (tag::UNIT_VARIANT, 0),
            (Some(_), KeyFields::Positional(count)) => (tag::TUPLE_VARIANT, count),
            (Some(_), KeyFields::Named(count)) => (tag::STRUCT_VARIANT, count),
        };
        self.value(&[tag]);
        self.blob(name.as_bytes());
        if let Some(variant) = variant {
            self.blob(variant.as_bytes());
        }
        self.number(count as u64);
        count as u64
    }

    /// Writes the values of a container, `count` of them.
    #[inline]
    pub(in crate::key) fn nested(&mut self, count: u64, encode: impl FnOnce(&mut Self)) {
        let frame = self.open();
        if !self.failed() {
            encode(self);
        }
        self.close(frame, count);
    }

    /// A tag and the values that it always has.
    #[inline]
    pub(in crate::key) fn tagged(&mut self, tag: u8, count: u64, encode: impl FnOnce(&mut Self)) {
        self.value(&[tag]);
        self.nested(count, encode);
    }

    /// Values of several types as one.
    pub(crate) fn tuple(&mut self, count: usize, encode: impl FnOnce(&mut Self)) {
        self.counted(tag::TUPLE, count, encode);
    }

    /// Whether two values are written alike, where paths count by their text.
    pub(crate) fn is_same_by_text(one: impl FnOnce(&mut Self), other: impl FnOnce(&mut Self)) -> bool {
        let mut writers = [(); 2].map(|()| Self::new().with_path_content(false));
        one(&mut writers[0]);
        other(&mut writers[1]);
        let [one, other] = writers.map(Self::into_key);
        matches!((one, other), (Ok(one), Ok(other)) if one == other)
    }

    /// So many values in order, for types whose implementations stand elsewhere.
    #[cfg(feature = "safetensors")]
    pub(crate) fn sequence(&mut self, count: usize, encode: impl FnOnce(&mut Self)) {
        self.counted(tag::SEQUENCE, count, encode);
    }

    /// A tag, a number, and so many values.
    #[inline]
    pub(in crate::key) fn counted(&mut self, tag: u8, count: usize, encode: impl FnOnce(&mut Self)) {
        self.value(&[tag]);
        self.number(count as u64);
        self.nested(count as u64, encode);
    }

    #[inline]
    pub(in crate::key) fn open(&mut self) -> Frame {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        self.check_depth(self.depth);
        Frame { outer_written: std::mem::take(&mut self.written) }
    }

    /// Ends a container that announced `count` values; another number would make two different keys look alike.
    #[inline]
    pub(in crate::key) fn close(&mut self, frame: Frame, count: u64) {
        let written = std::mem::replace(&mut self.written, frame.outer_written);
        self.depth -= 1;
        if written != count {
            self.miscounted(written, count);
        }
    }

    #[inline]
    pub(super) fn check_depth(&mut self, depth: u16) {
        if depth > self.rules.max_depth {
            self.too_deep();
        }
    }

    #[cold]
    fn too_deep(&mut self) {
        let max = self.rules.max_depth;
        let message = format!(
            "a key is nested deeper than {max} values (serialization.max_collection_depth): \
             leave the deep argument out of it"
        );
        self.fail(CacheError::new(ErrorKind::Limit, message));
    }

    #[cold]
    fn miscounted(&mut self, written: u64, count: u64) {
        let message = format!(
            "a part of the key announced {count} values and wrote {written}: \
             an implementation of `CacheKey` writes one value, several as a tuple or a record"
        );
        self.fail(CacheError::new(ErrorKind::Serialization, message));
    }
}

// What a value tells a hasher and not a serializer: the variant of an untagged enum, fields that are skipped.

/// Up to this length what was told is written as it is.
const MAX_WHOLE: usize = 256;

/// Whole or as a digest.
const WHOLE: u8 = 0;
const DIGEST: u8 = 1;

/// Behind a value that was written: what the value feeds to a hasher.
impl KeyWriter {
    pub(crate) fn append_hashed<T: Hash + ?Sized>(&mut self, value: &T) {
        // What could not be written may be nested too deeply to be hashed.
        if self.failed() {
            return;
        }
        let mut recorded = RecordingHasher { whole: Vec::new(), digest: None };
        value.hash(&mut recorded);
        self.append(&[tag::HASHED]);
        match recorded.digest {
            None => {
                self.append(&[WHOLE]);
                self.blob(&recorded.whole);
            }
            Some(mut digest) => {
                digest.update(&recorded.whole);
                self.append(&[DIGEST]);
                self.append(&digest.finish());
            }
        }
    }

    /// Which variant a value is; the same for all values of a type that is no enum.
    pub(crate) fn append_variant<T>(&mut self, value: &T) {
        self.append_hashed(&mem::discriminant(value));
    }
}

/// A hasher that keeps what it is told, in the same bytes on every machine.
struct RecordingHasher {
    whole: Vec<u8>,
    digest: Option<IdentityHasher>,
}

macro_rules! little_endian {
    ($($write:ident($type:ty) as $wide:ty;)+) => {
        $(fn $write(&mut self, value: $type) {
            self.write(&(value as $wide).to_le_bytes());
        })+
    };
}

impl Hasher for RecordingHasher {
    fn write(&mut self, bytes: &[u8]) {
        if self.whole.len() + bytes.len() > MAX_WHOLE {
            let digest = self.digest.get_or_insert_with(IdentityHasher::new);
            digest.update(&self.whole);
            self.whole.clear();
            if bytes.len() > MAX_WHOLE {
                return digest.update(bytes);
            }
        }
        self.whole.extend_from_slice(bytes);
    }

    little_endian! {
        write_u16(u16) as u16;
        write_u32(u32) as u32;
        write_u64(u64) as u64;
        write_u128(u128) as u128;
        write_usize(usize) as u64;
        write_i16(i16) as i16;
        write_i32(i32) as i32;
        write_i64(i64) as i64;
        write_i128(i128) as i128;
        write_isize(isize) as i64;
    }

    /// Nobody needs it: what was told is kept.
    fn finish(&self) -> u64 {
        0
    }
}
