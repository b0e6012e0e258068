//! Plans: equality, properties, soft targets and choices.

use super::*;

fn cut(rect: Rect) -> MixPlan {
    MixPlan::from_boxes(vec![rect, Rect::NONE], &[1, 2], vec![1, 0], Lam::Shared(1.0)).unwrap()
}

fn plan(lam: f64, partner: usize) -> MixPlan {
    MixPlan::new(Lam::Each(vec![lam, 1.0]), vec![partner, 0]).unwrap()
}

#[test]
fn plans_are_equal_by_value() {
    assert_eq!(plan(0.5, 1), plan(0.5, 1));
    assert_ne!(plan(0.5, 1), plan(0.25, 1));
    assert_ne!(plan(0.5, 1), plan(0.5, 0));
    // One pixel of two: λ = ½, as without a region.
    let (left, right) = (Rect::new(&[0, 0], &[1, 1]), Rect::new(&[0, 1], &[1, 2]));
    assert_eq!(cut(left), cut(left));
    assert_ne!(cut(left), cut(right));
    assert_ne!(cut(left), plan(0.5, 1));
    assert_eq!(*cut(left).without_region(), plan(0.5, 1));
    assert_eq!(*plan(0.5, 1).without_region(), plan(0.5, 1));
}

#[test]
fn plans_describe_themselves() {
    let plan = cut(Rect::NONE);
    assert_eq!((plan.len(), plan.is_empty(), plan.spatial_shape()), (2, false, Some(&[1, 2][..])));
    assert!(plan.only_copies());
    let plan = MixPlan::new(Lam::Each(vec![]), vec![]).unwrap();
    assert_eq!((plan.len(), plan.is_empty(), plan.spatial_shape()), (0, true, None));
    assert!(!plan.only_copies());
    let both = MixPlan::from_boxes(vec![Rect::NONE], &[3], vec![0], Lam::Shared(0.5)).unwrap();
    assert!(!both.only_copies());
}

#[test]
fn soft_targets_follow_the_plan() {
    let plan = MixPlan::new(Lam::Each(vec![0.75, 1.0]), vec![1, 0]).unwrap();
    let mut targets = [9.0; 6];
    plan.soft_targets(&[0_u8, 2], None, SoftTargets::new(3, 0.0).unwrap(), &mut targets).unwrap();
    assert_eq!(targets, [0.75, 0.0, 0.25, 0.0, 0.0, 1.0]);
    let three = plan.soft_targets(&[0_u8; 3], None, SoftTargets::new(3, 0.0).unwrap(), &mut targets);
    assert_eq!(three, Err(MixError::BatchLength { got: 3, expected: 2 }));
    assert_eq!(plan.check_batch(&[]), Err(MixError::NoBatchAxis));
}

#[test]
fn each_sample_follows_the_chosen_plan() {
    let (blend, cut) = (plan(0.5, 1), cut(Rect::new(&[0, 0], &[1, 1])));
    let choose =
        |which: [Option<usize>; 2]| MixPlan::choose(&[None, Some(blend.clone()), Some(cut.clone())], &which).unwrap();
    assert_eq!(choose([Some(2), Some(2)]), cut);
    let mixed = choose([Some(1), Some(2)]);
    assert_eq!((mixed.lam(), mixed.weight(), mixed.partner()), (&[0.5, 1.0][..], &[0.5, 1.0][..], &[1, 0][..]));
    let rest = choose([None, Some(1)]);
    assert_eq!((rest.lam(), rest.partner()), (&[1.0, 1.0][..], &[1, 0][..]));
    assert_eq!(MixPlan::choose(&[None], &[None, None]).unwrap(), MixPlan::identity(2).unwrap());
    assert!(MixPlan::choose(&[Some(blend)], &[Some(0); 3]).is_err());
    let other = MixPlan::from_boxes(vec![Rect::NONE; 2], &[2, 2], vec![1, 0], Lam::Shared(1.0)).unwrap();
    assert!(matches!(
        MixPlan::choose(&[Some(cut), Some(other)], &[Some(0), Some(1)]),
        Err(MixError::SpatialShapes { .. })
    ));
}

#[test]
fn partners_of_another_batch_are_part_of_a_plan() {
    let of = |other| MixPlan::new(Lam::Shared(0.5), Partners::of_other(vec![1, 0], other)).unwrap();
    assert_eq!(of(3), of(3));
    assert!(of(3) != of(2) && of(2) != MixPlan::new(Lam::Shared(0.5), vec![1, 0]).unwrap());
    assert_eq!((of(3).without_region().other(), MixPlan::identity(2).unwrap().other()), (Some(3), None));
    // There is no sample that is its own partner.
    assert!(!of(3).is_alone(0) && MixPlan::identity(2).unwrap().is_alone(0));
    assert_eq!(of(3).order().samples, [0, 1]);
    let outside = MixPlan::new(Lam::Shared(0.5), Partners::of_other(vec![1, 3], 3));
    assert_eq!(outside, Err(MixError::PartnerRange { index: 1, value: 3, n: 3 }));
    let mixed = MixPlan::choose(&[Some(of(3)), Some(of(2))], &[Some(0), Some(1)]);
    assert_eq!(mixed, Err(MixError::Others { got: Some(2), expected: Some(3) }));
    assert_eq!(MixPlan::choose(&[Some(of(3)), None], &[Some(0), None]).unwrap().other(), Some(3));
    let mut targets = [0.0; 4];
    let soft = SoftTargets::new(2, 0.0).unwrap();
    of(3).soft_targets(&[0_u8, 0], Some(&[0, 1, 0]), soft, &mut targets).unwrap();
    assert_eq!(targets, [0.5, 0.5, 1.0, 0.0]);
    let missing = of(3).soft_targets(&[0_u8, 0], None, soft, &mut targets);
    assert_eq!(missing, Err(MixError::NoOther { expected: 3 }));
}
