//! Compares means with the formula in float64.

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
    for (k, shape) in [(3, vec![5, 3, 700]), (4, vec![9, 2500]), (16, vec![20, 2, 3]), (3, vec![4]), (5, vec![3, 2])] {
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
fn another_batch_is_refused() {
    let (plan, x) = (drawn(3, 4), values(&[4, 5]));
    assert_eq!(plan.apply_with(x.view(), x.view()), Err(MixError::OtherGiven { got: 4 }));
}
