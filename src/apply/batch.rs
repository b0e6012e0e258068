//! A batch to be mixed: its memory, its plan, and the choice of a driver.
//!
//! The work is divided into *columns*: the same stretch of elements of every sample. Columns are independent of one
//! another. Within a column the samples are visited along their partners (see `plan::order`), so that each is read from
//! memory once, and mixing in place needs no more scratch than one sample's part of a column. There are four drivers:
//!
//! - *in place*: blend each sample with the next, the first of a cycle saved for the last;
//! - *apart*: the same walk, written to another array;
//! - *interleaved*, for samples side by side in memory (Fortran order): element by element, all samples at once;
//! - *packed*, for runs that are not contiguous in both arrays (a mirrored axis, C to Fortran order): gather the column
//!   of all samples, mix it in place, scatter it.
//!
//! With partners from another batch samples are mixed in any order, and in place nothing is saved (`other`).
//!
//! Each blends a sample by its weight, then takes its region from the partner: copies a box, blends by a mask (`masked`).
//! A box that holds the whole partner needs all of it at once, which a column does not have: `resized` fills it.
//!
//! If samples are too small to give every thread a column, the walk itself is divided among threads.

use std::sync::Arc;

use super::columns::{Column, Columns, Samples, Stretch};
use super::grid::Grid;
use super::layout::Layout;
use super::masked::Pixels;
use super::tuning::{
    COLUMN_BYTES_MIN, OTHER_COLUMN_BYTES, OTHER_LONG_BYTES, PAGE, column_bytes, fetched_to, lookahead,
};
use crate::arithmetic::Element;
use crate::plan::{Order, Rect, Region};
use crate::runtime::{self, Machine};
use crate::simd::{Ahead, CACHE_LINE, Cache, Level, MaskedRun, Recipe, blend_in_place, blend_into, blend_masked};

/// The plan of a batch, with one entry per sample.
#[derive(Clone, Copy)]
pub(crate) struct Mixing<'a> {
    pub weight: &'a [f64],
    pub partner: &'a [usize],
    /// Whether partners are samples of another batch.
    pub is_other: bool,
    pub order: &'a Order,
    pub regions: Option<(&'a [Region], &'a Grid)>,
}

impl Mixing<'_> {
    /// Whether a sample is its own partner, and so stays as it is.
    #[inline]
    pub fn is_alone(&self, i: usize) -> bool {
        self.partner[i] == i && !self.is_other
    }

    /// How a sample is blended outside its region.
    pub fn recipe<T: Element>(&self, i: usize) -> Recipe<T::Weight> {
        if self.is_alone(i) { Recipe::KeepOwn } else { Recipe::new::<T>(self.weight[i]) }
    }

    /// The region of a sample that comes from its partner, and the grid to find it by. Boxes that hold a resized partner
    /// are filled apart from these, see `resized`.
    #[inline]
    pub fn region(&self, i: usize) -> Option<(&Region, &Grid)> {
        let (regions, grid) = self.regions?;
        let is_mixed = |region: &Region| !self.is_alone(i) && matches!(region, Region::Box(_) | Region::Mask(_));
        Some((&regions[i], grid)).filter(|(region, _)| is_mixed(region))
    }

    /// Whether mixing may read all elements of a sample and of its partner, and not only those of a box.
    fn reads_all(&self, i: usize) -> bool {
        self.weight[i] != 1.0 || self.regions.is_some_and(|(regions, _)| regions[i].mask().is_some())
    }

    /// The pixels of the masks, if not all samples have the same one.
    fn different_masks(&self) -> Option<&Pixels> {
        let (regions, grid) = self.regions?;
        let mut masks = regions.iter().filter_map(Region::mask);
        let first = masks.next()?;
        masks.any(|mask| !Arc::ptr_eq(mask, first)).then_some(&grid.pixels)
    }

    /// Prefetches the mask of the sample that is mixed after this one, unless it is the same.
    #[inline]
    fn fetch_mask(&self, sample: usize, after: Option<&usize>, column: &Column) {
        let Some((regions, grid)) = self.regions else { return };
        let mask = |i: usize| regions[i].mask();
        if let Some(next) = after.and_then(|&after| mask(after))
            && mask(sample).is_none_or(|mask| !Arc::ptr_eq(mask, next))
        {
            grid.pixels.fetch(next, column.at..column.at + column.len);
        }
    }

    /// Mixes elements of a sample, from element `start` on: blends them by its weight, and takes its region.
    #[inline]
    pub fn mix<T: Element>(&self, level: Level, i: usize, start: usize, run: MaskedRun<'_, T>) {
        let region = self.region(i);
        let MaskedRun { out, own, partner, ahead } = run;
        if let Some((Region::Mask(mask), grid)) = region {
            return grid.pixels.shares(mask, start..start + out.len(), |at, shares| {
                let (own, ahead) = (own.map(|own| &own[at.clone()]), ahead.map(|ahead| ahead.skip(at.start)));
                let run = MaskedRun { out: &mut out[at.clone()], own, partner: &partner[at], ahead };
                blend_masked(level, run, shares);
            });
        }
        let recipe = self.recipe::<T>(i);
        match own {
            Some(own) => blend_into(level, recipe, out, own, partner, ahead),
            None => blend_in_place(level, recipe, out, partner, ahead),
        }
        if let Some((Region::Box(rect), grid)) = region {
            take_box(grid, rect, start, out, partner);
        }
    }
}

/// Copies the partner's elements over a box. Both slices hold the elements of a sample from `start` on.
#[inline]
pub(super) fn take_box<T: Copy>(grid: &Grid, rect: &Rect, start: usize, own: &mut [T], partner: &[T]) {
    for run in grid.runs(rect, start..start + own.len()) {
        let run = run.start - start..run.end - start;
        own[run.clone()].copy_from_slice(&partner[run]);
    }
}

/// Mixes `source` into `target`, on at most `limit` threads, with partners from `other` if given, else from `source`.
///
/// # Safety
/// All must be valid for the arrays that `layout` describes, `target` for reads and writes, the others for reads. No
/// two elements of the target may overlap. Source and target must be the same or not overlap, and `other` must not
/// overlap the target. `mixing` must hold `layout.n` weights, partners below the number of samples they come from, and
/// their order; its grid must be that of the layout.
#[allow(unsafe_code)]
pub(crate) unsafe fn mix<T: Element>(
    mixing: Mixing<'_>,
    layout: &Layout,
    source: *const T,
    other: Option<*const T>,
    target: *mut T,
    limit: usize,
) {
    let in_place = std::ptr::eq(source, target);
    let bytes = layout.size() * size_of::<T>();
    let arrays = if in_place { 1 } else { 2 } + usize::from(other.is_some());
    let threads = runtime::worth(arrays * bytes, limit);
    let source = Samples { first: source.cast_mut(), step: layout.source_step };
    let partners = Samples { first: other.map_or(source.first, <*const T>::cast_mut), step: layout.other_step };
    let target = Samples { first: target, step: layout.target_step };
    let (level, machine) = (Level::current(), Machine::current());
    let blends = (0..layout.n).any(|i| mixing.reads_all(i));
    let batch = Batch { mixing, layout, source, partners, target, bytes, threads, level, machine, blends };
    // SAFETY: as required above. The conditions that each driver adds are checked here.
    unsafe {
        if batch.is_interleaved() {
            batch.interleaved();
        } else if mixing.is_other && !layout.is_contiguous() {
            batch.packed_with_other();
        } else if mixing.is_other && in_place {
            batch.in_place_with_other();
        } else if !layout.is_contiguous() {
            batch.packed();
        } else if in_place {
            batch.in_place();
        } else {
            batch.apart();
        }
    }
}

pub(super) struct Batch<'a, T> {
    pub mixing: Mixing<'a>,
    pub layout: &'a Layout,
    pub source: Samples<T>,
    /// Where partners come from: the source, or another batch.
    pub partners: Samples<T>,
    pub target: Samples<T>,
    pub bytes: usize,
    pub threads: usize,
    pub level: Level,
    pub machine: &'a Machine,
    /// Whether any sample is blended, and not only cut: see [`Mixing::reads_all`].
    pub blends: bool,
}

/// How many samples before a run is fetched the plan's entries for it are, which say whether it is read at all. Mixing
/// 16,384 rows of 1 KiB in place takes 0.60 ms with 4 or 8, and 0.93 if they are looked up at once (Zen 5).
const ENTRIES: usize = 4;

impl<T: Element> Batch<'_, T> {
    pub(super) fn is_in_place(&self) -> bool {
        std::ptr::eq(self.source.first, self.target.first)
    }

    /// The columns of contiguous runs, and into how many parts to divide the walk through each.
    pub(super) fn columns(&self) -> (Columns<'_>, usize) {
        let jobs = runtime::jobs(self.threads);
        let run_bytes = self.layout.run.len * size_of::<T>();
        let (most, samples) = if self.mixing.is_other {
            (OTHER_COLUMN_BYTES, self.layout.n)
        } else {
            (column_bytes(self.machine, self.bytes), 1)
        };
        let fair = run_bytes * self.layout.runs() * samples / jobs;
        let bytes = fair.clamp(COLUMN_BYTES_MIN, most).next_multiple_of(CACHE_LINE);
        let lead = self.target.first as usize % PAGE;
        let mut columns = Columns::new(self.layout, bytes / size_of::<T>(), lead / size_of::<T>());
        if let Some(pixels) = self.mixing.different_masks() {
            // Those of the same pixels follow each other, so that masks are read from memory once for all channels.
            columns = columns.sorted_by_key(|at| pixels.pixel(at));
        }
        let parts = jobs.div_ceil(columns.count());
        (columns, parts)
    }

    /// The run to prefetch while the sample at place `at` of a stretch is blended, see [`Batch::upcoming`]. Also
    /// prefetches the plan's entries for a later sample, which are read in random order, and the mask of the next sample.
    pub(super) fn ahead(&self, at: usize, here: &Stretch, next: &Stretch) -> Option<Ahead<T>> {
        let (after, stretch) = if at + 1 < here.places.end { (at + 1, here) } else { (next.places.start, next) };
        self.mixing.fetch_mask(self.mixing.order.samples[at], self.mixing.order.samples.get(after), &stretch.column);
        let (place, sample, column @ &Column { source, other, len, .. }) = self.upcoming(at, here, next)?;
        if let Some(&later) = self.mixing.order.samples.get(place + ENTRIES) {
            Ahead::new(&raw const self.mixing.weight[later], Cache::First).fetch(1);
            Ahead::new(&raw const self.mixing.partner[later], Cache::First).fetch(1);
        }
        let in_place = self.is_in_place();
        let is_other = self.mixing.is_other;
        if is_other && len * size_of::<T>() >= OTHER_LONG_BYTES {
            return None;
        }
        let batch_bytes = if in_place { self.bytes } else { 2 * self.bytes };
        let to = fetched_to(self.machine, len * size_of::<T>(), batch_bytes, in_place)?;
        if if is_other { !self.mixing.reads_all(sample) } else { in_place && !self.is_read(place, sample) } {
            if !is_other && batch_bytes > self.machine.third {
                self.fetch_boxes(place, sample, column, to);
            }
            return None;
        }
        let (from, sample, offset) =
            if is_other { (self.partners, self.mixing.partner[sample], other) } else { (self.source, sample, source) };
        Some(Ahead::new(from.address(sample).wrapping_offset(offset), to))
    }

    /// Whether mixing in place reads all of the sample at this place of the order: whether it is blended itself, or the
    /// sample that it is the partner of. That of the first sample of a cycle is the last one, which is not looked up.
    fn is_read(&self, place: usize, sample: usize) -> bool {
        let reader = || self.reader(place, sample);
        self.blends && (self.mixing.reads_all(sample) || reader().is_none_or(|reader| self.mixing.reads_all(reader)))
    }

    /// The sample that is mixed before the one at this place of the order, if that is its partner.
    fn reader(&self, place: usize, sample: usize) -> Option<usize> {
        let before = place.checked_sub(1).map(|place| self.mixing.order.samples[place]);
        before.filter(|&before| self.mixing.partner[before] == sample)
    }

    /// Prefetches what the box of a sample and that of its reader take of it: rows too short for the hardware prefetcher.
    /// In place, 64 samples of 3 × 224 × 224 float32 with one box take 1.17 ms with it, and 1.65 without; 8 of them, which
    /// the cache holds, 0.095 and 0.064 (Zen 5).
    fn fetch_boxes(&self, place: usize, sample: usize, column: &Column, to: Cache) {
        let box_of = |of: usize| match self.mixing.region(of) {
            Some((Region::Box(rect), grid)) => Some((rect, grid)),
            _ => None,
        };
        let own = box_of(sample);
        let read =
            self.reader(place, sample).and_then(box_of).filter(|(rect, _)| own.is_none_or(|(own, _)| own != *rect));
        for (rect, grid) in own.into_iter().chain(read) {
            for run in grid.runs(rect, column.at..column.at + column.len) {
                let offset = column.source + (run.start - column.at) as isize;
                Ahead::new(self.source.address(sample).wrapping_offset(offset), to).fetch(run.len());
            }
        }
    }

    /// The place, the sample and its column that is read some samples after place `at` of a stretch: in this stretch, or
    /// in the one that this thread probably takes next. In a cycle each sample is first read as a partner. Repeated partners
    /// are left to the hardware prefetcher.
    fn upcoming<'a>(&self, at: usize, here: &'a Stretch, next: &'a Stretch) -> Option<(usize, usize, &'a Column)> {
        let place = at + 1 + lookahead::<T>(here.column.len);
        let (column, place) = if place < here.places.end {
            (&here.column, place)
        } else {
            (&next.column, next.places.start + (place - here.places.end))
        };
        self.mixing.order.samples.get(place).map(|&sample| (place, sample, column))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::runtime::Vendor;

    const MACHINE: &Machine = &Machine { vendor: Vendor::Other, first: 48 << 10, second: 2 << 20, third: 260 << 20 };

    /// Calls `look` with a batch of float32 whose memory is never accessed.
    pub(in crate::apply) fn look<R>(
        shape: &[usize],
        source: &[isize],
        target: &[isize],
        threads: usize,
        look: impl FnOnce(&Batch<'_, f32>) -> R,
    ) -> R {
        let layout = Layout::new(shape, source, target).unwrap();
        let samples = |step| Samples { first: std::ptr::null_mut(), step };
        look(&Batch {
            mixing: Mixing { weight: &[], partner: &[], is_other: false, order: &Order::new(&[]), regions: None },
            source: samples(layout.source_step),
            partners: samples(layout.source_step),
            target: samples(layout.target_step),
            layout: &layout,
            bytes: layout.size() * size_of::<f32>(),
            threads,
            level: Level::current(),
            machine: MACHINE,
            blends: true,
        })
    }

    #[test]
    fn samples_are_prefetched_in_visiting_order() {
        // A cycle, visited in the order 0, 3, 1, 2.
        let partner = [3, 2, 0, 1];
        let layout = Layout::new(&[4, 1000], &[1000, 1], &[1000, 1]).unwrap();
        let samples = Samples::<f32> { first: std::ptr::null_mut(), step: 1000 };
        let batch = Batch {
            mixing: Mixing {
                weight: &[0.5; 4],
                partner: &partner,
                is_other: false,
                order: &Order::new(&partner),
                regions: None,
            },
            layout: &layout,
            source: samples,
            partners: samples,
            target: samples,
            bytes: 16_000,
            threads: 1,
            level: Level::current(),
            machine: MACHINE,
            blends: true,
        };
        let columns = Columns::new(&layout, 500, 0);
        let stretch = |index, places| Stretch { column: columns.get(index), places };
        let upcoming = |at, here: &Stretch, next: &Stretch| {
            batch.upcoming(at, here, next).map(|(_, sample, column)| (sample, column.source))
        };
        // At 500 elements, two samples ahead of the one read now, which is the partner.
        let (here, next) = (stretch(0, 0..4), stretch(1, 0..4));
        let got = [0, 1, 2, 3].map(|at| upcoming(at, &here, &next));
        assert_eq!(got, [Some((2, 0)), Some((0, 500)), Some((3, 500)), Some((1, 500))]);
        // The third-level cache holds the batch.
        let start = samples.address(3).wrapping_add(500);
        assert_eq!(batch.ahead(2, &here, &next), Some(Ahead::new(start, Cache::FirstAlone)));
        // Long runs go to the second-level cache.
        let long = Layout::new(&[4, 3000], &[3000, 1], &[3000, 1]).unwrap();
        let whole = || Stretch { column: Columns::new(&long, 3000, 0).get(0), places: 0..4 };
        assert_eq!(batch.ahead(0, &whole(), &whole()), Some(Ahead::new(samples.address(1), Cache::Second)));
        // The next stretch is another part of the same column.
        let (here, next) = (stretch(1, 0..2), stretch(1, 2..4));
        assert_eq!([0, 1].map(|at| upcoming(at, &here, &next)), [Some((2, 500)), None]);
    }

    #[test]
    fn what_is_kept_in_place_is_read_as_a_partner_alone() {
        // A cycle of the samples 0, 1, 2, 3, and a pair.
        let (partner, weight) = ([1, 2, 3, 0, 5, 4], [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let order = Order::new(&partner);
        assert_eq!(order.samples, [0, 1, 2, 3, 4, 5]);
        let layout = Layout::new(&[6, 10], &[10, 1], &[10, 1]).unwrap();
        let read = |blends| {
            let samples = Samples::<f32> { first: std::ptr::null_mut(), step: 10 };
            let mixing = Mixing { weight: &weight, partner: &partner, is_other: false, order: &order, regions: None };
            let (source, target, level, machine) = (samples, samples, Level::current(), MACHINE);
            let (bytes, threads) = (240, 1);
            let batch = Batch {
                mixing,
                layout: &layout,
                source,
                partners: source,
                target,
                bytes,
                threads,
                level,
                machine,
                blends,
            };
            std::array::from_fn(|place| batch.is_read(place, place))
        };
        // The first of a cycle may be the partner of its last.
        assert_eq!(read(true), [true, true, false, false, true, false]);
        assert_eq!(read(false), [false; 6]);
    }

    /// The length of a column, the number of columns, and the number of parts of the walk through each.
    fn columns(shape: &[usize], strides: &[isize], threads: usize) -> (usize, usize, usize) {
        look(shape, strides, strides, threads, |batch| {
            let (columns, parts) = batch.columns();
            (columns.len, columns.count(), parts)
        })
    }

    #[test]
    fn columns_are_long_and_occupy_all_threads() {
        // On one thread, 8 KiB of a sample, or 48.
        assert_eq!(columns(&[3, 32_000], &[32_000, 1], 1), (2048, 16, 1));
        assert_eq!(columns(&[1024, 32_768], &[32_768, 1], 1), (2048, 16, 1));
        assert_eq!(columns(&[1025, 32_768], &[32_768, 1], 1), (12_288, 3, 1));
        // On several threads, four columns for each.
        assert_eq!(columns(&[3, 12_000], &[12_000, 1], 2), (1504, 8, 1));
        assert_eq!(columns(&[3, 2, 32_000], &[99_000, 33_000, 1], 2), (2048, 32, 1));
        // But at least 4 KiB each: then the samples are divided among threads.
        assert_eq!(columns(&[3, 1000], &[1000, 1], 2), (1000, 1, 8));
        assert_eq!(columns(&[3, 4, 1500], &[8000, 2000, 1], 2), (1024, 8, 1));
    }

    #[test]
    fn long_runs_beside_another_batch_are_left_to_the_hardware_prefetcher() {
        let of = |shape: &[usize], threads| {
            look(shape, &[shape[1] as isize, 1], &[shape[1] as isize, 1], threads, |batch| {
                let (weight, partner, order) = (vec![0.5; shape[0]], vec![0; shape[0]], Order::new(&vec![0; shape[0]]));
                let mixing =
                    Mixing { weight: &weight, partner: &partner, is_other: true, order: &order, regions: None };
                let batch = Batch { mixing, ..*batch };
                let (columns, parts) = batch.columns();
                let here = Stretch { column: columns.get(0), places: 0..shape[0] };
                let next = Stretch { column: columns.get(0), places: 0..shape[0] };
                (columns.len, columns.count(), parts, batch.ahead(0, &here, &next).is_some())
            })
        };
        // Columns of 1 MiB; samples are divided among threads, and the runs of too few.
        assert_eq!(of(&[64, 150_528], 1), (150_528, 1, 1, false));
        assert_eq!(of(&[64, 1 << 20], 1), (1 << 18, 4, 1, false));
        assert_eq!(of(&[64, 150_528], 2), (150_528, 1, 8, false));
        assert_eq!(of(&[2, 150_528], 2), (37_632, 4, 2, false));
        assert_eq!(of(&[64, 256], 1), (256, 1, 1, true));
    }

    #[test]
    fn columns_start_at_page_boundaries() {
        let layout = Layout::new(&[3, 6000], &[6000, 1], &[6000, 1]).unwrap();
        let lengths = |address: usize| {
            let samples = Samples { first: std::ptr::without_provenance_mut::<f32>(address), step: 6000 };
            let mixing = Mixing { weight: &[], partner: &[], is_other: false, order: &Order::new(&[]), regions: None };
            let (source, target, level) = (samples, samples, Level::current());
            let (bytes, threads, machine) = (72_000, 1, MACHINE);
            let batch = Batch {
                mixing,
                layout: &layout,
                source,
                partners: source,
                target,
                bytes,
                threads,
                level,
                machine,
                blends: true,
            };
            let (columns, _) = batch.columns();
            (0..columns.count()).map(|index| columns.get(index).len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(3 * PAGE), [2048, 2048, 1904]);
        assert_eq!(lengths(3 * PAGE + 16), [2044, 2048, 1908]);
        assert_eq!(lengths(4 * PAGE - 8), [1026, 2048, 2048, 878]);
    }
}
