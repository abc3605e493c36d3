//! What comes back of tables, bit for bit, and what is refused.

mod hostile;
pub(crate) mod random;
mod refused;

use std::io::Write;
use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{DictionaryArray, Int64Array, StringArray};
use arrow_schema::{DataType, Field, Schema};
use proptest::prelude::*;

use super::*;
use crate::codec::native::ParquetCodec;
use random::{Random, batch, dictionaries_of, made_of, of_schema, plain_types};

pub(in crate::codec::native) const PARQUET: NativeOptions =
    NativeOptions { format: NativeFormat::Parquet, parquet: ParquetCodec::Lz4, limit: u64::MAX };
pub(in crate::codec::native) const ARROW: NativeOptions =
    NativeOptions { format: NativeFormat::Arrow, parquet: ParquetCodec::Lz4, limit: u64::MAX };

pub(in crate::codec::native) fn written<T: Native>(value: &T, options: NativeOptions) -> Result<Vec<u8>, HandlerError> {
    let mut bytes = Vec::new();
    value.write(options, &mut bytes)?;
    Ok(bytes)
}

/// The same bytes from memory and from a file.
pub(in crate::codec::native) fn sources(bytes: &[u8]) -> [Source; 2] {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    [Source::of_bytes(bytes.to_vec()), Source::of_file(file, bytes.len() as u64)]
}

#[track_caller]
fn assert_comes_back<T: Native + PartialEq + std::fmt::Debug>(value: &T, options: NativeOptions) {
    let bytes = written(value, options).unwrap();
    for source in sources(&bytes) {
        assert_eq!(T::read(options.format, source, value.size()).unwrap(), *value);
    }
}

fn any_type() -> impl Strategy<Value = DataType> {
    let plain = proptest::sample::select(plain_types());
    let plain = (plain, any::<bool>(), 0..8_usize).prop_map(|(plain, is_dictionary, key)| {
        if is_dictionary { dictionaries_of(&plain).swap_remove(key) } else { plain }
    });
    plain.prop_recursive(3, 8, 1, |inner| (inner, 0..12_usize).prop_map(|(inner, n)| made_of(&inner).swap_remove(n)))
}

pub(in crate::codec::native) fn any_codec() -> impl Strategy<Value = ParquetCodec> {
    proptest::sample::select(vec![ParquetCodec::None, ParquetCodec::Lz4, ParquetCodec::Zstd, ParquetCodec::Snappy])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_of_any_types_comes_back_or_is_refused_before_anything_is_written(
        types in proptest::collection::vec(any_type(), 0..4),
        codec in any_codec(),
        rows in 0..60_usize,
        seed: u64,
    ) {
        let value = batch(&mut Random(seed), &types, rows);
        assert_comes_back(&value, ARROW);
        let options = NativeOptions { parquet: codec, ..PARQUET };
        let mut bytes = Vec::new();
        match value.write(options, &mut bytes) {
            Ok(()) => assert_comes_back(&value, options),
            Err(error) => {
                prop_assert!(bytes.is_empty());
                prop_assert!(error.to_string().ends_with("use the format `arrow`"), "{}", error);
            }
        }
    }

    #[test]
    fn a_table_of_several_batches_comes_back(
        types in proptest::collection::vec(any_type(), 1..3),
        rows in proptest::collection::vec(0..30_usize, 0..4),
        seed: u64,
    ) {
        let mut random = Random(seed);
        let first = batch(&mut random, &types, 3);
        let batches = rows.iter().map(|&rows| of_schema(&mut random, &first.schema(), rows)).collect();
        let table = Table::new(first.schema(), batches).unwrap();
        for options in [ARROW, PARQUET] {
            match written(&table, options) {
                Ok(_) => assert_comes_back(&table, options),
                Err(_) => prop_assert_eq!(options, PARQUET),
            }
        }
    }
}

#[test]
fn every_type_comes_back_from_arrow_and_those_that_parquet_holds_from_parquet() {
    let plain = plain_types();
    let kinds = plain.iter().flat_map(dictionaries_of).chain(plain.clone());
    let made = [DataType::Int8, DataType::Float64, DataType::Utf8, DataType::Utf8View].into_iter();
    for data_type in kinds.chain(made.flat_map(|inner| made_of(&inner))) {
        let value = batch(&mut Random(7), std::slice::from_ref(&data_type), 40);
        assert_comes_back(&value, ARROW);
        if written(&value, PARQUET).is_ok() {
            assert_comes_back(&value, PARQUET);
        }
    }
}

#[test]
fn rows_without_columns_come_back_from_arrow() {
    let options = RecordBatchOptions::new().with_row_count(Some(5));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).unwrap();
    assert_comes_back(&batch, ARROW);
    assert_comes_back(&Table::new(batch.schema(), vec![batch.clone(), batch.clone()]).unwrap(), ARROW);
    for options in [ARROW, PARQUET] {
        assert_comes_back(&batch.slice(0, 0), options);
        assert_comes_back(&Table::new(batch.schema(), Vec::new()).unwrap(), options);
    }
}

fn numbers(range: Range<i64>) -> RecordBatch {
    let texts: StringArray = range.clone().map(|n| Some(format!("number {n}"))).collect();
    let number: Int64Array = range.map(Some).collect();
    RecordBatch::try_from_iter([("number", Arc::new(number) as _), ("text", Arc::new(texts) as _)]).unwrap()
}

#[test]
fn a_large_batch_is_written_as_several_row_groups_and_comes_back_as_one_batch() {
    let batch = numbers(0..1_500_000);
    let bytes = written(&batch, PARQUET).unwrap();
    assert_eq!(RecordBatch::read(NativeFormat::Parquet, Source::of_bytes(bytes.clone()), batch.size()).unwrap(), batch);
    let table = Table::read(NativeFormat::Parquet, Source::of_bytes(bytes), batch.size()).unwrap();
    assert!(table.batches().len() > 1);
    assert_eq!(table, batch.into());
}

#[test]
fn batches_with_other_dictionaries_come_back() {
    let of = |texts: [&str; 3]| Arc::new(texts.into_iter().collect::<DictionaryArray<Int8Type>>());
    let batches: Vec<_> = [["a", "b", "a"], ["c", "a", "d"]]
        .map(|texts| RecordBatch::try_from_iter([("text", of(texts) as _)]).unwrap())
        .into();
    let table = Table::new(batches[0].schema(), batches).unwrap();
    assert_comes_back(&table, ARROW);
    assert_comes_back(&table, PARQUET);
}

#[test]
fn a_scan_has_the_columns_and_rows_that_were_asked_for() {
    let batch = numbers(0..1_500_000);
    for source in sources(&written(&batch, PARQUET).unwrap()) {
        let found = scan(source, batch.size(), Some(&["text"]), 1_040_000..1_060_000).unwrap();
        assert_eq!(found, batch.project(&[1]).unwrap().slice(1_040_000, 20_000).into());
    }
    let small = numbers(0..10);
    let bytes = written(&small, PARQUET).unwrap();
    let scan = |columns: Option<&[&str]>, rows| scan(Source::of_bytes(bytes.clone()), 1 << 20, columns, rows);
    assert_eq!(scan(None, 3..5).unwrap(), small.slice(3, 2).into());
    assert_eq!(scan(None, 8..usize::MAX).unwrap(), small.slice(8, 2).into());
    assert_eq!(scan(Some(&["text", "number"]), 0..10).unwrap(), small.clone().into());
    assert_eq!(scan(None, 20..30).unwrap().num_rows(), 0);
    assert_eq!(scan(Some(&[]), 2..6).unwrap().num_rows(), 4);
    assert!(scan(Some(&["date"]), 0..1).unwrap_err().to_string().contains("`date`"));
}

#[test]
fn tables_are_equal_however_they_are_divided() {
    let whole = Table::from(numbers(0..10));
    let divided = |at: &[i64]| {
        let batches = at.windows(2).map(|ends| numbers(ends[0]..ends[1])).collect();
        Table::new(Arc::clone(whole.schema()), batches).unwrap()
    };
    assert_eq!(whole, divided(&[0, 3, 3, 10]));
    assert_eq!(divided(&[0, 1, 10]), divided(&[0, 9, 10]));
    assert_ne!(whole, divided(&[0, 3, 9]));
    assert_ne!(whole, divided(&[1, 3, 11]));
    let other = Schema::new(vec![Field::new("number", DataType::Int64, true)]);
    assert_eq!(Table::new(Arc::new(other), vec![numbers(0..1)]).unwrap_err().kind(), ErrorKind::InvalidArgument);
}
