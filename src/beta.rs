//! λ ~ Beta(α, α), a block of draws at a time, with the same bits on every platform.
//!
//! Mixup's α is at most 1 nearly always. There Jöhnk's method (Devroye, Non-Uniform Random Variate Generation, 1986,
//! IX.3.5) takes it: of U and V uniform in (0, 1), X = U^(1/α) and Y = V^(1/α), those pairs with X + Y ≤ 1 are kept, and
//! X / (X + Y) is the draw. Most pairs are kept (½ at α = 1, 0.85 at 0.4), so that all may be computed before any is
//! asked for, vector by vector. Larger α are left to `rand_distr`, whose sampler takes one draw after the other.
//!
//! A draw at α = 0.4 takes 71 ns by `rand_distr`, of which faster logarithms would save no more than 6, and 14 ns here, on
//! an Emerald Rapids with AVX-512.

use std::f64::consts::LOG2_E;

use rand::Rng;
use rand_distr::Distribution;

use crate::kernel::Level;
use crate::kernel::vectorised::{Loop, vectorised};
use crate::portable::Portable;

/// The distribution Beta(α, α).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Beta {
    /// α ≤ 1, by its reciprocal.
    Pairs { per_alpha: f64 },
    /// α > 1.
    OneByOne(rand_distr::Beta<Portable>),
}

/// Pairs that are computed at once, at most.
const PAIRS: usize = 64;

/// Their number is a multiple of this: the longest vector.
const LANES: usize = 8;

impl Beta {
    /// `None` unless `alpha` > 0, both it and its reciprocal finite.
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

/// The draws do not depend on how many pairs are computed at once: they are those that are kept, in their order.
fn fill_from_pairs(level: Level, per_alpha: f64, rng: &mut impl Rng, mut lam: &mut [f64]) {
    let (mut u, mut v, mut sum) = ([0.0; PAIRS], [0.0; PAIRS], [0.0; PAIRS]);
    while !lam.is_empty() {
        let count = (lam.len() + lam.len() / 4).next_multiple_of(LANES).min(PAIRS);
        let (u, v, sum) = (&mut u[..count], &mut v[..count], &mut sum[..count]);
        for (u, v) in u.iter_mut().zip(&mut *v) {
            (*u, *v) = (open01(rng.next_u64()), open01(rng.next_u64()));
        }
        vectorised(level, Pairs { per_alpha, u, v, sum });
        let kept = u.iter().zip(sum).filter(|(_, sum)| **sum <= 1.0);
        let count = lam.iter_mut().zip(kept).map(|(lam, (drawn, _))| *lam = *drawn).count();
        lam = &mut lam[count..];
    }
}

/// 52 of these bits as a number in (0, 1), on which no rounding falls.
fn open01(bits: u64) -> f64 {
    f64::from_bits(bits >> 12 | 1.0_f64.to_bits()) - (1.0 - f64::EPSILON / 2.0)
}

/// Turns U into the draw; `sum` becomes X + Y.
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
            let (x, y) = (ln(*u), ln(*v));
            // By the larger of the two, as either may be too small for a float64 where α is.
            let (more, less) = if x >= y { (x, y) } else { (y, x) };
            let ratio = exp((less - more) * self.per_alpha);
            *sum = exp(more * self.per_alpha) * (1.0 + ratio);
            *u = if x >= y { 1.0 } else { ratio } / (1.0 + ratio);
        }
    }
}

/// ln 2 in two parts, the first with zeros enough at its end to be multiplied by any exponent without rounding.
const LN_2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// ln x of a normal number in (0, 1), to a relative 2⁻⁵¹: 2.7 units in the last place at most in 70 million. Branch-free, of
/// IEEE 754 operations alone.
#[inline(always)]
fn ln(x: f64) -> f64 {
    const SQRT_HALF: u64 = 0x3FE6_A09E_667F_3BCD;
    const MANTISSA: u64 = (1 << 52) - 1;
    const TWO_52: f64 = (1_u64 << 52) as f64;
    // x = 2^k · m, √½ ≤ m < √2
    let shifted = x.to_bits() + (1.0_f64.to_bits() - SQRT_HALF);
    let k = f64::from_bits(shifted >> 52 | TWO_52.to_bits()) - (TWO_52 + 1023.0);
    let m = f64::from_bits((shifted & MANTISSA) + SQRT_HALF);
    // ln m = 2 artanh s, by its series; the next term is below 2⁻⁶⁰.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut series = 1.0 / 21.0;
    for odd in [19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * square + 1.0 / odd;
    }
    k * LN_2_HIGH + (k * LN_2_LOW + 2.0 * s * series)
}

/// eˣ of a number that is not above 0, within 2 units in the last place; 0 below e⁻⁷⁰⁸, about the least normal number.
#[inline(always)]
fn exp(x: f64) -> f64 {
    const LEAST: f64 = -708.0;
    // Added and taken away again, it rounds to a whole number, which meanwhile is in the last bits.
    const ROUNDER: f64 = 1.5 * (1_u64 << 52) as f64;
    // eˣ = 2^k · e^r, |r| ≤ ½ ln 2
    let rounded = x * LOG2_E + ROUNDER;
    let k = rounded - ROUNDER;
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    // The exponential series, by r/13 + 1, ...; the next term is below 2⁻⁵⁷.
    let mut series = 1.0;
    for n in [13.0, 12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0] {
        series = series * (r * (1.0 / n)) + 1.0;
    }
    let power = f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52);
    if x < LEAST { 0.0 } else { series * power }
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
    fn ln_and_exp_are_those_of_libm() {
        let close = |got: f64, expected: f64| (got - expected).abs() <= 2.0 * f64::EPSILON * expected.abs();
        let mut rng = rng(2);
        let edges = [0.5_f64.sqrt(), 0.5, f64::MIN_POSITIVE, f64::EPSILON / 2.0, 1.0 - f64::EPSILON / 2.0];
        let uniform: Vec<f64> = (0..20_000).map(|_| open01(rng.next_u64())).collect();
        for x in edges.into_iter().chain(uniform.iter().copied()) {
            assert!(close(ln(x), libm::log(x)), "ln {x:e}: {:e}, not {:e}", ln(x), libm::log(x));
            for x in [-x, -30.0 * x, -708.0 * x] {
                assert!(close(exp(x), libm::exp(x)), "exp {x:e}: {:e}, not {:e}", exp(x), libm::exp(x));
            }
        }
        assert_eq!([exp(0.0), exp(-0.0), exp(-709.0), exp(-1e308), exp(f64::NEG_INFINITY)], [1.0, 1.0, 0.0, 0.0, 0.0]);
        assert!(exp(-708.0) > 0.0);
    }

    #[test]
    fn uniform_numbers_are_above_0_and_below_1() {
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
    fn fewer_draws_are_the_first_ones() {
        let whole = draw(Level::current(), 0.4, 300);
        for count in 0..100 {
            assert_eq!(draw(Level::current(), 0.4, count), whole[..count]);
        }
    }

    #[test]
    fn a_draw_is_the_ratio_of_a_pair_that_is_kept() {
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
    fn moments_are_those_of_the_distribution() {
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
    fn what_has_no_finite_reciprocal_is_no_alpha() {
        for bad in [0.0, -1.0, 1e-310, f64::NAN, f64::INFINITY] {
            assert!(Beta::new(bad).is_none(), "{bad}");
        }
    }
}
