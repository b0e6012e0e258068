//! The driver for samples side by side in memory, as in Fortran order: element by element, all samples at once.

use super::batch::Batch;
use super::columns::Columns;
use super::tuning::{INTERLEAVED_LANES, PACKED_BYTES};
use crate::arithmetic::Element;
use crate::runtime;
use crate::simd::Lanes;

#[allow(unsafe_code)]
impl<T: Element> Batch<'_, T> {
    /// Whether the samples are side by side, one element of each fits into scratch, and the plan has no regions.
    pub(super) fn is_interleaved(&self) -> bool {
        let n = self.layout.n;
        let is_side_by_side = self.source.step == 1 && self.target.step == 1;
        let is_plain = self.mixing.regions.is_none() && !self.mixing.is_other;
        is_plain && is_side_by_side && (2..=PACKED_BYTES / size_of::<T>()).contains(&n)
    }

    /// # Safety
    /// As for [`super::batch::mix`], with samples side by side.
    pub(super) unsafe fn interleaved(&self) {
        let (n, run) = (self.layout.n, self.layout.run);
        let columns = Columns::new(self.layout, PACKED_BYTES / (n * size_of::<T>()), 0);
        // Rows that are consecutive in both arrays are blended as one longer row.
        let is_dense = [run.source, run.target] == [n as isize; 2];
        let rows = if is_dense { (INTERLEAVED_LANES / n).clamp(1, columns.len) } else { 1 };
        let sample = |lane: usize| {
            let i = lane % n;
            (lane - i + self.mixing.partner[i], self.mixing.recipe::<T>(i))
        };
        let lanes = Lanes::<T>::new((0..rows * n).map(sample));
        runtime::for_each(
            columns.count(),
            self.threads,
            || lanes.scratch(),
            |gathered, job| {
                let column = columns.get(job);
                for at in (0..column.len).step_by(rows) {
                    let len = rows.min(column.len - at) * n;
                    let at = at as isize;
                    // SAFETY: the column lies in both arrays, and no other job has it. All reads are done before the
                    // first write. The partners of a row lie in the same row.
                    unsafe {
                        lanes.gather(self.source.from(column.source + at * run.source).get(0, len), gathered);
                        lanes.blend(
                            self.level,
                            self.target.from(column.target + at * run.target).get_mut(0, len),
                            gathered,
                        );
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::apply::batch::tests::look;

    #[test]
    fn samples_side_by_side_are_interleaved() {
        let is_interleaved = |n: usize, source: &[isize; 2], target: &[isize; 2]| {
            look(&[n, 3], source, target, 1, |batch| batch.is_interleaved())
        };
        assert!(is_interleaved(4, &[1, 4], &[1, 4]));
        assert!(is_interleaved(4, &[1, 9], &[1, 4]));
        assert!(!is_interleaved(4, &[3, 1], &[1, 4]));
        assert!(!is_interleaved(4, &[1, 4], &[3, 1]));
        assert!(!is_interleaved(4, &[3, 1], &[3, 1]));
        // At least two samples, and at most 64 KiB for one element of each.
        assert!(!is_interleaved(1, &[1, 1], &[1, 1]));
        assert!(is_interleaved(16_384, &[1, 16_384], &[1, 16_384]));
        assert!(!is_interleaved(16_385, &[1, 16_385], &[1, 16_385]));
    }
}
