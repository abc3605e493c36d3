//! What the index knows about one value: plain data, no I/O.

mod codec;
pub(crate) mod policy;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use codec::{
    Names, behind, decode, decode_core, decode_key, decode_names, decode_times, encode, is_newer, may_begin,
};

use crate::clock::Timestamp;
use crate::config::StoredCodec;
use crate::error::{CacheError, ErrorKind, Result};
use crate::key::{Key, KeyWriter, PendingKey, ToKey};
use crate::util::digest::{self, Identity, Tag};
use crate::value::{Metadata, Value};

/// Metadata that is ours: what a bucket calls the contents of a blob.
const S3_ETAG: &str = "s3_etag";

/// What the index knows about one value of a cache: when it was stored, how large it is, how it is encoded, and what
/// was said about it at the put.
///
/// ```
/// use cacheness::Cache;
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// cache.put("answer", &42u64)?;
/// let (value, entry) = cache.get_with_metadata::<u64>("answer")?.expect("it was just stored");
/// assert_eq!(value, 42);
/// assert_eq!(entry.data_type(), "u64");
/// assert_eq!(entry.expires_at(), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq)]
pub struct Entry {
    pub(crate) key: IndexKey,
    pub(crate) core: Core,
    pub(crate) details: Details,
    /// Kept apart from the record, which a hit does not write.
    pub(crate) accessed_at: Option<Timestamp>,
    /// Of the record that it was read from, if that is signed.
    pub(crate) signature: Option<Tag>,
}

/// The part of an entry that every hit needs: of fixed size, so that reading it allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Core {
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// The time to live given at the put; what `touch` gives again.
    pub ttl: Option<Duration>,
    pub type_fingerprint: u64,
    pub shape: u64,
    /// How the handler wrote the value; its number on disk.
    pub payload_format: u8,
    pub codec: StoredCodec,
    /// Bytes before compression.
    pub raw_size: u64,
    /// Bytes after compression: what lies in the record or in the blob file.
    pub stored_size: u64,
    /// Checksum of the stored bytes.
    pub checksum: u64,
}

/// The part of an entry that listings and group operations need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Details {
    pub data_type: String,
    pub function: Option<String>,
    pub prefix: Option<String>,
    pub description: Option<String>,
    pub tags: Vec<String>,
    /// Names of the kinds of custom metadata, in the order of `rows`. Beside the tags, so that groups are known without
    /// the rest.
    pub kinds: Vec<String>,
    pub metadata: Metadata,
    /// The custom metadata itself: one row for each kind.
    pub rows: Vec<Metadata>,
    pub params: Vec<(String, Value)>,
    /// The key as text, where keys are text: in a blob store.
    pub name: Option<String>,
    /// What tells the value's content from every other, where equal contents share a blob.
    pub content: Option<Identity>,
    /// The handler that wrote the value, if it is none of the built-in ones.
    pub handler: Option<String>,
}

impl Details {
    /// The row of a kind of custom metadata.
    pub(crate) fn row(&self, kind: &str) -> Option<&Metadata> {
        self.custom().find(|(name, _)| *name == kind).map(|(_, row)| row)
    }

    /// The custom metadata, kind by kind.
    pub(crate) fn custom(&self) -> impl Iterator<Item = (&str, &Metadata)> {
        self.kinds.iter().map(String::as_str).zip(&self.rows)
    }
}

impl Core {
    /// What the header of a stream has for the sizes: they are told by its trailer.
    const OPEN: u64 = u64::MAX;

    /// Says that sizes and checksum are not known yet.
    pub(crate) fn leave_open(&mut self) {
        (self.raw_size, self.stored_size, self.checksum) = (Self::OPEN, Self::OPEN, 0);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stored_size == Self::OPEN
    }
}

/// What compression made of a value.
///
/// ```
/// use cacheness::Cache;
/// use cacheness::cache::Expired;
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::in_memory();
/// cache.put("text", &"again and again ".repeat(1000))?;
/// let info = cache.get_metadata("text", Expired::Skip)?.expect("it was just stored").compression_info();
/// assert_eq!(info.codec, "lz4");
/// assert!(info.ratio() < 0.1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompressionInfo {
    /// Name of the codec; `"none"` where the value is stored as it is.
    pub codec: &'static str,
    /// Bytes before compression.
    pub raw_size: u64,
    /// Bytes as stored.
    pub stored_size: u64,
}

impl CompressionInfo {
    /// Stored size in proportion to the size before; 1 for a value of no bytes.
    pub fn ratio(&self) -> f64 {
        if self.raw_size == 0 { 1.0 } else { self.stored_size as f64 / self.raw_size as f64 }
    }
}

impl Entry {
    /// The entry's name in listings: 16 hex digits, made from its key.
    pub fn cache_key(&self) -> String {
        self.key.to_string()
    }

    /// The key that the entry is found by: gives the value, removes it, and so on.
    ///
    /// # Errors
    /// [`Integrity`](crate::ErrorKind::Integrity) if the stored key is none; it is not the entry of any call then.
    pub fn key(&self) -> Result<Key> {
        self.key
            .key(self.cache_key_params())
            .ok_or_else(|| CacheError::new(ErrorKind::Integrity, format!("entry {} has a damaged key", self.key)))
    }

    /// When the value was stored.
    pub fn created_at(&self) -> Timestamp {
        self.core.created_at
    }

    /// When the value was last read or stored.
    #[doc(alias = "last_accessed")]
    pub fn accessed_at(&self) -> Timestamp {
        self.accessed_at.map_or(self.core.created_at, |at| at.max(self.core.created_at))
    }

    /// When the value stops being returned; `None` if never.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.core.expires_at
    }

    /// The time to live given when the value was stored.
    pub fn ttl(&self) -> Option<Duration> {
        self.core.ttl
    }

    /// Bytes that the value takes on disk, after compression.
    pub fn size(&self) -> u64 {
        self.core.stored_size
    }

    /// [`size`](Self::size) in megabytes of 1,048,576 bytes.
    pub fn size_mb(&self) -> f64 {
        self.core.stored_size as f64 / f64::from(1u32 << 20)
    }

    /// Bytes of the encoded value before compression.
    pub fn raw_size(&self) -> u64 {
        self.core.raw_size
    }

    /// How the value was compressed: `"none"`, `"lz4"`, `"zstd"`, `"gzip"` or `"blosclz"`.
    pub fn codec(&self) -> &'static str {
        self.core.codec.name()
    }

    /// What compression made of the value.
    pub fn compression_info(&self) -> CompressionInfo {
        CompressionInfo { codec: self.codec(), raw_size: self.core.raw_size, stored_size: self.core.stored_size }
    }

    /// XXH3-64 of the stored bytes.
    pub fn file_hash(&self) -> u64 {
        self.core.checksum
    }

    /// Name of the stored type, as the compiler writes it.
    pub fn data_type(&self) -> &str {
        &self.details.data_type
    }

    /// The function whose result this is, if an attribute stored it.
    pub fn function(&self) -> Option<&str> {
        self.details.function.as_deref()
    }

    /// The prefix it was stored under.
    pub fn prefix(&self) -> Option<&str> {
        self.details.prefix.as_deref()
    }

    /// The key it was stored under, of an entry of a [`BlobStore`](crate::BlobStore).
    pub fn name(&self) -> Option<&str> {
        self.details.name.as_deref()
    }

    /// What was said about it at the put.
    pub fn description(&self) -> Option<&str> {
        self.details.description.as_deref()
    }

    /// The groups it belongs to.
    pub fn tags(&self) -> &[String] {
        &self.details.tags
    }

    /// The ETag of the value's object, where that is in a bucket of S3: what the store calls its contents. It is among the
    /// [metadata](Self::metadata), too, by the name `s3_etag`, so that entries can be found by it. None for values that are
    /// small enough to lie in the index, and where the index was made anew from the bucket.
    pub fn s3_etag(&self) -> Option<&str> {
        match self.details.metadata.get(S3_ETAG) {
            Some(Value::Text(tag)) => Some(tag),
            _ => None,
        }
    }

    pub(crate) fn with_s3_etag(mut self, tag: Option<String>) -> Self {
        match tag {
            Some(tag) => self.details.metadata.insert(S3_ETAG.to_owned(), Value::Text(tag)),
            None => self.details.metadata.remove(S3_ETAG),
        };
        self
    }

    /// The signature of the entry, 64 hex digits; `None` where entries are not signed
    /// ([`security.signing`](crate::SecurityConfig::signing)). It covers the key, all that the entry tells and the value, or
    /// the checksum and the place of a value in a file, which has a signature of its own. An entry whose signature is not
    /// valid is not returned, so that this one is.
    pub fn entry_signature(&self) -> Option<String> {
        self.signature.map(|tag| digest::hex(&tag))
    }

    /// The user's metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.details.metadata
    }

    /// The custom metadata, as the names of its kinds with a row each. [`custom`](Self::custom) reads one as its type.
    pub fn custom_metadata(&self) -> impl Iterator<Item = (&str, &Metadata)> {
        self.details.custom()
    }

    /// The named parameters of its key, if the key was made by [`params!`](crate::params), or the arguments of the cached
    /// function whose result it is; empty if the configuration does not keep them. See
    /// [`Key::params`](crate::Key::params) for the form that values have.
    pub fn cache_key_params(&self) -> &[(String, Value)] {
        &self.details.params
    }
}

/// An entry is as good as its key.
impl ToKey for Entry {
    fn to_key_with(&self, mut writer: KeyWriter) -> PendingKey {
        match self.key() {
            Ok(key) => key.to_key_with(writer),
            Err(error) => {
                writer.fail(error);
                writer.finish()
            }
        }
    }
}

impl ToKey for &Entry {
    fn to_key_with(&self, writer: KeyWriter) -> PendingKey {
        (**self).to_key_with(writer)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("cache_key", &self.cache_key())
            .field("created_at", &self.core.created_at)
            .field("expires_at", &self.core.expires_at)
            .field("size", &self.core.stored_size)
            .field("details", &self.details)
            .finish_non_exhaustive()
    }
}

/// How an entry is found in the index: the hash of its key (8 bytes, big endian), then the key's identity.
///
/// Two keys with one hash have different identities, so they lie side by side, and a lookup that finds a record has
/// compared the key itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct IndexKey(Arc<[u8]>);

const HASH_LEN: usize = 8;

/// The longest text that is a key of a blob store, in bytes of UTF-8.
pub(crate) const MAX_TEXT_BYTES: usize = 1024;

/// How much of a text that is too long an error shows.
const SHOWN: usize = 40;

impl Entry {
    /// Notes the content of a stream, which is only known at its end, and makes a key of it if the entry has none.
    pub(crate) fn set_content(&mut self, content: Identity) -> Result<()> {
        self.details.content = Some(content);
        if self.details.name.is_none() {
            let name = digest::hex(&content);
            self.key = IndexKey::of_text(&name)?;
            self.details.name = Some(name);
        }
        Ok(())
    }
}

impl IndexKey {
    pub(crate) fn of(key: &Key) -> Self {
        let identity = key.identity();
        let mut bytes = Vec::with_capacity(HASH_LEN + identity.len());
        bytes.extend_from_slice(&key.hash().to_be_bytes());
        bytes.extend_from_slice(identity);
        Self(bytes.into())
    }

    /// The key of a blob store: any text, kept exactly, never a path.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if the text is empty, [`Limit`](ErrorKind::Limit) if it is too long.
    pub(crate) fn of_text(text: &str) -> Result<Self> {
        if text.is_empty() {
            let message = "the key is empty: name the entry, or leave the key out to have one made";
            return Err(CacheError::new(ErrorKind::InvalidArgument, message));
        }
        if text.len() > MAX_TEXT_BYTES {
            let (shown, len): (String, _) = (text.chars().take(SHOWN).collect(), text.len());
            let message =
                format!("the key {shown:?}… is {len} bytes long, a blob store takes keys of up to {MAX_TEXT_BYTES}");
            return Err(CacheError::new(ErrorKind::Limit, message));
        }
        Ok(Self::of(&text.to_key()?))
    }

    /// Takes bytes that an index or a blob header gave back.
    ///
    /// # Errors
    /// [`Integrity`](ErrorKind::Integrity) if they are too short to be a key.
    pub(crate) fn from_stored(bytes: &[u8]) -> Result<Self> {
        if bytes.len() <= HASH_LEN { Err(too_short()) } else { Ok(Self(bytes.into())) }
    }

    /// A bound that sorts before every key.
    pub(crate) fn before_all() -> Self {
        Self(Arc::from([].as_slice()))
    }

    /// [`from_stored`](Self::from_stored) without a copy.
    pub(crate) fn from_shared(bytes: Arc<[u8]>) -> Result<Self> {
        if bytes.len() <= HASH_LEN { Err(too_short()) } else { Ok(Self(bytes)) }
    }

    pub(crate) fn into_shared(self) -> Arc<[u8]> {
        self.0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What tells the key from every other one; see [`Key::identity`].
    pub(crate) fn identity(&self) -> &[u8] {
        self.0.get(HASH_LEN..).unwrap_or_default()
    }

    /// The key that it is made of; `None` if the bytes are those of none.
    pub(crate) fn key(&self, params: &[(String, Value)]) -> Option<Key> {
        Key::from_stored(self.hash(), self.identity(), params)
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0.iter().take(HASH_LEN).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
    }
}

fn too_short() -> CacheError {
    CacheError::new(ErrorKind::Integrity, "an index key is too short")
}

impl fmt::Display for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.hash())
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexKey({self})")
    }
}

/// Entries for tests, all alike but for what a test asks for.
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::unwrap_used, reason = "a failing check is to panic")]
pub(crate) mod sample {
    use std::time::Duration;

    use crate::clock::Timestamp;
    use crate::config::StoredCodec;
    use crate::entry::{Core, Details, Entry, IndexKey};
    use crate::key::ToKey;

    /// Of a value of no bytes.
    pub(crate) fn core(created_at: Timestamp, ttl: Option<Duration>) -> Core {
        Core {
            created_at,
            expires_at: ttl.map(|ttl| created_at.after(ttl)),
            ttl,
            type_fingerprint: 1,
            shape: 2,
            payload_format: 1,
            codec: StoredCodec::None,
            raw_size: 0,
            stored_size: 0,
            checksum: 0,
        }
    }

    pub(crate) fn entry(key: &str) -> Entry {
        let key = IndexKey::of(&key.to_key().unwrap());
        Entry {
            key,
            core: core(Timestamp::from_micros(1), None),
            details: Details::default(),
            accessed_at: None,
            signature: None,
        }
    }
}
