//! The driver for more than one partner: weighted means, see `means`.
//!
//! Samples are mixed block by block: a block of all samples stays in the cache while each of them is read k times. In
//! place, it is copied first.

use super::columns::{Columns, Samples, transfer};
use super::layout::Layout;
use super::means::{self, BLOCK, Mean};
use super::tuning::PACKED_BYTES;
use crate::arithmetic::Element;
use crate::plan::MixPlan;
use crate::runtime;
use crate::simd::{CACHE_LINE, Level};

#[allow(unsafe_code)]
impl MixPlan {
    /// Applies a plan of several partners, on at most `limit` threads.
    ///
    /// # Safety
    /// Both must be valid for the arrays that `layout` describes, `target` for writes, and be the same or not overlap.
    pub(super) unsafe fn mix_several<T: Element>(
        &self,
        layout: &Layout,
        source: *const T,
        target: *mut T,
        limit: usize,
    ) {
        let means: Vec<Mean<T::Wide>> = (0..layout.n).map(|i| Mean::new(i, self.terms(i))).collect();
        let (run, level, n) = (layout.run, Level::current(), layout.n);
        let in_place = std::ptr::eq(source, target);
        let source = Samples { first: source.cast_mut(), step: layout.source_step };
        let target = Samples { first: target, step: layout.target_step };
        let threads = runtime::worth((self.k() + 1) * layout.size() * size_of::<T>(), limit);
        let line = CACHE_LINE / size_of::<T>();
        let block = if in_place { (PACKED_BYTES / (n * size_of::<T>())).clamp(line, BLOCK) } else { BLOCK };
        let columns = Columns::new(layout, block, 0);
        // In place a job overwrites what it has copied, which is all samples of its column.
        let parts = if in_place { 1 } else { runtime::jobs(threads).div_ceil(columns.count()) };
        let part = n.div_ceil(parts);
        let parts = n.div_ceil(part);
        runtime::for_each(columns.count() * parts, threads, Scratch::default, |scratch, job| {
            let (column, first) = (columns.get(job / parts), job % parts * part);
            let Scratch { mixing, copied, out: apart } = scratch;
            // SAFETY: the column lies in both arrays. No other job has these samples of it in the target, nor, in place,
            // any of it.
            unsafe {
                let (mut source, mut stride) = (source.from(column.source), run.source);
                let target = target.from(column.target);
                if in_place {
                    copied.resize(n * column.len, T::default());
                    let dense = Samples { first: copied.as_mut_ptr(), step: column.len as isize };
                    transfer(n, column.len, (source, stride), |i| i, (dense, 1));
                    (source, stride) = (dense, 1);
                }
                for (i, mean) in (first..n.min(first + part)).zip(&means[first..]) {
                    let is_dense = run.target == 1;
                    apart.resize(if is_dense { 0 } else { column.len }, T::default());
                    let out = if is_dense { target.get_mut(i, column.len) } else { &mut apart[..] };
                    let read = |i, buffer: &mut [T]| match stride {
                        1 => Some(source.get(i, column.len)),
                        _ => {
                            gather(source, i, stride, buffer);
                            None
                        }
                    };
                    mean.mix(level, out, mixing, read);
                    let first = target.first.offset(i as isize * target.step);
                    apart.iter().enumerate().for_each(|(at, &value)| *first.offset(at as isize * run.target) = value);
                }
            }
        });
    }
}

/// What a thread needs.
struct Scratch<T: Element> {
    mixing: means::Scratch<T>,
    /// All samples of a column.
    copied: Vec<T>,
    out: Vec<T>,
}

impl<T: Element> Default for Scratch<T> {
    fn default() -> Self {
        Self { mixing: means::Scratch::default(), copied: Vec::new(), out: Vec::new() }
    }
}

/// Copies elements of a sample, which are `stride` apart.
///
/// # Safety
/// They must be valid, and not written meanwhile.
#[allow(unsafe_code)]
unsafe fn gather<T: Copy>(samples: Samples<T>, i: usize, stride: isize, out: &mut [T]) {
    // SAFETY: as required above.
    unsafe {
        let first = samples.first.offset(i as isize * samples.step);
        (0..).zip(out).for_each(|(at, out)| *out = *first.offset(at * stride));
    }
}

#[cfg(test)]
mod tests;
