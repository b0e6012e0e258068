//! The driver for runs that are not contiguous in both arrays: each column is gathered, mixed in place and scattered.

use super::batch::Batch;
use super::columns::{Columns, Samples, transfer};
use super::tuning::PACKED_BYTES;
use crate::arithmetic::Element;
use crate::plan::Segment;
use crate::runtime;
use crate::simd::CACHE_LINE;

#[allow(unsafe_code)]
impl<T: Element> Batch<'_, T> {
    /// # Safety
    /// As for [`super::batch::mix`].
    pub(super) unsafe fn packed(&self) {
        let n = self.layout.n;
        let columns = Columns::new(self.layout, PACKED_BYTES / (n * size_of::<T>()), 0);
        let segments: Vec<Segment> = self.mixing.order.segments().collect();
        let run = self.layout.run;
        // A cache line between samples: at a stride of a power of two all would map to the same cache set.
        let line = CACHE_LINE / size_of::<T>();
        let step = columns.len + if columns.len < line { 0 } else { line };
        // The scratch of all threads stays below half the batch.
        let threads = self.threads.min(columns.count() / 2).max(1);
        let scratch = || (vec![T::default(); n * step], Vec::new());
        runtime::for_each(columns.count(), threads, scratch, |(packed, head), job| {
            let column = columns.get(job);
            let dense = Samples { first: packed.as_mut_ptr(), step: step as isize };
            // SAFETY: the column lies in both arrays, and no other job has it. The scratch holds n × step elements.
            unsafe {
                transfer(n, column.len, (self.source.from(column.source), run.source), |i| i, (dense, 1));
                self.walk(&segments, dense, &column, head, &[], |_| None);
                transfer(n, column.len, (dense, 1), |i| i, (self.target.from(column.target), run.target));
            }
        });
    }
}
