//! Where the bytes of values are kept: blobs under names of our own, written once and never changed.

use std::fmt::Debug;

use crate::{Durability, Result};

#[cfg(any(test, feature = "testing"))]
pub(crate) mod conformance;
#[cfg(test)]
mod crash_tests;
mod filesystem;
mod memory;

use crate::blob_name::BlobName;
pub(crate) use filesystem::FilesystemBlobs;
pub use memory::MemoryBlobs;

/// A place for blobs.
///
/// A blob is written whole under a fresh [`BlobName`] and never changed afterwards. A backend keeps bytes and looks at
/// none of them: whether they are what was written is checked by those who read them.
pub trait BlobBackend: Debug + Send + Sync {
    /// The name of this kind of backend, as in a configuration file.
    fn name(&self) -> &'static str;

    /// Writes a blob, the parts one after the other. Nobody sees a part of it without the rest.
    ///
    /// # Errors
    /// `Storage`. There is no blob of that name then.
    fn write(&self, name: &BlobName, parts: &[&[u8]], durability: Durability) -> Result<()>;

    /// Reads a whole blob; `None` when there is none of that name.
    ///
    /// # Errors
    /// `Limit` when it is longer than `max_bytes`, before memory is taken for it; `Integrity` when something that no
    /// backend wrote has its name; `Storage`.
    fn read(&self, name: &BlobName, max_bytes: u64) -> Result<Option<Vec<u8>>>;

    /// Reads the first `bytes` bytes of a blob, all of it when it is shorter; `None` when there is none of that name.
    ///
    /// # Errors
    /// As [`BlobBackend::read`], without `Limit`.
    fn read_start(&self, name: &BlobName, bytes: u64) -> Result<Option<Vec<u8>>>;

    /// Removes a blob, and says whether there was one.
    ///
    /// # Errors
    /// `Storage`.
    fn remove(&self, name: &BlobName) -> Result<bool>;

    /// Takes a damaged blob out of the way: keeps it for inspection while there is room for such, else removes it.
    /// There is no blob of that name afterwards.
    ///
    /// # Errors
    /// `Storage`.
    fn quarantine(&self, name: &BlobName) -> Result<()>;

    /// Visits the name of every blob, in no order, and passes over what no backend wrote. Blobs written or removed
    /// meanwhile may be visited or not.
    ///
    /// # Errors
    /// `Storage`, and what `visit` returns, which ends the walk.
    fn list(&self, visit: &mut dyn FnMut(BlobName) -> Result<()>) -> Result<()>;

    /// Makes every blob whose [`write`](BlobBackend::write) returned before this call survive a power cut.
    ///
    /// # Errors
    /// `Storage`.
    fn sync(&self) -> Result<()>;
}
