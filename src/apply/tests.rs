//! Compares every driver, element type and layout with the formula.

use super::*;
use crate::arithmetic::Opaque;
use crate::plan::{Lam, Mask, Partners, Rect, Shares};
use half::{bf16, f16};
use ndarray::{Array, Axis, Slice, array, s};
use std::sync::Arc;

const THREADS: [usize; 3] = [1, 2, 8];

fn partners(n: usize) -> Vec<Vec<usize>> {
    let identity: Vec<usize> = (0..n).collect();
    let cycle = (0..n).map(|i| (i + 1) % n).collect();
    let repeats = (0..n).map(|i| i * i / 3 % n).collect();
    // Several cycles: a step of 3 within blocks of 5, and fixed points.
    let cycles = (0..n).map(|i| if i / 5 * 5 + 5 <= n { i / 5 * 5 + (i + 3) % 5 } else { i }).collect();
    let couples = (0..n).map(|i| if i ^ 1 < n { i ^ 1 } else { i }).collect();
    vec![identity, cycle, repeats, vec![0; n], cycles, couples]
}

fn plans(n: usize) -> impl Iterator<Item = MixPlan> {
    let lam = |i: usize| [0.3, 0.9, 1.0, 0.0, 0.5][i % 5];
    partners(n).into_iter().map(move |partner| MixPlan::new(Lam::Each((0..n).map(lam).collect()), partner).unwrap())
}

/// Plans that cut, and plans that blend and cut, for samples whose last axes have this shape.
fn plans_with_boxes(n: usize, shape: &[usize]) -> impl Iterator<Item = MixPlan> {
    let side =
        |i: usize, len: usize| if len == 0 { (0, 0) } else { (i * 7 % len, (i * 7 % len + 1 + i * 5 % len).min(len)) };
    let rect = move |i: usize, shape: &[usize]| {
        let (start, end): (Vec<_>, Vec<_>) = shape.iter().map(|&len| side(i, len)).unzip();
        if i % 4 == 3 { Rect::NONE } else { Rect::new(&start, &end) }
    };
    let shape = shape.to_vec();
    partners(n).into_iter().flat_map(move |partner| {
        [vec![1.0], vec![1.0, 0.3, 0.0, 0.75, 0.5]].map(|weight| {
            let weight = Lam::Each((0..n).map(|i| weight[i % weight.len()]).collect());
            let boxes = (0..n).map(|i| rect(i, &shape)).collect();
            MixPlan::from_boxes(boxes, &shape, partner.clone(), weight).unwrap()
        })
    })
}

/// Plans with masks, of whole shares alone and of all kinds.
fn plans_with_masks(n: usize, shape: &[usize]) -> impl Iterator<Item = MixPlan> {
    let shape = shape.to_vec();
    let pixels: usize = shape.iter().product();
    let byte = |i: usize| move |pixel: usize| [0, 255, ((pixel + i) * 37 % 256) as u8][(pixel * 7 + i) % 3];
    let mask = move |i: usize, kinds: usize| {
        let bytes = (0..pixels).map(byte(i));
        Arc::new(match i % kinds {
            0 => Mask::hard(bytes.map(|byte| byte > 99)),
            1 => Mask::new(Shares::Bytes(bytes.collect())).unwrap(),
            2 => Mask::new(Shares::Single(bytes.map(|byte| f32::from(byte) / 255.0).collect())).unwrap(),
            _ => Mask::new(Shares::Double(bytes.map(|byte| f64::from(byte) / 255.0).collect())).unwrap(),
        })
    };
    partners(n).into_iter().flat_map(move |partner| {
        [1, 4].map(|kinds| {
            let masks = (0..n).map(|i| mask(i, kinds)).collect();
            MixPlan::from_masks(masks, &shape, partner.clone()).unwrap()
        })
    })
}

/// The formula, element by element, in the arithmetic of the kernels. Regions are along the last axes.
fn expected<T: Element>(plan: &MixPlan, x: &ArrayD<T>) -> ArrayD<T> {
    let mut mixed = x.clone();
    let boxes = plan.boxes();
    let shares = plan.regions().filter(|regions| regions.has_masks());
    let shares: Option<Vec<_>> = shares.map(|regions| (0..plan.len()).map(|i| regions.shares(i)).collect());
    let spatial = plan.spatial_shape().map_or(0, <[usize]>::len);
    for (at, own) in mixed.indexed_iter_mut() {
        let (i, partner) = (at[0], plan.partner()[at[0]]);
        let mut there = at.clone();
        there[0] = partner;
        let other = x[there];
        let weight = shares.as_ref().map_or(plan.weight()[i], |shares| {
            let first = x.ndim() - spatial;
            shares[i][(first..x.ndim()).fold(0, |pixel, axis| pixel * x.shape()[axis] + at[axis])]
        });
        let is_inside = boxes.as_ref().is_some_and(|boxes| {
            let (rect, ndim) = (boxes[i], x.ndim());
            !rect.is_empty() && (1..=spatial).all(|k| (rect.start[3 - k]..rect.end[3 - k]).contains(&at[ndim - k]))
        });
        *own = match weight {
            _ if partner == i => *own,
            _ if is_inside => other,
            1.0 => *own,
            0.0 => other,
            _ if weight >= 0.5 => T::blend::<true>(*own, other, T::weight(1.0 - weight)),
            _ => T::blend::<false>(*own, other, T::weight(weight)),
        };
    }
    mixed
}

fn apply<T: Element>(plan: &MixPlan, x: RawArrayView<T, IxDyn>, out: RawArrayViewMut<T, IxDyn>, threads: usize) {
    // SAFETY: the tests keep the arrays alive.
    #[allow(unsafe_code)]
    unsafe { plan.apply_raw(x, None, out, None, threads) }.unwrap();
}

fn check<T: Element + PartialEq + std::fmt::Debug>(shape: &[usize], element: impl Fn(usize) -> T) {
    let mut count = 0;
    let x = Array::from_shape_simple_fn(IxDyn(shape), || {
        count += 1;
        element(count)
    });
    let spatial = &shape[1..].last_chunk::<2>().map_or(&[][..], |last| &last[..]);
    let n = shape[0];
    let cuts = (!spatial.is_empty()).then(|| plans_with_boxes(n, spatial));
    let has_pixels = !spatial.is_empty() && !spatial.contains(&0);
    let masks = has_pixels.then(|| plans_with_masks(n, spatial));
    let regions = cuts.into_iter().flatten().chain(masks.into_iter().flatten());
    for plan in plans(n).filter(|_| T::IS_BLENDED).chain(regions) {
        if !T::IS_BLENDED && !plan.only_copies() {
            continue;
        }
        let expected = expected(&plan, &x);
        for threads in THREADS {
            let mut apart = new_array(shape, &dense_like(shape, x.strides()));
            apply(&plan, x.raw_view(), apart.raw_view_mut(), threads);
            assert_eq!(apart, expected, "{shape:?} {plan:?}");

            let mut in_place = x.clone();
            let out = in_place.raw_view_mut();
            apply(&plan, out.raw_view(), out, threads);
            assert_eq!(in_place, expected, "{shape:?} {plan:?}");

            // A target in Fortran order is mixed in packed columns, also in place.
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

/// Mixes a batch with another of `m` samples in each layout of either, and compares with both mixed as one.
fn check_with_other<T: Element + PartialEq + std::fmt::Debug>(shape: &[usize], m: usize, element: impl Fn(usize) -> T) {
    let n = shape[0];
    let array = |n: usize, from: usize| {
        let mut count = from;
        Array::from_shape_simple_fn(IxDyn(&[&[n], &shape[1..]].concat()), || {
            count += 1;
            element(count)
        })
    };
    let (x, other) = (array(n, 0), array(m, 5000));
    let both = ndarray::concatenate(Axis(0), &[x.view(), other.view()]).unwrap();
    let turned = |x: &ArrayD<T>| x.view().reversed_axes().as_standard_layout().into_owned().reversed_axes();
    let reversed = |x: &ArrayD<T>| {
        let mut mirrored = x.clone();
        (0..mirrored.ndim()).for_each(|axis| mirrored.invert_axis(Axis(axis)));
        mirrored.assign(x);
        mirrored
    };
    let spatial = &shape[1..].last_chunk::<2>().map_or(&[][..], |last| &last[..]);
    let cuts = (!spatial.is_empty()).then(|| plans_with_boxes(n, spatial));
    for plan in plans(n).chain(cuts.into_iter().flatten()) {
        let partner: Vec<usize> = plan.partner().iter().map(|&partner| partner * 7 % m).collect();
        let joined: Vec<usize> = partner.iter().map(|partner| n + partner).chain(n..n + m).collect();
        let weight = Lam::Each(plan.weight().iter().copied().chain(vec![1.0; m]).collect());
        let joined = match plan.boxes() {
            Some(boxes) => MixPlan::from_boxes([boxes, vec![Rect::NONE; m]].concat(), spatial, joined, weight),
            None => MixPlan::new(weight, joined),
        };
        let expected = expected(&joined.unwrap(), &both).slice_axis(Axis(0), Slice::from(..n)).into_owned();
        let plan = plan.with_partners(Partners::of_other(partner, m)).unwrap();
        assert_eq!(plan.apply_with(x.view(), other.view()).unwrap(), expected, "{shape:?} {plan:?}");
        for (other, threads) in [other.clone(), turned(&other), reversed(&other)].iter().zip(THREADS) {
            for mut own in [x.clone(), turned(&x), reversed(&x)] {
                let mut apart = new_array(shape, &dense_like(shape, own.strides()));
                let out = own.raw_view_mut();
                // SAFETY: the arrays are alive.
                #[allow(unsafe_code)]
                unsafe {
                    plan.apply_raw(out.raw_view(), Some(other.raw_view()), apart.raw_view_mut(), None, threads)
                        .unwrap();
                    plan.apply_raw(out.raw_view(), Some(other.raw_view()), out, None, threads).unwrap();
                }
                assert_eq!(apart, expected, "{shape:?} {plan:?}");
                assert_eq!(own, expected, "{shape:?} {plan:?}");
            }
        }
    }
}

#[test]
fn partners_may_be_samples_of_another_batch() {
    for (shape, m) in [(&[5][..], 2), (&[4, 1], 4), (&[6, 33], 1), (&[3, 2, 5, 7], 8), (&[7, 0, 2], 3), (&[130, 3], 50)]
    {
        check_with_other(shape, m, value);
        check_with_other(shape, m, |i| (i * 7919 % 251) as u8);
        check_with_other(shape, m, |i| f64::from(value(i)));
    }
    // Long runs, on several threads.
    check_with_other(&[3, 20_000], 2, value);
}

#[test]
fn another_batch_must_be_like_the_plan() {
    let (x, plan) = (array![[1.0_f32], [2.0]], MixPlan::new(Lam::Shared(0.5), vec![1, 0]).unwrap());
    let with = plan.clone().with_partners(Partners::of_other(vec![2, 0], 3)).unwrap();
    assert_eq!(with.apply(x.view()), Err(MixError::NoOther { expected: 3 }));
    assert_eq!(plan.apply_with(x.view(), x.view()), Err(MixError::OtherGiven { got: 2 }));
    assert_eq!(with.apply_with(x.view(), x.view()), Err(MixError::OtherLength { got: 2, expected: 3 }));
    let wide = MixError::OtherShape { got: vec![2], expected: vec![1] };
    assert_eq!(with.apply_with(x.view(), Array::<f32, _>::zeros((3, 2)).view()), Err(wide));
    assert_eq!(
        with.collate(&[&[1.0_f32], &[2.0]], &[1], None, &mut [0.0; 2], 1),
        Err(MixError::NoOther { expected: 3 })
    );
    let mut same = x.clone();
    with.apply_in_place_with(same.view_mut(), array![[0.0_f32], [1.0], [4.0]].view()).unwrap();
    assert_eq!(same, array![[2.5], [1.0]]);
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
        check(shape, |i| Opaque(i as u32));
        check(shape, |i| Opaque(i as u128));
    }
}

#[test]
fn batches_that_are_split_follow_the_formula() {
    // Few large samples are divided by elements, many small ones by samples. Both are large enough for two threads.
    for shape in [[3, 900_001], [200_011, 17]] {
        check(&shape, value);
    }
}

#[test]
fn overlap_does_not_change_the_result() {
    let memory = Array::from_shape_fn(40, |i| i as f32);
    let x = |start: usize| Slice::new(start as isize, Some(start as isize + 20), 1);
    for plan in plans(4) {
        for (from, to) in [(0, 1), (1, 0), (0, 20), (20, 0), (3, 10), (10, 10)] {
            let mut memory = memory.clone();
            let source = memory.slice_axis(Axis(0), x(from)).into_shape_with_order((4, 5)).unwrap().to_owned();
            let expected = expected(&plan, &source.into_dyn());
            let from = memory.slice_axis(Axis(0), x(from)).into_shape_with_order((4, 5)).unwrap().into_dyn().raw_view();
            let mut out = memory.slice_axis_mut(Axis(0), x(to)).into_shape_with_order((4, 5)).unwrap().into_dyn();
            apply(&plan, from, out.raw_view_mut(), 1);
            assert_eq!(out, expected.view());
        }
    }
}

#[test]
fn strided_views_are_mixed_without_a_copy() {
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

            // A target mirrored along every axis, with a margin that must not change.
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
fn regions_along_one_to_three_axes_work_in_any_memory_order() {
    fn check_along(shape: &[usize], axes: &[isize]) {
        let x = Array::from_shape_fn(IxDyn(shape), |at| (0..shape.len()).fold(0, |sum, k| sum * 31 + at[k]) as f32);
        // The formula expects the spatial axes last.
        let spatial: Vec<usize> = axes.iter().map(|&axis| axis as usize).collect();
        let others = (0..shape.len()).filter(|axis| !spatial.contains(axis));
        let order: Vec<usize> = others.chain(spatial.iter().copied()).collect();
        let last = x.view().permuted_axes(IxDyn(&order)).as_standard_layout().into_owned();
        let lengths: Vec<usize> = spatial.iter().map(|&axis| shape[axis]).collect();
        for plan in plans_with_boxes(shape[0], &lengths) {
            let expected = expected(&plan, &last);
            for threads in THREADS {
                let mut out = x.clone();
                let mut in_place = x.clone();
                // Mirrored, with its axes in reverse memory order.
                let mut turned = x.view().reversed_axes().as_standard_layout().into_owned().reversed_axes();
                turned.invert_axis(Axis(shape.len() - 1));
                turned.assign(&x);
                // SAFETY: the arrays outlive the calls.
                #[allow(unsafe_code)]
                unsafe {
                    plan.apply_raw(x.raw_view(), None, out.raw_view_mut(), Some(axes), threads).unwrap();
                    let view = in_place.raw_view_mut();
                    plan.apply_raw(view.raw_view(), None, view, Some(axes), threads).unwrap();
                    let view = turned.raw_view_mut();
                    plan.apply_raw(view.raw_view(), None, view, Some(axes), threads).unwrap();
                }
                for got in [out, in_place, turned] {
                    assert_eq!(got.permuted_axes(IxDyn(&order)), expected, "{shape:?} {axes:?} {plan:?}");
                }
            }
        }
    }
    check_along(&[7, 3, 40], &[2]);
    check_along(&[7, 40, 3], &[1]);
    check_along(&[7, 3, 6, 8], &[2, 3]);
    check_along(&[7, 6, 8, 3], &[1, 2]);
    check_along(&[7, 6, 3, 8], &[3, 1]);
    check_along(&[7, 2, 4, 5, 6], &[2, 3, 4]);
    check_along(&[7, 4, 2, 5, 6], &[4, 1, 3]);
    check_along(&[7, 1, 8], &[1, 2]);
}

#[test]
fn streamed_batches_on_several_threads_are_cut() {
    // Written past the cache, in several columns, on several threads.
    let (n, height, width) = (4, 1024, 768);
    let x = Array::from_shape_fn(IxDyn(&[n, height, width]), |at| (at[0] * 7 + at[1] * 31 + at[2]) as f32);
    for plan in plans_with_boxes(n, &[height, width]).skip(2).take(2) {
        let expected = expected(&plan, &x);
        for threads in THREADS {
            let (mut out, mut in_place) = (x.clone(), x.clone());
            apply(&plan, x.raw_view(), out.raw_view_mut(), threads);
            let view = in_place.raw_view_mut();
            apply(&plan, view.raw_view(), view, threads);
            assert!(out == expected && in_place == expected, "{plan:?}");
        }
    }
}

#[test]
fn opaque_elements_are_cut_but_not_blended() {
    let x = Array::from_shape_fn((2, 3), |(i, j)| Opaque(10 * i as u64 + j as u64));
    let cut =
        |weight| MixPlan::from_boxes(vec![Rect::new(&[1], &[3]); 2], &[3], vec![1, 0], Lam::Shared(weight)).unwrap();
    let mixed = cut(1.0).apply(x.view()).unwrap();
    assert_eq!(mixed.into_iter().map(|element| element.0).collect::<Vec<_>>(), [0, 11, 12, 10, 1, 2]);
    assert_eq!(cut(0.5).apply(x.view()), Err(MixError::NotBlended));
    assert_eq!(cut(1.0).without_region().apply(x.view()), Err(MixError::NotBlended));
}

#[test]
fn nothing_is_written_on_an_error() {
    let plan = MixPlan::new(Lam::Shared(0.5), vec![1, 2, 0]).unwrap();
    let x = Array::<f32, _>::ones((3, 4));
    let mut out = Array::<f32, _>::zeros((3, 5));
    assert!(matches!(plan.apply_into(x.view(), out.view_mut()), Err(MixError::OutShape { .. })));
    let mut wide = Array::<f32, _>::zeros((2, 4));
    assert_eq!(plan.apply_in_place(wide.view_mut()), Err(MixError::BatchLength { got: 2, expected: 3 }));
    let cut = MixPlan::from_boxes(vec![Rect::new(&[0], &[2]); 3], &[5], vec![1, 2, 0], Lam::Shared(1.0)).unwrap();
    let mut narrow = Array::<f32, _>::zeros((3, 4));
    assert!(matches!(cut.apply_into(x.view(), narrow.view_mut()), Err(MixError::SpatialShape { .. })));
    assert!(out.iter().chain(&wide).chain(&narrow).all(|&element| element == 0.0));
}
