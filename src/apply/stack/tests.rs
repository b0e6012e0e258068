//! Compares stacking with mixing a batch, and normalising with the formula.

use super::*;
use crate::Key;
use crate::error::MixError;
use crate::plan::{Lam, Rect};
use crate::rules::{Mixup, Rule};
use half::{bf16, f16};
use ndarray::Array;

/// A plan with a box per sample, except every fourth; the partner of i is i + 2.
fn boxes(n: usize, shape: &[usize], weight: &[f64]) -> MixPlan {
    let side = |i: usize, len: usize| (i * 7 % len, (i * 7 % len + 1 + i * 5 % len).min(len));
    let rect = |i: usize| {
        let (start, end): (Vec<_>, Vec<_>) = shape.iter().map(|&len| side(i, len)).unzip();
        if i % 4 == 3 { Rect::NONE } else { Rect::new(&start, &end) }
    };
    let partner: Vec<_> = (0..n).map(|i| (i + 2) % n).collect();
    let weight = Lam::Each((0..n).map(|i| weight[i % weight.len()]).collect());
    MixPlan::from_boxes((0..n).map(rect).collect(), shape, partner, weight).unwrap()
}

/// A plan with weights of every kind and partners that form one cycle.
fn blend(n: usize) -> MixPlan {
    let lam = (0..n).map(|i| [0.3, 0.9, 1.0, 0.0, 0.5][i % 5]).collect();
    MixPlan::new(Lam::Each(lam), (0..n).map(|i| (i + 1) % n).collect::<Vec<_>>()).unwrap()
}

fn stack(n: usize, shape: &[usize]) -> ndarray::ArrayD<u8> {
    let mut value = 0_u8;
    Array::from_shape_simple_fn(IxDyn(&[&[n], shape].concat()), || {
        value = value.wrapping_mul(101).wrapping_add(17);
        value
    })
}

#[test]
fn collating_equals_stacking_and_mixing() {
    let shape = [3, 40, 30];
    for n in [1, 2, 9] {
        let batch = stack(n, &shape);
        let samples: Vec<&[u8]> = batch.as_slice().unwrap().chunks(3600).collect();
        let given = MixPlan::new(Lam::Each((0..n).map(|i| [0.3, 1.0, 0.0][i % 3]).collect()), vec![0; n]).unwrap();
        let (cut, both) = (boxes(n, &[40, 30], &[1.0]), boxes(n, &[40, 30], &[1.0, 0.25, 0.75]));
        for plan in [given, blend(n), cut, both] {
            let expected = plan.apply(batch.view()).unwrap();
            for threads in [1, 2, 8] {
                let mut got = vec![0; batch.len()];
                plan.collate(&samples, &shape, None, &mut got, threads).unwrap();
                assert_eq!(got, expected.as_slice().unwrap());
            }
        }
    }
}

#[test]
fn means_of_several_are_stacked_as_they_are_mixed() {
    fn check<T: Element + PartialEq + std::fmt::Debug>(value: impl Fn(u8) -> T) {
        let shape = [3, 40, 30];
        for (n, k) in [(1, 3), (2, 4), (9, 3), (9, 16)] {
            let batch = stack(n, &shape).mapv(&value);
            let samples: Vec<&[T]> = batch.as_slice().unwrap().chunks(3600).collect();
            let rule = Mixup { alpha: 0.3, k, prob: 0.7, fold: false, ..Mixup::default() };
            let plan = rule.plan(n, &[], Key::new(&[7])).unwrap();
            let expected = plan.apply(batch.view()).unwrap();
            for threads in [1, 2, 8] {
                let mut got = vec![T::default(); batch.len()];
                plan.collate(&samples, &shape, None, &mut got, threads).unwrap();
                assert_eq!(got, expected.as_slice().unwrap());
            }
        }
    }
    check(|byte| byte);
    check(|byte| f32::from(byte) / 7.0);
    check(|byte| f64::from(byte) / 7.0);
    check(|byte| f16::from_f32(f32::from(byte) / 7.0));
}

#[test]
fn views_are_gathered_in_c_order() {
    let images = stack(9, &[600, 400, 3]);
    assert!(runtime::worth(2 * images.len(), 8) > 1, "enough for several threads");
    let views = images.view().permuted_axes(vec![0, 3, 1, 2]);
    let samples: Vec<_> = views.outer_iter().map(|view| view.raw_view()).collect();
    for threads in [1, 2, 8] {
        let mut got = vec![0; images.len()];
        // SAFETY: `images` and `got` are alive and have the same number of elements.
        #[allow(unsafe_code)]
        unsafe {
            gather(&samples, got.as_mut_ptr(), threads);
        }
        assert!(views.iter().eq(&got));
    }
}

#[test]
fn long_samples_are_collated_alike_on_any_number_of_threads() {
    let (n, len) = (45, 50_001);
    let batch = Array::from_shape_fn((n, len), |(i, j)| (i * 31 + j * 7) as f32);
    let samples: Vec<&[f32]> = batch.as_slice().unwrap().chunks(len).collect();
    let plan = blend(n);
    let expected = plan.apply(batch.view()).unwrap();
    for threads in [1, 2, 3] {
        let mut got = vec![f32::NAN; n * len];
        plan.collate(&samples, &[len], None, &mut got, threads).unwrap();
        assert!(got == expected.as_slice().unwrap());
    }
}

#[test]
fn boxes_can_lie_along_any_axes() {
    for (shape, axes) in [
        (&[3, 20, 30][..], &[2, 3][..]),
        (&[20, 30, 3], &[1, 2]),
        (&[20, 3, 30], &[1, 3]),
        (&[30, 3, 20], &[3, 1]),
        (&[6, 300], &[2]),
        (&[3, 6, 10, 10], &[2, 3, 4]),
    ] {
        let spatial: Vec<usize> = axes.iter().map(|&axis| shape[axis as usize - 1]).collect();
        let plan = boxes(5, &spatial, &[1.0]);
        let batch = stack(5, shape);
        let samples: Vec<&[u8]> = batch.as_slice().unwrap().chunks(1800).collect();
        let mut got = vec![0; batch.len()];
        plan.collate(&samples, shape, Some(axes), &mut got, 1).unwrap();
        let mut expected = batch.clone();
        for (at, value) in expected.indexed_iter_mut() {
            let rect = plan.boxes().unwrap()[at[0]];
            let first = 3 - axes.len();
            let inside =
                |(k, &axis): (usize, &isize)| (rect.start[first + k]..rect.end[first + k]).contains(&at[axis as usize]);
            if !rect.is_empty() && axes.iter().enumerate().all(inside) {
                let mut there = at.clone();
                there[0] = plan.partner()[at[0]];
                *value = batch[there];
            }
        }
        assert_eq!(got, expected.as_slice().unwrap(), "{shape:?}");
    }
}

/// Compares normalised samples with the formula in float64, within `error`.
fn check_normalized<T: Pixel + Into<f64>, O: NormalizedOutput + Into<f64>>(
    value: impl Fn(usize) -> T,
    shape: &[usize],
    error: f64,
) {
    let (mean, std) = ([0.5, 0.25, 0.4], [0.25, 0.5, 0.125]);
    let lam = [0.3, 0.7, 1.0, 0.0, 0.5];
    let plan = MixPlan::new(Lam::Each(lam.to_vec()), vec![1, 2, 3, 4, 0]).unwrap();
    // The third of three is the sample two after it.
    let three = lam.iter().flat_map(|lam| [0.8 * lam, 0.8 * (1.0 - lam), 0.2]).collect();
    let three = MixPlan::from_weights(3, three, vec![1, 2, 2, 3, 3, 4, 4, 0, 0, 1]).unwrap();
    let len: usize = shape.iter().product();
    let pixels: Vec<T> = (0..5 * len).map(value).collect();
    let samples: Vec<&[T]> = pixels.chunks(len).collect();
    for channels in [1, 3] {
        let normalize = Normalize::new(mean[..channels].to_vec(), std[..channels].to_vec()).unwrap();
        let run = |plan: &MixPlan| {
            let mut out: Vec<O> = vec![O::round(f64::NAN); 5 * len];
            plan.collate_normalized(&samples, shape, None, &normalize, None, &mut out, 1).unwrap();
            out
        };
        for (at, (got, of_three)) in run(&plan).into_iter().zip(run(&three)).enumerate() {
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
            let third: f64 = samples[(i + 2) % 5][k].into();
            let expected = ((0.8 * mixed + 0.2 * third / T::UNIT) - mean[channel]) / std[channel];
            // Computed in float64 and rounded once: to one of the two nearest values, almost always to the same.
            let (got, rounded): (f64, f64) = (of_three.into(), O::round(expected).into());
            assert!((got - expected).abs() <= (rounded - expected).abs() + 1e-9, "{shape:?} {channels} {at}");
        }
    }
}

#[test]
fn normalised_pixels_follow_the_formula() {
    // A channel has more pixels than are normalised at once, and not a multiple of them.
    for shape in [[3, 20, 35], [20, 35, 3]] {
        let byte = |i: usize| (i * 101 % 256) as u8;
        check_normalized::<u8, f32>(byte, &shape, 1e-6);
        check_normalized::<u8, f16>(byte, &shape, 4e-3);
        check_normalized::<u8, bf16>(byte, &shape, 3e-2);
        check_normalized::<f32, f32>(|i| f32::from(byte(i)) / 255.0, &shape, 1e-6);
    }
    // Samples of several columns.
    check_normalized::<u8, f32>(|i| (i * 101 % 256) as u8, &[3, 100, 301], 1e-6);
}

#[test]
fn nan_of_an_unused_partner_does_not_leak() {
    let normalize = Normalize::new(vec![0.0], vec![1.0]).unwrap();
    let plan = MixPlan::new(Lam::Each(vec![1.0, 0.0]), vec![1, 0]).unwrap();
    let mut out = [0.0_f32; 2];
    plan.collate_normalized(&[&[2.0], &[f32::NAN]], &[1], None, &normalize, None, &mut out, 1).unwrap();
    assert_eq!(out, [2.0, 2.0]);
}

#[test]
fn channels_come_first_or_last() {
    let normalize = Normalize::new(vec![0.5, 0.25], vec![0.5, 0.125]).unwrap();
    let plan = MixPlan::new(Lam::Shared(0.5), vec![0]).unwrap();
    let run = |shape: &[usize], pixels: &[f32]| {
        let mut out = vec![0.0_f32; pixels.len()];
        let done = plan.collate_normalized(&[pixels], shape, None, &normalize, None, &mut out, 1);
        done.map(|()| out)
    };
    assert_eq!(run(&[2, 1, 3], &[0.5, 1.0, 0.0, 0.25, 0.5, 0.0]).unwrap(), [0.0, 1.0, -1.0, 0.0, 2.0, -2.0]);
    assert_eq!(run(&[1, 3, 2], &[0.5, 0.25, 1.0, 0.5, 0.0, 0.0]).unwrap(), [0.0, 0.0, 1.0, 2.0, -1.0, -2.0]);
    assert_eq!(run(&[3], &[0.0; 3]), Err(MixError::Channels { got: vec![3], expected: 2 }));
}
