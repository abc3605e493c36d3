//! Tensors: type, shape, bytes and names count.

use std::collections::HashSet;

use super::super::Key;
use super::key;
use crate::codec::native::{Dtype, Tensor, Tensors};

#[test]
fn type_shape_and_bytes_of_a_tensor_count() {
    let tensor = |dtype, shape: &[usize], bytes: &[u8]| key(Tensor::new(dtype, shape, bytes).unwrap());
    let keys = [
        tensor(Dtype::U8, &[2, 1], &[1, 2]),
        tensor(Dtype::U8, &[1, 2], &[1, 2]),
        tensor(Dtype::I8, &[2, 1], &[1, 2]),
        tensor(Dtype::U8, &[2, 1], &[1, 3]),
        tensor(Dtype::U16, &[1], &[1, 2]),
    ];
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    assert_eq!(tensor(Dtype::U16, &[1], &[1, 2]), key(Tensor::from_slice(&[1], &[0x0201_u16]).unwrap()));
}

fn tensors(pairs: [(&str, &Tensor); 2]) -> Tensors {
    pairs.into_iter().map(|(name, tensor)| (name, tensor.clone())).collect()
}

#[test]
fn names_and_texts_of_tensors_count_and_the_order_of_insertion_does_not() {
    let one = Tensor::from_slice(&[1], &[1_u8]).unwrap();
    let two = Tensor::from_slice(&[1], &[2_u8]).unwrap();
    let of = |pairs| key(tensors(pairs));
    let mut with_text = tensors([("a", &one), ("b", &two)]);
    with_text.insert_metadata("a", "b");
    let keys: [Key; 4] = [
        of([("a", &one), ("b", &two)]),
        of([("a", &two), ("b", &one)]),
        of([("a", &one), ("c", &two)]),
        key(with_text),
    ];
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    assert_eq!(keys[0], of([("b", &two), ("a", &one)]));
}
