//! Arrays of 100 MB as `.npy`, and a table of a million rows with strings as Parquet and Arrow IPC: in and out of the cache.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use cacheness::config::Codec;
use cacheness::{Cache, CacheConfig, PutOptions, hash_content};
use cacheness_benches::{Bench, Work, ramp, random_numbers, settle, steps, timed, walk};
use ndarray::Array1;

const NUMBERS: usize = 12_500_000;
const ROWS: usize = 1_000_000;
const ROUNDS: usize = 7;

fn main() {
    let mut bench = Bench::new("formats", env!("CARGO_TARGET_TMPDIR"));
    let cache = Cache::new(CacheConfig::new(bench.dir("cache")).with_memory_cache(false)).unwrap();
    let count = bench.full_or(NUMBERS, NUMBERS / 100);
    array(&mut bench, &cache, "random", random_numbers(count).into());
    array(&mut bench, &cache, "steps", steps(count).into());
    array(&mut bench, &cache, "ramp", ramp(count).into());
    array(&mut bench, &cache, "walk", walk(count).into());
    let config = CacheConfig::new(bench.dir("lz4")).with_memory_cache(false).with_arrays_codec(Codec::Lz4);
    let compressing = Cache::new(config).unwrap();
    compressed(&mut bench, &compressing, "steps", &steps(count).into());
    compressed(&mut bench, &compressing, "ramp", &ramp(count).into());
    compressed(&mut bench, &compressing, "walk", &walk(count).into());
    compressing.close().unwrap();
    key(&mut bench, &random_numbers(count).into());
    let rows = bench.full_or(ROWS, ROWS / 100);
    table(&mut bench, &cache, "parquet", &rows_of(rows));
    table(&mut bench, &cache, "arrow", &rows_of(rows));
    cache.close().unwrap();
}

fn array(bench: &mut Bench, cache: &Cache, kind: &'static str, array: Array1<f64>) {
    let (python, count) = (bench.python(), array.len());
    let order = |work: &str| format!("{work}.{kind}.{count}");
    let name = |doing: &str| format!("{doing} 100 MB array, {kind}");
    let work = put(bench, cache, kind, &name("put"), &array).python("joblib 1.6", 1.0, &python, &order("joblib.put"));
    let work = work.python("diskcache 5.6", 1.0, &python, &order("diskcache.put"));
    work.python("blosc2 4", 1.0, &python, &order("blosc2.put")).run();
    let work = get(bench, cache, kind, &name("get"), &array).python("joblib 1.6", 1.0, &python, &order("joblib.get"));
    let work = work.python("diskcache 5.6", 1.0, &python, &order("diskcache.get_numbers"));
    work.python("blosc2 4", 1.0, &python, &order("blosc2.get")).run();
}

/// With `compression.arrays_codec = "lz4"`, beside what compresses too.
fn compressed(bench: &mut Bench, cache: &Cache, kind: &'static str, array: &Array1<f64>) {
    let (python, count) = (bench.python(), array.len());
    let name = |doing: &str| format!("{doing} 100 MB array, {kind}, lz4");
    let work = put(bench, cache, kind, &name("put"), array);
    work.python("blosc2 4", 1.0, &python, &format!("blosc2.put.{kind}.{count}")).run();
    let work = get(bench, cache, kind, &name("get"), array);
    work.python("blosc2 4", 1.0, &python, &format!("blosc2.get.{kind}.{count}")).run();
}

fn put<'b>(bench: &'b mut Bench, cache: &'b Cache, kind: &'static str, name: &str, array: &'b Array1<f64>) -> Work<'b> {
    let put = move |_| {
        settle();
        let seconds = timed(|| drop(cache.put_native(kind, array).unwrap()));
        cache.flush().unwrap();
        seconds
    };
    bench.work(name).bytes(8 * array.len() as u64).calls(1).rounds(ROUNDS).ours(put)
}

fn get<'b>(bench: &'b mut Bench, cache: &'b Cache, kind: &'static str, name: &str, array: &'b Array1<f64>) -> Work<'b> {
    let get = move |_| {
        let mut got = None;
        let seconds = timed(|| got = cache.get_native::<Array1<f64>>(kind).unwrap());
        assert!(got.as_ref() == Some(array));
        seconds
    };
    bench.work(name).bytes(8 * array.len() as u64).calls(1).rounds(ROUNDS).ours(get)
}

/// What an array as an argument costs each call.
fn key(bench: &mut Bench, array: &Array1<f64>) {
    let (python, bytes, count) = (bench.python(), 8 * array.len() as u64, array.len());
    let ours = |_| timed(|| drop(hash_content(array).unwrap()));
    let work = bench.work("key of 100 MB array").bytes(bytes).calls(1).rounds(ROUNDS).ours(ours);
    work.python("joblib.hash", 1.0, &python, &format!("joblib.hash.{count}")).run();
}

fn rows_of(count: usize) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count as i64));
    let values: ArrayRef = Arc::new(Float64Array::from(random_numbers(count)));
    let stations: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..count).map(|row| format!("station {}", row % 5000))));
    let notes: ArrayRef = Arc::new(StringArray::from_iter_values((0..count).map(|row| format!("row {row} of many"))));
    RecordBatch::try_from_iter([("id", ids), ("value", values), ("station", stations), ("note", notes)]).unwrap()
}

fn table(bench: &mut Bench, cache: &Cache, format: &'static str, table: &RecordBatch) {
    let (python, rows) = (bench.python(), table.num_rows());
    let name = |doing: &str| format!("{doing} a million rows as {format}");
    let put = |_| {
        settle();
        let options = PutOptions::new().handler(format);
        let seconds = timed(|| drop(cache.put_native_with(format, table, options).unwrap()));
        cache.flush().unwrap();
        seconds
    };
    let work = bench.work(&name("put")).calls(1).rounds(ROUNDS).ours(put);
    let work = work.python("diskcache + pyarrow", 1.0, &python, &format!("parquet.put.{rows}"));
    work.python("joblib of pandas", 1.0, &python, &format!("joblib.put_table.{rows}")).run();
    let get = |_| {
        let mut got = None;
        let seconds = timed(|| got = cache.get_native::<RecordBatch>(format).unwrap());
        assert!(got.as_ref() == Some(table));
        seconds
    };
    let work = bench.work(&name("get")).calls(1).rounds(ROUNDS).ours(get);
    let work = work.python("diskcache + pyarrow", 1.0, &python, &format!("parquet.get.{rows}"));
    work.python("joblib of pandas", 1.0, &python, &format!("joblib.get_table.{rows}")).run();
}
