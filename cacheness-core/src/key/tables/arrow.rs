//! Batches and tables of Arrow: column by column, where nothing is null in pieces as large as they lie in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, RecordBatch, UInt64Array};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, BooleanBufferBuilder, ToByteSlice};
use arrow_schema::{ArrowError, DataType, Field, Schema, UnionFields};
use arrow_select::take::take;

use crate::error::{CacheError, ErrorKind};
use crate::key::values::KeyList;
use crate::key::{CacheKey, KeyFields, KeyWriter, tag};

impl CacheKey for RecordBatch {
    /// Has the key of a table of this batch alone.
    fn encode(&self, writer: &mut KeyWriter) {
        encode_table(self.schema_ref(), std::slice::from_ref(self), writer);
    }
}

type HalfNative = <Float16Type as ArrowPrimitiveType>::Native;

/// Writes a table: its batches one behind the other.
pub(crate) fn encode_table(schema: &Schema, batches: &[RecordBatch], writer: &mut KeyWriter) {
    writer.record("arrow::Table", None, KeyFields::Positional(4), |writer| {
        metadata(schema.metadata().iter(), writer);
        writer.counted(tag::SEQUENCE, schema.fields().len(), |writer| {
            schema.fields().iter().for_each(|named| field(named, writer));
        });
        writer.write_usize(batches.iter().map(RecordBatch::num_rows).sum());
        writer.counted(tag::SEQUENCE, schema.fields().len(), |writer| {
            for (n, field) in schema.fields().iter().enumerate() {
                let chunks: Vec<ArrayRef> = batches.iter().map(|batch| ArrayRef::clone(batch.column(n))).collect();
                column(field.data_type(), &chunks, writer);
            }
        });
    });
}

// Types.

fn metadata<'a>(entries: impl Iterator<Item = (&'a String, &'a String)>, writer: &mut KeyWriter) {
    entries.collect::<BTreeMap<_, _>>().encode(writer);
}

fn field(field: &Field, writer: &mut KeyWriter) {
    writer.tuple(4, |writer| {
        writer.write_str(field.name());
        writer.write_bool(field.is_nullable());
        metadata(field.metadata().iter(), writer);
        kind(field.data_type(), writer);
    });
}

/// A type, with everything that it is made of.
fn kind(data_type: &DataType, writer: &mut KeyWriter) {
    let (name, fields): (String, Vec<&Field>) = match data_type {
        DataType::List(field) => ("List".into(), vec![field]),
        DataType::LargeList(field) => ("LargeList".into(), vec![field]),
        DataType::ListView(field) => ("ListView".into(), vec![field]),
        DataType::LargeListView(field) => ("LargeListView".into(), vec![field]),
        DataType::FixedSizeList(field, size) => (format!("FixedSizeList({size})"), vec![field]),
        DataType::Map(field, sorted) => (format!("Map({sorted})"), vec![field]),
        DataType::Struct(fields) => ("Struct".into(), fields.iter().map(AsRef::as_ref).collect()),
        DataType::RunEndEncoded(ends, values) => ("RunEndEncoded".into(), vec![ends, values]),
        DataType::Union(fields, mode) => {
            let ids: Vec<i8> = fields.iter().map(|(id, _)| id).collect();
            (format!("Union({mode:?}, {ids:?})"), fields.iter().map(|(_, field)| field.as_ref()).collect())
        }
        DataType::Dictionary(keys, values) => {
            return writer.tuple(2, |writer| {
                writer.write_str(&format!("Dictionary({keys:?})"));
                kind(values, writer);
            });
        }
        plain => (format!("{plain:?}"), Vec::new()),
    };
    writer.tuple(2, |writer| {
        writer.write_str(&name);
        writer.counted(tag::SEQUENCE, fields.len(), |writer| fields.iter().for_each(|part| field(part, writer)));
    });
}

// Values. The type and the number of rows are known before: what follows can be read in one way.

/// A column, of which there are several pieces: where it has values, and which.
fn column(data_type: &DataType, chunks: &[ArrayRef], writer: &mut KeyWriter) {
    if writer.failed() {
        return;
    }
    if let Some(decoded) = decoded(data_type) {
        return match chunks.iter().map(|chunk| decode(chunk.as_ref())).collect::<Result<Vec<_>, _>>() {
            Ok(chunks) => column(decoded, &chunks, writer),
            Err(error) => {
                writer.fail(CacheError::new(ErrorKind::Serialization, format!("a column cannot be decoded: {error}")));
            }
        };
    }
    let pieces: Vec<Piece<'_>> = chunks.iter().map(Piece::of).collect();
    writer.tuple(2, |writer| {
        if chunks.iter().all(|chunk| chunk.null_count() == 0) {
            writer.write_none();
        } else {
            bits(
                chunks.iter().map(|chunk| match chunk.nulls() {
                    Some(nulls) => nulls.inner().clone(),
                    None => BooleanBuffer::new_set(chunk.len()),
                }),
                writer,
            );
        }
        values(data_type, &pieces, writer);
    });
}

/// A piece of a column, and where in it are values.
struct Piece<'c> {
    array: &'c ArrayRef,
    runs: Vec<Range<usize>>,
}

impl<'c> Piece<'c> {
    fn of(array: &'c ArrayRef) -> Self {
        let runs = match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => std::iter::once(0..array.len()).collect(),
            Some(nulls) => nulls.valid_slices().map(|(start, end)| start..end).collect(),
        };
        Self { array, runs }
    }

    fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.runs.iter().flat_map(Clone::clone)
    }
}

fn count(pieces: &[Piece<'_>]) -> usize {
    pieces.iter().flat_map(|piece| &piece.runs).map(Range::len).sum()
}

/// Bytes that lie in several places, as one value.
fn bytes<'b>(total: usize, parts: impl Iterator<Item = &'b [u8]>, writer: &mut KeyWriter) {
    writer.value(&[tag::PACKED_SEQUENCE, tag::U8]);
    writer.number(total as u64);
    parts.for_each(|part| writer.append(part));
}

/// Bits, the first one lowest, whatever bit of a byte they begin at in memory.
fn bits(parts: impl Iterator<Item = BooleanBuffer>, writer: &mut KeyWriter) {
    let mut together = BooleanBufferBuilder::new(0);
    parts.for_each(|part| together.append_buffer(&part));
    writer.write_bytes(together.as_slice());
}

fn values(data_type: &DataType, pieces: &[Piece<'_>], writer: &mut KeyWriter) {
    match data_type {
        DataType::Null => writer.write_unit(),
        DataType::Boolean => {
            let slices = pieces.iter().flat_map(|piece| {
                let values = piece.array.as_boolean().values();
                piece.runs.iter().map(|run| values.slice(run.start, run.len()))
            });
            bits(slices, writer);
        }
        DataType::Float16 => {
            floats::<Float16Type>(pieces, |value| value.is_nan(), HalfNative::from_bits(0x7e00), writer)
        }
        DataType::Float32 => floats::<Float32Type>(pieces, f32::is_nan, f32::from_bits(0x7fc0_0000), writer),
        DataType::Float64 => floats::<Float64Type>(pieces, f64::is_nan, f64::from_bits(0x7ff8_0000_0000_0000), writer),
        DataType::FixedSizeBinary(width) => {
            let width = usize::try_from(*width).unwrap_or_default();
            fixed(pieces, width, writer);
        }
        DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => texts(pieces, writer),
        DataType::Utf8View | DataType::BinaryView => views(pieces, writer),
        DataType::Struct(fields) => writer.counted(tag::SEQUENCE, fields.len(), |writer| {
            for (n, field) in fields.iter().enumerate() {
                let parts = pieces.iter().flat_map(|piece| {
                    let part = piece.array.as_struct().column(n);
                    piece.runs.iter().map(|run| part.slice(run.start, run.len()))
                });
                column(field.data_type(), &parts.collect::<Vec<_>>(), writer);
            }
        }),
        DataType::Union(fields, _) => union(fields, pieces, writer),
        other => match other.primitive_width() {
            Some(width) => fixed(pieces, width, writer),
            None => lists(other, pieces, writer),
        },
    }
}

/// Values that all have so many bytes.
fn fixed(pieces: &[Piece<'_>], width: usize, writer: &mut KeyWriter) {
    let data: Vec<_> = pieces.iter().map(|piece| piece.array.to_data()).collect();
    let parts = pieces.iter().zip(&data).flat_map(|(piece, data)| {
        let (all, offset) = (data.buffers().first().map_or(&[][..], |buffer| buffer.as_slice()), data.offset());
        piece.runs.iter().map(move |run| all.get((offset + run.start) * width..(offset + run.end) * width))
    });
    bytes(count(pieces) * width, parts.map(Option::unwrap_or_default), writer);
}

/// Floats, of which there is one NaN.
fn floats<T: ArrowPrimitiveType>(
    pieces: &[Piece<'_>],
    is_nan: impl Fn(T::Native) -> bool,
    nan: T::Native,
    writer: &mut KeyWriter,
) {
    let runs = || {
        pieces.iter().flat_map(|piece| {
            let all = piece.array.as_primitive::<T>().values();
            piece.runs.iter().map(|run| all.get(run.clone()).unwrap_or_default())
        })
    };
    let width = size_of::<T::Native>();
    if !runs().flatten().any(|&value| is_nan(value)) {
        return bytes(count(pieces) * width, runs().map(|run| run.to_byte_slice()), writer);
    }
    writer.value(&[tag::PACKED_SEQUENCE, tag::U8]);
    writer.number((count(pieces) * width) as u64);
    for part in runs().flat_map(|run| run.chunks(1024)) {
        let part: Vec<T::Native> = part.iter().map(|&value| if is_nan(value) { nan } else { value }).collect();
        writer.append(part.to_byte_slice());
    }
}

/// Numbers, in pieces.
fn lengths(parts: &[Vec<u64>], writer: &mut KeyWriter) {
    let count = parts.iter().map(Vec::len).sum();
    u64::encode_list(KeyList::Sequence, count, parts.iter().map(Vec::as_slice), writer);
}

/// Where each value begins, and where the last one ends.
fn offsets(array: &dyn Array) -> Vec<usize> {
    let wide = |offsets: &[i64]| offsets.iter().map(|offset| offset.as_usize()).collect();
    let narrow = |offsets: &[i32]| offsets.iter().map(|offset| offset.as_usize()).collect();
    match array.data_type() {
        DataType::Utf8 => narrow(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => wide(array.as_string::<i64>().value_offsets()),
        DataType::Binary => narrow(array.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => wide(array.as_binary::<i64>().value_offsets()),
        DataType::List(_) => narrow(array.as_list::<i32>().value_offsets()),
        DataType::LargeList(_) => wide(array.as_list::<i64>().value_offsets()),
        DataType::Map(..) => narrow(array.as_map().value_offsets()),
        DataType::FixedSizeList(_, size) => (0..=array.len()).map(|n| n * size.as_usize()).collect(),
        _ => Vec::new(),
    }
}

/// The lengths of the values of a piece, and the runs of what they are made of.
fn spans(piece: &Piece<'_>) -> (Vec<u64>, Vec<Range<usize>>) {
    let offsets = offsets(piece.array);
    let at = |n: usize| offsets.get(n).copied().unwrap_or_default();
    let lengths = piece.rows().map(|row| (at(row + 1) - at(row)) as u64).collect();
    (lengths, piece.runs.iter().map(|run| at(run.start)..at(run.end)).collect())
}

/// Texts: their lengths, then all of them.
fn texts(pieces: &[Piece<'_>], writer: &mut KeyWriter) {
    let (sizes, runs): (Vec<_>, Vec<_>) = pieces.iter().map(spans).unzip();
    let data: Vec<_> = pieces.iter().map(|piece| piece.array.to_data()).collect();
    let parts = data.iter().zip(&runs).flat_map(|(data, runs)| {
        let all = data.buffers().get(1).map_or(&[][..], |buffer| buffer.as_slice());
        runs.iter().map(move |run| all.get(run.clone()).unwrap_or_default())
    });
    writer.tuple(2, |writer| {
        lengths(&sizes, writer);
        bytes(runs.iter().flatten().map(Range::len).sum(), parts, writer);
    });
}

fn views(pieces: &[Piece<'_>], writer: &mut KeyWriter) {
    let values = || {
        pieces.iter().flat_map(|piece| {
            piece.rows().map(|row| match piece.array.data_type() {
                DataType::Utf8View => piece.array.as_string_view().value(row).as_bytes(),
                _ => piece.array.as_binary_view().value(row),
            })
        })
    };
    writer.tuple(2, |writer| {
        let sizes: Vec<u64> = values().map(|value| value.len() as u64).collect();
        lengths(&[sizes], writer);
        bytes(values().map(<[u8]>::len).sum(), values(), writer);
    });
}

/// Lists and maps: how many each has, then all that they have.
fn lists(data_type: &DataType, pieces: &[Piece<'_>], writer: &mut KeyWriter) {
    let mut sizes = Vec::new();
    let mut items = Vec::new();
    for piece in pieces {
        let array = piece.array;
        let inner: ArrayRef = match data_type {
            DataType::List(_) => ArrayRef::clone(array.as_list::<i32>().values()),
            DataType::LargeList(_) => ArrayRef::clone(array.as_list::<i64>().values()),
            DataType::FixedSizeList(..) => ArrayRef::clone(array.as_fixed_size_list().values()),
            DataType::Map(..) => Arc::new(array.as_map().entries().clone()),
            // Their items lie anywhere.
            _ => {
                let values = piece.rows().map(|row| match data_type {
                    DataType::ListView(_) => array.as_list_view::<i32>().value(row),
                    _ => array.as_list_view::<i64>().value(row),
                });
                let values: Vec<ArrayRef> = values.collect();
                sizes.push(values.iter().map(|list| list.len() as u64).collect());
                items.extend(values);
                continue;
            }
        };
        let (of_piece, runs) = spans(piece);
        sizes.push(of_piece);
        items.extend(runs.into_iter().map(|run| inner.slice(run.start, run.len())));
    }
    writer.tuple(2, |writer| {
        lengths(&sizes, writer);
        match data_type {
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::ListView(field)
            | DataType::LargeListView(field)
            | DataType::FixedSizeList(field, _)
            | DataType::Map(field, _) => column(field.data_type(), &items, writer),
            other => writer.fail(CacheError::new(ErrorKind::Serialization, format!("there are no keys of `{other}`"))),
        }
    });
}

/// Which type each value has, then the values by types.
fn union(fields: &UnionFields, pieces: &[Piece<'_>], writer: &mut KeyWriter) {
    let ids: Vec<&[i8]> = pieces.iter().map(|piece| &**piece.array.as_union().type_ids()).collect();
    writer.counted(tag::SEQUENCE, fields.len() + 1, |writer| {
        i8::encode_list(KeyList::Sequence, count(pieces), ids.iter().copied(), writer);
        for (id, field) in fields.iter() {
            let parts = pieces.iter().map(|piece| {
                let union = piece.array.as_union();
                let rows = (0..union.len()).filter(|&row| union.type_id(row) == id);
                let rows = UInt64Array::from_iter_values(rows.map(|row| union.value_offset(row) as u64));
                take(union.child(id), &rows, None)
            });
            match parts.collect::<Result<Vec<_>, _>>() {
                Ok(parts) => column(field.data_type(), &parts, writer),
                Err(error) => writer.fail(CacheError::new(ErrorKind::Serialization, error.to_string())),
            }
        }
    });
}

/// The type of the values, where they are referred to.
fn decoded(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::Dictionary(_, values) => Some(values),
        DataType::RunEndEncoded(_, values) => Some(values.data_type()),
        _ => None,
    }
}

/// The values that are referred to, one for each row.
fn decode(array: &dyn Array) -> Result<ArrayRef, ArrowError> {
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        return take(dictionary.values(), dictionary.keys(), None);
    }
    macro_rules! runs {
        ($($ends:ty),+) => {
            $(if let Some(runs) = array.as_run_opt::<$ends>() {
                let rows = (0..runs.len()).map(|row| runs.get_physical_index(row) as u64);
                return take(runs.values(), &UInt64Array::from_iter_values(rows), None);
            })+
        };
    }
    runs!(Int16Type, Int32Type, Int64Type);
    Err(ArrowError::NotYetImplemented(array.data_type().to_string()))
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int8Type;
    use arrow_array::{DictionaryArray, Float64Array, Int32Array, ListArray, StringArray};

    use super::*;
    use crate::codec::native::table::Table;
    use crate::codec::native::table::tests::random::{Random, batch, dictionaries_of, made_of, plain_types};
    use crate::key::{Key, ToKey};

    fn key(value: &impl CacheKey) -> Key {
        value.to_key().unwrap()
    }

    fn one(array: impl Array + 'static) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([("a", Arc::new(array) as ArrayRef, true)]).unwrap()
    }

    #[test]
    fn tables_that_are_equal_have_one_key_however_they_are_divided() {
        let plain = plain_types();
        let made = [DataType::Int8, DataType::Utf8, DataType::Utf8View, DataType::Boolean];
        let types = plain.iter().flat_map(|plain| [vec![plain.clone()], dictionaries_of(plain)].concat());
        for data_type in types.chain(made.iter().flat_map(made_of)) {
            let whole = batch(&mut Random(5), std::slice::from_ref(&data_type), 30);
            let parts = vec![whole.slice(0, 7), whole.slice(7, 0), whole.slice(7, 23)];
            assert_eq!(key(&whole), key(&Table::new(whole.schema(), parts).unwrap()), "{data_type}");
            let copied = arrow_select::concat::concat_batches(&whole.schema(), [&whole]).unwrap();
            assert_eq!(key(&whole), key(&copied), "{data_type}");
            assert_ne!(key(&whole), key(&whole.slice(0, 29)), "{data_type}");
        }
    }

    #[test]
    fn other_values_nulls_names_and_types_have_other_keys() {
        let tables = [
            one(Int32Array::from(vec![1, 2])),
            one(Int32Array::from(vec![1, 3])),
            one(Int32Array::from(vec![Some(1), None])),
            one(Int32Array::from(vec![None, Some(1)])),
            one(Int32Array::from(vec![1])),
            one(StringArray::from(vec!["ab", "c"])),
            one(StringArray::from(vec!["a", "bc"])),
            one(StringArray::from(vec![Some("a"), None])),
            one(StringArray::from(vec![Some("a"), Some("")])),
            one(Float64Array::from(vec![0.0])),
            one(Float64Array::from(vec![-0.0])),
            one(["ab", "c"].into_iter().collect::<DictionaryArray<Int8Type>>()),
            one(ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), Some(2)].to_vec()), Some(vec![])])),
            one(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), Some(vec![Some(2)])])),
            one(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(2)]), None])),
            RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef)]).unwrap(),
            RecordBatch::try_from_iter_with_nullable([("b", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef, true)])
                .unwrap(),
        ];
        let keys: std::collections::HashSet<Key> = tables.iter().map(key).collect();
        assert_eq!(keys.len(), tables.len());
    }

    #[test]
    fn what_lies_where_nothing_is_does_not_count_and_there_is_one_nan() {
        let nulls = || Some(vec![true, false].into());
        assert_eq!(
            key(&one(Int32Array::new(vec![1, 2].into(), nulls()))),
            key(&one(Int32Array::new(vec![1, 3].into(), nulls())))
        );
        let nan = |bits: u64| one(Float64Array::from(vec![1.0, f64::from_bits(bits)]));
        assert_eq!(key(&nan(f64::NAN.to_bits())), key(&nan(f64::NAN.to_bits() | 5)));
        assert_ne!(key(&nan(f64::NAN.to_bits())), key(&nan(f64::INFINITY.to_bits())));
    }
}
