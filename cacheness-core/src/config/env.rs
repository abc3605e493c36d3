//! The environment's say in a configuration.

use std::ffi::OsString;
use std::str::FromStr;

use super::CacheConfig;
use super::duration::parse_duration;
use super::faults::Faults;
use super::validate::known_backend;
use crate::compress::Codec;
use crate::error::Result;

const DIR: &str = "CACHENESS_DIR";
const MAX_SIZE_MB: &str = "CACHENESS_MAX_SIZE_MB";
const DEFAULT_TTL_SECONDS: &str = "CACHENESS_DEFAULT_TTL_SECONDS";
const BACKEND: &str = "CACHENESS_BACKEND";
const COMPRESSION_CODEC: &str = "CACHENESS_COMPRESSION_CODEC";
const COMPRESSION_LEVEL: &str = "CACHENESS_COMPRESSION_LEVEL";
const DISABLE: &str = "CACHENESS_DISABLE";

impl CacheConfig {
    /// The defaults, overlaid by the environment: `CacheConfig::default().apply_env()`.
    ///
    /// # Errors
    ///
    /// As [`apply_env`](Self::apply_env).
    pub fn from_env() -> Result<Self> {
        Self::default().apply_env()
    }

    /// Replaces fields by what these variables say; one that is not set or empty says nothing.
    ///
    /// | variable | field | value |
    /// |---|---|---|
    /// | `CACHENESS_DIR` | `storage.cache_dir` | a directory |
    /// | `CACHENESS_MAX_SIZE_MB` | `storage.max_cache_size_mb` | a whole number, at least 1 |
    /// | `CACHENESS_DEFAULT_TTL_SECONDS` | `default_ttl_seconds` | seconds, or a length of time like `24h`, `1h30m` |
    /// | `CACHENESS_BACKEND` | `metadata.backend` | `sled` or `memory` |
    /// | `CACHENESS_COMPRESSION_CODEC` | `compression.codec` | `lz4` or `none` |
    /// | `CACHENESS_COMPRESSION_LEVEL` | none | refused: neither codec has levels |
    /// | `CACHENESS_DISABLE` | none, see [`disabled_by_env`](Self::disabled_by_env) | `1 true yes on`, `0 false no off` |
    ///
    /// What code sets afterwards stands, so that the program has the last word:
    ///
    /// ```
    /// use cacheness_core::CacheConfig;
    ///
    /// let config = CacheConfig::default().apply_env()?.with_max_size_mb(500);
    /// assert_eq!(config.storage.max_cache_size_mb, 500);
    /// # Ok::<(), cacheness_core::CacheError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if a variable does not make sense; its message tells all such variables,
    /// with their values and what they may be.
    pub fn apply_env(self) -> Result<Self> {
        self.apply(|name| std::env::var_os(name))
    }

    /// Whether `CACHENESS_DISABLE` asks for no caching at all: `1`, `true`, `yes` or `on`, in any case. `0`, `false`,
    /// `no`, `off`, empty and not set do not.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) if it is set to anything else.
    pub fn disabled_by_env() -> Result<bool> {
        disabled(|name| std::env::var_os(name))
    }

    fn apply(mut self, lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let mut env = Env::new(lookup);
        if let Some(dir) = env.raw(DIR) {
            self.storage.cache_dir = dir.into();
        }
        if let Some(megabytes) = env.parsed(MAX_SIZE_MB, megabytes) {
            self.storage.max_cache_size_mb = megabytes;
        }
        if let Some(ttl) = env.parsed(DEFAULT_TTL_SECONDS, parse_duration) {
            self.default_ttl_seconds = Some(ttl.as_secs_f64());
        }
        if let Some(backend) = env.parsed(BACKEND, |name| known_backend(name).map(|()| name.to_owned())) {
            self.metadata.backend = backend;
        }
        if let Some(codec) = env.parsed(COMPRESSION_CODEC, |name| Codec::from_str(name).map_err(|e| e.to_string())) {
            self.compression.codec = codec;
        }
        env.parsed(COMPRESSION_LEVEL, no_level);
        env.parsed(DISABLE, switch);
        env.faults.into_result("environment").map(|()| self)
    }
}

fn disabled(lookup: impl Fn(&str) -> Option<OsString>) -> Result<bool> {
    let mut env = Env::new(lookup);
    let disabled = env.parsed(DISABLE, switch).unwrap_or(false);
    env.faults.into_result("environment").map(|()| disabled)
}

/// Reads variables and gathers what is wrong with them.
struct Env<L> {
    lookup: L,
    faults: Faults,
}

impl<L: Fn(&str) -> Option<OsString>> Env<L> {
    fn new(lookup: L) -> Self {
        Self { lookup, faults: Faults::default() }
    }

    /// The value as it is; paths need not be UTF-8.
    fn raw(&self, name: &str) -> Option<OsString> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn parsed<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.raw(name)?;
        let Some(text) = value.to_str() else {
            self.faults.add(name, &value, "is not UTF-8");
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(rule) => {
                self.faults.add(name, text, &rule);
                None
            }
        }
    }
}

fn megabytes(text: &str) -> Result<u64, String> {
    let megabytes = text.parse().ok().filter(|&megabytes| megabytes > 0);
    megabytes.ok_or_else(|| "must be a whole number of at least 1".to_owned())
}

/// A level that nothing reads would be a promise that nothing keeps.
fn no_level(_: &str) -> Result<(), String> {
    Err("the codecs lz4 and none have no levels, unset it".to_owned())
}

fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("must be 1, true, yes or on, or else 0, false, no or off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use super::*;

    fn lookup<'a>(variables: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        move |name| variables.get(name).map(OsString::from)
    }

    fn read(variables: &[(&str, &str)]) -> Result<CacheConfig> {
        CacheConfig::default().apply(lookup(variables))
    }

    fn message(variables: &[(&str, &str)]) -> String {
        let error = read(variables).unwrap_err();
        assert!(error.is_config());
        error.to_string()
    }

    #[test]
    fn every_variable_sets_its_field_and_the_result_is_valid() {
        let config = read(&[
            (DIR, "/fast/cache"),
            (MAX_SIZE_MB, "20000"),
            (DEFAULT_TTL_SECONDS, "604800"),
            (BACKEND, "memory"),
            (COMPRESSION_CODEC, "none"),
            (DISABLE, "0"),
        ])
        .unwrap();
        let expected = CacheConfig::new("/fast/cache")
            .with_max_size_mb(20_000)
            .with_ttl(std::time::Duration::from_secs(604_800))
            .with_backend("memory")
            .with_codec(Codec::None);
        assert_eq!(config, expected);
        config.validate().unwrap();
    }

    #[test]
    fn the_ttl_may_be_a_fraction_or_a_length_of_time() {
        let ttl = |text| read(&[(DEFAULT_TTL_SECONDS, text)]).unwrap().default_ttl_seconds;
        assert_eq!((ttl("0.5"), ttl("1h30m")), (Some(0.5), Some(5400.0)));
    }

    #[test]
    fn a_variable_that_is_unset_or_empty_leaves_the_field_alone() {
        let before = CacheConfig::for_api("here").with_max_size_mb(3);
        let names = [DIR, MAX_SIZE_MB, DEFAULT_TTL_SECONDS, BACKEND, COMPRESSION_CODEC, COMPRESSION_LEVEL, DISABLE];
        let empty = names.map(|name| (name, ""));
        assert_eq!(before.clone().apply(lookup(&[])).unwrap(), before);
        assert_eq!(before.clone().apply(lookup(&empty)).unwrap(), before);
    }

    #[test]
    fn every_bad_variable_is_told_at_once_with_its_value() {
        let message = message(&[
            (MAX_SIZE_MB, "lots"),
            (DEFAULT_TTL_SECONDS, "1 fortnight"),
            (BACKEND, "sqlte"),
            (COMPRESSION_CODEC, "zip"),
            (COMPRESSION_LEVEL, "5"),
            (DISABLE, "maybe"),
        ]);
        for fault in [
            "CACHENESS_MAX_SIZE_MB is \"lots\": must be a whole number",
            "CACHENESS_DEFAULT_TTL_SECONDS is \"1 fortnight\": ",
            "CACHENESS_BACKEND is \"sqlte\": no such backend, choose sled or memory",
            "CACHENESS_COMPRESSION_CODEC is \"zip\": ",
            "CACHENESS_COMPRESSION_LEVEL is \"5\": the codecs lz4 and none have no levels",
            "CACHENESS_DISABLE is \"maybe\": ",
        ] {
            assert!(message.contains(fault), "{fault} is missing in {message}");
        }
    }

    #[test]
    fn sizes_and_ttls_that_are_no_amount_are_refused() {
        for size in ["0", "-1", "1.5", "10 GB", "18446744073709551616"] {
            assert!(message(&[(MAX_SIZE_MB, size)]).contains(&format!("CACHENESS_MAX_SIZE_MB is {size:?}")), "{size}");
        }
        for ttl in ["0", "-5", "inf", "NaN", "1y"] {
            assert!(message(&[(DEFAULT_TTL_SECONDS, ttl)]).contains(&format!("_TTL_SECONDS is {ttl:?}")), "{ttl}");
        }
    }

    #[test]
    fn the_switch_knows_its_words_in_any_case() {
        for (text, expected) in [("1", true), ("TRUE", true), ("yes", true), ("On", true)].into_iter().chain([
            ("0", false),
            ("false", false),
            ("No", false),
            ("off", false),
            ("", false),
        ]) {
            assert_eq!(disabled(lookup(&[(DISABLE, text)])).unwrap(), expected, "{text}");
        }
        assert!(!disabled(lookup(&[])).unwrap());
        assert!(disabled(lookup(&[(DISABLE, "2")])).unwrap_err().to_string().contains("CACHENESS_DISABLE is \"2\""));
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_not_utf8_are_refused_but_for_a_directory() {
        use std::os::unix::ffi::OsStringExt;
        let bytes = || OsString::from_vec(vec![b'/', 0xff]);
        let config = CacheConfig::default().apply(|name| (name == DIR).then(bytes)).unwrap();
        assert_eq!(config.storage.cache_dir, Path::new(&bytes()));
        let error = CacheConfig::default().apply(|name| (name != DIR).then(bytes)).unwrap_err().to_string();
        for name in [MAX_SIZE_MB, DEFAULT_TTL_SECONDS, BACKEND, COMPRESSION_CODEC, COMPRESSION_LEVEL, DISABLE] {
            assert!(error.contains(&format!("{name} is \"/\\xFF\": is not UTF-8")), "{name}: {error}");
        }
    }
}
