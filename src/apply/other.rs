//! The drivers for partners from another batch. No sample is read after it is overwritten, so samples are mixed in any
//! order, and none is saved.

use super::batch::Batch;
use super::columns::{Columns, Samples, Stretch, transfer};
use super::tuning::PACKED_BYTES;
use crate::arithmetic::Element;
use crate::runtime;
use crate::simd::{CACHE_LINE, MaskedRun};

#[allow(unsafe_code)]
impl<T: Element> Batch<'_, T> {
    /// # Safety
    /// As for [`super::batch::mix`], with contiguous runs, source and target the same, and partners from another batch.
    pub(super) unsafe fn in_place_with_other(&self) {
        let (columns, parts) = self.columns();
        let n = self.layout.n;
        let part = n.div_ceil(parts);
        let parts = n.div_ceil(part);
        let stretch = |job: usize| {
            let start = job % parts * part;
            Stretch { column: columns.get(job / parts), places: start..(start + part).min(n) }
        };
        let jobs = columns.count() * parts;
        runtime::for_each(
            jobs,
            self.threads,
            || (),
            |(), job| {
                let (here, next) = (stretch(job), stretch((job + 1) % jobs));
                let column = &here.column;
                for i in here.places.clone() {
                    // SAFETY: the column lies in both arrays, which do not overlap. No other job has these samples of it.
                    let (out, partner) = unsafe {
                        let partner = self.partners.from(column.other).get(self.mixing.partner[i], column.len);
                        (self.target.from(column.target).get_mut(i, column.len), partner)
                    };
                    let ahead = self.ahead(i, &here, &next);
                    self.mixing.mix(self.level, i, column.at, MaskedRun { out, own: None, partner, ahead });
                }
            },
        );
    }

    /// Gathers some samples and their partners, mixes them, and scatters them.
    ///
    /// # Safety
    /// As for [`super::batch::mix`], with partners from another batch.
    pub(super) unsafe fn packed_with_other(&self) {
        const ROWS: usize = 64;
        let (n, run) = (self.layout.n, self.layout.run);
        let rows = n.min(ROWS);
        let columns = Columns::new(self.layout, PACKED_BYTES / (2 * rows * size_of::<T>()), 0);
        let parts = n.div_ceil(rows);
        // As in `packed`.
        let line = CACHE_LINE / size_of::<T>();
        let step = columns.len + if columns.len < line { 0 } else { line };
        let scratch = || [vec![T::default(); rows * step], vec![T::default(); rows * step]];
        runtime::for_each(columns.count() * parts, self.threads, scratch, |[own, partners], job| {
            let (column, first) = (columns.get(job / parts), job % parts * rows);
            let (rows, partner) = (rows.min(n - first), |row: usize| self.mixing.partner[first + row]);
            let dense = |scratch: &mut Vec<T>| (Samples { first: scratch.as_mut_ptr(), step: step as isize }, 1);
            // SAFETY: the column lies in all arrays, and no other job has these samples of it. Each scratch holds
            // rows × step elements.
            unsafe {
                let source = (self.source.from(column.source), run.source);
                let target = (self.target.from(column.target + first as isize * self.target.step), run.target);
                transfer(rows, column.len, source, |row| first + row, dense(own));
                transfer(rows, column.len, (self.partners.from(column.other), run.other), partner, dense(partners));
                for row in 0..rows {
                    let at = row * step..row * step + column.len;
                    let run = MaskedRun { out: &mut own[at.clone()], own: None, partner: &partners[at], ahead: None };
                    self.mixing.mix(self.level, first + row, column.at, run);
                }
                transfer(rows, column.len, dense(own), |row| row, target);
            }
        });
    }
}
