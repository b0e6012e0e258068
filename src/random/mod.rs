//! Draws λ, partners, boxes and choices from a key. Independent of plans and of how they are applied.

mod beta;
mod boxes;
mod dirichlet;
mod field;
mod fourier;
mod key;
mod masks;
mod normal;
mod partners;
mod portable;

pub use key::{Key, STREAM_VERSION};

pub(crate) use boxes::{Spans, draw_boxes, draw_patches, draw_sizes};
pub(crate) use dirichlet::draw_weights;
pub(crate) use field::draw_field;
pub(crate) use masks::{draw_bell, draw_cells};
pub(crate) use partners::{Cycles, draw_circle, draw_cycles, draw_matching, draw_others};

use rand::RngExt;

use crate::error::{MixError, Result};
use crate::runtime;
use crate::simd::Level;
use beta::Beta;
use key::Stream;

/// Above this the standard deviation of Beta(α, α), 1/√(8α + 4), is below half a unit in the last place of ½.
const ALPHA_POINT_MASS: f64 = 1e33;

/// Below this Beta(α, α) gives only 0 and 1 in float64. Its reciprocal is finite.
const ALPHA_COIN: f64 = 1e-300;

/// Draws per block. Each block has its own stream, so that threads can share the blocks.
const LAM_BLOCK: usize = 1024;

/// The least number of draws per thread: they take 0.1 ms, and waking a thread takes 0.05 ms.
const LAM_PER_THREAD: usize = 8 * LAM_BLOCK;

/// For fewer samples than this, λ are drawn on the calling thread.
pub const DRAWN_ALONE: usize = 2 * LAM_PER_THREAD;

/// The number of threads for these draws, at most `limit`.
fn worth(draws: usize, limit: usize) -> usize {
    limit.min(draws / LAM_PER_THREAD).max(1)
}

/// `count` draws of λ ~ Beta(α, α), α > 0, folded to max(λ, 1 − λ) on request, on at most `limit` threads.
pub(crate) fn draw_lam(key: Key, count: usize, alpha: f64, fold: bool, limit: usize) -> Result<Vec<f64>> {
    if !(alpha.is_finite() && alpha > 0.0) {
        return Err(MixError::Alpha(alpha));
    }
    if alpha > ALPHA_POINT_MASS {
        return Ok(vec![0.5; count]);
    }
    let beta = Beta::new(alpha.max(ALPHA_COIN)).ok_or(MixError::Alpha(alpha))?;
    let level = Level::current();
    let mut lam = vec![0.0; count];
    runtime::for_each_chunk(&mut lam, LAM_BLOCK, worth(count, limit), |block, lam| {
        beta.fill(level, &mut key.block(Stream::Lam, block), lam);
        if fold {
            lam.iter_mut().for_each(|lam| *lam = lam.max(1.0 - *lam));
        }
    });
    Ok(lam)
}

/// The default limit on the threads of a draw.
pub(crate) fn default_limit() -> usize {
    runtime::requested().unwrap_or_else(runtime::available)
}

/// `count` uniform numbers in [0, 1), for choices.
pub(crate) fn draw_uniform(key: Key, count: usize) -> Vec<f64> {
    let mut rng = key.stream(Stream::Choice);
    (0..count).map(|_| rng.random::<f64>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_always_gives_these_bits() {
        // Two entries of tests/goldens/drawn.txt.
        let of_two_words = [0x3fe_274627bef4277, 0x3fe_ffde1c232ac21, 0x3fe_fed682a892cc1, 0x3fe_3cbea21cec05a];
        let zero = [0x3fe_c1d5137d18f4b, 0x3fe_fb7f9ad932065, 0x3fe_ff73639c4a431, 0x3fe_60677288ab3a9];
        for (digits, lam, partner) in [(&[5, 1][..], of_two_words, [0, 2, 1, 3]), (&[0], zero, [2, 0, 3, 1])] {
            let key = Key::from_digits([digits]);
            assert_eq!(draw_lam(key, 4, 0.4, true, 1).unwrap(), lam.map(f64::from_bits));
            assert_eq!(draw_cycles(key, 4).partner, partner);
        }
    }

    #[test]
    fn alpha_ranges_from_above_0_to_a_point_mass() {
        let key = Key::new(&[1]);
        for bad in [0.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert!(draw_lam(key, 1, bad, false, 1).is_err(), "{bad}");
        }
        let spread = |alpha| draw_lam(key, 10_000, alpha, false, 2).unwrap().iter().filter(|lam| **lam != 0.5).count();
        assert_eq!(spread(f64::MAX), 0);
        assert_eq!(spread(ALPHA_POINT_MASS * 1.1), 0);
        // A few in a thousand are too far from ½ to round to it.
        assert!((1..100).contains(&spread(ALPHA_POINT_MASS)));
    }

    #[test]
    fn few_draws_use_one_thread() {
        assert_eq!([1, DRAWN_ALONE - 1, DRAWN_ALONE, 10 * DRAWN_ALONE].map(|draws| worth(draws, 4)), [1, 1, 2, 4]);
        assert_eq!(worth(10 * DRAWN_ALONE, 1), 1);
        // Whole blocks.
        assert_eq!(LAM_PER_THREAD % LAM_BLOCK, 0);
    }

    #[test]
    fn choices_are_uniform() {
        let drawn = draw_uniform(Key::new(&[1]), 10_000);
        assert!(drawn.iter().all(|u| (0.0..1.0).contains(u)));
        assert!((drawn.iter().sum::<f64>() / 1e4 - 0.5).abs() < 0.01);
    }
}
