//! For tests of programs that use a cache, and of backends that others write.
//!
//! [`isolated`] and its like are always there: each test has a default cache of its own. The rest comes with the feature
//! `testing`, which is not meant for a program's own build.

#[cfg(feature = "testing")]
pub use crate::codec::handler::store_unproven;
pub use crate::function::default::{Isolated, isolated, isolated_async, isolated_async_with, isolated_with};
#[cfg(feature = "testing")]
pub use crate::index::conformance::{
    metadata_backend as check_metadata_backend, metadata_backend_with_faults as check_metadata_backend_with_faults,
};
#[cfg(feature = "testing")]
pub use crate::storage::blob::conformance::blob_backend as check_blob_backend;
#[cfg(feature = "testing")]
pub use crate::storage::vfs::{
    DirEntry, Fault, FileKind, Lie, Lock, Metadata, Owner, ReadFile, RealVfs, Repeat, SimVfs, Vfs, WriteFile,
};
