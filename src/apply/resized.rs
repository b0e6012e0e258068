//! Fills boxes with the whole partner, resized.
//!
//! A box needs all of its partner's pixels, wherever they are in memory, so that it is filled by itself and not by the
//! drivers of columns. Into another array the boxes are filled after these, from the source. In place they are computed
//! before anything is written, and copied to their places at the end.
//!
//! The interpolation is our own: the crates for it take dense images of few element types, and what they round to depends
//! on the instruction set. Two rows are blended, then two pixels of these, each by the one formula (`arithmetic`), in the
//! type that elements are widened to and with one rounding at the end.

use ndarray::{
    ArrayBase, ArrayView, ArrayView2, ArrayView3, ArrayViewMut, ArrayViewMut3, Axis, Dimension, IxDyn, RawArrayView,
    RawArrayViewMut, RawData, Slice,
};

use super::columns::Samples;
use super::taps::{Tap, taps};
use super::tuning::RESIZED_ROWS_AHEAD;
use crate::arithmetic::Element;
use crate::error::{MixError, Result};
use crate::plan::{MixPlan, Rect, Sampling, SpatialAxes};
use crate::runtime;
use crate::runtime::buffer::Buffer;
use crate::simd::vectorised::Loop;
use crate::simd::{Ahead, Cache, Level, vectorised};

/// A box of a sample that its partner fills.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patch {
    sample: usize,
    partner: usize,
    rect: Rect,
    sampling: Sampling,
}

/// All boxes of a batch that are filled, and the axes of a sample that they are along.
#[derive(Debug)]
pub(super) struct Patches {
    of: Vec<Patch>,
    axes: [usize; 2],
    /// The axis of the channels, if these are beside each other in memory.
    inner: Option<usize>,
}

impl MixPlan {
    /// The boxes to fill in a batch of this shape, whose source has these strides. `None` if there are none.
    pub(super) fn patches(
        &self,
        shape: &[usize],
        strides: &[isize],
        spatial_axes: Option<&[isize]>,
    ) -> Result<Option<Patches>> {
        let Some(regions) = self.regions().filter(|regions| regions.has_resized()) else { return Ok(None) };
        let SpatialAxes([_, Some(y), Some(x)]) = regions.axes_of(shape, spatial_axes)? else {
            unreachable!("partners are resized along two axes")
        };
        let of = regions.of.iter().zip(self.partner()).enumerate().filter_map(|(sample, (region, &partner))| {
            let (&rect, sampling) = region.resized().filter(|(rect, _)| !self.is_alone(sample) && !rect.is_empty())?;
            // All of a sample is copied bit for bit.
            let is_all = rect == Rect::new(&[0, 0], &[shape[y], shape[x]]);
            Some(Patch { sample, partner, rect, sampling: if is_all { Sampling::Nearest } else { sampling } })
        });
        let of: Vec<Patch> = of.collect();
        let inner = (1..shape.len()).find(|&axis| ![y, x].contains(&axis) && shape[axis] > 1 && strides[axis] == 1);
        // Axis 0 is the batch.
        let patches = Patches { of, axes: [y - 1, x - 1], inner: inner.map(|axis| axis - 1) };
        Ok(Some(patches).filter(|patches| !patches.of.is_empty() && !shape.contains(&0)))
    }
}

impl Patches {
    /// A sample with its axes in the order (..., y, x, channels that are beside each other).
    fn arranged<S: RawData>(&self, mut sample: ArrayBase<S, IxDyn>) -> ArrayBase<S, IxDyn> {
        let inner = self.inner.unwrap_or(sample.ndim());
        if self.inner.is_none() {
            sample = sample.insert_axis(Axis(inner));
        }
        let last = [self.axes[0], self.axes[1], inner];
        let others = (0..sample.ndim()).filter(|axis| !last.contains(axis));
        let order: Vec<usize> = others.chain(last).collect();
        sample.permuted_axes(order)
    }

    /// The box of an arranged sample.
    fn inside<S: RawData>(mut sample: ArrayBase<S, IxDyn>, rect: &Rect) -> ArrayBase<S, IxDyn> {
        let first = sample.ndim() - 3;
        for (axis, place) in [(first, 1), (first + 1, 2)] {
            sample.slice_axis_inplace(Axis(axis), Slice::from(rect.start[place]..rect.end[place]));
        }
        sample
    }

    /// Fills a box with a partner, both arranged.
    fn fill<T: Element>(
        patch: &Patch,
        partner: ArrayView<'_, T, IxDyn>,
        target: ArrayViewMut<'_, T, IxDyn>,
        scratch: &mut Scratch<T>,
    ) {
        let first = partner.ndim() - 3;
        let (from, to) = (&partner.shape()[first..], &target.shape()[first..]);
        let sampling = if T::IS_BLENDED { patch.sampling } else { Sampling::Nearest };
        let (rows, columns) = (taps(from[0], to[0], 1, sampling), taps(from[1], to[1], from[2], sampling));
        let weighted = |tap: &Tap| (tap.near, tap.far, T::Wide::weight(tap.weight));
        let weighted: Vec<Weighted<T>> = match sampling {
            Sampling::Bilinear => columns.iter().map(weighted).collect(),
            Sampling::Nearest => Vec::new(),
        };
        each_plane(partner, target, &mut |partner, target| match sampling {
            Sampling::Bilinear => scratch.interpolate(&rows, &weighted, partner, target),
            Sampling::Nearest => scratch.take(&rows, &columns, partner, target),
        });
    }

    /// Calls `mix`, which writes to `out` but for these boxes, and fills them, from `other` if partners come from there.
    ///
    /// # Errors
    /// [`MixError::TooManySamples`] if memory runs out, before anything is written.
    ///
    /// # Safety
    /// All must be valid and `out` writable. `x` and `out` are the same or do not overlap, `other` and `out` do not. No
    /// other thread may write to any.
    #[allow(unsafe_code)]
    pub unsafe fn around<T: Element>(
        &self,
        x: &RawArrayView<T, IxDyn>,
        other: Option<&RawArrayView<T, IxDyn>>,
        out: RawArrayViewMut<T, IxDyn>,
        limit: usize,
        mix: impl FnOnce(),
    ) -> Result<()> {
        let (n, jobs, in_place) = (x.shape()[0], self.of.len(), std::ptr::eq(x.as_ptr(), out.as_ptr()));
        let threads = runtime::worth(2 * jobs * (x.len() / n) * size_of::<T>(), limit);
        let (partners, out) = (Shared(other.unwrap_or(x).clone()), Shared(out));
        // SAFETY: valid as required above. Each job writes to a sample of its own.
        let box_of = |patch: &Patch| unsafe {
            Self::inside(
                self.arranged(out.get().index_axis_move(Axis(0), patch.sample).deref_into_view_mut()),
                &patch.rect,
            )
        };
        // SAFETY: valid as required above, and read only while nothing is written to it.
        let partner_of = |patch: &Patch| unsafe {
            self.arranged(partners.get().index_axis_move(Axis(0), patch.partner).deref_into_view())
        };
        if !in_place || other.is_some() {
            mix();
            runtime::for_each(jobs, threads, Scratch::default, |scratch, job| {
                let patch = &self.of[job];
                Self::fill(patch, partner_of(patch), box_of(patch), scratch);
            });
            return Ok(());
        }
        let shapes: Vec<IxDyn> = self.of.iter().map(|patch| box_of(patch).raw_dim()).collect();
        let mut size = 0;
        let mut starts = Vec::with_capacity(jobs);
        for shape in &shapes {
            starts.push(size);
            size += shape.size();
        }
        let buffer = Buffer::new(size * size_of::<T>()).ok_or(MixError::TooManySamples(n))?;
        let saved = Samples { first: buffer.as_ptr().cast::<T>(), step: 1 };
        // SAFETY: the buffer is aligned and has room for all boxes, one after the other. Each job has one of them.
        let saved = |job: usize| unsafe {
            ArrayViewMut::from_shape_ptr(shapes[job].clone(), saved.address(starts[job]).cast_mut())
        };
        runtime::for_each(jobs, threads, Scratch::default, |scratch, job| {
            Self::fill(&self.of[job], partner_of(&self.of[job]), saved(job), scratch);
        });
        mix();
        runtime::for_each(
            jobs,
            threads,
            || (),
            |(), job| {
                each_plane(saved(job).view(), box_of(&self.of[job]), &mut |saved, target| copy_rows(saved, target))
            },
        );
        Ok(())
    }

    /// Fills the box of a sample that is stacked: writes the resized partner, from samples in C order, to its place in
    /// `resized`, which has the elements of a sample. Returns the box.
    pub fn in_sample<'a, T: Element>(
        &self,
        patch: &'a Patch,
        shape: &[usize],
        samples: &[&[T]],
        resized: &mut [T],
        scratch: &mut Scratch<T>,
    ) -> (usize, &'a Rect) {
        let partner = ArrayView::from_shape(shape, samples[patch.partner]).expect("a sample has this shape").into_dyn();
        let target = ArrayViewMut::from_shape(shape, resized).expect("a sample has this shape").into_dyn();
        let target = Self::inside(self.arranged(target), &patch.rect);
        Self::fill(patch, self.arranged(partner), target, scratch);
        (patch.sample, &patch.rect)
    }

    pub fn of(&self) -> &[Patch] {
        &self.of
    }
}

/// An array that several threads access.
struct Shared<V>(V);

// SAFETY: what is in it is accessed in unsafe code alone, which says why threads do not interfere.
#[allow(unsafe_code)]
unsafe impl<V> Sync for Shared<V> {}

impl<V: Clone> Shared<V> {
    fn get(&self) -> V {
        self.0.clone()
    }
}

/// Calls `each` with the planes of two arranged samples.
fn each_plane<T>(
    partner: ArrayView<'_, T, IxDyn>,
    mut target: ArrayViewMut<'_, T, IxDyn>,
    each: &mut impl FnMut(ArrayView3<'_, T>, ArrayViewMut3<'_, T>),
) {
    if partner.ndim() == 3 {
        let of_3 = "has three axes";
        return each(partner.into_dimensionality().expect(of_3), target.into_dimensionality().expect(of_3));
    }
    for (partner, target) in partner.outer_iter().zip(target.outer_iter_mut()) {
        each_plane(partner, target, each);
    }
}

/// A tap with its weight in the type of the computation.
type Weighted<T> = (usize, usize, <<T as Element>::Wide as Element>::Weight);

/// Copies a plane row by row.
fn copy_rows<T: Copy>(source: ArrayView3<'_, T>, mut target: ArrayViewMut3<'_, T>) {
    for (source, mut target) in source.outer_iter().zip(target.outer_iter_mut()) {
        match (source.as_slice(), target.as_slice_mut()) {
            (Some(source), Some(target)) => target.copy_from_slice(source),
            _ => target.assign(&source),
        }
    }
}

/// What a thread needs to resize.
pub(super) struct Scratch<T: Element> {
    /// Copies of rows whose elements are not beside each other.
    copies: [Vec<T>; 2],
    blended: Vec<T::Wide>,
    out: Vec<T>,
}

impl<T: Element> Default for Scratch<T> {
    fn default() -> Self {
        Self { copies: [Vec::new(), Vec::new()], blended: Vec::new(), out: Vec::new() }
    }
}

impl<T: Element> Scratch<T> {
    /// Blends rows of the partner, then elements of these.
    fn interpolate(
        &mut self,
        rows: &[Tap],
        columns: &[Weighted<T>],
        partner: ArrayView3<'_, T>,
        mut target: ArrayViewMut3<'_, T>,
    ) {
        let level = Level::current();
        let Self { copies: [near, far], blended, out } = self;
        for (at, tap) in rows.iter().enumerate() {
            fetch_rows(at, rows, &partner, &target);
            let mut target = target.index_axis_mut(Axis(0), at);
            let row = |at: usize| partner.index_axis(Axis(0), at);
            let (near_row, far_row) = (row(tap.near), row(tap.far));
            let (near, far) = (beside(&near_row, near), beside(&far_row, far));
            blended.resize(near.len(), T::Wide::default());
            vectorised(level, Rows { near, far, weight: T::Wide::weight(tap.weight), out: blended });
            if let Some(out) = target.as_slice_mut() {
                vectorised(level, Columns { row: blended, taps: columns, out });
            } else {
                out.resize(target.len(), T::default());
                vectorised(level, Columns { row: blended, taps: columns, out });
                target.iter_mut().zip(&*out).for_each(|(target, out)| *target = *out);
            }
        }
    }

    /// Takes the nearest elements.
    fn take(&mut self, rows: &[Tap], columns: &[Tap], partner: ArrayView3<'_, T>, mut target: ArrayViewMut3<'_, T>) {
        for (at, tap) in rows.iter().enumerate() {
            fetch_rows(at, rows, &partner, &target);
            let mut target = target.index_axis_mut(Axis(0), at);
            let row = partner.index_axis(Axis(0), tap.near);
            let row = beside(&row, &mut self.copies[0]);
            target.iter_mut().zip(columns).for_each(|(target, tap)| *target = row[tap.near]);
        }
    }
}

/// Prefetches what a later row of the target is computed from, and that row: rows are skipped, so that the hardware
/// prefetcher does not follow.
fn fetch_rows<T>(at: usize, rows: &[Tap], partner: &ArrayView3<'_, T>, target: &ArrayViewMut3<'_, T>) {
    let Some(later) = rows.get(at + RESIZED_ROWS_AHEAD) else { return };
    let row = |at: usize| partner.index_axis(Axis(0), at);
    for row in [row(later.near), row(later.far), target.index_axis(Axis(0), at + RESIZED_ROWS_AHEAD)] {
        if row.is_standard_layout() {
            Ahead::new(row.as_ptr(), Cache::First).fetch(row.len());
        }
    }
}

/// The elements of a row, copied if they are not beside each other.
fn beside<'a, T: Copy>(row: &'a ArrayView2<'_, T>, copied: &'a mut Vec<T>) -> &'a [T] {
    if let Some(row) = row.as_slice() {
        return row;
    }
    copied.clear();
    copied.extend(row.iter().copied());
    copied
}

/// Blends two rows.
struct Rows<'a, T: Element> {
    near: &'a [T],
    far: &'a [T],
    weight: <T::Wide as Element>::Weight,
    out: &'a mut [T::Wide],
}

impl<T: Element> Loop for Rows<'_, T> {
    #[inline(always)]
    fn run(self) {
        for ((out, near), far) in self.out.iter_mut().zip(self.near).zip(self.far) {
            *out = T::Wide::blend::<true>(near.widen(), far.widen(), self.weight);
        }
    }
}

/// Blends two elements of a row for each of a narrower one, and rounds.
struct Columns<'a, T: Element> {
    row: &'a [T::Wide],
    taps: &'a [Weighted<T>],
    out: &'a mut [T],
}

/// Elements that are gathered before they are blended: the second loop is then one of vectors.
const GATHERED: usize = 64;

impl<T: Element> Loop for Columns<'_, T> {
    #[inline(always)]
    fn run(self) {
        let (mut near, mut far) = ([T::Wide::default(); GATHERED], [T::Wide::default(); GATHERED]);
        for (out, taps) in self.out.chunks_mut(GATHERED).zip(self.taps.chunks(GATHERED)) {
            for ((tap, near), far) in taps.iter().zip(&mut near).zip(&mut far) {
                (*near, *far) = (self.row[tap.0], self.row[tap.1]);
            }
            for (((out, tap), near), far) in out.iter_mut().zip(taps).zip(&near).zip(&far) {
                *out = T::narrow(T::Wide::blend::<true>(*near, *far, tap.2));
            }
        }
    }
}
