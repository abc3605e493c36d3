//! Bytes that nobody wrote: an error, or another table, and never more memory than is allowed.

use ::parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use ::parquet::basic::Encoding;
use ::parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter};
use ::parquet::file::properties::WriterProperties;
use allocation_counter::measure;
use arrow_array::builder::{FixedSizeListBuilder, Int64Builder, ListBuilder, StringBuilder};
use arrow_array::types::Int32Type;

use super::*;
use crate::codec::native::thrift;
use crate::util::threads::caught;

const LIMIT: u64 = 1 << 20;

fn samples() -> Vec<(NativeFormat, Vec<u8>)> {
    let types = [DataType::Int64, DataType::Utf8, DataType::Boolean];
    let nested = [random::map_of(DataType::Float32, false), made_of(&DataType::Utf8View).swap_remove(0)];
    let dictionary = dictionaries_of(&DataType::Utf8).swap_remove(0);
    let value = batch(&mut Random(3), &[&types[..], &nested[..], &[dictionary]].concat(), 20);
    [ARROW, PARQUET].map(|options| (options.format, written(&value, options).unwrap())).into()
}

/// Panics of the libraries are for the caller to catch.
fn read(format: NativeFormat, bytes: Vec<u8>) {
    let _ = caught(|| Table::read(format, Source::of_bytes(bytes.clone()), LIMIT).map(|table| table.num_rows()));
    let _ = caught(|| RecordBatch::read(format, Source::of_bytes(bytes), LIMIT).map(|batch| batch.num_rows()));
}

#[test]
fn truncated_files_are_errors() {
    for (format, bytes) in samples() {
        for length in 0..bytes.len() {
            let table = caught(|| Table::read(format, Source::of_bytes(bytes[..length].to_vec()), LIMIT));
            assert!(!matches!(table, Ok(Ok(_))), "{format} of {length} bytes");
        }
    }
}

#[test]
fn files_with_a_flipped_bit_do_no_harm() {
    for (format, bytes) in samples() {
        for bit in (0..bytes.len() * 8).step_by(7) {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            read(format, bytes);
        }
    }
}

#[test]
fn a_file_of_another_schema_reads_since_the_schema_is_in_it() {
    let value = Table::from(numbers(0..3));
    for options in [ARROW, PARQUET] {
        let bytes = written(&value, options).unwrap();
        assert_eq!(Table::read(options.format, Source::of_bytes(bytes), LIMIT).unwrap(), value);
    }
}

#[test]
fn a_file_that_holds_more_than_is_allowed_is_refused() {
    // More than the allowance, of which a few MiB are given away.
    let value = numbers(0..2_500_000).project(&[0]).unwrap();
    for options in [ARROW, PARQUET] {
        let bytes = written(&value, options).unwrap();
        let error = Table::read(options.format, Source::of_bytes(bytes), 1000).unwrap_err();
        assert!(error.to_string().contains("more than a value may have"), "{error}");
    }
}

#[test]
fn what_is_announced_must_be_possible() {
    let (_, bytes) = samples().swap_remove(1);
    let length = u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap()) as usize;
    let head = &bytes[bytes.len() - 8 - length..bytes.len() - 8];
    assert_eq!(thrift::summary(head).unwrap().rows, 20);
    // A schema whose root has two thousand million children, and one whose groups are nested without end.
    let schema = |elements: &[&[u8]]| {
        let mut head = vec![0x29, (elements.len() as u8) << 4 | 0x0c];
        elements.iter().for_each(|element| head.extend_from_slice(element));
        head.push(0);
        head
    };
    assert!(thrift::summary(&schema(&[&[0x55, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0]])).is_err());
    assert!(thrift::summary(&schema(&[&[0x55, 2, 0], &[0x55, 0, 0]])).is_ok());
    let mut deep = vec![0x29, 0xfc, 200, 1];
    (0..200).for_each(|_| deep.extend_from_slice(&[0x55, 2, 0]));
    deep.push(0);
    assert!(thrift::summary(&deep).is_err());
    // A page of two GiB in its head.
    let page = thrift::page(&[0x15, 0, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 2, 0]).unwrap();
    assert_eq!((page.plain, page.stored), (i32::MAX as u64, 1));
    // The same field twice, of which the second would hold.
    assert!(thrift::page(&[0x15, 0, 0x15, 2, 0x05, 4, 8, 0]).is_err());
}

fn parquet_of(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn a_text_that_a_dictionary_has_once_for_many_rows_is_refused_before_it_is_written_out() {
    let text = "a".repeat(900_000);
    let column: DictionaryArray<Int32Type> = (0..600).map(|_| text.as_str()).collect();
    let batch = RecordBatch::try_from_iter([("text", Arc::new(column) as _)]).unwrap();
    let bytes = parquet_of(&batch, WriterProperties::default());
    assert!(bytes.len() < 2_000_000, "{}", bytes.len());
    let mut refused = false;
    let used = measure(|| {
        refused = RecordBatch::read(NativeFormat::Parquet, Source::of_bytes(bytes), 50 << 20).is_err();
    });
    assert!(refused && used.bytes_max < 250 << 20, "{used:?}");
}

#[test]
fn a_text_that_a_dictionary_has_once_for_many_items_of_a_list_is_refused_and_never_written_so() {
    let text = "a".repeat(100_000);
    let texts = vec![Some(text.as_str()); 600];
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.append_value(texts.clone());
    lists.append_value(texts[..5].to_vec());
    let batch = RecordBatch::try_from_iter([("texts", Arc::new(lists.finish()) as _)]).unwrap();
    let bytes = parquet_of(&batch, WriterProperties::default());
    assert!(bytes.len() < 300_000, "{}", bytes.len());
    let read = |bytes: Vec<u8>, limit| RecordBatch::read(NativeFormat::Parquet, Source::of_bytes(bytes), limit);
    let mut refused = false;
    let used = measure(|| refused = read(bytes.clone(), 10 << 20).is_err());
    assert!(refused && used.bytes_max < 20 << 20, "{used:?}");
    assert_eq!(read(bytes, u64::MAX).unwrap().num_rows(), 2, "a file from elsewhere");
    let bytes = written(&batch, PARQUET).unwrap();
    assert!(bytes.len() > 1_000_000 / 255, "each text, compressed: {}", bytes.len());
    assert_eq!(read(bytes, batch.size()).unwrap(), batch);
}

#[test]
fn pages_that_have_more_values_together_than_their_column_are_refused() {
    let mut lists = ListBuilder::new(Int64Builder::new());
    (0..64).for_each(|row| lists.append_value((0..1000).map(|n| Some(n + row))));
    let batch = RecordBatch::try_from_iter([("numbers", Arc::new(lists.finish()) as _)]).unwrap();
    // A page for each row.
    let properties = WriterProperties::builder().set_data_page_row_count_limit(1).set_write_batch_size(1).build();
    let bytes = parquet_of(&batch, properties);
    let read = |bytes: Vec<u8>| RecordBatch::read(NativeFormat::Parquet, Source::of_bytes(bytes), batch.size());
    assert_eq!(read(bytes.clone()).unwrap().num_rows(), 64);
    let error = read(with_values(&bytes, 1000)).unwrap_err().to_string();
    assert!(error.contains("more than"), "{error}");
}

/// The same file, whose end says that its first column has so many values.
fn with_values(bytes: &[u8], values: i64) -> Vec<u8> {
    let length = u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap()) as usize;
    let end = bytes.len() - 8 - length;
    let metadata = ParquetMetaDataReader::decode_metadata(&bytes[end..bytes.len() - 8]).unwrap();
    let column = metadata.row_group(0).column(0).clone().into_builder().set_num_values(values).build().unwrap();
    let group = metadata.row_group(0).clone().into_builder().set_column_metadata(vec![column]).build().unwrap();
    let metadata = metadata.into_builder().set_row_groups(vec![group]).build();
    let mut changed = bytes[..end].to_vec();
    ParquetMetaDataWriter::new(&mut changed, &metadata).finish().unwrap();
    changed
}

#[test]
fn a_few_texts_for_many_rows_come_back_as_they_were() {
    let texts: StringArray = (0..40_000).map(|n| Some("abc".repeat(n % 50))).collect();
    let batch = RecordBatch::try_from_iter([("text", Arc::new(texts) as _)]).unwrap();
    let bytes = written(&batch, PARQUET).unwrap();
    // So little may be taken that a few thousand rows are decoded at a time.
    let back = |limit| RecordBatch::read(NativeFormat::Parquet, Source::of_bytes(bytes.clone()), limit).unwrap();
    assert_eq!(back(batch.size()), batch);
    let table = Table::read(NativeFormat::Parquet, Source::of_bytes(bytes.clone()), batch.size()).unwrap();
    assert_eq!(table, batch.into());
}

#[test]
fn pages_with_lengths_inside_are_read_of_files_and_not_of_entries() {
    let batch = numbers(0..1000).project(&[1]).unwrap();
    for encoding in [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY] {
        let properties = WriterProperties::builder().set_dictionary_enabled(false).set_encoding(encoding).build();
        let bytes = parquet_of(&batch, properties);
        let read = |limit| RecordBatch::read(NativeFormat::Parquet, Source::of_bytes(bytes.clone()), limit);
        assert_eq!(read(u64::MAX).unwrap().num_rows(), 1000);
        assert!(read(1 << 30).is_err(), "{encoding}");
    }
}

#[test]
fn nulls_that_take_as_much_as_lists_count_as_such_and_are_not_in_lists() {
    let mut lists = FixedSizeListBuilder::new(Int64Builder::new(), 4_000_000);
    (0..4_000_000).for_each(|_| lists.values().append_null());
    lists.append(false);
    let batch = RecordBatch::try_from_iter([("lists", Arc::new(lists.finish()) as _)]).unwrap();
    let bytes = written(&batch, PARQUET).unwrap();
    assert!(bytes.len() < 10_000, "{}", bytes.len());
    let used = measure(|| {
        let error = RecordBatch::read(NativeFormat::Parquet, Source::of_bytes(bytes), LIMIT).unwrap_err();
        assert!(error.to_string().contains("more than a value may have"), "{error}");
    });
    assert!(used.bytes_max < 1 << 20, "{used:?}");
    let inner = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Int8, true)), 2);
    for outer in [made_of(&inner).swap_remove(0), random::map_of(inner, false)] {
        let value = super::batch(&mut Random(3), &[outer], 2);
        assert!(written(&value, PARQUET).unwrap_err().to_string().ends_with("use the format `arrow`"));
    }
}

#[cfg(feature = "polars")]
#[test]
fn a_schema_that_is_nested_without_end_is_refused_before_a_library_decodes_it() {
    use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
    let encoded = |depth: usize| {
        let nested =
            (0..depth).fold(DataType::Int8, |inner, _| DataType::List(Arc::new(Field::new("item", inner, true))));
        let schema = Schema::new(vec![Field::new("nested", nested, true)]);
        let mut tracker = DictionaryTracker::new(false);
        IpcDataGenerator {}.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, &IpcWriteOptions::default())
    };
    assert!(ipc::check_schema(&encoded(nesting::DEEPEST - 1).ipc_message).is_ok());
    assert!(ipc::check_schema(&encoded(200).ipc_message).is_err());
    assert!(ipc::check_schema(b"").is_err() && ipc::check_schema(&[0xff; 6]).is_err());
}
