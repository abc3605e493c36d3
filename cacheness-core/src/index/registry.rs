//! The metadata backends that a configuration may name.

use std::path::Path;
use std::sync::Arc;

use super::backend::MetadataBackend;
#[cfg(feature = "json")]
use super::json::JsonMetadata;
use super::memory::MemoryMetadata;
use super::sled::SledIndex;
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteMetadata;
use crate::config::backends::{self, BackendInfo, BackendOptions, Registry};
use crate::config::{JSON, MEMORY, SLED, SQLITE, SQLITE_MEMORY};
use crate::error::Result;

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
        SQLITE => "one SQLite database, which several processes share",
        SQLITE_MEMORY => "a SQLite database in memory, which ends with the process",
        _ => "one JSON file in the directory of the cache, for small caches",
    })
}
