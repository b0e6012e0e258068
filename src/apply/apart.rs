//! The driver that mixes into another array, along the partners, or with those of another batch.

use super::batch::Batch;
use super::columns::Stretch;
use super::tuning::{fetches_while_storing, is_streamed, stream_block_bytes};
use crate::arithmetic::Element;
use crate::plan::Region;
use crate::runtime;
use crate::simd::{MaskedRun, Recipe, stream};

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
        let fetches_while_storing = streamed && fetches_while_storing::<T>(self.machine);
        let block = stream_block_bytes::<T>(self.machine, 2 * self.bytes) / size_of::<T>();
        let scratch = || streamed.then(|| stream::Scratch::new(block));
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
                    let (while_blending, while_storing) =
                        if fetches_while_storing { (None, ahead) } else { (ahead, None) };
                    let mix = |from: usize, out: &mut [T]| {
                        let at = from..from + out.len();
                        let run = MaskedRun {
                            own: Some(&own[at.clone()]),
                            partner: &partner[at],
                            ahead: while_blending.map(|ahead| ahead.skip(from)),
                            out,
                        };
                        self.mixing.mix(self.level, i, column.at + from, run);
                    };
                    match (scratch.as_mut(), recipe) {
                        (None, _) => mix(0, out),
                        (Some(_), Recipe::KeepOwn) if region.is_none() => {
                            stream::copy(self.level, own, out, while_storing)
                        }
                        (Some(_), Recipe::TakePartner) if region.is_none() => {
                            stream::copy(self.level, partner, out, while_storing)
                        }
                        (Some(scratch), _) => stream::by_blocks(self.level, out, while_storing, scratch, mix),
                    }
                }
            }
            if streamed {
                stream::fence();
            }
        });
    }
}
