use std::collections::HashMap;
use std::io;

use allocation_counter::measure;
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{Tensor, Tensors};
use crate::codec::handler::HandlerError;
use crate::codec::native::source::damaged;
use crate::codec::native::{Native, NativeFormat, NativeOptions, ParquetCodec, Source};

const OPTIONS: NativeOptions =
    NativeOptions { format: NativeFormat::SafeTensors, parquet: ParquetCodec::Lz4, limit: u64::MAX };
const MIB: u64 = 1 << 20;

fn written(tensors: &Tensors) -> Vec<u8> {
    let mut bytes = Vec::new();
    tensors.write(OPTIONS, &mut bytes).unwrap();
    bytes
}

fn read_within(bytes: &[u8], limit: u64) -> Result<Tensors, HandlerError> {
    Tensors::read(NativeFormat::SafeTensors, Source::of_bytes(bytes.to_vec()), limit)
}

fn read_back(bytes: &[u8]) -> Result<Tensors, HandlerError> {
    read_within(bytes, MIB)
}

/// A file with this JSON and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn refusal(header: &str, data: usize) -> String {
    read_back(&file(header, data)).unwrap_err().to_string()
}

fn model() -> Tensors {
    let mut model = Tensors::new();
    model.insert("bias", Tensor::from_slice(&[2], &[0.5_f32, f32::NAN]).unwrap());
    model.insert("weight", Tensor::from_slice(&[2, 1], &[1_i64, -1]).unwrap());
    model.insert("mask", Tensor::from_slice(&[3], &[true, false, true]).unwrap());
    model.insert_metadata("epoch", "12");
    model
}

// They come back.

const DTYPES: &[Dtype] = &[
    Dtype::BOOL,
    Dtype::U8,
    Dtype::I8,
    Dtype::F8_E5M2,
    Dtype::I16,
    Dtype::U16,
    Dtype::F16,
    Dtype::BF16,
    Dtype::I32,
    Dtype::U32,
    Dtype::F32,
    Dtype::C64,
    Dtype::F64,
    Dtype::I64,
    Dtype::U64,
];

fn any_tensor() -> impl Strategy<Value = Tensor> {
    let shape = prop::collection::vec(0_usize..4, 0..4);
    (prop::sample::select(DTYPES), shape).prop_flat_map(|(dtype, shape)| {
        let len = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        prop::collection::vec(any::<u8>(), len).prop_map(move |bytes| Tensor::new(dtype, &shape, &bytes).unwrap())
    })
}

proptest! {
    #[test]
    fn tensors_of_any_type_and_shape_come_back_bit_for_bit(
        tensors in prop::collection::btree_map(".{0,5}", any_tensor(), 0..5),
        metadata in prop::collection::btree_map(".{0,5}", ".{0,5}", 0..3),
    ) {
        let mut value: Tensors = tensors.into_iter().collect();
        metadata.into_iter().for_each(|(name, text)| drop(value.insert_metadata(name, text)));
        let bytes = written(&value);
        let back = read_back(&bytes).unwrap();
        prop_assert_eq!(&back, &value);
        prop_assert_eq!(written(&back), bytes);
    }

    #[test]
    fn the_crate_reads_what_is_written(tensors in prop::collection::btree_map("[a-z]{1,5}", any_tensor(), 0..5)) {
        let value: Tensors = tensors.into_iter().collect();
        let bytes = written(&value);
        let theirs = SafeTensors::deserialize(&bytes).unwrap();
        prop_assert_eq!(theirs.len(), value.len());
        for (name, tensor) in &value {
            let read = theirs.tensor(name).unwrap();
            prop_assert_eq!((read.dtype(), read.shape(), read.data()), (tensor.dtype(), tensor.shape(), tensor.bytes()));
        }
        let views = value.iter().map(|(name, tensor)| {
            (name, TensorView::new(tensor.dtype(), tensor.shape().to_vec(), tensor.bytes()).unwrap())
        });
        prop_assert_eq!(safetensors::serialize(views, None).unwrap(), bytes, "and writes the same bytes");
    }
}

#[test]
fn a_file_has_the_bytes_that_safetensors_writes() {
    let header = concat!(
        r#"{"__metadata__":{"epoch":"12"},"weight":{"dtype":"I64","shape":[2,1],"data_offsets":[0,16]},"#,
        r#""bias":{"dtype":"F32","shape":[2],"data_offsets":[16,24]},"mask":{"dtype":"BOOL","shape":[3],"data_offsets":[24,27]}}"#,
    );
    let padded = format!("{header:0$}", header.len().next_multiple_of(8));
    let mut golden = file(&padded, 0);
    golden.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    golden.extend_from_slice(&[0, 0, 0, 0x3f, 0, 0, 0xc0, 0x7f, 1, 0, 1]);
    assert_eq!(written(&model()), golden);
}

#[test]
fn files_whose_tensors_lie_in_another_order_are_read() {
    let header = r#"{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},
        "none":{"dtype":"F64","shape":[0,7],"data_offsets":[1,1],"more":[[1]]},"__metadata__":null}"#;
    let mut bytes = file(header, 0);
    bytes.extend_from_slice(&[7, 9]);
    let tensors = read_back(&bytes).unwrap();
    assert_eq!(tensors.names().collect::<Vec<_>>(), ["a", "b", "none"]);
    assert_eq!(tensors.get("a").and_then(Tensor::as_slice::<u8>), Some([7].as_slice()));
    assert_eq!(tensors.get("b").and_then(Tensor::as_slice::<u8>), Some([9].as_slice()));
    assert_eq!(tensors.get("none").and_then(Tensor::as_slice::<f64>), Some([].as_slice()));
}

// What are no tensors.

#[test]
fn headers_that_do_not_fit_the_data_are_refused() {
    let one =
        |dtype, shape, offsets| format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#);
    for (header, data, says) in [
        (one("F32", "[2]", "[0,8]"), 9, "the tensors have 8 bytes, the file has 9"),
        (one("F32", "[2]", "[0,8]"), 7, "the tensors have 8 bytes, the file has 7"),
        (one("F32", "[2]", "[0,4]"), 4, "invalid shape, data type, or offset"),
        (one("F32", "[2]", "[1,9]"), 9, "invalid offset for tensor `a`"),
        (one("F32", "[2]", "[8,0]"), 8, "invalid offset"),
        (one("F32", "[1152921504606846976]", "[0,8]"), 8, "overflow"),
        (one("F32", "[4294967296,4294967296,0]", "[0,0]"), 0, "overflow"),
        (one("F4", "[1]", "[0,1]"), 1, "slicing"),
        (one("F3", "[2]", "[0,8]"), 8, "unknown variant `F3`"),
        (one("U8", "[-1]", "[0,8]"), 8, "invalid value"),
        ("[]".to_owned(), 0, "expected tensors by name"),
        ("{} x".to_owned(), 0, "trailing characters"),
        (r#"{"__metadata__":{"a":1}}"#.to_owned(), 0, "expected a string"),
        (r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned(), 0, "a name is there twice"),
        ("[".repeat(100_000), 0, "expected tensors by name"),
        (format!(r#"{{"a":{{"x":{}"#, "[".repeat(100_000)), 0, "EOF while parsing a list"),
    ] {
        let refusal = refusal(&header, data);
        assert!(refusal.contains(says), "{header:.200}: {refusal}");
    }
    let twice =
        r#"{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[],"data_offsets":[1,2]}}"#;
    assert!(refusal(twice, 2).contains("a name is there twice"));
}

#[test]
fn a_header_that_is_not_there_is_refused_at_once() {
    for length in [1, 1 << 20, 1 << 40, u64::MAX] {
        let bytes = [length.to_le_bytes().as_slice(), b""].concat();
        let used = measure(|| assert!(read_back(&bytes).is_err()));
        assert!(used.bytes_max < 10_000, "{used:?}");
    }
}

#[test]
fn a_long_header_is_read_within_its_share_of_the_limit() {
    let text = "x".repeat(2 << 20);
    let bytes = file(&format!(r#"{{"__metadata__":{{"a":"{text}"}}}}"#), 0);
    assert!(read_within(&bytes, 15 * MIB).unwrap_err().to_string().contains("a header of"));
    let tensors = read_within(&bytes, 17 * MIB).unwrap();
    assert_eq!(tensors.metadata()["a"], text);
    assert!(tensors.size() > 16 * MIB, "what may be written can be read");
}

#[test]
fn a_header_takes_memory_by_its_length() {
    let shapes = format!(r#"{{"a":{{"dtype":"U8","shape":[{}0],"data_offsets":[0,0]}}}}"#, "0,".repeat(400_000));
    let texts: Vec<String> = (0..80_000).map(|n| format!(r#""{n:x}":"""#)).collect();
    let texts = format!(r#"{{"__metadata__":{{{}}}}}"#, texts.join(","));
    let names: Vec<String> =
        (0..16_000).map(|n| format!(r#""{n:x}":{{"dtype":"U8","shape":[],"data_offsets":[0,0]}}"#)).collect();
    let names = format!("{{{}}}", names.join(","));
    for header in [shapes, texts, names] {
        assert!((header.len() as u64) < MIB);
        let source = Source::of_bytes(file(&header, 0));
        let used = measure(|| drop(Tensors::read(NativeFormat::SafeTensors, source, 0)));
        assert!(used.bytes_max < 16 * header.len() as u64, "{} bytes: {used:?}", header.len());
    }
}

#[test]
fn tensors_above_the_limit_are_refused() {
    let bytes = written(&model());
    assert!(read_within(&bytes, 27).is_ok());
    let refusal = read_within(&bytes, 26).unwrap_err().to_string();
    assert_eq!(refusal, "tensors of 27 bytes, the limit is 26");
}

#[test]
fn the_name_of_the_texts_is_no_name_of_a_tensor() {
    let mut tensors = model();
    tensors.insert("__metadata__", Tensor::from_slice(&[0], &[0_u8; 0]).unwrap());
    let refusal = tensors.write(OPTIONS, &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(refusal, "a tensor cannot have the name `__metadata__`");
}

#[test]
fn no_flipped_bit_and_no_cut_makes_it_panic_or_take_much_memory() {
    let whole = written(&model());
    for bytes in damaged(&whole) {
        let mut read = None;
        let used = measure(|| read = Some(read_within(&bytes, 100)));
        assert!(used.bytes_max < MIB, "{used:?}");
        assert!(bytes.len() == whole.len() || read.is_some_and(|read| read.is_err()), "{}", bytes.len());
    }
}

// Memory.

#[test]
fn tensors_are_neither_copied_to_be_written_nor_twice_to_be_read() {
    let tensors: Tensors = ["a", "b"]
        .into_iter()
        .map(|name| (name, Tensor::from_slice(&[500_000], &[1.5_f64; 500_000]).unwrap()))
        .collect();
    struct Nowhere;
    impl io::Write for Nowhere {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            Ok(part.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let used = measure(|| tensors.write(OPTIONS, &mut Nowhere).unwrap());
    assert!(used.bytes_max < 10_000, "{used:?}");
    let source = Source::of_bytes(written(&tensors));
    let used = measure(|| drop(Tensors::read(NativeFormat::SafeTensors, source, 8 * MIB).unwrap()));
    assert!(used.bytes_max < 8_010_000, "{used:?}");
}

// One tensor.

#[test]
fn a_tensor_has_as_many_bytes_as_its_shape() {
    for (dtype, shape, len) in [
        (Dtype::F32, [2, 2].as_slice(), 15),
        (Dtype::U8, &[], 0),
        (Dtype::F4, &[3], 1),
        (Dtype::F4, &[3], 2),
        (Dtype::F64, &[usize::MAX, 2], 8),
        (Dtype::F64, &[usize::MAX / 2, usize::MAX, 0], 0),
    ] {
        let error = Tensor::new(dtype, shape, &vec![0; len]).unwrap_err();
        assert!(error.to_string().contains(&format!("{len} bytes are no tensor of {dtype}")), "{error}");
    }
    assert!(Tensor::new(Dtype::F4, &[4], &[0, 0]).is_ok());
    assert!(Tensor::new(Dtype::F64, &[0, 5], &[]).is_ok());
}

#[test]
fn elements_are_those_of_the_type_alone() {
    let tensor = Tensor::from_slice(&[2], &[1_u16, 0x0203]).unwrap();
    assert_eq!(tensor.bytes(), [1, 0, 3, 2]);
    assert_eq!(tensor.as_slice::<u16>(), Some([1, 0x0203].as_slice()));
    assert_eq!(tensor.to_vec::<u16>(), Some(vec![1, 0x0203]));
    assert_eq!((tensor.as_slice::<i16>(), tensor.to_vec::<u8>()), (None, None));
    let no_bools = Tensor::new(Dtype::BOOL, &[2], &[1, 2]).unwrap();
    assert_eq!((no_bools.as_slice::<bool>(), no_bools.to_vec::<bool>()), (None, None));
}

#[test]
fn debug_shows_no_elements() {
    let text = format!("{:?}", Tensors::from_iter([("a", Tensor::from_slice(&[1000], &[7_u8; 1000]).unwrap())]));
    assert_eq!(text, r#"Tensors { tensors: {"a": Tensor { dtype: U8, shape: [1000], .. }}, metadata: {} }"#);
}

#[cfg(feature = "ndarray")]
#[test]
fn arrays_become_tensors_and_come_back() {
    use ndarray::{ArrayD, array};

    let array = array![[1.5, -0.0], [f64::INFINITY, 2.0]];
    let tensor = Tensor::try_from(&array.t()).unwrap();
    assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F64, [2, 2].as_slice()));
    assert_eq!(tensor.to_vec::<f64>(), Some(vec![1.5, f64::INFINITY, -0.0, 2.0]));
    assert_eq!(ArrayD::<f64>::try_from(&tensor).unwrap(), array.t().into_dyn());
    let error = ArrayD::<f32>::try_from(&tensor).unwrap_err();
    assert!(error.to_string().contains("has no elements of type `f32`"), "{error}");
}

#[test]
fn texts_are_written_in_the_order_of_their_names() {
    let texts: HashMap<String, String> = (0..20).map(|n| (format!("name {n}"), String::new())).collect();
    let mut files = (0..3).map(|_| {
        let mut tensors = Tensors::new();
        texts.iter().for_each(|(name, text)| drop(tensors.insert_metadata(name, text)));
        written(&tensors)
    });
    let first = files.next().unwrap();
    assert!(files.all(|file| file == first));
}
