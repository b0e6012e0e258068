//! Mixes samples from anywhere in memory while stacking them into a batch.
//!
//! Each sample is read, blended with its partner and written once. The samples are visited in columns along their
//! partners (see `plan::order`): the partner of a sample is the next sample, and is still in the cache. Pixels can be
//! normalised in the same pass.

#[cfg(any(feature = "python", test))]
use ndarray::{ArrayViewMut, IxDyn, RawArrayView};

use super::columns::Samples;
use super::finish::{Finish, StretchOf};
use super::layout::{dense_like, sample_axes};
use super::means::{self, BLOCK, Mean};
use super::normalized::Normalized;
use super::resized::Scratch;
use super::tuning::{COLLATE_COLUMN_BYTES, fetched_to};
use crate::arithmetic::{Element, Normalize, NormalizedOutput, Pixel};
use crate::error::Result;
use crate::plan::{MixPlan, Region};
use crate::runtime::{self, Machine};
use crate::simd::{Ahead, Level, MaskedRun, Recipe, ShareRun, blend_into, blend_masked};

/// Blends only.
struct Blended;

impl<T: Element> Finish<T> for Blended {
    type Out = T;
    fn finish(&self, level: Level, weight: f64, out: &mut [T], stretch: StretchOf<'_, T>) {
        blend_into(level, Recipe::new::<T>(weight), out, stretch.own, stretch.partner, stretch.ahead);
    }

    fn finish_masked(&self, level: Level, shares: ShareRun<'_>, out: &mut [T], stretch: StretchOf<'_, T>) {
        let StretchOf { own, partner, ahead, .. } = stretch;
        blend_masked(level, MaskedRun { out, own: Some(own), partner, ahead }, shares);
    }

    type Wide = T::Wide;
    type Scratch = means::Scratch<T>;

    fn finish_mean<'s>(
        &self,
        level: Level,
        mean: &Mean<T::Wide>,
        out: &mut [T],
        _: usize,
        scratch: &mut means::Scratch<T>,
        read: impl Fn(usize) -> &'s [T],
    ) {
        mean.mix(level, out, scratch, |i, _| Some(read(i)));
    }
}

/// Copies samples of any memory layout into one array in C order, on at most `limit` threads.
///
/// # Safety
/// The samples must be valid for reads and have the same shape. `target` must be valid for writes of all their elements
/// and overlap no sample.
#[cfg(any(feature = "python", test))]
#[allow(unsafe_code)]
pub unsafe fn gather<T: Copy + Send + Sync>(samples: &[RawArrayView<T, IxDyn>], target: *mut T, limit: usize) {
    let Some(first) = samples.first() else { return };
    let (len, shape) = (first.len(), first.raw_dim());
    let target = Samples { first: target, step: len as isize };
    let samples: Vec<_> = samples
        .iter()
        // SAFETY: as required above.
        .map(|sample| unsafe { sample.clone().deref_into_view() })
        .collect();
    let bytes = 2 * samples.len() * len * size_of::<T>();
    runtime::for_each(
        samples.len(),
        runtime::worth(bytes, limit),
        || (),
        |(), i| {
            // SAFETY: as required above. No other job has this sample.
            let mut copy = unsafe { ArrayViewMut::from_shape_ptr(shape.clone(), target.address(i).cast_mut()) };
            copy.assign(&samples[i]);
        },
    );
}

impl MixPlan {
    /// Mixes samples while stacking them into `batch`, on at most `limit` threads. Each sample holds the elements of
    /// `shape` in C order, and so does the batch. `spatial_axes` are the axes of the regions, as axes of the batch; by
    /// default the last ones.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan};
    ///
    /// let plan = MixPlan::new(Lam::Each(vec![0.75, 1.0]), vec![1, 0])?;
    /// let mut batch = [0; 4];
    /// plan.collate(&[&[8, 0], &[0, 4]], &[2], None, &mut batch, 1)?;
    /// assert_eq!(batch, [6, 1, 0, 4_u8]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// As [`MixPlan::apply`], before anything is written.
    ///
    /// # Panics
    /// If a sample does not have the elements of `shape`, or `batch` does not hold all samples.
    pub fn collate<T: Element>(
        &self,
        samples: &[&[T]],
        shape: &[usize],
        spatial_axes: Option<&[isize]>,
        batch: &mut [T],
        limit: usize,
    ) -> Result<()> {
        self.check_blends::<T>()?;
        self.stack(samples, shape, spatial_axes, batch, limit, &Blended)
    }

    /// As [`MixPlan::collate`], but also normalises the mixed pixels in the same pass, by the mean and standard
    /// deviation of each channel. The channels are along `channel_axis` of a sample, by default along its first axis
    /// if that has as many channels as `normalize`, else along its last. Computed in float64 and rounded once.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan, Normalize};
    ///
    /// let plan = MixPlan::new(Lam::Shared(0.5), vec![1, 0])?;
    /// let normalize = Normalize::new(vec![0.5], vec![0.25])?;
    /// let mut batch = [0.0_f32; 2];
    /// plan.collate_normalized(&[&[1.0_f32], &[0.5]], &[1], None, &normalize, None, &mut batch, 1)?;
    /// assert_eq!(batch, [1.0, 1.0]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// As [`MixPlan::collate`]; [`MixError::Channels`](crate::MixError::Channels) if no such axis has as many channels
    /// as `normalize`.
    ///
    /// # Panics
    /// As [`MixPlan::collate`].
    #[allow(clippy::too_many_arguments)] // those of `collate`, and two more
    pub fn collate_normalized<T: Pixel, O: NormalizedOutput>(
        &self,
        samples: &[&[T]],
        shape: &[usize],
        spatial_axes: Option<&[isize]>,
        normalize: &Normalize,
        channel_axis: Option<usize>,
        batch: &mut [O],
        limit: usize,
    ) -> Result<()> {
        let finish = Normalized::new(normalize.table::<T>(shape, channel_axis)?);
        self.stack(samples, shape, spatial_axes, batch, limit, &finish)
    }

    #[allow(unsafe_code)]
    fn stack<T: Element, F: Finish<T>>(
        &self,
        samples: &[&[T]],
        shape: &[usize],
        spatial_axes: Option<&[isize]>,
        batch: &mut [F::Out],
        limit: usize,
        finish: &F,
    ) -> Result<()> {
        self.check_batch(&[samples.len()])?;
        self.check_other(None)?;
        let len: usize = shape.iter().product();
        assert!(samples.iter().all(|sample| sample.len() == len) && batch.len() == samples.len() * len);
        let batch_shape = [&[samples.len()], shape].concat();
        let strides = dense_like(&batch_shape, &vec![0; batch_shape.len()]);
        let grid = self.grid(&batch_shape, spatial_axes, || sample_axes(&batch_shape, &strides, &strides))?;
        let patches = self.patches(&batch_shape, &strides, spatial_axes)?;
        if batch.is_empty() {
            return Ok(());
        }
        if self.has_several() {
            self.stack_several(samples, batch, limit, finish);
            return Ok(());
        }
        let mixing = self.mixing(grid.as_ref());
        let (level, machine, order) = (Level::current(), Machine::current(), &mixing.order.samples);
        let column = (COLLATE_COLUMN_BYTES / size_of::<T>()).min(len);
        let threads = runtime::worth(size_of_val(batch), limit);
        let parts = runtime::jobs(threads).min(order.len());
        let part = order.len().div_ceil(parts);
        let target = Samples { first: batch.as_mut_ptr(), step: len as isize };
        let stretch_of = |i: usize, start: usize, end: usize, ahead| {
            let (own, partner) = (samples[i], samples[mixing.partner[i]]);
            StretchOf { own: &own[start..end], partner: &partner[start..end], at: start, ahead }
        };
        runtime::for_each(
            len.div_ceil(column) * parts,
            threads,
            || (),
            |(), job| {
                let (start, first) = (job / parts * column, job % parts * part);
                let end = (start + column).min(len);
                let visited = &order[first.min(order.len())..(first + part).min(order.len())];
                for (at, &i) in visited.iter().enumerate() {
                    // SAFETY: the column lies in the batch of n × len elements. No other job has these samples of it.
                    let out = unsafe { target.from(start as isize).get_mut(i, end - start) };
                    let weight = if mixing.is_alone(i) { 1.0 } else { mixing.weight[i] };
                    let next = visited.get(at + 1).map(|&next| &samples[mixing.partner[next]][start..end]);
                    // Samples come from anywhere in memory, so no cache is assumed to hold the batch.
                    let ahead = next.and_then(|next| {
                        let to = fetched_to(machine, size_of_val(next), usize::MAX, false)?;
                        Some(Ahead::new(next.as_ptr(), to))
                    });
                    if let Some((Region::Mask(mask), grid)) = mixing.region(i) {
                        grid.pixels.shares(mask, start..end, |at, shares| {
                            let ahead = ahead.map(|ahead| ahead.skip(at.start));
                            let stretch = stretch_of(i, start + at.start, start + at.end, ahead);
                            finish.finish_masked(level, shares, &mut out[at], stretch);
                        });
                        continue;
                    }
                    finish.finish(level, weight, out, stretch_of(i, start, end, ahead));
                    if let Some((Region::Box(rect), grid)) = mixing.region(i) {
                        for run in grid.runs(rect, start..end) {
                            let out = &mut out[run.start - start..run.end - start];
                            finish.finish(level, 0.0, out, stretch_of(i, run.start, run.end, None));
                        }
                    }
                }
            },
        );
        let (Some(patches), Some(grid)) = (patches, grid) else { return Ok(()) };
        let scratch = || (vec![T::default(); len], Scratch::default());
        runtime::for_each(patches.of().len(), threads, scratch, |(resized, scratch), job| {
            let (i, rect) = patches.in_sample(&patches.of()[job], shape, samples, resized, scratch);
            for run in grid.runs(rect, 0..len) {
                // SAFETY: the run lies in the batch. No other job has this sample.
                let out = unsafe { target.from(run.start as isize).get_mut(i, run.len()) };
                let stretch = StretchOf {
                    own: &resized[run.clone()],
                    partner: &resized[run.clone()],
                    at: run.start,
                    ahead: None,
                };
                finish.finish(level, 1.0, out, stretch);
            }
        });
        Ok(())
    }

    /// Stacks the means of several samples.
    #[allow(unsafe_code)]
    fn stack_several<T: Element, F: Finish<T>>(
        &self,
        samples: &[&[T]],
        batch: &mut [F::Out],
        limit: usize,
        finish: &F,
    ) {
        let (n, len, level) = (samples.len(), batch.len() / samples.len(), Level::current());
        let means: Vec<Mean<F::Wide>> = (0..n).map(|i| Mean::new(i, self.terms(i))).collect();
        let threads = runtime::worth((self.k() - 1) * size_of_val(batch), limit);
        let columns = len.div_ceil(BLOCK);
        let part = n.div_ceil(runtime::jobs(threads).div_ceil(columns));
        let parts = n.div_ceil(part);
        let target = Samples { first: batch.as_mut_ptr(), step: len as isize };
        runtime::for_each(columns * parts, threads, F::Scratch::default, |scratch, job| {
            let (start, first) = (job / parts * BLOCK, job % parts * part);
            let end = (start + BLOCK).min(len);
            for (i, mean) in (first..n.min(first + part)).zip(&means[first..]) {
                // SAFETY: the column lies in the batch of n × len elements. No other job has these samples of it.
                let out = unsafe { target.from(start as isize).get_mut(i, end - start) };
                finish.finish_mean(level, mean, out, start, scratch, |i| &samples[i][start..end]);
            }
        });
    }
}

#[cfg(test)]
mod tests;
