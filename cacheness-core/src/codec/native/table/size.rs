//! How much memory rows take: each piece of memory that they share counts once, and what lies around them in it does not.

use std::collections::HashSet;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::{ArrowNativeType, Buffer};
use arrow_data::ArrayData;
use arrow_schema::DataType;

/// About how many bytes all rows take.
pub(super) fn size_of(batches: &[RecordBatch]) -> u64 {
    let mut shared = Shared::default();
    batches.iter().flat_map(RecordBatch::columns).map(|column| shared.size_of(&column.to_data())).sum()
}

pub(super) fn size_of_column(column: &ArrayRef) -> u64 {
    Shared::default().size_of(&column.to_data())
}

/// Where pieces of memory begin that were counted.
#[derive(Default)]
struct Shared(HashSet<usize>);

impl Shared {
    fn size_of(&mut self, data: &ArrayData) -> u64 {
        // A file of Arrow says which values are null also where none is.
        let nulls = data.len().div_ceil(8) as u64;
        nulls + self.size_of_values(data)
    }

    fn size_of_values(&mut self, data: &ArrayData) -> u64 {
        let rows = data.len() as u64;
        match data.data_type() {
            DataType::Null => 0,
            DataType::Boolean => rows.div_ceil(8),
            DataType::FixedSizeBinary(width) => rows * u64::try_from(*width).unwrap_or_default(),
            DataType::Utf8 | DataType::Binary => texts::<i32>(data),
            DataType::LargeUtf8 | DataType::LargeBinary => texts::<i64>(data),
            DataType::Utf8View | DataType::BinaryView => {
                let texts = data.buffers().iter().skip(1).map(|buffer| self.once(buffer, buffer.len() as u64));
                16 * rows + texts.sum::<u64>()
            }
            DataType::List(_) | DataType::Map(..) => self.lists::<i32>(data),
            DataType::LargeList(_) => self.lists::<i64>(data),
            DataType::FixedSizeList(_, width) => {
                let width = usize::try_from(*width).unwrap_or_default();
                let child = data.child_data().first();
                child.map_or(0, |child| self.size_of(&child.slice(data.offset() * width, data.len() * width)))
            }
            DataType::ListView(_) => 8 * rows + self.whole(data),
            DataType::LargeListView(_) => 16 * rows + self.whole(data),
            DataType::Dictionary(keys, _) => rows * keys.primitive_width().unwrap_or(8) as u64 + self.whole(data),
            // Their children are as long as they are.
            DataType::Struct(_) => data.child_data().iter().map(|child| self.size_of(child)).sum(),
            DataType::Union(..) => 5 * rows + self.whole(data),
            DataType::RunEndEncoded(..) => self.whole(data),
            other => rows * other.primitive_width().unwrap_or(8) as u64,
        }
    }

    /// What all children take, unless others have them too.
    fn whole(&mut self, data: &ArrayData) -> u64 {
        let mut sum = 0;
        for child in data.child_data() {
            let size = self.size_of(child);
            sum += child.buffers().first().map_or(size, |first| self.once(first, size));
        }
        sum
    }

    fn once(&mut self, begins_with: &Buffer, size: u64) -> u64 {
        if self.0.insert(begins_with.as_ptr() as usize) { size } else { 0 }
    }

    fn lists<O: ArrowNativeType>(&mut self, data: &ArrayData) -> u64 {
        let (first, last) = ends::<O>(data);
        let child = data.child_data().first().filter(|child| last <= child.len());
        let items = child.map_or(0, |child| self.size_of(&child.slice(first, last - first)));
        offsets::<O>(data) + items
    }
}

fn texts<O: ArrowNativeType>(data: &ArrayData) -> u64 {
    let (first, last) = ends::<O>(data);
    offsets::<O>(data) + (last - first) as u64
}

fn offsets<O>(data: &ArrayData) -> u64 {
    ((data.len() + 1) * std::mem::size_of::<O>()) as u64
}

/// Where the values of the rows begin and end.
fn ends<O: ArrowNativeType>(data: &ArrayData) -> (usize, usize) {
    let offsets: &[O] = data.buffers().first().map_or(&[], |buffer| buffer.typed_data());
    let at = |row: usize| offsets.get(row).map_or(0, |offset| offset.as_usize());
    let (first, last) = (at(data.offset()), at(data.offset() + data.len()));
    (first, last.max(first))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{Int64Builder, ListBuilder, StringViewBuilder};
    use arrow_array::types::Int32Type;
    use arrow_array::{DictionaryArray, StringArray};

    use super::*;

    fn batch(column: impl Array + 'static) -> RecordBatch {
        RecordBatch::try_from_iter([("column", Arc::new(column) as ArrayRef)]).unwrap()
    }

    fn pieces(batch: &RecordBatch) -> Vec<RecordBatch> {
        (0..batch.num_rows()).map(|row| batch.slice(row, 1)).collect()
    }

    #[test]
    fn slices_of_lists_take_what_is_in_them_and_all_slices_about_as_much_as_the_whole() {
        let mut lists = ListBuilder::new(Int64Builder::new());
        (0..100).for_each(|row| lists.append_value((0..1000).map(|n| Some(n + row))));
        let whole = batch(lists.finish());
        let size = size_of(std::slice::from_ref(&whole));
        assert!((800_000..900_000).contains(&size), "{size}");
        let divided = size_of(&pieces(&whole));
        assert!((size..size + 10_000).contains(&divided), "{divided} of {size}");
    }

    #[test]
    fn what_slices_share_counts_once() {
        let long = "a".repeat(10_000);
        let mut views = StringViewBuilder::new();
        (0..100).for_each(|_| views.append_value(&long));
        let dictionary: DictionaryArray<Int32Type> = (0..100).map(|_| long.as_str()).collect();
        for (whole, expected) in [(batch(views.finish()), 1_000_000), (batch(dictionary), 10_000)] {
            for size in [size_of(std::slice::from_ref(&whole)), size_of(&pieces(&whole))] {
                assert!((expected..expected + 20_000).contains(&size), "{size} of {expected}");
            }
        }
        let texts = batch(StringArray::from_iter_values((0..100).map(|_| &long)));
        assert!((10_000..11_000).contains(&size_of_column(texts.slice(5, 1).column(0))));
    }
}
