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
mod util;
mod value;

pub use blob_store::{
    BlobOptions, BlobReader, BlobStore, BlobStoreBuilder, BlobWriter, IntegrityReport, Repair, VerifyReport,
};
pub use cache::{
    AsyncCache, AsyncEntries, AsyncQuery, Cache, Entries, Expired, Found, PutOptions, Query, Stats, Transfer,
    ValueFile, migrate_cache, migrate_cache_with,
};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use codec::handler::{
    ByFile, FileHandler, Handler, HandlerError, HandlerInfo, Shareable, Storable, list_handlers, register_handler,
    unregister_handler,
};
#[cfg(feature = "ndarray")]
pub use codec::native::Element;
#[cfg(feature = "arrow")]
pub use codec::native::table::Table;
#[cfg(feature = "safetensors")]
pub use codec::native::{Dtype, Tensor, TensorElement, Tensors, TensorsIter};
pub use codec::native::{Native, read_file, write_file};
pub use config::Limits;
pub use config::backends::{BackendInfo, BackendOptions, OptionValue};
pub use config::{
    CacheBlobConfig, CacheConfig, CacheLocalConfig, CacheMetadataConfig, CacheStorageConfig, Codec, CompressionConfig,
    ConnectionUrl, Durability, HandlerConfig, InvalidEntries, MemoryPolicy, NativeFormat, ParquetCodec, SecondProcess,
    SecurityConfig, SerializationConfig, SingleFlight, UnsignedEntries, VerifyPaths,
};
pub use engine::local::LocalStats;
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
pub use index::backend::{
    Applied, Change, Changes, CustomRow, Expected, Facts, MetadataBackend, Row, Scan, Swap, Totals, Traits,
};
pub use index::{
    MemoryMetadata, get_metadata_backend, list_metadata_backends, register_metadata_backend,
    unregister_metadata_backend,
};
pub use key::{
    CacheKey, Key, KeyFields, KeyWriter, Params, PendingKey, SerdeKey, ToKey, get_size_mb, hash_content,
    hash_file_path, serialize_key,
};
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

pub mod testing {
    //! For tests of programs that use a cache, and of backends that others write.
    //!
    //! [`isolated`] and its like are always there: each test has a default cache of its own. The rest comes with the feature
    //! `testing`, which is not meant for a program's own build.

    #[cfg(feature = "testing")]
    pub use crate::codec::handler::store_unproven;
    #[cfg(feature = "testing")]
    pub use crate::codec::native::{native_from_bytes, native_to_bytes};
    pub use crate::function::default::{Isolated, isolated, isolated_async, isolated_async_with, isolated_with};
    #[cfg(feature = "testing")]
    pub use crate::index::conformance::{
        metadata_backend as check_metadata_backend, metadata_backend_with_faults as check_metadata_backend_with_faults,
    };
    #[cfg(feature = "testing")]
    pub use crate::storage::blob::conformance::blob_backend as check_blob_backend;
    #[cfg(feature = "testing")]
    pub use crate::storage::vfs::{
        DirEntry, Fault, FileKind, Lie, Lock, Metadata, Owner, ReadFile, RealVfs, Repeat, SimVfs, Vfs, WriteFile,
    };
}
