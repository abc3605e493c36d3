//! The parts of a configuration, the largest things that a cache accepts, and choices that are one word.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConnectionUrl;
use super::backends::{OptionValue, Shown};
use super::native::NativeFormat;
use crate::security::SigningKey;

/// Where entries are stored, how much of them, and when they reach the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheStorageConfig {
    /// Directory of the cache, made if it is not there. Default `./cache`. Not used if index and values are in memory.
    pub cache_dir: PathBuf,
    /// Size of all stored entries in MB of 1024 × 1024 bytes, at least 1. When they grow past it, the least recently
    /// used go until the rest fills 80 % of it. Default 10000.
    pub max_cache_size_mb: u64,
    /// Whether opening the cache removes expired entries. Default false.
    pub cleanup_on_init: bool,
    /// Values that take up to this many bytes as stored (after compression) live inside the index, without a file of
    /// their own; 0 gives each a file. At most 65536: the index is not made for large records. Default 4096. Not used
    /// with an index in memory and values in files, where each has a file.
    pub inline_bytes: u64,
    /// With [`Durability::Interval`](crate::Durability::Interval), how long a put waits at most before it is written to
    /// the disk, in milliseconds from 1 to 60000. Default 500.
    #[serde(deserialize_with = "super::duration::millis")]
    pub flush_interval_ms: u64,
}

impl Default for CacheStorageConfig {
    fn default() -> Self {
        Self {
            cache_dir: PathBuf::from("./cache"),
            max_cache_size_mb: 10_000,
            cleanup_on_init: false,
            inline_bytes: 4096,
            flush_interval_ms: 500,
        }
    }
}

/// The index of entries, and the values kept in memory before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheMetadataConfig {
    /// Name of the backend: `sled` (on disk, the default), `sqlite` (one database; feature `sqlite`), `json` (one file that
    /// people can read, for small caches; feature `json`), `postgresql` (a database that many machines share; feature
    /// `postgresql`), `redis` (a server that keeps it in memory; feature `redis`), `memory`, `sqlite_memory` (feature `sqlite`), or one that was
    /// [registered](crate::register_metadata_backend). See [`CacheBlobConfig::backend`] for where the values are then.
    pub backend: String,
    /// The file of the database for `sqlite`: a path, or `sqlite:///` and a path, of which an absolute one begins with a `/` of
    /// its own. A registered backend gets it as its option `database_url`. Default none: `index.sqlite3` in the directory of
    /// the cache.
    pub database_url: Option<String>,
    /// The address of the server for `postgresql`, `postgresql://user:password@host:5432/database`, or for `redis`,
    /// `redis://user:password@host:6379/0`. A registered backend gets it as its option `connection_url`. Default none.
    pub connection_url: Option<ConnectionUrl>,
    /// Options of a registered backend, by their names, or of `sqlite`: `busy_timeout_ms`, how long a call waits for another
    /// process that writes (default 5000), and `page_cache_mb` of each of its connections (default 8); or of `postgresql`:
    /// `namespace`, the schema that has its tables (default `cacheness`), and `deadline_ms`, how long a call may take (default
    /// 250); or of `redis`: the same, where the namespace is what all names begin with. Default none; the other built-in ones have none.
    pub options: BTreeMap<String, OptionValue>,
    /// What a second process does that opens the directory of a cache with the backend `sled`, or one that processes share.
    /// Default [`SecondProcess::Join`].
    pub second_process: SecondProcess,
    /// Whether entries keep a readable copy of the parameters of their key, for listings and filters. Default true;
    /// false where parameters are secret or large.
    pub store_cache_key_params: bool,
    /// Whether the checksum of a value that lies in a file is verified before it is returned. Default true.
    ///
    /// With false a read is a little faster, and **a value that was damaged on the disk may be returned as if it were
    /// the stored one**: a flipped bit in an array of numbers is another number. Still verified are the file's header
    /// and length, the key, the type and shape of what is decoded, and whole records of the index with the small values
    /// in them. Only for disks that check what they return, or values that are checked otherwise.
    ///
    /// It has an effect with [`Durability::Immediate`](crate::Durability::Immediate) alone. Otherwise the system writes the
    /// files of a cache when it likes, a power cut may leave zeros in one, and the checksum is verified whatever is said here.
    pub verify_cache_integrity: bool,
    /// Memory that `sled` takes for pages of the index at most, in MB of 1024 × 1024 bytes from 16 to 16384. Default 512:
    /// enough for a million small entries. A page that is not in memory costs several reads of the file; an index that is
    /// smaller than this takes no more than its own size.
    pub page_cache_mb: u64,
    /// Whether values that were read or computed stay in memory, ready to be given out again without a look at the index.
    /// Default true. What [`Cache::get`](crate::Cache::get) returns does not depend on it: a change of an entry takes its
    /// value out of memory first.
    pub enable_memory_cache: bool,
    /// Which values leave memory first when it is full. Default [`MemoryPolicy::Adaptive`].
    pub memory_cache_type: MemoryPolicy,
    /// Values in memory at most, at least 1. Default 100000.
    pub memory_cache_maxsize: u64,
    /// What the values in memory may weigh, in MB of 1024 × 1024 bytes from 1 to 1048576. A value weighs its encoded size
    /// and 512 bytes. They lie in parts of at least 4 MB, if this is more, 16 for each processor if there is
    /// room; one that is heavier than half a part is not kept. Default 256.
    pub memory_cache_max_mb: u64,
    /// How long a value is given out from memory before it is read from the index again, in seconds from a millionth of
    /// one to 100,000 years. Default none: as long as its entry lives, which is exact where one process owns the index.
    #[serde(deserialize_with = "super::duration::seconds")]
    pub memory_cache_ttl_seconds: Option<f64>,
    /// Whether [`Stats::memory`](crate::Stats::memory) tells what is in memory and how often that answered. Default true.
    pub memory_cache_stats: bool,
}

impl Default for CacheMetadataConfig {
    fn default() -> Self {
        Self {
            backend: super::SLED.to_owned(),
            database_url: None,
            connection_url: None,
            options: BTreeMap::new(),
            second_process: SecondProcess::default(),
            store_cache_key_params: true,
            verify_cache_integrity: true,
            page_cache_mb: 512,
            enable_memory_cache: true,
            memory_cache_type: MemoryPolicy::default(),
            memory_cache_maxsize: 100_000,
            memory_cache_max_mb: 256,
            memory_cache_ttl_seconds: None,
            memory_cache_stats: true,
        }
    }
}

impl CacheMetadataConfig {
    /// All that a backend is opened with.
    pub(crate) fn backend_options(&self) -> BTreeMap<String, OptionValue> {
        let mut options = self.options.clone();
        options.extend(self.database_url.as_ref().map(|url| (DATABASE_URL.to_owned(), url.as_str().into())));
        options.extend(self.connection_url.as_ref().map(|url| (CONNECTION_URL.to_owned(), url.expose().into())));
        options
    }
}

/// Options that are fields, too.
pub(super) const DATABASE_URL: &str = "database_url";
pub(super) const CONNECTION_URL: &str = "connection_url";

/// What a process does that opens a directory whose index another process has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SecondProcess {
    /// It uses the same entries, by way of the process that has the index open; on Unix.
    #[default]
    Join,
    /// It keeps its results in memory, with a warning.
    Memory,
    /// It gets an error of the kind [`Locked`](crate::ErrorKind::Locked).
    Refuse,
}

/// Which processes run the body of a cached function once where several call it at the same time with the same arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SingleFlight {
    /// Those that see the same directory.
    #[default]
    Local,
    /// All that use the same rows, on whatever machine: where the index is on a server, a call that computes holds a lease
    /// there, and those on other machines wait for it. With an index on this machine as `Local`.
    Global,
}

/// Where values lie that are not inside the index.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheBlobConfig {
    /// Name of the backend: `filesystem`, `memory`, `s3`, `gcs` or `azure` (a bucket; features of the same names), or one that
    /// was [registered](crate::register_blob_backend). Default
    /// none: `memory` with an index in `memory` or `sqlite_memory`, else `filesystem`.
    ///
    /// | index | values | |
    /// |---|---|---|
    /// | `sled`, `sqlite`, `postgresql`, `redis`, `json` | `filesystem` | what a cache usually is |
    /// | `memory`, `sqlite_memory` | `memory` | nothing is written to disk |
    /// | `memory`, `sqlite_memory` | `filesystem` | each value is a file; opening reads the beginning of every file, and needs no database. What is not in the files is forgotten: when an entry was last used, and changes of it without a new value |
    /// | `sled`, `sqlite`, `postgresql`, `redis`, `json` | `memory` | refused: the index would list values that are gone |
    /// | `sled`, `sqlite`, `postgresql`, `redis`, `json` | `s3`, `gcs`, `azure` | values in a bucket, under a prefix that this cache has for itself |
    /// | `memory`, `sqlite_memory` | `s3`, `gcs`, `azure` | refused: each opening would read every blob of the bucket |
    pub backend: Option<String>,
    /// Options of a registered backend, by their names, or of a bucket; `filesystem` and `memory` have none. Default none.
    /// Those of buckets: `docs/backends.md` of the project.
    pub options: BTreeMap<String, OptionValue>,
}

impl fmt::Debug for CacheBlobConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, options } = self;
        f.debug_struct("CacheBlobConfig").field("backend", backend).field("options", &Shown(options)).finish()
    }
}

/// How arguments become keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SerializationConfig {
    /// Whether a [`Path`](std::path::Path) in a key counts by what lies there, so that a changed file is another key, or
    /// by its own text. Default true.
    pub hash_path_content: bool,
    /// When a file that counts by its content is read again. Default [`VerifyPaths::WhenChanged`].
    pub verify_paths: VerifyPaths,
    /// How deep values may nest in a key, from 1 to 128: a plain value in a list is one level deep. Deeper keys are
    /// refused, not cut off. Default 128.
    pub max_collection_depth: u16,
}

impl Default for SerializationConfig {
    fn default() -> Self {
        Self { hash_path_content: true, verify_paths: VerifyPaths::WhenChanged, max_collection_depth: MAX_DEPTH }
    }
}

// Signing: who may have written what is read.

/// Whether entries are signed, and what is believed.
///
/// With a key, every record of the index and every blob is signed, and nothing is decoded whose signature is not valid:
/// who can write to the directory and has no key can remove entries, and bring back an older value of a key under that same
/// key, but not make a value up, move it to another key or change what is said about it. Without, checksums find accidents
/// alone. Not used if index and values are in memory.
///
/// ```
/// use cacheness::cache::Expired;
/// use cacheness::{Cache, CacheConfig};
///
/// # fn main() -> cacheness::Result<()> {
/// # let dir = std::env::temp_dir().join(format!("cacheness-doc-signed-{}", std::process::id()));
/// let config = CacheConfig::new(dir.join("cache")).with_signing_key_file(dir.join("signing.key"));
/// let cache = Cache::new(config)?;
/// cache.put("answer", &42u8)?;
/// let entry = cache.get_metadata("answer", Expired::Skip)?.expect("it was just stored");
/// assert!(entry.entry_signature().is_some());
/// # drop(cache);
/// # std::fs::remove_dir_all(dir).ok();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SecurityConfig {
    /// Whether entries are signed, and signatures asked for. Default false.
    pub signing: bool,
    /// The file of the key: 64 hex digits that nobody but its owner may read. If there is none, it is made, unless the
    /// directory has signed entries already: a lost key is not replaced without a word. It must not lie in the directory of
    /// the cache. Default none: `cacheness/signing.key` in the user's directory for configurations (`$XDG_CONFIG_HOME`, or
    /// `.config` in the home directory).
    pub signing_key_file: Option<PathBuf>,
    /// The key itself, for programs that get it from elsewhere; not in files. With one there is no key file.
    #[serde(skip)]
    pub signing_key: Option<SigningKey>,
    /// Files of former keys: what is signed with them is believed, what is new is signed with the current key.
    pub previous_key_files: Vec<PathBuf>,
    /// Former keys themselves, as [`previous_key_files`](Self::previous_key_files); not in files.
    #[serde(skip)]
    pub previous_keys: Vec<SigningKey>,
    /// What is done about entries without a signature, such as those of a time before there was a key. Default
    /// [`UnsignedEntries::Refuse`].
    pub unsigned_entries: UnsignedEntries,
    /// What is done about entries that are not believed. They are never returned. Default [`InvalidEntries::Keep`].
    pub invalid_entries: InvalidEntries,
}

/// What is done about entries without a signature where entries are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UnsignedEntries {
    /// They are not believed.
    #[default]
    Refuse,
    /// They are believed: **whoever can write to the directory can leave the signature away.** For the time it takes until
    /// the entries from before there was a key are replaced.
    Accept,
}

/// What is done about entries that are not believed: not signed, signed with a key that is not at hand, or forged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum InvalidEntries {
    /// They count as absent and stay: with the right key at hand they are there again. They expire, are evicted and are
    /// replaced as others are.
    #[default]
    Keep,
    /// They are removed when they are met.
    Remove,
}

/// The handler of every serde type that writes bincode.
pub(crate) const BINCODE: &str = "bincode";
/// The handler of every serde type that writes MessagePack.
pub(crate) const MESSAGEPACK: &str = "messagepack";
/// What [`Entry::handler_used`](crate::Entry::handler_used) says where no handler has written.
const SAID_OF_OTHERS: [&str; 2] = ["bytes", "unknown"];
const LONGEST_NAME: usize = 64;

/// Which [handlers](crate::Handler) write and read values, and which are asked first.
///
/// Names are those of registered handlers and of the two that are built in, `bincode` and `messagepack`. A handler may be
/// registered after the cache was opened, so a name that nobody has registered is no fault:
/// [`Cache::list_handlers`](crate::Cache::list_handlers) tells what is there, in the order in which it is asked.
///
/// ```
/// use cacheness::{Cache, CacheConfig};
///
/// # fn main() -> cacheness::Result<()> {
/// let cache = Cache::new(CacheConfig::in_memory().with_handler_priority(["messagepack"]))?;
/// cache.put("answer", &42u8)?;
/// let (_, entry) = cache.get_with_metadata::<u8>("answer")?.expect("it was just stored");
/// assert_eq!(entry.handler_used(), "messagepack");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HandlerConfig {
    /// Names in the order in which handlers are asked whether they take a value. Those that are not named follow by their
    /// number: those of the cache, then those of the process, then what is built in. `bincode` and `messagepack` stand
    /// together where the first of them is named, and take every value of a serde type. Of the [file
    /// formats](crate::NativeFormat) of a type the first that is named is written: `["arrow"]` writes tables as Arrow IPC and not
    /// as Parquet. Default empty.
    #[doc(alias = "handler_priority")]
    pub priority: Vec<String>,
    /// Names of handlers and [file formats](crate::NativeFormat) that neither write nor read: what they wrote before is a miss, and
    /// stays. One of `bincode` and `messagepack` must be left. Default empty.
    #[doc(alias = "enable_numpy_arrays")]
    #[doc(alias = "enable_polars_dataframes")]
    #[doc(alias = "enable_pandas_dataframes")]
    pub disabled: Vec<String>,
}

/// Whether a handler may have this name. The error is half a sentence to put behind the name of what held it.
pub(crate) fn check_handler_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    if SAID_OF_OTHERS.contains(&name) {
        Err("it stands for values that no handler has written".to_owned())
    } else if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_plain) {
        Err(format!("a handler's name is 1 to {LONGEST_NAME} of the characters a-z, A-Z, 0-9 and `.`, `_`, `-`, `:`"))
    } else {
        Ok(())
    }
}

/// Whether a name stands for serde.
pub(crate) fn is_of_serde(name: &str) -> bool {
    name == BINCODE || name == MESSAGEPACK
}

pub(crate) fn is_built_in(name: &str) -> bool {
    is_of_serde(name) || NativeFormat::named(name).is_some()
}

/// Upper bounds, checked before memory is taken: for what a program hands in and for every size read from disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Largest canonical encoding of a key, in bytes. Default 1 GiB.
    pub max_key_bytes: u64,
    /// Largest value, in bytes as the handler encodes it, before compression. Default 4 GiB.
    pub max_value_bytes: u64,
    /// Largest description, tags and metadata of one entry together, in bytes. Default 1 MiB.
    pub max_header_bytes: u64,
}

impl Limits {
    /// The defaults.
    pub const DEFAULT: Self = Self { max_key_bytes: 1 << 30, max_value_bytes: 4 << 30, max_header_bytes: 1 << 20 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Deepest nesting of values in a key: a bound on the stack, far above any sensible argument.
pub(crate) const MAX_DEPTH: u16 = 128;

/// When a put is safe from a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Durability {
    /// Puts reach the disk together, at the latest one flush interval later, at close and at the normal end of the
    /// process. A kill or a power cut can lose the puts since the last flush, and never damages one.
    #[default]
    Interval,
    /// A put that returned is on the disk.
    Immediate,
}

/// When a file that counts by its content is read again.
///
/// ```
/// use cacheness::CacheConfig;
/// use cacheness::config::VerifyPaths;
///
/// let distrustful = CacheConfig::default().with_verified_paths(VerifyPaths::Always);
/// assert_eq!(distrustful.serialization.verify_paths, VerifyPaths::Always);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerifyPaths {
    /// When its device, inode, length, or time of modification or status change is not what it was when this process read
    /// it, or when it had only just changed then. On file systems that do not keep these times themselves (over a network,
    /// in user space, outside of Linux) at every call.
    #[default]
    WhenChanged,
    /// At every call: for files that are written through memory maps, or by a machine whose clock is not this one's.
    Always,
}

/// Which values leave memory first when it is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum MemoryPolicy {
    /// Those that were not used again soon after they came; of the others, those that were not used for a while. Also
    /// the one whose hits are the cheapest and do not keep other threads waiting. The default.
    #[default]
    Adaptive,
    /// The least recently used.
    Lru,
    /// The least often used; of those, the least recently used.
    Lfu,
    /// Those that came first, however often they are used.
    Fifo,
    /// Any: a random one.
    Rr,
}

impl MemoryPolicy {
    /// The name in a configuration.
    ///
    /// ```
    /// assert_eq!(cacheness::config::MemoryPolicy::Lfu.name(), "lfu");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Lru => "lru",
            Self::Lfu => "lfu",
            Self::Fifo => "fifo",
            Self::Rr => "rr",
        }
    }
}

impl fmt::Display for MemoryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much is kept in memory and which of it goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryBounds {
    pub policy: MemoryPolicy,
    pub max_entries: u64,
    pub max_bytes: u64,
    /// How long a value is given out before it is read from the index again.
    pub ttl: Option<Duration>,
}
