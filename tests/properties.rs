//! Properties of every plan and every array. `make fuzz-rust` runs many more cases than `cargo test`.

use half::{bf16, f16};
use mixup_rs::{CutMix, Element, Key, Lam, MixPlan, Mixup, Mode, Opaque, Rect, Rule, SoftTargets};
use ndarray::{Array2, ArrayD, Axis, IxDyn, Slice, s};
use proptest::collection::vec;
use proptest::prelude::*;

/// λ, with a preference for values where the arithmetic changes.
fn weight() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(0.5), Just(1.0), Just(f64::MIN_POSITIVE), Just(1.0 - f64::EPSILON / 2.0), 0.0..=1.0]
}

/// A plan of 1 to 12 samples with partners of every kind: cycles, repeats, fixed points.
fn plan() -> impl Strategy<Value = MixPlan> {
    (1..=12_usize).prop_flat_map(|n| {
        let shuffled = Just((0..n).collect::<Vec<_>>()).prop_shuffle();
        let partner = prop_oneof![vec(0..n, n), shuffled];
        (vec(weight(), n), partner).prop_map(|(lam, partner)| MixPlan::new(Lam::Each(lam), partner).unwrap())
    })
}

/// The shape of a sample.
fn sample_shape() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(0..=7_usize, 0..=3), vec(1..=600_usize, 1)]
}

/// An array of `n` samples with elements drawn from `seed`.
fn array<T>(n: usize, sample: &[usize], seed: u64, element: impl Fn(u64) -> T) -> ArrayD<T> {
    let shape: Vec<usize> = [n].into_iter().chain(sample.iter().copied()).collect();
    let mut state = seed;
    ArrayD::from_shape_simple_fn(IxDyn(&shape), || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        element(mixed ^ (mixed >> 31))
    })
}

/// Compares every way to mix `x` with the others and with the formula in float64.
fn check<T: Element + PartialEq + std::fmt::Debug>(
    plan: &MixPlan,
    x: &ArrayD<T>,
    wide: impl Fn(T) -> f64,
    tolerance: impl Fn(f64) -> f64,
) -> Result<(), TestCaseError> {
    let mixed = plan.apply(x.view()).unwrap();
    for (i, (&lam, &partner)) in plan.lam().iter().zip(plan.partner()).enumerate() {
        let (own, other) = (x.index_axis(Axis(0), i), x.index_axis(Axis(0), partner));
        for ((&got, &a), &b) in mixed.index_axis(Axis(0), i).iter().zip(&own).zip(&other) {
            let (got, a, b) = (wide(got), wide(a), wide(b));
            let exact = lam * a + (1.0 - lam) * b;
            let largest = a.abs().max(b.abs());
            prop_assert!((got - exact).abs() <= tolerance(largest), "{lam} {a} {b}: {got} for {exact}");
            prop_assert!(a.min(b) <= got && got <= a.max(b), "{lam} {a} {b}: {got} is not between them");
            if lam == 1.0 || lam == 0.0 || a == b {
                prop_assert_eq!(got, if lam == 0.0 { b } else { a });
            }
        }
    }

    let mut in_place = x.clone();
    plan.apply_in_place(in_place.view_mut()).unwrap();
    prop_assert_eq!(&in_place, &mixed);

    // Every axis mirrored, and the axes in reverse order.
    let mut turned = x.clone().reversed_axes().as_standard_layout().into_owned().reversed_axes();
    (0..turned.ndim()).for_each(|axis| turned.invert_axis(Axis(axis)));
    turned.assign(x);
    let mut out = turned.clone();
    plan.apply_into(x.view(), out.view_mut()).unwrap();
    prop_assert_eq!(&out, &mixed);
    plan.apply_into(turned.view(), in_place.view_mut()).unwrap();
    prop_assert_eq!(&in_place, &mixed);
    plan.apply_in_place(turned.view_mut()).unwrap();
    prop_assert_eq!(&turned, &mixed);
    Ok(())
}

proptest! {
    #[test]
    fn every_element_type_follows_the_formula(plan in plan(), sample in sample_shape(), seed: u64) {
        let n = plan.len();
        let float = |bits: u64| (bits as i64 as f64) / 2_f64.powi(50);
        check(&plan, &array(n, &sample, seed, float), |x| x, |largest| 4.0 * f64::EPSILON * largest)?;
        let single = array(n, &sample, seed, |bits| float(bits) as f32);
        check(&plan, &single, f64::from, |largest| 4.0 * f64::from(f32::EPSILON) * largest)?;
        let half = array(n, &sample, seed, |bits| f16::from_f64(float(bits) / 16.0));
        check(&plan, &half, f64::from, |largest| largest * f16::EPSILON.to_f64() + 1e-7)?;
        let brain = array(n, &sample, seed, |bits| bf16::from_f64(float(bits)));
        check(&plan, &brain, f64::from, |largest| largest * bf16::EPSILON.to_f64())?;
        let nearest = |_| 0.5 + 1.0 / 128.0;
        check(&plan, &array(n, &sample, seed, |bits| bits as u8), f64::from, nearest)?;
        check(&plan, &array(n, &sample, seed, |bits| bits as i8), f64::from, nearest)?;
        check(&plan, &array(n, &sample, seed, |bits| bits as u16), f64::from, nearest)?;
        check(&plan, &array(n, &sample, seed, |bits| bits as i16), f64::from, nearest)?;
    }

    #[test]
    fn overlap_does_not_change_the_result(
        plan in plan(), width in 0..6_usize, from in (0..9_usize, 0..3_usize), to in (0..9_usize, 0..3_usize), seed: u64,
    ) {
        let n = plan.len();
        let memory = array(300, &[], seed, |bits| (bits >> 40) as f32);
        // Rows with any start and gap, in either direction.
        let window = |(start, gap): (usize, usize)| {
            let end = start + n * (width + gap);
            (Slice::new(start as isize, Some(end as isize), 1), (n, width + gap), if (start + gap) % 2 == 0 { 1 } else { -1 })
        };
        let ((from, from_shape, from_step), (to, to_shape, to_step)) = (window(from), window(to));
        let mut alone = memory.clone();
        let mut shared = memory.clone();

        let x = memory.slice_axis(Axis(0), from).into_shape_with_order(from_shape).unwrap();
        let x = x.slice(s![..;from_step, ..width]);
        let mut out = alone.slice_axis_mut(Axis(0), to).into_shape_with_order(to_shape).unwrap();
        plan.apply_into(x, out.slice_mut(s![..;to_step, ..width])).unwrap();

        let x = shared.slice_axis(Axis(0), from).into_shape_with_order(from_shape).unwrap();
        let x = x.slice(s![..;from_step, ..width]).into_dyn().raw_view();
        let mut out = shared.slice_axis_mut(Axis(0), to).into_shape_with_order(to_shape).unwrap();
        let out = out.slice_mut(s![..;to_step, ..width]).into_dyn().raw_view_mut();
        // SAFETY: both views lie within `shared`.
        unsafe { plan.apply_raw(x, None, out, None, 2) }.unwrap();
        prop_assert_eq!(alone, shared);
    }

    #[test]
    fn boxes_come_from_the_partner(
        n in 1..9_usize, shape in vec(1..12_usize, 1..=3), key: u64, mode in 0..3_usize, sized: bool,
    ) {
        let mode = [Mode::Elem, Mode::Pair, Mode::Batch][mode];
        let rule = CutMix { mode, minmax: sized.then_some((0.2, 0.9)), ..CutMix::default() };
        let plan = rule.plan(n, &shape, Key::new(&[key])).unwrap();
        let sample: Vec<usize> = [2].into_iter().chain(shape.iter().copied()).collect();
        let x = array(n, &sample, key, Opaque);
        let boxes = plan.boxes().unwrap();
        for (Rect { start, end }, lam) in boxes.iter().zip(plan.lam()) {
            let whole = [vec![1; 3 - shape.len()], shape.clone()].concat();
            prop_assert!((0..3).all(|axis| start[axis] <= end[axis] && end[axis] <= whole[axis]));
            let covered: usize = (0..3).map(|axis| end[axis] - start[axis]).product();
            let size: usize = shape.iter().product();
            prop_assert!((lam - (size - covered) as f64 / size as f64).abs() < 1e-12);
        }
        let mut expected = x.clone();
        for (at, own) in expected.indexed_iter_mut() {
            let Rect { start, end } = boxes[at[0]];
            let first = 3 - shape.len();
            if (0..shape.len()).all(|k| (start[first + k]..end[first + k]).contains(&at[2 + k])) {
                let mut there = at.clone();
                there[0] = plan.partner()[at[0]];
                *own = x[there];
            }
        }
        prop_assert_eq!(&plan.apply(x.view()).unwrap(), &expected);
        let mut in_place = x.clone();
        plan.apply_in_place(in_place.view_mut()).unwrap();
        prop_assert_eq!(in_place, expected);
    }

    #[test]
    fn soft_targets_are_mixed_one_hot_rows(plan in plan(), num_classes in 1..9_usize, smoothing in 0.0..=1.0, seed: u64) {
        let classes: Vec<u64> = array(plan.len(), &[], seed, |bits| bits % num_classes as u64).into_iter().collect();
        let mut targets = Array2::<f32>::from_elem((plan.len(), num_classes), f32::NAN);
        let how = SoftTargets::new(num_classes, smoothing).unwrap();
        plan.soft_targets(&classes, None, how, targets.as_slice_mut().unwrap()).unwrap();
        let hot = Array2::from_shape_fn((plan.len(), num_classes), |(i, class)| {
            let hot = if classes[i] == class as u64 { 1.0 - smoothing } else { 0.0 };
            hot + smoothing / num_classes as f64
        });
        let mixed = plan.apply(hot.view()).unwrap();
        for (got, expected) in targets.iter().zip(&mixed) {
            prop_assert!((f64::from(*got) - expected).abs() < 1e-7);
        }
        for row in targets.rows() {
            prop_assert!((row.sum() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn drawn_plans_are_valid_and_repeatable(
        n in 0..40_usize, alpha in prop_oneof![1e-3..1e3, Just(1e-308), Just(f64::MAX)], fold: bool, mode in 0..3_usize,
        key in vec(any::<u64>(), 0..4),
    ) {
        let mode = [Mode::Elem, Mode::Pair, Mode::Batch][mode];
        let rule = Mixup { alpha, fold, mode, ..Mixup::default() };
        let plan = rule.plan(n, &[], Key::new(&key)).unwrap();
        prop_assert_eq!(&plan, &rule.plan(n, &[], Key::new(&key)).unwrap());
        let least = if fold { 0.5 } else { 0.0 };
        prop_assert!(plan.lam().iter().all(|lam| (least..=1.0).contains(lam)));
        let mut partner = plan.partner().to_vec();
        partner.sort_unstable();
        prop_assert!(partner.into_iter().eq(0..n));
    }
}
