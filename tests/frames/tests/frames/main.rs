//! Arrays, tables and tensors: cached functions that return them, and other tools that open their files.

mod arrays;
mod attributes;
mod hostile;
mod memory;
mod tables;

use std::path::Path;

use cacheness::native::Native;
use cacheness::{Cache, CacheConfig};
use cacheness_frames_tests::python::{Python, with_all};

/// A Python with the tools that open our files.
fn python() -> Option<Python> {
    with_all(&["numpy", "pandas", "polars", "pyarrow", "duckdb", "safetensors"])
}

/// A cache in a directory where every value is a file.
fn cache_in(dir: &Path) -> Cache {
    Cache::new(in_files(dir)).unwrap()
}

fn in_files(dir: &Path) -> CacheConfig {
    let mut config = CacheConfig::new(dir.join("cache"));
    config.storage.inline_bytes = 0;
    config
}

/// The path of the file that a value is stored in.
fn stored<T: Native>(cache: &Cache, key: &str, value: &T) -> String {
    cache.put_native(key, value).unwrap();
    let file = cache.open_file(key).unwrap().unwrap();
    assert!(!file.is_copy(), "{key}");
    file.path().to_str().unwrap().to_owned()
}
