//! NumPy and safetensors.

use std::fmt::Debug;

use cacheness::cache::Expired;
use cacheness::config::Codec;
use cacheness::native::{Native, Tensor, Tensors, read_file};
use cacheness::{Cache, CacheConfig};
use ndarray::{Array, Array1, Array2, ArrayD, Dimension, IxDyn, ShapeBuilder};
use num_complex::Complex;

use super::{cache_in, python, stored};

/// An array in C order, in Fortran order, and a view that is neither, made an array.
fn layouts<A: Clone + Debug>(element: impl Fn(usize) -> A) -> Vec<ArrayD<A>> {
    let shapes: [&[usize]; 6] = [&[], &[0], &[1], &[5], &[3, 4], &[2, 3, 4]];
    let mut arrays = Vec::new();
    for shape in shapes {
        let len: usize = shape.iter().product();
        let elements: Vec<A> = (0..len).map(&element).collect();
        arrays.push(ArrayD::from_shape_vec(IxDyn(shape), elements.clone()).unwrap());
        arrays.push(ArrayD::from_shape_vec(IxDyn(shape).f(), elements).unwrap());
    }
    arrays
}

/// Each array is opened by NumPy, which says its type and contents, and writes it once more; what NumPy wrote is the same array.
fn numpy_agrees<A>(dtype: &str, element: impl Fn(usize) -> A)
where
    A: Clone + Debug + PartialEq,
    ArrayD<A>: Native,
{
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cache = cache_in(dir.path());
    for (n, array) in layouts(element).into_iter().enumerate() {
        let path = stored(&cache, &format!("{n}"), &array);
        let program = format!(
            "import numpy as np\na = np.load({path:?})\nassert a.dtype == np.dtype({dtype:?}), a.dtype\n\
             print(list(a.shape)); print([repr(x) for x in a.flatten().tolist()])\n\
             np.save('c.npy', np.ascontiguousarray(a).reshape(a.shape)); np.save('f.npy', np.asfortranarray(a).reshape(a.shape, order='F') if a.ndim > 1 else a)"
        );
        let said = python.run(dir.path(), &program);
        let mut lines = said.lines();
        assert_eq!(lines.next().unwrap(), format!("{:?}", array.shape()));
        assert_eq!(lines.next().unwrap().matches('\'').count(), 2 * array.len(), "{array:?}");
        for file in ["c.npy", "f.npy"] {
            let back: ArrayD<A> = read_file(dir.path().join(file)).unwrap();
            assert_eq!(back, array, "{file}");
        }
    }
}

#[test]
fn numpy_opens_arrays_of_every_type_and_what_it_writes_comes_back() {
    numpy_agrees("i1", |n| n as i8 - 2);
    numpy_agrees("i2", |n| n as i16 - 2);
    numpy_agrees("i4", |n| n as i32 - 2);
    numpy_agrees("i8", |n| n as i64 - 2);
    numpy_agrees("u1", |n| (n as u8).wrapping_add(250));
    numpy_agrees("u2", |n| n as u16 + 65_000);
    numpy_agrees("u4", |n| n as u32);
    numpy_agrees("u8", |n| n as u64 + (1 << 63));
    numpy_agrees("f4", |n| n as f32 / 3.0);
    numpy_agrees("f8", |n| n as f64 / 3.0);
    numpy_agrees("?", |n| n % 3 == 0);
    numpy_agrees("c8", |n| Complex::new(n as f32, -0.5));
    numpy_agrees("c16", |n| Complex::new(n as f64, -0.5));
}

#[test]
fn numpy_sees_the_same_bits_in_the_same_places() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cache = cache_in(dir.path());
    let odd = [f64::NAN, f64::from_bits(0x7ff8_0000_dead_beef), f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324];
    let path = stored(&cache, "odd", &Array1::from(odd.to_vec()));
    let program = format!("import numpy as np\nprint(*[hex(x) for x in np.load({path:?}).view('u8').tolist()])");
    let bits: Vec<_> = odd.iter().map(|number| format!("{:#x}", number.to_bits())).collect();
    assert_eq!(python.run(dir.path(), &program).trim(), bits.join(" "));
    let by_columns = Array2::from_shape_fn((3, 4).f(), |(row, column)| (10 * row + column) as i32);
    let path = stored(&cache, "f", &by_columns);
    let program = format!(
        "import numpy as np\na = np.load({path:?}, mmap_mode='r')\nprint(a.flags.f_contiguous, a[2, 1], a[0].tolist())"
    );
    assert_eq!(python.run(dir.path(), &program).trim(), "True 21 [0, 1, 2, 3]");
}

#[test]
fn an_array_of_another_type_or_dimension_is_refused_by_both_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npy");
    cacheness::native::write_file(&path, &Array::<f32, _>::zeros((2, 3))).unwrap();
    for error in [read_file::<Array2<f64>>(&path).unwrap_err(), read_file::<Array1<f32>>(&path).unwrap_err()] {
        assert!(error.is_handler(), "{error}");
        assert!(error.to_string().contains("f4") || error.to_string().contains("dimension"), "{error}");
    }
}

#[test]
fn arrays_are_compressed_by_the_codec_and_level_of_the_configuration() {
    let array = Array1::from_iter((0..200_000_u32).map(|n| n.wrapping_mul(n) % 977));
    let stored = |codec: Codec, level: Option<u8>| {
        let dir = tempfile::tempdir().unwrap();
        let mut config = CacheConfig::new(dir.path().join("cache")).with_arrays_codec(codec);
        config.compression.arrays_level = level;
        let cache = Cache::new(config).unwrap();
        cache.put_native("a", &array).unwrap();
        assert_eq!(cache.get_native("a").unwrap().as_ref(), Some(&array));
        assert_eq!(cache.open_file("a").unwrap().unwrap().is_copy(), codec != Codec::None);
        cache.get_metadata("a", Expired::Skip).unwrap().unwrap().size()
    };
    let [plain, fast, dense] = [(Codec::None, None), (Codec::Gzip, Some(1)), (Codec::Gzip, Some(9))]
        .map(|(codec, level)| stored(codec, level));
    assert!(plain > 800_000 && fast < plain / 2 && dense < fast, "{plain} {fast} {dense}");
}

fn tensors() -> Tensors {
    let mut tensors = Tensors::new();
    tensors.insert("weights", Tensor::from_slice::<f32>(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, f32::NAN]).unwrap());
    tensors.insert("ids", Tensor::from_slice::<i64>(&[3], &[-1, 0, i64::MAX]).unwrap());
    tensors.insert("empty", Tensor::from_slice::<u8>(&[0, 4], &[]).unwrap());
    tensors
}

#[test]
fn safetensors_opens_tensors_and_what_it_writes_comes_back() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cache = cache_in(dir.path());
    let path = stored(&cache, "t", &tensors());
    let program = format!(
        "from safetensors.numpy import load_file, save_file\nt = load_file({path:?})\n\
         print({{n: (str(a.dtype), list(a.shape)) for n, a in sorted(t.items())}})\nprint(t['ids'].tolist())\n\
         save_file(t, 'back.safetensors')"
    );
    let said = python.run(dir.path(), &program);
    let expected = "{'empty': ('uint8', [0, 4]), 'ids': ('int64', [3]), 'weights': ('float32', [2, 3])}\n\
                    [-1, 0, 9223372036854775807]\n";
    assert_eq!(said, expected);
    let back: Tensors = read_file(dir.path().join("back.safetensors")).unwrap();
    for (name, tensor) in tensors().iter() {
        assert_eq!(back.get(name), Some(tensor), "{name}");
    }
}

fn _every_dimension_is_native<D: Dimension>()
where
    Array<f64, D>: Native,
{
}
