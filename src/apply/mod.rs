//! Applies a plan to a batch.
//!
//! [`MixPlan::apply`] and its variants check the arrays, derive their memory layout (`layout`) and call a driver
//! (`batch`). [`MixPlan::collate`] mixes samples while stacking them (`stack`).

mod apart;
mod batch;
mod columns;
mod finish;
mod grid;
mod in_place;
mod interleaved;
mod layout;
mod masked;
mod means;
mod normalized;
mod other;
mod overlap;
mod packed;
mod resized;
mod several;
mod stack;
mod taps;
#[cfg(test)]
mod tests;
mod tuning;

use ndarray::{ArrayD, ArrayView, ArrayViewMut, Dimension, IxDyn, RawArrayView, RawArrayViewMut};

use crate::arithmetic::Element;
use crate::error::{MixError, Result};
use crate::plan::MixPlan;
use crate::runtime;
use batch::{Mixing, mix};
use grid::Grid;
use layout::{Layout, SampleAxis, overlaps_itself, sample_axes};
use overlap::{apart_or_same, new_array};

#[cfg(feature = "python")]
pub(crate) use layout::dense_like;
#[cfg(not(feature = "python"))]
use layout::dense_like;
#[cfg(feature = "python")]
pub(crate) use stack::gather;

impl MixPlan {
    /// Mixes `x` into a new array, in the memory order of `x`. The input is not copied.
    ///
    /// # Errors
    /// [`MixError::NoBatchAxis`] or [`MixError::BatchLength`] unless axis 0 of `x` has the length of the plan;
    /// [`MixError::SpatialAxes`] or [`MixError::SpatialShape`] if the last axes of `x` are not those of the regions;
    /// [`MixError::NotBlended`] if the plan blends elements that can only be copied; [`MixError::TooManySamples`] if
    /// memory runs out.
    pub fn apply<T: Element, D: Dimension>(&self, x: ArrayView<'_, T, D>) -> Result<ArrayD<T>> {
        self.apply_new(x, None::<ArrayView<'_, T, D>>)
    }

    /// Mixes `x` with samples of `other` into a new array, in the memory order of `x`. Nothing is copied. Where `other`
    /// has another memory layout than `x`, mixing takes longer.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan, Partners};
    /// use ndarray::array;
    ///
    /// let plan = MixPlan::new(Lam::Each(vec![0.75, 1.0]), Partners::of_other(vec![0, 0], 1))?;
    /// let mixed = plan.apply_with(array![[8.0, 0.0], [0.0, 4.0]].view(), array![[0.0, 4.0]].view())?;
    /// assert_eq!(mixed, array![[6.0, 1.0], [0.0, 4.0]].into_dyn());
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// As [`MixPlan::apply`]; [`MixError::OtherGiven`] if the partners of the plan are samples of the batch itself,
    /// [`MixError::OtherLength`] or [`MixError::OtherShape`] if `other` has another number of samples or other samples.
    pub fn apply_with<T: Element, D: Dimension, E: Dimension>(
        &self,
        x: ArrayView<'_, T, D>,
        other: ArrayView<'_, T, E>,
    ) -> Result<ArrayD<T>> {
        self.apply_new(x, Some(other))
    }

    fn apply_new<T: Element, D: Dimension, E: Dimension>(
        &self,
        x: ArrayView<'_, T, D>,
        other: Option<ArrayView<'_, T, E>>,
    ) -> Result<ArrayD<T>> {
        let strides = dense_like(x.shape(), x.strides());
        let mut out = new_array(x.shape(), &strides);
        let other = other.map(|other| other.into_dyn().raw_view());
        self.apply_to_raw(x.into_dyn().raw_view(), other, out.raw_view_mut())?;
        Ok(out)
    }

    /// Mixes `x` into `out`, which must have the shape of `x`.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan};
    /// use ndarray::array;
    ///
    /// let (x, mut out) = (array![[8_u8, 0], [0, 4]], array![[0, 0], [0, 0]]);
    /// MixPlan::new(Lam::Each(vec![0.75, 1.0]), vec![1, 0])?.apply_into(x.view(), out.view_mut())?;
    /// assert_eq!(out, array![[6, 1], [0, 4]]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// As [`MixPlan::apply`]; [`MixError::OutShape`] if the shapes differ; [`MixError::OutOverlapsItself`] if elements
    /// of `out` share memory. Nothing is written then.
    pub fn apply_into<T: Element, D: Dimension, E: Dimension>(
        &self,
        x: ArrayView<'_, T, D>,
        mut out: ArrayViewMut<'_, T, E>,
    ) -> Result<()> {
        self.apply_to_raw(x.into_dyn().raw_view(), None, out.view_mut().into_dyn().raw_view_mut())
    }

    /// Mixes `x` in place, without a second batch.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan};
    /// use ndarray::array;
    ///
    /// let mut x = array![[8.0, 0.0], [0.0, 4.0]];
    /// MixPlan::new(Lam::Shared(0.75), vec![1, 0])?.apply_in_place(x.view_mut())?;
    /// assert_eq!(x, array![[6.0, 1.0], [2.0, 3.0]]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// As [`MixPlan::apply`]. Nothing is written then.
    pub fn apply_in_place<T: Element, D: Dimension>(&self, mut x: ArrayViewMut<'_, T, D>) -> Result<()> {
        let out = x.view_mut().into_dyn().raw_view_mut();
        self.apply_to_raw(out.raw_view(), None, out)
    }

    /// Mixes `x` in place with samples of `other`, without any scratch memory if both have the same layout.
    ///
    /// # Errors
    /// As [`MixPlan::apply_with`]. Nothing is written then.
    pub fn apply_in_place_with<T: Element, D: Dimension, E: Dimension>(
        &self,
        mut x: ArrayViewMut<'_, T, D>,
        other: ArrayView<'_, T, E>,
    ) -> Result<()> {
        let out = x.view_mut().into_dyn().raw_view_mut();
        self.apply_to_raw(out.raw_view(), Some(other.into_dyn().raw_view()), out)
    }

    fn apply_to_raw<T: Element>(
        &self,
        x: RawArrayView<T, IxDyn>,
        other: Option<RawArrayView<T, IxDyn>>,
        out: RawArrayViewMut<T, IxDyn>,
    ) -> Result<()> {
        let limit = runtime::requested().unwrap_or_else(runtime::available);
        // SAFETY: all come from views that are still borrowed.
        #[allow(unsafe_code)]
        unsafe {
            self.apply_raw(x, other, out, None, limit)
        }
    }

    /// Mixes `x` into `out` on at most `limit` threads. They may be the same array, which is mixed in place, or overlap
    /// in any other way, and `out` may overlap `other`: the result is as if they did not. Partners come from `other` if
    /// the plan says so. `spatial_axes` are the axes of the regions, as indices of array axes, negative ones counted
    /// from the end. By default they are the last axes.
    ///
    /// # Errors
    /// As [`MixPlan::apply_into`] and [`MixPlan::apply_with`], before anything is written.
    ///
    /// # Safety
    /// All must point to valid, aligned elements, `out` to writable ones, for the duration of the call. No other
    /// thread may write to any or read `out` meanwhile.
    #[allow(unsafe_code)]
    pub unsafe fn apply_raw<T: Element>(
        &self,
        x: RawArrayView<T, IxDyn>,
        other: Option<RawArrayView<T, IxDyn>>,
        out: RawArrayViewMut<T, IxDyn>,
        spatial_axes: Option<&[isize]>,
        limit: usize,
    ) -> Result<()> {
        self.check_blends::<T>()?;
        self.check_target(&x, &out)?;
        self.check_source(&x, other.as_ref())?;
        // Checks the axes before anything is written. The grid in the memory order of `out` is made below.
        self.grid(x.shape(), spatial_axes, std::iter::empty)?;
        let patches = self.patches(x.shape(), x.strides(), spatial_axes)?;
        let mut result = Ok(());
        let mix_to = |out: RawArrayViewMut<T, IxDyn>| {
            let (shape, source, target) = (x.shape(), x.strides(), out.strides());
            let partners = other.as_ref().map_or(source, |other| other.strides());
            let Some(layout) = Layout::with(shape, source, partners, target) else { return };
            let grid = self.grid(shape, spatial_axes, || sample_axes(shape, source, target)).expect("checked above");
            let partners = other.as_ref().map(|other| other.as_ptr());
            // SAFETY: valid as required above. `apart_or_same` passes an array that is the same as `x` or apart from
            // it, and apart from `other`.
            unsafe {
                let target = out.as_ptr().cast_mut();
                if self.has_several() {
                    return self.mix_several(&layout, x.as_ptr(), target, limit);
                }
                let mix = || mix(self.mixing(grid.as_ref()), &layout, x.as_ptr(), partners, target, limit);
                match &patches {
                    Some(patches) => result = patches.around(&x, other.as_ref(), out, limit, mix),
                    None => mix(),
                }
            };
        };
        // SAFETY: as required above.
        unsafe { apart_or_same(&x, other.as_ref(), out, mix_to) };
        result
    }

    /// The plan in the form of the drivers.
    fn mixing<'a>(&'a self, grid: Option<&'a Grid>) -> Mixing<'a> {
        let regions = self.regions().zip(grid).map(|(regions, grid)| (&regions.of[..], grid));
        let is_other = self.other().is_some();
        Mixing { weight: self.weight(), partner: self.partner(), is_other, order: self.order(), regions }
    }

    /// The grid of the regions in a batch of this shape, for samples with these axes in memory. `None` without regions.
    fn grid<I: Iterator<Item = SampleAxis>>(
        &self,
        shape: &[usize],
        spatial_axes: Option<&[isize]>,
        axes: impl FnOnce() -> I,
    ) -> Result<Option<Grid>> {
        let Some(regions) = self.regions() else { return Ok(None) };
        let spatial = regions.axes_of(shape, spatial_axes)?;
        Ok(Some(Grid::new(axes(), spatial)))
    }

    /// Checks that the elements can be blended, if the plan blends any.
    fn check_blends<T: Element>(&self) -> Result<()> {
        if T::IS_BLENDED || self.only_copies() { Ok(()) } else { Err(MixError::NotBlended) }
    }

    /// Checks that the batch that partners come from has samples like those of `x`.
    fn check_source<T>(&self, x: &RawArrayView<T, IxDyn>, other: Option<&RawArrayView<T, IxDyn>>) -> Result<()> {
        let Some(other) = other else { return self.check_other(None) };
        let [got, sample @ ..] = other.shape() else { return Err(MixError::NoBatchAxis) };
        self.check_other(Some(*got))?;
        let expected = &x.shape()[1..];
        if sample == expected {
            return Ok(());
        }
        Err(MixError::OtherShape { got: sample.to_vec(), expected: expected.to_vec() })
    }

    fn check_target<T>(&self, x: &RawArrayView<T, IxDyn>, out: &RawArrayViewMut<T, IxDyn>) -> Result<()> {
        self.check_batch(x.shape())?;
        self.memory_for_order()?;
        if out.shape() != x.shape() {
            return Err(MixError::OutShape { got: out.shape().to_vec(), expected: x.shape().to_vec() });
        }
        if overlaps_itself(out.shape(), out.strides()) {
            return Err(MixError::OutOverlapsItself { shape: out.shape().to_vec(), strides: out.strides().to_vec() });
        }
        Ok(())
    }
}
