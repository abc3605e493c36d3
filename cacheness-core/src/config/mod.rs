//! What can be configured, and how.

mod durability;
mod duration;
mod env;
mod faults;
mod parts;
mod validate;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use durability::Durability;
pub use parts::{CacheMetadataConfig, CacheStorageConfig, CompressionConfig};

use crate::compress::Codec;
use crate::limits::Limits;

/// The index on disk.
const SLED: &str = "sled";
/// The index, and with it everything else, in memory.
const MEMORY: &str = "memory";
const BACKENDS: [&str; 2] = [SLED, MEMORY];

const BYTES_PER_MB: u64 = 1024 * 1024;
const SECONDS_PER_HOUR: u64 = 3600;

/// How a cache behaves: made by a constructor, changed by its fields or by the `with_` methods, checked by
/// [`validate`](Self::validate) when a cache is opened with it.
///
/// Reads and writes through serde, with every field optional and an unknown one refused.
///
/// ```
/// use std::time::Duration;
/// use cacheness_core::CacheConfig;
///
/// let mut config = CacheConfig::new("/var/cache/weather").with_ttl(Duration::from_secs(86_400)).with_max_size_mb(500);
/// config.storage.cleanup_on_init = true;
/// config.validate()?;
/// # Ok::<(), cacheness_core::CacheError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheConfig {
    /// Where entries are stored, how much of them, and when they reach the disk.
    pub storage: CacheStorageConfig,
    /// The index of entries.
    pub metadata: CacheMetadataConfig,
    /// How values are compressed.
    pub compression: CompressionConfig,
    /// When a put is safe from a power cut. Default [`Durability::Interval`].
    pub durability: Durability,
    /// The largest keys, values and headers accepted.
    pub limits: Limits,
    /// How long an entry stays valid if the put does not say, in seconds, at least a millionth of one. Default none:
    /// entries do not expire.
    pub default_ttl_seconds: Option<f64>,
}

impl CacheConfig {
    /// The defaults, in a directory.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        let storage = CacheStorageConfig { cache_dir: cache_dir.into(), ..CacheStorageConfig::default() };
        Self { storage, ..Self::default() }
    }

    /// A cache that writes nothing to disk and ends with the process.
    ///
    /// ```
    /// # use cacheness_core::CacheConfig;
    /// assert!(CacheConfig::in_memory().is_in_memory());
    /// ```
    pub fn in_memory() -> Self {
        Self::default().with_backend(MEMORY)
    }

    /// A preset for answers of web services: entries expire after 6 hours, values are compressed with LZ4.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cacheness_core::CacheConfig;
    /// assert_eq!(CacheConfig::for_api("./api").default_ttl(), Some(Duration::from_secs(21_600)));
    /// ```
    pub fn for_api(cache_dir: impl Into<PathBuf>) -> Self {
        Self::new(cache_dir).with_ttl(Duration::from_secs(6 * SECONDS_PER_HOUR)).with_codec(Codec::Lz4)
    }
}

/// Changes, one at a time.
impl CacheConfig {
    /// Sets the directory of the cache.
    #[must_use]
    pub fn with_cache_dir(mut self, cache_dir: impl Into<PathBuf>) -> Self {
        self.storage.cache_dir = cache_dir.into();
        self
    }

    /// Sets how long an entry stays valid if the put does not say.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl_seconds = Some(ttl.as_secs_f64());
        self
    }

    /// Lets entries whose put does not say otherwise stay valid for ever.
    #[must_use]
    pub fn without_ttl(mut self) -> Self {
        self.default_ttl_seconds = None;
        self
    }

    /// Sets the size of all stored entries, in MB of 1024 × 1024 bytes.
    #[must_use]
    pub fn with_max_size_mb(mut self, megabytes: u64) -> Self {
        self.storage.max_cache_size_mb = megabytes;
        self
    }

    /// Sets whether opening the cache removes expired entries.
    #[must_use]
    pub fn with_cleanup_on_init(mut self, cleanup: bool) -> Self {
        self.storage.cleanup_on_init = cleanup;
        self
    }

    /// Sets the size up to which stored values live inside the index.
    #[must_use]
    pub fn with_inline_bytes(mut self, bytes: u64) -> Self {
        self.storage.inline_bytes = bytes;
        self
    }

    /// Sets how long a put waits at most before it is written to the disk, in whole milliseconds.
    #[must_use]
    pub fn with_flush_interval(mut self, interval: Duration) -> Self {
        self.storage.flush_interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Sets the backend of the index by its name, `sled` or `memory`.
    #[must_use]
    pub fn with_backend(mut self, name: impl Into<String>) -> Self {
        self.metadata.backend = name.into();
        self
    }

    /// Sets whether entries keep a readable copy of the parameters of their key.
    #[must_use]
    pub fn with_stored_key_params(mut self, store: bool) -> Self {
        self.metadata.store_cache_key_params = store;
        self
    }

    /// Sets the memory for pages of the index, in MB of 1024 × 1024 bytes.
    #[must_use]
    pub fn with_page_cache_mb(mut self, megabytes: u64) -> Self {
        self.metadata.page_cache_mb = megabytes;
        self
    }

    /// Sets how values are compressed.
    #[must_use]
    pub fn with_codec(mut self, codec: Codec) -> Self {
        self.compression.codec = codec;
        self
    }

    /// Sets the size in bytes from which values are compressed.
    #[must_use]
    pub fn with_compression_threshold(mut self, bytes: u64) -> Self {
        self.compression.threshold_bytes = bytes;
        self
    }

    /// Sets when a put is safe from a power cut.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the largest keys, values and headers accepted.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// What the fields mean.
impl CacheConfig {
    /// How long an entry stays valid if the put does not say; `None` is for ever.
    ///
    /// A number of seconds that [`validate`](Self::validate) refuses is no time at all rather than for ever, and one too
    /// large for a [`Duration`] is the longest there is.
    pub fn default_ttl(&self) -> Option<Duration> {
        let seconds = self.default_ttl_seconds?;
        let nearest = if seconds > 0.0 { Duration::MAX } else { Duration::ZERO };
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(nearest))
    }

    /// The size of all stored entries, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.storage.max_cache_size_mb.saturating_mul(BYTES_PER_MB)
    }

    /// The memory for pages of the index, in bytes.
    pub fn page_cache_bytes(&self) -> u64 {
        self.metadata.page_cache_mb.saturating_mul(BYTES_PER_MB)
    }

    /// How long a put waits at most before it is written to the disk.
    pub fn flush_interval(&self) -> Duration {
        Duration::from_millis(self.storage.flush_interval_ms)
    }

    /// Whether the cache writes nothing to disk.
    pub fn is_in_memory(&self) -> bool {
        self.metadata.backend == MEMORY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_are_documented() {
        let config = CacheConfig::default();
        assert_eq!(config.storage.cache_dir, PathBuf::from("./cache"));
        assert_eq!(config.max_bytes(), 10_000 * 1_048_576);
        assert!(!config.storage.cleanup_on_init);
        assert_eq!(config.storage.inline_bytes, 4096);
        assert_eq!(config.flush_interval(), Duration::from_millis(500));
        assert_eq!((config.metadata.backend.as_str(), config.metadata.store_cache_key_params), ("sled", true));
        assert_eq!(config.page_cache_bytes(), 512 * 1_048_576);
        assert_eq!((config.compression.codec, config.compression.threshold_bytes), (Codec::Lz4, 1024));
        assert_eq!((config.durability, config.limits), (Durability::Interval, Limits::DEFAULT));
        assert_eq!(config.default_ttl(), None);
    }

    #[test]
    fn every_builder_sets_its_own_field() {
        let limits = Limits { max_key_bytes: 1, ..Limits::DEFAULT };
        let config = CacheConfig::in_memory()
            .with_cache_dir("d")
            .with_ttl(Duration::from_millis(1500))
            .with_max_size_mb(3)
            .with_cleanup_on_init(true)
            .with_inline_bytes(7)
            .with_flush_interval(Duration::from_secs(2))
            .with_backend("sled")
            .with_stored_key_params(false)
            .with_page_cache_mb(16)
            .with_codec(Codec::None)
            .with_compression_threshold(9)
            .with_durability(Durability::Immediate)
            .with_limits(limits);
        let storage = CacheStorageConfig {
            cache_dir: "d".into(),
            max_cache_size_mb: 3,
            cleanup_on_init: true,
            inline_bytes: 7,
            flush_interval_ms: 2000,
        };
        let metadata =
            CacheMetadataConfig { backend: "sled".to_owned(), store_cache_key_params: false, page_cache_mb: 16 };
        let compression = CompressionConfig { codec: Codec::None, threshold_bytes: 9 };
        let durability = Durability::Immediate;
        let default_ttl_seconds = Some(1.5);
        assert_eq!(config, CacheConfig { storage, metadata, compression, durability, limits, default_ttl_seconds });
        assert_eq!(config.without_ttl().default_ttl_seconds, None);
    }

    #[test]
    fn a_ttl_no_duration_can_hold_is_the_longest_and_a_senseless_one_is_none_at_all() {
        let ttl = |seconds| CacheConfig { default_ttl_seconds: Some(seconds), ..CacheConfig::default() }.default_ttl();
        assert_eq!(ttl(1e30), Some(Duration::MAX));
        assert_eq!(CacheConfig::default().with_ttl(Duration::MAX).default_ttl(), Some(Duration::MAX));
        for senseless in [-1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(ttl(senseless), Some(Duration::ZERO), "{senseless}");
        }
    }

    #[test]
    fn a_configuration_survives_serde_and_a_missing_field_takes_its_default() {
        let config = CacheConfig::for_api("dir").with_max_size_mb(7).with_durability(Durability::Immediate);
        let bytes = rmp_serde::to_vec_named(&config).unwrap();
        assert_eq!(rmp_serde::from_slice::<CacheConfig>(&bytes).unwrap(), config);

        #[derive(Serialize)]
        struct Partial {
            default_ttl_seconds: u32,
        }
        let bytes = rmp_serde::to_vec_named(&Partial { default_ttl_seconds: 5 }).unwrap();
        let expected = CacheConfig::default().with_ttl(Duration::from_secs(5));
        assert_eq!(rmp_serde::from_slice::<CacheConfig>(&bytes).unwrap(), expected);
    }

    #[test]
    fn an_unknown_field_is_refused_by_name_at_every_level() {
        #[derive(Serialize)]
        struct Typo<T> {
            storage: T,
        }
        #[derive(Serialize)]
        struct Storage {
            cache_dri: &'static str,
        }
        let bytes = rmp_serde::to_vec_named(&Typo { storage: Storage { cache_dri: "x" } }).unwrap();
        let message = rmp_serde::from_slice::<CacheConfig>(&bytes).unwrap_err().to_string();
        assert!(message.contains("cache_dri"), "{message}");
    }
}
