//! A batch divided across its samples.
//!
//! A *column* is the same stretch of elements of every sample. Columns are independent of one another, and a column of
//! a few samples stays in the cache.

use std::ops::Range;

use super::layout::Layout;

/// The memory of a batch, with a sample every `step` elements.
#[derive(Clone, Copy)]
pub(crate) struct Samples<T> {
    pub first: *mut T,
    pub step: isize,
}

// SAFETY: the drivers give different threads disjoint parts. The callers of `mix` and `collate` guarantee validity.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Samples<T> {}
#[allow(unsafe_code)]
unsafe impl<T: Sync> Sync for Samples<T> {}

#[allow(unsafe_code)]
impl<T> Samples<T> {
    /// The samples shifted by `offset` elements.
    ///
    /// # Safety
    /// The new first element must lie in the batch.
    pub unsafe fn from(self, offset: isize) -> Self {
        // SAFETY: as required above.
        Self { first: unsafe { self.first.offset(offset) }, step: self.step }
    }

    /// The address of sample `i`.
    pub fn address(self, i: usize) -> *const T {
        self.first.wrapping_offset(i as isize * self.step)
    }

    /// The first `len` elements of sample `i`.
    ///
    /// # Safety
    /// They must be valid, and not written while the slice lives.
    pub unsafe fn get<'a>(self, i: usize, len: usize) -> &'a [T] {
        // SAFETY: as required above.
        unsafe { std::slice::from_raw_parts(self.first.offset(i as isize * self.step), len) }
    }

    /// The first `len` elements of sample `i`, writable.
    ///
    /// # Safety
    /// They must be valid, and neither read nor written in another way while the slice lives.
    pub unsafe fn get_mut<'a>(self, i: usize, len: usize) -> &'a mut [T] {
        // SAFETY: as required above.
        unsafe { std::slice::from_raw_parts_mut(self.first.offset(i as isize * self.step), len) }
    }
}

/// A stretch of elements of every sample.
pub(crate) struct Column {
    /// The offset of its first element from the first element of a sample, in the source.
    pub source: isize,
    /// The same in the array that partners come from.
    pub other: isize,
    /// The same in the target.
    pub target: isize,
    /// The index of its first element, in the order of the layout.
    pub at: usize,
    pub len: usize,
}

/// Every run of a layout divided into columns of `len` elements, the first `lead` elements shorter. With the lead of a
/// batch that begins inside a page, as NumPy's do, the other columns start at page boundaries: in the first sample, and
/// in all samples if each fills whole pages. If each fills whole cache lines, they start at line boundaries.
pub(crate) struct Columns<'a> {
    layout: &'a Layout,
    pub len: usize,
    lead: usize,
    per_run: usize,
    /// The order in which they are visited; none for that in memory.
    order: Option<Vec<usize>>,
}

impl<'a> Columns<'a> {
    pub fn new(layout: &'a Layout, len: usize, lead: usize) -> Self {
        let len = len.clamp(1, layout.run.len);
        let lead = if len < layout.run.len { lead % len } else { 0 };
        Self { layout, len, lead, per_run: (layout.run.len + lead).div_ceil(len), order: None }
    }

    pub fn count(&self) -> usize {
        self.layout.runs() * self.per_run
    }

    /// The same columns, visited in the order of this key of their first elements.
    pub fn sorted_by_key(self, key: impl Fn(usize) -> usize) -> Self {
        let mut order: Vec<usize> = (0..self.count()).collect();
        order.sort_by_key(|&index| key(self.get(index).at));
        Self { order: Some(order), ..self }
    }

    pub fn get(&self, index: usize) -> Column {
        let index = self.order.as_ref().map_or(index, |order| order[index]);
        let (source, target) = self.layout.run_start(index / self.per_run);
        let end = (index % self.per_run + 1) * self.len - self.lead;
        let (start, end) = (end.saturating_sub(self.len), end.min(self.layout.run.len));
        Column {
            source: source + start as isize * self.layout.run.source,
            other: self.layout.other_start(index / self.per_run) + start as isize * self.layout.run.other,
            target: target + start as isize * self.layout.run.target,
            at: index / self.per_run * self.layout.run.len + start,
            len: end - start,
        }
    }
}

/// The work of one job: the samples at these places of the visiting order, in this column.
pub(crate) struct Stretch {
    pub column: Column,
    pub places: Range<usize>,
}

/// Copies `len` elements of `n` samples, and to sample i those of sample `from_row(i)`. Each side is given with the stride
/// between the elements of a sample. The copy runs in squares that stay in the cache for any order of reads and writes.
///
/// # Safety
/// Both sides must be valid for these elements and not overlap.
#[allow(unsafe_code)]
pub(crate) unsafe fn transfer<T: Copy>(
    n: usize,
    len: usize,
    from: (Samples<T>, isize),
    from_row: impl Fn(usize) -> usize,
    to: (Samples<T>, isize),
) {
    const SQUARE: usize = 16;
    let at = |(samples, stride): (Samples<T>, isize), i: usize, j: usize| {
        samples.first.wrapping_offset(i as isize * samples.step + j as isize * stride)
    };
    for i in (0..n).step_by(SQUARE) {
        for j in (0..len).step_by(SQUARE) {
            for column in j..(j + SQUARE).min(len) {
                for row in i..(i + SQUARE).min(n) {
                    // SAFETY: the row is below n and the column below len.
                    unsafe { *at(to, row, column) = *at(from, from_row(row), column) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_cover_every_run() {
        // Two runs of ten elements, mirrored in the source, in columns of four.
        let layout = Layout::new(&[3, 2, 10], &[50, 25, -2], &[20, 10, 1]).unwrap();
        let columns = Columns::new(&layout, 4, 0);
        let got: Vec<_> = (0..columns.count()).map(|index| columns.get(index)).collect();
        assert!(got.iter().map(|column| column.at..column.at + column.len).eq([
            0..4,
            4..8,
            8..10,
            10..14,
            14..18,
            18..20
        ]));
        let got: Vec<_> = got.iter().map(|column| (column.source, column.target, column.len)).collect();
        assert_eq!(got, [(0, 0, 4), (-8, 4, 4), (-16, 8, 2), (25, 10, 4), (17, 14, 4), (9, 18, 2)]);
        // The target is mirrored as well, with a stride of more than one element.
        let layout = Layout::new(&[3, 5], &[50, 2], &[60, -3]).unwrap();
        let columns = Columns::new(&layout, 3, 0);
        let got = [0, 1].map(|index| columns.get(index)).map(|column| (column.source, column.target, column.len));
        assert_eq!(got, [(8, -12, 3), (2, -3, 2)]);
    }

    #[test]
    fn the_first_column_is_shorter_by_the_lead() {
        let lengths = |len: usize, lead: usize| -> Vec<(isize, usize)> {
            let layout = Layout::new(&[3, 10], &[10, 1], &[10, 1]).unwrap();
            let columns = Columns::new(&layout, len, lead);
            (0..columns.count()).map(|index| columns.get(index)).map(|column| (column.source, column.len)).collect()
        };
        assert_eq!(lengths(4, 1), [(0, 3), (3, 4), (7, 3)]);
        assert_eq!(lengths(4, 3), [(0, 1), (1, 4), (5, 4), (9, 1)]);
        assert_eq!(lengths(4, 6), lengths(4, 2));
        // A single column is not divided.
        assert_eq!(lengths(10, 3), [(0, 10)]);
        assert_eq!(lengths(11, 3), [(0, 10)]);
    }

    #[test]
    fn columns_are_visited_in_the_order_of_a_key() {
        let layout = Layout::new(&[3, 2, 6], &[12, 6, 1], &[12, 6, 1]).unwrap();
        let columns = Columns::new(&layout, 2, 0).sorted_by_key(|at| at % 6);
        assert!((0..6).map(|index| columns.get(index).at).eq([0, 6, 2, 8, 4, 10]));
    }

    #[test]
    fn addresses_are_a_step_apart() {
        let mut memory = [0_u16; 20];
        let samples = Samples { first: memory.as_mut_ptr(), step: 5 };
        assert_eq!([0, 1, 3].map(|i| samples.address(i)), [0, 5, 15].map(|at| std::ptr::from_ref(&memory[at])));
    }
}
