//! Compares every instruction set with the formula.

use super::*;
use crate::arithmetic::Element;

#[test]
fn lam_decides_the_recipe() {
    assert_eq!(Recipe::new::<f32>(1.0), Recipe::KeepOwn);
    assert_eq!(Recipe::new::<f32>(0.0), Recipe::TakePartner);
    assert_eq!(Recipe::new::<f32>(0.5), Recipe::NearOwn(0.5));
    assert_eq!(Recipe::new::<f32>(0.75), Recipe::NearOwn(0.25));
    assert_eq!(Recipe::new::<f32>(0.25), Recipe::NearPartner(0.25));
    assert_eq!(Recipe::new::<u8>(0.25), Recipe::NearPartner(1 << 13));
}

#[test]
fn weights_of_0_and_1_copy_every_bit() {
    let own = [f32::from_bits(0x7F80_0001), -0.0, 1.0];
    let partner = [f32::NAN, f32::INFINITY, f32::from_bits(0xFFC0_1234)];
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let mut out = [0.0; 3];
    blend_into(Level::current(), Recipe::new::<f32>(1.0), &mut out, &own, &partner, None);
    assert_eq!(bits(&out), bits(&own));
    blend_into(Level::current(), Recipe::new::<f32>(0.0), &mut out, &own, &partner, None);
    assert_eq!(bits(&out), bits(&partner));
    blend_in_place(Level::current(), Recipe::new::<f32>(0.0), &mut out, &own, None);
    assert_eq!(bits(&out), bits(&own));
}

#[test]
fn equal_values_stay_and_nan_is_canonical() {
    for lam in [0.3, 0.5, 0.9] {
        let own = [f32::INFINITY, -0.0, 0.0, 1e-45, f32::MAX, -f32::INFINITY, f32::NAN, 1.0];
        let partner = [f32::INFINITY, -0.0, -0.0, 1e-45, f32::MAX, f32::INFINITY, 1.0, f32::NAN];
        let mut out = own;
        blend_in_place(Level::current(), Recipe::new::<f32>(lam), &mut out, &partner, None);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&out[..5]), bits(&own[..5]));
        assert_eq!(bits(&out[5..]), [f32::NAN.to_bits(); 3]);
    }
}

/// Every level against the formula, element by element, at every small length and misalignment.
fn check_levels<T: Element + std::fmt::Debug + PartialEq>(bits: impl Fn(usize) -> T, same: impl Fn(T, T) -> bool) {
    let pool: Vec<T> = (0..5000).map(bits).collect();
    for level in Level::available() {
        for len in (0..130).chain([256, 300]).chain(2048..2118).chain([4500]) {
            let offset = len % 7;
            let (own, partner) = (&pool[offset..][..len], &pool[2 * offset + 60..][..len]);
            for lam in [0.7, 0.2] {
                let recipe = Recipe::new::<T>(lam);
                let expected = |i: usize| match recipe {
                    Recipe::NearOwn(weight) => T::blend::<true>(own[i], partner[i], weight),
                    Recipe::NearPartner(weight) => T::blend::<false>(own[i], partner[i], weight),
                    _ => unreachable!(),
                };
                let mut memory = vec![T::default(); len + 8];
                let out = &mut memory[7 - offset..][..len];
                blend_into(level, recipe, out, own, partner, None);
                assert!((0..len).all(|i| same(out[i], expected(i))), "{level:?} {len}");
                out.copy_from_slice(own);
                blend_in_place(level, recipe, out, partner, Some(Ahead::new(own.as_ptr(), Cache::First)));
                assert!((0..len).all(|i| same(out[i], expected(i))), "{level:?} {len}");
                let mut scratch = stream::Scratch::new(32);
                out.fill(T::default());
                let ahead = Ahead::new(own.as_ptr(), Cache::Second);
                stream::by_blocks(level, out, Some(ahead), &mut scratch, |start, block| {
                    let at = start..start + block.len();
                    blend_into(level, recipe, block, &own[at.clone()], &partner[at], None);
                });
                stream::fence();
                assert!((0..len).all(|i| same(out[i], expected(i))), "{level:?} {len}");
            }
        }
    }
}

#[test]
fn every_level_gives_the_same_bits() {
    use half::{bf16, f16};
    // Bit patterns of every kind: subnormals, infinities and NaNs among them.
    let hash = |i: usize| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    check_levels(|i| f64::from_bits(hash(i)), |a, b| a.to_bits() == b.to_bits());
    check_levels(|i| f32::from_bits((hash(i) >> 32) as u32), |a, b| a.to_bits() == b.to_bits());
    check_levels(|i| f16::from_bits((hash(i) >> 48) as u16), |a, b| a.to_bits() == b.to_bits());
    check_levels(|i| bf16::from_bits((hash(i) >> 48) as u16), |a, b| a.to_bits() == b.to_bits());
    // NaNs of every kind.
    check_levels(|i| f64::from_bits(hash(i) | 0x7FF0_0000_0000_0001), |a, b| a.to_bits() == b.to_bits());
    check_levels(|i| f32::from_bits((hash(i) >> 32) as u32 | 0x7F80_0001), |a, b| a.to_bits() == b.to_bits());
    check_levels(|i| f16::from_bits((hash(i) >> 48) as u16 | 0x7C01), |a, b| a.to_bits() == b.to_bits());
    check_levels(|i| bf16::from_bits((hash(i) >> 48) as u16 | 0x7F81), |a, b| a.to_bits() == b.to_bits());
    check_levels(|i| (hash(i) >> 56) as u8, |a, b| a == b);
    check_levels(|i| (hash(i) >> 56) as i8, |a, b| a == b);
    check_levels(|i| (hash(i) >> 48) as u16, |a, b| a == b);
    check_levels(|i| (hash(i) >> 48) as i16, |a, b| a == b);
}
