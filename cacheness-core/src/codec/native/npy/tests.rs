use std::path::Path;
use std::process::Command;

use allocation_counter::measure;
use ndarray::{Array1, Array2, ArrayD, Axis, Ix0, Ix1, Ix2, Ix3, Ix4, Ix5, Ix6, Slice, arr0, array};
use proptest::prelude::*;

use super::*;
use crate::codec::native::ParquetCodec;
use crate::codec::native::source::damaged;

const OPTIONS: NativeOptions = NativeOptions { format: NativeFormat::Npy, parquet: ParquetCodec::Lz4, limit: u64::MAX };
const MIB: u64 = 1 << 20;

fn written<T: Native>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.write(OPTIONS, &mut bytes).unwrap();
    bytes
}

fn read_within<T: Native>(bytes: &[u8], limit: u64) -> Result<T, HandlerError> {
    T::read(NativeFormat::Npy, Source::of_bytes(bytes.to_vec()), limit)
}

fn read_back<T: Native>(bytes: &[u8]) -> Result<T, HandlerError> {
    read_within(bytes, MIB)
}

fn refusal<T: Native>(bytes: &[u8]) -> String {
    read_back::<T>(bytes).err().unwrap().to_string()
}

/// A file with this line, and so many bytes of data.
fn file(line: &str, data: usize) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(line.len() as u16).to_le_bytes());
    bytes.extend_from_slice(line.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn bits<A: Element, D: Dimension>(array: &ArrayRef<A, D>) -> Vec<u8> {
    array.iter().flat_map(|element| bytemuck::bytes_of(element).to_vec()).collect()
}

// Whatever an array is, it comes back.

/// Elements of any bits.
trait Sample: Element {
    fn of(bits: u64) -> Self;
}

macro_rules! samples {
    ($($type:ty: |$bits:ident| $sample:expr;)+) => {
        $(impl Sample for $type {
            fn of($bits: u64) -> Self {
                $sample
            }
        })+
    };
}

samples! {
    i8: |bits| bits as i8;
    i16: |bits| bits as i16;
    i32: |bits| bits as i32;
    i64: |bits| bits as i64;
    u8: |bits| bits as u8;
    u16: |bits| bits as u16;
    u32: |bits| bits as u32;
    u64: |bits| bits;
    f32: |bits| f32::from_bits(bits as u32);
    f64: |bits| f64::from_bits(bits);
    bool: |bits| bits & 1 == 1;
    Complex<f32>: |bits| Complex::new(f32::of(bits), f32::of(bits >> 32));
    Complex<f64>: |bits| Complex::new(f64::of(bits), f64::of(!bits));
}

/// Bits with those of NaN with a payload, signalling NaN, infinity and negative zero among them, of both widths.
fn any_bits() -> impl Strategy<Value = u64> {
    const SPECIAL: [u64; 4] =
        [0x7ff8_dead_7fc0_beef, 0x7ff0_0000_7f80_0001, 0xfff0_0000_ff80_0000, 0x8000_0000_8000_0000];
    prop_oneof![any::<u64>(), prop::sample::select(SPECIAL.as_slice())]
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    C,
    Fortran,
    Strided,
    Reversed,
    Permuted,
}

fn laid_out<A: Sample>(shape: &[usize], bits: &[u64], layout: Layout) -> ArrayD<A> {
    let mut next = bits.iter().cycle().map(|bits| A::of(*bits));
    let mut elements = |shape: &[usize]| next.by_ref().take(shape.iter().product()).collect::<Vec<A>>();
    let mut array = match layout {
        Layout::Fortran => ArrayD::from_shape_vec(IxDyn(shape).f(), elements(shape)).unwrap(),
        Layout::Strided => {
            let larger: Vec<usize> = shape.iter().map(|axis| axis * 2 + 1).collect();
            ArrayD::from_shape_vec(larger.as_slice(), elements(&larger)).unwrap()
        }
        _ => ArrayD::from_shape_vec(shape, elements(shape)).unwrap(),
    };
    for axis in 0..array.ndim() {
        match layout {
            Layout::Strided => array.slice_axis_inplace(Axis(axis), Slice::new(1, None, 2)),
            Layout::Reversed => array.invert_axis(Axis(axis)),
            Layout::Permuted if axis > 0 => array.swap_axes(0, axis),
            _ => {}
        }
    }
    array
}

fn assert_comes_back<A: Sample, D: Dimension + 'static>(array: &ArrayD<A>) {
    let array: Array<A, D> = array.clone().into_dimensionality().unwrap();
    let file = written(&array);
    assert_eq!(written(&array.to_shared()), file);
    let back: Array<A, D> = read_back(&file).unwrap();
    assert_eq!((back.shape(), bits(&back)), (array.shape(), bits(&array)));
    assert_eq!(bits(&read_back::<ArcArray<A, D>>(&file).unwrap()), bits(&array));
    if array.is_standard_layout() {
        assert!(back.is_standard_layout());
    } else if array.t().is_standard_layout() {
        assert!(back.t().is_standard_layout());
    }
    assert_eq!(written(&back), file, "what was read is written as the same bytes");
    assert_eq!(array.size(), bits(&array).len() as u64);
}

fn assert_comes_back_with_any_dimension<A: Sample>(array: &ArrayD<A>) {
    assert_comes_back::<A, IxDyn>(array);
    match array.ndim() {
        0 => assert_comes_back::<A, Ix0>(array),
        1 => assert_comes_back::<A, Ix1>(array),
        2 => assert_comes_back::<A, Ix2>(array),
        3 => assert_comes_back::<A, Ix3>(array),
        4 => assert_comes_back::<A, Ix4>(array),
        5 => assert_comes_back::<A, Ix5>(array),
        6 => assert_comes_back::<A, Ix6>(array),
        _ => {}
    }
}

macro_rules! come_back {
    ($($name:ident: $type:ty;)+) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(100))]
            $(#[test]
            fn $name(
                shape in prop::collection::vec(0_usize..4, 0..=7),
                bits in prop::collection::vec(any_bits(), 1..40),
                layout in prop::sample::select(
                    [Layout::C, Layout::Fortran, Layout::Strided, Layout::Reversed, Layout::Permuted].as_slice()
                ),
            ) {
                assert_comes_back_with_any_dimension(&laid_out::<$type>(&shape, &bits, layout));
            })+
        }
    };
}

come_back! {
    arrays_of_i8_come_back_bit_for_bit: i8;
    arrays_of_i16_come_back_bit_for_bit: i16;
    arrays_of_i32_come_back_bit_for_bit: i32;
    arrays_of_i64_come_back_bit_for_bit: i64;
    arrays_of_u8_come_back_bit_for_bit: u8;
    arrays_of_u16_come_back_bit_for_bit: u16;
    arrays_of_u32_come_back_bit_for_bit: u32;
    arrays_of_u64_come_back_bit_for_bit: u64;
    arrays_of_f32_come_back_bit_for_bit: f32;
    arrays_of_f64_come_back_bit_for_bit: f64;
    arrays_of_bool_come_back_bit_for_bit: bool;
    arrays_of_complex_f32_come_back_bit_for_bit: Complex<f32>;
    arrays_of_complex_f64_come_back_bit_for_bit: Complex<f64>;
}

#[test]
fn an_empty_slice_of_a_larger_array_is_written() {
    let mut array = Array2::<f64>::zeros((5, 4));
    array.slice_axis_inplace(Axis(0), Slice::from(2..2));
    array.slice_axis_inplace(Axis(1), Slice::new(0, None, 2));
    assert_eq!(read_back::<Array2<f64>>(&written(&array)).unwrap().shape(), [0, 2]);
}

#[test]
fn elements_are_written_side_by_side_in_pieces_where_they_lie_apart() {
    let array = Array2::from_shape_fn((300, 301), |(row, column)| (row * 1000 + column) as u32);
    let mut apart = Array2::<u32>::zeros((300, 602));
    apart.slice_axis_inplace(Axis(1), Slice::new(0, None, 2));
    apart.assign(&array);
    assert!(apart.as_slice().is_none());
    assert_eq!(written(&apart), written(&array));
}

#[test]
fn an_array_of_one_row_or_column_is_in_c_order() {
    let row = Array2::from_shape_vec((1, 3).f(), vec![1_u8, 2, 3]).unwrap();
    assert!(read_back::<Array2<u8>>(&written(&row)).unwrap().is_standard_layout());
}

// The bytes themselves.

#[test]
fn a_file_has_the_bytes_that_numpy_writes() {
    let padding = " ".repeat(39);
    let line = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }}{padding}{:20}\n", "");
    let mut golden = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    golden.extend_from_slice(line.trim_end().as_bytes());
    golden.resize(127, b' ');
    golden.extend_from_slice(b"\n\x00\x00\x80\x3f\x00\x00\x00\xc0");
    assert_eq!(written(&array![[1.0_f32], [-2.0]]), golden);
}

#[test]
fn each_type_has_the_name_that_numpy_gives_it() {
    let names = [
        descr::<i8>('<'),
        descr::<i16>('<'),
        descr::<u32>('<'),
        descr::<u64>('>'),
        descr::<u8>('>'),
        descr::<f32>('<'),
        descr::<f64>('<'),
        descr::<bool>('<'),
        descr::<Complex<f32>>('<'),
        descr::<Complex<f64>>('<'),
    ];
    assert_eq!(names, ["|i1", "<i2", "<u4", ">u8", "|u1", "<f4", "<f8", "|b1", "<c8", "<c16"]);
}

#[test]
fn numbers_of_other_machines_are_turned_around() {
    let mut bytes = file("{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }\n", 0);
    bytes.extend_from_slice(&[0x12, 0x34, 0xff, 0xfe]);
    assert_eq!(read_back::<Array1<i16>>(&bytes).unwrap(), array![0x1234, -2]);
    let mut bytes = file("{'descr': '>c8', 'fortran_order': False, 'shape': (), }\n", 0);
    bytes.extend_from_slice(&[0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0]);
    assert_eq!(read_back::<Array<Complex<f32>, Ix0>>(&bytes).unwrap(), arr0(Complex::new(1.0_f32, -2.0)));
}

#[test]
fn other_forms_of_the_line_that_python_reads_alike_are_read() {
    for line in [
        "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 0), }",
        "{\"shape\":(2,0),\"fortran_order\":False,\"descr\":\"<i4\"}\n",
        "  { 'fortran_order' : False , 'shape' : ( 2L , 0L , ) , 'descr' : '<i4' }  \n",
    ] {
        assert_eq!(read_back::<Array2<i32>>(&file(line, 0)).unwrap().shape(), [2, 0], "{line}");
    }
}

#[test]
fn versions_two_and_three_are_read() {
    let line = b"{'descr': '|u1', 'fortran_order': True, 'shape': (1, 2), }\n";
    for version in [2, 3] {
        let mut bytes = [b"\x93NUMPY".as_slice(), &[version, 0], &(line.len() as u32).to_le_bytes(), line].concat();
        bytes.extend_from_slice(&[7, 9]);
        assert_eq!(read_back::<Array2<u8>>(&bytes).unwrap(), array![[7, 9]]);
    }
}

// What is no such array.

#[test]
fn another_type_or_number_of_dimensions_is_named() {
    let bytes = written(&Array::<f32, _>::zeros((2, 1, 2)));
    assert_eq!(
        refusal::<Array2<f64>>(&bytes),
        "expected an array of `f64` with 2 dimensions, the file has '<f4' with 3"
    );
    assert_eq!(
        refusal::<ArrayD<u16>>(&bytes),
        "expected an array of `u16` with any number of dimensions, the file has '<f4' with 3"
    );
}

#[test]
fn lines_that_numpy_does_not_write_are_refused() {
    for (line, says) in [
        ("", "expected `{`, found ``"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (1), }", "expected `,`, found `), }`"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }", "memory, found `-1,), }`"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }", "that fits into memory"),
        ("{'descr': '|u1', 'fortran_order': 0, 'shape': (1,), }", "expected `True` or `False`"),
        ("{'descr': '|u1', 'fortran_order': False, }", "is missing"),
        ("{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (1,), }", "`descr` is said twice"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (1,), 'x': 1}", "`x` is no part of an array"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (1,), } 1", "expected the end of the line"),
        ("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,), }", "are to be plain numbers"),
        ("{'descr': '|u1", "a text that ends"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "the file has '|O' with 1"),
    ] {
        let refusal = refusal::<Array1<u8>>(&file(line, 1));
        assert!(refusal.contains(says), "{line}: {refusal}");
    }
    assert_eq!(refusal::<Array1<u8>>(b"\x93NUMPX\x01\x00\x00\x00"), "this is no file of NumPy's");
    assert_eq!(refusal::<Array1<u8>>(b"\x93NUMPY\x04\x00\x00\x00"), "version 4.0 of the format is not known");
    assert!(refusal::<Array1<u8>>(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("a line of 4294967295 bytes"));
}

#[test]
fn more_or_less_data_than_the_shape_has_is_refused() {
    let whole = written(&array![1_u16, 2, 3]);
    assert!(refusal::<Array1<u16>>(&whole[..whole.len() - 1]).contains("5 bytes are no array of `u16` of shape [3]"));
    assert!(refusal::<Array1<u16>>(&[&whole[..], &[0]].concat()).contains("7 bytes are no array"));
}

#[test]
fn bytes_that_are_no_truth_values_are_refused() {
    let mut bytes = written(&array![true, false]);
    *bytes.last_mut().unwrap() = 2;
    assert_eq!(refusal::<Array1<bool>>(&bytes), "2 is neither true nor false");
}

#[test]
fn an_array_above_the_limit_is_refused() {
    let bytes = written(&Array1::<u64>::zeros(10));
    assert!(read_within::<Array1<u64>>(&bytes, 80).is_ok());
    let refusal = read_within::<Array1<u64>>(&bytes, 79).unwrap_err().to_string();
    assert_eq!(refusal, "an array of 80 bytes, the limit is 79");
}

#[test]
fn shapes_that_no_memory_holds_are_refused_at_once() {
    for shape in ["1152921504606846976,", "4294967296, 4294967296, 4294967296", "0, 9223372036854775808", "2, 0, 0, 0"]
    {
        let bytes = file(&format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}\n"), 8);
        let used = measure(|| assert!(read_back::<ArrayD<f64>>(&bytes).is_err(), "{shape}"));
        assert!(used.bytes_max < 10_000, "{shape}: {used:?}");
    }
    // Nothing has to be there for these.
    for shape in ["0, 9223372036854775808", "0, 4294967296, 4294967296"] {
        let bytes = file(&format!("{{'descr': '<f8', 'fortran_order': True, 'shape': ({shape}), }}\n"), 0);
        assert!(read_back::<ArrayD<f64>>(&bytes).is_err(), "{shape}");
    }
}

#[test]
fn more_dimensions_than_numpy_has_are_neither_written_nor_read() {
    let array = ArrayD::<u8>::zeros(vec![1; 65]);
    let refusal = array.write(OPTIONS, &mut Vec::new()).unwrap_err().to_string();
    assert_eq!(refusal, "an array of 65 dimensions: NumPy has at most 64");
    let line = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({}), }}", "1, ".repeat(65));
    assert_eq!(self::refusal::<ArrayD<u8>>(&file(&line, 1)), refusal);
    assert_comes_back::<u8, IxDyn>(&ArrayD::zeros(vec![1; 64]));
}

#[test]
fn no_flipped_bit_and_no_cut_makes_it_panic_or_take_much_memory() {
    fn try_all<T: Native>(whole: &[u8]) {
        for bytes in damaged(whole) {
            let mut read = None;
            let used = measure(|| read = Some(read_within::<T>(&bytes, 100)));
            assert!(used.bytes_max < MIB, "{used:?}");
            assert!(bytes.len() == whole.len() || read.is_some_and(|read| read.is_err()), "{}", bytes.len());
        }
    }
    try_all::<Array2<f64>>(&written(&array![[1.5, f64::NAN], [0.0, -0.0]]));
    try_all::<ArrayD<bool>>(&written(&array![[[true, false]]].into_dyn()));
    try_all::<ArcArray<u8, Ix0>>(&written(&arr0(1_u8)));
}

// Memory.

#[test]
fn an_array_is_neither_copied_to_be_written_nor_twice_to_be_read() {
    struct Nowhere;
    impl io::Write for Nowhere {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            Ok(part.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut apart = Array2::<f64>::ones((1000, 1000));
    let fortran = apart.clone().reversed_axes();
    apart.invert_axis(Axis(0));
    for array in [&fortran, &apart] {
        let used = measure(|| array.write(OPTIONS, &mut Nowhere).unwrap());
        assert!(used.bytes_max < MIB, "{used:?}");
    }
    let bytes = written(&fortran);
    let source = Source::of_bytes(bytes);
    let used = measure(|| drop(Array2::<f64>::read(NativeFormat::Npy, source, 8 * MIB).unwrap()));
    assert!(used.bytes_max < 8_100_000, "{used:?}");
    let bytes = Source::of_bytes(written(&Array1::from_elem(1_000_000, true)));
    let used = measure(|| drop(Array1::<bool>::read(NativeFormat::Npy, bytes, 8 * MIB).unwrap()));
    assert!(used.bytes_max < 1_100_000, "{used:?}");
}

// NumPy itself, where it is installed.

fn python(script: &str, dir: &Path) -> bool {
    let Ok(found) = Command::new("python3").args(["-c", "import numpy"]).output() else { return false };
    if !found.status.success() {
        return false;
    }
    let output = Command::new("python3").args(["-c", script]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn files_of_numpy_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let script = "
import numpy as np
a = np.arange(24, dtype='f8').reshape(2, 3, 4)
np.save('c', a); np.save('fortran', np.asfortranarray(a)); np.save('big', a.astype('>f8'))
np.save('strided', a[::-1, :, ::2]); np.save('number', np.float64(7)); np.save('empty', np.zeros((0, 3, 0)))
for v in (1, 2, 3):
    with open(f'v{v}.npy', 'wb') as f:
        np.lib.format.write_array(f, a, version=(v, 0))
";
    if !python(script, dir.path()) {
        return;
    }
    let load = |name: &str| read_back::<ArrayD<f64>>(&std::fs::read(dir.path().join(name)).unwrap()).unwrap();
    let expected = Array1::range(0.0, 24.0, 1.0).into_shape_with_order((2, 3, 4)).unwrap().into_dyn();
    for name in ["c.npy", "fortran.npy", "big.npy", "v1.npy", "v2.npy", "v3.npy"] {
        assert_eq!(load(name), expected, "{name}");
    }
    assert!(load("fortran.npy").t().is_standard_layout());
    let mut strided = expected.clone();
    strided.invert_axis(Axis(0));
    strided.slice_axis_inplace(Axis(2), Slice::new(0, None, 2));
    assert_eq!(load("strided.npy"), strided);
    assert_eq!(load("number.npy"), arr0(7.0).into_dyn());
    assert_eq!(load("empty.npy").shape(), [0, 3, 0]);
}

#[test]
fn numpy_reads_what_is_written_and_writes_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let save = |name: &str, bytes: Vec<u8>| std::fs::write(dir.path().join(name), bytes).unwrap();
    let fortran = Array2::from_shape_vec((2, 3).f(), vec![1_i32, 2, 3, 4, 5, 6]).unwrap();
    save("i4 2,3", written(&fortran));
    save("f8 5", written(&array![1.0, f64::NAN, f64::INFINITY, -0.0, 1e300]));
    save("b1 1,2,1", written(&array![[[true], [false]]]));
    save("c16 2", written(&array![Complex::new(1.0, -2.0), Complex::new(0.0, 0.5)]));
    save("u1 0,4", written(&Array2::<u8>::zeros((0, 4))));
    save("f4 ", written(&arr0(0.25_f32)));
    save("i8 1,1,1,1,1,1,1", written(&ArrayD::<i64>::zeros(vec![1; 7])));
    python(
        "
import io, os, numpy as np
for name in os.listdir():
    dtype, shape = name.split(' ')
    a = np.load(name)
    assert a.dtype == np.dtype(dtype), (name, a.dtype)
    assert a.shape == tuple(int(n) for n in shape.split(',') if n), (name, a.shape)
    to = io.BytesIO()
    np.save(to, a)
    assert to.getvalue() == open(name, 'rb').read(), (name, to.getvalue())
a = np.load('i4 2,3')
assert a.flags.f_contiguous and a.tolist() == [[1, 3, 5], [2, 4, 6]]
",
        dir.path(),
    );
}
