//! What Parquet can hold so that it comes back as it was.

use arrow_array::{Array, Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array, RecordBatch, make_array};
use arrow_schema::{DataType, IntervalUnit, Schema};

use super::super::nesting;
use crate::codec::handler::HandlerError;

/// # Errors
/// A column that Parquet cannot hold, by name.
pub(super) fn check(schema: &Schema, batches: &[RecordBatch]) -> Result<(), HandlerError> {
    if schema.fields().is_empty() && batches.iter().any(|batch| batch.num_rows() > 0) {
        return Err("Parquet cannot hold rows without columns: use the format `arrow`".into());
    }
    for (n, field) in schema.fields().iter().enumerate() {
        let refused = |what: &str| -> HandlerError {
            let (name, data_type) = (field.name(), field.data_type());
            format!("Parquet cannot hold the column `{name}` of the type `{data_type}`{what}: use the format `arrow`")
                .into()
        };
        if nesting::any(field.data_type(), &is_foreign) {
            return Err(refused(""));
        }
        if nesting::any(field.data_type(), &is_decimal)
            && !batches.iter().all(|batch| has_valid_decimals(batch.column(n)))
        {
            return Err(refused(", which has values of more digits"));
        }
    }
    Ok(())
}

/// Types that Parquet does not have, or that its library does not give back.
fn is_foreign(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) | DataType::RunEndEncoded(..) | DataType::Interval(IntervalUnit::MonthDayNano) => true,
        DataType::Struct(fields) => fields.is_empty(),
        DataType::FixedSizeBinary(width) => *width == 0,
        DataType::Dictionary(_, values) => !is_of_dictionaries(values),
        // How much a file of them takes in memory cannot be told before it is read: a null takes as much as a list.
        other => nesting::is_list(other) && nesting::any(other, &|inner| matches!(inner, DataType::FixedSizeList(..))),
    }
}

/// Types whose dictionaries can be read.
fn is_of_dictionaries(values: &DataType) -> bool {
    match values {
        DataType::Float16 | DataType::Interval(_) => false,
        // With more digits they are bytes in Parquet.
        DataType::Decimal32(precision, _)
        | DataType::Decimal64(precision, _)
        | DataType::Decimal128(precision, _)
        | DataType::Decimal256(precision, _) => *precision <= 18,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        other => other.is_primitive(),
    }
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..)
    )
}

/// Whether all decimals have as many digits as their type says: more would be cut off.
fn has_valid_decimals(array: &dyn Array) -> bool {
    let data = array.to_data();
    let valid = match *array.data_type() {
        DataType::Decimal32(precision, _) => Decimal32Array::from(data.clone()).validate_decimal_precision(precision),
        DataType::Decimal64(precision, _) => Decimal64Array::from(data.clone()).validate_decimal_precision(precision),
        DataType::Decimal128(precision, _) => Decimal128Array::from(data.clone()).validate_decimal_precision(precision),
        DataType::Decimal256(precision, _) => Decimal256Array::from(data.clone()).validate_decimal_precision(precision),
        _ => Ok(()),
    };
    valid.is_ok() && data.child_data().iter().all(|child| has_valid_decimals(&make_array(child.clone())))
}
