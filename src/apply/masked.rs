//! The driver of masks: finds the pixels of the elements of a sample, and blends these by the shares of those.
//!
//! A mask has the spatial axes alone, in C order. It is read where it is, once for all channels; the shares of a stretch
//! are copied only where its elements do not lie in memory as the pixels do.

use std::ops::Range;

use crate::plan::{MAX_SPATIAL_AXES, Mask, Shares};
use crate::simd::{Ahead, Cache, ShareRun};

/// Elements whose shares are copied at once.
const COPIED: usize = 512;

/// The most axes of a mask that elements are counted along: the spatial ones, and the channels before each.
const MAX_AXES: usize = 2 * MAX_SPATIAL_AXES;

/// An axis of a sample, with its stride in a mask: 0 for channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    len: usize,
    stride: isize,
}

/// Where the pixels of a sample's elements are in a mask. Elements are numbered in the order of the layout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pixels {
    axes: [Axis; MAX_AXES],
    /// The number of axes but for the last.
    outer: usize,
    /// The last axis.
    row: Axis,
    /// The number of elements per pixel of a row, side by side.
    unit: usize,
    /// The pixel of the first element.
    first: isize,
}

impl Default for Pixels {
    fn default() -> Self {
        let row = Axis { len: 1, stride: 0 };
        Self { axes: [row; MAX_AXES], outer: 0, row, unit: 1, first: 0 }
    }
}

impl Pixels {
    /// The pixels of samples with these levels, outermost first: the length, the spatial axis if it is one, and whether
    /// that is reversed. A step along the last is one of `unit` elements.
    pub fn new(levels: impl Iterator<Item = (usize, Option<usize>, bool)> + Clone, unit: usize) -> Self {
        let mut pixels = Self { unit, ..Self::default() };
        let len_of = |axis| levels.clone().find(|level| level.1 == Some(axis)).map_or(1, |level| level.0);
        let mut count = 0;
        for (len, axis, is_reversed) in levels.clone() {
            let stride = axis.map_or(0, |axis| (axis + 1..MAX_SPATIAL_AXES).map(len_of).product::<usize>() as isize);
            let stride = if is_reversed { -stride } else { stride };
            pixels.first -= if is_reversed { (len as isize - 1) * stride } else { 0 };
            // An axis that continues the one before is merged with it.
            match pixels.axes[..count].last_mut() {
                Some(last) if last.stride == stride * len as isize => *last = Axis { len: last.len * len, stride },
                _ => {
                    pixels.axes[count] = Axis { len, stride };
                    count += 1;
                }
            }
        }
        if let Some(outer) = count.checked_sub(1) {
            (pixels.outer, pixels.row) = (outer, pixels.axes[outer]);
        }
        pixels
    }

    /// Calls `each` with stretches of elements that cover a window of a sample, counted from its start, and their shares.
    pub fn shares(&self, mask: &Mask, window: Range<usize>, mut each: impl FnMut(Range<usize>, ShareRun<'_>)) {
        match mask.shares() {
            Shares::Bytes(bytes) if mask.is_hard() => {
                self.walk(bytes, window, |at, run| each(at, ShareRun::Hard(run)));
            }
            Shares::Bytes(bytes) => {
                let mut copied = [0.0; COPIED];
                self.walk(bytes, window, |at, run| {
                    for (start, run) in (at.start..).step_by(COPIED).zip(run.chunks(COPIED)) {
                        let copied = &mut copied[..run.len()];
                        copied.iter_mut().zip(run).for_each(|(share, &byte)| *share = BYTES[usize::from(byte)]);
                        each(start..start + run.len(), ShareRun::Double(copied));
                    }
                });
            }
            Shares::Single(floats) => self.walk(floats, window, |at, run| each(at, ShareRun::Single(run))),
            Shares::Double(floats) => self.walk(floats, window, |at, run| each(at, ShareRun::Double(run))),
        }
    }

    /// Prefetches the shares of a window, where they lie in memory as its elements do.
    pub fn fetch(&self, mask: &Mask, window: Range<usize>) {
        if (self.row.stride, self.unit) != (1, 1) {
            return;
        }
        let at = self.pixel(window.start);
        match mask.shares() {
            Shares::Bytes(shares) => Ahead::new(shares.as_ptr().wrapping_add(at), Cache::First).fetch(window.len()),
            Shares::Single(shares) => Ahead::new(shares.as_ptr().wrapping_add(at), Cache::First).fetch(window.len()),
            Shares::Double(shares) => Ahead::new(shares.as_ptr().wrapping_add(at), Cache::First).fetch(window.len()),
        }
    }

    fn walk<S: Copy + Default>(&self, shares: &[S], window: Range<usize>, mut each: impl FnMut(Range<usize>, &[S])) {
        let row_len = self.row.len * self.unit;
        let mut copied = [S::default(); COPIED];
        let mut at = window.start;
        while at < window.end {
            let (row, within) = (at / row_len, at % row_len);
            let end = window.end.min(at - within + row_len);
            let first = self.row_start(row);
            let mut stretch = |start: usize, run: &[S]| {
                let start = start - window.start;
                each(start..start + run.len(), run);
            };
            if (self.row.stride, self.unit) == (1, 1) {
                stretch(at, &shares[first as usize + within..][..end - at]);
            } else {
                for start in (at..end).step_by(COPIED) {
                    let copied = &mut copied[..COPIED.min(end - start)];
                    self.copy_row(shares, first, start - at + within, copied);
                    stretch(start, copied);
                }
            }
            at = end;
        }
    }

    /// The pixel of an element.
    pub fn pixel(&self, at: usize) -> usize {
        let row_len = self.row.len * self.unit;
        let within = (at % row_len / self.unit) as isize;
        (self.row_start(at / row_len) + within * self.row.stride) as usize
    }

    /// The first pixel of a row.
    fn row_start(&self, row: usize) -> isize {
        let mut rest = row;
        let mut pixel = self.first;
        for axis in self.axes[..self.outer].iter().rev() {
            pixel += (rest % axis.len) as isize * axis.stride;
            rest /= axis.len;
        }
        pixel
    }

    /// Copies the shares of the elements of a row from element `from` on.
    fn copy_row<S: Copy>(&self, shares: &[S], first: isize, from: usize, copied: &mut [S]) {
        let share = |pixel: usize| shares[(first + pixel as isize * self.row.stride) as usize];
        let (mut pixel, skipped) = (from / self.unit, from % self.unit);
        let (head, rest) = copied.split_at_mut(((self.unit - skipped) % self.unit).min(copied.len()));
        if !head.is_empty() {
            head.fill(share(pixel));
            pixel += 1;
        }
        match self.unit {
            1 => rest.iter_mut().zip(pixel..).for_each(|(copied, pixel)| *copied = share(pixel)),
            3 => {
                let mut pixels = rest.chunks_exact_mut(3);
                for copied in &mut pixels {
                    copied.fill(share(pixel));
                    pixel += 1;
                }
                let rest = pixels.into_remainder();
                if !rest.is_empty() {
                    rest.fill(share(pixel));
                }
            }
            unit => rest.chunks_mut(unit).zip(pixel..).for_each(|(copied, pixel)| copied.fill(share(pixel))),
        }
    }
}

/// The shares that bytes stand for.
const BYTES: [f64; 256] = {
    let (mut shares, mut byte) = ([0.0; 256], 0);
    while byte < 256 {
        shares[byte] = byte as f64 / 255.0;
        byte += 1;
    }
    shares
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::grid::Grid;
    use crate::apply::layout::SampleAxis;
    use crate::plan::SpatialAxes;
    use proptest::prelude::*;

    fn shares_of(pixels: &Pixels, mask: &Mask, window: Range<usize>) -> Vec<f64> {
        let mut got = vec![f64::NAN; window.len()];
        pixels.shares(mask, window, |at, run| {
            let run: Vec<f64> = match run {
                ShareRun::Hard(bytes) => bytes.iter().map(|&byte| f64::from(byte) / 255.0).collect(),
                ShareRun::Single(floats) => floats.iter().map(|&float| float.into()).collect(),
                ShareRun::Double(floats) => floats.to_vec(),
            };
            got[at].copy_from_slice(&run);
        });
        got
    }

    #[test]
    fn pixels_of_a_row_lie_as_in_memory() {
        let axis = |number: usize, len: usize| SampleAxis { number, len, is_reversed: false };
        let spatial = SpatialAxes([None, Some(2), Some(3)]);
        let first = Grid::new([axis(1, 3), axis(2, 4), axis(3, 5)].into_iter(), spatial).pixels;
        // Height and width are one row, which every channel repeats.
        assert_eq!((first.row, first.unit, first.outer), (Axis { len: 20, stride: 1 }, 1, 1));
        assert_eq!(first.axes[0], Axis { len: 3, stride: 0 });
        let last = Grid::new([axis(2, 4), axis(3, 5), axis(1, 3)].into_iter(), spatial).pixels;
        assert_eq!((last.row, last.unit, last.outer), (Axis { len: 20, stride: 1 }, 3, 0));
    }

    proptest! {
        #[test]
        fn every_element_has_the_share_of_its_pixel(
            lens in proptest::collection::vec(1..6_usize, 1..6),
            chosen in Just([0, 1, 2, 3, 4]).prop_shuffle(),
            spatial_axes in 1..=3_usize,
            reversed in proptest::collection::vec(any::<bool>(), 5),
            kind in 0..4_usize,
            long in 1..=600_usize,
            window in (0..4000_usize, 0..4000_usize),
        ) {
            let mut lens = lens;
            // A row that is copied in several pieces.
            let last = lens.len() - 1;
            lens[last] = if lens.iter().product::<usize>() < 20 { long } else { lens[last] };
            let mut spatial = [None; MAX_SPATIAL_AXES];
            let numbers = chosen.into_iter().filter(|&number| number < lens.len()).take(spatial_axes);
            let numbers: Vec<usize> = numbers.collect();
            for (axis, number) in spatial[MAX_SPATIAL_AXES - numbers.len()..].iter_mut().zip(&numbers) {
                *axis = Some(*number);
            }
            let axes = lens.iter().enumerate().filter(|(_, len)| **len > 1)
                .map(|(number, &len)| SampleAxis { number, len, is_reversed: reversed[number] });
            let pixels = Grid::new(axes, SpatialAxes(spatial)).pixels;
            let size: usize = numbers.iter().map(|&number| lens[number]).product();
            let byte = |pixel: usize| (pixel * 37 % 256) as u8;
            let mask = match kind {
                0 => Mask::hard((0..size).map(|pixel| byte(pixel) > 99)),
                1 => Mask::new(Shares::Bytes((0..size).map(byte).collect())).unwrap(),
                2 => Mask::new(Shares::Single((0..size).map(|pixel| f32::from(byte(pixel)) / 256.0).collect())).unwrap(),
                _ => Mask::new(Shares::Double((0..size).map(|pixel| f64::from(byte(pixel)) / 256.1).collect())).unwrap(),
            };
            let shares = mask.to_f64();
            let share_of = |mut at: usize| {
                let mut index = vec![0; lens.len()];
                for (number, &len) in lens.iter().enumerate().rev() {
                    index[number] = if reversed[number] { len - 1 - at % len } else { at % len };
                    at /= len;
                }
                shares[numbers.iter().fold(0, |pixel, &number| pixel * lens[number] + index[number])]
            };
            let elements: usize = lens.iter().product();
            let window = window.0.min(window.1) % (elements + 1)..window.1.max(window.0) % (elements + 1);
            let expected: Vec<f64> = window.clone().map(share_of).collect();
            prop_assert_eq!(shares_of(&pixels, &mask, window), expected);
        }
    }
}
