//! Draws standard normal numbers in float32, many at once, with the same bits on every platform.
//!
//! By the method of Box and Muller (1958): with U and V uniform, √(−2 ln U)·(cos 2πV, sin 2πV) are two independent draws.
//! Logarithm and sine are polynomials of IEEE 754 operations alone, without a branch, which vectors compute alike.

use std::f32::consts::{FRAC_1_SQRT_2, LN_2, PI};

use rand::Rng;

use crate::simd::Level;
use crate::simd::vectorised::{Loop, vectorised};

/// Fills two slices of the same length with draws.
pub(super) fn fill_normal(level: Level, rng: &mut impl Rng, first: &mut [f32], second: &mut [f32]) {
    const PAIRS: usize = 256;
    let mut bits = [0_u64; PAIRS];
    for (first, second) in first.chunks_mut(PAIRS).zip(second.chunks_mut(PAIRS)) {
        let bits = &mut bits[..first.len()];
        bits.iter_mut().for_each(|bits| *bits = rng.next_u64());
        vectorised(level, Pairs { bits, first, second });
    }
}

struct Pairs<'a> {
    bits: &'a [u64],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Loop for Pairs<'_> {
    #[inline(always)]
    fn run(self) {
        for ((first, second), &bits) in self.first.iter_mut().zip(self.second).zip(self.bits) {
            let radius = (-2.0 * ln(open01((bits >> 32) as u32))).sqrt();
            let [cos, sin] = turn(bits as u32);
            (*first, *second) = (radius * cos, radius * sin);
        }
    }
}

/// A number in (0, 1] of 31 of these bits; the least is 2⁻³¹.
#[inline(always)]
fn open01(bits: u32) -> f32 {
    ((bits >> 1) as i32 as f32 + 1.0) * 2.0_f32.powi(-31)
}

/// ln x for a normal x in (0, 1], with an absolute error below 2⁻²² relative to max(1, |ln x|).
#[inline(always)]
fn ln(x: f32) -> f32 {
    // x = 2^k · m, √½ ≤ m < √2, and ln m = 2 artanh(s), s = (m − 1) / (m + 1); the next term is below 2⁻²⁷.
    let shifted = x.to_bits() + (1.0_f32.to_bits() - FRAC_1_SQRT_2.to_bits());
    let k = (shifted >> 23) as i32 - 127;
    let m = f32::from_bits((shifted & 0x007F_FFFF) + FRAC_1_SQRT_2.to_bits());
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = 2.0 + square * (2.0 / 3.0 + square * (2.0 / 5.0 + square * (2.0 / 7.0 + square * (2.0 / 9.0))));
    k as f32 * LN_2 + s * series
}

/// The cosine and sine of the angle of this fraction of a full turn, 2³² bits, each with an absolute error below 2⁻²².
#[inline(always)]
fn turn(bits: u32) -> [f32; 2] {
    // The nearest quarter, and what remains, at most an eighth of a turn.
    let quarter = bits.wrapping_add(1 << 29) >> 30;
    let angle = bits.wrapping_sub(quarter << 30) as i32 as f32 * (PI / 2.0_f32.powi(31));
    let square = angle * angle;
    let sin = angle
        * (1.0 - square * (1.0 / 6.0 - square * (1.0 / 120.0 - square * (1.0 / 5040.0 - square * (1.0 / 362_880.0)))));
    let cos = 1.0 - square * (0.5 - square * (1.0 / 24.0 - square * (1.0 / 720.0 - square * (1.0 / 40_320.0))));
    let (x, y) = if quarter & 1 == 0 { (cos, sin) } else { (sin, cos) };
    // The cosine is negative in the second and third quarter, the sine in the third and fourth.
    let sign = |is_negative: u32| is_negative << 31;
    [f32::from_bits(x.to_bits() ^ sign((quarter + 1) >> 1 & 1)), f32::from_bits(y.to_bits() ^ sign(quarter >> 1 & 1))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn draw(level: Level, pairs: usize) -> (Vec<f32>, Vec<f32>) {
        let (mut first, mut second) = (vec![0.0; pairs], vec![0.0; pairs]);
        fill_normal(level, &mut ChaCha8Rng::from_seed([5; 32]), &mut first, &mut second);
        (first, second)
    }

    #[test]
    fn functions_agree_with_libm() {
        let mut rng = ChaCha8Rng::from_seed([1; 32]);
        let edges = [0, 1, 2, 1 << 29, (1 << 29) - 1, 1 << 30, 1 << 31, 3 << 30, u32::MAX, u32::MAX - 1];
        for bits in edges.into_iter().chain((0..200_000).map(|_| rng.next_u32())) {
            let x = open01(bits);
            assert!(0.0 < x && x <= 1.0);
            let exact = libm::log(x.into());
            assert!((f64::from(ln(x)) - exact).abs() <= 2.4e-7 * exact.abs().max(1.0), "ln {x}: {} not {exact}", ln(x));
            let angle = f64::from(bits) / 2.0_f64.powi(32) * std::f64::consts::TAU;
            for (got, exact) in turn(bits).into_iter().zip([libm::cos(angle), libm::sin(angle)]) {
                assert!((f64::from(got) - exact).abs() <= 2.4e-7, "{bits}: {got} not {exact}");
            }
        }
    }

    #[test]
    fn every_level_draws_the_same_bits() {
        let expected = draw(Level::available()[0], 1000);
        for level in Level::available() {
            assert_eq!(draw(level, 1000), expected, "{level:?}");
        }
    }

    #[test]
    fn moments_are_those_of_the_normal_distribution() {
        let (first, second) = draw(Level::current(), 500_000);
        let mean = |f: &dyn Fn(f64, f64) -> f64| {
            first.iter().zip(&second).map(|(&a, &b)| f(a.into(), b.into())).sum::<f64>() / 5e5
        };
        // Each with its standard deviation, by the moments of the normal distribution.
        for (got, expected, deviation) in [
            (mean(&|a, _| a), 0.0, 1.0),
            (mean(&|_, b| b), 0.0, 1.0),
            (mean(&|a, _| a * a), 1.0, 2.0_f64.sqrt()),
            (mean(&|_, b| b * b), 1.0, 2.0_f64.sqrt()),
            (mean(&|a, b| a * b), 0.0, 1.0),
            (mean(&|a, b| a * a * b * b), 1.0, 8.0_f64.sqrt()),
            (mean(&|a, _| a.powi(4)), 3.0, 96.0_f64.sqrt()),
        ] {
            assert!((got - expected).abs() < 4.0 * deviation / 5e5_f64.sqrt(), "{got}, not {expected}");
        }
    }
}
