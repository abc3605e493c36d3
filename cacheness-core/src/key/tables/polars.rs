//! Data frames and series of polars: by name, type and values, however they lie in memory.

use polars_core::prelude::{DataFrame, DataType, Field, PolarsResult, Series};

use crate::error::{CacheError, ErrorKind};
use crate::key::values::KeyList;
use crate::key::{CacheKey, KeyFields, KeyWriter, tag};

impl CacheKey for DataFrame {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.record("polars::DataFrame", None, KeyFields::Positional(2), |writer| {
            writer.write_usize(self.height());
            let columns = self.columns();
            writer.counted(tag::SEQUENCE, columns.len(), |writer| {
                columns.iter().for_each(|column| named(column.as_materialized_series(), writer));
            });
        });
    }
}

impl CacheKey for Series {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.record("polars::Series", None, KeyFields::Positional(1), |writer| named(self, writer));
    }
}

fn named(series: &Series, writer: &mut KeyWriter) {
    writer.tuple(3, |writer| {
        writer.write_str(series.name());
        kind(series.dtype(), writer);
        column(series, writer);
    });
}

/// A type, with everything that it is made of.
fn kind(data_type: &DataType, writer: &mut KeyWriter) {
    let (name, fields): (String, Vec<Field>) = match data_type {
        DataType::List(items) => ("List".into(), vec![Field::new("".into(), (**items).clone())]),
        DataType::Array(items, width) => (format!("Array({width})"), vec![Field::new("".into(), (**items).clone())]),
        DataType::Struct(fields) => ("Struct".into(), fields.clone()),
        DataType::Enum(categories, _) => {
            let names: Vec<&str> = categories.categories().values_iter().collect();
            (format!("Enum({names:?})"), Vec::new())
        }
        DataType::Categorical(categories, _) => {
            (format!("Categorical({:?}, {:?})", categories.name(), categories.namespace()), Vec::new())
        }
        plain => (format!("{plain:?}"), Vec::new()),
    };
    writer.tuple(2, |writer| {
        writer.write_str(&name);
        writer.counted(tag::SEQUENCE, fields.len(), |writer| {
            for field in &fields {
                writer.tuple(2, |writer| {
                    writer.write_str(field.name());
                    kind(field.dtype(), writer);
                });
            }
        });
    });
}

/// How many there are, where there are values, and which.
fn column(series: &Series, writer: &mut KeyWriter) {
    if writer.failed() {
        return;
    }
    writer.tuple(3, |writer| {
        writer.write_usize(series.len());
        if series.null_count() == 0 {
            writer.write_none();
        } else {
            let valid: Vec<bool> = series.is_not_null().iter().flatten().collect();
            bool::encode_list(KeyList::Sequence, valid.len(), [&*valid].into_iter(), writer);
        }
        // Without what lies where nothing is.
        let dense = if series.null_count() == 0 { series.clone() } else { series.drop_nulls() };
        if let Err(error) = values(&dense, writer) {
            let message = format!("there is no key of the column `{}`: {error}", series.name());
            writer.fail(CacheError::new(ErrorKind::Serialization, message));
        }
    });
}

macro_rules! numbers {
    ($array:expr, $writer:expr) => {{
        let array = $array;
        CacheKey::encode_list(KeyList::Sequence, array.len(), array.data_views(), $writer);
    }};
}

/// Values of which none is null.
fn values(series: &Series, writer: &mut KeyWriter) -> PolarsResult<()> {
    if matches!(series.dtype(), DataType::Categorical(..) | DataType::Enum(..)) {
        return values(&series.cast(&DataType::String)?, writer);
    }
    let physical = series.to_physical_repr();
    match physical.dtype() {
        DataType::Int8 => numbers!(physical.i8()?, writer),
        DataType::Int16 => numbers!(physical.i16()?, writer),
        DataType::Int32 => numbers!(physical.i32()?, writer),
        DataType::Int64 => numbers!(physical.i64()?, writer),
        DataType::Int128 => numbers!(physical.i128()?, writer),
        DataType::UInt8 => numbers!(physical.u8()?, writer),
        DataType::UInt16 => numbers!(physical.u16()?, writer),
        DataType::UInt32 => numbers!(physical.u32()?, writer),
        DataType::UInt64 => numbers!(physical.u64()?, writer),
        DataType::UInt128 => numbers!(physical.u128()?, writer),
        DataType::Float32 => numbers!(physical.f32()?, writer),
        DataType::Float64 => numbers!(physical.f64()?, writer),
        // Each is one of the wider floats, too.
        DataType::Float16 => return values(&physical.cast(&DataType::Float32)?, writer),
        DataType::Boolean => {
            let values: Vec<bool> = physical.bool()?.iter().flatten().collect();
            bool::encode_list(KeyList::Sequence, values.len(), [&*values].into_iter(), writer);
        }
        DataType::String => writer.counted(tag::SEQUENCE, physical.len(), |writer| {
            physical.str().into_iter().flat_map(|texts| texts.iter()).flatten().for_each(|text| writer.write_str(text));
        }),
        DataType::Binary => writer.counted(tag::SEQUENCE, physical.len(), |writer| {
            let values = physical.binary().into_iter().flat_map(|values| values.iter());
            values.flatten().for_each(|value| writer.write_bytes(value));
        }),
        DataType::Null => writer.write_unit(),
        _ => return nested(series, writer),
    }
    Ok(())
}

fn nested(series: &Series, writer: &mut KeyWriter) -> PolarsResult<()> {
    match series.dtype() {
        DataType::List(_) => {
            let lists = series.list()?;
            writer.counted(tag::SEQUENCE, lists.len(), |writer| {
                (0..lists.len()).filter_map(|n| lists.get_as_series(n)).for_each(|list| column(&list, writer));
            });
        }
        DataType::Array(items, _) => {
            let lists = series.cast(&DataType::List(items.clone()))?;
            return nested(&lists, writer);
        }
        DataType::Struct(_) => {
            let fields = series.struct_()?.fields_as_series();
            writer.counted(tag::SEQUENCE, fields.len(), |writer| fields.iter().for_each(|field| column(field, writer)));
        }
        other => return Err(polars_core::prelude::PolarsError::InvalidOperation(format!("the type `{other}`").into())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use polars_core::prelude::*;

    use super::*;
    use crate::codec::native::frames::tests::{series, types};
    use crate::key::{Key, ToKey};

    fn key(value: &impl CacheKey) -> Key {
        value.to_key().unwrap()
    }

    #[test]
    fn series_that_are_equal_have_one_key_however_they_are_divided() {
        for data_type in types() {
            for nulls in [false, true] {
                let whole = series(&data_type, 9, nulls);
                let mut parts = whole.slice(0, 4);
                parts.append(&whole.slice(4, 5)).unwrap();
                assert_eq!(key(&whole), key(&parts), "{data_type}");
                assert_ne!(key(&whole), key(&whole.slice(0, 8)), "{data_type}");
                assert_ne!(key(&whole), key(&whole.clone().with_name("other".into())), "{data_type}");
                let lists = |series: &Series| series.implode().unwrap().into_series();
                assert_eq!(key(&lists(&whole)), key(&lists(&parts)), "{data_type}");
                assert_eq!(key(&whole.clone().into_frame()), key(&parts.into_frame()), "{data_type}");
            }
        }
    }

    #[test]
    fn other_values_nulls_and_types_have_other_keys() {
        let series = [
            Series::new("a".into(), [1, 2]),
            Series::new("a".into(), [1, 3]),
            Series::new("a".into(), [1_i64, 2]),
            Series::new("a".into(), [Some(1), None]),
            Series::new("a".into(), [None, Some(1)]),
            Series::new("a".into(), ["ab", "c"]),
            Series::new("a".into(), ["a", "bc"]),
            Series::new("a".into(), [0.0]),
            Series::new("a".into(), [-0.0]),
            Series::new("a".into(), [true, false]),
        ];
        let keys: std::collections::HashSet<Key> = series.iter().map(key).collect();
        assert_eq!(keys.len(), series.len());
        let frames: std::collections::HashSet<Key> =
            series.iter().map(|series| key(&series.clone().into_frame())).collect();
        assert!(frames.len() == series.len() && frames.is_disjoint(&keys));
    }
}
