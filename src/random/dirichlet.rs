//! Draws weights from the symmetric Dirichlet distribution, with the same bits on every platform.
//!
//! Independent G ~ Gamma(α), divided by their sum (Devroye, Non-Uniform Random Variate Generation, 1986, XI.4). Those are
//! drawn by the method of Marsaglia and Tsang (ACM Transactions on Mathematical Software 26, 2000) with α ≥ 1; a smaller
//! one by that for α + 1, times U^(1/α), which for a small α underflows: so that factor is kept as its logarithm until it
//! is known which is the largest.

use std::f64::consts::LN_2;

use rand::Rng;

use super::beta::{exp2, log2, open01};
use super::key::{Key, Stream};
use super::{ALPHA_COIN, ALPHA_POINT_MASS, LAM_BLOCK, worth};
use crate::error::{MixError, Result};
use crate::runtime;

/// `count` draws of `k` weights ~ Dirichlet(α, …, α), α > 0, one after the other, on at most `limit` threads. Each sums to
/// 1 but for rounding. On request the first weight of a draw is its largest.
pub(crate) fn draw_weights(key: Key, count: usize, k: usize, alpha: f64, fold: bool, limit: usize) -> Result<Vec<f64>> {
    if !(alpha.is_finite() && alpha > 0.0) {
        return Err(MixError::Alpha(alpha));
    }
    if alpha > ALPHA_POINT_MASS {
        return Ok(vec![1.0 / k as f64; count * k]);
    }
    let dirichlet = Dirichlet::new(alpha.max(ALPHA_COIN));
    let mut weights = vec![0.0; count * k];
    runtime::for_each_chunk(&mut weights, LAM_BLOCK * k, worth(count, limit), |block, weights| {
        let (mut rng, mut powers) = (key.block(Stream::Lam, block), vec![0.0; k]);
        for row in weights.chunks_exact_mut(k) {
            dirichlet.fill(&mut rng, row, &mut powers);
            if fold {
                let largest = (1..k).fold(0, |largest, j| if row[j] > row[largest] { j } else { largest });
                row.swap(0, largest);
            }
        }
    });
    Ok(weights)
}

/// The distribution Dirichlet(α, …, α).
#[derive(Debug, Clone, Copy)]
struct Dirichlet {
    /// α − ⅓, or α + ⅔ for an α below 1; and 1/√9d.
    d: f64,
    c: f64,
    /// 1/α for an α below 1.
    per_alpha: Option<f64>,
}

impl Dirichlet {
    /// `alpha` and its reciprocal must be finite and above 0.
    fn new(alpha: f64) -> Self {
        let d = if alpha < 1.0 { alpha + 1.0 } else { alpha } - 1.0 / 3.0;
        Self { d, c: 1.0 / (9.0 * d).sqrt(), per_alpha: (alpha < 1.0).then(|| alpha.recip()) }
    }

    /// Fills `row` with a draw. `powers`, of the same length, is overwritten.
    fn fill(&self, rng: &mut impl Rng, row: &mut [f64], powers: &mut [f64]) {
        for (weight, power) in row.iter_mut().zip(&mut *powers) {
            *weight = self.gamma(rng);
            *power = self.per_alpha.map_or(0.0, |per_alpha| log2(open01(rng.next_u64())) * per_alpha);
        }
        let most = powers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().zip(powers).for_each(|(weight, power)| *weight *= exp2(*power - most));
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|weight| *weight /= sum);
    }

    /// A draw of Gamma(d + ⅓), divided by d: above 0.
    fn gamma(&self, rng: &mut impl Rng) -> f64 {
        loop {
            let x = normal(rng);
            let root = 1.0 + self.c * x;
            let (v, u) = (root * root * root, open01(rng.next_u64()));
            if root <= 0.0 {
                continue;
            }
            let square = x * x;
            if u < 1.0 - 0.0331 * square * square || log2(u) * LN_2 < 0.5 * square + self.d * (1.0 - v + libm::log(v)) {
                return v;
            }
        }
    }
}

/// A standard normal draw, by Marsaglia's polar method.
fn normal(rng: &mut impl Rng) -> f64 {
    loop {
        let [x, y] = [(); 2].map(|()| 2.0 * open01(rng.next_u64()) - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * (-2.0 * LN_2 * log2(square) / square).sqrt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u64; 2] = [7, 1];

    fn draw(count: usize, k: usize, alpha: f64, fold: bool) -> Vec<f64> {
        draw_weights(Key::new(&KEY), count, k, alpha, fold, 2).unwrap()
    }

    #[test]
    fn weights_have_the_moments_of_the_distribution() {
        const COUNT: usize = 50_000;
        for (k, alpha) in [(3, 0.05), (3, 0.4), (3, 1.0), (4, 2.5), (16, 0.2), (5, 30.0)] {
            let weights = draw(COUNT, k, alpha, false);
            let mean = 1.0 / k as f64;
            let variance = mean * (1.0 - mean) / (k as f64 * alpha + 1.0);
            for j in 0..k {
                let of = || weights.iter().skip(j).step_by(k);
                let got = of().sum::<f64>() / COUNT as f64;
                assert!((got - mean).abs() < 4.0 * (variance / COUNT as f64).sqrt(), "{k} {alpha} {j}: {got}");
                let got = of().map(|weight| (weight - mean).powi(2)).sum::<f64>() / COUNT as f64;
                assert!((got / variance - 1.0).abs() < 0.05, "{k} {alpha} {j}: {got}, not {variance}");
            }
        }
    }

    #[test]
    fn any_alpha_gives_weights_that_sum_to_1() {
        for alpha in [f64::MIN_POSITIVE, 1e-300, 1e-5, 0.4, 1.0, 1e8, 1e20, 1e33, f64::MAX] {
            for row in draw(2000, 7, alpha, false).chunks_exact(7) {
                assert!(row.iter().all(|weight| (0.0..=1.0).contains(weight)), "{alpha}: {row:?}");
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-15, "{alpha}: {row:?}");
            }
        }
        // Nearly always a single weight of 1, of each sample alike; nearly equal weights.
        let coins = draw(7000, 7, 1e-300, false);
        let ones: Vec<usize> =
            (0..7).map(|j| coins.iter().skip(j).step_by(7).filter(|weight| **weight == 1.0).count()).collect();
        assert!(ones.iter().all(|ones| (850..1150).contains(ones)) && ones.iter().sum::<usize>() == 7000, "{ones:?}");
        assert!(draw(100, 7, 1e20, false).iter().all(|weight| (weight * 7.0 - 1.0).abs() < 1e-8));
        for bad in [0.0, -1.0, f64::INFINITY, f64::NAN] {
            assert!(draw_weights(Key::new(&KEY), 1, 3, bad, false, 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn folded_weights_begin_with_the_largest() {
        let (all, folded) = (draw(500, 4, 0.7, false), draw(500, 4, 0.7, true));
        for (row, folded) in all.chunks_exact(4).zip(folded.chunks_exact(4)) {
            assert!(folded.iter().all(|weight| *weight <= folded[0]));
            let sorted = |row: &[f64]| {
                let mut row = row.to_vec();
                row.sort_by(f64::total_cmp);
                row
            };
            assert_eq!(sorted(row), sorted(folded));
        }
    }

    #[test]
    fn draws_do_not_depend_on_threads() {
        let draw = |count, limit| draw_weights(Key::new(&KEY), count, 3, 0.4, true, limit).unwrap();
        assert_eq!(draw(40_000, 1), draw(40_000, 8));
        assert_eq!(draw(40_000, 1)[..3000], draw(1000, 1));
    }
}
