//! Configurations with a purpose.

use std::path::PathBuf;
use std::time::Duration;

use super::CacheConfig;
use crate::config::Codec;

const SECONDS_PER_HOUR: u64 = 3600;

/// Ready-made, to be changed further.
impl CacheConfig {
    /// A preset for answers of web services: entries expire after 6 hours, values are compressed with LZ4.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cacheness::CacheConfig;
    /// assert_eq!(CacheConfig::for_api("./api").default_ttl(), Some(Duration::from_secs(21_600)));
    /// ```
    pub fn for_api(cache_dir: impl Into<PathBuf>) -> Self {
        Self::new(cache_dir).with_ttl(Duration::from_secs(6 * SECONDS_PER_HOUR)).with_codec(Codec::Lz4)
    }

    /// A preset for short answers: LZ4, and only from 4 KiB on; values of up to 16 KiB live inside the index, for whose
    /// pages there are up to 2 GB of memory.
    ///
    /// ```
    /// # use cacheness::CacheConfig;
    /// assert_eq!(CacheConfig::for_performance("./fast").storage.inline_bytes, 16_384);
    /// ```
    pub fn for_performance(cache_dir: impl Into<PathBuf>) -> Self {
        Self::new(cache_dir)
            .with_codec(Codec::Lz4)
            .with_compression_threshold(4096)
            .with_inline_bytes(16 << 10)
            .with_page_cache_mb(2048)
    }

    /// A preset for a small cache: values of 256 bytes and more are compressed by the densest codec that is compiled in
    /// (`zstd` at level 12, `gzip` at level 9, `lz4`), and the index takes 16 MB of memory for its pages.
    ///
    /// ```
    /// # use cacheness::CacheConfig;
    /// assert_eq!(CacheConfig::for_size("./small").compression.threshold_bytes, 256);
    /// ```
    pub fn for_size(cache_dir: impl Into<PathBuf>) -> Self {
        densest(Self::new(cache_dir)).with_compression_threshold(256).with_page_cache_mb(16)
    }
}

#[cfg(feature = "zstd")]
fn densest(config: CacheConfig) -> CacheConfig {
    config.with_codec(Codec::Zstd).with_compression_level(12)
}

#[cfg(all(feature = "gzip", not(feature = "zstd")))]
fn densest(config: CacheConfig) -> CacheConfig {
    config.with_codec(Codec::Gzip).with_compression_level(9)
}

#[cfg(not(any(feature = "gzip", feature = "zstd")))]
fn densest(config: CacheConfig) -> CacheConfig {
    config.with_codec(Codec::Lz4)
}
