//! The parts of a configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::compress::Codec;

/// Where entries are stored, how much of them, and when they reach the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheStorageConfig {
    /// Directory of the cache, made if it is not there. Default `./cache`. Not used by the `memory` backend.
    pub cache_dir: PathBuf,
    /// Size of all stored entries in MB of 1024 × 1024 bytes, at least 1. When they grow past it, the least recently
    /// used go until the rest fills 80 % of it. Default 10000.
    pub max_cache_size_mb: u64,
    /// Whether opening the cache removes expired entries. Default false.
    pub cleanup_on_init: bool,
    /// Values that take up to this many bytes as stored (after compression) live inside the index, without a file of
    /// their own; 0 gives each a file. At most 65536: the index is not made for large records. Default 4096.
    pub inline_bytes: u64,
    /// With [`Durability::Interval`](crate::Durability::Interval), how long a put waits at most before it is written to
    /// the disk, in milliseconds from 1 to 60000. Default 500.
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

/// The index of entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheMetadataConfig {
    /// Name of the backend: `sled` (on disk, the default) or `memory` (nothing is written to disk, neither index nor
    /// values).
    pub backend: String,
    /// Whether entries keep a readable copy of the parameters of their key, for listings and filters. Default true;
    /// false where parameters are secret or large.
    pub store_cache_key_params: bool,
    /// Memory that `sled` takes for pages of the index at most, in MB of 1024 × 1024 bytes from 16 to 16384. Default 512:
    /// enough for a million small entries. A page that is not in memory costs several reads of the file; an index that is
    /// smaller than this takes no more than its own size.
    pub page_cache_mb: u64,
}

impl Default for CacheMetadataConfig {
    fn default() -> Self {
        Self { backend: super::SLED.to_owned(), store_cache_key_params: true, page_cache_mb: 512 }
    }
}

/// How values are compressed. No codec has levels so far, so there is none to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CompressionConfig {
    /// The codec. Default `lz4`.
    pub codec: Codec,
    /// Values smaller than this many bytes are stored as they are. Default 1024.
    pub threshold_bytes: u64,
}

impl Default for CompressionConfig {
    fn default() -> Self {
        Self { codec: Codec::Lz4, threshold_bytes: 1024 }
    }
}
