//! From a key to λ and partners.
//!
//! A key is a sequence of whole numbers, such as (seed, epoch, rank, step). It is hashed into 256 bits by a tree of
//! pseudo-random functions (Goldreich, Goldwasser and Micali, 1986): the state is the key of a ChaCha cipher, a word of
//! the key picks the block to encrypt, and the block is the next state. Keys that differ anywhere therefore give
//! unrelated streams; (0, 1) and (1, 0), or (1,) and (1, 0), as much as any others.
//!
//! λ, partners and boxes come from separate streams of that state, so giving one does not change the others.

use rand::rngs::SysRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;

use crate::beta::Beta;
use crate::cut::Box;
use crate::error::{MixError, Result};
use crate::kernel::Level;
use crate::order::Order;
use crate::threads;

/// The version of the streams. A release that draws other values from the same key raises it.
pub const STREAM_VERSION: u32 = 1;

const ROOT: [u8; 32] = *b"mixup-rs: streams, version 1    ";

/// Above this the standard deviation of Beta(α, α), 1/√(8α + 4), is below half a unit in the last place of ½.
const ALPHA_POINT_MASS: f64 = 1e33;

/// Below this Beta(α, α) gives nothing but 0 and 1 in float64. Its reciprocal is finite.
const ALPHA_COIN: f64 = 1e-300;

/// What a plan is drawn from: 256 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 32]);

/// The independent streams under one key.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Lam = 1,
    Partner = 2,
    Box = 3,
}

impl Key {
    /// A key of whole numbers below 2⁶⁴.
    ///
    /// ```
    /// use mixup_rs::Key;
    /// assert_ne!(Key::new(&[1, 2]), Key::new(&[2, 1]));
    /// assert_ne!(Key::new(&[1]), Key::new(&[1, 0]));
    /// ```
    pub fn new(items: &[u64]) -> Self {
        Self::from_digits(items.iter().map(std::slice::from_ref))
    }

    /// A key of whole numbers of any size, each as its 64-bit digits, least first and
    /// without zeros on top; 0 is a single zero.
    pub fn from_digits<'a>(items: impl IntoIterator<Item = &'a [u64]>) -> Self {
        let mut key = Self(ROOT);
        let mut count = 0;
        for digits in items {
            count += 1;
            for (i, digit) in digits.iter().enumerate() {
                // How many digits are left: no two different keys absorb the same sequence.
                key = key.child(*digit, (digits.len() - i) as u64);
            }
        }
        key.child(count, 0)
    }

    /// A key that nobody has had before, from the operating system. It asks anew every time: nothing is inherited
    /// by a forked process.
    pub fn from_entropy() -> Self {
        let mut bytes = [0; 32];
        SysRng.try_fill_bytes(&mut bytes).expect("the operating system gives random bytes");
        Self(bytes)
    }

    /// A key of 256 random bits that the caller drew.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn child(self, word: u64, left: u64) -> Self {
        let mut cipher = ChaCha8Rng::from_seed(self.0);
        cipher.set_stream(word);
        cipher.set_word_pos(u128::from(left) << 4);
        let mut next = [0; 32];
        cipher.fill_bytes(&mut next);
        Self(next)
    }

    fn stream(self, stream: Stream) -> ChaCha8Rng {
        self.block(stream, 0)
    }

    /// A stream of its own for block number `block` of what is drawn.
    fn block(self, stream: Stream, block: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(self.0);
        rng.set_stream(stream as u64 | (block as u64) << 8);
        rng
    }
}

/// Each block of draws has a stream of its own, so that threads can share them.
const LAM_BLOCK: usize = 1024;

/// Draws for each thread, at least: they take 0.1 ms, and to wake one takes 0.05.
const LAM_PER_THREAD: usize = 8 * LAM_BLOCK;

/// Fewer samples than this have their λ drawn by the calling thread.
pub const DRAWN_ALONE: usize = 2 * LAM_PER_THREAD;

/// How many threads so many draws are worth.
fn worth(draws: usize, limit: usize) -> usize {
    limit.min(draws / LAM_PER_THREAD).max(1)
}

/// `count` draws of λ ~ Beta(α, α), folded to max(λ, 1 − λ) on request, by at most `limit` threads.
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
    threads::for_each_chunk(&mut lam, LAM_BLOCK, worth(count, limit), |block, lam| {
        beta.fill(level, &mut key.block(Stream::Lam, block), lam);
        if fold {
            lam.iter_mut().for_each(|lam| *lam = lam.max(1.0 - *lam));
        }
    });
    Ok(lam)
}

/// A partner for each of `n` samples: a uniformly random permutation, as in the paper.
pub fn draw_permutation(key: Key, n: usize) -> Vec<usize> {
    draw_cycles(key, n).0
}

/// A uniformly random permutation, with the order of its cycles, which would take longer to find than both to draw.
///
/// What is drawn is the sequence of its cycles, each from its largest number on, which begins where one is larger than
/// all before it: every sequence is one permutation, and the other way round (Foata's correspondence; Stanley,
/// Enumerative Combinatorics, 2nd edition, 1.3.1).
pub(crate) fn draw_cycles(key: Key, n: usize) -> (Vec<usize>, Order) {
    let sequence = shuffled(key, n);
    let mut partner = vec![0; n];
    let mut starts = Vec::new();
    for (at, &i) in sequence.iter().enumerate() {
        if starts.last().is_none_or(|&start: &usize| i > sequence[start]) {
            starts.push(at);
        }
        // Of the last of a cycle its first, below.
        partner[i] = sequence.get(at + 1).copied().unwrap_or(0);
    }
    for (cycle, &start) in starts.iter().enumerate() {
        let end = starts.get(cycle + 1).copied().unwrap_or(n);
        partner[sequence[end - 1]] = sequence[start];
    }
    (partner, Order::of_cycles(&sequence, &starts))
}

fn shuffled(key: Key, n: usize) -> Vec<usize> {
    let mut sequence: Vec<usize> = (0..n).collect();
    sequence.shuffle(&mut key.stream(Stream::Partner));
    sequence
}

/// Partners that name each other: a uniformly random matching. With an odd `n` one sample is its own partner.
pub fn draw_matching(key: Key, n: usize) -> Vec<usize> {
    let shuffled = shuffled(key, n);
    let mut partner: Vec<usize> = (0..n).collect();
    for couple in shuffled.chunks_exact(2) {
        partner[couple[0]] = couple[1];
        partner[couple[1]] = couple[0];
    }
    partner
}

/// A box of the area 1 − λ for each λ, of the shape of the image: its centre anywhere, clipped to the image.
pub fn draw_boxes(key: Key, kept: &[f64], [height, width]: [usize; 2]) -> Vec<Box> {
    let mut rng = key.stream(Stream::Box);
    let mut side = |whole: usize, lam: f64| {
        let length = (whole as f64 * (1.0 - lam).sqrt()).round() as usize;
        let centre = if whole == 0 { 0 } else { rng.random_range(0..whole as u64) as usize };
        let end = centre + length.div_ceil(2);
        (end.saturating_sub(length), end.min(whole))
    };
    let draw = |&lam: &f64| {
        let (y, x) = (side(height, lam), side(width, lam));
        [y.0, x.0, y.1, x.1]
    };
    kept.iter().map(draw).collect()
}

/// `count` boxes within the image, each side between two fractions of the image's.
pub fn draw_sizes(key: Key, count: usize, minmax: (f64, f64), [height, width]: [usize; 2]) -> Result<Vec<Box>> {
    let (least, most) = minmax;
    if !(0.0 <= least && least <= most && most <= 1.0) {
        return Err(MixError::MinMax { least, most });
    }
    let mut rng = key.stream(Stream::Box);
    let mut side = |whole: usize| {
        let bound = |fraction: f64| ((whole as f64 * fraction) as u64).min(whole as u64);
        let length = rng.random_range(bound(least)..=bound(most));
        let start = rng.random_range(0..=whole as u64 - length);
        (start as usize, (start + length) as usize)
    };
    let draw = |_| {
        let (y, x) = (side(height), side(width));
        [y.0, x.0, y.1, x.1]
    };
    Ok((0..count).map(draw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_always_gives_these_bits() {
        // Two of the table in tests/test_sample.py.
        let of_two_words = [0x3fe_274627bef4277, 0x3fe_ffde1c232ac21, 0x3fe_fed682a892cc1, 0x3fe_3cbea21cec05a];
        let zero = [0x3fe_c1d5137d18f4b, 0x3fe_fb7f9ad932065, 0x3fe_ff73639c4a431, 0x3fe_60677288ab3a9];
        for (digits, lam, partner) in [(&[5, 1][..], of_two_words, [0, 2, 1, 3]), (&[0], zero, [2, 0, 3, 1])] {
            let key = Key::from_digits([digits]);
            assert_eq!(draw_lam(key, 4, 0.4, true, 1).unwrap(), lam.map(f64::from_bits));
            assert_eq!(draw_permutation(key, 4), partner);
        }
    }

    #[test]
    fn cycles_are_those_of_the_partners() {
        for n in [0, 1, 2, 3, 10, 1000] {
            let (partner, order) = draw_cycles(Key::new(&[n as u64]), n);
            let found = Order::new(&partner);
            assert_eq!(order.mixed(), found.mixed());
            // Cycle by cycle, whose number and first members may differ.
            let members = |order: &Order| -> Vec<Vec<usize>> {
                let sorted = |arc: crate::order::Arc| {
                    let cycle = &order.samples[arc.range];
                    assert!((0..cycle.len()).all(|at| partner[cycle[at]] == cycle[(at + 1) % cycle.len()]));
                    let mut cycle = cycle.to_vec();
                    cycle.sort_unstable();
                    cycle
                };
                let mut cycles: Vec<Vec<usize>> = order.arcs().map(sorted).collect();
                cycles.sort_unstable();
                cycles
            };
            assert_eq!(members(&order), members(&found));
            assert_eq!(order.samples[order.mixed()..], found.samples[found.mixed()..]);
        }
    }

    #[test]
    fn every_permutation_is_as_likely() {
        let mut count = std::collections::HashMap::new();
        for key in 0..24_000 {
            *count.entry(draw_permutation(Key::new(&[key]), 4)).or_insert(0) += 1;
        }
        // Each 1,000 times, with a standard deviation of 31.
        assert_eq!(count.len(), 24);
        assert!(count.values().all(|count| (850..1150).contains(count)), "{count:?}");
    }

    #[test]
    fn alpha_goes_from_above_zero_to_a_point() {
        let key = Key::new(&[1]);
        for bad in [0.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert!(draw_lam(key, 1, bad, false, 1).is_err(), "{bad}");
        }
        let spread = |alpha| draw_lam(key, 10_000, alpha, false, 2).unwrap().iter().filter(|lam| **lam != 0.5).count();
        assert_eq!(spread(f64::MAX), 0);
        assert_eq!(spread(ALPHA_POINT_MASS * 1.1), 0);
        // A few in a thousand are far enough from ½ not to round to it.
        assert!((1..100).contains(&spread(ALPHA_POINT_MASS)));
    }

    #[test]
    fn few_draws_are_one_threads() {
        assert_eq!([1, DRAWN_ALONE - 1, DRAWN_ALONE, 10 * DRAWN_ALONE].map(|draws| worth(draws, 4)), [1, 1, 2, 4]);
        assert_eq!(worth(10 * DRAWN_ALONE, 1), 1);
        // Whole blocks.
        assert_eq!(LAM_PER_THREAD % LAM_BLOCK, 0);
    }

    #[test]
    fn an_image_without_pixels_has_empty_boxes() {
        assert!(draw_boxes(Key::new(&[1]), &[0.0, 0.5], [0, 9]).iter().all(|[y0, _, y1, _]| (*y0, *y1) == (0, 0)));
        let none = draw_sizes(Key::new(&[1]), 1, (0.0, 0.0), [0, 9]).unwrap();
        assert!(none.iter().all(|[y0, x0, y1, x1]| y0 == y1 && x0 == x1));
    }
}
