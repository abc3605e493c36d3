//! Whether a configuration makes sense. All its faults are told at once.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeInclusive;

use super::MAX_DEPTH;
use super::backends::{self, OptionValue};
use super::duration::LONGEST;
use super::{BINCODE, CacheConfig, Codec, Compression, MESSAGEPACK, check_handler_name};
use crate::error::{CacheError, ErrorKind, Result};

const SHORTEST_TTL_SECONDS: f64 = 1e-6;
/// What a reader of a header accepts, whatever the limits.
const LARGEST_HEADER_BYTES: u64 = 16 << 20;
const FLUSH_INTERVAL_MS: RangeInclusive<u64> = 1..=60_000;
const SINGLE_FLIGHT_WAIT_MS: RangeInclusive<u64> = 1..=86_400_000;
const LARGEST_INLINE_BYTES: u64 = 64 * 1024;
const PAGE_CACHE_MB: RangeInclusive<u64> = 16..=16_384;
const MEMORY_CACHE_MB: RangeInclusive<u64> = 1..=1_048_576;

impl CacheConfig {
    /// Checks every field. Opening a cache does so by itself.
    ///
    /// ```
    /// use cacheness::CacheConfig;
    ///
    /// let error = CacheConfig::new("").with_max_size_mb(0).validate().unwrap_err();
    /// assert!(error.is_config());
    /// assert!(error.to_string().contains("storage.cache_dir"));
    /// assert!(error.to_string().contains("storage.max_cache_size_mb is 0"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if a field does not make sense; its message tells all such fields, with
    /// their values and what they may be.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Faults::default();
        self.check_storage(&mut faults);
        self.check_metadata(&mut faults);
        self.check_blob(&mut faults);
        self.check_local(&mut faults);
        self.check_compression(&mut faults);
        self.check_serialization(&mut faults);
        self.check_handlers(&mut faults);
        self.check_security(&mut faults);
        self.check_limits(&mut faults);
        self.check_wait(&mut faults);
        self.check_ttl(&mut faults);
        faults.into_result("configuration")
    }

    fn check_storage(&self, faults: &mut Faults) {
        let storage = &self.storage;
        let has_place = self.is_in_memory() || !storage.cache_dir.as_os_str().is_empty();
        faults.unless(has_place, "storage.cache_dir", &storage.cache_dir, "name a directory");
        let size = storage.max_cache_size_mb;
        faults.unless(size > 0, "storage.max_cache_size_mb", size, "must be at least 1");
        let inline = storage.inline_bytes;
        faults.unless(
            inline <= LARGEST_INLINE_BYTES,
            "storage.inline_bytes",
            inline,
            "must be at most 65536, the index is not made for large records",
        );
        let interval = storage.flush_interval_ms;
        faults.unless(
            FLUSH_INTERVAL_MS.contains(&interval),
            "storage.flush_interval_ms",
            interval,
            "must be from 1 to 60000; durability `immediate` needs no waiting at all",
        );
    }

    fn check_wait(&self, faults: &mut Faults) {
        let wait = self.single_flight_wait_ms;
        let rule = "must be from 1 to 86400000 (a day); a function whose calls are not to wait at all has the option \
                    `single_flight = false`";
        faults.unless(SINGLE_FLIGHT_WAIT_MS.contains(&wait), "single_flight_wait_ms", wait, rule);
    }

    fn check_metadata(&self, faults: &mut Faults) {
        let backend = self.metadata.backend.as_str();
        if let Err(rule) = known_metadata_backend(backend) {
            faults.add("metadata.backend", backend, &rule);
        }
        self.check_database(faults);
        let pages = self.metadata.page_cache_mb;
        faults.unless(PAGE_CACHE_MB.contains(&pages), "metadata.page_cache_mb", pages, "must be from 16 to 16384");
        let values = self.metadata.memory_cache_maxsize;
        let rule = "must be at least 1; to keep none in memory, set metadata.enable_memory_cache to false";
        faults.unless(values > 0, "metadata.memory_cache_maxsize", values, rule);
        let size = self.metadata.memory_cache_max_mb;
        faults.unless(
            MEMORY_CACHE_MB.contains(&size),
            "metadata.memory_cache_max_mb",
            size,
            "must be from 1 to 1048576; to keep nothing in memory, set metadata.enable_memory_cache to false",
        );
        if let Some(seconds) = self.metadata.memory_cache_ttl_seconds {
            let rule = "must be a number from 0.000001 to 3155760000000 (100,000 years); leave it out for as long as an \
                        entry lives";
            faults.unless(is_ttl(seconds), "metadata.memory_cache_ttl_seconds", seconds, rule);
        }
    }

    fn check_blob(&self, faults: &mut Faults) {
        let backend = self.blob_backend();
        if let Err(rule) = backends::BLOB.known(backend) {
            faults.add("blob.backend", backend, &rule);
        } else if backend == super::MEMORY && OUTLIVING.contains(&self.metadata.backend.as_str()) {
            let rule = values_are_gone(&self.metadata.backend);
            faults.add("blob.backend", backend, &rule);
        } else if BUCKETS.contains(&backend) {
            let index = &self.metadata.backend;
            let rule = format!(
                "each opening would read every blob of the bucket, because the index `{index}` ends with the process; choose \
                 sled or sqlite for metadata.backend"
            );
            faults.unless(!self.has_index_in_memory(), "blob.backend", backend, &rule);
            return self.check_bucket(faults);
        }
        check_options(faults, &backends::BLOB, backend, "blob.options", &self.blob.options);
    }

    /// Without a feature there is no such backend, which is said elsewhere.
    #[cfg(not(feature = "objects"))]
    fn check_bucket(&self, _: &mut Faults) {}

    #[cfg(feature = "objects")]
    fn check_bucket(&self, faults: &mut Faults) {
        let options = backends::BackendOptions::of(&backends::BLOB, "".as_ref(), &self.blob.options);
        faults.0.extend(super::objects::fault_in(self.blob_backend(), &options).map(|error| error.to_string()));
    }

    fn check_compression(&self, faults: &mut Faults) {
        let compression = &self.compression;
        if let Some(level) = compression.level
            && let Err(rule) = known_level(self.compression.codec, level)
        {
            faults.add("compression.level", level, &rule);
        }
        let Compression { codec, .. } = self.number_compression();
        if let Some(level) = compression.numbers_level
            && let Err(rule) = known_level(codec, level)
        {
            faults.add("compression.numbers_level", level, &rule);
        }
        if let Some(level) = compression.arrays_level
            && let Err(rule) = known_level(compression.arrays_codec, level)
        {
            faults.add("compression.arrays_level", level, &rule);
        }
    }

    fn check_serialization(&self, faults: &mut Faults) {
        let depth = self.serialization.max_collection_depth;
        let rule = "must be from 1 to 128";
        faults.unless((1..=MAX_DEPTH).contains(&depth), "serialization.max_collection_depth", depth, rule);
    }

    fn check_handlers(&self, faults: &mut Faults) {
        let handlers = &self.handlers;
        for (field, names) in [("handlers.priority", &handlers.priority), ("handlers.disabled", &handlers.disabled)] {
            for (at, name) in names.iter().enumerate() {
                if let Err(rule) = check_handler_name(name) {
                    faults.add(field, name, &rule);
                }
                faults.unless(!names.iter().take(at).any(|earlier| earlier == name), field, name, "is named twice");
            }
        }
        let is_disabled = |name: &str| handlers.disabled.iter().any(|disabled| disabled == name);
        for name in handlers.priority.iter().filter(|name| is_disabled(name)) {
            faults.add("handlers.priority", name, "it is in handlers.disabled, too: choose one of them");
        }
        if is_disabled(BINCODE) && is_disabled(MESSAGEPACK) {
            let rule = "bincode and messagepack cannot both be disabled, no serde type could be stored";
            faults.add("handlers.disabled", &handlers.disabled, rule);
        }
    }

    fn check_security(&self, faults: &mut Faults) {
        let security = &self.security;
        let file = security.signing_key_file.as_deref();
        if let Some(file) = file {
            let rule = "name a file, or leave it out for the one in the directory for configurations";
            faults.unless(!file.as_os_str().is_empty(), "security.signing_key_file", file, rule);
            let rule = "there is a security.signing_key, too: leave one of them out";
            faults.unless(security.signing_key.is_none(), "security.signing_key_file", file, rule);
        }
        for former in &security.previous_key_files {
            faults.unless(!former.as_os_str().is_empty(), "security.previous_key_files", former, "name a file");
        }
        let has_former = !security.previous_key_files.is_empty() || !security.previous_keys.is_empty();
        let has_keys = file.is_some() || security.signing_key.is_some() || has_former;
        let rule = "there are keys, which would not be used: set it to true, or leave them out";
        faults.unless(security.signing || !has_keys, "security.signing", security.signing, rule);
    }

    fn check_limits(&self, faults: &mut Faults) {
        let limits = &self.limits;
        for (name, limit) in [
            ("limits.max_key_bytes", limits.max_key_bytes),
            ("limits.max_value_bytes", limits.max_value_bytes),
            ("limits.max_header_bytes", limits.max_header_bytes),
        ] {
            faults.unless(limit > 0, name, limit, "must be at least 1, nothing could be stored");
        }
        let header = limits.max_header_bytes;
        faults.unless(header <= LARGEST_HEADER_BYTES, "limits.max_header_bytes", header, "must be at most 16777216");
    }

    fn check_ttl(&self, faults: &mut Faults) {
        let Some(seconds) = self.default_ttl_seconds else { return };
        faults.unless(
            is_ttl(seconds),
            "default_ttl_seconds",
            seconds,
            "must be a number from 0.000001 to 3155760000000 (100,000 years); leave it out for entries that do not expire",
        );
    }
}

fn is_ttl(seconds: f64) -> bool {
    (SHORTEST_TTL_SECONDS..=LONGEST.as_secs_f64()).contains(&seconds)
}

/// Indexes that outlive the process.
const OUTLIVING: [&str; 5] = [super::SLED, super::JSON, super::SQLITE, super::POSTGRESQL, super::REDIS];

/// Backends that keep blobs in a bucket.
const BUCKETS: [&str; 3] = [super::S3, super::GCS, super::AZURE];

/// A built-in backend has no options.
pub(super) fn check_options(
    faults: &mut Faults,
    names: &backends::Names,
    backend: &str,
    field: &'static str,
    options: &BTreeMap<String, OptionValue>,
) {
    if let Some((name, value)) = options.first_key_value().filter(|_| names.is_built_in(backend)) {
        let rule = format!("the backend `{backend}` has no options, leave it out");
        faults.add(field, format_args!("{name} = {}", backends::shown(name, value)), &rule);
    }
}

/// Why no index that outlives the process stands before values that do not.
pub(crate) fn values_are_gone(index: &str) -> String {
    format!(
        "the index `{index}` outlives the process and would list values that are gone; choose filesystem, or memory for \
         metadata.backend too"
    )
}

/// Whether the index has such a backend. The error is half a sentence to put behind the name of what held it.
pub(super) fn known_metadata_backend(name: &str) -> Result<(), String> {
    backends::METADATA.known(name)
}

/// Whether a codec has such a level. The error is half a sentence to put behind the name of what held it.
pub(super) fn known_level(codec: Codec, level: u8) -> Result<(), String> {
    match codec.levels() {
        None => Err(format!("the codec {codec} has no levels, leave it out")),
        Some(levels) if levels.contains(&level) => Ok(()),
        Some(levels) => Err(format!("the codec {codec} has levels from {} to {}", levels.start(), levels.end())),
    }
}

/// The faults found so far.
#[derive(Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    /// Notes that `name`, which holds `value`, breaks `rule` - half a sentence that says what to do.
    pub(super) fn add(&mut self, name: &str, value: impl Debug, rule: &str) {
        self.0.push(format!("{name} is {value:?}: {rule}"));
    }

    /// Notes what an error says.
    #[cfg(any(feature = "postgresql", feature = "redis", feature = "sqlite"))]
    pub(super) fn add_error(&mut self, error: &CacheError) {
        self.0.push(error.to_string());
    }

    /// Notes a fault unless `holds`.
    pub(super) fn unless(&mut self, holds: bool, name: &str, value: impl Debug, rule: &str) {
        if !holds {
            self.add(name, value, rule);
        }
    }

    /// All faults as one error, or none.
    pub(super) fn into_result(self, of_what: &str) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(CacheError::new(ErrorKind::Config, format!("{of_what} is not valid: {}", self.0.join("; "))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Limits;
    use crate::security::SigningKey;

    fn message(config: &CacheConfig) -> String {
        let error = config.validate().unwrap_err();
        assert!(error.is_config());
        error.to_string()
    }

    #[test]
    fn the_defaults_and_presets_are_valid() {
        let presets = [CacheConfig::for_api, CacheConfig::for_performance, CacheConfig::for_size];
        for config in presets.map(|preset| preset("dir")).into_iter().chain([CacheConfig::in_memory()]) {
            config.validate().unwrap();
        }
        CacheConfig::default().validate().unwrap();
    }

    #[test]
    fn every_fault_is_told_at_once_by_field_and_value() {
        let config = CacheConfig::new("")
            .with_max_size_mb(0)
            .with_inline_bytes(65_537)
            .with_flush_interval(Duration::ZERO)
            .with_backend("sqlte")
            .with_page_cache_mb(15)
            .with_blob_backend("s4")
            .with_codec(Codec::Lz4)
            .with_compression_level(5)
            .with_numbers_codec(Codec::None)
            .with_numbers_level(6)
            .with_max_collection_depth(0)
            .with_limits(Limits { max_key_bytes: 0, max_value_bytes: 0, max_header_bytes: 0 })
            .with_single_flight_wait(Duration::ZERO)
            .with_ttl(Duration::ZERO);
        let message = message(&config);
        for fault in [
            "storage.cache_dir is \"\":",
            "storage.max_cache_size_mb is 0:",
            "storage.inline_bytes is 65537:",
            "storage.flush_interval_ms is 0:",
            "metadata.backend is \"sqlte\": no such backend, choose sled, memory",
            "metadata.page_cache_mb is 15:",
            "blob.backend is \"s4\": no such backend, choose filesystem",
            "compression.level is 5: the codec lz4 has no levels, leave it out",
            "compression.numbers_level is 6: the codec none has no levels",
            "serialization.max_collection_depth is 0:",
            "limits.max_key_bytes is 0:",
            "limits.max_value_bytes is 0:",
            "limits.max_header_bytes is 0:",
            "single_flight_wait_ms is 0:",
            "default_ttl_seconds is 0.0:",
        ] {
            assert!(message.contains(fault), "{fault} is missing in {message}");
        }
        assert_eq!(message.matches("; ").count(), 14 + 3, "a fault more or fewer in {message}");
    }

    #[test]
    fn a_ttl_that_is_no_positive_number_is_refused() {
        for seconds in [0.0, -0.0, -1.0, 1e-7, 3.2e12, 1e30, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let config = CacheConfig { default_ttl_seconds: Some(seconds), ..CacheConfig::default() };
            assert!(message(&config).contains("default_ttl_seconds is "), "{seconds}");
        }
        assert!(message(&CacheConfig::default().with_ttl(Duration::MAX)).contains("leave it out"));
    }

    #[cfg(all(feature = "blosclz", feature = "gzip", feature = "zstd"))]
    #[test]
    fn a_level_is_one_that_its_codec_has() {
        for (codec, levels) in [(Codec::Zstd, 1..=22), (Codec::Gzip, 1..=9), (Codec::Blosclz, 1..=9)] {
            for level in 0..=u8::MAX {
                let config = CacheConfig::default().with_codec(codec).with_compression_level(level);
                assert_eq!(config.validate().is_ok(), levels.contains(&level), "{codec} {level}");
                let config = CacheConfig::default().with_numbers_codec(codec).with_numbers_level(level);
                assert_eq!(config.validate().is_ok(), levels.contains(&level), "{codec} {level}");
            }
        }
        let config = CacheConfig::default().with_codec(Codec::Gzip).with_compression_level(10);
        assert!(message(&config).contains("compression.level is 10: the codec gzip has levels from 1 to 9"));
    }

    #[test]
    fn every_combination_of_backends_is_accepted_or_refused_with_a_reason() {
        let both = |index: &str, values: &str| CacheConfig::default().with_backend(index).with_blob_backend(values);
        for (index, values) in [("sled", "filesystem"), ("memory", "memory"), ("memory", "filesystem")] {
            both(index, values).validate().unwrap();
        }
        let message = message(&both("sled", "memory"));
        assert!(message.contains("blob.backend is \"memory\": the index `sled` outlives the process"), "{message}");
        assert!(both("memory", "filesystem").with_cache_dir("").validate().is_err(), "it needs a directory");
    }

    #[test]
    fn the_ends_of_every_range_are_inside() {
        let narrow = CacheConfig::default()
            .with_max_size_mb(1)
            .with_inline_bytes(0)
            .with_page_cache_mb(16)
            .with_flush_interval(Duration::from_millis(1))
            .with_single_flight_wait(Duration::from_millis(1))
            .with_ttl(Duration::from_micros(1))
            .with_max_collection_depth(1)
            .with_limits(Limits { max_key_bytes: 1, max_value_bytes: 1, max_header_bytes: 1 });
        narrow.validate().unwrap();
        let wide = CacheConfig::default()
            .with_max_size_mb(u64::MAX)
            .with_inline_bytes(65_536)
            .with_page_cache_mb(16_384)
            .with_flush_interval(Duration::from_secs(60))
            .with_single_flight_wait(Duration::from_secs(86_400))
            .with_ttl(LONGEST)
            .with_max_collection_depth(128)
            .with_limits(Limits {
                max_key_bytes: u64::MAX,
                max_value_bytes: u64::MAX,
                max_header_bytes: LARGEST_HEADER_BYTES,
            });
        wide.validate().unwrap();
        assert_eq!(wide.max_bytes(), u64::MAX);
        let limits = Limits { max_header_bytes: LARGEST_HEADER_BYTES + 1, ..Limits::DEFAULT };
        assert!(message(&wide.clone().with_limits(limits)).contains("limits.max_header_bytes is 16777217"));
        assert!(message(&wide.clone().with_max_collection_depth(129)).contains("is 129: must be from 1 to 128"));
        assert!(message(&wide.with_flush_interval(Duration::MAX)).contains("storage.flush_interval_ms is "));
    }

    #[test]
    fn names_of_handlers_are_checked_and_one_that_is_built_in_must_be_left() {
        let config = CacheConfig::default()
            .with_handler_priority(["a/b", "csv", "csv", "messagepack", "bytes"])
            .with_disabled_handlers(["", "messagepack", "bincode"]);
        let message = message(&config);
        for fault in [
            "handlers.priority is \"a/b\": a handler's name is 1 to 64 ",
            "handlers.priority is \"csv\": is named twice",
            "handlers.priority is \"bytes\": it stands for values that no handler has written",
            "handlers.priority is \"messagepack\": it is in handlers.disabled, too",
            "handlers.disabled is \"\": a handler's name is 1 to 64 ",
            "cannot both be disabled",
        ] {
            assert!(message.contains(fault), "{fault} is missing in {message}");
        }
        let later =
            CacheConfig::default().with_handler_priority(["not-registered.yet"]).with_disabled_handlers(["bincode"]);
        later.validate().unwrap();
    }

    #[test]
    fn a_cache_in_memory_needs_no_directory() {
        CacheConfig::in_memory().with_cache_dir("").validate().unwrap();
    }

    #[test]
    fn a_key_that_would_not_be_used_and_two_sources_of_one_are_faults() {
        let config = CacheConfig::default().with_signing_key_file("k").with_signing(false);
        assert!(message(&config).contains("security.signing is false: there are keys"));
        let config =
            CacheConfig::default().with_signing_key_file("k").with_signing_key(SigningKey::from_bytes([1; 32]));
        assert!(message(&config).contains("security.signing_key_file is \"k\": there is a security.signing_key"));
        let config = CacheConfig::default().with_signing_key_file("").with_previous_key_file("");
        let message = message(&config);
        assert!(
            message.contains("security.signing_key_file is \"\"") && message.contains("security.previous_key_files is")
        );
        CacheConfig::default().with_signing(true).validate().unwrap();
    }
}
