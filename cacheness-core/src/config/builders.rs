//! Setting the fields of a configuration, one at a time.

use std::path::PathBuf;
use std::time::Duration;

use super::backends::OptionValue;
use super::{
    CacheConfig, ConnectionUrl, Durability, InvalidEntries, MemoryPolicy, SecondProcess, SingleFlight, UnsignedEntries,
};
use crate::config::{Codec, Limits, ParquetCodec, VerifyPaths};
use crate::security::SigningKey;

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

    /// Sets the backend of the index by its name: `sled`, `sqlite`, `json`, `memory` or a registered one; values follow it unless they
    /// have [their own](Self::with_blob_backend).
    #[must_use]
    pub fn with_backend(mut self, name: impl Into<String>) -> Self {
        self.metadata.backend = name.into();
        self
    }

    /// Sets the file of the database, for the backend `sqlite`: a path, or `sqlite:///` and a path.
    #[must_use]
    pub fn with_database_url(mut self, url: impl Into<String>) -> Self {
        self.metadata.database_url = Some(url.into());
        self
    }

    /// Sets the address of the server, for the backends `postgresql` and `redis`: `redis://user:password@host:6379/0`.
    #[must_use]
    pub fn with_connection_url(mut self, url: impl Into<ConnectionUrl>) -> Self {
        self.metadata.connection_url = Some(url.into());
        self
    }

    /// Sets an option of the backend of the index.
    #[must_use]
    pub fn with_metadata_option(mut self, name: impl Into<String>, value: impl Into<OptionValue>) -> Self {
        self.metadata.options.insert(name.into(), value.into());
        self
    }

    /// Sets whether entries keep a readable copy of the parameters of their key.
    #[must_use]
    pub fn with_stored_key_params(mut self, store: bool) -> Self {
        self.metadata.store_cache_key_params = store;
        self
    }

    /// Sets whether the checksum of a value in a file is verified before it is returned; what is given up without is told
    /// at the [field](super::CacheMetadataConfig::verify_cache_integrity).
    #[must_use]
    pub fn with_verified_integrity(mut self, verify: bool) -> Self {
        self.metadata.verify_cache_integrity = verify;
        self
    }

    /// Sets the backend of values by its name: `filesystem`, `memory` or a registered one.
    #[must_use]
    pub fn with_blob_backend(mut self, name: impl Into<String>) -> Self {
        self.blob.backend = Some(name.into());
        self
    }

    /// Sets an option of the backend of values.
    #[must_use]
    pub fn with_blob_option(mut self, name: impl Into<String>, value: impl Into<OptionValue>) -> Self {
        self.blob.options.insert(name.into(), value.into());
        self
    }

    /// Sets what a second process does that opens the directory.
    #[must_use]
    pub fn with_second_process(mut self, what: SecondProcess) -> Self {
        self.metadata.second_process = what;
        self
    }

    /// Sets the memory for pages of the index, in MB of 1024 × 1024 bytes.
    #[must_use]
    pub fn with_page_cache_mb(mut self, megabytes: u64) -> Self {
        self.metadata.page_cache_mb = megabytes;
        self
    }

    /// Sets whether values that were read or computed stay in memory.
    #[must_use]
    pub fn with_memory_cache(mut self, enable: bool) -> Self {
        self.metadata.enable_memory_cache = enable;
        self
    }

    /// Sets which values leave memory first when it is full.
    #[must_use]
    pub fn with_memory_cache_type(mut self, policy: MemoryPolicy) -> Self {
        self.metadata.memory_cache_type = policy;
        self
    }

    /// Sets how many values stay in memory at most.
    #[must_use]
    pub fn with_memory_cache_maxsize(mut self, values: u64) -> Self {
        self.metadata.memory_cache_maxsize = values;
        self
    }

    /// Sets what the values in memory may weigh, in MB of 1024 × 1024 bytes.
    #[must_use]
    pub fn with_memory_cache_mb(mut self, megabytes: u64) -> Self {
        self.metadata.memory_cache_max_mb = megabytes;
        self
    }

    /// Sets how long a value is given out from memory before it is read from the index again.
    #[must_use]
    pub fn with_memory_cache_ttl(mut self, ttl: Duration) -> Self {
        self.metadata.memory_cache_ttl_seconds = Some(ttl.as_secs_f64());
        self
    }

    /// Sets whether the statistics tell of the values in memory.
    #[must_use]
    pub fn with_memory_cache_stats(mut self, tell: bool) -> Self {
        self.metadata.memory_cache_stats = tell;
        self
    }

    /// Sets whether entries are signed, and signatures asked for.
    #[must_use]
    pub fn with_signing(mut self, sign: bool) -> Self {
        self.security.signing = sign;
        self
    }

    /// Signs entries with the key in a file, which is made if it is not there.
    #[must_use]
    pub fn with_signing_key_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.security.signing_key_file = Some(file.into());
        self.with_signing(true)
    }

    /// Signs entries with this key.
    #[must_use]
    pub fn with_signing_key(mut self, key: SigningKey) -> Self {
        self.security.signing_key = Some(key);
        self.with_signing(true)
    }

    /// Adds the file of a former key, whose signatures are believed.
    #[must_use]
    pub fn with_previous_key_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.security.previous_key_files.push(file.into());
        self
    }

    /// Adds a former key, whose signatures are believed.
    #[must_use]
    pub fn with_previous_key(mut self, key: SigningKey) -> Self {
        self.security.previous_keys.push(key);
        self
    }

    /// Sets what is done about entries without a signature where entries are signed.
    #[must_use]
    pub fn with_unsigned_entries(mut self, unsigned: UnsignedEntries) -> Self {
        self.security.unsigned_entries = unsigned;
        self
    }

    /// Sets what is done about entries that are not believed.
    #[must_use]
    pub fn with_invalid_entries(mut self, invalid: InvalidEntries) -> Self {
        self.security.invalid_entries = invalid;
        self
    }

    /// Sets how values are compressed, at the codec's own level; another follows by
    /// [`with_compression_level`](Self::with_compression_level).
    #[must_use]
    pub fn with_codec(mut self, codec: Codec) -> Self {
        self.compression.codec = codec;
        self.compression.level = None;
        self
    }

    /// Sets the level of the codec.
    #[must_use]
    pub fn with_compression_level(mut self, level: u8) -> Self {
        self.compression.level = Some(level);
        self
    }

    /// Sets how vectors of numbers are compressed, at the codec's own level; another follows by
    /// [`with_numbers_level`](Self::with_numbers_level).
    #[must_use]
    pub fn with_numbers_codec(mut self, codec: Codec) -> Self {
        self.compression.numbers_codec = Some(codec);
        self.compression.numbers_level = None;
        self
    }

    /// Sets the level for vectors of numbers.
    #[must_use]
    pub fn with_numbers_level(mut self, level: u8) -> Self {
        self.compression.numbers_level = Some(level);
        self
    }

    /// Sets how arrays and tensors are compressed, at the codec's own level; another follows by
    /// [`with_arrays_level`](Self::with_arrays_level).
    #[must_use]
    pub fn with_arrays_codec(mut self, codec: Codec) -> Self {
        self.compression.arrays_codec = codec;
        self.compression.arrays_level = None;
        self
    }

    /// Sets the level for arrays and tensors.
    #[must_use]
    pub fn with_arrays_level(mut self, level: u8) -> Self {
        self.compression.arrays_level = Some(level);
        self
    }

    /// Sets what columns of Parquet are compressed with.
    #[must_use]
    pub fn with_parquet_compression(mut self, codec: ParquetCodec) -> Self {
        self.compression.parquet_compression = codec;
        self
    }

    /// Sets the size in bytes from which values are compressed.
    #[must_use]
    pub fn with_compression_threshold(mut self, bytes: u64) -> Self {
        self.compression.threshold_bytes = bytes;
        self
    }

    /// Sets whether a path in a key counts by what lies there, or by its text.
    #[must_use]
    pub fn with_hashed_path_content(mut self, hash: bool) -> Self {
        self.serialization.hash_path_content = hash;
        self
    }

    /// Sets when a file that counts by its content is read again.
    #[must_use]
    pub fn with_verified_paths(mut self, verify: VerifyPaths) -> Self {
        self.serialization.verify_paths = verify;
        self
    }

    /// Sets how deep values may nest in a key.
    #[must_use]
    pub fn with_max_collection_depth(mut self, depth: u16) -> Self {
        self.serialization.max_collection_depth = depth;
        self
    }

    /// Sets the order in which handlers are asked whether they take a value.
    #[must_use]
    pub fn with_handler_priority<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.handlers.priority = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets which handlers neither write nor read.
    #[must_use]
    pub fn with_disabled_handlers<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.handlers.disabled = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets which processes run the same body once at a time.
    #[must_use]
    pub fn with_single_flight(mut self, which: SingleFlight) -> Self {
        self.single_flight = which;
        self
    }

    /// Sets how long a call waits at least for another one that runs the same body, in whole milliseconds.
    #[must_use]
    pub fn with_single_flight_wait(mut self, wait: Duration) -> Self {
        self.single_flight_wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
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

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

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
            .with_database_url("rows.db")
            .with_connection_url("postgresql://h/d")
            .with_metadata_option("m", 5)
            .with_second_process(SecondProcess::Refuse)
            .with_stored_key_params(false)
            .with_verified_integrity(false)
            .with_page_cache_mb(16)
            .with_memory_cache(false)
            .with_memory_cache_type(MemoryPolicy::Lfu)
            .with_memory_cache_maxsize(11)
            .with_memory_cache_mb(12)
            .with_memory_cache_ttl(Duration::from_millis(2500))
            .with_memory_cache_stats(false)
            .with_blob_backend("memory")
            .with_blob_option("b", "text")
            .with_local_tier("near")
            .with_local_max_size_mb(14)
            .with_local_lease(Duration::from_millis(15))
            .with_signing_key_file("k")
            .with_signing_key(SigningKey::from_bytes([1; 32]))
            .with_previous_key_file("p")
            .with_previous_key(SigningKey::from_bytes([2; 32]))
            .with_unsigned_entries(UnsignedEntries::Accept)
            .with_invalid_entries(InvalidEntries::Remove)
            .with_codec(Codec::None)
            .with_compression_level(8)
            .with_compression_threshold(9)
            .with_numbers_codec(Codec::Lz4)
            .with_numbers_level(2)
            .with_arrays_codec(Codec::Lz4)
            .with_arrays_level(3)
            .with_parquet_compression(ParquetCodec::Snappy)
            .with_hashed_path_content(false)
            .with_verified_paths(VerifyPaths::Always)
            .with_max_collection_depth(4)
            .with_handler_priority(["messagepack"])
            .with_disabled_handlers(["csv"])
            .with_durability(Durability::Immediate)
            .with_single_flight(SingleFlight::Global)
            .with_single_flight_wait(Duration::from_millis(13))
            .with_limits(limits);
        let expected = CacheConfig {
            storage: CacheStorageConfig {
                cache_dir: "d".into(),
                max_cache_size_mb: 3,
                cleanup_on_init: true,
                inline_bytes: 7,
                flush_interval_ms: 2000,
            },
            metadata: CacheMetadataConfig {
                database_url: Some("rows.db".to_owned()),
                connection_url: Some("postgresql://h/d".into()),
                backend: "sled".to_owned(),
                options: [("m".to_owned(), OptionValue::Integer(5))].into(),
                second_process: SecondProcess::Refuse,
                store_cache_key_params: false,
                verify_cache_integrity: false,
                page_cache_mb: 16,
                enable_memory_cache: false,
                memory_cache_type: MemoryPolicy::Lfu,
                memory_cache_maxsize: 11,
                memory_cache_max_mb: 12,
                memory_cache_ttl_seconds: Some(2.5),
                memory_cache_stats: false,
            },
            blob: CacheBlobConfig {
                backend: Some("memory".to_owned()),
                options: [("b".to_owned(), OptionValue::Text("text".to_owned()))].into(),
            },
            local: CacheLocalConfig { dir: Some("near".into()), max_size_mb: 14, lease_ms: 15 },
            compression: CompressionConfig {
                codec: Codec::None,
                level: Some(8),
                threshold_bytes: 9,
                numbers_codec: Some(Codec::Lz4),
                numbers_level: Some(2),
                arrays_codec: Codec::Lz4,
                arrays_level: Some(3),
                parquet_compression: ParquetCodec::Snappy,
            },
            serialization: SerializationConfig {
                hash_path_content: false,
                verify_paths: VerifyPaths::Always,
                max_collection_depth: 4,
            },
            handlers: HandlerConfig { priority: vec!["messagepack".to_owned()], disabled: vec!["csv".to_owned()] },
            security: SecurityConfig {
                signing: true,
                signing_key_file: Some("k".into()),
                signing_key: Some(SigningKey::from_bytes([1; 32])),
                previous_key_files: vec!["p".into()],
                previous_keys: vec![SigningKey::from_bytes([2; 32])],
                unsigned_entries: UnsignedEntries::Accept,
                invalid_entries: InvalidEntries::Remove,
            },
            durability: Durability::Immediate,
            limits,
            single_flight: SingleFlight::Global,
            single_flight_wait_ms: 13,
            default_ttl_seconds: Some(1.5),
        };
        assert_eq!(config, expected);
        assert!(!config.clone().with_signing(false).security.signing);
        assert_eq!(config.without_ttl().default_ttl_seconds, None);
    }

    #[test]
    fn another_codec_does_not_keep_the_level_of_the_one_before() {
        let config = CacheConfig::default().with_compression_level(19).with_numbers_level(5);
        let config = config.with_codec(Codec::Lz4).with_numbers_codec(Codec::Lz4);
        assert_eq!((config.compression.level, config.compression.numbers_level), (None, None));
    }
}
