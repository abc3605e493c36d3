//! Arrays of the crate ndarray: shape and content count, layout does not.

use ndarray::{Array1, Array2, ArrayD, ArrayRef, Axis, Ix2, ShapeBuilder, Slice, arr0, array};
use num_complex::Complex;
use proptest::prelude::*;

use super::super::Key;
use super::key;

#[test]
fn what_an_array_lies_in_does_not_count() {
    let rows = array![[1.5, 2.0, f64::NAN], [-0.0, 5.0, 6.0]];
    let columns = Array2::from_shape_vec((2, 3).f(), vec![1.5, -0.0, 2.0, 5.0, f64::NAN, 6.0]).unwrap();
    let mut reversed = array![[-0.0, 5.0, 6.0], [1.5, 2.0, f64::NAN]];
    reversed.invert_axis(Axis(0));
    let mut larger = array![[1.5, 0.1, 2.0, 0.1, f64::NAN], [-0.0, 0.1, 5.0, 0.1, 6.0]];
    larger.slice_axis_inplace(Axis(1), Slice::new(0, None, 2));
    let by_ref: &ArrayRef<f64, Ix2> = &rows;
    let expected = key(&rows);
    for other in [
        key(&columns),
        key(&reversed),
        key(&larger),
        key(rows.view()),
        key(rows.t().t()),
        key(rows.to_shared()),
        key(by_ref),
        key(rows.view().into_dyn()),
    ] {
        assert_eq!(other, expected);
    }
}

#[test]
fn shape_type_and_elements_count() {
    let arrays = [
        key(array![[1_i64, 2, 3], [4, 5, 6]]),
        key(array![[1_i64, 2], [3, 4], [5, 6]]),
        key(array![1_i64, 2, 3, 4, 5, 6]),
        key(array![[[1_i64, 2, 3, 4, 5, 6]]]),
        key(array![[1_i32, 2, 3], [4, 5, 6]]),
        key(array![[1_i64, 2, 3], [4, 5, 7]]),
        key(vec![1_i64, 2, 3, 4, 5, 6]),
        key([1_i64, 2, 3, 4, 5, 6]),
        key(arr0(1_i64)),
        key(array![1_i64]),
        key(1_i64),
        key(ArrayD::<i64>::zeros(vec![0, 2])),
        key(ArrayD::<i64>::zeros(vec![2, 0])),
        key(Array1::<i64>::zeros(0)),
    ];
    let distinct: std::collections::HashSet<&Key> = arrays.iter().collect();
    assert_eq!(distinct.len(), arrays.len());
}

#[test]
fn floats_count_by_their_bits_with_one_nan() {
    let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
    assert_eq!(key(array![other_nan, 1.0]), key(array![f64::NAN, 1.0]));
    assert_ne!(key(array![0.0, 1.0]), key(array![-0.0, 1.0]));
    let complex = |re, im| key(Array1::from_elem(3, Complex::new(re, im)));
    assert_eq!(complex(other_nan, 1.0), complex(f64::NAN, 1.0));
    assert_ne!(complex(0.0, 1.0), complex(-0.0, 1.0));
    assert_ne!(key(Complex::new(1.0_f32, 0.0)), key(Complex::new(1.0_f64, 0.0)));
}

#[test]
fn elements_may_be_anything_that_has_a_key() {
    assert_eq!(key(array![["a", "b"]]), key(array![["a".to_owned(), "b".to_owned()]]));
    assert_ne!(key(array![["a", "b"]]), key(array![["ab", ""]]));
}

#[test]
fn arrays_are_encoded_as_ever() {
    let written = |key: Key| key.identity().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(written(key(array![[1_u16], [2]])), "00580202015111020100 0200".replace(' ', ""));
    assert_eq!(written(key(arr0(true))), "005800510201 01".replace(' ', ""));
    assert_eq!(written(key(array![Complex::new(1.0_f32, -2.0)])), "00580101512201 0000803f 000000c0".replace(' ', ""));
    assert_eq!(written(key(Complex::new(0.0_f64, 1.0))), "0023 0000000000000000 000000000000f03f".replace(' ', ""));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn a_list_has_one_key_in_whatever_pieces_it_lies(
        bits in prop::collection::vec(prop_oneof![any::<u64>(), Just(0x7ff8_0000_0000_0001)], 0..6000),
        at in any::<prop::sample::Index>(),
    ) {
        let list: Vec<f64> = bits.iter().map(|bits| f64::from_bits(*bits)).collect();
        let at = at.index(list.len() + 1);
        let mut deque: std::collections::VecDeque<f64> = list[at..].iter().copied().collect();
        list[..at].iter().rev().for_each(|item| deque.push_front(*item));
        let linked: std::collections::LinkedList<f64> = list.iter().copied().collect();
        prop_assert_eq!(key(&deque), key(&list));
        prop_assert_eq!(key(&linked), key(&list));
    }
}
