//! The parts of a configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::MemoryPolicy;
use super::backends::OptionValue;
use crate::config::Codec;
use crate::config::VerifyPaths;
use crate::config::limits::MAX_DEPTH;

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
    /// Name of the backend: `sled` (on disk, the default), `json` (one file that people can read, for small caches; feature
    /// `json`), `memory`, or one that was [registered](crate::register_metadata_backend). See [`CacheBlobConfig::backend`] for
    /// where the values are then.
    pub backend: String,
    /// Options of a registered backend, by their names. Default none; the built-in ones have none.
    pub options: BTreeMap<String, OptionValue>,
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
            options: BTreeMap::new(),
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

/// Where values lie that are not inside the index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheBlobConfig {
    /// Name of the backend: `filesystem`, `memory`, or one that was [registered](crate::register_blob_backend). Default
    /// none: `memory` with an index in `memory`, else `filesystem`.
    ///
    /// | index | values | |
    /// |---|---|---|
    /// | `sled`, `json` | `filesystem` | what a cache usually is |
    /// | `memory` | `memory` | nothing is written to disk |
    /// | `memory` | `filesystem` | each value is a file; opening reads the beginning of every file, and needs no database. What is not in the files is forgotten: when an entry was last used, and changes of it without a new value |
    /// | `sled`, `json` | `memory` | refused: the index would list values that are gone |
    pub backend: Option<String>,
    /// Options of a registered backend, by their names. Default none; the built-in ones have none.
    pub options: BTreeMap<String, OptionValue>,
}

/// How values are compressed.
///
/// What a codec does not make smaller by a twentieth is stored as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CompressionConfig {
    /// The codec. Default `lz4`.
    #[doc(alias = "pickle_compression_codec")]
    pub codec: Codec,
    /// The codec's level: from 1 to 22 for `zstd`, from 1 to 9 for `gzip` and `blosclz`; higher is denser and slower.
    /// Default none: 3 for `zstd`, 6 for `gzip`, 5 for `blosclz`. `lz4` and `none` have no levels, and a level is refused.
    #[doc(alias = "pickle_compression_level")]
    pub level: Option<u8>,
    /// Values smaller than this many bytes are stored as they are. Default 1024.
    pub threshold_bytes: u64,
    /// The codec of vectors of numbers, `Vec<f64>` and its like; `Vec<u8>` counts as bytes. Default none: as all other
    /// values.
    #[doc(alias = "blosc2_array_codec")]
    pub numbers_codec: Option<Codec>,
    /// The level for vectors of numbers. Default none: `level` if they have no codec of their own, else that codec's
    /// choice.
    #[doc(alias = "blosc2_array_level")]
    pub numbers_level: Option<u8>,
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self { codec: Codec::Lz4, level: None, threshold_bytes: 1024, numbers_codec: None, numbers_level: None }
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
