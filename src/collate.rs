//! Mixing while stacking: samples that lie anywhere in memory, blended straight into one new batch.
//!
//! Each sample is read, blended with its partner and written once. The samples are visited along their partners (see
//! [`crate::order`]) in columns, so that the partner of one, which is the next, is still in the cache. Pixels may be
//! normalised in the same pass.

use half::{bf16, f16};
use ndarray::{ArrayViewMut, IxDyn, RawArrayView};

use crate::cut::Box;
use crate::element::{Element, narrow_bf16, narrow_f16};
use crate::error::{MixError, Result};
use crate::kernel::vectorised::Loop;
use crate::kernel::{Ahead, Cache, Level, Recipe, blend_into, vectorised};
use crate::mix::{JOBS_PER_THREAD, worth};
use crate::plan::MixPlan;
use crate::threads;

/// Bytes of one sample in a column. Normalising 64 × 3 × 224 × 224 bytes to float32 takes 3.3 ms, and 4.4 in the
/// shorter columns that [`crate::mix`] cuts.
const COLUMN_BYTES: usize = 64 << 10;

/// What samples can be normalised from.
pub trait Pixel: Element {
    /// What 1 is in these units: integers count from 0 to their largest, floats lie where they lie.
    const UNIT: f64;
    /// Exact.
    fn to_f64(self) -> f64;
}
impl Pixel for u8 {
    const UNIT: f64 = 255.0;
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.into()
    }
}
impl Pixel for f32 {
    const UNIT: f64 = 1.0;
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.into()
    }
}

/// What normalised samples are rounded to.
pub trait Normal: Copy + Send + Sync {
    /// To nearest.
    fn round(value: f64) -> Self;
}
impl Normal for f32 {
    #[inline(always)]
    fn round(value: f64) -> Self {
        value as Self
    }
}
impl Normal for f16 {
    #[inline(always)]
    fn round(value: f64) -> Self {
        Self::from_bits(narrow_f16(value as f32))
    }
}
impl Normal for bf16 {
    #[inline(always)]
    fn round(value: f64) -> Self {
        Self::from_bits(narrow_bf16(value as f32))
    }
}

/// (pixel / unit − mean) / std for each channel, where a pixel of 255 is 1 if it is a byte, and itself if it is a
/// float.
#[derive(Debug, Clone)]
pub struct Normalize {
    /// Of each channel.
    channels: Vec<(f64, f64)>,
}

impl Normalize {
    /// One mean and one standard deviation for all channels, or one for each.
    pub fn new(mean: Vec<f64>, std: Vec<f64>) -> Result<Self> {
        let is_std = |std: &f64| std.is_finite() && *std > 0.0;
        if mean.len() != std.len() || mean.is_empty() || !mean.iter().all(|mean| mean.is_finite()) {
            return Err(MixError::Normalize { mean, std });
        }
        if !std.iter().all(is_std) {
            return Err(MixError::Normalize { mean, std });
        }
        Ok(Self { channels: mean.into_iter().zip(std).collect() })
    }

    /// The factors and summands for pixels in these units, of samples of this shape.
    fn table(&self, unit: f64, shape: &[usize]) -> Result<Table> {
        let count = self.channels.len();
        let terms: Vec<(f64, f64)> = self.channels.iter().map(|(mean, std)| (1.0 / unit / std, -mean / std)).collect();
        let size: usize = shape.iter().product();
        let repeated = |terms: &[(f64, f64)]| -> Terms { terms.iter().copied().cycle().take(PATTERN + count).unzip() };
        if count == 1 {
            Ok(Table { inner: size, period: 1, patterns: vec![repeated(&terms)] })
        } else if shape.first() == Some(&count) {
            let patterns = terms.chunks(1).map(repeated).collect();
            Ok(Table { inner: size / count, period: 1, patterns })
        } else if shape.last() == Some(&count) {
            Ok(Table { inner: size, period: count, patterns: vec![repeated(&terms)] })
        } else {
            Err(MixError::Channels { got: shape.to_vec(), expected: count })
        }
    }
}

/// Elements that are normalised at once, by factors that lie ready.
const PATTERN: usize = 256;

type Terms = (Vec<f64>, Vec<f64>);

/// Factors and summands as they repeat along a sample: a pattern for every `inner` elements, of that period.
struct Table {
    inner: usize,
    period: usize,
    patterns: Vec<Terms>,
}

/// What is done with a stretch of a sample that starts at element `at`, while what is needed next is fetched.
trait Finish<T>: Sync {
    type Out: Send;
    fn finish(&self, level: Level, lam: f64, out: &mut [Self::Out], runs: Runs<'_, T>);
}

/// A stretch of a sample and of its partner, where it starts, and what comes next.
struct Runs<'a, T> {
    own: &'a [T],
    partner: &'a [T],
    at: usize,
    ahead: Option<Ahead<T>>,
}

/// Blended, nothing else.
struct Blended;

impl<T: Element> Finish<T> for Blended {
    type Out = T;
    fn finish(&self, level: Level, lam: f64, out: &mut [T], runs: Runs<'_, T>) {
        blend_into(level, Recipe::new::<T>(lam), out, runs.own, runs.partner, runs.ahead);
    }
}

struct Normalized<O> {
    table: Table,
    out: std::marker::PhantomData<fn() -> O>,
}

impl<T: Pixel, O: Normal> Finish<T> for Normalized<O> {
    type Out = O;
    fn finish(&self, level: Level, lam: f64, out: &mut [O], Runs { own, partner, at, ahead }: Runs<'_, T>) {
        let Table { inner, period, patterns } = &self.table;
        let mut done = 0;
        while done < out.len() {
            let (pattern, within) = ((at + done) / inner, (at + done) % inner);
            let len = PATTERN.min(inner - within).min(out.len() - done);
            let (factors, summands) = &patterns[pattern];
            let phase = within % period;
            let stretch = done..done + len;
            if let Some(ahead) = ahead {
                ahead.skip(done).fetch(len);
            }
            let run = Run {
                out: &mut out[stretch.clone()],
                own: &own[stretch.clone()],
                partner: &partner[stretch],
                lam,
                factors: &factors[phase..][..len],
                summands: &summands[phase..][..len],
            };
            vectorised(level, run);
            done += len;
        }
    }
}

/// A stretch to blend and normalise, in float64, rounded once.
struct Run<'a, T, O> {
    out: &'a mut [O],
    own: &'a [T],
    partner: &'a [T],
    lam: f64,
    factors: &'a [f64],
    summands: &'a [f64],
}

impl<T: Pixel, O: Normal> Loop for Run<'_, T, O> {
    #[inline(always)]
    fn run(self) {
        let Run { out, own, partner, lam, factors, summands } = self;
        let terms = factors.iter().zip(summands);
        if lam == 1.0 || lam == 0.0 {
            let from = if lam == 1.0 { own } else { partner };
            for ((out, pixel), (factor, summand)) in out.iter_mut().zip(from).zip(terms) {
                *out = O::round(pixel.to_f64() * factor + summand);
            }
            return;
        }
        let (near, far) = if lam >= 0.5 { (own, partner) } else { (partner, own) };
        let weight = lam.min(1.0 - lam);
        for (((out, near), far), (factor, summand)) in out.iter_mut().zip(near).zip(far).zip(terms) {
            let (near, far) = (near.to_f64(), far.to_f64());
            *out = O::round((near - (near - far) * weight) * factor + summand);
        }
    }
}

/// Copies samples, which may lie in memory in any order, to C order one after the other, on at most `limit` threads.
///
/// # Safety
/// The samples must be valid for reads and of one shape, and `target` for writes of all their elements, which overlap
/// no sample.
#[allow(unsafe_code)]
pub unsafe fn gather<T: Copy + Send + Sync>(samples: &[RawArrayView<T, IxDyn>], target: *mut T, limit: usize) {
    let Some(first) = samples.first() else { return };
    let (len, shape) = (first.len(), first.raw_dim());
    let target = Target(target);
    let samples: Vec<_> = samples
        .iter()
        // SAFETY: as required above.
        .map(|sample| unsafe { sample.clone().deref_into_view() })
        .collect();
    let bytes = 2 * samples.len() * len * size_of::<T>();
    threads::for_each(
        samples.len(),
        worth(bytes, limit),
        || (),
        |(), i| {
            // SAFETY: as required above; this job alone has this sample.
            let mut copy = unsafe { ArrayViewMut::from_shape_ptr(shape.clone(), target.at(i * len)) };
            copy.assign(&samples[i]);
        },
    );
}

impl MixPlan {
    /// Stacks samples, each the elements of `shape` in C order, into `batch`, mixed, on at most `limit` threads.
    /// `spatial_axes`, of the batch, serve the boxes of CutMix alone, and must follow one another.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan};
    ///
    /// let plan = MixPlan::new(Lam::Each(vec![0.75, 1.0]), vec![1, 0])?;
    /// let mut batch = [0; 4];
    /// plan.collate(&[&[8, 0], &[0, 4]], &[2], [-2, -1], &mut batch, 1)?;
    /// assert_eq!(batch, [6, 1, 0, 4_u8]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    pub fn collate<T: Element>(
        &self,
        samples: &[&[T]],
        shape: &[usize],
        spatial_axes: [isize; 2],
        batch: &mut [T],
        limit: usize,
    ) -> Result<()> {
        self.stack(samples, shape, spatial_axes, batch, limit, &Blended)
    }

    /// As [`MixPlan::collate`], and normalises the mixed pixels in the same pass: the mean and standard deviation of
    /// each channel, which is the first axis of a sample or the last. Computed in float64 and rounded once.
    pub fn collate_normalized<T: Pixel, O: Normal>(
        &self,
        samples: &[&[T]],
        shape: &[usize],
        spatial_axes: [isize; 2],
        normalize: &Normalize,
        batch: &mut [O],
        limit: usize,
    ) -> Result<()> {
        let table = normalize.table(T::UNIT, shape)?;
        let finish = Normalized { table, out: std::marker::PhantomData };
        self.stack(samples, shape, spatial_axes, batch, limit, &finish)
    }

    #[allow(unsafe_code)]
    fn stack<T: Element, F: Finish<T>>(
        &self,
        samples: &[&[T]],
        shape: &[usize],
        spatial_axes: [isize; 2],
        batch: &mut [F::Out],
        limit: usize,
        finish: &F,
    ) -> Result<()> {
        self.check_batch(&[samples.len()])?;
        let len: usize = shape.iter().product();
        assert!(samples.iter().all(|sample| sample.len() == len) && batch.len() == samples.len() * len);
        let rows = match self.boxes() {
            Some(_) => Some(self.rows(shape, spatial_axes)?),
            None => None,
        };
        if batch.is_empty() {
            return Ok(());
        }
        let (level, order) = (Level::current(), self.visiting_order());
        // Boxes are cut sample by sample.
        let column = if rows.is_some() { len } else { (COLUMN_BYTES / size_of::<T>()).min(len) };
        let threads = worth(size_of_val(batch), limit);
        let parts = if threads > 1 { (threads * JOBS_PER_THREAD).min(order.len()) } else { 1 };
        let part = order.len().div_ceil(parts);
        let target = Target(batch.as_mut_ptr());
        threads::for_each(
            len.div_ceil(column) * parts,
            threads,
            || (),
            |(), job| {
                let (start, first) = (job / parts * column, job % parts * part);
                let end = (start + column).min(len);
                let visited = &order[first.min(order.len())..(first + part).min(order.len())];
                for (at, &i) in visited.iter().enumerate() {
                    let (own, partner) = (samples[i], samples[self.partner()[i]]);
                    // SAFETY: within the batch, of n × len elements; this job alone has these samples of this column.
                    let out = unsafe { std::slice::from_raw_parts_mut(target.at(i * len + start), end - start) };
                    let lam = if self.partner()[i] == i || rows.is_some() { 1.0 } else { self.lam()[i] };
                    let next = visited.get(at + 1).map(|&next| &samples[self.partner()[next]][start..end]);
                    // Samples come from anywhere in memory: as if the batch were in no cache.
                    let ahead = next.map(|next| Ahead::new(next.as_ptr(), Cache::best(size_of_val(next), usize::MAX)));
                    let runs = Runs { own: &own[start..end], partner: &partner[start..end], at: start, ahead };
                    finish.finish(level, lam, out, runs);
                    if let (Some(rows), Some(boxes)) = (&rows, self.boxes()) {
                        for row in rows.of(boxes[i]) {
                            let (own, partner) = (&own[row.clone()], &partner[row.clone()]);
                            let runs = Runs { own, partner, at: row.start, ahead: None };
                            finish.finish(level, 0.0, &mut out[row], runs);
                        }
                    }
                }
            },
        );
        Ok(())
    }

    /// How boxes lie in samples of this shape.
    fn rows(&self, shape: &[usize], spatial_axes: [isize; 2]) -> Result<Rows> {
        let mut batch_shape = vec![self.len()];
        batch_shape.extend_from_slice(shape);
        let [y, x] = self.spatial_axes_of(&batch_shape, spatial_axes)?.map(|axis| axis - 1);
        if x != y + 1 {
            return Err(MixError::SpatialAxesApart { axes: spatial_axes });
        }
        let inner = shape[x + 1..].iter().product();
        Ok(Rows { outer: shape[..y].iter().product(), height: shape[y], width: shape[x], inner })
    }
}

/// Samples of outer × height × width × inner elements.
struct Rows {
    outer: usize,
    height: usize,
    width: usize,
    inner: usize,
}

impl Rows {
    /// The stretches of elements that a box covers.
    fn of(&self, [y0, x0, y1, x1]: Box) -> impl Iterator<Item = std::ops::Range<usize>> {
        let start = move |outer: usize, y: usize, x: usize| ((outer * self.height + y) * self.width + x) * self.inner;
        (0..self.outer).flat_map(move |outer| (y0..y1).map(move |y| start(outer, y, x0)..start(outer, y, x1)))
    }
}

/// The first element of a batch.
struct Target<T>(*mut T);

// SAFETY: the jobs write to disjoint parts.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Target<T> {}

impl<T> Target<T> {
    fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{CutMix, Lam, Mixup, Mode};
    use crate::sample::Key;
    use ndarray::Array;

    fn stack(n: usize, shape: &[usize]) -> ndarray::ArrayD<u8> {
        let mut value = 0_u8;
        Array::from_shape_simple_fn(IxDyn(&[&[n], shape].concat()), || {
            value = value.wrapping_mul(101).wrapping_add(17);
            value
        })
    }

    #[test]
    fn collating_is_stacking_and_mixing_on_any_number_of_threads() {
        let shape = [3, 40, 30];
        let cut = CutMix { mode: Mode::Elem, ..CutMix::default() };
        for n in [1, 2, 9] {
            let batch = stack(n, &shape);
            let samples: Vec<&[u8]> = batch.as_slice().unwrap().chunks(3600).collect();
            let given = MixPlan::new(Lam::Each((0..n).map(|i| [0.3, 1.0, 0.0][i % 3]).collect()), vec![0; n]).unwrap();
            let drawn = MixPlan::mixup(n, &Mixup::default(), Key::new(&[1])).unwrap();
            let boxes = MixPlan::cutmix(n, 40, 30, &cut, Key::new(&[1])).unwrap();
            for plan in [given, drawn, boxes] {
                let expected = plan.apply(batch.view()).unwrap();
                for threads in [1, 2, 8] {
                    let mut got = vec![0; batch.len()];
                    plan.collate(&samples, &shape, [-2, -1], &mut got, threads).unwrap();
                    assert_eq!(got, expected.as_slice().unwrap());
                }
            }
        }
    }

    #[test]
    fn views_are_gathered_in_c_order() {
        let images = stack(9, &[600, 400, 3]);
        assert!(worth(2 * images.len(), 8) > 1, "enough for several threads");
        let views = images.view().permuted_axes(vec![0, 3, 1, 2]);
        let samples: Vec<_> = views.outer_iter().map(|view| view.raw_view()).collect();
        for threads in [1, 2, 8] {
            let mut got = vec![0; images.len()];
            // SAFETY: `images` and `got` live, and have so many elements.
            #[allow(unsafe_code)]
            unsafe {
                gather(&samples, got.as_mut_ptr(), threads);
            }
            assert!(views.iter().eq(&got));
        }
    }

    #[test]
    fn long_samples_are_collated_alike_by_several_threads() {
        let (n, len) = (45, 50_001);
        let batch = Array::from_shape_fn((n, len), |(i, j)| (i * 31 + j * 7) as f32);
        let samples: Vec<&[f32]> = batch.as_slice().unwrap().chunks(len).collect();
        let plan = MixPlan::mixup(n, &Mixup::default(), Key::new(&[1])).unwrap();
        let expected = plan.apply(batch.view()).unwrap();
        for threads in [1, 2, 3] {
            let mut got = vec![f32::NAN; n * len];
            plan.collate(&samples, &[len], [-2, -1], &mut got, threads).unwrap();
            assert!(got == expected.as_slice().unwrap());
        }
    }

    #[test]
    fn boxes_lie_in_images_of_either_order() {
        let how = CutMix { mode: Mode::Elem, minmax: Some((0.2, 0.8)), ..CutMix::default() };
        let plan = MixPlan::cutmix(5, 20, 30, &how, Key::new(&[1])).unwrap();
        for (shape, axes) in [([3, 20, 30], [2, 3]), ([20, 30, 3], [1, 2])] {
            let batch = stack(5, &shape);
            let samples: Vec<&[u8]> = batch.as_slice().unwrap().chunks(1800).collect();
            let mut got = vec![0; batch.len()];
            plan.collate(&samples, &shape, axes, &mut got, 1).unwrap();
            let mut expected = batch.clone();
            for (at, value) in expected.indexed_iter_mut() {
                let ([y0, x0, y1, x1], [y, x]) = (plan.boxes().unwrap()[at[0]], axes.map(|axis| at[axis as usize]));
                if (y0..y1).contains(&y) && (x0..x1).contains(&x) {
                    let mut there = at.clone();
                    there[0] = plan.partner()[at[0]];
                    *value = batch[there];
                }
            }
            assert_eq!(got, expected.as_slice().unwrap(), "{shape:?}");
        }
    }

    /// Normalised samples against the formula in float64, within `error` of the largest.
    fn check_normalized<T: Pixel + Into<f64>, O: Normal + Into<f64>>(
        value: impl Fn(usize) -> T,
        shape: &[usize],
        error: f64,
    ) {
        let (mean, std) = ([0.5, 0.25, 0.4], [0.25, 0.5, 0.125]);
        let lam = [0.3, 0.7, 1.0, 0.0, 0.5];
        let plan = MixPlan::new(Lam::Each(lam.to_vec()), vec![1, 2, 3, 4, 0]).unwrap();
        let len: usize = shape.iter().product();
        let pixels: Vec<T> = (0..5 * len).map(value).collect();
        let samples: Vec<&[T]> = pixels.chunks(len).collect();
        for channels in [1, 3] {
            let normalize = Normalize::new(mean[..channels].to_vec(), std[..channels].to_vec()).unwrap();
            let mut out: Vec<O> = vec![O::round(f64::NAN); 5 * len];
            plan.collate_normalized(&samples, shape, [-2, -1], &normalize, &mut out, 1).unwrap();
            for (at, got) in out.into_iter().enumerate() {
                let (i, k) = (at / len, at % len);
                let channel = match channels {
                    1 => 0,
                    _ if shape[0] == 3 => k / (len / 3),
                    _ => k % 3,
                };
                let [own, partner]: [f64; 2] = [samples[i][k], samples[(i + 1) % 5][k]].map(Into::into);
                let mixed = (lam[i] * own + (1.0 - lam[i]) * partner) / T::UNIT;
                let expected = (mixed - mean[channel]) / std[channel];
                let got: f64 = got.into();
                assert!((got - expected).abs() <= error, "{shape:?} {channels} {at}: {got}, not {expected}");
            }
        }
    }

    #[test]
    fn normalised_pixels_are_those_of_the_formula() {
        // More pixels in a channel than are normalised at once, and in a row no multiple of them.
        for shape in [[3, 20, 35], [20, 35, 3]] {
            let byte = |i: usize| (i * 101 % 256) as u8;
            check_normalized::<u8, f32>(byte, &shape, 1e-6);
            check_normalized::<u8, f16>(byte, &shape, 4e-3);
            check_normalized::<u8, bf16>(byte, &shape, 3e-2);
            check_normalized::<f32, f32>(|i| f32::from(byte(i)) / 255.0, &shape, 1e-6);
        }
        // And samples of more than one column.
        check_normalized::<u8, f32>(|i| (i * 101 % 256) as u8, &[3, 100, 301], 1e-6);
    }

    #[test]
    fn what_is_kept_does_not_meet_its_partner() {
        let normalize = Normalize::new(vec![0.0], vec![1.0]).unwrap();
        let plan = MixPlan::new(Lam::Each(vec![1.0, 0.0]), vec![1, 0]).unwrap();
        let mut out = [0.0_f32; 2];
        plan.collate_normalized(&[&[2.0], &[f32::NAN]], &[1], [-2, -1], &normalize, &mut out, 1).unwrap();
        assert_eq!(out, [2.0, 2.0]);
    }

    #[test]
    fn channels_come_first_or_last() {
        let normalize = Normalize::new(vec![0.5, 0.25], vec![0.5, 0.125]).unwrap();
        let plan = MixPlan::new(Lam::Shared(0.5), vec![0]).unwrap();
        let run = |shape: &[usize], pixels: &[f32]| {
            let mut out = vec![0.0_f32; pixels.len()];
            let done = plan.collate_normalized(&[pixels], shape, [-2, -1], &normalize, &mut out, 1);
            done.map(|()| out)
        };
        assert_eq!(run(&[2, 1, 3], &[0.5, 1.0, 0.0, 0.25, 0.5, 0.0]).unwrap(), [0.0, 1.0, -1.0, 0.0, 2.0, -2.0]);
        assert_eq!(run(&[1, 3, 2], &[0.5, 0.25, 1.0, 0.5, 0.0, 0.0]).unwrap(), [0.0, 0.0, 1.0, 2.0, -1.0, -2.0]);
        assert_eq!(run(&[3], &[0.0; 3]), Err(MixError::Channels { got: vec![3], expected: 2 }));
    }
}
