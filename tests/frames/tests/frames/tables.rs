//! pandas, polars and DuckDB.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use cacheness::config::SigningKey;
use cacheness::native::{Table, read_file};
use cacheness::{Cache, CacheConfig, PutOptions};
use polars_core::prelude::{DataFrame, DataType, IntoColumn, NamedFrom, Series, TimeUnit};

use super::{cache_in, in_files, python, stored};

pub(super) fn batch() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MAX)]))),
        ("x", Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None]))),
        ("name", Arc::new(StringArray::from(vec![Some("Zürich"), Some(""), None]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("kind", Arc::new(DictionaryArray::<Int32Type>::from_iter([Some("a"), Some("b"), Some("a")]))),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(0), None, Some(1_700_000_000_000_000)]).with_timezone("UTC"),
            ),
        ),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
                Some(vec![Some(1), None]),
                None,
                Some(vec![]),
            ])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// What the tools of Python print of a table, one line for each of them.
const TELL: &str = r#"
import json, math
def clean(x):
    if x is None or (isinstance(x, float) and math.isnan(x)): return None
    if hasattr(x, 'isoformat'): return x.timestamp()
    if isinstance(x, (list, tuple)) or hasattr(x, 'tolist') and not isinstance(x, str): return [clean(y) for y in list(x)]
    return x
def tell(rows): print(json.dumps([[clean(x) for x in row] for row in rows], ensure_ascii=False))
"#;

const ROWS: &str = r#"[[1, 0.5, "Zürich", true, "a", 0.0, [1, null]], [null, null, "", null, "b", null, null], [9223372036854775807, null, null, false, "a", 1700000000.0, []]]"#;

#[test]
fn pandas_polars_pyarrow_and_duckdb_open_a_table_in_both_formats() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(in_files(dir.path()).with_handler_priority(["parquet"])).unwrap();
    let parquet = stored(&cache, "parquet", &batch());
    cache.put_native_with("arrow", &batch(), PutOptions::new().handler("arrow")).unwrap();
    let arrow = cache.open_file("arrow").unwrap().unwrap();
    let program = format!(
        "{TELL}
import pyarrow as pa, pyarrow.parquet as pq, polars as pl, duckdb, pandas as pd
for t in [pq.read_table({parquet:?}), pa.ipc.open_file({arrow:?}).read_all()]:
    tell(zip(*[c.to_pylist() for c in t.columns]))
    print(t.schema.field('kind').type, t.schema.field('at').type)
tell(pl.read_parquet({parquet:?}).rows())
tell(pl.read_ipc({arrow:?}).rows())
tell(duckdb.sql(\"select * from '{parquet}'\").fetchall())
df = pd.read_parquet({parquet:?}, dtype_backend='pyarrow')
tell([[None if not isinstance(x, (list, tuple)) and not hasattr(x, 'tolist') and x is pd.NA else x for x in row] for row in df.itertuples(index=False)])
",
        arrow = arrow.path()
    );
    let said = python.run(dir.path(), &program);
    let lines: Vec<_> = said.lines().collect();
    let types = "dictionary<values=string, indices=int32, ordered=0> timestamp[us, tz=UTC]";
    assert_eq!([lines[1], lines[3]], [types; 2]);
    for (tool, line) in [("pyarrow", 0), ("ipc", 2), ("polars", 4), ("polars ipc", 5), ("duckdb", 6), ("pandas", 7)] {
        assert_eq!(lines[line], ROWS, "{tool}");
    }
}

#[test]
fn what_pandas_polars_and_duckdb_write_comes_back() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let program = "
import pandas as pd, polars as pl, duckdb, pyarrow as pa
rows = {'id': [1, 2, 3], 'name': ['a', None, 'c'], 'x': [0.5, 1.5, None]}
pd.DataFrame(rows).to_parquet('pandas.parquet', index=False)
pl.DataFrame(rows).write_parquet('polars.parquet')
pl.DataFrame(rows).write_ipc('polars.arrow')
duckdb.sql(\"copy (select * from (values (1, 'a', 0.5), (2, null, 1.5), (3, 'c', null)) t(id, name, x)) to 'duckdb.parquet'\")
";
    python.run(dir.path(), program);
    for file in ["pandas.parquet", "polars.parquet", "polars.arrow", "duckdb.parquet"] {
        let path = dir.path().join(file);
        let table: Table = read_file(&path).unwrap();
        let frame: DataFrame = read_file(&path).unwrap();
        assert_eq!((table.num_rows(), frame.height(), frame.width()), (3, 3, 3), "{file}");
        let names = frame.column("name").unwrap().cast(&DataType::String).unwrap();
        assert_eq!(names.str().unwrap().get(1), None, "{file}");
        assert_eq!(names.str().unwrap().get(2), Some("c"), "{file}");
        let cache = cache_in(dir.path());
        cache.put_native(file, &table).unwrap();
        assert_eq!(cache.get_native::<Table>(file).unwrap(), Some(table), "{file}");
    }
}

#[test]
fn a_frame_of_polars_is_opened_by_the_polars_of_python() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cache = cache_in(dir.path());
    let at = Series::new("at".into(), [0_i64, 1_700_000_000_000]);
    let at = at.cast(&DataType::Datetime(TimeUnit::Milliseconds, None)).unwrap();
    let columns = vec![Series::new("n".into(), [1_u8, 255]).into_column(), at.into_column()];
    let frame = DataFrame::new(2, columns).unwrap();
    let path = stored(&cache, "frame", &frame);
    let program =
        format!("import polars as pl\nf = pl.read_parquet({path:?})\nprint(f.schema, f.rows()[1][0], f.rows()[1][1])");
    let said = python.run(dir.path(), &program);
    assert!(
        said.contains("UInt8") && said.contains("'ms'") && said.trim().ends_with("255 2023-11-14 22:13:20"),
        "{said}"
    );
}

#[test]
fn every_compression_of_parquet_is_read_by_others() {
    let Some(python) = python() else { return };
    for codec in cacheness::config::ParquetCodec::ALL {
        let dir = tempfile::tempdir().unwrap();
        let config = CacheConfig::new(dir.path().join("cache")).with_parquet_compression(codec);
        let cache = Cache::new(config).unwrap();
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values((0..200_000).map(|n| n % 1000)));
        cache.put_native("t", &RecordBatch::try_from_iter([("n", column)]).unwrap()).unwrap();
        let file = cache.open_file("t").unwrap().unwrap();
        let program = format!(
            "import pyarrow.parquet as pq\nf = pq.ParquetFile({:?})\n\
             print(f.metadata.row_group(0).column(0).compression, sum(f.read().column(0).to_pylist()))",
            file.path()
        );
        let name = match codec.name() {
            "none" => "UNCOMPRESSED".to_owned(),
            other => other.to_uppercase(),
        };
        assert_eq!(python.run(dir.path(), &program).trim(), format!("{name} 99900000"));
    }
}

#[test]
fn a_scan_of_some_columns_and_rows_reads_no_more_than_these() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache_in(dir.path());
    cache.put_native("t", &batch()).unwrap();
    let part = cache.scan_table("t", Some(&["name", "id"]), 1..3).unwrap().unwrap();
    assert_eq!(part.num_rows(), 2);
    let names: Vec<_> = part.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names.len(), 2);
    let ids = part.batches()[0].column_by_name("id").unwrap();
    assert!(ids.is_null(0) && !ids.is_null(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let later = runtime
        .block_on(cacheness::AsyncCache::from(cache.clone()).scan_table("t", Some(&["id", "name"]), 1..3))
        .unwrap();
    assert_eq!(later, Some(part));
    let error = cache.scan_table("t", Some(&["nowhere"]), 0..1).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_scan_of_one_column_believes_that_column_and_does_not_read_the_other() {
    let column = |from: i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..300_000).map(|n| (n + from).wrapping_mul(0x1e37_79b9_7f4a_7c15))))
    };
    let table = RecordBatch::try_from_iter([("first", column(0)), ("last", column(1 << 40))]).unwrap();
    let keys = [None, Some(SigningKey::from_bytes([7; 32]))];
    for key in keys {
        let dir = tempfile::tempdir().unwrap();
        let config = in_files(dir.path()).with_memory_cache(false);
        let cache = Cache::new(key.into_iter().fold(config, CacheConfig::with_signing_key)).unwrap();
        cache.put_native("t", &table).unwrap();
        cache.flush().unwrap();
        let path = cache.open_file("t").unwrap().unwrap().path().to_owned();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 5;
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let last = cache.scan_table("t", Some(&["last"]), 0..300_000).unwrap();
        assert_eq!(last, Some(table.project(&[1]).unwrap().into()), "the damage is in the other column");
        assert_eq!(cache.scan_table("t", Some(&["first"]), 0..300_000).unwrap(), None);
        assert!(!path.exists(), "the damaged file is set aside");
    }
}

pub(super) fn frame() -> DataFrame {
    let names = Series::new("name".into(), [Some("a"), None, Some("ccc")]);
    let numbers = Series::new("n".into(), [Some(0.5), Some(1.5), None]);
    DataFrame::new(3, vec![names.into_column(), numbers.into_column()]).unwrap()
}

#[test]
fn a_large_table_that_shrinks_to_a_small_file_comes_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = || in_files(dir.path()).with_memory_cache(false);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7; 1_000_000]));
    let table = RecordBatch::try_from_iter([("number", numbers)]).unwrap();
    let frame = Series::new("number".into(), vec![7_i64; 1_000_000]).into_column();
    let frame = DataFrame::new(1_000_000, vec![frame]).unwrap();
    let cache = Cache::new(config()).unwrap();
    cache.put_native("table", &table).unwrap();
    cache.put_native("frame", &frame).unwrap();
    cache.close().unwrap();
    let cache = Cache::new(config()).unwrap();
    for key in ["table", "frame"] {
        assert!(cache.open_file(key).unwrap().unwrap().path().metadata().unwrap().len() < 100_000);
    }
    assert_eq!(cache.get_native::<RecordBatch>("table").unwrap(), Some(table));
    assert_eq!(cache.scan_table("table", None, 5..9).unwrap().unwrap().num_rows(), 4);
    assert!(cache.get_native::<DataFrame>("frame").unwrap().is_some_and(|found| found.equals(&frame)));
}
