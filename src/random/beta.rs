//! Draws λ ~ Beta(α, α) in blocks, with the same bits on every platform.
//!
//! For α ≤ 1, by far the most common in mixup, by Jöhnk's method (Devroye, Non-Uniform Random Variate Generation, 1986,
//! IX.3.5). With U and V uniform in (0, 1), X = U^(1/α) and Y = V^(1/α), pairs with X + Y ≤ 1 are accepted, and the
//! draw is X / (X + Y). Most pairs are accepted (½ at α = 1, 0.85 at 0.4), so many pairs are computed at once, with
//! vectors. For larger α by `rand_distr`, whose sampler computes one draw at a time.
//!
//! A draw at α = 0.4 takes 71 ns with `rand_distr` (faster logarithms would save at most 6 of them) and 12 ns here, on an
//! Emerald Rapids with AVX-512.

use std::f64::consts::{LN_2, LOG2_E};

use rand::Rng;
use rand_distr::Distribution;

use super::portable::Portable;
use crate::simd::Level;
use crate::simd::vectorised::{Loop, vectorised};

/// The distribution Beta(α, α).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Beta {
    /// Jöhnk's method for α ≤ 1, with 1/α.
    Pairs { per_alpha: f64 },
    /// The sampler of `rand_distr` for α > 1.
    OneByOne(rand_distr::Beta<Portable>),
}

/// The largest number of pairs computed at once.
const PAIRS: usize = 64;

/// The number of float64 in the longest vector. The number of pairs is a multiple of it.
const LANES: usize = 8;

impl Beta {
    /// `None` unless `alpha` is above 0 and both it and its reciprocal are finite.
    pub fn new(alpha: f64) -> Option<Self> {
        let per_alpha = alpha.recip();
        if !(alpha > 0.0 && alpha.is_finite() && per_alpha.is_finite()) {
            return None;
        }
        if alpha <= 1.0 {
            return Some(Self::Pairs { per_alpha });
        }
        rand_distr::Beta::new(Portable(alpha), Portable(alpha)).ok().map(Self::OneByOne)
    }

    /// Fills `lam` with draws.
    pub fn fill(&self, level: Level, rng: &mut impl Rng, lam: &mut [f64]) {
        match self {
            Self::Pairs { per_alpha } => fill_from_pairs(level, *per_alpha, rng, lam),
            Self::OneByOne(beta) => lam.iter_mut().for_each(|lam| *lam = beta.sample(rng).0),
        }
    }
}

/// Fills `lam` by Jöhnk's method. The draws are the accepted pairs in order, however many are computed at once.
fn fill_from_pairs(level: Level, per_alpha: f64, rng: &mut impl Rng, mut lam: &mut [f64]) {
    let [mut u, mut v, mut sum, mut front] = [[0.0; PAIRS]; 4];
    let mut bits = [[0; 8]; 2 * PAIRS];
    while !lam.is_empty() {
        let pairs = (lam.len() + lam.len() / 4).next_multiple_of(LANES).min(PAIRS);
        let (u, v, sum) = (&mut u[..pairs], &mut v[..pairs], &mut sum[..pairs]);
        let bits = &mut bits[..2 * pairs];
        rng.fill_bytes(bits.as_flattened_mut());
        for ((u, v), bits) in u.iter_mut().zip(&mut *v).zip(bits.as_chunks::<2>().0) {
            [*u, *v] = bits.map(|bits| open01(u64::from_le_bytes(bits)));
        }
        vectorised(level, Pairs { per_alpha, u, v, sum });
        // Moves the accepted draws to the front, without a branch, which could not be predicted.
        let mut kept = 0;
        for (drawn, sum) in u.iter().zip(sum) {
            front[kept] = *drawn;
            kept += usize::from(*sum <= 1.0);
        }
        let kept = kept.min(lam.len());
        lam[..kept].copy_from_slice(&front[..kept]);
        lam = &mut lam[kept..];
    }
}

/// Turns 52 of these bits into a number in (0, 1), without rounding.
pub(super) fn open01(bits: u64) -> f64 {
    f64::from_bits(bits >> 12 | 1.0_f64.to_bits()) - (1.0 - f64::EPSILON / 2.0)
}

/// Replaces U by the draw and sets `sum` to X + Y.
struct Pairs<'a> {
    per_alpha: f64,
    u: &'a mut [f64],
    v: &'a [f64],
    sum: &'a mut [f64],
}

impl Loop for Pairs<'_> {
    #[inline(always)]
    fn run(self) {
        for ((u, v), sum) in self.u.iter_mut().zip(self.v).zip(self.sum) {
            let (x, y) = (log2(*u), log2(*v));
            // Relative to the larger of the two: for a small α either can underflow.
            let (more, less) = if x >= y { (x, y) } else { (y, x) };
            let ratio = exp2((less - more) * self.per_alpha);
            *sum = exp2(more * self.per_alpha) * (1.0 + ratio);
            *u = if x >= y { 1.0 } else { ratio } / (1.0 + ratio);
        }
    }
}

/// log₂ x for a normal x in (0, 1], with a relative error below 2.5 · 2⁻⁵². Branch-free, with IEEE 754 operations only.
#[inline(always)]
pub(super) fn log2(x: f64) -> f64 {
    const SQRT_HALF: u64 = 0x3FE6_A09E_667F_3BCD;
    const MANTISSA: u64 = (1 << 52) - 1;
    const TWO_52: f64 = (1_u64 << 52) as f64;
    // log₂ m = 2 artanh(s) / ln 2 by its series in s², s = (m − 1) / (m + 1); the next term is below 2⁻⁵⁹.
    const SERIES: [f64; 11] = {
        let (mut series, mut i) = ([0.0; 11], 0);
        while i < series.len() {
            series[i] = 2.0 * LOG2_E / (2 * i + 1) as f64;
            i += 1;
        }
        series
    };
    // x = 2^k · m, √½ ≤ m < √2
    let shifted = x.to_bits() + (1.0_f64.to_bits() - SQRT_HALF);
    let k = f64::from_bits(shifted >> 52 | TWO_52.to_bits()) - (TWO_52 + 1023.0);
    let m = f64::from_bits((shifted & MANTISSA) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    k + s * polynomial(SERIES, s * s)
}

/// 2ˣ for x ≤ 0, with a relative error below 2 · 2⁻⁵²; 0 if it is below 2⁻¹⁰²¹, about the least normal number.
#[inline(always)]
pub(super) fn exp2(x: f64) -> f64 {
    const LEAST: f64 = -1021.0;
    // Adding and subtracting it rounds to an integer. The sum holds that integer in its last bits.
    const ROUNDER: f64 = 1.5 * (1_u64 << 52) as f64;
    // e^r by its series, |r| ≤ ½ ln 2; the next term is below 2⁻⁵⁷.
    const SERIES: [f64; 14] = {
        let (mut series, mut i) = ([1.0; 14], 1);
        while i < series.len() {
            series[i] = series[i - 1] / i as f64;
            i += 1;
        }
        series
    };
    // 2ˣ = 2^k · e^r
    let rounded = x + ROUNDER;
    let r = (x - (rounded - ROUNDER)) * LN_2;
    let power = f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52);
    if x < LEAST { 0.0 } else { polynomial(SERIES, r) * power }
}

/// Σ cᵢxⁱ, with even and odd powers in separate chains of dependent steps, each half as long as Horner's. This saves 6
/// of 19 ns per draw.
#[inline(always)]
fn polynomial<const N: usize>(c: [f64; N], x: f64) -> f64 {
    let square = x * x;
    let (mut first, mut second) = (c[N - 1], c[N - 2]);
    for i in (0..N - 2).rev() {
        (first, second) = (second, first * square + c[i]);
    }
    first * x + second
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn rng(seed: u8) -> ChaCha8Rng {
        ChaCha8Rng::from_seed([seed; 32])
    }

    fn draw(level: Level, alpha: f64, count: usize) -> Vec<f64> {
        let mut lam = vec![f64::NAN; count];
        Beta::new(alpha).unwrap().fill(level, &mut rng(1), &mut lam);
        lam
    }

    #[test]
    fn log2_and_exp2_agree_with_libm() {
        let close = |got: f64, expected: f64, ulps: f64| (got - expected).abs() <= ulps * f64::EPSILON * expected.abs();
        let mut rng = rng(2);
        let edges = [0.5_f64.sqrt(), 0.5, f64::MIN_POSITIVE, f64::EPSILON / 2.0, 1.0 - f64::EPSILON / 2.0];
        // The largest errors found among millions of arguments.
        let farthest = [0x3FE6_6370_D082_DBEB, 0x3FDF_5E8B_A702_028F].map(f64::from_bits);
        let uniform: Vec<f64> = (0..20_000).map(|_| open01(rng.next_u64())).collect();
        for x in edges.into_iter().chain(farthest).chain(uniform.iter().copied()) {
            assert!(close(log2(x), libm::log2(x), 2.5), "log2 {x:e}: {:e}, not {:e}", log2(x), libm::log2(x));
            for x in [-x, -30.0 * x, -1021.0 * x] {
                assert!(close(exp2(x), libm::exp2(x), 2.0), "exp2 {x:e}: {:e}, not {:e}", exp2(x), libm::exp2(x));
            }
        }
        let below = [0.0, -0.0, -1022.0, -1e308, f64::NEG_INFINITY];
        assert_eq!(below.map(exp2), [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert!(exp2(-1021.0) > 0.0);
    }

    #[test]
    fn uniform_numbers_lie_between_0_and_1() {
        assert_eq!(open01(0), f64::EPSILON / 2.0);
        assert_eq!(open01(u64::MAX), 1.0 - f64::EPSILON / 2.0);
        assert_eq!(open01(1 << 63), 0.5 + f64::EPSILON / 2.0);
    }

    #[test]
    fn every_level_draws_the_same_bits() {
        for alpha in [1e-300, 0.01, 0.4, 1.0, 3.0] {
            let expected = draw(Level::available()[0], alpha, 1000);
            for level in Level::available() {
                assert_eq!(draw(level, alpha, 1000), expected, "{level:?} {alpha}");
            }
        }
    }

    #[test]
    fn fewer_draws_are_a_prefix_of_more() {
        let whole = draw(Level::current(), 0.4, 300);
        for count in 0..100 {
            assert_eq!(draw(Level::current(), 0.4, count), whole[..count]);
        }
    }

    #[test]
    fn a_draw_is_the_ratio_of_an_accepted_pair() {
        for alpha in [0.05, 0.4, 1.0] {
            let mut rng = rng(1);
            for lam in draw(Level::current(), alpha, 1000) {
                let (x, y) = std::iter::repeat_with(|| [(); 2].map(|()| open01(rng.next_u64()).powf(1.0 / alpha)))
                    .map(|[x, y]| (x, y))
                    .find(|(x, y)| x + y <= 1.0)
                    .unwrap();
                assert!((lam - x / (x + y)).abs() < 1e-13, "{alpha}: {lam}, not {}", x / (x + y));
            }
        }
    }

    #[test]
    fn moments_match_the_distribution() {
        for alpha in [0.01, 0.1, 0.4, 1.0, 1.5, 8.0] {
            let lam = draw(Level::current(), alpha, 100_000);
            let mean = lam.iter().sum::<f64>() / 1e5;
            let variance = lam.iter().map(|lam| (lam - 0.5).powi(2)).sum::<f64>() / 1e5;
            let expected = 1.0 / (8.0 * alpha + 4.0);
            assert!((mean - 0.5).abs() < 4.0 * (expected / 1e5).sqrt(), "{alpha}: {mean}");
            assert!((variance / expected - 1.0).abs() < 0.02, "{alpha}: {variance}, not {expected}");
        }
    }

    #[test]
    fn alpha_needs_a_finite_reciprocal() {
        for bad in [0.0, -1.0, 1e-310, f64::NAN, f64::INFINITY] {
            assert!(Beta::new(bad).is_none(), "{bad}");
        }
    }
}
