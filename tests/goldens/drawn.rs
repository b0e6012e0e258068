//! Drawn values: λ by their bits, partners and boxes.

use mixup_rs::{
    Choice, CutMix, FMix, GridMix, Key, MixPlan, Mixup, Mode, OneOf, ResizeMix, Rule, STREAM_VERSION, SmoothMix,
};

use crate::fnv;

/// The bits of λ.
fn bits(plan: &MixPlan) -> Vec<u64> {
    plan.lam().iter().map(|lam| lam.to_bits()).collect()
}

/// The bits of 1.
const ONE: u64 = 0x3ff0_0000_0000_0000;

/// The bits of 1.fraction · 2^exponent, as Python's `float.hex` writes it.
fn hex(exponent: i32, fraction: u64) -> u64 {
    ((1023 + exponent) as u64) << 52 | fraction
}

/// The starts and ends of each box along the spatial axes.
fn boxes<const AXES: usize>(plan: &MixPlan) -> Vec<[[usize; AXES]; 2]> {
    let last = |ends: [usize; 3]| *ends.last_chunk::<AXES>().unwrap();
    plan.boxes().unwrap().iter().map(|rect| [rect.start, rect.end].map(last)).collect()
}

#[test]
fn mixup_draws_the_values_of_the_python_tests() {
    // The table GOLDEN in tests/core/test_sample.py.
    assert_eq!(STREAM_VERSION, 1);
    let an_int_of_two_words = Key::from_digits([&[5, 1][..]]);
    let paper = Mixup { alpha: 1.0, fold: false, ..Mixup::default() };
    let small = Mixup { alpha: 0.1, ..paper.clone() };
    let large = Mixup { alpha: 4.0, ..paper.clone() };
    let pair = Mixup { mode: Mode::Pair, ..Mixup::default() };
    let batch = Mixup { mode: Mode::Batch, ..Mixup::default() };
    type Case = (&'static str, Mixup, Key, Vec<u64>, Vec<usize>);
    let cases: [Case; 8] = [
        (
            "an int",
            Mixup::default(),
            Key::new(&[0]),
            vec![
                hex(-1, 0xc1d5137d18f4b),
                hex(-1, 0xfb7f9ad932065),
                hex(-1, 0xff73639c4a431),
                hex(-1, 0x60677288ab3a9),
            ],
            vec![2, 0, 3, 1],
        ),
        (
            "ints",
            Mixup::default(),
            Key::new(&[42, 0]),
            vec![
                hex(-1, 0xe3a2aa2f7bd3f),
                hex(-1, 0xc4ede20a1a205),
                hex(-1, 0x968b0b6c6f110),
                hex(-1, 0xb65eac0a064b7),
                hex(-1, 0xfd6318935f3da),
            ],
            vec![4, 1, 2, 0, 3],
        ),
        (
            "an int of two words",
            Mixup::default(),
            an_int_of_two_words,
            vec![
                hex(-1, 0x274627bef4277),
                hex(-1, 0xffde1c232ac21),
                hex(-1, 0xfed682a892cc1),
                hex(-1, 0x3cbea21cec05a),
            ],
            vec![0, 2, 1, 3],
        ),
        (
            "the paper's",
            paper,
            Key::new(&[7]),
            vec![
                hex(-1, 0xa1ac4c7cc6637),
                hex(-3, 0xa5457514d94ee),
                hex(-1, 0x5ceea7cd60d62),
                hex(-2, 0x9854720c7fa9c),
            ],
            vec![2, 3, 0, 1],
        ),
        (
            "alpha below 1",
            small,
            Key::new(&[1, 2, 3]),
            vec![
                hex(-7, 0x2722e5a815b3c),
                hex(-6, 0x6de0a0a7fe722),
                hex(-2, 0x3a34e44dddb94),
                hex(-1, 0xfffff80edbb0f),
            ],
            vec![2, 1, 3, 0],
        ),
        (
            "alpha above 1",
            large,
            Key::new(&[1, 2, 3]),
            vec![
                hex(-1, 0x21ac2c2867798),
                hex(-1, 0x29c69c1261145),
                hex(-2, 0x41df749c08fab),
                hex(-1, 0x145a04e328d9a),
            ],
            vec![2, 1, 3, 0],
        ),
        (
            "pairs",
            pair,
            Key::new(&[42, 0]),
            vec![
                hex(-1, 0xe3a2aa2f7bd3f),
                hex(-1, 0xc4ede20a1a205),
                hex(-1, 0xc4ede20a1a205),
                hex(-1, 0xb65eac0a064b7),
                hex(-1, 0xb65eac0a064b7),
            ],
            vec![0, 2, 1, 4, 3],
        ),
        ("one weight", batch, Key::new(&[42, 0]), vec![hex(-1, 0xe3a2aa2f7bd3f); 4], vec![2, 1, 0, 3]),
    ];
    for (name, rule, key, lam, partner) in cases {
        let plan = rule.plan(partner.len(), &[], key).unwrap();
        assert_eq!(bits(&plan), lam, "{name}");
        assert_eq!(plan.partner(), partner, "{name}");
    }
}

#[test]
fn mixup_of_several_draws_these_values() {
    // The first of these are in tests/core/test_sample.py as well.
    for (alpha, fold, weights) in [
        (
            0.4,
            true,
            [
                0x3fe_5b527593e4819,
                0x3fc_cc1d34add7c7e,
                0x3fb_8d31ea052c636,
                0x3fe_b0d1c3881af1b,
                0x3fa_07b883c567e2f,
                0x3fb_f595a1dc74809,
                0x3fe_f3d884dce5a00,
                0x3f8_439c6664f6ac7,
                0x3f8_c6426261a151b,
            ],
        ),
        (
            2.0,
            false,
            [
                0x3fd_0ed56bdaec089,
                0x3fe_3d0a835478f9d,
                0x3fb_dc5635f0880f6,
                0x3fe_0f12cc089e457,
                0x3f9_4d97d8deb7677,
                0x3fd_cd00ea60d7fec,
                0x3fd_71a04f98a0e5e,
                0x3fd_d7012e871e545,
                0x3fc_6ebd03c0818bd,
            ],
        ),
    ] {
        let plan = Mixup { alpha, fold, k: 3, ..Mixup::default() }.plan(3, &[], Key::new(&[42, 0])).unwrap();
        assert_eq!(plan.weights(), weights.map(f64::from_bits));
        assert_eq!(plan.partner(), [1, 2, 2, 0, 0, 1]);
    }
}

#[test]
fn long_draws_have_these_hashes() {
    // Several blocks of draws, and values of α of every magnitude.
    let hash = |alpha| {
        let plan = Mixup { alpha, fold: false, ..Mixup::default() }.plan(3000, &[], Key::new(&[9])).unwrap();
        fnv(plan.lam().iter().map(|lam| lam.to_bits()))
    };
    let expected = [
        0xe083_c023_9ce2_6c52,
        0x706c_9aa5_394a_cb07,
        0xb536_cc7f_d212_874a,
        0xa0fb_a985_7f6a_d576,
        0x545f_c9c9_f947_25b2,
        0xb72a_9939_eb9a_40e8,
        0xb6b7_b8be_1e45_8a73,
    ];
    assert_eq!([1e-3, 0.4, 1.0, 1.0001, 2.0, 30.0, 1e6].map(hash), expected);
    let plan = Mixup::default().plan(3000, &[], Key::new(&[9])).unwrap();
    assert_eq!(fnv(plan.partner().iter().map(|&partner| partner as u64)), 0x1f33_0413_ce92_26b9);
}

#[test]
fn prob_leaves_out_these_samples() {
    let plan = Mixup { prob: 0.5, ..Mixup::default() }.plan(8, &[], Key::new(&[3])).unwrap();
    assert_eq!(
        bits(&plan),
        [
            ONE,
            hex(-1, 0x7dc4769472b04),
            hex(-1, 0xc049b08766541),
            ONE,
            hex(-1, 0xc608326eedda9),
            ONE,
            hex(-1, 0xcf0f48fe7482b),
            ONE
        ]
    );
    let plan = CutMix { prob: 0.5, mode: Mode::Elem, ..CutMix::default() }.plan(4, &[32], Key::new(&[3])).unwrap();
    assert_eq!(boxes(&plan), [[[0], [0]], [[0], [14]], [[9], [15]], [[0], [0]]]);
}

#[test]
fn cutmix_draws_these_boxes() {
    let elem = CutMix { mode: Mode::Elem, ..CutMix::default() };
    fn draw<const AXES: usize>(rule: &CutMix, shape: &[usize; AXES]) -> Vec<[[usize; AXES]; 2]> {
        boxes(&rule.plan(4, shape, Key::new(&[42, 1])).unwrap())
    }
    let expected = [[[299], [860]], [[499], [645]], [[0], [181]], [[697], [1000]]];
    assert_eq!(draw(&elem, &[1000]), expected);
    let expected = [[[45, 31], [213, 151]], [[0, 114], [54, 160]], [[0, 65], [86, 146]], [[145, 20], [224, 122]]];
    assert_eq!(draw(&elem, &[224, 160]), expected);
    let expected = [
        [[3, 6, 0], [16, 39, 28]],
        [[10, 0, 23], [16, 16, 55]],
        [[10, 4, 27], [16, 30, 60]],
        [[6, 0, 0], [16, 21, 31]],
    ];
    assert_eq!(draw(&elem, &[16, 40, 60]), expected);
    let expected = [[[45, 31], [213, 151]], [[0, 114], [54, 160]], [[0, 114], [54, 160]], [[45, 31], [213, 151]]];
    assert_eq!(draw(&CutMix { mode: Mode::Pair, ..elem.clone() }, &[224, 160]), expected);
    let expected = [[[45, 31], [213, 151]], [[45, 31], [213, 151]], [[45, 31], [213, 151]], [[45, 31], [213, 151]]];
    assert_eq!(draw(&CutMix { mode: Mode::Batch, ..elem.clone() }, &[224, 160]), expected);
    let expected = [[[64, 44], [195, 138]], [[0, 78], [104, 160]], [[0, 40], [120, 160]], [[124, 5], [224, 137]]];
    assert_eq!(draw(&CutMix { alpha: 4.0, ..elem.clone() }, &[224, 160]), expected);
    let expected = [[[58, 111], [180, 148]], [[107, 16], [169, 141]], [[61, 18], [209, 64]], [[52, 46], [96, 143]]];
    assert_eq!(draw(&CutMix { minmax: Some((0.2, 0.8)), ..elem }, &[224, 160]), expected);
}

#[test]
fn resizemix_draws_the_boxes_of_the_python_tests() {
    let elem = ResizeMix { mode: Mode::Elem, ..ResizeMix::default() };
    let expected = [[[64, 0], [145, 58]], [[178, 121], [206, 141]], [[9, 22], [182, 146]], [[132, 126], [178, 159]]];
    assert_eq!(boxes(&elem.plan(4, &[224, 160], Key::new(&[42, 0])).unwrap()), expected);
    let batch = ResizeMix::default().plan(3, &[32, 48], Key::new(&[0])).unwrap();
    assert_eq!(boxes(&batch), [[[7, 27], [19, 45]]; 3]);
}

fn one_of(mode: Mode) -> OneOf {
    let cut = CutMix { mode: Mode::Elem, ..CutMix::default() };
    let rules: Vec<Box<dyn Rule>> = vec![Box::new(Mixup::default()), Box::new(cut)];
    OneOf { rules, choice: Choice::new(2, Some(vec![0.5, 0.4]), mode).unwrap() }
}

#[test]
fn one_of_draws_these_plans() {
    let plan = one_of(Mode::Elem).plan(6, &[32, 48], Key::new(&[5])).unwrap();
    assert_eq!(plan.partner(), [3, 1, 4, 0, 2, 5]);
    let weight: Vec<u64> = plan.weight().iter().map(|weight| weight.to_bits()).collect();
    assert_eq!(weight, [ONE, hex(-1, 0xd417f05a14680), hex(-1, 0x7987980b2319a), ONE, ONE, ONE]);
    let expected = [
        [[0, 10], [23, 48]],
        [[0, 0], [0, 0]],
        [[0, 0], [0, 0]],
        [[0, 13], [19, 48]],
        [[5, 22], [19, 43]],
        [[0, 0], [0, 0]],
    ];
    assert_eq!(boxes(&plan), expected);
    // By key: no rule, the first, or the second.
    let chosen = |key| match one_of(Mode::Batch).plan(2, &[32, 48], Key::new(&[key])).unwrap() {
        plan if plan.boxes().is_some() => 2,
        plan if plan == MixPlan::identity(2).unwrap() => 0,
        _ => 1,
    };
    assert_eq!((0..16).map(chosen).collect::<Vec<_>>(), [2, 1, 2, 2, 0, 2, 2, 1, 1, 1, 1, 2, 2, 1, 1, 1]);
}

/// The hash of all shares of a plan's masks, and of λ.
fn masks(rule: &dyn Rule, n: usize, shape: &[usize]) -> [u64; 2] {
    let plan = rule.plan(n, shape, Key::new(&[42, 1])).unwrap();
    let shares = plan.masks().unwrap().into_iter().flatten();
    [fnv(shares.map(f64::to_bits)), fnv(plan.lam().iter().map(|lam| lam.to_bits()))]
}

#[test]
fn rules_of_masks_draw_these_masks() {
    let fmix = FMix { mode: Mode::Elem, ..FMix::default() };
    let soft = FMix { soft: 0.1, decay: 1.5, mode: Mode::Pair, ..FMix::default() };
    let grid = GridMix { mode: Mode::Elem, ..GridMix::default() };
    let got = [
        masks(&fmix, 4, &[1000]),
        masks(&fmix, 4, &[223, 160]),
        masks(&soft, 4, &[6, 8, 10]),
        masks(&grid, 9, &[31, 40]),
        masks(&grid, 9, &[6, 8, 10]),
        masks(&SmoothMix::default(), 4, &[1000]),
        masks(&SmoothMix { mode: Mode::Elem, ..SmoothMix::default() }, 4, &[31, 40]),
    ];
    let expected = [
        [0x0cf6_7b20_8815_ab05, 0x6f04_cd26_42f5_b66d],
        [0x92bf_8d1f_7d87_4865, 0xe19f_2552_a394_7bef],
        [0x70de_7582_52d7_b8e1, 0x6fab_86d5_6727_b47d],
        [0x0228_0d00_84ea_39e5, 0xdf87_5b2d_7bab_801f],
        [0x14e5_93fe_07bd_27c5, 0xd2ed_91a8_44f2_7b97],
        [0xb31b_d989_3eb2_4b25, 0x2b41_1bdd_253f_1525],
        [0x5515_2d61_833c_2729, 0x6aa7_51c1_e314_1865],
    ];
    assert_eq!(got, expected, "{got:#x?}");
}
