//! Finds the elements of a box in the memory of a sample.
//!
//! The elements of a sample are numbered in memory order, from its outermost axis to its innermost. A box along some of
//! the axes is then a row of elements that repeats: the innermost spatial axis gives the row, the others its
//! repetitions. [`Grid::runs`] gives the rows within a window of the sample, without visiting the rows before it.

use std::ops::Range;

use super::layout::SampleAxis;
use super::masked::Pixels;
use crate::plan::{MAX_SPATIAL_AXES, Rect, SpatialAxes};

/// Each spatial axis, and the merged axes before it.
const MAX_LEVELS: usize = 2 * MAX_SPATIAL_AXES;

/// The axes of a sample in memory order. Neighbouring axes that are not spatial are merged.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    levels: [Level; MAX_LEVELS],
    /// The number of levels; the last is spatial.
    count: usize,
    /// The number of elements per step along the last level.
    unit: usize,
    /// The pixels of the elements in a mask.
    pub pixels: Pixels,
}

#[derive(Debug, Clone, Copy, Default)]
struct Level {
    len: usize,
    /// The index of the spatial axis, if it is one.
    axis: Option<usize>,
    is_reversed: bool,
}

impl Grid {
    /// The grid of samples with these axes, outermost first, without axes of length 1.
    pub fn new(axes: impl Iterator<Item = SampleAxis>, spatial: SpatialAxes) -> Self {
        let mut grid = Self { levels: [Level::default(); MAX_LEVELS], count: 0, unit: 1, pixels: Pixels::default() };
        // The product of the axes since the last spatial one.
        let mut between = 1;
        for SampleAxis { number, len, is_reversed } in axes {
            let Some(axis) = spatial.0.iter().position(|axis| *axis == Some(number)) else {
                between *= len;
                continue;
            };
            if between > 1 {
                grid.push(Level { len: between, axis: None, is_reversed: false });
            }
            grid.push(Level { len, axis: Some(axis), is_reversed });
            between = 1;
        }
        grid.unit = between;
        let levels = grid.levels[..grid.count].iter().map(|level| (level.len, level.axis, level.is_reversed));
        grid.pixels = Pixels::new(levels, between);
        grid
    }

    fn push(&mut self, level: Level) {
        self.levels[self.count] = level;
        self.count += 1;
    }

    /// The stretches of elements of a box within a window of a sample, in order.
    pub fn runs(&self, rect: &Rect, window: Range<usize>) -> Runs {
        let mut runs = Runs {
            lens: self.levels.map(|level| level.len),
            bounds: [[0, 1]; MAX_LEVELS],
            at: [0; MAX_LEVELS],
            outer: 0,
            row: 0,
            row_len: self.unit,
            inside: 0..self.unit,
            window,
            is_done: rect.is_empty(),
        };
        let Some(last) = self.count.checked_sub(1) else { return runs };
        for (bounds, level) in runs.bounds.iter_mut().zip(&self.levels[..self.count]) {
            *bounds = match level.axis {
                None => [0, level.len],
                Some(axis) if level.is_reversed => [level.len - rect.end[axis], level.len - rect.start[axis]],
                Some(axis) => [rect.start[axis], rect.end[axis]],
            };
        }
        let [start, end] = runs.bounds[last];
        runs.outer = last;
        runs.row_len = self.levels[last].len * self.unit;
        runs.inside = start * self.unit..end * self.unit;
        runs.seek();
        runs
    }
}

/// The rows of a box within a window.
pub(crate) struct Runs {
    lens: [usize; MAX_LEVELS],
    bounds: [[usize; 2]; MAX_LEVELS],
    /// The indices of the row along the outer levels.
    at: [usize; MAX_LEVELS],
    outer: usize,
    /// The first element of the row.
    row: usize,
    row_len: usize,
    /// The elements of a row that are inside the box.
    inside: Range<usize>,
    window: Range<usize>,
    is_done: bool,
}

impl Runs {
    /// Moves to the first row of the box that reaches into the window.
    fn seek(&mut self) {
        let mut rest = self.window.start / self.row_len;
        for level in (0..self.outer).rev() {
            (rest, self.at[level]) = (rest / self.lens[level], rest % self.lens[level]);
        }
        // The window starts after the end of the sample.
        self.is_done |= rest > 0;
        for level in 0..self.outer {
            let [start, end] = self.bounds[level];
            if self.at[level] >= end {
                return self.carry(level);
            }
            if self.at[level] < start {
                self.at[level] = start;
                return self.rewind(level + 1);
            }
        }
        self.find_row();
    }

    /// Resets the indices from level `from` on to the start of the box.
    fn rewind(&mut self, from: usize) {
        for level in from..self.outer {
            self.at[level] = self.bounds[level][0];
        }
        self.find_row();
    }

    /// Moves to the next row after the end of this level.
    fn carry(&mut self, level: usize) {
        for before in (0..level).rev() {
            if self.at[before] + 1 < self.bounds[before][1] {
                self.at[before] += 1;
                return self.rewind(before + 1);
            }
        }
        self.is_done = true;
    }

    fn find_row(&mut self) {
        let row = (0..self.outer).fold(0, |row, level| row * self.lens[level] + self.at[level]);
        self.row = row * self.row_len;
    }

    /// Moves to the next row of the box.
    fn advance(&mut self) {
        let Some(last) = self.outer.checked_sub(1) else {
            self.is_done = true;
            return;
        };
        if self.at[last] + 1 < self.bounds[last][1] {
            self.at[last] += 1;
            self.row += self.row_len;
        } else {
            self.carry(last);
        }
    }
}

impl Iterator for Runs {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        while !self.is_done && self.row < self.window.end {
            let start = (self.row + self.inside.start).max(self.window.start);
            let end = (self.row + self.inside.end).min(self.window.end);
            self.advance();
            if start < end {
                return Some(start..end);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn axis(number: usize, len: usize) -> SampleAxis {
        SampleAxis { number, len, is_reversed: false }
    }

    #[test]
    fn a_box_is_a_row_for_each_channel_and_line() {
        // Two channels of 4 × 5, channels first, then channels last.
        let rect = Rect::new(&[1, 2], &[3, 4]);
        let spatial = SpatialAxes([None, Some(2), Some(3)]);
        let first = Grid::new([axis(1, 2), axis(2, 4), axis(3, 5)].into_iter(), spatial);
        let runs = |window| first.runs(&rect, window).collect::<Vec<_>>();
        assert_eq!(runs(0..40), [7..9, 12..14, 27..29, 32..34]);
        assert_eq!(runs(8..28), [8..9, 12..14, 27..28]);
        assert_eq!(runs(14..27), []);
        assert_eq!(runs(34..40), []);
        assert_eq!(runs(40..50), []);
        let last = Grid::new([axis(2, 4), axis(3, 5), axis(1, 2)].into_iter(), spatial);
        assert_eq!(last.runs(&rect, 0..40).collect::<Vec<_>>(), [14..18, 24..28]);
        assert_eq!(last.runs(&Rect::NONE, 0..40).count(), 0);
        // Both spatial axes have length 1: the box is the whole sample.
        let single = Grid::new([axis(1, 6)].into_iter(), spatial);
        assert!(single.runs(&Rect::new(&[0, 0], &[1, 1]), 2..5).eq(std::iter::once(2..5)));
        assert_eq!(single.runs(&Rect::new(&[0, 0], &[1, 0]), 2..5).count(), 0);
    }

    proptest! {
        #[test]
        fn runs_are_the_elements_inside(
            lens in proptest::collection::vec(1..5_usize, 1..6),
            chosen in Just([0, 1, 2, 3, 4]).prop_shuffle(),
            spatial_axes in 1..=3_usize,
            reversed in proptest::collection::vec(any::<bool>(), 5),
            ends in proptest::collection::vec((0..=4_usize, 0..=4_usize), 3),
            window in (0..700_usize, 0..700_usize),
        ) {
            let mut spatial = [None; MAX_SPATIAL_AXES];
            for (axis, number) in spatial.iter_mut().zip(chosen.into_iter().filter(|&number| number < lens.len())).take(spatial_axes) {
                *axis = Some(number);
            }
            let mut rect = Rect { start: [0; 3], end: [1; 3] };
            for axis in 0..3 {
                let Some(number) = spatial[axis] else { continue };
                let (a, b) = (ends[axis].0.min(lens[number]), ends[axis].1.min(lens[number]));
                (rect.start[axis], rect.end[axis]) = (a.min(b), a.max(b));
            }
            let axes = lens.iter().enumerate().filter(|(_, len)| **len > 1)
                .map(|(number, &len)| SampleAxis { number, len, is_reversed: reversed[number] });
            let grid = Grid::new(axes, SpatialAxes(spatial));
            let size: usize = lens.iter().product();
            let window = window.0.min(window.1) % (size + 1)..window.1.max(window.0) % (size + 1);
            let is_inside = |mut at: usize| {
                let mut index = vec![0; lens.len()];
                for (number, &len) in lens.iter().enumerate().rev() {
                    index[number] = if reversed[number] { len - 1 - at % len } else { at % len };
                    at /= len;
                }
                (0..3).all(|axis| spatial[axis].is_none_or(|number| (rect.start[axis]..rect.end[axis]).contains(&index[number])))
            };
            let expected: Vec<usize> = window.clone().filter(|&at| is_inside(at)).collect();
            let got: Vec<usize> = grid.runs(&rect, window).flatten().collect();
            prop_assert_eq!(got, expected);
        }
    }
}
