//! Configurations with a purpose.

use std::path::PathBuf;
use std::time::Duration;

use etcetera::BaseStrategy;

use super::CacheConfig;
use crate::config::Codec;
use crate::error::{CacheError, ErrorKind, Result};

const SECONDS_PER_HOUR: u64 = 3600;

/// Ready-made, to be changed further.
impl CacheConfig {
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

    /// A preset for short answers: LZ4, and only from 4 KiB on; values of up to 16 KiB live inside the index, for whose
    /// pages there are up to 2 GB of memory.
    ///
    /// ```
    /// # use cacheness_core::CacheConfig;
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
    /// # use cacheness_core::CacheConfig;
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
    /// # use cacheness_core::CacheConfig;
    /// let config = CacheConfig::for_user("weather-app")?;
    /// assert!(config.storage.cache_dir.ends_with("weather-app"));
    /// # Ok::<(), cacheness_core::CacheError>(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_directory_of_its_own_is_refused_with_the_name() {
        for name in ["", ".", "..", "a/b", "/etc", "../up", "a\\b", "C:", "C:name", "a\0b", "a\nb"] {
            let error = CacheConfig::for_user(name).unwrap_err();
            assert!(error.is_config() && error.to_string().contains(&format!("{name:?}")), "{name:?}: {error}");
        }
        for name in ["app", "my-app", "org.example.app", "...", "Wetter für alle"] {
            assert!(CacheConfig::for_user(name).unwrap().storage.cache_dir.ends_with(name), "{name:?}");
        }
    }
}
