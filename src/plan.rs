//! What is decided once and applied to anything: who is mixed with whom, and how much.

use std::sync::OnceLock;

use ndarray::{ArrayD, ArrayView, ArrayViewMut, Dimension, IxDyn, RawArrayView, RawArrayViewMut};

use crate::cut::{Box, Cutting, cut};
use crate::draw::Lam;
use crate::element::Element;
use crate::error::{MixError, Result, memory_for};
use crate::labels::SoftTargets;
use crate::layout::{Layout, dense_like, overlaps_itself};
use crate::mix::{Mixing, mix};
use crate::order::Order;
use crate::overlap::{apart_or_same, new_array};
use crate::threads;

/// mixed[i] = λ[i]·x[i] + (1 − λ[i])·x[partner[i]], for any array whose axis 0 is the batch
/// (Zhang et al., arXiv 1710.09412).
///
/// ```
/// use mixup_rs::{Lam, MixPlan};
/// use ndarray::array;
///
/// let plan = MixPlan::new(Lam::Each(vec![0.75, 1.0]), vec![1, 0])?;
/// let mixed = plan.apply(array![[8.0, 0.0], [0.0, 4.0]].view().into_dyn())?;
/// assert_eq!(mixed, array![[6.0, 1.0], [0.0, 4.0]].into_dyn());
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MixPlan {
    lam: Vec<f64>,
    partner: Vec<usize>,
    boxes: Option<Boxes>,
    order: OnceLock<Order>,
}

/// The boxes of a CutMix plan, and of what they are cut.
#[derive(Debug, Clone, PartialEq)]
struct Boxes {
    boxes: Vec<Box>,
    height: usize,
    width: usize,
}

/// The axes along which boxes lie where nothing else is said: the last two.
pub const SPATIAL_AXES: [isize; 2] = [-2, -1];

impl MixPlan {
    /// A plan of given weights and partners, one index per sample.
    pub fn new(lam: Lam, partner: Vec<usize>) -> Result<Self> {
        let n = match &lam {
            Lam::Shared(_) => partner.len(),
            Lam::Each(lam) => lam.len(),
        };
        Self::checked(lam.for_samples(n)?, partner)
    }

    /// A CutMix plan of given boxes, one per sample of `height` × `width`, and partners. λ is what is left of a sample.
    pub fn from_boxes(boxes: Vec<Box>, height: usize, width: usize, partner: Vec<usize>) -> Result<Self> {
        let inside = |&[y0, x0, y1, x1]: &Box| y0 <= y1 && y1 <= height && x0 <= x1 && x1 <= width;
        if let Some(index) = boxes.iter().position(|one| !inside(one)) {
            return Err(MixError::Box { index, value: boxes[index], height, width });
        }
        let area = (height as f64 * width as f64).max(1.0);
        let kept = |[y0, x0, y1, x1]: &Box| 1.0 - ((y1 - y0) as f64 * (x1 - x0) as f64) / area;
        let plan = Self::checked(boxes.iter().map(kept).collect(), partner)?;
        Ok(Self { boxes: Some(Boxes { boxes, height, width }), ..plan })
    }

    pub(crate) fn checked(lam: Vec<f64>, partner: Vec<usize>) -> Result<Self> {
        let n = lam.len();
        if let Some(index) = lam.iter().position(|lam| !(0.0..=1.0).contains(lam)) {
            return Err(MixError::LamRange { index, value: lam[index] });
        }
        if partner.len() != n {
            return Err(MixError::PartnerLength { got: partner.len(), expected: n });
        }
        if let Some(index) = partner.iter().position(|&partner| partner >= n) {
            return Err(MixError::PartnerRange { index, value: partner[index] as i128, n });
        }
        Ok(Self { lam, partner, boxes: None, order: OnceLock::new() })
    }

    /// The same plan, which need not find the order of its partners.
    pub(crate) fn with_order(self, order: Option<Order>) -> Self {
        Self { order: order.map_or_else(OnceLock::new, OnceLock::from), ..self }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.lam.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lam.is_empty()
    }

    /// The weight of each sample itself.
    pub fn lam(&self) -> &[f64] {
        &self.lam
    }

    /// With whom each sample is mixed.
    pub fn partner(&self) -> &[usize] {
        &self.partner
    }

    /// The boxes of a CutMix plan, one per sample.
    pub fn boxes(&self) -> Option<&[Box]> {
        self.boxes.as_ref().map(|boxes| &boxes.boxes[..])
    }

    /// The height and width of the samples of a CutMix plan.
    pub fn spatial_shape(&self) -> Option<[usize; 2]> {
        self.boxes.as_ref().map(|boxes| [boxes.height, boxes.width])
    }

    /// The plan that blends by the same weights and partners what has no height and width: labels.
    pub fn without_boxes(&self) -> std::borrow::Cow<'_, Self> {
        match self.boxes {
            None => std::borrow::Cow::Borrowed(self),
            Some(_) => std::borrow::Cow::Owned(Self { boxes: None, ..self.clone() }),
        }
    }

    /// The mixed batch as a new array, whose axes lie in memory in the order of `x`.
    pub fn apply<T: Element, D: Dimension>(&self, x: ArrayView<'_, T, D>) -> Result<ArrayD<T>> {
        let strides = dense_like(x.shape(), x.strides());
        let mut out = new_array(x.shape(), &strides);
        self.apply_into(x, out.view_mut())?;
        Ok(out)
    }

    /// Writes the mixed batch to `out`, which must have the shape of `x`.
    pub fn apply_into<T: Element, D: Dimension, E: Dimension>(
        &self,
        x: ArrayView<'_, T, D>,
        mut out: ArrayViewMut<'_, T, E>,
    ) -> Result<()> {
        self.apply_to_raw(x.into_dyn().raw_view(), out.view_mut().into_dyn().raw_view_mut())
    }

    /// Mixes `x` where it is, without a second batch.
    pub fn apply_in_place<T: Element, D: Dimension>(&self, mut x: ArrayViewMut<'_, T, D>) -> Result<()> {
        let out = x.view_mut().into_dyn().raw_view_mut();
        self.apply_to_raw(out.raw_view(), out)
    }

    fn apply_to_raw<T: Element>(&self, x: RawArrayView<T, IxDyn>, out: RawArrayViewMut<T, IxDyn>) -> Result<()> {
        let limit = threads::requested().unwrap_or_else(threads::available);
        // SAFETY: the views that these came from, which still live, make both valid.
        #[allow(unsafe_code)]
        unsafe {
            self.apply_raw(x, out, SPATIAL_AXES, limit)
        }
    }

    /// Mixes `x` into `out` on at most `limit` threads. They may be the same array, which is then mixed in place, or
    /// overlap in any other way: the result is as if they did not. `spatial_axes` serve the boxes of CutMix alone.
    ///
    /// # Safety
    /// Both must point to valid, aligned elements, `out` to writable ones, for as long as the call takes.
    #[allow(unsafe_code)]
    pub unsafe fn apply_raw<T: Element>(
        &self,
        x: RawArrayView<T, IxDyn>,
        out: RawArrayViewMut<T, IxDyn>,
        spatial_axes: [isize; 2],
        limit: usize,
    ) -> Result<()> {
        if self.boxes.is_some() {
            // SAFETY: as required above.
            return unsafe { self.cut_raw(x, out, spatial_axes, limit) };
        }
        self.check_target(&x, &out)?;
        let mixing = Mixing { lam: &self.lam, partner: &self.partner, order: self.order() };
        let mix_to = |out: RawArrayViewMut<T, IxDyn>| {
            let Some(layout) = Layout::new(x.shape(), x.strides(), out.strides()) else { return };
            // SAFETY: valid as required above; what overlaps without being the same goes through a copy.
            unsafe { mix(mixing, &layout, x.as_ptr(), out.as_ptr().cast_mut(), limit) };
        };
        // SAFETY: as required above.
        unsafe { apart_or_same(&x, out, mix_to) };
        Ok(())
    }

    /// As [`MixPlan::apply_raw`], for a CutMix plan, which copies elements of any type and computes nothing.
    ///
    /// # Safety
    /// As for [`MixPlan::apply_raw`].
    #[allow(unsafe_code)]
    pub unsafe fn cut_raw<T: Copy + Default + Send + Sync>(
        &self,
        x: RawArrayView<T, IxDyn>,
        out: RawArrayViewMut<T, IxDyn>,
        spatial_axes: [isize; 2],
        limit: usize,
    ) -> Result<()> {
        self.check_target(&x, &out)?;
        let Some(Boxes { boxes, .. }) = &self.boxes else {
            return Err(MixError::NoBoxes);
        };
        let axes = self.spatial_axes_of(x.shape(), spatial_axes)?;
        let cutting = Cutting { boxes, partner: &self.partner, order: self.order(), axes };
        // SAFETY: as required above; what overlaps without being the same goes through a copy.
        unsafe { apart_or_same(&x, out, |out| cut(cutting, x.clone(), out, limit)) };
        Ok(())
    }

    /// The axes of a batch of this shape along which boxes lie, counted from its front.
    pub(crate) fn spatial_axes_of(&self, shape: &[usize], spatial_axes: [isize; 2]) -> Result<[usize; 2]> {
        let ndim = shape.len();
        let axis = |axis: isize| usize::try_from(if axis < 0 { axis + ndim as isize } else { axis });
        let axes = match spatial_axes.map(axis) {
            [Ok(y), Ok(x)] if y != x && (1..ndim).contains(&y) && (1..ndim).contains(&x) => [y, x],
            _ => return Err(MixError::SpatialAxes { axes: spatial_axes, ndim }),
        };
        let Some(expected) = self.spatial_shape() else { return Ok(axes) };
        let got = axes.map(|axis| shape[axis]);
        if got != expected {
            return Err(MixError::SpatialShape { got, expected, axes: spatial_axes });
        }
        Ok(axes)
    }

    /// All samples, each before its partner where that can be.
    pub(crate) fn visiting_order(&self) -> &[usize] {
        &self.order().samples
    }

    fn order(&self) -> &Order {
        self.order.get_or_init(|| Order::new(&self.partner))
    }

    fn check_target<T>(&self, x: &RawArrayView<T, IxDyn>, out: &RawArrayViewMut<T, IxDyn>) -> Result<()> {
        self.check_batch(x.shape())?;
        self.order.get().map_or_else(|| memory_for(self.len()), |_| Ok(()))?;
        if out.shape() != x.shape() {
            return Err(MixError::OutShape { got: out.shape().to_vec(), expected: x.shape().to_vec() });
        }
        if overlaps_itself(out.shape(), out.strides()) {
            return Err(MixError::OutOverlapsItself { shape: out.shape().to_vec(), strides: out.strides().to_vec() });
        }
        Ok(())
    }

    /// Class indices, one per sample, to mixed soft targets: a row of `num_classes` per sample in `targets`.
    pub fn soft_targets<C: Copy + Into<i128>>(
        &self,
        classes: &[C],
        how: SoftTargets,
        targets: &mut [f32],
    ) -> Result<()> {
        self.check_batch(&[classes.len()])?;
        how.fill(classes, &self.lam, &self.partner, targets)
    }

    /// Refuses a shape whose axis 0 is not this plan's batch.
    pub fn check_batch(&self, shape: &[usize]) -> Result<()> {
        match shape.first() {
            None => Err(MixError::NoBatchAxis),
            Some(&got) if got != self.len() => Err(MixError::BatchLength { got, expected: self.len() }),
            Some(_) => Ok(()),
        }
    }
}

impl PartialEq for MixPlan {
    fn eq(&self, other: &Self) -> bool {
        self.lam == other.lam && self.partner == other.partner && self.boxes == other.boxes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Key, draw_matching, draw_permutation};
    use half::{bf16, f16};
    use ndarray::{Array, Axis, Slice, s};

    const THREADS: [usize; 3] = [1, 2, 8];

    fn partners(n: usize) -> Vec<Vec<usize>> {
        let identity: Vec<usize> = (0..n).collect();
        let cycle = (0..n).map(|i| (i + 1) % n).collect();
        let repeats = (0..n).map(|i| i * i / 3 % n).collect();
        let drawn = draw_permutation(Key::new(&[n as u64]), n);
        vec![identity, cycle, repeats, vec![0; n], drawn, draw_matching(Key::new(&[n as u64]), n)]
    }

    fn plans(n: usize) -> impl Iterator<Item = MixPlan> {
        let lam = |i: usize| [0.3, 0.9, 1.0, 0.0, 0.5][i % 5];
        partners(n).into_iter().map(move |partner| MixPlan::new(Lam::Each((0..n).map(lam).collect()), partner).unwrap())
    }

    /// The formula, element by element, in the kernel's own arithmetic.
    fn expected<T: Element>(plan: &MixPlan, x: &ArrayD<T>) -> ArrayD<T> {
        let mut mixed = x.clone();
        for (i, mut sample) in mixed.axis_iter_mut(Axis(0)).enumerate() {
            let (lam, partner) = (plan.lam()[i], plan.partner()[i]);
            if partner == i {
                continue;
            }
            sample.zip_mut_with(&x.index_axis(Axis(0), partner), |own, &other| {
                *own = match lam {
                    1.0 => *own,
                    0.0 => other,
                    _ if lam >= 0.5 => T::blend::<true>(*own, other, T::weight(1.0 - lam)),
                    _ => T::blend::<false>(*own, other, T::weight(lam)),
                };
            });
        }
        mixed
    }

    fn apply<T: Element>(plan: &MixPlan, x: RawArrayView<T, IxDyn>, out: RawArrayViewMut<T, IxDyn>, threads: usize) {
        // SAFETY: the tests keep the arrays alive.
        #[allow(unsafe_code)]
        unsafe { plan.apply_raw(x, out, SPATIAL_AXES, threads) }.unwrap();
    }

    fn check<T: Element + PartialEq + std::fmt::Debug>(shape: &[usize], element: impl Fn(usize) -> T) {
        let mut count = 0;
        let x = Array::from_shape_simple_fn(IxDyn(shape), || {
            count += 1;
            element(count)
        });
        for plan in plans(shape[0]) {
            let expected = expected(&plan, &x);
            for threads in THREADS {
                let mut apart = new_array(shape, &dense_like(shape, x.strides()));
                apply(&plan, x.raw_view(), apart.raw_view_mut(), threads);
                assert_eq!(apart, expected, "{shape:?} {plan:?}");

                let mut in_place = x.clone();
                let out = in_place.raw_view_mut();
                apply(&plan, out.raw_view(), out, threads);
                assert_eq!(in_place, expected, "{shape:?} {plan:?}");

                // A target in Fortran order is mixed in packed columns, and so is one in place.
                let mut packed = x.view().reversed_axes().as_standard_layout().into_owned().reversed_axes();
                let out = packed.raw_view_mut();
                apply(&plan, x.raw_view(), packed.raw_view_mut(), threads);
                assert_eq!(packed, expected, "{shape:?} {plan:?}");
                packed.assign(&x);
                apply(&plan, out.raw_view(), out, threads);
                assert_eq!(packed, expected, "{shape:?} {plan:?}");
            }
        }
    }

    fn value(i: usize) -> f32 {
        (i * 7919 % 1009) as f32 / 8.0
    }

    #[test]
    fn every_element_type_and_driver_follows_the_formula() {
        for shape in [&[1][..], &[5], &[4, 1], &[6, 33], &[3, 2, 5, 7], &[7, 0, 2], &[40, 3]] {
            check(shape, |i| f64::from(value(i)));
            check(shape, value);
            check(shape, |i| f16::from_f32(value(i)));
            check(shape, |i| bf16::from_f32(value(i)));
            check(shape, |i| value(i) as u8);
            check(shape, |i| (value(i) - 64.0) as i8);
            check(shape, |i| (value(i) * 500.0) as u16);
            check(shape, |i| (value(i) * 500.0 - 30000.0) as i16);
        }
    }

    #[test]
    fn batches_that_are_split_follow_the_formula() {
        // Few large samples are cut by elements, many small ones by samples; both are worth two threads.
        for shape in [[3, 900_001], [200_011, 17]] {
            check(&shape, value);
        }
    }

    #[test]
    fn overlap_is_as_if_there_were_none() {
        let memory = Array::from_shape_fn(40, |i| i as f32);
        let x = |start: usize| Slice::new(start as isize, Some(start as isize + 20), 1);
        for plan in plans(4) {
            for (from, to) in [(0, 1), (1, 0), (0, 20), (20, 0), (3, 10), (10, 10)] {
                let mut memory = memory.clone();
                let source = memory.slice_axis(Axis(0), x(from)).into_shape_with_order((4, 5)).unwrap().to_owned();
                let expected = expected(&plan, &source.into_dyn());
                let from =
                    memory.slice_axis(Axis(0), x(from)).into_shape_with_order((4, 5)).unwrap().into_dyn().raw_view();
                let mut out = memory.slice_axis_mut(Axis(0), x(to)).into_shape_with_order((4, 5)).unwrap().into_dyn();
                apply(&plan, from, out.raw_view_mut(), 1);
                assert_eq!(out, expected.view());
            }
        }
    }

    #[test]
    fn strided_views_are_mixed_where_they_are() {
        let whole = Array::from_shape_fn((8, 6, 10), |(i, j, k)| (i * 100 + j * 10 + k) as f32);
        for plan in plans(4) {
            let first = whole.slice(s![2..3, .., ..]);
            let views = [
                whole.slice(s![..;2, .., ..]).into_dyn(),
                whole.slice(s![4..;-1, 1..5, 2..9]).into_dyn(),
                whole.slice(s![..4, ..;-1, ..;-1]).into_dyn(),
                whole.slice(s![..4, .., ..;3]).into_dyn(),
                whole.slice(s![..4, 0, ..]).insert_axis(Axis(0)).permuted_axes([1, 0, 2]).into_dyn(),
                first.broadcast((4, 6, 10)).unwrap().into_dyn(),
            ];
            for view in views {
                let view = view.slice_axis(Axis(0), Slice::from(..4));
                let expected = expected(&plan, &view.to_owned());
                assert_eq!(plan.apply(view.clone()).unwrap(), expected);

                // A target that is mirrored along every axis, with a margin around it.
                let (height, width) = (view.shape()[1] as isize, view.shape()[2] as isize);
                let middle = s![1..5;-1, 1..1 + height;-1, 1..1 + width;-1];
                let mut surrounded = Array::zeros((6, height as usize + 2, width as usize + 2));
                let mut target = surrounded.slice_mut(middle);
                plan.apply_into(view.clone(), target.view_mut()).unwrap();
                assert_eq!(target.view().into_dyn(), expected);
                target.assign(&view);
                plan.apply_in_place(target.view_mut()).unwrap();
                assert_eq!(target.view().into_dyn(), expected);
                target.fill(0.0);
                assert!(surrounded.iter().all(|&element| element == 0.0));
            }
        }
    }

    #[test]
    fn nothing_is_written_on_an_error() {
        let plan = MixPlan::new(Lam::Shared(0.5), vec![1, 2, 0]).unwrap();
        let x = Array::<f32, _>::ones((3, 4));
        let mut out = Array::<f32, _>::zeros((3, 5));
        assert!(matches!(plan.apply_into(x.view(), out.view_mut()), Err(MixError::OutShape { .. })));
        let mut wide = Array::<f32, _>::zeros((2, 4));
        assert_eq!(plan.apply_in_place(wide.view_mut()), Err(MixError::BatchLength { got: 2, expected: 3 }));
        assert!(out.iter().chain(&wide).all(|&element| element == 0.0));
        assert_eq!(plan.check_batch(&[]), Err(MixError::NoBatchAxis));
    }

    #[test]
    fn boxes_come_from_the_partner() {
        let x = Array::from_shape_fn((4, 2, 5, 6), |(i, c, y, x)| (i * 1000 + c * 100 + y * 10 + x) as f32);
        let boxes = vec![[0, 0, 5, 6], [1, 2, 3, 4], [2, 2, 2, 6], [4, 0, 5, 5]];
        for partner in partners(4) {
            let plan = MixPlan::from_boxes(boxes.clone(), 5, 6, partner.clone()).unwrap();
            let expected = Array::from_shape_fn(x.dim(), |(i, c, row, column)| {
                let [y0, x0, y1, x1] = boxes[i];
                let inside = (y0..y1).contains(&row) && (x0..x1).contains(&column);
                x[(if inside { partner[i] } else { i }, c, row, column)]
            });
            assert_eq!(plan.apply(x.view()).unwrap(), expected.clone().into_dyn());
            let mut in_place = x.clone();
            plan.apply_in_place(in_place.view_mut()).unwrap();
            assert_eq!(in_place, expected);
            assert_eq!(plan.lam(), [0.0, 26.0 / 30.0, 1.0, 25.0 / 30.0]);
        }
        let plan = MixPlan::from_boxes(boxes, 5, 7, vec![0; 4]).unwrap();
        assert!(matches!(plan.apply(x.view()), Err(MixError::SpatialShape { got: [5, 6], expected: [5, 7], .. })));
        assert!(MixPlan::from_boxes(vec![[0, 0, 6, 1]], 5, 5, vec![0]).is_err());
    }

    #[test]
    fn plans_are_equal_by_value() {
        let plan = |lam: f64, partner: usize| MixPlan::new(Lam::Each(vec![lam, 1.0]), vec![partner, 0]).unwrap();
        assert_eq!(plan(0.5, 1), plan(0.5, 1));
        assert_ne!(plan(0.5, 1), plan(0.25, 1));
        assert_ne!(plan(0.5, 1), plan(0.5, 0));
        // One pixel of two: λ = ½, as without boxes.
        let cut = |one| MixPlan::from_boxes(vec![one, [0; 4]], 1, 2, vec![1, 0]).unwrap();
        assert_eq!(cut([0, 0, 1, 1]), cut([0, 0, 1, 1]));
        assert_ne!(cut([0, 0, 1, 1]), cut([0, 1, 1, 2]));
        assert_ne!(cut([0, 0, 1, 1]), plan(0.5, 1));
        assert_eq!(*cut([0, 0, 1, 1]).without_boxes(), plan(0.5, 1));
        assert_eq!(*plan(0.5, 1).without_boxes(), plan(0.5, 1));
    }

    #[test]
    fn a_plan_says_what_it_is_for() {
        let plan = MixPlan::from_boxes(vec![[0; 4]], 5, 6, vec![0]).unwrap();
        assert_eq!((plan.len(), plan.is_empty(), plan.spatial_shape()), (1, false, Some([5, 6])));
        let plan = MixPlan::new(Lam::Each(vec![]), vec![]).unwrap();
        assert_eq!((plan.len(), plan.is_empty(), plan.spatial_shape()), (0, true, None));
    }

    #[test]
    fn boxes_lie_along_the_last_two_axes() {
        let x = Array::from_shape_fn((2, 3, 4), |(i, y, x)| (100 * i + 10 * y + x) as f32);
        let plan = MixPlan::from_boxes(vec![[1, 2, 3, 4], [0; 4]], 3, 4, vec![1, 0]).unwrap();
        let mut expected = x.clone();
        expected.slice_mut(s![0, 1..3, 2..4]).assign(&x.slice(s![1, 1..3, 2..4]));
        assert_eq!(plan.apply(x.view()).unwrap(), expected.into_dyn());
    }

    #[test]
    fn spatial_axes_are_counted_from_either_end() {
        let plan = MixPlan::from_boxes(vec![[0; 4]; 2], 3, 4, vec![1, 0]).unwrap();
        let found = |shape: &[usize], axes| plan.spatial_axes_of(shape, axes);
        assert_eq!(found(&[2, 5, 3, 4], [-2, -1]), Ok([2, 3]));
        assert_eq!(found(&[2, 3, 4, 5], [1, 2]), Ok([1, 2]));
        assert_eq!(found(&[2, 4, 3], [2, -2]), Ok([2, 1]));
        for axes in [[1, 1], [-1, 2], [0, 1], [1, 0], [-3, 1], [1, -3], [3, 1], [1, 3], [-4, 1], [1, -4]] {
            assert_eq!(found(&[2, 3, 4], axes), Err(MixError::SpatialAxes { axes, ndim: 3 }));
        }
        let turned = Err(MixError::SpatialShape { got: [4, 3], expected: [3, 4], axes: [1, 2] });
        assert_eq!(found(&[2, 4, 3], [1, 2]), turned);
        assert_eq!(plan.without_boxes().spatial_axes_of(&[2, 4, 3], [1, 2]), Ok([1, 2]));
    }

    #[test]
    fn labels_are_mixed_as_the_plan_says() {
        let plan = MixPlan::new(Lam::Each(vec![0.75, 1.0]), vec![1, 0]).unwrap();
        let mut targets = [9.0; 6];
        plan.soft_targets(&[0_u8, 2], SoftTargets::new(3, 0.0).unwrap(), &mut targets).unwrap();
        assert_eq!(targets, [0.75, 0.0, 0.25, 0.0, 0.0, 1.0]);
        let three = plan.soft_targets(&[0_u8; 3], SoftTargets::new(3, 0.0).unwrap(), &mut targets);
        assert_eq!(three, Err(MixError::BatchLength { got: 3, expected: 2 }));
    }
}
