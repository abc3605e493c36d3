//! Where rows are kept: the seam to metadata backends, the record that a row is, and the backends, by the names that a
//! configuration may give them.

pub(crate) mod backend;
#[cfg(any(feature = "postgresql", feature = "sqlite"))]
mod columns;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod conformance;
mod guard;
#[cfg(any(feature = "postgresql", feature = "redis", feature = "sqlite"))]
mod handle;
#[cfg(feature = "json")]
mod json;
mod memory;
pub(crate) mod neighbours;
#[cfg(feature = "postgresql")]
mod postgres;
mod record;
#[cfg(feature = "redis")]
mod redis;
#[cfg(all(test, any(feature = "postgresql", feature = "sqlite")))]
mod select_tests;
pub(crate) mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use backend::MetadataBackend;
pub use memory::MemoryMetadata;
pub(crate) use record::{Payload, Record};
#[cfg(test)]
pub(crate) use tests::{Call, Records, Watched};

use self::guard::{Guard, Known};
#[cfg(feature = "json")]
use self::json::JsonMetadata;
#[cfg(feature = "postgresql")]
use self::postgres::PostgresMetadata;
#[cfg(feature = "redis")]
use self::redis::RedisMetadata;
use self::sled::SledIndex;
#[cfg(feature = "sqlite")]
use self::sqlite::SqliteMetadata;
use crate::config::backends::{self, BackendInfo, BackendOptions, Registry};
use crate::config::{JSON, MEMORY, POSTGRESQL, REDIS, SLED, SQLITE, SQLITE_MEMORY};
use crate::entry::Names;
use crate::error::Result;
use crate::util::digest;
use backend::{CustomRow, Facts};

/// A set of entries that can be listed and cleared on its own: those of a function, of a prefix, of a tag, with custom
/// metadata of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Group(u64);

impl Group {
    pub(crate) fn function(name: &str) -> Self {
        Self::named(b'f', name)
    }

    pub(crate) fn prefix(name: &str) -> Self {
        Self::named(b'p', name)
    }

    pub(crate) fn tag(name: &str) -> Self {
        Self::named(b't', name)
    }

    /// The entries that have custom metadata of this kind.
    pub(crate) fn kind(name: &str) -> Self {
        Self::named(b'k', name)
    }

    /// Groups are found by a checksum of their name; whoever lists one compares the name in the entry's details.
    fn named(kind: u8, name: &str) -> Self {
        Self(digest::checksum_within(&[kind], name.as_bytes()))
    }

    pub(crate) fn as_u64(self) -> u64 {
        self.0
    }

    /// The groups that these names stand for.
    pub(crate) fn of_names(names: &Names<'_>) -> Vec<Self> {
        let tags = names.tags.iter().map(|tag| Self::tag(tag));
        let kinds = names.kinds.iter().map(|kind| Self::kind(kind));
        Self::of(names.function, names.prefix, tags.chain(kinds))
    }

    fn of(function: Option<&str>, prefix: Option<&str>, others: impl Iterator<Item = Self>) -> Vec<Self> {
        let (function, prefix) = (function.map(Self::function), prefix.map(Self::prefix));
        function.into_iter().chain(prefix).chain(others).collect()
    }
}

impl Record {
    /// [`facts`](Self::facts) with the custom metadata, if the record is believed.
    pub(crate) fn facts_and_columns(&self) -> Result<Facts> {
        let mut facts = self.facts()?;
        if self.is_believed() && !self.core_and_names()?.1.kinds.is_empty() {
            facts.custom = self.entry()?.details.custom().map(CustomRow::of).collect();
        }
        Ok(facts)
    }
}

// The metadata backends that a configuration may name.

static REGISTRY: Registry<dyn MetadataBackend> = Registry::new(&backends::METADATA);

/// Gives a metadata backend a name, by which `metadata.backend` may choose it from now on. `open` gets the directory of
/// the cache and `metadata.options`.
///
/// ```
/// use std::sync::Arc;
/// use cacheness::backend::{MemoryMetadata, register_metadata_backend};
/// use cacheness::{Cache, CacheConfig};
///
/// register_metadata_backend("mine", |_options| Ok(Arc::new(MemoryMetadata::new())), "rows in memory, for tests")?;
/// # let dir = std::env::temp_dir().join(format!("cacheness-doc-register-{}", std::process::id()));
/// let cache = Cache::new(CacheConfig::new(&dir).with_backend("mine"))?;
/// # cache.close()?;
/// # std::fs::remove_dir_all(dir).ok();
/// # Ok::<(), cacheness::CacheError>(())
/// ```
///
/// # Errors
/// [`Conflict`](crate::ErrorKind::Conflict) if the name is taken; [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if it
/// is empty or that of a built-in one.
pub fn register_metadata_backend(
    name: &str,
    open: impl Fn(&BackendOptions) -> Result<Arc<dyn MetadataBackend>> + Send + Sync + 'static,
    description: &str,
) -> Result<()> {
    REGISTRY.register(name, Arc::new(open), description)
}

/// Takes the name of a metadata backend back; says whether it had one. Caches that are open keep theirs.
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if it is a built-in one.
pub fn unregister_metadata_backend(name: &str) -> Result<bool> {
    REGISTRY.unregister(name)
}

/// Opens a metadata backend by its name, for a program that wants its rows without a cache. `sled` and `json` take the
/// directory, which must be there, and which no cache may have open.
///
/// ```
/// use cacheness::backend::{BackendOptions, get_metadata_backend};
///
/// let rows = get_metadata_backend("memory", &BackendOptions::new())?;
/// assert_eq!(rows.totals()?.entries, 0);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
///
/// # Errors
/// [`Config`](crate::ErrorKind::Config) if there is no such backend, or an option is missing or wrong; those of the backend.
pub fn get_metadata_backend(name: &str, options: &BackendOptions) -> Result<Arc<dyn MetadataBackend>> {
    match name {
        SLED => {
            options.only(&[])?;
            Ok(Arc::new(SledIndex::open_alone(options.dir()?)?))
        }
        #[cfg(feature = "json")]
        JSON => {
            options.only(&[])?;
            Ok(Arc::new(JsonMetadata::open_alone(options.dir()?)?))
        }
        other => open_in(other, options),
    }
}

/// [`get_metadata_backend`] in a directory whose lock the caller holds, for all but sled, which tells more when it is opened.
pub(crate) fn open_in(name: &str, options: &BackendOptions) -> Result<Arc<dyn MetadataBackend>> {
    open_if(name, options, |_| Ok(()))
}

/// [`open_in`], for rows that `accept` has no objection to. Those behind a network are asked when their server is reached.
pub(crate) fn open_if(
    name: &str,
    options: &BackendOptions,
    accept: impl Fn(&dyn MetadataBackend) -> Result<()> + Send + Sync + 'static,
) -> Result<Arc<dyn MetadataBackend>> {
    if let Some(known) = known_beforehand(name) {
        let (name, options) = (name.to_owned(), options.clone());
        let open = move || {
            let rows = open_now(&name, &options)?;
            accept(&*rows).map(|()| rows)
        };
        return Ok(Arc::new(Guard::open(known, Box::new(open))?));
    }
    let rows = open_now(name, options)?;
    accept(&*rows)?;
    Ok(if rows.traits().waits { Arc::new(Guard::over(rows)) } else { rows })
}

/// What is known of a backend whose server may be down when it is opened.
fn known_beforehand(name: &str) -> Option<Known> {
    match name {
        #[cfg(feature = "postgresql")]
        POSTGRESQL => Some(PostgresMetadata::KNOWN),
        #[cfg(feature = "redis")]
        REDIS => Some(RedisMetadata::KNOWN),
        _ => None,
    }
}

fn open_now(name: &str, options: &BackendOptions) -> Result<Arc<dyn MetadataBackend>> {
    match name {
        MEMORY => {
            options.only(&[])?;
            Ok(Arc::new(MemoryMetadata::new()))
        }
        #[cfg(feature = "json")]
        JSON => {
            options.only(&[])?;
            Ok(Arc::new(JsonMetadata::open(options.dir()?)?))
        }
        #[cfg(feature = "postgresql")]
        POSTGRESQL => Ok(Arc::new(PostgresMetadata::open(options)?)),
        #[cfg(feature = "redis")]
        REDIS => Ok(Arc::new(RedisMetadata::open(options)?)),
        #[cfg(feature = "sqlite")]
        SQLITE => Ok(Arc::new(SqliteMetadata::open(options)?)),
        #[cfg(feature = "sqlite")]
        SQLITE_MEMORY => {
            options.only(&[])?;
            Ok(Arc::new(SqliteMetadata::in_memory()?))
        }
        other => REGISTRY.open(other, options),
    }
}

/// Which built-in backend has left rows in a directory, if one has: values may lie in them alone.
pub(crate) fn found_in(dir: &Path) -> Option<&'static str> {
    if SledIndex::is_at(dir) {
        return Some(SLED);
    }
    let files = [("index.json", JSON), ("index.sqlite3", SQLITE)];
    files.into_iter().find(|(name, _)| dir.join(name).exists()).map(|(_, backend)| backend)
}

/// The metadata backends that `metadata.backend` may name.
///
/// ```
/// let sled = &cacheness::backend::list_metadata_backends()[0];
/// assert_eq!((sled.name.as_str(), sled.builtin), ("sled", true));
/// ```
#[must_use]
pub fn list_metadata_backends() -> Vec<BackendInfo> {
    REGISTRY.list(|name| match name {
        SLED => "an embedded database in the directory of the cache; the default",
        MEMORY => "rows in memory, which end with the process",
        POSTGRESQL => "a PostgreSQL database, which many machines share",
        REDIS => "rows in the memory of a Redis server, which many machines share",
        SQLITE => "one SQLite database, which several processes share",
        SQLITE_MEMORY => "a SQLite database in memory, which ends with the process",
        _ => "one JSON file in the directory of the cache, for small caches",
    })
}

// Files of a backend in a directory.

/// Writes a small file in the place of the one that is there: on the disk when this returns, and never half of one.
fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut part = OsString::from(path);
    part.push(".part");
    remove(part.as_ref())?;
    let mut file = File::create(&part)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// What a file says, if there is one.
///
/// # Errors
/// Also if something else stands there, which reading would wait for or follow, or if it is longer than `most` bytes.
fn read_file(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    if !found.is_file() {
        return Err(io::Error::other("it is no file: remove it"));
    }
    if found.len() > most {
        return Err(io::Error::other(format!("it is {} bytes long, at most {most} are read", found.len())));
    }
    fs::read(path).map(Some)
}

/// Removes whatever is at a path, a link itself and not what it leads to.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // Some network and user-space file systems know no sync of directories.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        synced => synced,
    }
}

#[cfg(not(unix))]
fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// A path as a user knows it: where one leads through a handle of this process, what it leads to.
pub(crate) fn shown(path: &Path) -> PathBuf {
    let is_handle = |path: &&Path| path.parent().is_some_and(|dir| dir.ends_with("proc/self/fd"));
    let Some(handle) = path.ancestors().find(is_handle) else { return path.to_path_buf() };
    match (fs::read_link(handle), path.strip_prefix(handle)) {
        (Ok(dir), Ok(rest)) if rest.as_os_str().is_empty() => dir,
        (Ok(dir), Ok(rest)) => dir.join(rest),
        _ => path.to_path_buf(),
    }
}
