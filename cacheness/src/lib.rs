//! Persistent function caching: one attribute, and a result survives the call and the process.
//!
//! ```no_run
//! use std::path::Path;
//! use cacheness::cached;
//!
//! /// Counts once for each content of the file, and once a day.
//! #[cached(ttl = "24h")]
//! fn count_words(file: &Path) -> Result<usize, std::io::Error> {
//!     Ok(std::fs::read_to_string(file)?.split_whitespace().count())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! println!("{}", count_words(Path::new("book.txt"))?);          // computed, and stored in ./cache
//! println!("{}", count_words(Path::new("book.txt"))?);          // a hit, also in the next run
//! println!("{:?}", cacheness::function(count_words).info()?);
//! # Ok(())
//! # }
//! ```
//!
//! - [`macro@cached`], [`cache_async`], [`cache_if`] and [`cached::for_api`] are the attributes; [`function()`], [`refresh`]
//!   and [`bypass`] control what they do.
//! - [`default_cache`] is the cache they use when they name none: opened as the environment says ([`CacheConfig::from_env`]),
//!   or given by [`set_default_cache`].
//! - [`Cache`] is the same without attributes: [`put`](Cache::put), [`get`](Cache::get), and what belongs to them: listing
//!   and filtering ([`Field`]), touching, updating, removing. [`AsyncCache`] has the same methods as futures.
//! - [`BlobStore`] keeps values that neither expire nor are evicted, and streams of any size.
//! - [`testing::isolated`] gives a test a cache of its own, in one line.
//! - [`hash_content`], [`hash_file_path`] and [`get_size_mb`] hash and measure as the cache does.
//! - [`macro@CustomMetadata`] makes a struct typed metadata of entries, and [`Cache::query`] finds entries by it.
//! - [`macro@CacheKey`] makes a type part of keys; types that implement `serde::Serialize` already are.
//!
//! A hit is what this function returned for these arguments, as this type. What cannot be believed is a miss; an error of
//! the cache is one warning, and the function runs.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `config-files` | yes | configurations as TOML or JSON: [`CacheConfig::from_file`], [`CacheConfig::to_file`], the variable `CACHENESS_CONFIG` |
//! | `json` | yes | the metadata backend `json`: one file that people can read, for small caches |
//! | `sqlite` | | the metadata backends `sqlite` and `sqlite_memory`: one database (needs a C compiler) |
//! | `postgresql` | no | the metadata backend `postgresql`: rows in a database that many machines share |
//! | `redis` | no | the metadata backend `redis`: rows in the memory of a Redis server that many machines share |
//! | `postgresql-tls`, `redis-tls` | no | connections to these servers by TLS: `sslmode=require` and `rediss://` (need a C compiler) |
//! | `s3`, `gcs`, `azure` | no | the blob backends of these names: values in a bucket (need a C compiler) |
//! | `archive` | no | [`Cache::export`](Cache#method.export) and [`Cache::import`](Cache#method.import); needs a C compiler |
//! | `zstd` | no | the codec [`Codec::Zstd`](config::Codec::Zstd), denser than `lz4`; needs a C compiler |
//! | `gzip` | no | the codec [`Codec::Gzip`](config::Codec::Gzip), in Rust alone |
//! | `blosclz` | no | the codec [`Codec::Blosclz`](config::Codec::Blosclz) for vectors of numbers, in Rust alone |
//! | `ndarray` | no | arrays as results and arguments, stored as `.npy`: see [`native`] |
//! | `arrow`, `polars` | no | tables and frames, stored as Parquet or Arrow IPC (need a C compiler) |
//! | `safetensors` | no | tensors by name, stored as `.safetensors` |
//! | `testing` | no | in the module [`testing`], a simulated file system and conformance suites, for tests |
//!
//! Without any of them values are compressed by `lz4`, and configurations are written in code.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backend;
pub mod blob;
pub mod cache;
pub mod clock;
pub mod config;
pub mod entry;
pub mod function;
pub mod handler;
pub mod key;
pub mod native;
pub mod query;

pub use cacheness_core::{
    AsyncCache, BlobOptions, BlobStore, Cache, CacheConfig, CacheError, CacheKey, CustomMetadata, Entry, ErrorKind,
    Field, Key, Metadata, PutOptions, Query, Result, Stats, Value, bypass, bypass_async, default_cache, function,
    get_size_mb, hash_content, hash_file_path, params, refresh, refresh_async, set_default_cache,
};
/// ```
/// use cacheness::{Cache, cache_async};
///
/// #[cache_async(ttl = "2h")]
/// async fn fetch(url: &str) -> Result<String, std::io::Error> {
///     Ok(format!("what is at {url}"))
/// }
/// ```
pub use cacheness_macros::cache_async;
/// ```
/// use cacheness::{Cache, cache_if};
///
/// # cacheness::set_default_cache(Cache::in_memory());
/// #[cache_if(|reply: &String| !reply.is_empty(), ttl = 3600)]
/// fn ask(question: &str) -> String {
///     question.replace('?', "!")
/// }
///
/// assert_eq!(ask(""), "");
/// assert_eq!(cacheness::function(ask).info()?.entries, 0);
/// assert_eq!(ask("really?"), "really!");
/// assert_eq!(cacheness::function(ask).info()?.entries, 1);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
pub use cacheness_macros::cache_if;
/// ```
/// use cacheness::{Cache, cached};
///
/// # cacheness::set_default_cache(Cache::in_memory());
/// #[cached(ttl = "24h", prefix = "weather")]
/// fn get_weather(city: &str) -> String {
///     format!("sunny in {city}")
/// }
///
/// assert_eq!(get_weather("London"), get_weather("London"));
/// assert_eq!(cacheness::function(get_weather).info()?.hits, 1);
/// # Ok::<(), cacheness::CacheError>(())
/// ```
///
/// Results in groups, and an expired one where the function fails:
///
/// ```
/// use cacheness::{Cache, cached};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = std::env::temp_dir().join(format!("cacheness-doc-cached-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let file = dir.join("7.txt");
/// # let path = file.to_str().expect("it is a text");
/// #[cached(cache = cache, skip(cache), ttl = 0.01, tags("user:{user}", "profiles"), stale_on_error)]
/// fn profile(cache: &Cache, path: &str, user: u32) -> Result<String, std::io::Error> {
///     std::fs::read_to_string(path)
/// }
///
/// let cache = Cache::in_memory();
/// std::fs::write(path, "likes tea")?;
/// assert_eq!(profile(&cache, path, 7)?, "likes tea");
///
/// std::fs::remove_file(path)?;
/// std::thread::sleep(std::time::Duration::from_millis(20));
/// assert_eq!(profile(&cache, path, 7)?, "likes tea");
///
/// assert_eq!(cache.invalidate_tag("user:7")?, 1);
/// assert!(profile(&cache, path, 7).is_err());
/// # std::fs::remove_dir_all(dir)?;
/// # Ok(())
/// # }
/// ```
pub use cacheness_macros::cached;
pub use cacheness_macros::{CacheKey, CustomMetadata};

/// For tests of programs that use a cache, and of backends that others write.
///
/// One line gives a test a cache of its own:
///
/// ```
/// use cacheness::{cached, function, testing};
///
/// #[cached]
/// fn twice(n: u32) -> u32 {
///     n * 2
/// }
///
/// let _cache = testing::isolated();
/// assert_eq!([twice(2), twice(2)], [4, 4]);
/// assert_eq!(function(twice).info()?.hits, 1); // whatever other tests do at the same time
/// # Ok::<(), cacheness::CacheError>(())
/// ```
///
/// In an asynchronous test whose runtime has several threads, the future is wrapped, and each task that it spawns:
///
/// ```
/// use cacheness::{cached, testing::isolated_async};
///
/// #[cached]
/// async fn fetch(n: u32) -> u32 {
///     n * 2
/// }
///
/// # let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
/// # runtime.block_on(
/// isolated_async(async {
///     let task = tokio::spawn(isolated_async(fetch(2)));
///     assert_eq!(task.await?, fetch(2).await); // the second one is a hit
///     Ok::<(), tokio::task::JoinError>(())
/// })
/// # )?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`isolated`](testing::isolated) and its like are always there. The rest comes with the feature `testing`, which is not
/// meant for a program's own build.
pub mod testing {
    pub use cacheness_core::testing::*;
}

/// Variants of [`macro@cached`]: `#[cached::for_api]`.
pub mod cached {
    pub use cacheness_macros::for_api;
}

/// What expansions name. The version in the name keeps versions of the macros and of the engine from being mixed.
#[doc(hidden)]
pub mod __private {
    pub use cacheness_core::macro_support as v0_1_0;
}
