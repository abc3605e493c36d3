//! The blob backends that a configuration may name.

use std::sync::Arc;

use super::{BlobBackend, FilesystemBlobs, MemoryBlobs};
use crate::config::backends::{self, BackendInfo, BackendOptions, Registry};
use crate::config::{FILESYSTEM, MEMORY};
use crate::error::Result;

static REGISTRY: Registry<dyn BlobBackend> = Registry::new(&backends::BLOB);

/// Gives a blob backend a name, by which `blob.backend` may choose it from now on. `open` gets the directory of the cache
/// and `blob.options`. What it opens belongs to one cache: blobs that no entry of that names are removed.
///
/// # Errors
/// [`Conflict`](crate::ErrorKind::Conflict) if the name is taken; [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if it
/// is empty or that of a built-in one.
pub fn register_blob_backend(
    name: &str,
    open: impl Fn(&BackendOptions) -> Result<Arc<dyn BlobBackend>> + Send + Sync + 'static,
    description: &str,
) -> Result<()> {
    REGISTRY.register(name, Arc::new(open), description)
}

/// Takes the name of a blob backend back; says whether it had one. Caches that are open keep theirs.
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if it is a built-in one.
pub fn unregister_blob_backend(name: &str) -> Result<bool> {
    REGISTRY.unregister(name)
}

/// Opens a blob backend by its name, for a program that wants its blobs without a cache. `filesystem` takes the directory,
/// which is made, and which no cache may have open.
///
/// ```
/// use cacheness::backend::{BackendOptions, BlobName, get_blob_backend};
/// use cacheness::config::Durability;
///
/// let blobs = get_blob_backend("memory", &BackendOptions::new())?;
/// let name = BlobName::unique();
/// blobs.write(&name, &[b"one", b"two"], Durability::Interval)?;
/// assert_eq!(blobs.read_range(&name, 3, 3)?.as_deref(), Some(&b"two"[..]));
/// # Ok::<(), cacheness::CacheError>(())
/// ```
///
/// # Errors
/// [`Config`](crate::ErrorKind::Config) if there is no such backend, or an option is missing or wrong; those of the backend.
pub fn get_blob_backend(name: &str, options: &BackendOptions) -> Result<Arc<dyn BlobBackend>> {
    if name == FILESYSTEM {
        options.only(&[])?;
        return Ok(Arc::new(FilesystemBlobs::open_alone(options.dir()?)?));
    }
    open_in(name, options)
}

/// [`get_blob_backend`] for all but files.
pub(crate) fn open_in(name: &str, options: &BackendOptions) -> Result<Arc<dyn BlobBackend>> {
    if name == MEMORY {
        options.only(&[])?;
        return Ok(Arc::new(MemoryBlobs::new()));
    }
    REGISTRY.open(name, options)
}

/// The blob backends that `blob.backend` may name.
///
/// ```
/// let names: Vec<_> = cacheness::backend::list_blob_backends().into_iter().map(|info| info.name).collect();
/// assert!(names.contains(&"filesystem".to_owned()));
/// ```
#[must_use]
pub fn list_blob_backends() -> Vec<BackendInfo> {
    REGISTRY.list(|name| match name {
        FILESYSTEM => "files in the directory of the cache; the default",
        _ => "blobs in memory, which end with the process",
    })
}
