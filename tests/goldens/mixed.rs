//! Hashes of mixed batches. Inputs are made from bits by integer arithmetic, so that they are the same everywhere.

use half::{bf16, f16};
use mixup_rs::arithmetic::{NormalizedOutput, Pixel};
use mixup_rs::{Choice, CutMix, Element, Key, Lam, MixPlan, Mixup, Mode, Normalize, OneOf, Opaque, Rect, Rule};
use ndarray::{ArrayD, IxDyn};

use crate::fnv;

/// SplitMix64: the bits of element number `i`, by integer arithmetic alone.
fn random(i: usize) -> u64 {
    let state = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// 6 samples of 3 × 37 × 29 pixels: whole vectors and remainders.
const SHAPE: [usize; 4] = [6, 3, 37, 29];

const PARTNER: [usize; 6] = [2, 0, 1, 3, 3, 4];

/// A plan with every kind of weight, that only blends.
fn blended() -> MixPlan {
    let lam = vec![0.3, 0.7, 0.0, 1.0, 0.5, 1.0 / 3.0];
    MixPlan::new(Lam::Each(lam), PARTNER.to_vec()).unwrap()
}

/// The boxes of the plans that cut.
fn rects() -> Vec<Rect> {
    let rect = |i: usize| Rect::new(&[3 * i, 2], &[3 * i + 11, 5 + 4 * i]);
    (0..6).map(|i| if i == 1 { Rect::NONE } else { rect(i) }).collect()
}

fn cut(weight: Lam) -> MixPlan {
    MixPlan::from_boxes(rects(), &SHAPE[2..], PARTNER.to_vec(), weight).unwrap()
}

/// Plans that blend, cut, and do both.
fn plans() -> [MixPlan; 3] {
    let weight = Lam::Each(vec![0.3, 0.7, 0.0, 1.0, 0.5, 1.0 / 3.0]);
    [blended(), cut(Lam::Shared(1.0)), cut(weight)]
}

/// Hashes of a batch mixed by each plan.
fn hashes<T: Element + PartialEq>(element: impl Fn(u64) -> T, bits: impl Fn(&T) -> u64) -> [u64; 3] {
    plans().map(|plan| hash(&plan, &element, &bits))
}

/// The hash of a batch mixed by a plan: the same into a new array, in place, and by collate.
fn hash<T: Element + PartialEq>(plan: &MixPlan, element: impl Fn(u64) -> T, bits: impl Fn(&T) -> u64) -> u64 {
    let size = SHAPE.iter().product();
    let x = ArrayD::from_shape_vec(IxDyn(&SHAPE), (0..size).map(|i| element(random(i))).collect()).unwrap();
    let hash = |mixed: &[T]| fnv(mixed.iter().map(&bits));
    let new = hash(plan.apply(x.view()).unwrap().as_slice().unwrap());
    let mut in_place = x.clone();
    plan.apply_in_place(in_place.view_mut()).unwrap();
    assert_eq!(hash(in_place.as_slice().unwrap()), new);
    let samples: Vec<&[T]> = x.as_slice().unwrap().chunks(size / SHAPE[0]).collect();
    let mut batch = vec![T::default(); size];
    plan.collate(&samples, &SHAPE[1..], None, &mut batch, 1).unwrap();
    assert_eq!(hash(&batch), new);
    new
}

#[test]
fn resized_partners_have_these_bits() {
    let plan = MixPlan::from_resized(rects(), &SHAPE[2..], PARTNER.to_vec(), Lam::Shared(1.0)).unwrap();
    let f32_of = |bits: u64| f32::from_bits((bits >> 32) as u32 & !(0x7F << 24) | 0x3F << 24);
    let f16_of = |bits: u64| f16::from_bits((bits >> 48) as u16 & !(0x18 << 10) | 0x8 << 10);
    let bf16_of = |bits: u64| bf16::from_bits((bits >> 48) as u16 & !(0x7F << 8) | 0x3F << 8);
    let got = [
        hash(&plan, f32_of, |value| value.to_bits().into()),
        hash(&plan, |bits| f64::from(f32_of(bits)), |value| value.to_bits()),
        hash(&plan, f16_of, |value| value.to_bits().into()),
        hash(&plan, bf16_of, |value| value.to_bits().into()),
        hash(&plan, |bits| bits as u8, |value| u64::from(*value)),
        hash(&plan, |bits| bits as i16, |value| *value as u64),
        hash(&plan, Opaque, |value| value.0),
        hash(&plan.for_classes(), |bits| bits as u8, |value| u64::from(*value)),
    ];
    let expected = [
        0x2e90_31be_3321_8010,
        0x6fd3_4d9f_de44_c988,
        0xdfc2_12db_a749_24f5,
        0x4762_fbf3_3fdd_54ea,
        0x3998_2319_3b2a_3241,
        0x24f2_fdd0_ef77_09f8,
        0x018d_46a8_c713_aae0,
        0x57cf_cc90_5822_9e4d,
    ];
    assert_eq!(got, expected, "{got:#x?}");
}

#[test]
fn every_element_type_is_mixed_to_these_bits() {
    // Integers have any bits. Floats have exponents near 0, but every 16th has any bits, which gives NaNs, infinities and
    // subnormals.
    let any = |bits: u64| bits.is_multiple_of(16);
    let f64_of = |bits: u64| f64::from_bits(if any(bits) { bits } else { bits & !(0x7F8 << 52) | 0x3F8 << 52 });
    let f32_of = |bits: u64| {
        let low = (bits >> 32) as u32;
        f32::from_bits(if any(bits) { low } else { low & !(0x7F << 24) | 0x3F << 24 })
    };
    let f16_of = |bits: u64| {
        let low = (bits >> 48) as u16;
        f16::from_bits(if any(bits) { low } else { low & !(0x18 << 10) | 0x8 << 10 })
    };
    let bf16_of = |bits: u64| {
        let low = (bits >> 48) as u16;
        bf16::from_bits(if any(bits) { low } else { low & !(0x7F << 8) | 0x3F << 8 })
    };
    let got = [
        ("f64", hashes(f64_of, |element| element.to_bits())),
        ("f32", hashes(f32_of, |element| element.to_bits().into())),
        ("f16", hashes(f16_of, |element| element.to_bits().into())),
        ("bf16", hashes(bf16_of, |element| element.to_bits().into())),
        ("u8", hashes(|bits| bits as u8, |&element| element.into())),
        ("i8", hashes(|bits| bits as i8, |&element| element as u64)),
        ("u16", hashes(|bits| bits as u16, |&element| element.into())),
        ("i16", hashes(|bits| bits as i16, |&element| element as u64)),
    ];
    let expected = [
        ("f64", [0xe6bb_595a_7e72_16e5, 0x8f50_bdaa_3c74_61d9, 0x73a7_77dd_5a03_5f35]),
        ("f32", [0x7120_6c23_758e_b1bb, 0x075b_ff77_b71b_f4aa, 0x4ef5_c5e9_5055_535c]),
        ("f16", [0x7180_23da_04b9_94aa, 0x23ff_c96b_6ba0_40c8, 0xab4c_2adc_7a77_c414]),
        ("bf16", [0x3011_73f3_2f38_b4a8, 0xeaa7_1976_ded9_3dc3, 0x69a1_6808_8f36_c7a4]),
        ("u8", [0xbe17_f2ce_ea8d_2dad, 0xa082_8b30_9614_56ec, 0xfe2d_311f_f352_9bd2]),
        ("i8", [0xa877_9682_a16f_806f, 0x3695_1065_053b_443b, 0xde2c_f400_9bb7_4cfd]),
        ("u16", [0x5530_c6ea_31d0_5abc, 0x3500_bb7a_ca8e_5f4b, 0x021d_696a_a963_b3f3]),
        ("i16", [0x2354_9119_a44c_2217, 0x7a40_8131_98f0_3415, 0x7f73_1618_21bc_3eee]),
    ];
    assert_eq!(got, expected, "{got:#x?}");
}

#[test]
fn opaque_elements_are_cut_to_these_bits() {
    let x = ArrayD::from_shape_fn(IxDyn(&SHAPE), |at| Opaque(random(at[0] * 9999 + at[1] * 999 + at[2] * 37 + at[3])));
    let mixed = cut(Lam::Shared(1.0)).apply(x.view()).unwrap();
    assert_eq!(fnv(mixed.iter().map(|element| element.0)), 0x67f7_09b4_4eb9_afbb);
}

/// Hashes of a normalised batch in float32, float16 and bfloat16.
fn normalized<T: Pixel>(element: impl Fn(u64) -> T) -> [u64; 3] {
    fn hash<T: Pixel, O: NormalizedOutput>(pixels: &[T], zero: O, bits: impl Fn(&O) -> u64) -> u64 {
        let normalize = Normalize::new(vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]).unwrap();
        let samples: Vec<&[T]> = pixels.chunks(pixels.len() / SHAPE[0]).collect();
        let mut batch = vec![zero; pixels.len()];
        let plan = &plans()[2];
        plan.collate_normalized(&samples, &SHAPE[1..], None, &normalize, None, &mut batch, 1).unwrap();
        fnv(batch.iter().map(bits))
    }
    let pixels: Vec<T> = (0..SHAPE.iter().product()).map(|i| element(random(i))).collect();
    [
        hash(&pixels, 0.0_f32, |value| value.to_bits().into()),
        hash(&pixels, f16::ZERO, |value| value.to_bits().into()),
        hash(&pixels, bf16::ZERO, |value| value.to_bits().into()),
    ]
}

#[test]
fn pixels_are_normalised_to_these_bits() {
    // Floats in [0, 1), exact in every type.
    let fraction = |bits: u64| f32::from(bits as u8) / 256.0;
    let got = [
        ("u8", normalized(|bits| bits as u8)),
        ("u16", normalized(|bits| bits as u16)),
        ("f16", normalized(|bits| f16::from_bits((bits as u16 & 0x3FF) | 14 << 10))),
        ("f32", normalized(fraction)),
        ("f64", normalized(|bits| f64::from(fraction(bits)))),
    ];
    let expected = [
        ("u8", [0x4135_2bf8_ab8c_ad1f, 0x2847_9067_8710_11f7, 0xc955_c76a_b60a_d70a]),
        ("u16", [0x0ce6_ea86_2c77_d8cc, 0x04c5_d0c6_6e64_7204, 0x6938_f9b8_7529_3618]),
        ("f16", [0xda46_4135_4067_511e, 0xbe99_c7ee_d7ac_1bbf, 0x05e3_8096_b782_2e23]),
        ("f32", [0x812b_2a50_fca1_174b, 0x0e48_f44d_30db_3a4a, 0xa276_fcee_944e_48a1]),
        ("f64", [0x812b_2a50_fca1_174b, 0x0e48_f44d_30db_3a4a, 0xa276_fcee_944e_48a1]),
    ];
    assert_eq!(got, expected, "{got:#x?}");
}

#[test]
fn large_batches_are_mixed_to_these_bits() {
    // Above 10 MiB a new result is written past the cache. Both ways to mix run on several threads.
    let shape = [9, 3, 330, 300];
    let size: usize = shape.iter().product();
    let element = |i: usize| f32::from_bits((random(i) >> 32) as u32 & 0x00FF_FFFF | 0x3F << 24);
    let x = ArrayD::from_shape_vec(IxDyn(&shape), (0..size).map(element).collect()).unwrap();
    let rules: Vec<Box<dyn Rule>> = vec![Box::new(Mixup::default()), Box::new(CutMix::default())];
    let rule = OneOf { rules, choice: Choice::new(2, None, Mode::Elem).unwrap() };
    let plan = rule.plan(9, &shape[2..], Key::new(&[1])).unwrap();
    let new = plan.apply(x.view()).unwrap();
    let mut in_place = x;
    plan.apply_in_place(in_place.view_mut()).unwrap();
    assert!(in_place == new);
    assert_eq!(fnv(new.iter().map(|element| element.to_bits().into())), 0x4de3_8ac8_cc97_4b7a);
}

#[test]
fn batches_of_several_samples_have_these_hashes() {
    let plan = Mixup { alpha: 0.7, k: 4, fold: false, ..Mixup::default() }.plan(6, &[], Key::new(&[42])).unwrap();
    let size = SHAPE.iter().product();
    let hash = |mixed: &ArrayD<f32>| fnv(mixed.iter().map(|x| u64::from(x.to_bits())));
    let x = ArrayD::from_shape_vec(IxDyn(&SHAPE), (0..size).map(|i| (random(i) >> 40) as f32).collect()).unwrap();
    let bytes = x.mapv(|x| x as u32 as u8);
    assert_eq!(hash(&plan.apply(x.view()).unwrap()), 0x1847_eb19_9045_a88c);
    assert_eq!(fnv(plan.apply(bytes.view()).unwrap().iter().map(|x| u64::from(*x))), 0x90ac_2799_e27f_b804);
    assert_eq!(hash(&plan.apply(x.mapv(f16::from_f32).view()).unwrap().mapv(f32::from)), 0x6458_8544_3337_2845);
}
