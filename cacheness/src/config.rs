//! The parts of a [`CacheConfig`], what they can be set to, and the keys that sign.
//!
//! ```
//! use cacheness::CacheConfig;
//! use cacheness::config::{Codec, Durability};
//!
//! let config = CacheConfig::new("./cache").with_codec(Codec::Lz4).with_durability(Durability::Immediate);
//! assert!(config.validate().is_ok());
//! ```

#[doc(no_inline)]
pub use crate::CacheConfig;
pub use cacheness_core::{
    CacheBlobConfig, CacheLocalConfig, CacheMetadataConfig, CacheStorageConfig, Codec, CompressionConfig,
    ConnectionUrl, Durability, HandlerConfig, InvalidEntries, Limits, MemoryPolicy, ParquetCodec, SecondProcess,
    SecurityConfig, SerializationConfig, SigningKey, SingleFlight, UnsignedEntries, VerifyPaths,
};
