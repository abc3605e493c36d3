//! Whether a configuration makes sense.

use std::ops::RangeInclusive;

use super::faults::Faults;
use super::{BACKENDS, CacheConfig};
use crate::error::Result;

const SHORTEST_TTL_SECONDS: f64 = 1e-6;
const FLUSH_INTERVAL_MS: RangeInclusive<u64> = 1..=60_000;
const LARGEST_INLINE_BYTES: u64 = 64 * 1024;
const PAGE_CACHE_MB: RangeInclusive<u64> = 16..=16_384;

impl CacheConfig {
    /// Checks every field. Opening a cache does so by itself.
    ///
    /// ```
    /// use cacheness_core::CacheConfig;
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
        self.check_limits(&mut faults);
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

    fn check_metadata(&self, faults: &mut Faults) {
        let backend = self.metadata.backend.as_str();
        if let Err(rule) = known_backend(backend) {
            faults.add("metadata.backend", backend, &rule);
        }
        let pages = self.metadata.page_cache_mb;
        faults.unless(PAGE_CACHE_MB.contains(&pages), "metadata.page_cache_mb", pages, "must be from 16 to 16384");
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
    }

    fn check_ttl(&self, faults: &mut Faults) {
        let Some(seconds) = self.default_ttl_seconds else { return };
        faults.unless(
            seconds.is_finite() && seconds >= SHORTEST_TTL_SECONDS,
            "default_ttl_seconds",
            seconds,
            "must be a number of at least 0.000001; leave it out for entries that do not expire",
        );
    }
}

/// The error is half a sentence to put behind the name of what held the backend's name.
pub(super) fn known_backend(name: &str) -> Result<(), String> {
    if BACKENDS.contains(&name) { Ok(()) } else { Err(format!("no such backend, choose {}", BACKENDS.join(" or "))) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::Limits;

    fn message(config: &CacheConfig) -> String {
        let error = config.validate().unwrap_err();
        assert!(error.is_config());
        error.to_string()
    }

    #[test]
    fn the_defaults_and_presets_are_valid() {
        for config in [CacheConfig::default(), CacheConfig::in_memory(), CacheConfig::for_api("api")] {
            config.validate().unwrap();
        }
    }

    #[test]
    fn every_fault_is_told_at_once_by_field_and_value() {
        let config = CacheConfig::new("")
            .with_max_size_mb(0)
            .with_inline_bytes(65_537)
            .with_flush_interval(Duration::ZERO)
            .with_backend("sqlte")
            .with_page_cache_mb(15)
            .with_limits(Limits { max_key_bytes: 0, max_value_bytes: 0, max_header_bytes: 0 })
            .with_ttl(Duration::ZERO);
        let message = message(&config);
        for fault in [
            "storage.cache_dir is \"\":",
            "storage.max_cache_size_mb is 0:",
            "storage.inline_bytes is 65537:",
            "storage.flush_interval_ms is 0:",
            "metadata.backend is \"sqlte\": no such backend, choose sled or memory",
            "metadata.page_cache_mb is 15:",
            "limits.max_key_bytes is 0:",
            "limits.max_value_bytes is 0:",
            "limits.max_header_bytes is 0:",
            "default_ttl_seconds is 0.0:",
        ] {
            assert!(message.contains(fault), "{fault} is missing in {message}");
        }
        assert_eq!(message.matches("; ").count(), 9 + 2, "a fault more or fewer in {message}");
    }

    #[test]
    fn a_ttl_that_is_no_positive_number_is_refused() {
        for seconds in [0.0, -0.0, -1.0, 1e-7, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let config = CacheConfig { default_ttl_seconds: Some(seconds), ..CacheConfig::default() };
            assert!(message(&config).contains("default_ttl_seconds is "), "{seconds}");
        }
        CacheConfig::default().with_ttl(Duration::MAX).validate().unwrap();
    }

    #[test]
    fn the_ends_of_every_range_are_inside() {
        let narrow = CacheConfig::default()
            .with_max_size_mb(1)
            .with_inline_bytes(0)
            .with_page_cache_mb(16)
            .with_flush_interval(Duration::from_millis(1))
            .with_ttl(Duration::from_micros(1))
            .with_limits(Limits { max_key_bytes: 1, max_value_bytes: 1, max_header_bytes: 1 });
        narrow.validate().unwrap();
        let wide = CacheConfig::default()
            .with_max_size_mb(u64::MAX)
            .with_inline_bytes(65_536)
            .with_page_cache_mb(16_384)
            .with_flush_interval(Duration::from_secs(60));
        wide.validate().unwrap();
        assert_eq!(wide.max_bytes(), u64::MAX);
        assert!(message(&wide.with_flush_interval(Duration::MAX)).contains("storage.flush_interval_ms is "));
    }

    #[test]
    fn a_cache_in_memory_needs_no_directory() {
        CacheConfig::in_memory().with_cache_dir("").validate().unwrap();
    }
}
