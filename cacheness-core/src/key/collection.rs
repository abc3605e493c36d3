//! Containers without an order, or of a length that nobody knows before the end.

use super::sink::Sink;
use super::writer::{Frame, KeyWriter};

/// A container whose elements are kept until all are known.
#[must_use]
pub(super) struct Collection {
    frame: Frame,
    outer_sink: Sink,
    outer_length: u64,
    ends: Vec<usize>,
}

impl KeyWriter {
    /// Begins to keep what is written. Paths are read at once until [`close_sorted`](Self::close_sorted) or
    /// [`close_listed`](Self::close_listed), since their contents decide the order.
    pub(super) fn collect(&mut self) -> Collection {
        Collection {
            frame: self.open(),
            outer_sink: std::mem::replace(&mut self.sink, Sink::kept()),
            outer_length: self.length,
            ends: Vec::new(),
        }
    }

    /// Ends an element of the collection.
    pub(super) fn end_element(&mut self, collection: &mut Collection) {
        collection.ends.push(self.kept().len());
    }

    /// Writes the elements, of `values` values each, sorted by their encoding.
    pub(super) fn close_sorted(&mut self, tag: u8, values: u64, collection: Collection) {
        self.close_collection(tag, values, collection, |elements| elements.sort_unstable());
    }

    /// Writes the elements in their order.
    pub(super) fn close_listed(&mut self, tag: u8, collection: Collection) {
        self.close_collection(tag, 1, collection, |_| {});
    }

    fn close_collection(&mut self, tag: u8, values: u64, collection: Collection, order: impl FnOnce(&mut [&[u8]])) {
        let Collection { frame, outer_sink, outer_length, ends } = collection;
        let Sink::Kept(bytes) = std::mem::replace(&mut self.sink, outer_sink) else { return };
        self.close(frame, values * ends.len() as u64);
        // While kept they counted against the limit; now they count again, where they belong.
        self.length = outer_length;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let mut elements: Vec<&[u8]> = starts.zip(&ends).filter_map(|(start, &end)| bytes.get(start..end)).collect();
        order(&mut elements);
        self.value(&[tag]);
        self.number(elements.len() as u64);
        elements.into_iter().for_each(|element| self.append(element));
    }

    fn kept(&self) -> &[u8] {
        match &self.sink {
            Sink::Kept(bytes) => bytes,
            _ => &[],
        }
    }
}
