//! Inverse Fourier transforms of float32, with the same bits on every platform.
//!
//! Many sequences side by side are transformed at once: every step is a plain loop over neighbours in memory, which the
//! compiler vectorises, and no operation is fused or reordered. Angles come from the `libm` crate. (The crates for it
//! take sines and cosines from the platform.)

use crate::simd::vectorised::Loop;

/// The largest prime factor of a length.
pub(super) const LARGEST_FACTOR: usize = 7;

/// The least length of at least `len` that has no larger prime factor.
pub(super) fn good_len(len: usize) -> usize {
    (len..).find(|&len| factors(len).is_some()).expect("a power of two")
}

/// The factors that a transform of this length is divided into.
fn factors(len: usize) -> Option<Vec<usize>> {
    let (mut rest, mut factors) = (len, Vec::new());
    for factor in [4, 2, 3, 5, LARGEST_FACTOR] {
        while rest > 0 && rest.is_multiple_of(factor) {
            rest /= factor;
            factors.push(factor);
        }
    }
    (rest == 1).then_some(factors)
}

/// Complex numbers, real and imaginary parts apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Complex {
    pub re: Vec<f32>,
    pub im: Vec<f32>,
}

impl Complex {
    pub fn zeros(len: usize) -> Self {
        Self { re: vec![0.0; len], im: vec![0.0; len] }
    }
}

/// The transform x[k] → Σ x[j]·e^(2πi·jk/len) of sequences of `len` numbers that lie side by side: number j of all
/// sequences, then number j + 1. By Stockham's algorithm, which needs no reordering.
pub(super) struct Inverse<'a> {
    pub len: usize,
    pub data: &'a mut Complex,
    pub scratch: &'a mut Complex,
}

impl Loop for Inverse<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { len, data, scratch } = self;
        let factors = factors(len).expect("a good length");
        let roots = Roots::new(len);
        // The number of neighbours that are treated alike, and the length of what is left to transform.
        let (mut side, mut rest) = (data.re.len() / len, len);
        for factor in factors {
            let step = Step { side, rest, every: len / rest, roots: &roots };
            match factor {
                2 => step.run::<2>(data, scratch),
                3 => step.run::<3>(data, scratch),
                4 => step.run::<4>(data, scratch),
                5 => step.run::<5>(data, scratch),
                _ => step.run::<LARGEST_FACTOR>(data, scratch),
            }
            std::mem::swap(data, scratch);
            (side, rest) = (side * factor, rest / factor);
        }
    }
}

/// e^(2πi·k/len) for all k.
struct Roots(Vec<[f32; 2]>);

impl Roots {
    fn new(len: usize) -> Self {
        let angle = |k: usize| k as f64 / len as f64 * std::f64::consts::TAU;
        Self((0..len).map(angle).map(|angle| [libm::cos(angle) as f32, libm::sin(angle) as f32]).collect())
    }

    fn at(&self, k: usize) -> [f32; 2] {
        self.0[k % self.0.len()]
    }
}

struct Step<'a> {
    side: usize,
    rest: usize,
    /// The roots of order `rest` are every so many.
    every: usize,
    roots: &'a Roots,
}

impl Step<'_> {
    #[inline(always)]
    fn run<const FACTOR: usize>(&self, from: &Complex, to: &mut Complex) {
        let (side, part) = (self.side, self.rest / FACTOR);
        // Roots of order FACTOR.
        let turns: [[f32; 2]; FACTOR] = std::array::from_fn(|k| self.roots.at(k * self.every * part));
        let outputs = to.re.chunks_exact_mut(FACTOR * side).zip(to.im.chunks_exact_mut(FACTOR * side));
        for (at, (out_re, out_im)) in outputs.enumerate() {
            let (out_re, out_im) = (lanes::<FACTOR>(out_re, side), lanes::<FACTOR>(out_im, side));
            let (mut re, mut im, mut twiddles) = ([&[][..]; FACTOR], [&[][..]; FACTOR], [[0.0; 2]; FACTOR]);
            for j in 0..FACTOR {
                let start = (at + j * part) * side;
                (re[j], im[j]) = (&from.re[start..][..side], &from.im[start..][..side]);
                twiddles[j] = self.roots.at(at * j * self.every);
            }
            // No closure from here on: one that the standard library calls is compiled without the instruction set.
            for lane in 0..side {
                let mut x = [[0.0; 2]; FACTOR];
                for j in 0..FACTOR {
                    x[j] = [re[j][lane], im[j][lane]];
                }
                let sums = butterfly(x, &turns);
                for k in 0..FACTOR {
                    let ([re, im], [cos, sin]) = (sums[k], twiddles[k]);
                    out_re[k][lane] = re * cos - im * sin;
                    out_im[k][lane] = re * sin + im * cos;
                }
            }
        }
    }
}

/// Divides into `FACTOR` slices of `side` numbers.
#[inline(always)]
fn lanes<const FACTOR: usize>(numbers: &mut [f32], side: usize) -> [&mut [f32]; FACTOR] {
    let mut rest = numbers;
    std::array::from_fn(|_| {
        let (lane, after) = std::mem::take(&mut rest).split_at_mut(side);
        rest = after;
        lane
    })
}

/// The transform of `FACTOR` numbers, an odd prime, 2 or 4; `turns` are the roots of that order.
#[inline(always)]
fn butterfly<const FACTOR: usize>(x: [[f32; 2]; FACTOR], turns: &[[f32; 2]; FACTOR]) -> [[f32; 2]; FACTOR] {
    let add = |a: [f32; 2], b: [f32; 2]| [a[0] + b[0], a[1] + b[1]];
    let sub = |a: [f32; 2], b: [f32; 2]| [a[0] - b[0], a[1] - b[1]];
    let mut sums = [[0.0; 2]; FACTOR];
    if FACTOR == 2 {
        (sums[0], sums[1]) = (add(x[0], x[1]), sub(x[0], x[1]));
        return sums;
    }
    if FACTOR == 4 {
        let (even, odd) = ([add(x[0], x[2]), sub(x[0], x[2])], [add(x[1], x[3]), sub(x[1], x[3])]);
        // A quarter of a turn.
        let turned = [-odd[1][1], odd[1][0]];
        (sums[0], sums[2]) = (add(even[0], odd[0]), sub(even[0], odd[0]));
        (sums[1], sums[3]) = (add(even[1], turned), sub(even[1], turned));
        return sums;
    }
    sums[0] = x[0];
    for &other in &x[1..] {
        sums[0] = add(sums[0], other);
    }
    // The roots of j and FACTOR − j are conjugates.
    for k in 1..=FACTOR / 2 {
        let (mut along, mut across) = (x[0], [0.0; 2]);
        for j in 1..=FACTOR / 2 {
            let (sum, difference) = (add(x[j], x[FACTOR - j]), sub(x[j], x[FACTOR - j]));
            let [cos, sin] = turns[j * k % FACTOR];
            along = add(along, [sum[0] * cos, sum[1] * cos]);
            across = add(across, [-difference[1] * sin, difference[0] * sin]);
        }
        (sums[k], sums[FACTOR - k]) = (add(along, across), sub(along, across));
    }
    sums
}

/// Writes the transposed of `rows` × `columns` numbers, in squares that stay in the cache.
pub(super) fn transpose(from: &[f32], rows: usize, columns: usize, to: &mut [f32]) {
    const SQUARE: usize = 16;
    for i in (0..rows).step_by(SQUARE) {
        for j in (0..columns).step_by(SQUARE) {
            for row in i..(i + SQUARE).min(rows) {
                for column in j..(j + SQUARE).min(columns) {
                    to[column * rows + row] = from[row * columns + column];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Level;
    use crate::simd::vectorised::vectorised;

    fn value(i: usize) -> f32 {
        (i * 7919 % 1009) as f32 / 504.0 - 1.0
    }

    #[test]
    fn transforms_are_sums_of_waves() {
        for len in [1, 2, 3, 4, 5, 6, 7, 8, 12, 14, 16, 30, 49, 60, 105, 224] {
            for side in [1, 3, 20] {
                let size = len * side;
                let input =
                    Complex { re: (0..size).map(value).collect(), im: (0..size).map(|i| value(i + size)).collect() };
                let mut results = Vec::new();
                for level in Level::available() {
                    let (mut data, mut scratch) = (input.clone(), Complex::zeros(size));
                    vectorised(level, Inverse { len, data: &mut data, scratch: &mut scratch });
                    results.push(data);
                }
                assert!(results.iter().all(|result| *result == results[0]), "{len} {side}");
                for k in 0..len {
                    for lane in 0..side {
                        let (mut re, mut im) = (0.0, 0.0);
                        for j in 0..len {
                            let angle = std::f64::consts::TAU * (j * k % len) as f64 / len as f64;
                            let at = j * side + lane;
                            let (x, y) = (f64::from(input.re[at]), f64::from(input.im[at]));
                            re += x * angle.cos() - y * angle.sin();
                            im += x * angle.sin() + y * angle.cos();
                        }
                        let (got, at) = (&results[0], k * side + lane);
                        let close = |got: f32, exact: f64| (f64::from(got) - exact).abs() < 1e-5 * (len as f64).sqrt();
                        assert!(close(got.re[at], re) && close(got.im[at], im), "{len} {side} {k} {lane}");
                    }
                }
            }
        }
    }

    #[test]
    fn lengths_have_small_factors() {
        assert_eq!([1, 7, 11, 13, 31, 223, 224, 299, 1009].map(good_len), [1, 7, 12, 14, 32, 224, 224, 300, 1024]);
        assert_eq!(factors(224), Some(vec![4, 4, 2, 7]));
        assert_eq!(factors(0), None);
    }

    #[test]
    fn rows_become_columns() {
        let from: Vec<f32> = (0..33 * 20).map(|i| i as f32).collect();
        let mut to = vec![0.0; 33 * 20];
        transpose(&from, 33, 20, &mut to);
        assert!((0..33).all(|i| (0..20).all(|j| to[j * 33 + i] == from[i * 20 + j])));
    }
}
