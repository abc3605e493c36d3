//! A directory of this machine before rows and values that many machines share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::validate::Faults;
use super::{BYTES_PER_MB, CacheConfig, JSON, MEMORY, SLED, SQLITE, SQLITE_MEMORY};

/// Longer leases are none: nobody would believe an invalidation.
const LEASE_MS: std::ops::RangeInclusive<u64> = 1..=3_600_000;
/// Indexes that are of this machine already.
const NEAR: [&str; 5] = [SLED, SQLITE, SQLITE_MEMORY, JSON, MEMORY];

/// A directory of this machine that keeps copies of what a server and a bucket have: reads fill it and are answered from it,
/// writes go through it. Only for a `metadata.backend` behind a network.
///
/// ```
/// use cacheness::CacheConfig;
///
/// let config = CacheConfig::new("/mnt/shared/weather")
///     .with_backend("redis")
///     .with_connection_url("redis://cache.example.com:6379/0")
///     .with_local_tier("/var/cache/weather");
/// assert_eq!(config.local.max_size_mb, 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheLocalConfig {
    /// The directory, made if it is not there: on a disk of this machine, and of one process at a time. Default none: nothing is
    /// kept here.
    pub dir: Option<PathBuf>,
    /// Size of all copies in MB of 1024 × 1024 bytes, at least 1. When they grow past it, the least recently used go until the
    /// rest fills 80 % of it; what the server and the bucket have stays. A value of more than a quarter of it is not kept.
    /// Default 1024.
    pub max_size_mb: u64,
    /// How long copies, and values in memory, are used after the server was asked what others have changed, in milliseconds
    /// from 1 to 3600000: so late an invalidation of another machine may be heard of. Default 1000.
    #[serde(deserialize_with = "super::duration::millis")]
    pub lease_ms: u64,
}

impl Default for CacheLocalConfig {
    fn default() -> Self {
        Self { dir: None, max_size_mb: 1024, lease_ms: 1000 }
    }
}

impl CacheLocalConfig {
    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_size_mb.saturating_mul(BYTES_PER_MB)
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

/// A tier of this machine.
impl CacheConfig {
    /// Sets the [directory](CacheLocalConfig::dir) that keeps copies of what a server and a bucket have.
    #[must_use]
    pub fn with_local_tier(mut self, dir: impl Into<PathBuf>) -> Self {
        self.local.dir = Some(dir.into());
        self
    }

    /// Sets the size of all copies in the local tier, in MB of 1024 × 1024 bytes.
    #[must_use]
    pub fn with_local_max_size_mb(mut self, megabytes: u64) -> Self {
        self.local.max_size_mb = megabytes;
        self
    }

    /// Sets how late an invalidation of another machine may be heard of where there is a local tier, in whole milliseconds.
    #[must_use]
    pub fn with_local_lease(mut self, lease: Duration) -> Self {
        self.local.lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self
    }

    pub(super) fn check_local(&self, faults: &mut Faults) {
        let CacheLocalConfig { dir, max_size_mb, lease_ms } = &self.local;
        faults.unless(*max_size_mb > 0, "local.max_size_mb", max_size_mb, "must be at least 1");
        faults.unless(LEASE_MS.contains(lease_ms), "local.lease_ms", lease_ms, "must be from 1 to 3600000 (an hour)");
        let Some(dir) = dir else { return };
        let backend = self.metadata.backend.as_str();
        let rule = format!(
            "the rows of the metadata backend `{backend}` are on this machine already, and a copy of them is no gain: leave it \
             out, or choose `postgresql` or `redis`"
        );
        faults.unless(!NEAR.contains(&backend), "local.dir", dir, &rule);
        faults.unless(!dir.as_os_str().is_empty(), "local.dir", dir, "name a directory, or leave it out");
        let apart = !within(dir, &self.storage.cache_dir) && !within(&self.storage.cache_dir, dir);
        let rule = "it must be a directory of its own, not storage.cache_dir nor one inside of it or around it";
        faults.unless(dir.as_os_str().is_empty() || apart, "local.dir", dir, rule);
    }
}

/// Whether a path leads into a directory, as far as the paths alone say.
fn within(path: &Path, dir: &Path) -> bool {
    match (std::path::absolute(path), std::path::absolute(dir)) {
        (Ok(path), Ok(dir)) => path.starts_with(dir),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(config: &CacheConfig) -> String {
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_tier_is_refused_before_rows_of_this_machine_and_in_the_directory_of_the_cache() {
        for near in [SLED, JSON, MEMORY] {
            let refused = message(&CacheConfig::new("cache").with_backend(near).with_local_tier("near"));
            assert!(refused.contains("local.dir is \"near\"") && refused.contains(near), "{refused}");
        }
        for inside in ["cache", "cache/near", "cache/../cache"] {
            let refused = message(&CacheConfig::new("cache").with_local_tier(inside));
            assert!(refused.contains("a directory of its own") || inside.contains(".."), "{refused}");
        }
        let refused = message(&CacheConfig::new("cache").with_local_max_size_mb(0).with_local_lease(Duration::ZERO));
        assert!(refused.contains("local.max_size_mb is 0") && refused.contains("local.lease_ms is 0"), "{refused}");
    }
}
