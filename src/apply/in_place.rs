//! The driver that mixes in place, along the partners.

use super::batch::{Batch, take_box};
use super::columns::{Column, Samples, Stretch};
use crate::arithmetic::Element;
use crate::plan::{Last, Region, Segment};
use crate::runtime;
use crate::simd::{Ahead, MaskedRun, Recipe};

#[allow(unsafe_code)]
impl<T: Element> Batch<'_, T> {
    /// # Safety
    /// As for [`super::batch::mix`], with contiguous runs and source and target the same.
    pub(super) unsafe fn in_place(&self) {
        let (columns, parts) = self.columns();
        let order = self.mixing.order;
        let pieces = if parts > 1 { order.split(parts) } else { None };
        let Some(pieces) = pieces else {
            let whole: Vec<Segment> = order.segments().collect();
            let stretch = |job: usize| Stretch { column: columns.get(job), places: 0..order.mixed() };
            return runtime::for_each(columns.count(), self.threads, Vec::new, |head, job| {
                let (here, next) = (stretch(job), stretch((job + 1) % columns.count()));
                let (column, ahead) = (&here.column, |at| self.ahead(at, &here, &next));
                // SAFETY: the column lies in the array, and no other job has it.
                unsafe { self.walk(&whole, self.target.from(column.target), column, head, &[], ahead) };
            });
        };
        // Each piece reads the head of the next piece, so all heads are saved before any is overwritten.
        let heads: Vec<Vec<T>> = (0..columns.count())
            .map(|index| {
                let column = columns.get(index);
                let mut heads = Vec::with_capacity(pieces.len() * column.len);
                for piece in &pieces {
                    // SAFETY: the column lies in the array, which no job writes to yet.
                    let head = unsafe {
                        let samples = self.target.from(column.target);
                        samples.get(order.samples[piece.range.start], column.len)
                    };
                    heads.extend_from_slice(head);
                }
                heads
            })
            .collect();
        let stretch = |job: usize| {
            let places = pieces[job % pieces.len()].range.clone();
            Stretch { column: columns.get(job / pieces.len()), places }
        };
        let jobs = columns.count() * pieces.len();
        runtime::for_each(jobs, self.threads, Vec::new, |head, job| {
            let (index, piece) = (job / pieces.len(), job % pieces.len());
            let (here, next) = (stretch(job), stretch((job + 1) % jobs));
            let (column, ahead) = (&here.column, |at| self.ahead(at, &here, &next));
            // SAFETY: the column lies in the array. No other job has these samples of it, and this job reads the head
            // of the next piece from the saved copy.
            unsafe {
                let samples = self.target.from(column.target);
                self.walk(&pieces[piece..=piece], samples, column, head, &heads[index], ahead);
            }
        });
    }

    /// Mixes a column of the samples in these segments in place. `head` is scratch. `heads` holds the first samples of
    /// all segments, for [`Last::HeadOf`]. `ahead` returns the run to prefetch at a place.
    ///
    /// # Safety
    /// The elements of the column must be valid in all these samples, and no other thread may access them.
    pub(super) unsafe fn walk(
        &self,
        segments: &[Segment],
        samples: Samples<T>,
        column: &Column,
        head: &mut Vec<T>,
        heads: &[T],
        ahead: impl Fn(usize) -> Option<Ahead<T>>,
    ) {
        let (order, len) = (&self.mixing.order.samples, column.len);
        for Segment { range, last } in segments {
            if *last == Last::Head {
                // SAFETY: as required above.
                self.save(order[range.end - 1], column, unsafe { samples.get(order[range.start], len) }, head);
            }
            for at in range.clone() {
                let (i, is_last) = (order[at], at + 1 == range.end);
                // SAFETY: as required above. A sample in a segment is never its own partner, so the slices are
                // disjoint.
                let (own, in_batch) = unsafe { (samples.get_mut(i, len), |partner| samples.get(partner, len)) };
                let partner = match *last {
                    Last::InPlace => in_batch(self.mixing.partner[i]),
                    _ if !is_last => in_batch(order[at + 1]),
                    Last::Head => &head[..],
                    Last::HeadOf(segment) => &heads[segment * len..][..len],
                };
                let run = MaskedRun { out: own, own: None, partner, ahead: ahead(at) };
                self.mixing.mix(self.level, i, column.at, run);
            }
        }
    }

    /// Saves the elements of the first sample of a cycle that its last sample, `reader`, needs.
    fn save(&self, reader: usize, column: &Column, first: &[T], head: &mut Vec<T>) {
        match (self.mixing.recipe::<T>(reader), self.mixing.region(reader)) {
            (Recipe::KeepOwn, Some((Region::Box(rect), grid))) => {
                head.resize(first.len(), T::default());
                take_box(grid, rect, column.at, head, first);
            }
            _ => {
                head.clear();
                head.extend_from_slice(first);
            }
        }
    }
}
