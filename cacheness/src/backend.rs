//! Where values are kept: what a backend implements.
//!
//! A [`BlobBackend`] keeps bytes under [names](BlobName) and looks at none of them. [`MemoryBlobs`] is one; a cache and
//! a blob store choose theirs by name ([`CacheBlobConfig::backend`](crate::config::CacheBlobConfig::backend)). With the
//! feature `testing` a backend is checked by `cacheness::testing::check_blob_backend`.

pub use cacheness_core::{BlobBackend, BlobName, BlobRead, BlobWrite, MemoryBlobs};
