//! Storage of values without time to live or eviction: what is put stays until it is deleted.

mod engine;
mod open;
#[cfg(test)]
mod tests;
mod values;
mod verify;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::codec::handler::Storable;
use crate::entry::{Entry, IndexKey, MAX_TEXT_BYTES};
use crate::error::Result;
use crate::query::Filter;
use crate::value::Metadata;

pub use open::{BlobOptions, BlobStoreBuilder};
pub use values::{BlobReader, BlobWriter};
pub use verify::{IntegrityReport, Repair, VerifyReport};

use engine::{Encoding, Engine};

/// A store of values under text keys: models, artifacts, checkpoints. Nothing expires and nothing is evicted, and with
/// the default [`Durability::Immediate`](crate::Durability::Immediate) a put that returned survives a power cut.
///
/// A handle is cheap to clone and can be shared between threads. The store closes when its last handle is dropped (a
/// [`BlobWriter`] counts as one), by [`close`](Self::close), and at the normal end of the process. A directory is open
/// in one store at a time: opening it again, in this process or another, is [`Locked`](crate::ErrorKind::Locked).
///
/// # Keys
///
/// A key is any text of 1 to 1024 bytes of UTF-8, kept exactly: `a/b`, `v1.0` and `v1.1` are three entries. It never
/// becomes a path.
///
/// # Values
///
/// A value is any [`Storable`] type and is read back as the same type. A `Vec<u8>` is stored as the bytes it is, however
/// it came in: what was put by [`put_with`](Self::put_with) can be read by [`reader`](Self::reader), and what was written
/// by [`writer`](Self::writer) can be had whole by `get::<Vec<u8>>`.
///
/// Damage is an error of the kind [`Integrity`](crate::ErrorKind::Integrity), never a wrong value and not the same as
/// there being none; [`verify`](Self::verify) finds all of it.
///
/// ```
/// use cacheness::{BlobOptions, BlobStore};
///
/// # fn main() -> cacheness::Result<()> {
/// let store = BlobStore::in_memory();
/// let weights = vec![0.25, 0.5, 0.75];
/// store.put_with(BlobOptions::key("model/v1.0").metadata("accuracy", 0.95), &weights)?;
/// assert_eq!(store.get::<Vec<f64>>("model/v1.0")?, Some(weights));
/// assert_eq!(store.list("model/")?, ["model/v1.0"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BlobStore(Arc<Engine>);

impl BlobStore {
    /// The longest key, in bytes of UTF-8.
    pub const MAX_KEY_BYTES: usize = MAX_TEXT_BYTES;

    /// Opens the store in a directory, with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    /// As [`BlobStoreBuilder::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::builder().dir(dir.as_ref()).open()
    }

    /// A store that lives and dies with the process.
    pub fn in_memory() -> Self {
        Self::builder().in_memory()
    }

    /// A store with other settings than the defaults.
    pub fn builder() -> BlobStoreBuilder {
        BlobStoreBuilder::new()
    }

    fn over(engine: Arc<Engine>) -> Self {
        Self(engine)
    }

    fn engine(&self) -> Result<&Arc<Engine>> {
        self.0.check_open()?;
        Ok(&self.0)
    }

    /// Stores a value under a key of its own, and returns that: 32 hex digits that no other entry has, or 64 that are
    /// made of the content if the store is [`content_addressable`](BlobStoreBuilder::content_addressable) (of a
    /// `Vec<u8>`, the BLAKE3 of its bytes).
    ///
    /// # Errors
    /// As [`put_with`](Self::put_with).
    pub fn put<T: Storable>(&self, value: &T) -> Result<String> {
        self.put_with(BlobOptions::new(), value)
    }

    /// Stores a value under the key of the options, in the place of what was there, and returns the key. Options may be
    /// the key alone.
    ///
    /// # Errors
    /// [`Serialization`](crate::ErrorKind::Serialization) if the value does not serialise or would not read back;
    /// [`Limit`](crate::ErrorKind::Limit) if key, value or metadata are over a limit;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the key is empty; [`Storage`](crate::ErrorKind::Storage),
    /// [`Metadata`](crate::ErrorKind::Metadata), [`Closed`](crate::ErrorKind::Closed). What was stored under the key
    /// before is then still there, or the new value where only the last step failed, which brings it to the disk.
    pub fn put_with<T: Storable>(&self, options: impl Into<BlobOptions>, value: &T) -> Result<String> {
        self.engine()?.put(value, options.into()).map(key_of)
    }

    /// The value under a key; `None` if there is none.
    ///
    /// # Errors
    /// [`Serialization`](crate::ErrorKind::Serialization) if a value of another type, or of another version of the type,
    /// was put under the key; [`Integrity`](crate::ErrorKind::Integrity) if it is damaged or its blob is gone;
    /// [`Storage`](crate::ErrorKind::Storage), [`Metadata`](crate::ErrorKind::Metadata),
    /// [`Closed`](crate::ErrorKind::Closed); what is said of the [key](Self#keys).
    pub fn get<T: Storable>(&self, key: &str) -> Result<Option<T>> {
        self.engine()?.get(key)
    }

    /// Begins to write bytes under the key of the options, however many: at most 1 MiB of them is in memory, where blobs
    /// are in files. They are stored when the writer is [committed](BlobWriter::commit).
    ///
    /// They are not compressed: what is that large is mostly compressed already, and the reader finds any place in them
    /// at once.
    ///
    /// ```
    /// use std::io::{Read, Seek, SeekFrom, Write};
    ///
    /// use cacheness::BlobStore;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = BlobStore::in_memory();
    /// let mut writer = store.writer("log")?;
    /// (0..1000).try_for_each(|line| writeln!(writer, "line {line:03}"))?;
    /// writer.commit()?;
    ///
    /// let mut reader = store.reader("log")?.expect("it was just written");
    /// reader.seek(SeekFrom::Start(9 * 500))?;
    /// let mut line = [0; 8];
    /// reader.read_exact(&mut line)?;
    /// assert_eq!(&line, b"line 500");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`put_with`](Self::put_with).
    pub fn writer(&self, options: impl Into<BlobOptions>) -> Result<BlobWriter> {
        let engine = self.engine()?;
        let entry = engine.draft(options.into(), &Encoding::of_bytes(), None)?;
        BlobWriter::begin(Arc::clone(engine), entry)
    }

    /// Opens the bytes under a key for reading from any place; `None` if there is no such entry. At most 1 MiB of them is
    /// in memory, unless they were put in one piece and are compressed.
    ///
    /// # Errors
    /// [`Serialization`](crate::ErrorKind::Serialization) if the value is of another type than `Vec<u8>`; else as
    /// [`get`](Self::get). Damage beyond the ends of a stream is found when it is read.
    pub fn reader(&self, key: &str) -> Result<Option<BlobReader>> {
        self.engine()?.reader(key)
    }

    /// The entry of a key, without its value; `None` if there is none.
    ///
    /// # Errors
    /// [`Metadata`](crate::ErrorKind::Metadata), [`Closed`](crate::ErrorKind::Closed); what is said of the
    /// [key](Self#keys).
    pub fn get_metadata(&self, key: &str) -> Result<Option<Entry>> {
        self.engine()?.entry(&IndexKey::of_text(key)?)
    }

    /// Puts these values into the metadata of an entry; others that it has stay, and so does everything else. Says
    /// whether there is such an entry.
    ///
    /// ```
    /// use cacheness::{BlobOptions, BlobStore, Metadata};
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let store = BlobStore::in_memory();
    /// store.put_with(BlobOptions::key("model").metadata("epochs", 10).metadata("stage", "test"), &1u8)?;
    /// assert!(store.update_metadata("model", &Metadata::from([("stage".into(), "live".into())]))?);
    /// let entry = store.get_metadata("model")?.expect("it was just put");
    /// assert_eq!((&entry.metadata()["epochs"], &entry.metadata()["stage"]), (&10.into(), &"live".into()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Limit`](crate::ErrorKind::Limit) if the metadata gets too large, and nothing of it has changed then;
    /// [`Storage`](crate::ErrorKind::Storage); else as [`get_metadata`](Self::get_metadata).
    pub fn update_metadata(&self, key: &str, metadata: &Metadata) -> Result<bool> {
        self.engine()?.update_metadata(&IndexKey::of_text(key)?, metadata)
    }

    /// Removes the entry of a key; says whether there was one.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage); else as [`get_metadata`](Self::get_metadata).
    pub fn delete(&self, key: &str) -> Result<bool> {
        self.engine()?.remove(&IndexKey::of_text(key)?)
    }

    /// Whether there is an entry of this key. Its value is not looked at.
    ///
    /// # Errors
    /// As [`get_metadata`](Self::get_metadata).
    pub fn exists(&self, key: &str) -> Result<bool> {
        self.get_metadata(key).map(|entry| entry.is_some())
    }

    /// The keys that begin with `prefix`, in the order of their bytes; with an empty one, all keys. Looks at every entry
    /// of the store.
    ///
    /// # Errors
    /// [`Metadata`](crate::ErrorKind::Metadata), [`Closed`](crate::ErrorKind::Closed).
    pub fn list(&self, prefix: &str) -> Result<Vec<String>> {
        Ok(self.list_entries(prefix)?.into_iter().map(key_of).collect())
    }

    /// The keys that begin with `prefix` of entries that a filter lets through, in the order of their bytes.
    ///
    /// ```
    /// use cacheness::{BlobOptions, BlobStore, Field};
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let store = BlobStore::in_memory();
    /// for (key, accuracy) in [("model/a", 0.91), ("model/b", 0.85), ("model/c", 0.97)] {
    ///     store.put_with(BlobOptions::key(key).metadata("accuracy", accuracy), &key.to_owned())?;
    /// }
    /// let good = Field::metadata("accuracy").ge(0.9);
    /// assert_eq!(store.list_matching("model/", &good)?, ["model/a", "model/c"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`list`](Self::list).
    #[doc(alias = "metadata_filter")]
    pub fn list_matching(&self, prefix: &str, filter: &Filter) -> Result<Vec<String>> {
        Ok(self.entries(prefix, |entry| filter.matches(entry))?.into_iter().map(key_of).collect())
    }

    /// The entries whose keys begin with `prefix`, in the order of the keys' bytes, without their values.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn list_entries(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.entries(prefix, |_| true)
    }

    fn entries(&self, prefix: &str, takes: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        self.engine()?.each_page(|page| {
            for (_, record) in page.iter().filter(|(_, record)| record.is_believed()) {
                let entry = record.entry()?;
                if entry.name().is_some_and(|name| name.starts_with(prefix)) && takes(&entry) {
                    found.push(entry);
                }
            }
            Ok(())
        })?;
        found.sort_by(|one, other| one.name().cmp(&other.name()));
        Ok(found)
    }

    /// Compares the blob of a key with what was put; `None` if there is no such entry. Reads all of it, in pieces.
    ///
    /// # Errors
    /// As [`delete`](Self::delete). Damage is no error here: it is in the report.
    pub fn verify_integrity(&self, key: &str) -> Result<Option<IntegrityReport>> {
        self.engine()?.verify_integrity(&IndexKey::of_text(key)?)
    }

    /// Compares every blob with what was put, and looks for blobs that no entry refers to. Others may use the store
    /// meanwhile.
    ///
    /// ```
    /// use cacheness::BlobStore;
    /// use cacheness::blob::Repair;
    ///
    /// # fn main() -> cacheness::Result<()> {
    /// let store = BlobStore::in_memory();
    /// store.put_with("bytes", &vec![1u8, 2, 3])?;
    /// let report = store.verify(Repair::Yes)?;
    /// assert!(report.is_whole());
    /// assert_eq!(report.checked, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage), [`Metadata`](crate::ErrorKind::Metadata),
    /// [`Closed`](crate::ErrorKind::Closed). Damage is no error here: it is in the report.
    pub fn verify(&self, repair: Repair) -> Result<VerifyReport> {
        self.engine()?.verify(repair)
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    pub fn len(&self) -> Result<u64> {
        Ok(self.engine()?.store().index().totals()?.entries)
    }

    /// Whether there is no entry.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Removes every entry; returns how many there were. Files that the store did not write stay.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn clear(&self) -> Result<u64> {
        self.engine()?.clear()
    }

    /// The directory of the store; `None` if it is in memory.
    pub fn directory(&self) -> Option<&Path> {
        self.0.store().root()
    }

    /// Brings everything that was put to the disk. With the default durability it is there already.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn flush(&self) -> Result<()> {
        self.engine()?.store().flush()
    }

    /// Closes the store, also for clones of this handle: everything is brought to the disk, and the directory is free.
    /// Later calls fail with [`Closed`](crate::ErrorKind::Closed); closing again is nothing. A reader that is open may
    /// read on.
    ///
    /// # Errors
    /// [`Storage`](crate::ErrorKind::Storage) or [`Metadata`](crate::ErrorKind::Metadata) if something could not be
    /// written.
    pub fn close(&self) -> Result<()> {
        self.0.shut()
    }
}

impl fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStore").field("directory", &self.directory()).finish_non_exhaustive()
    }
}

/// The key of an entry that the store made: it has one.
fn key_of(entry: Entry) -> String {
    entry.details.name.unwrap_or_default()
}
