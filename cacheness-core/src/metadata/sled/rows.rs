use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// What an order goes by, and the hash of the key of an entry.
pub(super) type Row<B> = (B, u64);

/// Rows in order, each with how many entries it stands for.
#[derive(Debug)]
pub(super) struct Rows<B>(BTreeMap<Row<B>, u32>);

impl<B> Default for Rows<B> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<B: Ord + Copy> Rows<B> {
    /// Takes rows that are sorted already, or nearly, in less time than one by one.
    pub(super) fn of(mut rows: Vec<Row<B>>) -> Self {
        rows.sort();
        let mut counted: Vec<(Row<B>, u32)> = Vec::with_capacity(rows.len());
        for row in rows {
            match counted.last_mut() {
                Some((last, count)) if *last == row => *count += 1,
                _ => counted.push((row, 1)),
            }
        }
        Self(counted.into_iter().collect())
    }

    pub(super) fn insert(&mut self, row: Row<B>) {
        *self.0.entry(row).or_default() += 1;
    }

    /// Takes one entry out of a row. A row that is not there is no mistake: eviction moves rows.
    pub(super) fn remove(&mut self, row: Row<B>) {
        if let Some(count) = self.0.get_mut(&row) {
            *count -= 1;
            if *count == 0 {
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
        self.0.iter().flat_map(|(row, count)| std::iter::repeat_n(*row, *count as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_two_entries_stays_until_both_are_gone() {
        let mut rows = Rows::default();
        rows.insert((1, 7));
        rows.insert((1, 7));
        rows.remove((1, 7));
        assert_eq!(rows.iter().collect::<Vec<_>>(), [(1, 7)]);
        rows.remove((1, 7));
        rows.remove((1, 7));
        assert_eq!(rows.range(..).next(), None);
    }

    #[test]
    fn rows_taken_together_are_those_put_one_by_one() {
        let unsorted = vec![(2, 1), (1, 9), (2, 1), (0, 3)];
        let together = Rows::of(unsorted.clone());
        let mut one_by_one = Rows::default();
        unsorted.into_iter().for_each(|row| one_by_one.insert(row));
        assert!(together.iter().eq(one_by_one.iter()));
        assert_eq!(together.iter().collect::<Vec<_>>(), [(0, 3), (1, 9), (2, 1), (2, 1)]);
    }
}
