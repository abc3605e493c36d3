//! Bytes that nobody wrote: an error, or another table, and never more memory than is allowed.

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
