//! What a value tells a hasher and not a serializer: the variant of an untagged enum, fields that are skipped.

use std::hash::{Hash, Hasher};
use std::mem;

use super::{KeyWriter, tag};
use crate::util::digest::IdentityHasher;

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
        let mut told = Told { whole: Vec::new(), digest: None };
        value.hash(&mut told);
        self.append(&[tag::HASHED]);
        match told.digest {
            None => {
                self.append(&[WHOLE]);
                self.blob(&told.whole);
            }
            Some(mut digest) => {
                digest.update(&told.whole);
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
struct Told {
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

impl Hasher for Told {
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
