//! Tensors as parts of keys.

use super::{Tensor, Tensors};
use crate::key::{CacheKey, KeyFields, KeyWriter};

/// Type, shape and bytes count: those of a NaN, too, as two tensors are equal if their bytes are.
impl CacheKey for Tensor {
    fn may_panic(&self) -> bool {
        false
    }

    fn encode(&self, writer: &mut KeyWriter) {
        writer.record("safetensors::Tensor", None, KeyFields::Positional(3), |writer| {
            writer.write_str(&self.dtype().to_string());
            self.shape().encode(writer);
            writer.write_bytes(self.bytes());
        });
    }
}

impl CacheKey for Tensors {
    fn may_panic(&self) -> bool {
        false
    }

    fn encode(&self, writer: &mut KeyWriter) {
        writer.record("safetensors::Tensors", None, KeyFields::Positional(2), |writer| {
            // They are in order already: a map would keep a copy of all of them, to be sorted.
            writer.sequence(self.len(), |writer| {
                self.iter().for_each(|named| named.encode(writer));
            });
            self.metadata().encode(writer);
        });
    }
}
