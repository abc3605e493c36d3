//! Arrays of the crate ndarray.

use std::slice;

use ndarray::iter::LanesIter;
use ndarray::{ArrayBase, ArrayRef, Data, Dimension};

use super::{CacheKey, KeyList, KeyWriter, tag};

/// What counts is the shape and the elements, row by row: neither how they lie in memory, nor whether they are owned, nor whether
/// the number of dimensions is part of the type. An array of one dimension is no `Vec`: the type that a parameter has may not
/// change without another key.
impl<A: CacheKey, D: Dimension> CacheKey for ArrayRef<A, D> {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::NDARRAY]);
        writer.number(self.ndim() as u64);
        self.shape().iter().for_each(|axis| writer.number(*axis as u64));
        writer.nested(1, |writer| match self.as_slice() {
            Some(elements) => A::encode_list(KeyList::Sequence, self.len(), [elements].into_iter(), writer),
            None => A::encode_list(KeyList::Sequence, self.len(), Rows::of(self.rows().into_iter()), writer),
        });
    }
}

/// As [`ArrayRef`] does.
impl<S: Data<Elem: CacheKey>, D: Dimension> CacheKey for ArrayBase<S, D> {
    fn encode(&self, writer: &mut KeyWriter) {
        let array: &ArrayRef<S::Elem, D> = self;
        array.encode(writer);
    }
}

/// Rows, whole where their elements lie side by side and one by one where not.
struct Rows<'a, A, D> {
    rows: LanesIter<'a, A, D>,
    row: Option<ndarray::iter::Iter<'a, A, ndarray::Ix1>>,
}

impl<'a, A, D: Dimension> Rows<'a, A, D> {
    fn of(rows: LanesIter<'a, A, D>) -> Self {
        Self { rows, row: None }
    }
}

impl<'a, A, D: Dimension> Iterator for Rows<'a, A, D> {
    type Item = &'a [A];

    fn next(&mut self) -> Option<&'a [A]> {
        loop {
            if let Some(element) = self.row.as_mut().and_then(Iterator::next) {
                return Some(slice::from_ref(element));
            }
            let row = self.rows.next()?;
            match row.to_slice() {
                Some(elements) => return Some(elements),
                None => self.row = Some(row.into_iter()),
            }
        }
    }
}
