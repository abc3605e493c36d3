//! What the handles of one directory share: it is decided when the directory is opened, and holds for all of them.

use super::CacheConfig;
use crate::config::limits::Limits;

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
                super::CacheStorageConfig {
                    cache_dir: _,
                    max_cache_size_mb,
                    cleanup_on_init: _,
                    inline_bytes,
                    flush_interval_ms,
                },
            metadata:
                super::CacheMetadataConfig {
                    backend,
                    options,
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
            blob: super::CacheBlobConfig { backend: _, options: blob_options },
            compression: super::CompressionConfig { codec, level, threshold_bytes, numbers_codec: _, numbers_level: _ },
            serialization: _,
            handlers: super::HandlerConfig { priority, disabled },
            security: _,
            durability,
            limits: Limits { max_key_bytes: _, max_value_bytes, max_header_bytes },
            default_ttl_seconds: _,
            single_flight_wait_ms,
        } = self;
        let numbers = self.number_compression();
        vec![
            ("storage.max_cache_size_mb", format!("{max_cache_size_mb}")),
            ("storage.inline_bytes", format!("{inline_bytes}")),
            ("storage.flush_interval_ms", format!("{flush_interval_ms}")),
            ("metadata.backend", format!("{backend:?}")),
            ("metadata.options", format!("{options:?}")),
            ("metadata.verify_cache_integrity", format!("{verify_cache_integrity}")),
            ("metadata.page_cache_mb", format!("{page_cache_mb}")),
            ("metadata.enable_memory_cache", format!("{enable_memory_cache}")),
            ("metadata.memory_cache_type", format!("{memory_cache_type:?}")),
            ("metadata.memory_cache_maxsize", format!("{memory_cache_maxsize}")),
            ("metadata.memory_cache_max_mb", format!("{memory_cache_max_mb}")),
            ("metadata.memory_cache_ttl_seconds", format!("{memory_cache_ttl_seconds:?}")),
            ("metadata.memory_cache_stats", format!("{memory_cache_stats}")),
            ("blob.backend", format!("{:?}", self.blob_backend())),
            ("blob.options", format!("{blob_options:?}")),
            ("compression.codec", format!("{codec}")),
            ("compression.level", format!("{level:?}")),
            ("compression.threshold_bytes", format!("{threshold_bytes}")),
            ("compression.numbers_codec", format!("{}", numbers.codec)),
            ("compression.numbers_level", format!("{:?}", numbers.level)),
            ("handlers.priority", format!("{priority:?}")),
            ("handlers.disabled", format!("{disabled:?}")),
            ("durability", format!("{durability:?}")),
            ("limits.max_value_bytes", format!("{max_value_bytes}")),
            ("limits.max_header_bytes", format!("{max_header_bytes}")),
            ("single_flight_wait_ms", format!("{single_flight_wait_ms}")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_differs_is_told_with_both_values_and_what_every_handle_has_for_itself_is_not() {
        let in_force = CacheConfig::new("a").with_max_size_mb(100);
        let mut other = in_force.clone().with_cache_dir("b").with_ttl(Duration::from_secs(5));
        other.storage.cleanup_on_init = true;
        other.metadata.store_cache_key_params = false;
        other.serialization.hash_path_content = false;
        other.limits.max_key_bytes = 7;
        assert!(other.differences(&in_force).is_empty());
        assert_eq!(other.clone().sharing(&in_force), other);
        let wanted = other.clone().with_max_size_mb(2).with_inline_bytes(0);
        assert_eq!(
            wanted.differences(&in_force),
            [
                "storage.max_cache_size_mb is 2 here and 100 in force",
                "storage.inline_bytes is 0 here and 4096 in force"
            ]
        );
        assert_eq!(wanted.sharing(&in_force), other);
    }

    #[test]
    fn a_choice_that_is_the_default_is_no_difference() {
        let named = CacheConfig::new("a").with_blob_backend("filesystem");
        assert!(named.differences(&CacheConfig::new("a")).is_empty());
    }
}
