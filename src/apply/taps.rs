//! Where the pixels of a resized axis come from.

use crate::plan::Sampling;

/// The two elements that one is blended from: near + (far − near)·weight, the weight at most ½.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tap {
    pub near: usize,
    pub far: usize,
    pub weight: f64,
}

/// The taps of an axis of `from` pixels that is resized to `to`. A pixel has `unit` elements, each with a tap.
///
/// Both axes have the same ends, and a pixel its middle: pixel k is taken from (k + ½)·from/to − ½, but not from beyond
/// the middles of the first and the last pixel. In whole numbers, so that it is exact.
pub(super) fn taps(from: usize, to: usize, unit: usize, sampling: Sampling) -> Vec<Tap> {
    let last = from - 1;
    let tap = |k: usize| match sampling {
        Sampling::Nearest => {
            let near = ((2 * k + 1) * from / (2 * to)).min(last);
            Tap { near, far: near, weight: 0.0 }
        }
        Sampling::Bilinear => {
            let place = ((2 * k + 1) * from).saturating_sub(to);
            let (first, rest) = (place / (2 * to), place % (2 * to));
            let second = (first + 1).min(last);
            let weight = |share: usize| share as f64 / (2 * to) as f64;
            match rest {
                0 => Tap { near: first, far: first, weight: 0.0 },
                _ if first == last => Tap { near: last, far: last, weight: 0.0 },
                _ if rest <= to => Tap { near: first, far: second, weight: weight(rest) },
                _ => Tap { near: second, far: first, weight: weight(2 * to - rest) },
            }
        }
    };
    let elements = |tap: Tap| {
        (0..unit).map(move |at| Tap { near: tap.near * unit + at, far: tap.far * unit + at, weight: tap.weight })
    };
    (0..to).map(tap).flat_map(elements).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(near: usize, far: usize, weight: f64) -> Tap {
        Tap { near, far, weight }
    }

    #[test]
    fn pixels_are_taken_from_between_two() {
        let taps = |from, to| super::taps(from, to, 1, Sampling::Bilinear);
        assert_eq!(taps(4, 2), [of(0, 1, 0.5), of(2, 3, 0.5)]);
        assert_eq!(taps(5, 2), [of(1, 0, 0.25), of(3, 4, 0.25)]);
        assert_eq!(taps(3, 1), [of(1, 1, 0.0)]);
        assert_eq!(taps(3, 3), [of(0, 0, 0.0), of(1, 1, 0.0), of(2, 2, 0.0)]);
        // Beyond the middles of the first and the last.
        assert_eq!(taps(2, 4), [of(0, 0, 0.0), of(0, 1, 0.25), of(1, 0, 0.25), of(1, 1, 0.0)]);
        assert_eq!(taps(1, 3), [of(0, 0, 0.0); 3]);
    }

    #[test]
    fn the_nearest_pixel_is_that_of_the_middle() {
        let near =
            |from, to| super::taps(from, to, 1, Sampling::Nearest).iter().map(|tap| tap.near).collect::<Vec<_>>();
        assert_eq!(near(5, 2), [1, 3]);
        assert_eq!(near(4, 2), [1, 3]);
        assert_eq!(near(2, 5), [0, 0, 1, 1, 1]);
        assert_eq!(near(3, 3), [0, 1, 2]);
    }

    #[test]
    fn each_element_of_a_pixel_has_a_tap() {
        let taps = taps(5, 2, 3, Sampling::Bilinear);
        let expected =
            [of(3, 0, 0.25), of(4, 1, 0.25), of(5, 2, 0.25), of(9, 12, 0.25), of(10, 13, 0.25), of(11, 14, 0.25)];
        assert_eq!(taps, expected);
    }
}
