//! For tests of programs that use a cache, and of backends that others write.
//!
//! This module is there with the feature `testing`, which is not meant for a program's own build.

pub use crate::codec::handler::store_unproven;
pub use crate::index::conformance::{
    metadata_backend as check_metadata_backend, metadata_backend_with_faults as check_metadata_backend_with_faults,
};
pub use crate::storage::blob::conformance::blob_backend as check_blob_backend;
pub use crate::storage::vfs::{
    DirEntry, Fault, FileKind, Lie, Lock, Metadata, Owner, ReadFile, RealVfs, Repeat, SimVfs, Vfs, WriteFile,
};
