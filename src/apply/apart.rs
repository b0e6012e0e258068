//! The driver that mixes into another array, along the partners, or with those of another batch.

use super::batch::Batch;
use super::columns::Stretch;
use super::tuning::is_streamed;
use crate::arithmetic::Element;
use crate::plan::Region;
use crate::runtime;
use crate::simd::{MaskedRun, stream};

#[allow(unsafe_code)]
impl<T: Element> Batch<'_, T> {
    /// # Safety
    /// As for [`super::batch::mix`], with contiguous runs, and source and target that do not overlap.
    pub(super) unsafe fn apart(&self) {
        let (columns, parts) = self.columns();
        let samples = &self.mixing.order.samples;
        let part = samples.len().div_ceil(parts);
        let parts = samples.len().div_ceil(part);
        let streamed = is_streamed(self.machine, self.bytes);
        let scratch = || streamed.then(stream::Scratch::new);
        let stretch = |job: usize| {
            let start = job % parts * part;
            Stretch { column: columns.get(job / parts), places: start..(start + part).min(samples.len()) }
        };
        let jobs = columns.count() * parts;
        runtime::for_each(jobs, self.threads, scratch, |scratch, job| {
            let (here, next) = (stretch(job), stretch((job + 1) % jobs));
            let column = &here.column;
            // SAFETY: the column lies in all arrays, of which the target overlaps none. No other job has these samples of it.
            unsafe {
                let (source, target) = (self.source.from(column.source), self.target.from(column.target));
                let partners = self.partners.from(column.other);
                for at in here.places.clone() {
                    let i = samples[at];
                    let own = source.get(i, column.len);
                    let partner = partners.get(self.mixing.partner[i], column.len);
                    let out = target.get_mut(i, column.len);
                    let (recipe, ahead) = (self.mixing.recipe::<T>(i), self.ahead(at, &here, &next));
                    let region = self.mixing.region(i);
                    let is_copy = recipe.is_copy() && !matches!(region, Some((Region::Mask(_), _)));
                    // Where the cache holds the batch, a copy waits for nothing else: with the fetch, a cut of 8 images of
                    // float32 takes 1.2 times as long (Emerald Rapids).
                    let ahead = ahead.filter(|_| streamed || !is_copy);
                    let mix = |from: usize, out: &mut [T]| {
                        let at = from..from + out.len();
                        let run = MaskedRun {
                            own: Some(&own[at.clone()]),
                            partner: &partner[at],
                            ahead: ahead.map(|ahead| ahead.skip(from)),
                            out,
                        };
                        self.mixing.mix(self.level, i, column.at + from, run);
                    };
                    match scratch {
                        Some(scratch) if region.is_some() => stream::by_blocks(out, scratch, mix),
                        Some(scratch) => stream::blend_into(self.level, recipe, out, own, partner, ahead, scratch),
                        None => mix(0, out),
                    }
                }
            }
            if streamed {
                stream::fence();
            }
        });
    }
}
