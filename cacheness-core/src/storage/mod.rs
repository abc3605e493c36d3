//! Files, and the blobs that lie in them: a file system that can be simulated, and the backends of blobs above it.

pub(crate) mod blob;
pub(crate) mod blob_name;
pub(crate) mod vfs;
