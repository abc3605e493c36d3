//! What Parquet cannot hold is refused by name.

use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal128Array};
use arrow_schema::{DataType, IntervalUnit, UnionMode};

use super::*;

#[track_caller]
fn refusal(value: &RecordBatch) -> String {
    let mut bytes = Vec::new();
    let error = value.write(PARQUET, &mut bytes).unwrap_err();
    assert!(bytes.is_empty());
    error.to_string()
}

#[test]
fn types_that_parquet_does_not_hold_are_refused_with_the_name_of_the_column() {
    let union = made_of(&DataType::Int8).into_iter().find(|made| matches!(made, DataType::Union(_, UnionMode::Dense)));
    let foreign = [
        DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::FixedSizeBinary(0),
        DataType::Struct(Default::default()),
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Float16)),
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Boolean)),
        DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Decimal128(38, 0))),
        union.unwrap(),
    ];
    for data_type in foreign {
        let list = made_of(&data_type).swap_remove(0);
        for data_type in [data_type, list] {
            let text = refusal(&batch(&mut Random(1), &[DataType::Int8, data_type.clone()], 4));
            assert!(text.contains("`column 1`") && text.contains(&data_type.to_string()), "{text}");
            assert!(text.contains("use the format `arrow`"), "{text}");
        }
    }
}

#[test]
fn a_decimal_of_more_digits_than_its_type_has_is_refused() {
    let decimals = |value: i128| {
        let array = Decimal128Array::from(vec![1, value]).with_precision_and_scale(9, 2).unwrap();
        RecordBatch::try_from_iter([("price", Arc::new(array) as ArrayRef)]).unwrap()
    };
    assert_comes_back(&decimals(999_999_999), PARQUET);
    assert!(refusal(&decimals(1_000_000_000)).contains("`price`"));
    assert_comes_back(&decimals(1_000_000_000), ARROW);
}

#[test]
fn a_column_may_be_nested_24_types_deep() {
    let nested = |depth: usize| (1..depth).fold(DataType::Int8, |inner, _| made_of(&inner).swap_remove(0));
    for options in [PARQUET, ARROW] {
        assert_comes_back(&batch(&mut Random(1), &[nested(24)], 2), options);
        let deeper = batch(&mut Random(1), &[nested(25)], 0);
        assert!(written(&deeper, options).unwrap_err().to_string().contains("`column 0` is nested deeper"));
    }
}

#[test]
fn rows_without_columns_are_refused() {
    let options = RecordBatchOptions::new().with_row_count(Some(5));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options).unwrap();
    assert!(refusal(&batch).contains("rows without columns"));
}
