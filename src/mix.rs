//! The drivers: a plan's λ and partners carried through a whole batch.
//!
//! The work is cut into *columns*, a stretch of elements across all samples, which do not depend on one another. Within
//! a column the samples are visited along their partners (see [`crate::order`]), so that each is read from memory once,
//! and in place needs no more than a column's worth of one sample as scratch. Four ways through a column:
//!
//! - *in place*: blend each sample with the next, the head of a cycle saved for its last;
//! - *apart*: the same walk, written to another array;
//! - *abreast*, where samples lie side by side (Fortran order): element by element, all samples at once;
//! - *packed*, where runs are not contiguous in both arrays (a mirrored axis, C to Fortran order): gather the column of
//!   all samples, mix that in place, scatter it.
//!
//! Where samples are too small to give every thread a column, the walk itself is cut into pieces.

use crate::columns::{Column, Columns, Samples, Stretch, transfer};
use crate::element::Element;
use crate::kernel::{Ahead, CACHE_LINE, Cache, Lanes, Level, Recipe, blend_in_place, blend_into, stream};
use crate::layout::Layout;
use crate::order::{Arc, Last, Order};
use crate::threads;

/// Bytes of one sample in a column. That of a partner is read again as the next one's own, so both should stay in the
/// first-level cache; where the batch does not stay in any, longer runs are worth more. In place, of 3 × 224 × 224
/// float32 on an Emerald Rapids, columns of 8, 16, 48 and 96 KiB take, in multiples of the time of scaling: 8 samples
/// 0.90, 0.98, 1.02, 1.14; 64 samples 0.97, 1.00, 1.03, 1.06; 170 samples 0.86, 0.88, 0.91, 0.88; 512 samples 1.33,
/// 1.24, 1.17, 1.15. (A Zen 3 preferred 64 KiB as long as columns began within a cache line, and nothing was fetched
/// across them.)
fn column_bytes(batch_bytes: usize) -> usize {
    const IN_CACHE: usize = 128 << 20;
    if batch_bytes <= IN_CACHE { 8 << 10 } else { 48 << 10 }
}

/// Columns are not cut finer than this to occupy more threads.
const COLUMN_BYTES_MIN: usize = 4 << 10;

/// Bytes of all samples in a packed column.
const PACKED_BYTES: usize = 64 << 10;

/// Lanes that a walk abreast blends at once, at least: several rows where there are few samples.
const ABREAST_LANES: usize = 256;

/// Columns begin where a page does, whose end the processor's own prefetcher does not cross.
const PAGE: usize = 4 << 10;

/// How far ahead of the blend the next samples are fetched, at least: several rows where they are short.
const AHEAD_BYTES: usize = 4 << 10;

/// Pieces of work per thread, so that one that is held up does not hold up all.
pub(crate) const JOBS_PER_THREAD: usize = 4;

/// Bytes that each thread passes through, at least, those of a new result counted beside those of the batch; what has
/// less than twice as many is mixed by the calling thread. Where the system wakes a thread beside the calling one, on
/// the same processor (an Emerald Rapids under a kernel that packs its processors), one thread and two take, in place,
/// 27 and 33 µs for 1 MiB, 58 and 60 for 2 MiB, 154 and 150 for 4 MiB; where the other thread is awake, 163 and 79 for
/// 4.6 MiB.
pub const BYTES_PER_THREAD: usize = 2 << 20;

/// How many threads so many bytes to pass through are worth.
pub(crate) fn worth(bytes: usize, limit: usize) -> usize {
    limit.min(bytes / BYTES_PER_THREAD).max(1)
}

/// Results above this are written past the cache: they would not stay in it. On a Zen 3 with 32 MiB of third-level
/// cache, through the cache and past it, in ms: 5 MB 0.26 and 0.47, 10 MB 0.89 and 0.88, 12 MB 1.30 and 1.14, 38 MB 4.5
/// and 3.5.
const STREAM_BYTES: usize = 10 << 20;

fn is_streamed(bytes: usize) -> bool {
    bytes >= STREAM_BYTES
}

/// Who is mixed with whom, and how much; one entry per sample.
#[derive(Clone, Copy)]
pub(crate) struct Mixing<'a> {
    pub lam: &'a [f64],
    pub partner: &'a [usize],
    pub order: &'a Order,
}

/// Mixes `source` into `target`, on at most `limit` threads.
///
/// # Safety
/// Both must be valid for the arrays that `layout` describes, `source` for reads and `target` for reads and writes, and
/// no element of the target may overlap another. Either they are the same array, or they do not overlap. `mixing` must
/// hold `layout.n` entries each, partners below that, and their order.
#[allow(unsafe_code)]
pub(crate) unsafe fn mix<T: Element>(
    mixing: Mixing<'_>,
    layout: &Layout,
    source: *const T,
    target: *mut T,
    limit: usize,
) {
    let in_place = std::ptr::eq(source, target);
    let (arrays, bytes) = (if in_place { 1 } else { 2 }, layout.size() * size_of::<T>());
    let threads = worth(arrays * bytes, limit);
    let source = Samples { first: source.cast_mut(), step: layout.source_step };
    let target = Samples { first: target, step: layout.target_step };
    let level = Level::current();
    let batch = Batch { mixing, layout, source, target, bytes, threads, level };
    // SAFETY: as required above; runs are contiguous where it is claimed.
    unsafe {
        if batch.is_abreast() {
            batch.abreast();
        } else if !layout.is_contiguous() {
            batch.packed();
        } else if in_place {
            batch.in_place();
        } else {
            batch.apart();
        }
    }
}

struct Batch<'a, T> {
    mixing: Mixing<'a>,
    layout: &'a Layout,
    source: Samples<T>,
    target: Samples<T>,
    bytes: usize,
    threads: usize,
    level: Level,
}

#[allow(unsafe_code)]
impl<T: Element> Batch<'_, T> {
    /// Columns of contiguous runs, and into how many pieces to cut the walk through each.
    fn columns(&self) -> (Columns<'_>, usize) {
        let jobs = if self.threads > 1 { self.threads * JOBS_PER_THREAD } else { 1 };
        let run_bytes = self.layout.run.len * size_of::<T>();
        let fair = run_bytes * self.layout.runs() / jobs;
        let bytes = fair.clamp(COLUMN_BYTES_MIN, column_bytes(self.bytes)).next_multiple_of(CACHE_LINE);
        let lead = self.target.first as usize % PAGE;
        let columns = Columns::new(self.layout, bytes / size_of::<T>(), lead / size_of::<T>());
        let parts = jobs.div_ceil(columns.count());
        (columns, parts)
    }

    fn recipe(&self, i: usize) -> Recipe<T::Weight> {
        if self.mixing.partner[i] == i { Recipe::KeepOwn } else { Recipe::new::<T>(self.mixing.lam[i]) }
    }

    /// # Safety
    /// As for [`mix`], with contiguous runs and source and target apart.
    unsafe fn apart(&self) {
        let (columns, parts) = self.columns();
        let samples = &self.mixing.order.samples;
        let part = samples.len().div_ceil(parts);
        let parts = samples.len().div_ceil(part);
        let streamed = is_streamed(self.bytes);
        let scratch = || streamed.then(stream::Scratch::new);
        let stretch = |job: usize| {
            let start = job % parts * part;
            Stretch { column: columns.get(job / parts), places: start..(start + part).min(samples.len()) }
        };
        let jobs = columns.count() * parts;
        threads::for_each(jobs, self.threads, scratch, |scratch, job| {
            let (here, next) = (stretch(job), stretch((job + 1) % jobs));
            let column = &here.column;
            // SAFETY: the column lies in both arrays, which do not overlap; no other job has these samples of it.
            unsafe {
                let (source, target) = (self.source.from(column.source), self.target.from(column.target));
                for at in here.places.clone() {
                    let i = samples[at];
                    let own = source.get(i, column.len);
                    let partner = source.get(self.mixing.partner[i], column.len);
                    let out = target.get_mut(i, column.len);
                    let ahead = self.ahead(at, &here, &next);
                    match scratch {
                        Some(scratch) => {
                            stream::blend_into(self.level, self.recipe(i), out, own, partner, ahead, scratch);
                        }
                        None => blend_into(self.level, self.recipe(i), out, own, partner, ahead),
                    }
                }
            }
            if streamed {
                stream::fence();
            }
        });
    }

    /// # Safety
    /// As for [`mix`], with contiguous runs and source and target the same.
    unsafe fn in_place(&self) {
        let (columns, parts) = self.columns();
        let order = self.mixing.order;
        let pieces = if parts > 1 { order.split(parts) } else { None };
        let Some(pieces) = pieces else {
            let whole: Vec<Arc> = order.arcs().collect();
            let stretch = |job: usize| Stretch { column: columns.get(job), places: 0..order.mixed() };
            return threads::for_each(columns.count(), self.threads, Vec::new, |head, job| {
                let (here, next) = (stretch(job), stretch((job + 1) % columns.count()));
                let (column, ahead) = (&here.column, |at| self.ahead(at, &here, &next));
                // SAFETY: the column lies in the array and no other job has it.
                unsafe { self.walk(&whole, self.target.from(column.target), column.len, head, &[], ahead) };
            });
        };
        // Each piece reads the head of the next, so all heads are saved before any is overwritten.
        let heads: Vec<Vec<T>> = (0..columns.count())
            .map(|index| {
                let column = columns.get(index);
                let mut heads = Vec::with_capacity(pieces.len() * column.len);
                for piece in &pieces {
                    // SAFETY: the column lies in the array, which nobody writes yet.
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
        threads::for_each(jobs, self.threads, Vec::new, |head, job| {
            let (index, piece) = (job / pieces.len(), job % pieces.len());
            let (here, next) = (stretch(job), stretch((job + 1) % jobs));
            let (column, ahead) = (&here.column, |at| self.ahead(at, &here, &next));
            // SAFETY: the column lies in the array; no other job has these samples of it, and of theirs this one reads
            // only the saved head.
            unsafe {
                let samples = self.target.from(column.target);
                self.walk(&pieces[piece..=piece], samples, column.len, head, &heads[index], ahead);
            }
        });
    }

    /// What to fetch while the sample at place `at` of a stretch is blended: what [`Batch::upcoming`] says, as well as
    /// the plan's entries for it, which are read in random order.
    fn ahead(&self, at: usize, here: &Stretch, next: &Stretch) -> Option<Ahead<T>> {
        let (sample, &Column { source, len, .. }) = self.upcoming(at, here, next)?;
        Ahead::new(&raw const self.mixing.lam[sample], Cache::First).fetch(1);
        Ahead::new(&raw const self.mixing.partner[sample], Cache::First).fetch(1);
        let to = Cache::best(len * size_of::<T>(), self.bytes);
        Some(Ahead::new(self.source.address(sample).wrapping_offset(source), to))
    }

    /// What will be read some samples after the one at place `at` of a stretch: a sample and the column of it, in this
    /// stretch or in the one that this thread will probably have next. In a cycle each is read first as a partner;
    /// where partners repeat, they are left to the processor.
    fn upcoming<'a>(&self, at: usize, here: &'a Stretch, next: &'a Stretch) -> Option<(usize, &'a Column)> {
        let place = at + 1 + lookahead::<T>(here.column.len);
        let (column, place) = if place < here.places.end {
            (&here.column, place)
        } else {
            (&next.column, next.places.start + (place - here.places.end))
        };
        self.mixing.order.samples.get(place).map(|&sample| (sample, column))
    }

    /// Mixes the first `len` elements of the samples in these arcs in place. `head` is scratch, `heads` holds those of
    /// all arcs where an arc refers to one; `ahead` says what to fetch meanwhile.
    ///
    /// # Safety
    /// The samples must have `len` elements, and nobody else may use them, but for the heads of other arcs.
    unsafe fn walk(
        &self,
        arcs: &[Arc],
        samples: Samples<T>,
        len: usize,
        head: &mut Vec<T>,
        heads: &[T],
        ahead: impl Fn(usize) -> Option<Ahead<T>>,
    ) {
        let order = &self.mixing.order.samples;
        for Arc { range, last } in arcs {
            if *last == Last::Head {
                head.clear();
                // SAFETY: as required above.
                head.extend_from_slice(unsafe { samples.get(order[range.start], len) });
            }
            for at in range.clone() {
                let (i, is_last) = (order[at], at + 1 == range.end);
                // SAFETY: as required above; a sample in an order is never its own partner within an arc, so the two
                // slices are disjoint.
                let (own, in_batch) = unsafe { (samples.get_mut(i, len), |partner| samples.get(partner, len)) };
                let partner = match *last {
                    Last::InPlace => in_batch(self.mixing.partner[i]),
                    _ if !is_last => in_batch(order[at + 1]),
                    Last::Head => &head[..],
                    Last::HeadOf(arc) => &heads[arc * len..][..len],
                };
                blend_in_place(self.level, Recipe::new::<T>(self.mixing.lam[i]), own, partner, ahead(at));
            }
        }
    }

    /// Whether the samples lie side by side, and one element of each is little enough for scratch.
    fn is_abreast(&self) -> bool {
        let n = self.layout.n;
        self.source.step == 1 && self.target.step == 1 && (2..=PACKED_BYTES / size_of::<T>()).contains(&n)
    }

    /// # Safety
    /// As for [`mix`], with samples side by side.
    unsafe fn abreast(&self) {
        let (n, run) = (self.layout.n, self.layout.run);
        let columns = Columns::new(self.layout, PACKED_BYTES / (n * size_of::<T>()), 0);
        // Rows that follow one another in both arrays are one longer row.
        let is_dense = [run.source, run.target] == [n as isize; 2];
        let rows = if is_dense { (ABREAST_LANES / n).clamp(1, columns.len) } else { 1 };
        let sample = |lane: usize| (lane - lane % n + self.mixing.partner[lane % n], self.recipe(lane % n));
        let lanes = Lanes::<T>::new((0..rows * n).map(sample));
        threads::for_each(
            columns.count(),
            self.threads,
            || lanes.scratch(),
            |gathered, job| {
                let column = columns.get(job);
                for at in (0..column.len).step_by(rows) {
                    let len = rows.min(column.len - at) * n;
                    let at = at as isize;
                    // SAFETY: the column lies in both arrays and no other job has it; what is read is gathered before
                    // anything is written.
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

    /// # Safety
    /// As for [`mix`].
    unsafe fn packed(&self) {
        let n = self.layout.n;
        let columns = Columns::new(self.layout, PACKED_BYTES / (n * size_of::<T>()), 0);
        let arcs: Vec<Arc> = self.mixing.order.arcs().collect();
        let run = self.layout.run;
        // A line between samples: at a power of two they would all compete for one cache set.
        let line = CACHE_LINE / size_of::<T>();
        let step = columns.len + if columns.len < line { 0 } else { line };
        // Scratch for all threads stays below half the batch.
        let threads = self.threads.min(columns.count() / 2).max(1);
        let scratch = || (vec![T::default(); n * step], Vec::new());
        threads::for_each(columns.count(), threads, scratch, |(packed, head), job| {
            let Column { source, target, len } = columns.get(job);
            let dense = Samples { first: packed.as_mut_ptr(), step: step as isize };
            // SAFETY: the column lies in both arrays and no other job has it; the scratch holds n × step elements.
            unsafe {
                transfer(n, len, (self.source.from(source), run.source), (dense, 1));
                self.walk(&arcs, dense, len, head, &[], |_| None);
                transfer(n, len, (dense, 1), (self.target.from(target), run.target));
            }
        });
    }
}

/// How many samples ahead of the one that is blended to fetch.
fn lookahead<T>(len: usize) -> usize {
    (AHEAD_BYTES / (len * size_of::<T>())).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a batch of float32 that is never touched.
    fn look<R>(
        shape: &[usize],
        source: &[isize],
        target: &[isize],
        threads: usize,
        look: impl FnOnce(&Batch<'_, f32>) -> R,
    ) -> R {
        let layout = Layout::new(shape, source, target).unwrap();
        let samples = |step| Samples { first: std::ptr::null_mut(), step };
        look(&Batch {
            mixing: Mixing { lam: &[], partner: &[], order: &Order::new(&[]) },
            source: samples(layout.source_step),
            target: samples(layout.target_step),
            layout: &layout,
            bytes: layout.size() * size_of::<f32>(),
            threads,
            level: Level::current(),
        })
    }

    #[test]
    fn what_stays_in_the_cache_is_not_streamed() {
        assert_eq!([1 << 20, 5 << 20, 32 << 20].map(is_streamed), [false, false, true]);
    }

    #[test]
    fn a_thread_is_worth_2_mib() {
        const MIB: usize = 1024 * 1024;
        assert_eq!([0, 4 * MIB - 1, 4 * MIB, 100 * MIB].map(|bytes| worth(bytes, 8)), [1, 1, 2, 8]);
    }

    #[test]
    fn samples_are_fetched_4_kib_ahead() {
        assert_eq!([16, 64, 1024, 100_000].map(lookahead::<f32>), [64, 16, 1, 1]);
    }

    #[test]
    fn what_is_fetched_is_read_soon() {
        // In the order 0, 3, 1, 2: a cycle.
        let partner = [3, 2, 0, 1];
        let layout = Layout::new(&[4, 1000], &[1000, 1], &[1000, 1]).unwrap();
        let samples = Samples::<f32> { first: std::ptr::null_mut(), step: 1000 };
        let batch = Batch {
            mixing: Mixing { lam: &[0.5; 4], partner: &partner, order: &Order::new(&partner) },
            layout: &layout,
            source: samples,
            target: samples,
            bytes: 16_000,
            threads: 1,
            level: Level::current(),
        };
        let columns = Columns::new(&layout, 500, 0);
        let stretch = |index, places| Stretch { column: columns.get(index), places };
        let upcoming = |at, here: &Stretch, next: &Stretch| {
            batch.upcoming(at, here, next).map(|(sample, column)| (sample, column.source))
        };
        // 500 elements are two samples ahead of the one that is read now, which is the partner.
        let (here, next) = (stretch(0, 0..4), stretch(1, 0..4));
        let got = [0, 1, 2, 3].map(|at| upcoming(at, &here, &next));
        assert_eq!(got, [Some((2, 0)), Some((0, 500)), Some((3, 500)), Some((1, 500))]);
        // Of a batch that the third-level cache holds.
        let start = samples.address(3).wrapping_add(500);
        assert_eq!(batch.ahead(2, &here, &next), Some(Ahead::new(start, Cache::FirstAlone)));
        // Long runs lie in the second, by their bytes.
        let long = Layout::new(&[4, 3000], &[3000, 1], &[3000, 1]).unwrap();
        let whole = || Stretch { column: Columns::new(&long, 3000, 0).get(0), places: 0..4 };
        assert_eq!(batch.ahead(0, &whole(), &whole()), Some(Ahead::new(samples.address(1), Cache::Second)));
        // In pieces, the next piece of the column.
        let (here, next) = (stretch(1, 0..2), stretch(1, 2..4));
        assert_eq!([0, 1].map(|at| upcoming(at, &here, &next)), [Some((2, 500)), None]);
    }

    /// The length of a column, how many there are, and into how many pieces the walk through each is cut.
    fn columns(shape: &[usize], strides: &[isize], threads: usize) -> (usize, usize, usize) {
        look(shape, strides, strides, threads, |batch| {
            let (columns, parts) = batch.columns();
            (columns.len, columns.count(), parts)
        })
    }

    #[test]
    fn columns_are_long_and_enough_for_all_threads() {
        // 8 KiB of a sample, or 48, on one thread.
        assert_eq!(columns(&[3, 32_000], &[32_000, 1], 1), (2048, 16, 1));
        assert_eq!(columns(&[1024, 32_768], &[32_768, 1], 1), (2048, 16, 1));
        assert_eq!(columns(&[1025, 32_768], &[32_768, 1], 1), (12_288, 3, 1));
        // Four for each of more threads.
        assert_eq!(columns(&[3, 12_000], &[12_000, 1], 2), (1504, 8, 1));
        assert_eq!(columns(&[3, 2, 32_000], &[99_000, 33_000, 1], 2), (2048, 32, 1));
        // But no less than 4 KiB: then samples are shared out.
        assert_eq!(columns(&[3, 1000], &[1000, 1], 2), (1000, 1, 8));
        assert_eq!(columns(&[3, 4, 1500], &[8000, 2000, 1], 2), (1024, 8, 1));
    }

    #[test]
    fn columns_begin_with_a_page() {
        let layout = Layout::new(&[3, 6000], &[6000, 1], &[6000, 1]).unwrap();
        let lengths = |address: usize| {
            let samples = Samples { first: std::ptr::without_provenance_mut::<f32>(address), step: 6000 };
            let mixing = Mixing { lam: &[], partner: &[], order: &Order::new(&[]) };
            let (source, target, level) = (samples, samples, Level::current());
            let batch = Batch { mixing, layout: &layout, source, target, bytes: 72_000, threads: 1, level };
            let (columns, _) = batch.columns();
            (0..columns.count()).map(|index| columns.get(index).len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(3 * PAGE), [2048, 2048, 1904]);
        assert_eq!(lengths(3 * PAGE + 16), [2044, 2048, 1908]);
        assert_eq!(lengths(4 * PAGE - 8), [1026, 2048, 2048, 878]);
    }

    #[test]
    fn samples_side_by_side_are_mixed_abreast() {
        let is_abreast = |n: usize, source: &[isize; 2], target: &[isize; 2]| {
            look(&[n, 3], source, target, 1, |batch| batch.is_abreast())
        };
        assert!(is_abreast(4, &[1, 4], &[1, 4]));
        assert!(is_abreast(4, &[1, 9], &[1, 4]));
        assert!(!is_abreast(4, &[3, 1], &[1, 4]));
        assert!(!is_abreast(4, &[1, 4], &[3, 1]));
        assert!(!is_abreast(4, &[3, 1], &[3, 1]));
        // One sample lies beside nobody; 64 KiB of samples are the most.
        assert!(!is_abreast(1, &[1, 1], &[1, 1]));
        assert!(is_abreast(16_384, &[1, 16_384], &[1, 16_384]));
        assert!(!is_abreast(16_385, &[1, 16_385], &[1, 16_385]));
    }
}
