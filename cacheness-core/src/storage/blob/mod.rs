//! Where the bytes of values are kept: blobs under names of our own, written once and never changed.

#[cfg(any(test, feature = "testing"))]
pub(crate) mod conformance;
#[cfg(test)]
mod crash_tests;
mod filesystem;
#[cfg(feature = "objects")]
mod object;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

pub(crate) use filesystem::{FilesystemBlobs, Restore};
#[cfg(feature = "objects")]
use object::ObjectBlobs;

use super::BlobName;
use crate::clock::Timestamp;
use crate::config::backends::{self, BackendInfo, BackendOptions, Registry};
#[cfg(feature = "objects")]
use crate::config::objects::ObjectStoreKind;
use crate::config::{AZURE, Durability, FILESYSTEM, GCS, MEMORY, NativeFormat, S3};
use crate::error::{CacheError, ErrorKind, Result};

/// Blobs that are listed at a time.
const PAGE: usize = 1024;

/// A place for blobs.
///
/// A blob is written whole under a fresh [`BlobName`] and never changed afterwards. A backend keeps bytes and looks at
/// none of them: whether they are what was written is checked by those who read them.
pub trait BlobBackend: Debug + Send + Sync {
    /// The name of this kind of backend, as in a configuration file.
    fn name(&self) -> &'static str;

    /// Whether calls are round trips to another machine, and other machines may reach the same blobs. Those that no row names
    /// are then left alone where the rows are shared, too, and a second reader of one blob is no gain.
    fn is_remote(&self) -> bool {
        false
    }

    /// Writes a blob, the parts one after the other. Nobody sees a part of it without the rest.
    ///
    /// # Errors
    /// `Storage`. There is no blob of that name then.
    fn write(&self, name: &BlobName, parts: &[&[u8]], durability: Durability) -> Result<()>;

    /// [`write`](Self::write), and what the place where it lies calls these contents: the ETag, where that is S3.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn write_tagged(&self, name: &BlobName, parts: &[&[u8]], durability: Durability) -> Result<Option<String>> {
        self.write(name, parts, durability).map(|()| None)
    }

    /// Begins a blob that is written piece by piece. There is none of that name until it is
    /// [published](BlobWrite::publish); dropped before, nothing is left of it.
    ///
    /// # Errors
    /// `Storage`.
    fn create(&self, name: &BlobName) -> Result<Box<dyn BlobWrite>>;

    /// Begins a blob whose middle is a file of a format that other tools read. `head` stands before it; what is written then is
    /// the middle, until [`end_middle`](BlobWrite::end_middle). A backend of files may keep the middle in [a file of its
    /// own](Self::file_of); it is read as one blob all the same.
    ///
    /// # Errors
    /// `Storage`.
    fn create_around(&self, name: &BlobName, head: &[u8], format: NativeFormat) -> Result<Box<dyn BlobWrite>> {
        let _ = format;
        let mut blob = self.create(name)?;
        blob.write(head)?;
        Ok(blob)
    }

    /// The path of the file that has the middle of a blob and nothing else, if it has such a file.
    fn file_of(&self, name: &BlobName) -> Option<PathBuf> {
        let _ = name;
        None
    }

    /// Opens a blob for reading at any place; `None` when there is none of that name. What is open can be read to its end
    /// also when the blob is removed meanwhile; where a backend cannot promise that, reading on is an `Integrity` error.
    ///
    /// # Errors
    /// `Integrity` when something that no backend wrote has its name; `Storage`; `Config` from a backend that is not let in.
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

    /// Gives up the copy of a blob that another place has, if there is one, and says whether there was: its bytes make no sense.
    fn give_up_copy(&self, name: &BlobName) -> bool {
        let _ = name;
        false
    }

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

    /// Ends the middle of a blob that was begun by [`create_around`](BlobBackend::create_around): what is written from now on
    /// stands behind it.
    fn end_middle(&mut self) {}

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

    /// Whether the middle of the blob has a file for itself, for other tools.
    fn lies_by_itself(&self) -> bool {
        false
    }
}

/// Blobs in the memory of the process, gone with it. Clones are handles to the same blobs.
#[doc(alias = "InMemoryBlobBackend")]
#[derive(Clone, Debug, Default)]
pub struct MemoryBlobs(Arc<RwLock<BTreeMap<BlobName, Arc<[u8]>>>>);

impl MemoryBlobs {
    /// No blobs yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn get(&self, name: &BlobName) -> Option<Arc<[u8]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl BlobBackend for MemoryBlobs {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn write(&self, name: &BlobName, parts: &[&[u8]], _durability: Durability) -> Result<()> {
        let bytes = parts.concat().into();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), bytes);
        Ok(())
    }

    fn create(&self, name: &BlobName) -> Result<Box<dyn BlobWrite>> {
        Ok(Box::new(Writing { blobs: self.clone(), name: name.clone(), bytes: Vec::new() }))
    }

    fn open(&self, name: &BlobName) -> Result<Option<Box<dyn BlobRead>>> {
        Ok(self.get(name).map(|blob| Box::new(Reading(blob)) as Box<dyn BlobRead>))
    }

    fn read(&self, name: &BlobName, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(blob) = self.get(name) else { return Ok(None) };
        if blob.len() as u64 > max_bytes {
            let message = format!("blob {name} is {} bytes long, at most {max_bytes} are read", blob.len());
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        Ok(Some(blob.to_vec()))
    }

    fn remove(&self, name: &BlobName) -> Result<bool> {
        Ok(self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name).is_some())
    }

    /// Nobody could inspect it: it is removed.
    fn quarantine(&self, name: &BlobName) -> Result<()> {
        self.remove(name).map(drop)
    }

    fn page(&self, after: Option<&BlobName>, limit: usize) -> Result<Vec<BlobInfo>> {
        let blobs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let behind = blobs.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        Ok(behind.take(limit).map(|(name, blob)| BlobInfo::new(name.clone(), blob.len() as u64)).collect())
    }

    /// Memory does not survive a power cut whatever is done.
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Writing {
    blobs: MemoryBlobs,
    name: BlobName,
    bytes: Vec<u8>,
}

impl BlobWrite for Writing {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.try_reserve(bytes.len()).map_err(|error| {
            CacheError::caused_by(ErrorKind::Storage, format!("no memory for blob {}", self.name), error)
        })?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn publish(self: Box<Self>, durability: Durability) -> Result<()> {
        self.blobs.write(&self.name, &[&self.bytes], durability)
    }
}

#[derive(Debug)]
struct Reading(Arc<[u8]>);

impl BlobRead for Reading {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.0.get(start..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

// The blob backends that a configuration may name.

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
    #[cfg(feature = "objects")]
    if let Some(kind) = ObjectStoreKind::named(name) {
        return Ok(Arc::new(ObjectBlobs::open(kind, options)?));
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
        S3 => "objects in a bucket of Amazon S3, or of a store that speaks its protocol",
        GCS => "objects in a bucket of Google Cloud Storage",
        AZURE => "objects in a container of Azure Blob Storage",
        _ => "blobs in memory, which end with the process",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_blob_backend() {
        crate::storage::blob::conformance::blob_backend(&MemoryBlobs::new());
    }
}
