//! Results that need no option: their type decides.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::{Int64Array, RecordBatch, StringArray};
use cacheness::native::{Table, Tensor, Tensors};
use cacheness::testing::isolated_with;
use cacheness::{Cache, CacheConfig, cached, default_cache};
use ndarray::{ArcArray2, Array2};
use polars_core::prelude::{DataFrame, IntoColumn, NamedFrom, Series};
use std::sync::Arc;

static RUNS: AtomicU32 = AtomicU32::new(0);

fn ran() -> u32 {
    RUNS.fetch_add(1, Ordering::SeqCst) + 1
}

#[cached]
fn array(n: usize) -> Array2<f64> {
    ran();
    Array2::from_shape_fn((n, 2), |(row, column)| (row * 10 + column) as f64)
}

#[cached]
fn shared_array(n: usize) -> ArcArray2<f64> {
    array(n).into_shared()
}

#[cached]
fn fallible(csv: &Path) -> Result<DataFrame, std::io::Error> {
    ran();
    let text = std::fs::read_to_string(csv)?;
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(DataFrame::new(words.len(), vec![Series::new("word".into(), words).into_column()]).unwrap())
}

#[cached]
fn batch(n: i64) -> Option<RecordBatch> {
    ran();
    let (ids, names) =
        (Int64Array::from_iter_values(0..n), StringArray::from_iter_values((0..n).map(|n| n.to_string())));
    RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("name", Arc::new(names) as _)]).ok()
}

#[cached]
fn table(n: i64) -> Table {
    Table::from(batch(n).unwrap())
}

#[cached]
fn tensors(n: usize) -> Tensors {
    ran();
    let mut tensors = Tensors::new();
    tensors.insert("w", Tensor::from_slice::<f32>(&[n], &vec![0.5; n]).unwrap());
    tensors
}

#[cached(async)]
async fn later(n: usize) -> Array2<f64> {
    ran();
    Array2::ones((n, 3))
}

/// What stays in memory does not answer: whatever is asked for is read.
fn without_memory(dir: &Path) -> CacheConfig {
    let mut config = CacheConfig::new(dir.join("cache"));
    config.metadata.enable_memory_cache = false;
    config
}

#[test]
fn every_native_type_is_a_result_and_is_read_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("words.csv");
    std::fs::write(&csv, "one two three").unwrap();
    let _isolated = isolated_with(Cache::new(without_memory(dir.path())).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = || {
        let frame = fallible(&csv).unwrap();
        (array(100_000), shared_array(5), frame.height(), batch(3), table(4), tensors(7), runtime.block_on(later(9)))
    };
    let first = all();
    let runs = RUNS.load(Ordering::SeqCst);
    let second = all();
    assert_eq!(RUNS.load(Ordering::SeqCst), runs, "nothing was computed again");
    assert!(first == second);
    assert_eq!((second.0[[7, 1]], second.2, second.3.unwrap().num_rows()), (71.0, 3, 3));
    let handlers: std::collections::BTreeSet<_> =
        default_cache().unwrap().list_entries().map(|entry| entry.unwrap().handler_used().to_owned()).collect();
    assert_eq!(handlers.into_iter().collect::<Vec<_>>(), ["npy", "parquet", "safetensors"]);
    assert!(fallible(Path::new("/nowhere")).is_err());
}

#[cached]
fn mean(values: &Array2<f64>, frame: &DataFrame, batch: &RecordBatch) -> f64 {
    ran();
    values.mean().unwrap() + frame.height() as f64 + batch.num_rows() as f64
}

#[test]
fn arrays_and_frames_are_arguments_by_their_contents() {
    let _isolated = cacheness::testing::isolated();
    let frame = |word: &str| DataFrame::new(1, vec![Series::new("w".into(), [word]).into_column()]).unwrap();
    let before = RUNS.load(Ordering::SeqCst);
    let batch_of = |n| batch(n).unwrap();
    let (ones, batch_2, batch_3) = (Array2::ones((2, 3)), batch_of(2), batch_of(3));
    let after_batches = RUNS.load(Ordering::SeqCst);
    assert_eq!(after_batches - before, 2);
    for _ in 0..2 {
        mean(&ones, &frame("a"), &batch_2);
        mean(&ones.clone(), &frame("a"), &batch_of(2));
        mean(&Array2::ones((3, 2)), &frame("a"), &batch_2);
        mean(&ones, &frame("b"), &batch_2);
        mean(&ones, &frame("a"), &batch_3);
    }
    assert_eq!(RUNS.load(Ordering::SeqCst) - after_batches, 4);
}
