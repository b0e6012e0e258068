//! The driver for more than one partner: weighted means.
//!
//! A mean is taken term by term, each blended with the mean of those before it by its share of their weights: by the
//! formula of two samples, whose properties it has. Terms of weight 0 are not read, equal ones stay as they are, and the
//! result is never outside of them. It is kept in the wide type until all are in, so that it is rounded once.
//!
//! Samples are mixed block by block: a block of all samples stays in the cache while each of them is read k times. In
//! place, it is copied first.

use super::columns::{Columns, Samples, transfer};
use super::layout::Layout;
use super::tuning::PACKED_BYTES;
use crate::arithmetic::Element;
use crate::plan::MixPlan;
use crate::runtime;
use crate::simd::CACHE_LINE;
use crate::simd::vectorised::{Loop, vectorised};
use crate::simd::{Level, Recipe};

/// The most elements of a block.
const BLOCK: usize = 1024;

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
        let means: Vec<Mean<T>> = (0..layout.n).map(|i| Mean::new(i, self.terms(i))).collect();
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
            let Scratch { wide, gathered, copied, out: apart } = scratch;
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
                    mean.fill(level, |i, copied| elements(source, i, stride, column.len, copied), out, wide, gathered);
                    let first = target.first.offset(i as isize * target.step);
                    apart.iter().enumerate().for_each(|(at, &value)| *first.offset(at as isize * run.target) = value);
                }
            }
        });
    }
}

/// What a thread needs.
struct Scratch<T: Element> {
    /// The mean of the terms so far, and of those before.
    wide: [Vec<T::Wide>; 2],
    /// Elements that are not beside each other.
    gathered: [Vec<T>; 2],
    /// All samples of a column.
    copied: Vec<T>,
    out: Vec<T>,
}

impl<T: Element> Default for Scratch<T> {
    fn default() -> Self {
        let wide = [(); 2].map(|()| vec![T::Wide::default(); BLOCK]);
        Self { wide, gathered: [Vec::new(), Vec::new()], copied: Vec::new(), out: Vec::new() }
    }
}

/// `len` elements of a sample, `stride` apart, which are copied if that is not 1.
///
/// # Safety
/// They must be valid, and not written while the slice lives.
#[allow(unsafe_code)]
unsafe fn elements<T: Copy>(samples: Samples<T>, i: usize, stride: isize, len: usize, copied: &mut Vec<T>) -> &[T] {
    // SAFETY: as required above.
    unsafe {
        if stride == 1 {
            return samples.get(i, len);
        }
        let first = samples.first.offset(i as isize * samples.step);
        copied.clear();
        copied.extend((0..len as isize).map(|at| *first.offset(at * stride)));
    }
    copied
}

/// How a sample is mixed, decided once for all its elements.
struct Mean<T: Element> {
    /// The first sample that has a weight.
    start: usize,
    /// The others, and how each is blended with those before it.
    steps: Vec<(usize, Recipe<<T::Wide as Element>::Weight>)>,
}

impl<T: Element> Mean<T> {
    fn new(own: usize, terms: impl Iterator<Item = (usize, f64)>) -> Self {
        let (mut mean, mut sum) = (Self { start: own, steps: Vec::new() }, 0.0);
        for (index, weight) in terms.filter(|(_, weight)| *weight != 0.0) {
            let before = sum;
            sum += weight;
            match Recipe::new::<T::Wide>(before / sum) {
                Recipe::TakePartner => mean = Self { start: index, steps: Vec::new() },
                Recipe::KeepOwn => {}
                // The same bits, a NaN's as well.
                _ if mean.steps.is_empty() && index == mean.start => {}
                recipe => mean.steps.push((index, recipe)),
            }
        }
        mean
    }

    /// Fills `out` with means of the samples that `read` gives.
    fn fill(
        &self,
        level: Level,
        read: impl Fn(usize, &mut Vec<T>) -> &[T],
        out: &mut [T],
        [before, now]: &mut [Vec<T::Wide>; 2],
        [first, other]: &mut [Vec<T>; 2],
    ) {
        let (start, len) = (read(self.start, first), out.len());
        let Some((&(last, last_recipe), steps)) = self.steps.split_last() else { return out.copy_from_slice(start) };
        let Some((&(second, recipe), steps)) = steps.split_first() else {
            return blend(level, last_recipe, start, read(last, other), out);
        };
        blend(level, recipe, start, read(second, other), &mut now[..len]);
        for &(next, recipe) in steps {
            std::mem::swap(before, now);
            blend(level, recipe, &before[..len], read(next, other), &mut now[..len]);
        }
        blend(level, last_recipe, &now[..len], read(last, other), out);
    }
}

/// out = own blended with partner, each of the narrow type or the wide one.
fn blend<W: Element, A: Element<Wide = W>, B: Element<Wide = W>, O: Element<Wide = W>>(
    level: Level,
    recipe: Recipe<W::Weight>,
    own: &[A],
    partner: &[B],
    out: &mut [O],
) {
    match recipe {
        Recipe::NearOwn(weight) => vectorised(level, Step::<_, _, _, W, true> { own, partner, out, weight }),
        Recipe::NearPartner(weight) => vectorised(level, Step::<_, _, _, W, false> { own, partner, out, weight }),
        Recipe::KeepOwn | Recipe::TakePartner => unreachable!("no step is a copy"),
    }
}

struct Step<'a, A, B, O, W: Element, const OWN_IS_NEAR: bool> {
    own: &'a [A],
    partner: &'a [B],
    out: &'a mut [O],
    weight: W::Weight,
}

impl<W, A, B, O, const OWN_IS_NEAR: bool> Loop for Step<'_, A, B, O, W, OWN_IS_NEAR>
where
    W: Element,
    A: Element<Wide = W>,
    B: Element<Wide = W>,
    O: Element<Wide = W>,
{
    #[inline(always)]
    fn run(self) {
        for ((out, own), partner) in self.out.iter_mut().zip(self.own).zip(self.partner) {
            *out = O::narrow(W::blend::<OWN_IS_NEAR>(own.widen(), partner.widen(), self.weight));
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array, ArrayD, Axis, IxDyn, ShapeBuilder};

    use super::*;
    use crate::error::MixError;
    use crate::rules::{Mixup, Rule};
    use crate::{Key, Lam};

    fn drawn(k: usize, n: usize) -> MixPlan {
        Mixup { alpha: 0.7, k, fold: false, ..Mixup::default() }.plan(n, &[], Key::new(&[k as u64])).unwrap()
    }

    /// Different values, of a batch of this shape.
    fn values(shape: &[usize]) -> ArrayD<f64> {
        let len = shape.iter().product::<usize>();
        Array::from_iter((0..len).map(|at| (at * 7919 % 251) as f64)).into_shape_with_order(IxDyn(shape)).unwrap()
    }

    /// The weighted means, in float64.
    fn expected(plan: &MixPlan, x: &ArrayD<f64>) -> ArrayD<f64> {
        let mut mixed = ArrayD::zeros(x.raw_dim());
        for (i, mut row) in mixed.outer_iter_mut().enumerate() {
            plan.terms(i).for_each(|(j, weight)| row.scaled_add(weight, &x.index_axis(Axis(0), j)));
        }
        mixed
    }

    #[test]
    fn samples_become_weighted_means_in_any_layout() {
        for (k, shape) in
            [(3, vec![5, 3, 700]), (4, vec![9, 2500]), (16, vec![20, 2, 3]), (3, vec![4]), (5, vec![3, 2])]
        {
            let (plan, x) = (drawn(k, shape[0]), values(&shape));
            let exact = expected(&plan, &x);
            let narrow = x.mapv(|x| x as f32);
            let mut reversed = narrow.clone();
            reversed.invert_axis(Axis(shape.len() - 1));
            let mirrored = reversed.as_standard_layout().into_owned();
            let close =
                |got: ArrayD<f32>| got.iter().zip(&exact).all(|(got, exact)| (f64::from(*got) - exact).abs() < 1e-4);
            assert!(close(plan.apply(narrow.view()).unwrap()));
            // The last axis is mirrored in the source, and in the target; the axes are in the order of Fortran.
            let mut view = mirrored.view();
            view.invert_axis(Axis(shape.len() - 1));
            assert!(close(plan.apply(view.view()).unwrap()));
            let mut out = Array::zeros(IxDyn(&shape));
            out.invert_axis(Axis(shape.len() - 1));
            plan.apply_into(narrow.view(), out.view_mut()).unwrap();
            assert!(close(out));
            let mut out = Array::zeros(IxDyn(&shape).f());
            plan.apply_into(narrow.view(), out.view_mut()).unwrap();
            assert!(close(out));
            let mut fortran = Array::zeros(IxDyn(&shape).f());
            fortran.assign(&narrow);
            assert!(close(plan.apply(fortran.view()).unwrap()));
            // Bytes are rounded once, to the nearest.
            let bytes = plan.apply(x.mapv(|x| x as u8).view()).unwrap();
            assert!(bytes.iter().zip(&exact).all(|(got, exact)| (f64::from(*got) - exact).abs() < 0.5 + 1e-4));
        }
    }

    #[test]
    fn two_samples_are_blended_by_the_formula_of_two() {
        let x = values(&[6, 100]).mapv(|x| x as f32 / 3.0);
        let partner = vec![2, 0, 5, 1, 3, 4];
        let lam = vec![0.3, 0.75, 0.5, 0.0, 1.0, 0.99];
        let of_two = MixPlan::new(Lam::Each(lam.clone()), partner.clone()).unwrap();
        // A third of weight 0, at any place.
        for place in 0..3 {
            let rows = lam.iter().zip(&partner).map(|(&lam, &partner)| {
                let mut weights = vec![lam, 1.0 - lam];
                weights.insert(place.max(1), 0.0);
                let mut partners = vec![partner];
                partners.insert(place.saturating_sub(1), 1);
                (weights, partners)
            });
            let (weights, partners): (Vec<_>, Vec<_>) = rows.unzip();
            let plan = MixPlan::from_weights(3, weights.concat(), partners.concat()).unwrap();
            assert_eq!(plan.apply(x.view()), of_two.apply(x.view()));
        }
    }

    #[test]
    fn what_has_no_weight_does_not_leak() {
        let signalling = f32::from_bits(0x7F80_0001);
        let x = ndarray::array![[signalling, 1.0], [f32::NAN, 1.0], [4.0, 1.0], [f32::INFINITY, 1.0]];
        let weights = vec![1.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 1.0, 0.0, 0.2, 0.3, 0.5];
        let plan = MixPlan::from_weights(3, weights, vec![1, 2, 2, 2, 0, 1, 3, 3]).unwrap();
        let mixed = plan.apply(x.view()).unwrap();
        assert_eq!([mixed[[0, 0]], mixed[[2, 0]]].map(f32::to_bits), [signalling.to_bits(); 2]);
        assert_eq!((mixed[[1, 0]], mixed[[3, 0]]), (4.0, f32::INFINITY));
        assert!((0..4).all(|i| mixed[[i, 1]] == 1.0));
    }

    #[test]
    fn means_never_leave_their_terms() {
        for (k, n) in [(3, 40), (7, 40), (16, 40)] {
            let x = values(&[n, 50]).mapv(|x| (x as f32).sqrt() * 1e-3 + 0.1);
            let (plan, mixed) = (drawn(k, n), drawn(k, n).apply(x.view()).unwrap());
            for i in 0..n {
                for at in 0..50 {
                    let terms = || plan.terms(i).filter(|(_, weight)| *weight > 0.0).map(|(j, _)| x[[j, at]]);
                    let (least, most) = (terms().fold(f32::MAX, f32::min), terms().fold(f32::MIN, f32::max));
                    assert!((least..=most).contains(&mixed[[i, at]]), "{k} {i} {at}");
                }
            }
        }
    }

    #[test]
    fn every_number_of_threads_gives_the_same_bits() {
        let x = values(&[16, 3 * BYTES / 16]).mapv(|x| x as f32 / 7.0);
        const BYTES: usize = runtime::BYTES_PER_THREAD;
        let plan = drawn(3, 16);
        let of = |limit| {
            let mut out = ArrayD::zeros(x.raw_dim());
            // SAFETY: both are arrays that live on.
            #[allow(unsafe_code)]
            unsafe {
                plan.apply_raw(x.raw_view(), None, out.raw_view_mut(), None, limit).unwrap()
            };
            out
        };
        assert_eq!(of(1), of(3));
    }

    #[test]
    fn in_place_gives_the_bits_of_a_new_array() {
        for (k, shape) in
            [(3, vec![5, 3, 700]), (4, vec![9, 2500]), (16, vec![20, 2, 3]), (3, vec![4]), (3, vec![3000, 20])]
        {
            let (plan, mut x) = (drawn(k, shape[0]), values(&shape).mapv(|x| x as f32 / 7.0));
            let mut mirrored = x.clone();
            mirrored.invert_axis(Axis(shape.len() - 1));
            let (expected, of_mirrored) = (plan.apply(x.view()), plan.apply(mirrored.view()));
            plan.apply_in_place(x.view_mut()).unwrap();
            plan.apply_in_place(mirrored.view_mut()).unwrap();
            assert_eq!((expected, of_mirrored), (Ok(x), Ok(mirrored)));
        }
    }

    #[test]
    fn what_needs_one_partner_is_refused() {
        let (plan, x) = (drawn(3, 4), values(&[4, 5]));
        assert_eq!(plan.apply_with(x.view(), x.view()), Err(MixError::OtherGiven { got: 4 }));
        assert!(matches!(
            plan.collate(&[&[1.0_f32][..]; 4], &[1], None, &mut [0.0; 4], 1),
            Err(MixError::Several { k: 3, .. })
        ));
    }
}
