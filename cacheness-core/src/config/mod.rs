//! What can be configured, and how.

pub(crate) mod backends;
mod builders;
pub(crate) mod codec;
mod durability;
mod duration;
mod env;
mod faults;
#[cfg(feature = "config-files")]
mod file;
mod handlers;
pub(crate) mod handshake;
pub(crate) mod limits;
mod memory;
mod parts;
mod presets;
#[cfg(feature = "config-files")]
mod report;
mod security;
mod shared;
mod spans;
mod validate;
mod verify_paths;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use codec::Codec;
pub(crate) use codec::{Compression, StoredCodec};
pub use durability::Durability;
pub(crate) use duration::LONGEST;
pub use handlers::HandlerConfig;
pub(crate) use handlers::{BINCODE, MESSAGEPACK, check_handler_name, is_built_in};
pub(crate) use memory::MemoryBounds;
pub use memory::MemoryPolicy;
pub use parts::{CacheBlobConfig, CacheMetadataConfig, CacheStorageConfig, CompressionConfig, SerializationConfig};
pub use security::{InvalidEntries, SecurityConfig, UnsignedEntries};
pub(crate) use validate::values_are_gone;
pub use verify_paths::VerifyPaths;

use crate::config::limits::Limits;

/// The index on disk.
pub(crate) const SLED: &str = "sled";
/// Values in files.
pub(crate) const FILESYSTEM: &str = "filesystem";
/// The index, or values, in memory.
pub(crate) const MEMORY: &str = "memory";
/// The index in a JSON file.
pub(crate) const JSON: &str = "json";

const BYTES_PER_MB: u64 = 1024 * 1024;

/// How a cache behaves: made by a constructor, changed by its fields or by the `with_` methods, checked by
/// [`validate`](Self::validate) when a cache is opened with it.
///
/// Reads and writes through serde, with every field optional and an unknown one refused; with the feature `config-files`
/// also as TOML and JSON. All fields in one table: `docs/configuration.md` of the project.
///
/// ```
/// use std::time::Duration;
/// use cacheness::CacheConfig;
///
/// let mut config = CacheConfig::new("/var/cache/weather").with_ttl(Duration::from_secs(86_400)).with_max_size_mb(500);
/// config.storage.cleanup_on_init = true;
/// config.validate()?;
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheConfig {
    /// Where entries are stored, how much of them, and when they reach the disk.
    pub storage: CacheStorageConfig,
    /// The index of entries.
    pub metadata: CacheMetadataConfig,
    /// Where values lie that are not inside the index.
    pub blob: CacheBlobConfig,
    /// How values are compressed.
    pub compression: CompressionConfig,
    /// How arguments become keys.
    pub serialization: SerializationConfig,
    /// Which handlers write and read values.
    pub handlers: HandlerConfig,
    /// Whether entries are signed, and what is believed.
    pub security: SecurityConfig,
    /// When a put is safe from a power cut. Default [`Durability::Interval`].
    pub durability: Durability,
    /// The largest keys, values and headers accepted.
    pub limits: Limits,
    /// How long a call waits at least for another one that runs the same body before it runs the body itself, in
    /// milliseconds from 1 to 86400000. Default 3000.
    ///
    /// The first of those who wait does so for four times as long as the body usually takes, if that is longer, up to a
    /// hundred times this; the next two wait twice as long as the first, the next four four times, and so on. The first
    /// run that ends is the result of all. So a body that depends on a call which waits for it, through threads, locks
    /// or channels, ends all the same.
    pub single_flight_wait_ms: u64,
    /// How long an entry stays valid if the put does not say, in seconds, from a millionth of one to 100,000 years.
    /// Default none: entries do not expire.
    #[serde(deserialize_with = "duration::seconds")]
    pub default_ttl_seconds: Option<f64>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            storage: CacheStorageConfig::default(),
            metadata: CacheMetadataConfig::default(),
            blob: CacheBlobConfig::default(),
            compression: CompressionConfig::default(),
            serialization: SerializationConfig::default(),
            handlers: HandlerConfig::default(),
            security: SecurityConfig::default(),
            durability: Durability::default(),
            limits: Limits::default(),
            single_flight_wait_ms: 3000,
            default_ttl_seconds: None,
        }
    }
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
    /// # use cacheness::CacheConfig;
    /// assert!(CacheConfig::in_memory().is_in_memory());
    /// ```
    pub fn in_memory() -> Self {
        Self::default().with_backend(MEMORY)
    }
}

/// What the fields mean.
impl CacheConfig {
    /// How long an entry stays valid if the put does not say; `None` is for ever.
    ///
    /// A number of seconds that [`validate`](Self::validate) refuses is no time at all rather than for ever, and one too
    /// large for a [`Duration`] is the longest there is.
    pub fn default_ttl(&self) -> Option<Duration> {
        self.default_ttl_seconds.map(nearest_duration)
    }

    /// What is kept in memory before the index; `None` if nothing is.
    pub(crate) fn memory(&self) -> Option<MemoryBounds> {
        let metadata = &self.metadata;
        metadata.enable_memory_cache.then(|| MemoryBounds {
            policy: metadata.memory_cache_type,
            max_entries: metadata.memory_cache_maxsize,
            max_bytes: metadata.memory_cache_max_mb.saturating_mul(BYTES_PER_MB),
            ttl: metadata.memory_cache_ttl_seconds.map(nearest_duration),
        })
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

    /// How long a call waits at least for another one that runs the same body.
    pub fn single_flight_wait(&self) -> Duration {
        Duration::from_millis(self.single_flight_wait_ms)
    }

    /// Name of the backend of values: the configured one, or the one that goes with the index.
    ///
    /// ```
    /// # use cacheness::CacheConfig;
    /// assert_eq!(CacheConfig::default().blob_backend(), "filesystem");
    /// assert_eq!(CacheConfig::in_memory().blob_backend(), "memory");
    /// ```
    pub fn blob_backend(&self) -> &str {
        let beside_index = if self.has_index_in_memory() { MEMORY } else { FILESYSTEM };
        self.blob.backend.as_deref().unwrap_or(beside_index)
    }

    /// Whether the cache writes nothing to disk.
    pub fn is_in_memory(&self) -> bool {
        self.has_index_in_memory() && self.blob_backend() == MEMORY
    }

    pub(crate) fn has_index_in_memory(&self) -> bool {
        self.metadata.backend == MEMORY
    }

    /// How values are compressed that are no vectors of numbers.
    pub(crate) fn value_compression(&self) -> Compression {
        Compression { codec: self.compression.codec, level: self.compression.level }
    }

    /// How vectors of numbers are compressed.
    pub(crate) fn number_compression(&self) -> Compression {
        let level = self.compression.numbers_level;
        match self.compression.numbers_codec {
            Some(codec) => Compression { codec, level },
            None => Compression { level: level.or(self.compression.level), ..self.value_compression() },
        }
    }
}

fn nearest_duration(seconds: f64) -> Duration {
    let nearest = if seconds > 0.0 { Duration::MAX } else { Duration::ZERO };
    Duration::try_from_secs_f64(seconds).unwrap_or(nearest)
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
        assert_eq!((config.default_ttl(), config.single_flight_wait()), (None, Duration::from_secs(3)));
    }

    #[test]
    fn numbers_are_compressed_as_other_values_unless_told_otherwise() {
        let mut config = CacheConfig::default();
        let of = |codec, level| Compression { codec, level };
        assert_eq!(config.number_compression(), of(Codec::Lz4, None));
        config.compression.level = Some(5);
        assert_eq!(config.number_compression(), of(Codec::Lz4, Some(5)));
        config.compression.numbers_level = Some(9);
        assert_eq!(config.number_compression(), of(Codec::Lz4, Some(9)));
        config.compression.numbers_codec = Some(Codec::None);
        assert_eq!(config.number_compression(), of(Codec::None, Some(9)));
        config.compression.numbers_level = None;
        assert_eq!(config.number_compression(), of(Codec::None, None));
        assert_eq!(config.value_compression(), of(Codec::Lz4, Some(5)));
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
