//! The engine of `cacheness`. Depend on the `cacheness` crate, which re-exports all of this together with the attributes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod blob;
mod blob_name;
mod cache;
mod clock;
mod compress;
mod config;
mod counter;
mod default;
mod digest;
mod entry;
mod error;
mod exit;
mod flight;
mod format;
mod handler;
mod handshake;
mod key;
mod limits;
#[doc(hidden)]
pub mod macro_support;
mod memory;
mod metadata;
mod panics;
mod parallel;
mod parts;
mod policy;
mod query;
mod runtime;
mod secret;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod utility;
mod value;
mod vfs;
mod warn;

pub use blob::{BlobBackend, BlobRead, BlobWrite, MemoryBlobs};
pub use blob_name::BlobName;
pub use cache::{
    AsyncCache, AsyncEntries, AsyncQuery, Cache, Entries, Expired, Found, PutOptions, Query, Stats, Transfer,
    migrate_cache, migrate_cache_with,
};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use compress::Codec;
pub use config::{
    CacheBlobConfig, CacheConfig, CacheMetadataConfig, CacheStorageConfig, CompressionConfig, Durability,
    HandlerConfig, InvalidEntries, MemoryPolicy, SecurityConfig, SerializationConfig, UnsignedEntries,
};
pub use default::{default_cache, set_default_cache};
pub use entry::{CompressionInfo, Entry};
pub use error::{CacheError, ErrorKind, Result};
pub use handler::{
    ByFile, FileHandler, Handler, HandlerError, HandlerInfo, Shareable, Storable, list_handlers, register_handler,
    unregister_handler,
};
pub use key::{CacheKey, Key, KeyFields, KeyWriter, Params, PendingKey, SerdeKey, ToKey, VerifyPaths, serialize_key};
pub use limits::Limits;
pub use macro_support::{
    BoundCall, FunctionHandle, FunctionInfo, InMode, KeyArgument, Later, Now, SharedError, Work, bypass, bypass_async,
    function, refresh, refresh_async,
};
pub use memory::MemoryStats;
pub use query::{
    Column, ColumnField, ColumnSchema, ColumnType, ColumnValue, CustomMetadata, EntryField, Field, Filter, Measure,
    Number, Order, Schema, Total,
};
pub use secret::SigningKey;
pub use store::blob_store::{
    BlobOptions, BlobReader, BlobStore, BlobStoreBuilder, BlobWriter, IntegrityReport, Repair, VerifyReport,
};
pub use utility::{get_size_mb, hash_content, hash_file_path};
pub use value::{Metadata, Value};
