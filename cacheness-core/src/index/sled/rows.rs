use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// What an order goes by, and the hash of the key of an entry.
pub(super) type Row<B> = (B, u64);

/// What the entries of one row have in common with nobody else: summed up, so that one can be taken out again.
pub(super) trait Mark: Copy + Default {
    fn add(&mut self, other: Self);
    fn take(&mut self, other: Self);
}

impl Mark for () {
    fn add(&mut self, (): ()) {}
    fn take(&mut self, (): ()) {}
}

impl Mark for u32 {
    fn add(&mut self, other: Self) {
        *self = self.wrapping_add(other);
    }

    fn take(&mut self, other: Self) {
        *self = self.wrapping_sub(other);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally<M> {
    count: u32,
    mark: M,
}

/// Rows in order, each with how many entries it stands for.
#[derive(Debug)]
pub(super) struct Rows<B, M = ()>(BTreeMap<Row<B>, Tally<M>>);

impl<B, M> Default for Rows<B, M> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<B: Ord + Copy, M: Mark> Rows<B, M> {
    /// Takes rows that are sorted already, or nearly, in less time than one by one.
    pub(super) fn of(mut rows: Vec<(Row<B>, M)>) -> Self {
        rows.sort_by_key(|(row, _)| *row);
        let mut counted: Vec<(Row<B>, Tally<M>)> = Vec::with_capacity(rows.len());
        for (row, mark) in rows {
            match counted.last_mut() {
                Some((last, tally)) if *last == row => {
                    tally.count += 1;
                    tally.mark.add(mark);
                }
                _ => counted.push((row, Tally { count: 1, mark })),
            }
        }
        Self(counted.into_iter().collect())
    }

    pub(super) fn insert(&mut self, row: Row<B>, mark: M) {
        let tally = self.0.entry(row).or_default();
        tally.count += 1;
        tally.mark.add(mark);
    }

    /// Takes one entry out of a row. A row that is not there is no mistake: eviction moves rows.
    pub(super) fn remove(&mut self, row: Row<B>, mark: M) {
        if let Some(tally) = self.0.get_mut(&row) {
            tally.count -= 1;
            tally.mark.take(mark);
            if tally.count == 0 {
                self.0.remove(&row);
            }
        }
    }

    /// Takes the row out, whatever it stands for.
    pub(super) fn drop_row(&mut self, row: Row<B>) {
        self.0.remove(&row);
    }

    pub(super) fn range(&self, range: impl RangeBounds<Row<B>>) -> impl DoubleEndedIterator<Item = Row<B>> {
        self.0.range(range).map(|(row, _)| *row)
    }

    /// The least row and the greatest.
    pub(super) fn bounds(&self) -> Option<(Row<B>, Row<B>)> {
        let ends = self.0.first_key_value().zip(self.0.last_key_value());
        ends.map(|((first, _), (last, _))| (*first, *last))
    }

    /// Every row as often as it was put in.
    pub(super) fn iter(&self) -> impl Iterator<Item = Row<B>> {
        self.0.iter().flat_map(|(row, tally)| std::iter::repeat_n(*row, tally.count as usize))
    }

    /// The mark of every row, each once.
    pub(super) fn marks(&self) -> impl Iterator<Item = M> {
        self.0.values().map(|tally| tally.mark)
    }

    /// Gives the rows their marks, in the order of [`marks`](Self::marks).
    pub(super) fn set_marks(&mut self, marks: impl Iterator<Item = M>) {
        self.0.values_mut().zip(marks).for_each(|(tally, mark)| tally.mark = mark);
    }

    pub(super) fn has(&self, row: Row<B>) -> bool {
        self.0.contains_key(&row)
    }

    /// The mark of a row that stands for one entry.
    pub(super) fn mark_of_one(&self, row: Row<B>) -> Option<M> {
        self.0.get(&row).filter(|tally| tally.count == 1).map(|tally| tally.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_two_entries_stays_until_both_are_gone() {
        let mut rows = Rows::default();
        rows.insert((1, 7), 30_u32);
        rows.insert((1, 7), 4);
        assert_eq!((rows.has((1, 7)), rows.mark_of_one((1, 7))), (true, None));
        rows.remove((1, 7), 30);
        assert_eq!(rows.iter().collect::<Vec<_>>(), [(1, 7)]);
        assert_eq!(rows.mark_of_one((1, 7)), Some(4));
        rows.remove((1, 7), 4);
        rows.remove((1, 7), 4);
        assert_eq!(rows.range(..).next(), None);
    }

    #[test]
    fn rows_taken_together_are_those_put_one_by_one() {
        let unsorted = vec![((2, 1), 1_u32), ((1, 9), 2), ((2, 1), 3), ((0, 3), 4)];
        let together = Rows::of(unsorted.clone());
        let mut one_by_one = Rows::default();
        unsorted.into_iter().for_each(|(row, mark)| one_by_one.insert(row, mark));
        assert!(together.iter().eq(one_by_one.iter()));
        assert_eq!(together.iter().collect::<Vec<_>>(), [(0, 3), (1, 9), (2, 1), (2, 1)]);
        assert_eq!(together.marks().collect::<Vec<_>>(), [4, 2, 4]);
    }
}
