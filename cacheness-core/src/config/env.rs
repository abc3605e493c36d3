//! The environment's say in a configuration.

use std::ffi::{OsStr, OsString};
use std::str::FromStr;

use super::CacheConfig;
use super::duration::parse_duration;
use super::validate::Faults;
use super::validate::{known_level, known_metadata_backend};
use crate::config::{Codec, ConnectionUrl, VerifyPaths};
use crate::error::{CacheError, ErrorKind, Result};

const DIR: &str = "CACHENESS_DIR";
const MAX_SIZE_MB: &str = "CACHENESS_MAX_SIZE_MB";
const DEFAULT_TTL_SECONDS: &str = "CACHENESS_DEFAULT_TTL_SECONDS";
const BACKEND: &str = "CACHENESS_BACKEND";
const CONNECTION_URL: &str = "CACHENESS_CONNECTION_URL";
const LOCAL_DIR: &str = "CACHENESS_LOCAL_DIR";
const COMPRESSION_CODEC: &str = "CACHENESS_COMPRESSION_CODEC";
const COMPRESSION_LEVEL: &str = "CACHENESS_COMPRESSION_LEVEL";
const VERIFY_PATHS: &str = "CACHENESS_VERIFY_PATHS";
const SIGNING_KEY_FILE: &str = "CACHENESS_SIGNING_KEY_FILE";
const CONFIG: &str = "CACHENESS_CONFIG";
const DISABLE: &str = "CACHENESS_DISABLE";

impl CacheConfig {
    /// The defaults, overlaid by the file that `CACHENESS_CONFIG` names, overlaid by the [other
    /// variables](Self::apply_env).
    ///
    /// # Errors
    ///
    /// As [`apply_env`](Self::apply_env); [`Config`](crate::ErrorKind::Config) also if the file cannot be used, with the
    /// variable and what `CacheConfig::from_file` says.
    pub fn from_env() -> Result<Self> {
        Self::gather(|name| std::env::var_os(name))
    }

    fn gather(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        Self::from_named_file(&lookup)?.apply(lookup)
    }

    fn from_named_file(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let Some(path) = Env::new(lookup).raw(CONFIG) else { return Ok(Self::default()) };
        read_file(&path).map_err(|error| {
            let message = format!("environment is not valid: {CONFIG} is {path:?}: {error}");
            CacheError::caused_by(ErrorKind::Config, message, error)
        })
    }

    /// Replaces fields by what these variables say; one that is not set or empty says nothing.
    ///
    /// | variable | field | value |
    /// |---|---|---|
    /// | `CACHENESS_DIR` | `storage.cache_dir` | a directory |
    /// | `CACHENESS_MAX_SIZE_MB` | `storage.max_cache_size_mb` | a whole number, at least 1 |
    /// | `CACHENESS_DEFAULT_TTL_SECONDS` | `default_ttl_seconds` | seconds, or a length of time like `24h`, `1h30m` |
    /// | `CACHENESS_BACKEND` | `metadata.backend` | `sled`, `sqlite`, `postgresql`, `redis`, `json`, `memory` or a registered one |
    /// | `CACHENESS_CONNECTION_URL` | `metadata.connection_url` | `postgresql://user:password@host:5432/database`, `redis://user:password@host:6379/0` |
    /// | `CACHENESS_LOCAL_DIR` | `local.dir` | a directory of this machine, where the rows are on a server |
    /// | `CACHENESS_COMPRESSION_CODEC` | `compression.codec`, at its own level | `lz4` or `none`, by feature `zstd`, `gzip`, `blosclz` |
    /// | `CACHENESS_COMPRESSION_LEVEL` | `compression.level` | one that the codec has |
    /// | `CACHENESS_VERIFY_PATHS` | `serialization.verify_paths` | `when_changed` or `always` |
    /// | `CACHENESS_SIGNING_KEY_FILE` | `security.signing_key_file`, and `security.signing` is true | a file |
    /// | `CACHENESS_CONFIG` | none, see [`from_env`](Self::from_env) | a file, `.toml` or `.json` |
    /// | `CACHENESS_DISABLE` | none, see [`disabled_by_env`](Self::disabled_by_env) | `1 true yes on`, `0 false no off` |
    ///
    /// What code sets afterwards stands, so that the program has the last word:
    ///
    /// ```
    /// use cacheness::CacheConfig;
    ///
    /// let config = CacheConfig::default().apply_env()?.with_max_size_mb(500);
    /// assert_eq!(config.storage.max_cache_size_mb, 500);
    /// # Ok::<(), cacheness::CacheError>(())
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
        if let Some(backend) = env.parsed(BACKEND, |name| known_metadata_backend(name).map(|()| name.to_owned())) {
            self.metadata.backend = backend;
        }
        if let Some(url) = env.parsed(CONNECTION_URL, |url| Ok(ConnectionUrl::from(url))) {
            self.metadata.connection_url = Some(url);
        }
        if let Some(dir) = env.raw(LOCAL_DIR) {
            self.local.dir = Some(dir.into());
        }
        if let Some(codec) = env.parsed(COMPRESSION_CODEC, |name| Codec::from_str(name).map_err(|e| e.to_string())) {
            self = self.with_codec(codec);
        }
        let codec = self.compression.codec;
        if let Some(level) = env.parsed(COMPRESSION_LEVEL, |text| level_of(codec, text)) {
            self.compression.level = Some(level);
        }
        if let Some(verify) = env.parsed(VERIFY_PATHS, verify_paths) {
            self.serialization.verify_paths = verify;
        }
        if let Some(file) = env.raw(SIGNING_KEY_FILE) {
            self = self.with_signing_key_file(file);
        }
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

fn level_of(codec: Codec, text: &str) -> Result<u8, String> {
    let level = text.parse().map_err(|_| "must be a whole number".to_owned())?;
    known_level(codec, level).map(|()| level)
}

fn verify_paths(text: &str) -> Result<VerifyPaths, String> {
    match text {
        "when_changed" => Ok(VerifyPaths::WhenChanged),
        "always" => Ok(VerifyPaths::Always),
        _ => Err("must be when_changed or always".to_owned()),
    }
}

#[cfg(feature = "config-files")]
fn read_file(path: &OsStr) -> Result<CacheConfig> {
    CacheConfig::from_file(path)
}

#[cfg(not(feature = "config-files"))]
fn read_file(_: &OsStr) -> Result<CacheConfig> {
    Err(CacheError::new(ErrorKind::Config, "a configuration file needs the cargo feature `config-files`"))
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
            (CONNECTION_URL, "postgresql://host/db"),
            (COMPRESSION_CODEC, "none"),
            (VERIFY_PATHS, "always"),
            (DISABLE, "0"),
        ])
        .unwrap();
        let expected = CacheConfig::new("/fast/cache")
            .with_max_size_mb(20_000)
            .with_ttl(std::time::Duration::from_secs(604_800))
            .with_backend("memory")
            .with_connection_url("postgresql://host/db")
            .with_codec(Codec::None)
            .with_verified_paths(VerifyPaths::Always);
        assert_eq!(config, expected);
        let elsewhere = config.validate().unwrap_err().to_string();
        assert!(elsewhere.contains("metadata.connection_url") && !elsewhere.contains("; "), "{elsewhere}");
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
            (VERIFY_PATHS, "never"),
            (DISABLE, "maybe"),
        ]);
        for fault in [
            "CACHENESS_MAX_SIZE_MB is \"lots\": must be a whole number",
            "CACHENESS_DEFAULT_TTL_SECONDS is \"1 fortnight\": ",
            "CACHENESS_BACKEND is \"sqlte\": no such backend, choose sled, memory",
            "CACHENESS_COMPRESSION_CODEC is \"zip\": ",
            "CACHENESS_COMPRESSION_LEVEL is \"5\": the codec lz4 has no levels",
            "CACHENESS_VERIFY_PATHS is \"never\": must be when_changed or always",
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
        for ttl in ["0", "-5", "inf", "NaN", "1 fortnight", "9223372036854775807", "1e30"] {
            assert!(message(&[(DEFAULT_TTL_SECONDS, ttl)]).contains(&format!("_TTL_SECONDS is {ttl:?}")), "{ttl}");
        }
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn a_level_is_one_of_the_codec_that_is_in_force() {
        let zstd = CacheConfig::default().with_codec(Codec::Zstd).with_compression_level(19);
        let over = |variables: &[(&str, &str)]| zstd.clone().apply(lookup(variables));
        let level = |config: Result<CacheConfig>| config.unwrap().compression.level;
        assert_eq!(level(read(&[(COMPRESSION_CODEC, "zstd"), (COMPRESSION_LEVEL, "22")])), Some(22));
        assert_eq!(level(over(&[(COMPRESSION_LEVEL, "7")])), Some(7));
        assert_eq!(level(over(&[(COMPRESSION_CODEC, "lz4")])), None, "19 was a level of zstd");
        over(&[(COMPRESSION_CODEC, "lz4")]).unwrap().validate().unwrap();
        for (codec, level, rule) in [
            ("lz4", "3", "the codec lz4 has no levels"),
            ("zstd", "23", "the codec zstd has levels from 1 to 22"),
            ("zstd", "0", "the codec zstd has levels"),
            ("zstd", "-1", "must be a whole number"),
            ("zstd", "256", "must be a whole number"),
        ] {
            let message = message(&[(COMPRESSION_CODEC, codec), (COMPRESSION_LEVEL, level)]);
            assert!(message.contains(&format!("CACHENESS_COMPRESSION_LEVEL is {level:?}: {rule}")), "{message}");
        }
    }

    #[cfg(feature = "config-files")]
    #[test]
    fn code_beats_variables_beat_the_file_beats_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cache.toml");
        std::fs::write(&file, "default_ttl_seconds = 60\n[storage]\nmax_cache_size_mb = 200\n").unwrap();
        let file = file.to_str().unwrap();
        let megabytes = |variables: &[_]| CacheConfig::gather(lookup(variables)).unwrap().storage.max_cache_size_mb;
        let (by_file, by_variable) = ((CONFIG, file), (MAX_SIZE_MB, "300"));
        assert_eq!(megabytes(&[]), 10_000, "the default");
        assert_eq!(megabytes(&[by_file]), 200, "the file beats the default");
        assert_eq!(megabytes(&[by_variable]), 300, "a variable beats the default");
        assert_eq!(megabytes(&[by_file, by_variable]), 300, "a variable beats the file");
        let config = CacheConfig::gather(lookup(&[by_file, by_variable])).unwrap();
        assert_eq!(config.default_ttl_seconds, Some(60.0), "what no variable says is left to the file");
        for variables in [&[][..], &[by_file], &[by_variable]] {
            let config = CacheConfig::gather(lookup(variables)).unwrap().with_max_size_mb(400);
            assert_eq!(config.storage.max_cache_size_mb, 400, "code beats all");
        }
    }

    #[cfg(feature = "config-files")]
    #[test]
    fn a_file_that_cannot_be_used_is_told_with_the_variable_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let typo = dir.path().join("typo.toml");
        std::fs::write(&typo, "\n[storage]\ncache_dri = 'x'\n").unwrap();
        for (path, expected) in
            [("no/such.toml", "cannot be read"), (typo.to_str().unwrap(), ":3: storage.cache_dri: ")]
        {
            let error = CacheConfig::gather(lookup(&[(CONFIG, path)])).unwrap_err();
            let message = error.to_string();
            assert!(error.is_config() && message.contains(&format!("CACHENESS_CONFIG is {path:?}: ")), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }

    #[cfg(not(feature = "config-files"))]
    #[test]
    fn a_file_tells_which_feature_would_read_it() {
        let error = CacheConfig::gather(lookup(&[(CONFIG, "cache.toml")])).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("cargo feature `config-files`"), "{error}");
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
        use std::path::Path;
        let bytes = || OsString::from_vec(vec![b'/', 0xff]);
        let config = CacheConfig::default().apply(|name| (name == DIR).then(bytes)).unwrap();
        assert_eq!(config.storage.cache_dir, Path::new(&bytes()));
        let error = CacheConfig::default().apply(|name| (name != DIR).then(bytes)).unwrap_err().to_string();
        for name in [MAX_SIZE_MB, DEFAULT_TTL_SECONDS, BACKEND, COMPRESSION_CODEC, COMPRESSION_LEVEL, DISABLE] {
            assert!(error.contains(&format!("{name} is \"/\\xFF\": is not UTF-8")), "{name}: {error}");
        }
    }
}
