//! A plan carried through a batch.
//!
//! [`MixPlan::apply`] and its siblings check the arrays, find how their memory is laid out (`layout`) and hand it to the
//! drivers (`batch`); [`MixPlan::collate`] mixes while it stacks samples (`stack`).

mod apart;
mod batch;
mod columns;
mod grid;
mod in_place;
mod interleaved;
mod layout;
mod normalized;
mod overlap;
mod packed;
mod stack;
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
    /// The mixed batch as a new array, in the memory order of `x`.
    pub fn apply<T: Element, D: Dimension>(&self, x: ArrayView<'_, T, D>) -> Result<ArrayD<T>> {
        let strides = dense_like(x.shape(), x.strides());
        let mut out = new_array(x.shape(), &strides);
        self.apply_into(x, out.view_mut())?;
        Ok(out)
    }

    /// Writes the mixed batch to `out`, which must have the shape of `x`.
    pub fn apply_into<T: Element, D: Dimension, E: Dimension>(
        &self,
        x: ArrayView<'_, T, D>,
        mut out: ArrayViewMut<'_, T, E>,
    ) -> Result<()> {
        self.apply_to_raw(x.into_dyn().raw_view(), out.view_mut().into_dyn().raw_view_mut())
    }

    /// Mixes `x` in place, without a second batch.
    pub fn apply_in_place<T: Element, D: Dimension>(&self, mut x: ArrayViewMut<'_, T, D>) -> Result<()> {
        let out = x.view_mut().into_dyn().raw_view_mut();
        self.apply_to_raw(out.raw_view(), out)
    }

    fn apply_to_raw<T: Element>(&self, x: RawArrayView<T, IxDyn>, out: RawArrayViewMut<T, IxDyn>) -> Result<()> {
        let limit = runtime::requested().unwrap_or_else(runtime::available);
        // SAFETY: the views that these came from, which still live, make both valid.
        #[allow(unsafe_code)]
        unsafe {
            self.apply_raw(x, out, None, limit)
        }
    }

    /// Mixes `x` into `out` on at most `limit` threads. They may be the same array, which is then mixed in place, or
    /// overlap in any other way: the result is as if they did not. `spatial_axes` are those of the regions, counted from
    /// either end of the batch's axes; by default the last ones.
    ///
    /// # Safety
    /// Both must point to valid, aligned elements, `out` to writable ones, for as long as the call takes.
    #[allow(unsafe_code)]
    pub unsafe fn apply_raw<T: Element>(
        &self,
        x: RawArrayView<T, IxDyn>,
        out: RawArrayViewMut<T, IxDyn>,
        spatial_axes: Option<&[isize]>,
        limit: usize,
    ) -> Result<()> {
        self.check_blends::<T>()?;
        self.check_target(&x, &out)?;
        // Checked before anything is written; that of the array that is written to is made below.
        self.grid(x.shape(), spatial_axes, std::iter::empty)?;
        let mix_to = |out: RawArrayViewMut<T, IxDyn>| {
            let (shape, source, target) = (x.shape(), x.strides(), out.strides());
            let Some(layout) = Layout::new(shape, source, target) else { return };
            let grid = self.grid(shape, spatial_axes, || sample_axes(shape, source, target)).expect("checked above");
            // SAFETY: valid as required above; what overlaps without being the same goes through a copy.
            unsafe { mix(self.mixing(grid.as_ref()), &layout, x.as_ptr(), out.as_ptr().cast_mut(), limit) };
        };
        // SAFETY: as required above.
        unsafe { apart_or_same(&x, out, mix_to) };
        Ok(())
    }

    /// What it says about each sample, for the drivers.
    fn mixing<'a>(&'a self, grid: Option<&'a Grid>) -> Mixing<'a> {
        let regions = self.regions().zip(grid).map(|(regions, grid)| (&regions.of[..], grid));
        Mixing { weight: self.weight(), partner: self.partner(), order: self.order(), regions }
    }

    /// Where regions are in a batch of this shape, whose samples have these axes in memory; `None` if there are none.
    fn grid<I: Iterator<Item = SampleAxis>>(
        &self,
        shape: &[usize],
        spatial_axes: Option<&[isize]>,
        axes: impl FnOnce() -> I,
    ) -> Result<Option<Grid>> {
        let Some(regions) = self.regions() else { return Ok(None) };
        let spatial = regions.shape.axes_of(shape, spatial_axes)?;
        Ok(Some(Grid::new(axes(), spatial)))
    }

    /// Refuses to blend elements that can only be copied.
    fn check_blends<T: Element>(&self) -> Result<()> {
        if T::IS_BLENDED || self.only_copies() { Ok(()) } else { Err(MixError::NotBlended) }
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
