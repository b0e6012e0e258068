//! Draws random fields: images of smooth noise.

use super::beta::{exp2, log2};
use super::fourier::{Complex, Inverse, good_len, transpose};
use super::key::{Key, Stream};
use super::normal::fill_normal;
use crate::simd::Level;
use crate::simd::vectorised::{Loop, vectorised};

/// Field number `index`: the real part of the inverse Fourier transform of complex white noise, whose waves are divided
/// by their frequency to the power `decay` (Harris et al., arXiv 2002.12047). Along one to three axes, in C order, up to
/// a factor. The wave of frequency 0 is divided as the next one, for the longest axis.
///
/// An axis whose length has a prime factor above 7 is a stretch of the next longer one that has none.
pub(crate) fn draw_field(key: Key, index: usize, shape: &[usize], decay: f64) -> Vec<f32> {
    let level = Level::current();
    let lens: Vec<usize> = shape.iter().map(|&len| good_len(len)).collect();
    let (&last, others) = lens.split_last().expect("at least one axis");
    // A real field is determined by half of the waves along its last axis.
    let half = last / 2 + 1;
    let side: usize = others.iter().product();
    let mut data = Complex::zeros(side * half);
    fill_normal(level, &mut key.block(Stream::Mask, index), &mut data.re, &mut data.im);
    weigh(level, &mut data, &lens, half, decay);

    // Each axis in turn is the first, over which all sequences lie side by side; then it becomes the last.
    let mut scratch = Complex::zeros(data.re.len());
    for &len in others {
        vectorised(level, Inverse { len, data: &mut data, scratch: &mut scratch });
        let rest = data.re.len() / len;
        transpose(&data.re, len, rest, &mut scratch.re);
        transpose(&data.im, len, rest, &mut scratch.im);
        std::mem::swap(&mut data, &mut scratch);
    }
    let real = real_inverse(level, &data, last, side);
    let mut field = vec![0.0; last * side];
    transpose(&real, last, side, &mut field);
    cropped(field, &lens, shape)
}

/// Divides each wave by its frequency to the power `decay`. Those along the last axis which stand for two of opposite
/// frequency, half of the waves apart, have √2 times the amplitude, halved by [`real_inverse`] as it adds both.
fn weigh(level: Level, data: &mut Complex, lens: &[usize], half: usize, decay: f64) {
    let last = lens[lens.len() - 1];
    let least = 1.0 / lens.iter().copied().max().unwrap_or(1) as f64;
    let square = |k: usize, len: usize| (k.min(len - k) as f64 / len as f64).powi(2);
    let along: Vec<f64> = (0..half).map(|k| square(k, last)).collect();
    let scales: Vec<f64> =
        (0..half).map(|k| if k == 0 || 2 * k == last { 1.0 } else { std::f64::consts::SQRT_2 }).collect();
    let rows = data.re.chunks_exact_mut(half).zip(data.im.chunks_exact_mut(half));
    for (row, (re, im)) in rows.enumerate() {
        let (mut rest, mut across) = (row, 0.0);
        for &len in lens[..lens.len() - 1].iter().rev() {
            across += square(rest % len, len);
            rest /= len;
        }
        let least = least * least;
        vectorised(level, Weigh { re, im, along: &along, scales: &scales, across, least, decay });
    }
}

/// A row of waves, with the squares of their frequencies along the row and across, and the least square.
struct Weigh<'a> {
    re: &'a mut [f32],
    im: &'a mut [f32],
    along: &'a [f64],
    scales: &'a [f64],
    across: f64,
    least: f64,
    decay: f64,
}

impl Loop for Weigh<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { re, im, along, scales, across, least, decay } = self;
        for (((re, im), along), scale) in re.iter_mut().zip(im).zip(along).zip(scales) {
            // Relative to the least frequency, so that no power leaves the range of float32.
            let ratio = (least / (across + along)).min(1.0);
            let weight = exp2(log2(ratio) * (0.5 * decay)) * scale;
            (*re, *im) = ((f64::from(*re) * weight) as f32, (f64::from(*im) * weight) as f32);
        }
    }
}

/// The real transform of length `len` of half of the waves, for `side` sequences side by side. Two of them are the real
/// and the imaginary part of one complex transform.
fn real_inverse(level: Level, half: &Complex, len: usize, side: usize) -> Vec<f32> {
    let pairs = side.div_ceil(2);
    let (mut data, mut scratch) = (Complex::zeros(pairs * len), Complex::zeros(pairs * len));
    let none = vec![0.0; pairs];
    for k in 0..=len / 2 {
        let row = k * side..(k + 1) * side;
        let (re, im) = (half.re[row.clone()].split_at(pairs), half.im[row].split_at(pairs));
        let padded = |second: &mut Vec<f32>, of: &[f32]| second[..of.len()].copy_from_slice(of);
        let [mut second_re, mut second_im] = [none.clone(), none.clone()];
        padded(&mut second_re, re.1);
        padded(&mut second_im, im.1);
        // The wave of the opposite frequency is the conjugate. Of one that is its own, the real part counts.
        let opposite = (len - k) % len;
        let (own, other) = (k * pairs..(k + 1) * pairs, opposite * pairs..(opposite + 1) * pairs);
        if opposite == k {
            data.re[own.clone()].copy_from_slice(re.0);
            data.im[own].copy_from_slice(&second_re);
            continue;
        }
        let of = |from: &[f32], add: &[f32], sign: f32| -> Vec<f32> {
            from.iter().zip(add).map(|(from, add)| 0.5 * (from + sign * add)).collect()
        };
        data.re[own.clone()].copy_from_slice(&of(re.0, &second_im, -1.0));
        data.im[own].copy_from_slice(&of(&second_re, im.0, 1.0));
        data.re[other.clone()].copy_from_slice(&of(re.0, &second_im, 1.0));
        data.im[other].copy_from_slice(&of(&second_re, im.0, -1.0));
    }
    vectorised(level, Inverse { len, data: &mut data, scratch: &mut scratch });
    let mut real = vec![0.0; len * side];
    for (row, (re, im)) in real.chunks_exact_mut(side).zip(data.re.chunks_exact(pairs).zip(data.im.chunks_exact(pairs)))
    {
        row[..pairs].copy_from_slice(re);
        row[pairs..].copy_from_slice(&im[..side - pairs]);
    }
    real
}

/// The first elements along each axis.
fn cropped(field: Vec<f32>, lens: &[usize], shape: &[usize]) -> Vec<f32> {
    if lens == shape {
        return field;
    }
    let (&width, outer) = shape.split_last().expect("at least one axis");
    let rows: usize = outer.iter().product();
    let start = |row: usize| {
        let (mut rest, mut start, mut step) = (row, 0, lens[lens.len() - 1]);
        for (&len, &whole) in outer.iter().zip(lens).rev() {
            start += rest % len * step;
            rest /= len;
            step *= whole;
        }
        start
    };
    (0..rows).flat_map(|row| field[start(row)..][..width].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, by sums of waves of the full spectrum, which the half determines.
    fn covariance(shape: &[usize], decay: f64, shift: &[usize]) -> f64 {
        let least = 1.0 / *shape.iter().max().unwrap() as f64;
        let size: usize = shape.iter().product();
        (0..size)
            .map(|at| {
                let (mut rest, mut squares, mut turns) = (at, 0.0, 0.0);
                for (&len, &shift) in shape.iter().zip(shift).rev() {
                    let k = rest % len;
                    rest /= len;
                    squares += (k.min(len - k) as f64 / len as f64).powi(2);
                    turns += (k * shift) as f64 / len as f64;
                }
                let weight = (least / squares.sqrt().max(least)).powf(decay);
                weight * weight * (std::f64::consts::TAU * turns).cos()
            })
            .sum()
    }

    #[test]
    fn fields_have_the_covariance_of_their_waves() {
        for (shape, decay) in [(&[16][..], 1.0), (&[15], 0.5), (&[6, 8], 1.0), (&[8, 7], 2.0), (&[4, 3, 6], 1.0)] {
            let fields: Vec<Vec<f32>> =
                (0..6000).map(|index| draw_field(Key::new(&[3]), index, shape, decay)).collect();
            let size = shape.iter().product::<usize>();
            for shift in [&[0, 0, 0], &[0, 0, 1], &[0, 0, 2], &[0, 1, 0], &[0, 1, 2], &[1, 0, 0], &[1, 1, 3]] {
                let shift = &shift[3 - shape.len()..];
                let moved = |at: usize| {
                    let (mut rest, mut moved, mut step) = (at, 0, 1);
                    for (&len, &shift) in shape.iter().zip(shift).rev() {
                        moved += (rest % len + shift) % len * step;
                        (rest, step) = (rest / len, step * len);
                    }
                    moved
                };
                let products = |field: &Vec<f32>| -> f64 {
                    (0..size).map(|at| f64::from(field[at]) * f64::from(field[moved(at)])).sum::<f64>() / size as f64
                };
                let got = fields.iter().map(products).sum::<f64>() / 6000.0;
                let (expected, variance) =
                    (covariance(shape, decay, shift), covariance(shape, decay, &[0; 3][..shape.len()]));
                assert!((got - expected).abs() < 0.07 * variance, "{shape:?} {shift:?}: {got}, not {expected}");
            }
        }
    }

    #[test]
    fn lengths_with_large_factors_are_cropped() {
        let whole = draw_field(Key::new(&[1]), 0, &[12, 14], 1.0);
        let part = draw_field(Key::new(&[1]), 0, &[11, 13], 1.0);
        assert_eq!(part.len(), 11 * 13);
        assert!((0..11).all(|y| part[y * 13..][..13] == whole[y * 14..][..13]));
        let volume = draw_field(Key::new(&[1]), 0, &[2, 11, 13], 1.0);
        assert_eq!(volume.len(), 2 * 11 * 13);
    }
}
