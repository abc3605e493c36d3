//! Where the bytes of values are kept: blobs under names of our own, written once and never changed.

use std::collections::HashSet;
use std::fmt::Debug;

use crate::clock::Timestamp;
use crate::config::Durability;
use crate::error::Result;

#[cfg(any(test, feature = "testing"))]
pub(crate) mod conformance;
#[cfg(test)]
mod crash_tests;
mod filesystem;
mod memory;
pub(crate) mod registry;

use crate::storage::blob_name::BlobName;
pub(crate) use filesystem::{FilesystemBlobs, Restore};
pub use memory::MemoryBlobs;

/// Blobs that are listed at a time.
const PAGE: usize = 1024;

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

    /// Begins a blob that is written piece by piece. There is none of that name until it is
    /// [published](BlobWrite::publish); dropped before, nothing is left of it.
    ///
    /// # Errors
    /// `Storage`.
    fn create(&self, name: &BlobName) -> Result<Box<dyn BlobWrite>>;

    /// Opens a blob for reading at any place; `None` when there is none of that name. What is open can be read to its end
    /// also when the blob is removed meanwhile.
    ///
    /// # Errors
    /// `Integrity` when something that no backend wrote has its name; `Storage`.
    fn open(&self, name: &BlobName) -> Result<Option<Box<dyn BlobRead>>>;

    /// Reads a whole blob; `None` when there is none of that name.
    ///
    /// # Errors
    /// `Limit` when it is longer than `max_bytes`, before memory is taken for it; `Integrity` when something that no
    /// backend wrote has its name; `Storage`.
    fn read(&self, name: &BlobName, max_bytes: u64) -> Result<Option<Vec<u8>>>;

    /// Reads the `len` bytes of a blob from `offset` on, fewer where it ends before; `None` when there is none of that name.
    ///
    /// # Errors
    /// As [`BlobBackend::read`], without `Limit`.
    fn read_range(&self, name: &BlobName, offset: u64, len: u64) -> Result<Option<Vec<u8>>> {
        let Some(mut blob) = self.open(name)? else { return Ok(None) };
        let len = usize::try_from(len.min(blob.len().saturating_sub(offset))).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        blob.append_to(offset, len, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Removes a blob, and says whether there was one.
    ///
    /// # Errors
    /// `Storage`.
    fn remove(&self, name: &BlobName) -> Result<bool>;

    /// Removes many blobs, and says how many of them there were. Where each removal is a round trip, remove all at once.
    ///
    /// # Errors
    /// `Storage`: some of them may be removed.
    fn remove_many(&self, names: &[BlobName]) -> Result<u64> {
        names.iter().try_fold(0, |removed, name| Ok(removed + u64::from(self.remove(name)?)))
    }

    /// Takes a damaged blob out of the way: keeps it for inspection while there is room for such, else removes it.
    /// There is no blob of that name afterwards.
    ///
    /// # Errors
    /// `Storage`.
    fn quarantine(&self, name: &BlobName) -> Result<()>;

    /// The next blobs in the order of their names, `limit` at most and fewer only at the end, behind `after`. What no backend
    /// wrote is passed over. Blobs written or removed meanwhile may be there or not.
    ///
    /// # Errors
    /// `Storage`.
    fn page(&self, after: Option<&BlobName>, limit: usize) -> Result<Vec<BlobInfo>>;

    /// Makes every blob whose [`write`](BlobBackend::write) returned before this call survive a power cut.
    ///
    /// # Errors
    /// `Storage`.
    fn sync(&self) -> Result<()>;

    /// Takes away what holds no blob any more, such as empty directories: called when the cache is closed. A backend that
    /// has nothing of the kind does nothing.
    fn tidy(&self) {}
}

/// What a [page](BlobBackend::page) tells of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobInfo {
    /// Its name.
    pub name: BlobName,
    /// Its length in bytes.
    pub len: u64,
    /// When it was written, where that is known.
    pub written_at: Option<Timestamp>,
}

impl BlobInfo {
    /// A blob of which it is not known when it was written.
    #[must_use]
    pub fn new(name: BlobName, len: u64) -> Self {
        Self { name, len, written_at: None }
    }

    /// Says when it was written.
    #[must_use]
    pub fn written_at(self, at: Timestamp) -> Self {
        Self { written_at: Some(at), ..self }
    }
}

/// The names of all blobs.
pub(crate) fn all_names(blobs: &dyn BlobBackend) -> Result<HashSet<BlobName>> {
    let mut names = HashSet::new();
    let mut after: Option<BlobName> = None;
    loop {
        let page = blobs.page(after.as_ref(), PAGE)?;
        let at_the_end = page.len() < PAGE;
        after = page.last().map(|blob| blob.name.clone());
        names.extend(page.into_iter().map(|blob| blob.name));
        if at_the_end {
            return Ok(names);
        }
    }
}

/// A blob being written. Memory does not grow with what was written, where the backend keeps blobs elsewhere.
pub trait BlobWrite: Debug + Send {
    /// Appends to the blob. After an error it can only be dropped.
    ///
    /// # Errors
    /// `Storage`.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Lets the blob appear, whole.
    ///
    /// # Errors
    /// `Storage`. There is no blob of that name then.
    fn publish(self: Box<Self>, durability: Durability) -> Result<()>;
}

/// A blob open for reading.
#[allow(clippy::len_without_is_empty, reason = "the length of a blob that is read, not of a collection")]
pub trait BlobRead: Debug + Send {
    /// Its length in bytes when it was opened.
    fn len(&self) -> u64;

    /// Fills `buf` with the bytes from `offset` on, and says how many there were: fewer only where the blob ends.
    ///
    /// # Errors
    /// `Storage`.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Appends up to `len` bytes from `offset` on to `bytes`, fewer only where the blob ends. A backend that can do so
    /// without writing zeros first saves a pass over memory.
    ///
    /// # Errors
    /// `Storage`.
    fn append_to(&mut self, offset: u64, len: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let filled = bytes.len();
        bytes.resize(filled + len, 0);
        let read = self.read_at(offset, &mut bytes[filled..])?;
        bytes.truncate(filled + read.min(len));
        Ok(())
    }
}
