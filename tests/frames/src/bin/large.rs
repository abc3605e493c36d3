//! Puts or gets one large value, and prints by how many KiB the memory of this process has grown at most, from when the value was
//! there (put) or before it was (get).

use std::error::Error;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch};
use cacheness::config::SigningKey;
use cacheness::native::{Native, Tensor, Tensors};
use cacheness::{Cache, CacheConfig, PutOptions};
use ndarray::Array1;
use polars_core::prelude::{DataFrame, IntoColumn, NamedFrom, Series};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn resident(line: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|found| found.strip_prefix(line)).ok_or("no such line")?;
    Ok(found.trim().trim_end_matches(" kB").parse()?)
}

fn noise(len: usize) -> impl Iterator<Item = f64> {
    let mut state = 1_u64;
    (0..len).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as f64
    })
}

fn put<T: Native>(cache: &Cache, value: &T, handler: Option<&str>) -> Outcome<u64> {
    let options = handler.map_or_else(PutOptions::new, |name| PutOptions::new().handler(name));
    // From here on, what was the most until now does not count.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = resident("VmRSS:")?;
    cache.put_native_with("large", value, options)?;
    Ok(resident("VmHWM:")?.saturating_sub(before))
}

fn get<T: Native>(cache: &Cache) -> Outcome<u64> {
    let before = resident("VmRSS:")?;
    let value = cache.get_native::<T>("large")?.ok_or("it is not there")?;
    let grown = resident("VmHWM:")?.saturating_sub(before);
    drop(value);
    Ok(grown)
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [story, dir, mib] = arguments.as_slice() else { return Err("a story, a directory and a size in MiB".into()) };
    let config = CacheConfig::new(std::path::Path::new(dir).join("cache")).with_memory_cache(false);
    let (story, config) = match story.strip_suffix("-signed") {
        Some(story) => (story, config.with_signing_key(SigningKey::from_bytes([7; 32]))),
        None => (story.as_str(), config),
    };
    let (cache, len) = (Cache::new(config)?, (mib.parse::<usize>()? << 20) / 8);
    let column = || Arc::new(Float64Array::from_iter_values(noise(len))) as ArrayRef;
    let grown = match story {
        "put-array" => put(&cache, &Array1::from_iter(noise(len)), None),
        "put-table" => put(&cache, &RecordBatch::try_from_iter([("x", column())])?, Some("parquet")),
        "put-ipc" => put(&cache, &RecordBatch::try_from_iter([("x", column())])?, Some("arrow")),
        "put-frame" | "put-frame-ipc" => {
            let series = Series::new("x".into(), noise(len).collect::<Vec<_>>());
            let handler = if story == "put-frame" { "parquet" } else { "arrow" };
            put(&cache, &DataFrame::new(len, vec![series.into_column()])?, Some(handler))
        }
        "put-tensors" => {
            let mut tensors = Tensors::new();
            tensors.insert("x", Tensor::from_slice::<f64>(&[len], &noise(len).collect::<Vec<_>>())?);
            put(&cache, &tensors, None)
        }
        "get-array" => get::<Array1<f64>>(&cache),
        "get-table" | "get-ipc" => get::<RecordBatch>(&cache),
        "get-frame" | "get-frame-ipc" => get::<DataFrame>(&cache),
        "get-tensors" => get::<Tensors>(&cache),
        other => Err(format!("there is no story {other}").into()),
    }?;
    println!("{grown}");
    Ok(())
}
