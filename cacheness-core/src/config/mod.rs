//! What can be configured, and how.

pub(crate) mod backends;
mod builders;
pub(crate) mod codec;
mod databases;
mod duration;
mod env;
#[cfg(feature = "config-files")]
mod file;
mod local;
pub(crate) mod native;
#[cfg(feature = "objects")]
pub(crate) mod objects;
mod parts;
#[cfg(feature = "postgresql")]
pub(crate) mod postgresql;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod secret;
#[cfg(any(feature = "postgresql", feature = "redis"))]
pub(crate) mod servers;
mod spans;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
mod validate;

use std::path::PathBuf;
use std::time::Duration;

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};

pub use codec::{Codec, CompressionConfig};
pub(crate) use codec::{Compression, StoredCodec};
pub(crate) use duration::LONGEST;
pub use local::CacheLocalConfig;
pub use native::{NativeFormat, ParquetCodec};
pub(crate) use parts::{BINCODE, MAX_DEPTH, MESSAGEPACK, MemoryBounds, check_handler_name, is_built_in, is_of_serde};
pub use parts::{
    CacheBlobConfig, CacheMetadataConfig, CacheStorageConfig, Durability, HandlerConfig, InvalidEntries, Limits,
    MemoryPolicy, SecondProcess, SecurityConfig, SerializationConfig, SingleFlight, UnsignedEntries, VerifyPaths,
};
pub use secret::ConnectionUrl;
pub(crate) use validate::values_are_gone;

use crate::error::{CacheError, ErrorKind, Result};

/// The index on disk.
pub(crate) const SLED: &str = "sled";
/// Values in files.
pub(crate) const FILESYSTEM: &str = "filesystem";
/// The index, or values, in memory.
pub(crate) const MEMORY: &str = "memory";
/// The index in a JSON file.
pub(crate) const JSON: &str = "json";
/// The index in a SQLite database.
pub(crate) const SQLITE: &str = "sqlite";
/// The same in memory.
pub(crate) const SQLITE_MEMORY: &str = "sqlite_memory";
/// The index in a PostgreSQL database.
pub(crate) const POSTGRESQL: &str = "postgresql";
/// The index on a Redis server.
pub(crate) const REDIS: &str = "redis";

/// Values in a bucket of Amazon S3, or of a store that speaks its protocol.
pub(crate) const S3: &str = "s3";
/// Values in a bucket of Google Cloud Storage.
pub(crate) const GCS: &str = "gcs";
/// Values in a container of Azure Blob Storage.
pub(crate) const AZURE: &str = "azure";

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
    /// Copies of rows and values on this machine, where a server and a bucket have them.
    pub local: CacheLocalConfig,
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
    /// Which processes run the same body once at a time. Default [`SingleFlight::Local`].
    pub single_flight: SingleFlight,
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
            local: CacheLocalConfig::default(),
            compression: CompressionConfig::default(),
            serialization: SerializationConfig::default(),
            handlers: HandlerConfig::default(),
            security: SecurityConfig::default(),
            durability: Durability::default(),
            limits: Limits::default(),
            single_flight: SingleFlight::default(),
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

    fn has_index_in_memory(&self) -> bool {
        [MEMORY, SQLITE_MEMORY].contains(&self.metadata.backend.as_str())
    }

    /// How values are compressed that are no vectors of numbers.
    pub(crate) fn value_compression(&self) -> Compression {
        Compression { codec: self.compression.codec, level: self.compression.level }
    }

    /// How arrays and tensors are compressed.
    pub(crate) fn array_compression(&self) -> Compression {
        Compression { codec: self.compression.arrays_codec, level: self.compression.arrays_level }
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

// Configurations with a purpose.

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

    /// A preset for an installed program: the defaults, in a directory of this name among the user's caches, wherever the
    /// program is started.
    ///
    /// | system | directory |
    /// |---|---|
    /// | Linux and other Unix | `$XDG_CACHE_HOME/<app>`, or `~/.cache/<app>` |
    /// | macOS | `~/Library/Caches/<app>` |
    /// | Windows | `%LOCALAPPDATA%\<app>` |
    ///
    /// ```
    /// # use cacheness::CacheConfig;
    /// let config = CacheConfig::for_user("weather-app")?;
    /// assert!(config.storage.cache_dir.ends_with("weather-app"));
    /// # Ok::<(), cacheness::CacheError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if `app` is not the name of a directory on every system - it is empty, `.` or `..`, or
    /// has a `/`, a `\`, a `:` or a control character in it -, or if the user has no home directory.
    pub fn for_user(app: &str) -> Result<Self> {
        check_app(app)?;
        let nowhere = || format!("where to keep the caches of {app:?} is not known: the user has no home directory");
        let user = etcetera::base_strategy::choose_native_strategy()
            .map_err(|error| CacheError::caused_by(ErrorKind::Config, nowhere(), error))?;
        let caches = user.cache_dir();
        // A relative `HOME` would mean the directory that the program is started in.
        if !caches.is_absolute() {
            return Err(CacheError::new(ErrorKind::Config, nowhere()));
        }
        Ok(Self::new(caches.join(app)))
    }
}

/// The name becomes a part of a path: it must not lead anywhere else.
fn check_app(app: &str) -> Result<()> {
    let why = match app {
        "" => "it is empty",
        "." | ".." => "it is a way to another directory",
        _ if app.contains(['/', '\\', ':']) => "it has a separator of paths in it",
        _ if app.contains(char::is_control) => "it has a control character in it",
        _ => return Ok(()),
    };
    let message = format!("{app:?} cannot name the directory of an application: {why}");
    Err(CacheError::new(ErrorKind::Config, message))
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

// What the handles of one directory share: it is decided when the directory is opened, and holds for all of them.

impl CacheConfig {
    /// This configuration, with what handles share as it is in force.
    pub(crate) fn sharing(self, in_force: &Self) -> Self {
        let mut shared = in_force.clone();
        shared.storage.cache_dir = self.storage.cache_dir;
        shared.storage.cleanup_on_init = self.storage.cleanup_on_init;
        shared.metadata.store_cache_key_params = self.metadata.store_cache_key_params;
        shared.serialization = self.serialization;
        shared.limits.max_key_bytes = self.limits.max_key_bytes;
        shared.default_ttl_seconds = self.default_ttl_seconds;
        shared
    }

    /// The fields that handles share and that are not as they are in force, each with both values. Those of `security` are
    /// not told: they may hold secrets.
    pub(crate) fn differences(&self, in_force: &Self) -> Vec<String> {
        let fields = self.shared_fields().into_iter().zip(in_force.shared_fields());
        let other = fields.filter(|((_, here), (_, there))| here != there);
        other.map(|((name, here), (_, there))| format!("{name} is {here} here and {there} in force")).collect()
    }

    /// All fields that handles share, by their effect.
    fn shared_fields(&self) -> Vec<(&'static str, String)> {
        // Without `..`: a new field must be one or the other.
        let Self {
            storage:
                CacheStorageConfig { cache_dir: _, max_cache_size_mb, cleanup_on_init: _, inline_bytes, flush_interval_ms },
            metadata:
                CacheMetadataConfig {
                    backend,
                    database_url,
                    connection_url,
                    options,
                    second_process: _,
                    store_cache_key_params: _,
                    verify_cache_integrity,
                    page_cache_mb,
                    enable_memory_cache,
                    memory_cache_type,
                    memory_cache_maxsize,
                    memory_cache_max_mb,
                    memory_cache_ttl_seconds,
                    memory_cache_stats,
                },
            blob: CacheBlobConfig { backend: _, options: blob_options },
            local: CacheLocalConfig { dir: local_dir, max_size_mb: local_max_size_mb, lease_ms },
            compression:
                CompressionConfig {
                    codec,
                    level,
                    threshold_bytes,
                    numbers_codec: _,
                    numbers_level: _,
                    arrays_codec,
                    arrays_level,
                    parquet_compression,
                },
            serialization: _,
            handlers: HandlerConfig { priority, disabled },
            security: _,
            durability,
            limits: Limits { max_key_bytes: _, max_value_bytes, max_header_bytes },
            default_ttl_seconds: _,
            single_flight,
            single_flight_wait_ms,
        } = self;
        let numbers = self.number_compression();
        vec![
            ("storage.max_cache_size_mb", format!("{max_cache_size_mb}")),
            ("storage.inline_bytes", format!("{inline_bytes}")),
            ("storage.flush_interval_ms", format!("{flush_interval_ms}")),
            ("metadata.backend", format!("{backend:?}")),
            ("metadata.database_url", format!("{database_url:?}")),
            ("metadata.connection_url", format!("{connection_url:?}")),
            ("metadata.options", format!("{:?}", backends::Shown(options))),
            ("metadata.verify_cache_integrity", format!("{verify_cache_integrity}")),
            ("metadata.page_cache_mb", format!("{page_cache_mb}")),
            ("metadata.enable_memory_cache", format!("{enable_memory_cache}")),
            ("metadata.memory_cache_type", format!("{memory_cache_type:?}")),
            ("metadata.memory_cache_maxsize", format!("{memory_cache_maxsize}")),
            ("metadata.memory_cache_max_mb", format!("{memory_cache_max_mb}")),
            ("metadata.memory_cache_ttl_seconds", format!("{memory_cache_ttl_seconds:?}")),
            ("metadata.memory_cache_stats", format!("{memory_cache_stats}")),
            ("blob.backend", format!("{:?}", self.blob_backend())),
            ("blob.options", format!("{:?}", backends::Shown(blob_options))),
            ("local.dir", format!("{local_dir:?}")),
            ("local.max_size_mb", format!("{local_max_size_mb}")),
            ("local.lease_ms", format!("{lease_ms}")),
            ("compression.codec", format!("{codec}")),
            ("compression.level", format!("{level:?}")),
            ("compression.threshold_bytes", format!("{threshold_bytes}")),
            ("compression.numbers_codec", format!("{}", numbers.codec)),
            ("compression.numbers_level", format!("{:?}", numbers.level)),
            ("compression.arrays_codec", format!("{arrays_codec}")),
            ("compression.arrays_level", format!("{arrays_level:?}")),
            ("compression.parquet_compression", format!("{parquet_compression}")),
            ("handlers.priority", format!("{priority:?}")),
            ("handlers.disabled", format!("{disabled:?}")),
            ("durability", format!("{durability:?}")),
            ("limits.max_value_bytes", format!("{max_value_bytes}")),
            ("limits.max_header_bytes", format!("{max_header_bytes}")),
            ("single_flight", format!("{single_flight:?}")),
            ("single_flight_wait_ms", format!("{single_flight_wait_ms}")),
        ]
    }
}

#[cfg(test)]
mod tests;
