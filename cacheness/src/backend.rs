//! Where entries and values are kept: the two seams that a backend implements, and the registries that name them.
//!
//! A [`MetadataBackend`] keeps a row of bytes for each entry, with the [`Facts`] that decide where it stands in the orders;
//! it decodes, checks and signs nothing. A [`BlobBackend`] keeps the bytes of values under [names](BlobName) and looks at
//! none of them. A configuration chooses both by name
//! ([`metadata.backend`](crate::config::CacheMetadataConfig::backend), [`blob.backend`](crate::config::CacheBlobConfig::backend)):
//! one of the built-in ones, or one that was [registered](register_metadata_backend).
//!
//! ```
//! use std::sync::Arc;
//!
//! use cacheness::backend::{MemoryBlobs, list_blob_backends, register_blob_backend};
//! use cacheness::{Cache, CacheConfig};
//!
//! # fn main() -> cacheness::Result<()> {
//! let blobs = MemoryBlobs::new();
//! let mine = blobs.clone();
//! register_blob_backend("mine", move |_options| Ok(Arc::new(mine.clone())), "one of mine")?;
//! assert!(list_blob_backends().iter().any(|info| info.name == "mine" && !info.builtin));
//!
//! # let dir = std::env::temp_dir().join(format!("cacheness-doc-backend-{}", std::process::id()));
//! let cache = Cache::new(CacheConfig::new(&dir).with_blob_backend("mine"))?;
//! cache.put("large", &vec![7u8; 100_000])?;
//! assert_eq!(cache.get::<Vec<u8>>("large")?, Some(vec![7; 100_000]));
//! # cache.close()?;
//! # std::fs::remove_dir_all(dir).ok();
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `testing` a backend is checked by `cacheness::testing::check_metadata_backend` and
//! `cacheness::testing::check_blob_backend`; `examples/own_backend.rs` is a whole one.

pub use cacheness_core::{
    Applied, BackendInfo, BackendOptions, BlobBackend, BlobInfo, BlobName, BlobRead, BlobWrite, Change, Changes,
    CustomRow, Expected, Facts, MemoryBlobs, MemoryMetadata, MetadataBackend, OptionValue, Row, Scan, Swap, Totals,
    Traits, get_blob_backend, get_metadata_backend, list_blob_backends, list_metadata_backends, register_blob_backend,
    register_metadata_backend, unregister_blob_backend, unregister_metadata_backend,
};
