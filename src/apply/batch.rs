//! A batch to be mixed: where it is, by which plan, and in which pieces.
//!
//! The work is cut into *columns*, a stretch of elements across all samples, which do not depend on one another. Within
//! a column the samples are visited along their partners (see `plan::order`), so that each is read from memory once,
//! and in place needs no more than a column's worth of one sample as scratch. There are four ways through a column:
//!
//! - *in place*: blend each sample with the next, the head of a cycle saved for its last;
//! - *apart*: the same walk, written to another array;
//! - *interleaved*, where samples are side by side in memory (Fortran order): element by element, all samples at once;
//! - *packed*, where runs are not contiguous in both arrays (a mirrored axis, C to Fortran order): gather the column of
//!   all samples, mix that in place, scatter it.
//!
//! In each a sample is blended by its weight, then the partner's elements are copied over its region.
//!
//! Where samples are too small to give every thread a column, the walk itself is cut into pieces.

use std::ops::Range;

use super::columns::{Column, Columns, Samples, Stretch};
use super::grid::{Grid, Runs};
use super::layout::Layout;
use super::tuning::{COLUMN_BYTES_MIN, PAGE, column_bytes, lookahead};
use crate::arithmetic::Element;
use crate::plan::{Order, Region};
use crate::runtime;
use crate::simd::{Ahead, CACHE_LINE, Cache, Level, Recipe};

/// What a plan says about each sample of a batch: one entry each.
#[derive(Clone, Copy)]
pub(crate) struct Mixing<'a> {
    pub weight: &'a [f64],
    pub partner: &'a [usize],
    pub order: &'a Order,
    pub regions: Option<(&'a [Region], &'a Grid)>,
}

impl Mixing<'_> {
    /// What becomes of a sample outside of its region.
    pub fn recipe<T: Element>(&self, i: usize) -> Recipe<T::Weight> {
        if self.partner[i] == i { Recipe::KeepOwn } else { Recipe::new::<T>(self.weight[i]) }
    }

    /// The stretches of a sample that come from its partner, within a window of its elements.
    pub fn runs(&self, i: usize, window: Range<usize>) -> Option<Runs> {
        let (regions, grid) = self.regions?;
        match &regions[i] {
            Region::None => None,
            Region::Box(rect) => Some(grid.runs(rect, window)),
        }
    }

    /// Copies the partner's elements over the region; both slices are of this window.
    #[inline]
    pub fn take_region<T: Copy>(&self, i: usize, window: Range<usize>, own: &mut [T], partner: &[T]) {
        let start = window.start;
        for run in self.runs(i, window).into_iter().flatten() {
            let run = run.start - start..run.end - start;
            own[run.clone()].copy_from_slice(&partner[run]);
        }
    }
}

/// Mixes `source` into `target`, on at most `limit` threads.
///
/// # Safety
/// Both must be valid for the arrays that `layout` describes, `source` for reads and `target` for reads and writes, and
/// no element of the target may overlap another. Either they are the same array, or they do not overlap. `mixing` must
/// hold `layout.n` entries each, partners below that, and their order; its grid must be that of the layout.
#[allow(unsafe_code)]
pub(crate) unsafe fn mix<T: Element>(
    mixing: Mixing<'_>,
    layout: &Layout,
    source: *const T,
    target: *mut T,
    limit: usize,
) {
    let in_place = std::ptr::eq(source, target);
    let (arrays, bytes) = (if in_place { 1 } else { 2 }, layout.size() * size_of::<T>());
    let threads = runtime::worth(arrays * bytes, limit);
    let source = Samples { first: source.cast_mut(), step: layout.source_step };
    let target = Samples { first: target, step: layout.target_step };
    let batch = Batch { mixing, layout, source, target, bytes, threads, level: Level::current() };
    // SAFETY: as required above; runs are contiguous where it is claimed.
    unsafe {
        if batch.is_interleaved() {
            batch.interleaved();
        } else if !layout.is_contiguous() {
            batch.packed();
        } else if in_place {
            batch.in_place();
        } else {
            batch.apart();
        }
    }
}

pub(super) struct Batch<'a, T> {
    pub mixing: Mixing<'a>,
    pub layout: &'a Layout,
    pub source: Samples<T>,
    pub target: Samples<T>,
    pub bytes: usize,
    pub threads: usize,
    pub level: Level,
}

impl<T: Element> Batch<'_, T> {
    /// Columns of contiguous runs, and into how many pieces to cut the walk through each.
    pub(super) fn columns(&self) -> (Columns<'_>, usize) {
        let jobs = runtime::jobs(self.threads);
        let run_bytes = self.layout.run.len * size_of::<T>();
        let fair = run_bytes * self.layout.runs() / jobs;
        let bytes = fair.clamp(COLUMN_BYTES_MIN, column_bytes(self.bytes)).next_multiple_of(CACHE_LINE);
        let lead = self.target.first as usize % PAGE;
        let columns = Columns::new(self.layout, bytes / size_of::<T>(), lead / size_of::<T>());
        let parts = jobs.div_ceil(columns.count());
        (columns, parts)
    }

    /// What to fetch while the sample at place `at` of a stretch is blended: what [`Batch::upcoming`] says, and the
    /// plan's entries for it, which are read in random order.
    pub(super) fn ahead(&self, at: usize, here: &Stretch, next: &Stretch) -> Option<Ahead<T>> {
        let (sample, &Column { source, len, .. }) = self.upcoming(at, here, next)?;
        Ahead::new(&raw const self.mixing.weight[sample], Cache::First).fetch(1);
        Ahead::new(&raw const self.mixing.partner[sample], Cache::First).fetch(1);
        let to = Cache::best(len * size_of::<T>(), self.bytes);
        Some(Ahead::new(self.source.address(sample).wrapping_offset(source), to))
    }

    /// What will be read some samples after the one at place `at` of a stretch: a sample and the column of it, in this
    /// stretch or in the one that this thread will probably have next. In a cycle each is read first as a partner;
    /// where partners repeat, they are left to the processor.
    fn upcoming<'a>(&self, at: usize, here: &'a Stretch, next: &'a Stretch) -> Option<(usize, &'a Column)> {
        let place = at + 1 + lookahead::<T>(here.column.len);
        let (column, place) = if place < here.places.end {
            (&here.column, place)
        } else {
            (&next.column, next.places.start + (place - here.places.end))
        };
        self.mixing.order.samples.get(place).map(|&sample| (sample, column))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Looks at a batch of float32 that is never touched.
    pub(in crate::apply) fn look<R>(
        shape: &[usize],
        source: &[isize],
        target: &[isize],
        threads: usize,
        look: impl FnOnce(&Batch<'_, f32>) -> R,
    ) -> R {
        let layout = Layout::new(shape, source, target).unwrap();
        let samples = |step| Samples { first: std::ptr::null_mut(), step };
        look(&Batch {
            mixing: Mixing { weight: &[], partner: &[], order: &Order::new(&[]), regions: None },
            source: samples(layout.source_step),
            target: samples(layout.target_step),
            layout: &layout,
            bytes: layout.size() * size_of::<f32>(),
            threads,
            level: Level::current(),
        })
    }

    #[test]
    fn what_is_fetched_is_read_soon() {
        // In the order 0, 3, 1, 2: a cycle.
        let partner = [3, 2, 0, 1];
        let layout = Layout::new(&[4, 1000], &[1000, 1], &[1000, 1]).unwrap();
        let samples = Samples::<f32> { first: std::ptr::null_mut(), step: 1000 };
        let batch = Batch {
            mixing: Mixing { weight: &[0.5; 4], partner: &partner, order: &Order::new(&partner), regions: None },
            layout: &layout,
            source: samples,
            target: samples,
            bytes: 16_000,
            threads: 1,
            level: Level::current(),
        };
        let columns = Columns::new(&layout, 500, 0);
        let stretch = |index, places| Stretch { column: columns.get(index), places };
        let upcoming = |at, here: &Stretch, next: &Stretch| {
            batch.upcoming(at, here, next).map(|(sample, column)| (sample, column.source))
        };
        // 500 elements are two samples ahead of the one that is read now, which is the partner.
        let (here, next) = (stretch(0, 0..4), stretch(1, 0..4));
        let got = [0, 1, 2, 3].map(|at| upcoming(at, &here, &next));
        assert_eq!(got, [Some((2, 0)), Some((0, 500)), Some((3, 500)), Some((1, 500))]);
        // Of a batch that the third-level cache holds.
        let start = samples.address(3).wrapping_add(500);
        assert_eq!(batch.ahead(2, &here, &next), Some(Ahead::new(start, Cache::FirstAlone)));
        // Long runs go to the second, by their bytes.
        let long = Layout::new(&[4, 3000], &[3000, 1], &[3000, 1]).unwrap();
        let whole = || Stretch { column: Columns::new(&long, 3000, 0).get(0), places: 0..4 };
        assert_eq!(batch.ahead(0, &whole(), &whole()), Some(Ahead::new(samples.address(1), Cache::Second)));
        // In pieces, the next piece of the column.
        let (here, next) = (stretch(1, 0..2), stretch(1, 2..4));
        assert_eq!([0, 1].map(|at| upcoming(at, &here, &next)), [Some((2, 500)), None]);
    }

    /// The length of a column, how many there are, and into how many pieces the walk through each is cut.
    fn columns(shape: &[usize], strides: &[isize], threads: usize) -> (usize, usize, usize) {
        look(shape, strides, strides, threads, |batch| {
            let (columns, parts) = batch.columns();
            (columns.len, columns.count(), parts)
        })
    }

    #[test]
    fn columns_are_long_and_enough_for_all_threads() {
        // 8 KiB of a sample, or 48, on one thread.
        assert_eq!(columns(&[3, 32_000], &[32_000, 1], 1), (2048, 16, 1));
        assert_eq!(columns(&[1024, 32_768], &[32_768, 1], 1), (2048, 16, 1));
        assert_eq!(columns(&[1025, 32_768], &[32_768, 1], 1), (12_288, 3, 1));
        // Four for each of more threads.
        assert_eq!(columns(&[3, 12_000], &[12_000, 1], 2), (1504, 8, 1));
        assert_eq!(columns(&[3, 2, 32_000], &[99_000, 33_000, 1], 2), (2048, 32, 1));
        // But no less than 4 KiB: then samples are shared out.
        assert_eq!(columns(&[3, 1000], &[1000, 1], 2), (1000, 1, 8));
        assert_eq!(columns(&[3, 4, 1500], &[8000, 2000, 1], 2), (1024, 8, 1));
    }

    #[test]
    fn columns_begin_with_a_page() {
        let layout = Layout::new(&[3, 6000], &[6000, 1], &[6000, 1]).unwrap();
        let lengths = |address: usize| {
            let samples = Samples { first: std::ptr::without_provenance_mut::<f32>(address), step: 6000 };
            let mixing = Mixing { weight: &[], partner: &[], order: &Order::new(&[]), regions: None };
            let (source, target, level) = (samples, samples, Level::current());
            let batch = Batch { mixing, layout: &layout, source, target, bytes: 72_000, threads: 1, level };
            let (columns, _) = batch.columns();
            (0..columns.count()).map(|index| columns.get(index).len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(3 * PAGE), [2048, 2048, 1904]);
        assert_eq!(lengths(3 * PAGE + 16), [2044, 2048, 1908]);
        assert_eq!(lengths(4 * PAGE - 8), [1026, 2048, 2048, 878]);
    }
}
