//! The engine of `cacheness`. Depend on the `cacheness` crate, which re-exports all of this together with the attributes.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod blob_store;
mod cache;
mod clock;
mod codec;
mod config;
mod engine;
mod entry;
mod error;
mod format;
mod function;
mod index;
mod key;
mod query;
mod security;
mod storage;
pub mod testing;
mod util;
mod value;

pub use blob_store::{
    BlobOptions, BlobReader, BlobStore, BlobStoreBuilder, BlobWriter, IntegrityReport, Repair, VerifyReport,
};
pub use cache::{
    AsyncCache, AsyncEntries, AsyncQuery, Cache, Entries, Expired, Found, PutOptions, Query, Stats, Transfer,
    migrate_cache, migrate_cache_with,
};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use codec::handler::{
    ByFile, FileHandler, Handler, HandlerError, HandlerInfo, Shareable, Storable, list_handlers, register_handler,
    unregister_handler,
};
pub use config::backends::{BackendInfo, BackendOptions, OptionValue};
pub use config::limits::Limits;
pub use config::{
    CacheBlobConfig, CacheConfig, CacheMetadataConfig, CacheStorageConfig, Codec, CompressionConfig, Durability,
    HandlerConfig, InvalidEntries, MemoryPolicy, SecondProcess, SecurityConfig, SerializationConfig, UnsignedEntries,
    VerifyPaths,
};
pub use engine::memory::MemoryStats;
pub use entry::{CompressionInfo, Entry};
pub use error::{CacheError, ErrorKind, Result};
pub use function::default::{default_cache, set_default_cache};
#[doc(hidden)]
pub use function::macro_support;
pub use function::macro_support::{
    BoundCall, FunctionHandle, FunctionInfo, InMode, KeyArgument, Later, Now, SharedError, Work, bypass, bypass_async,
    function, refresh, refresh_async,
};
pub use function::utility::{get_size_mb, hash_content, hash_file_path};
pub use index::MemoryMetadata;
pub use index::backend::{
    Applied, Change, Changes, CustomRow, Expected, Facts, MetadataBackend, Row, Scan, Swap, Totals, Traits,
};
pub use index::registry::{
    get_metadata_backend, list_metadata_backends, register_metadata_backend, unregister_metadata_backend,
};
pub use key::{CacheKey, Key, KeyFields, KeyWriter, Params, PendingKey, SerdeKey, ToKey, serialize_key};
pub use query::{
    Column, ColumnField, ColumnSchema, ColumnType, ColumnValue, CustomMetadata, EntryField, Field, Filter, Measure,
    Number, Order, Schema, Total,
};
pub use security::SigningKey;
pub use storage::BlobName;
pub use storage::blob::{
    BlobBackend, BlobInfo, BlobRead, BlobWrite, MemoryBlobs, get_blob_backend, list_blob_backends,
    register_blob_backend, unregister_blob_backend,
};
pub use value::{Metadata, Value};
