//! Configurations as TOML and JSON, in texts and in files.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::CacheConfig;
use crate::error::{CacheError, ErrorKind, Result};

/// No configuration is longer; what is, is not read.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy)]
enum Format {
    Toml,
    Json,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Ok(Self::Toml),
            Some("json") => Ok(Self::Json),
            _ => Err(refused(path, "does not tell its format, name it .toml or .json")),
        }
    }
}

/// Texts and files, with the feature `config-files`.
impl CacheConfig {
    /// Reads TOML. A field that is not there takes its default.
    ///
    /// ```
    /// use cacheness::CacheConfig;
    ///
    /// let config = CacheConfig::from_toml("default_ttl_seconds = 3600\n[storage]\nmax_cache_size_mb = 500")?;
    /// assert_eq!(config.storage.max_cache_size_mb, 500);
    ///
    /// let error = CacheConfig::from_toml("[storage]\ncache_dri = 'x'").unwrap_err();
    /// assert!(error.to_string().contains("TOML:2: storage.cache_dri: there is no field `cache_dri`, did you mean `cache_dir`?"));
    /// # Ok::<(), cacheness::CacheError>(())
    /// ```
    ///
    /// Needs the feature `config-files`, which is on by default.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the text is not TOML, names a field twice or one that there is not, or a value
    /// is not of its field's type; the message tells line and field. Whether the values make sense is checked by
    /// [`validate`](Self::validate), as always when a cache is opened.
    pub fn from_toml(text: &str) -> Result<Self> {
        parse_toml(text, &Source("TOML"))
    }

    /// Reads JSON. A field that is not there takes its default.
    ///
    /// ```
    /// use cacheness::CacheConfig;
    ///
    /// let config = CacheConfig::from_json(r#"{"storage": {"max_cache_size_mb": 500}}"#)?;
    /// assert_eq!(config.storage.max_cache_size_mb, 500);
    /// # Ok::<(), cacheness::CacheError>(())
    /// ```
    ///
    /// Needs the feature `config-files`, which is on by default.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml).
    pub fn from_json(text: &str) -> Result<Self> {
        parse_json(text, &Source("JSON"))
    }

    /// Writes every field as TOML, but for those that are none.
    ///
    /// ```
    /// use cacheness::CacheConfig;
    ///
    /// let config = CacheConfig::for_api("./api");
    /// assert_eq!(CacheConfig::from_toml(&config.to_toml()?)?, config);
    /// # Ok::<(), cacheness::CacheError>(())
    /// ```
    ///
    /// Needs the feature `config-files`, which is on by default.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) with every fault of the configuration, or if a path is not UTF-8.
    pub fn to_toml(&self) -> Result<String> {
        self.validate()?;
        toml::to_string(self).map_err(|error| unwritable("TOML", error))
    }

    /// Writes every field as JSON.
    ///
    /// ```
    /// use cacheness::CacheConfig;
    ///
    /// let config = CacheConfig::for_api("./api");
    /// assert_eq!(CacheConfig::from_json(&config.to_json()?)?, config);
    /// # Ok::<(), cacheness::CacheError>(())
    /// ```
    ///
    /// Needs the feature `config-files`, which is on by default.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) with every fault of the configuration, or if a path is not UTF-8.
    pub fn to_json(&self) -> Result<String> {
        self.validate()?;
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|error| unwritable("JSON", error))
    }

    /// Reads a file, TOML or JSON by its extension.
    ///
    /// Needs the feature `config-files`, which is on by default.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) as [`from_toml`](Self::from_toml), and if the file cannot be read, is longer than a
    /// MiB, is not UTF-8 or has another extension than `.toml` or `.json`. The message names the file.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let format = Format::of(path)?;
        let text = read(path)?;
        let name = path.display().to_string();
        match format {
            Format::Toml => parse_toml(&text, &Source(&name)),
            Format::Json => parse_json(&text, &Source(&name)),
        }
    }

    /// Writes a file, TOML or JSON by its extension. One that is there is replaced when the new one is whole.
    ///
    /// ```
    /// use cacheness::CacheConfig;
    ///
    /// # let dir = std::env::temp_dir().join(format!("cacheness-doc-to-file-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// let path = dir.join("cache.toml");
    /// CacheConfig::for_size("./small").to_file(&path)?;
    /// assert_eq!(CacheConfig::from_file(&path)?, CacheConfig::for_size("./small"));
    /// # std::fs::remove_dir_all(dir).ok();
    /// # Ok::<(), cacheness::CacheError>(())
    /// ```
    ///
    /// Needs the feature `config-files`, which is on by default.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) as [`to_toml`](Self::to_toml), and for another extension;
    /// [`Storage`](ErrorKind::Storage) if the file cannot be written, the one that was there is then untouched.
    pub fn to_file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let text = match Format::of(path)? {
            Format::Toml => self.to_toml()?,
            Format::Json => self.to_json()?,
        };
        replace(path, &text).map_err(|error| {
            let message = format!("cannot write the configuration {}", path.display());
            CacheError::caused_by(ErrorKind::Storage, message, error)
        })
    }
}

fn parse_toml(text: &str, source: &Source<'_>) -> Result<CacheConfig> {
    let line_of = |error: &toml::de::Error| {
        let start = error.span()?.start;
        Some(1 + text.get(..start)?.matches('\n').count())
    };
    let deserializer =
        toml::Deserializer::parse(text).map_err(|error| source.error(line_of(&error), &no_field(), error.message()))?;
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| source.error(line_of(error.inner()), error.path(), error.inner().message()))
}

fn parse_json(text: &str, source: &Source<'_>) -> Result<CacheConfig> {
    let explained = |error: &serde_json::Error, field: &serde_path_to_error::Path| {
        let message = error.to_string();
        // What serde_json appends is told before the message instead.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        source.error((error.line() > 0).then(|| error.line()), field, message)
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let config =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| explained(error.inner(), error.path()))?;
    deserializer.end().map_err(|error| explained(&error, &no_field()))?;
    Ok(config)
}

/// The path of a text as a whole.
fn no_field() -> serde_path_to_error::Path {
    serde_path_to_error::Track::new().path()
}

fn read(path: &Path) -> Result<String> {
    let unreadable = |error| {
        let message = format!("configuration {} cannot be read: {error}", path.display());
        CacheError::caused_by(ErrorKind::Config, message, error)
    };
    // Before it is opened: opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(refused(path, "is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(refused(path, &format!("is longer than the {MAX_FILE_BYTES} bytes a configuration may have")));
    }
    String::from_utf8(bytes).map_err(|_| refused(path, "is not UTF-8"))
}

/// Writes beside the file and renames, so that there is always a whole one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let staged = staged(path);
    let written = File::create_new(&staged)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&staged, path));
    written.inspect_err(|error| {
        if error.kind() != std::io::ErrorKind::AlreadyExists {
            let _ = fs::remove_file(&staged);
        }
    })
}

fn staged(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", crate::util::digest::unique_name()));
    path.with_file_name(name)
}

fn refused(path: &Path, what: &str) -> CacheError {
    CacheError::new(ErrorKind::Config, format!("configuration {} {what}", path.display()))
}

fn unwritable(format: &str, error: impl std::error::Error + Send + Sync + 'static) -> CacheError {
    CacheError::caused_by(ErrorKind::Config, format!("the configuration cannot be written as {format}: {error}"), error)
}

// What is wrong with the text of a configuration, and where: file, line, field, and what was probably meant.

/// Where a text came from: a file's name, or `TOML` or `JSON`.
pub(super) struct Source<'a>(pub(super) &'a str);

impl Source<'_> {
    /// An error at a line, counted from 1, in a field if it is known which.
    pub(super) fn error(&self, line: Option<usize>, field: &serde_path_to_error::Path, message: &str) -> CacheError {
        let place = line.map_or_else(|| self.0.to_owned(), |line| format!("{}:{line}", self.0));
        let field = match field.iter().next() {
            Some(_) => format!("{field}: "),
            None => String::new(),
        };
        let text = format!("configuration {place}: {field}{}", explained(message));
        CacheError::new(ErrorKind::Config, text)
    }
}

/// The message of a deserializer, with what helps.
fn explained(message: &str) -> String {
    let message = message.trim_end();
    if let Some(expected) = message.strip_prefix("unknown field ") {
        return unknown(expected);
    }
    if message.starts_with("duplicate ") {
        return format!("{message}: it is there twice, leave one");
    }
    if message.contains("integer `-") {
        return format!("{message}: it must not be negative");
    }
    message.to_owned()
}

/// `text` is what follows in serde's message: the unknown name, then the known ones, each in backticks.
fn unknown(text: &str) -> String {
    let mut names = text.split('`').skip(1).step_by(2);
    let name = names.next().unwrap_or_default();
    let known: Vec<_> = names.collect();
    let nearest = nearest(name, &known).map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default();
    format!("there is no field `{name}`{nearest} (known here: {})", known.join(", "))
}

/// The name that is at most a third of its letters away.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |known: &&str| distance(name, known);
    let nearest = known.iter().copied().min_by_key(|known| distance(known))?;
    (distance(&nearest) * 3 <= nearest.chars().count()).then_some(nearest)
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    // A name out of a file may be as long as the file.
    let from: Vec<char> = from.chars().take(64).collect();
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 0..from.len() {
        let mut row = vec![i + 1];
        for j in 0..to.len() {
            let changed = last[j] + usize::from(from[i] != to[j]);
            let mut least = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from[i] == to[j - 1] && from[i - 1] == to[j] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        (before, last) = (last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests;
