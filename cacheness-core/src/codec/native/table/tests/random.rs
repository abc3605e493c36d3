//! Arrays of every type, with whatever bits, nulls and lengths.

use std::sync::Arc;

use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::*;
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer, i256};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, FieldRef, IntervalUnit, Schema, TimeUnit, UnionFields, UnionMode};

/// Numbers that look random and come again with the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn nulls(&mut self, len: usize, nullable: bool) -> Option<NullBuffer> {
        // Sometimes a buffer that says that nothing is null, sometimes none.
        let chance = [0, 3, 10][self.below(3)];
        let valid = |random: &mut Self| !(nullable && random.below(10) < chance);
        (nullable && self.below(3) > 0).then(|| NullBuffer::from_iter((0..len).map(|_| valid(self))))
    }

    /// Bytes that often come again, and that are often all ones or zeros.
    fn bytes(&mut self, width: usize) -> Vec<u8> {
        match self.below(8) {
            0 => vec![0; width],
            1 => vec![0xff; width],
            2..5 => (0..width).map(|n| if n == 0 { self.below(3) as u8 } else { 0 }).collect(),
            // A NaN with a payload, an infinity.
            5 if width == 8 => {
                [f64::NAN.to_bits() | 0x1234, f64::INFINITY.to_bits()][self.below(2)].to_le_bytes().into()
            }
            5 if width == 4 => {
                [f32::NAN.to_bits() | 0x12, f32::NEG_INFINITY.to_bits()][self.below(2)].to_le_bytes().into()
            }
            _ => (0..width).map(|_| self.next() as u8).collect(),
        }
    }

    fn text(&mut self) -> String {
        ["", "a", "Ä", "a text longer than twelve bytes", "日本", "\0", "b"][self.below(7)].repeat(1 + self.below(3))
    }

    fn offsets(&mut self, len: usize, nulls: Option<&NullBuffer>) -> Vec<usize> {
        let mut offsets = vec![0];
        for n in 0..len {
            let is_null = nulls.is_some_and(|nulls| nulls.is_null(n));
            let more = if is_null { 0 } else { self.below(4) };
            offsets.push(offsets[n] + more);
        }
        offsets
    }
}

pub(crate) fn array(random: &mut Random, data_type: &DataType, len: usize, nullable: bool) -> ArrayRef {
    if let DataType::Dictionary(key, value) = data_type {
        return dictionary(random, key, value, len, nullable);
    }
    let nulls = random.nulls(len, nullable);
    let texts: Vec<Option<String>> =
        (0..len).map(|n| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(n)).then(|| random.text())).collect();
    let bytes = texts.iter().map(|text| text.as_ref().map(String::as_bytes));
    match data_type {
        DataType::Null => Arc::new(NullArray::new(len)),
        DataType::Boolean => {
            let values = BooleanBuffer::from_iter((0..len).map(|_| random.below(2) == 0));
            Arc::new(BooleanArray::new(values, nulls))
        }
        DataType::Utf8 => Arc::new(StringArray::from(texts)),
        DataType::LargeUtf8 => Arc::new(LargeStringArray::from(texts)),
        DataType::Utf8View => Arc::new(StringViewArray::from(texts.iter().map(Option::as_deref).collect::<Vec<_>>())),
        DataType::Binary => Arc::new(bytes.collect::<BinaryArray>()),
        DataType::LargeBinary => Arc::new(bytes.collect::<LargeBinaryArray>()),
        DataType::BinaryView => Arc::new(bytes.collect::<BinaryViewArray>()),
        DataType::FixedSizeBinary(width) => {
            let values: Vec<u8> = (0..len).flat_map(|_| random.bytes(*width as usize)).collect();
            Arc::new(FixedSizeBinaryArray::try_new_with_len(*width, values.into(), nulls, len).unwrap())
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| child(random, field, len)).collect();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, len).unwrap())
        }
        DataType::RunEndEncoded(_, values) => runs(random, values, len),
        DataType::Union(fields, mode) => union(random, fields, *mode, len),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            decimals(random, data_type, len, nulls)
        }
        _ if data_type.is_primitive() => {
            let width = data_type.primitive_width().unwrap();
            let values: Vec<u8> = (0..len).flat_map(|_| random.bytes(width)).collect();
            of_bytes(data_type, &values, len, nulls)
        }
        _ => list(random, data_type, len, nulls),
    }
}

fn of_bytes(data_type: &DataType, values: &[u8], len: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let data = ArrayData::builder(data_type.clone()).len(len).nulls(nulls).add_buffer(Buffer::from(values));
    make_array(data.align_buffers(true).build().unwrap())
}

fn child(random: &mut Random, field: &FieldRef, len: usize) -> ArrayRef {
    array(random, field.data_type(), len, field.is_nullable())
}

fn decimals(random: &mut Random, data_type: &DataType, len: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let values: Vec<i128> = (0..len).map(|_| random.below(199) as i128 - 99).collect();
    let values: Vec<u8> = match data_type {
        DataType::Decimal32(..) => values.iter().flat_map(|&value| (value as i32).to_le_bytes()).collect(),
        DataType::Decimal64(..) => values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect(),
        DataType::Decimal128(..) => values.iter().flat_map(|&value| value.to_le_bytes()).collect(),
        _ => values.iter().flat_map(|&value| i256::from_i128(value).to_le_bytes()).collect(),
    };
    of_bytes(data_type, &values, len, nulls)
}

fn list(random: &mut Random, data_type: &DataType, len: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let offsets = random.offsets(len, nulls.as_ref());
    let total = *offsets.last().unwrap();
    let small = || OffsetBuffer::new(offsets.iter().map(|&offset| offset as i32).collect());
    let large = || OffsetBuffer::new(offsets.iter().map(|&offset| offset as i64).collect());
    let starts = &offsets[..len];
    let sizes: Vec<usize> = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
    match data_type {
        DataType::List(field) => {
            let values = child(random, field, total);
            Arc::new(ListArray::new(Arc::clone(field), small(), values, nulls))
        }
        DataType::LargeList(field) => {
            let values = child(random, field, total);
            Arc::new(LargeListArray::new(Arc::clone(field), large(), values, nulls))
        }
        DataType::FixedSizeList(field, size) => {
            let values = child(random, field, len * *size as usize);
            Arc::new(FixedSizeListArray::try_new_with_length(Arc::clone(field), *size, values, nulls, len).unwrap())
        }
        DataType::ListView(field) => {
            let starts: ScalarBuffer<i32> = starts.iter().map(|&start| start as i32).collect();
            let sizes = sizes.iter().map(|&size| size as i32).collect();
            let values = child(random, field, total);
            Arc::new(ListViewArray::new(Arc::clone(field), starts, sizes, values, nulls))
        }
        DataType::LargeListView(field) => {
            let starts: ScalarBuffer<i64> = starts.iter().map(|&start| start as i64).collect();
            let sizes = sizes.iter().map(|&size| size as i64).collect();
            let values = child(random, field, total);
            Arc::new(LargeListViewArray::new(Arc::clone(field), starts, sizes, values, nulls))
        }
        DataType::Map(field, sorted) => {
            let DataType::Struct(fields) = field.data_type() else { panic!("{data_type}") };
            let columns = fields.iter().map(|field| child(random, field, total)).collect();
            let entries = StructArray::try_new_with_length(fields.clone(), columns, None, total).unwrap();
            Arc::new(MapArray::new(Arc::clone(field), small(), entries, nulls, *sorted))
        }
        other => panic!("{other}"),
    }
}

fn runs(random: &mut Random, values: &FieldRef, len: usize) -> ArrayRef {
    let ends: Vec<i32> = (1..=len as i32).filter(|&end| end == len as i32 || random.below(3) == 0).collect();
    let values = child(random, values, ends.len());
    Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(ends), &values).unwrap())
}

fn union(random: &mut Random, fields: &UnionFields, mode: UnionMode, len: usize) -> ArrayRef {
    let kinds: Vec<i8> = fields.iter().map(|(kind, _)| kind).collect();
    let kinds: Vec<i8> = (0..len).map(|_| kinds[random.below(kinds.len())]).collect();
    let children = fields.iter().map(|(_, field)| child(random, field, len)).collect();
    let offsets = (mode == UnionMode::Dense).then(|| (0..len as i32).collect());
    Arc::new(UnionArray::try_new(fields.clone(), kinds.into(), offsets, children).unwrap())
}

fn dictionary(random: &mut Random, key: &DataType, value: &DataType, len: usize, nullable: bool) -> ArrayRef {
    let values = array(random, value, 5, false);
    let nulls = random.nulls(len, nullable);
    macro_rules! keyed {
        ($($key:ident => $type:ty),+) => {
            match key {
                $(DataType::$key => {
                    let keys = (0..len).map(|_| random.below(5) as _).collect();
                    let keys = PrimitiveArray::<$type>::new(keys, nulls);
                    Arc::new(DictionaryArray::try_new(keys, values).unwrap())
                })+
                other => panic!("{other}"),
            }
        };
    }
    keyed!(
        Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type,
        UInt8 => UInt8Type, UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type
    )
}

/// A batch of so many rows, cut out of a longer one.
pub(crate) fn batch(random: &mut Random, types: &[DataType], rows: usize) -> RecordBatch {
    let fields = types.iter().enumerate().map(|(n, data_type)| {
        let nullable = !matches!(data_type, DataType::RunEndEncoded(..)) && random.below(4) > 0;
        let nullable = nullable || matches!(data_type, DataType::Null | DataType::Union(..));
        let field = Field::new(format!("column {n}"), data_type.clone(), nullable);
        field.with_metadata(std::collections::HashMap::from([("unit".to_owned(), format!("{n} m"))]))
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let schema =
        Arc::new(schema.with_metadata(std::collections::HashMap::from([("made by".to_owned(), "a test".to_owned())])));
    of_schema(random, &schema, rows)
}

pub(crate) fn of_schema(random: &mut Random, schema: &Arc<Schema>, rows: usize) -> RecordBatch {
    let (before, after) = (random.below(10), random.below(10));
    let columns = schema.fields().iter().map(|field| child(random, field, before + rows + after)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(before + rows + after));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).unwrap().slice(before, rows)
}

fn field(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("item", data_type, true))
}

pub(crate) fn map_of(value: DataType, sorted: bool) -> DataType {
    let entries = vec![Field::new("keys", DataType::Utf8, false), Field::new("values", value, true)];
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries.into()), false)), sorted)
}

/// Types that are not made of others.
pub(crate) fn plain_types() -> Vec<DataType> {
    use DataType::*;
    let zones = [None, Some("UTC".into()), Some("Europe/Berlin".into()), Some("+05:30".into())];
    let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let mut types = vec![
        Null,
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Date32,
        Date64,
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
        FixedSizeBinary(1),
        FixedSizeBinary(16),
        FixedSizeBinary(0),
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::DayTime),
        Interval(IntervalUnit::MonthDayNano),
    ];
    types.extend(units.iter().flat_map(|unit| zones.iter().map(|zone| Timestamp(*unit, zone.clone()))));
    types.extend(units.iter().map(|unit| Duration(*unit)));
    for (precision, scale) in [(2, 0), (9, 2), (9, 9)] {
        types.extend([Decimal32(precision, scale), Decimal64(precision, scale), Decimal128(precision, scale)]);
        types.push(Decimal256(precision, scale));
    }
    types.extend([Decimal64(18, 3), Decimal128(18, 3), Decimal128(38, 10), Decimal256(38, 0), Decimal256(76, 30)]);
    types.extend([Decimal32(5, -2), Decimal64(5, -2), Decimal128(5, -2), Decimal128(38, -2), Decimal256(76, -5)]);
    types
}

/// Types made of this one.
pub(crate) fn made_of(inner: &DataType) -> Vec<DataType> {
    use DataType::*;
    let mut types = vec![
        List(field(inner.clone())),
        LargeList(field(inner.clone())),
        ListView(field(inner.clone())),
        LargeListView(field(inner.clone())),
        FixedSizeList(field(inner.clone()), 3),
        FixedSizeList(field(inner.clone()), 0),
        Struct(vec![Field::new("a", inner.clone(), true), Field::new("b", Int32, true)].into()),
        map_of(inner.clone(), false),
        map_of(inner.clone(), true),
        RunEndEncoded(
            Arc::new(Field::new("run_ends", Int32, false)),
            Arc::new(Field::new("values", inner.clone(), true)),
        ),
    ];
    let of_union = || UnionFields::try_new([0, 5], [Field::new("a", inner.clone(), true), Field::new("b", Utf8, true)]);
    types.extend([Union(of_union().unwrap(), UnionMode::Dense), Union(of_union().unwrap(), UnionMode::Sparse)]);
    types
}

/// Dictionaries of this type, by all types of keys.
pub(crate) fn dictionaries_of(value: &DataType) -> Vec<DataType> {
    use DataType::*;
    let keys = [Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64];
    keys.into_iter().map(|key| Dictionary(Box::new(key), Box::new(value.clone()))).collect()
}
