//! Draws what masks are made of: cells of a grid, and a bell. Each mask has a stream of its own, by its number.

use rand::RngExt;
use rand::seq::SliceRandom;

use super::key::{Key, Stream};

/// The number of cells along each of `axes` axes, uniform between the least and the most, and which cells stay: `kept` of
/// their number, any as likely.
pub(crate) fn draw_cells(
    key: Key,
    index: usize,
    (least, most): (usize, usize),
    axes: usize,
    kept: impl FnOnce(usize) -> usize,
) -> (usize, Vec<bool>) {
    let mut rng = key.block(Stream::Mask, index);
    let cells = rng.random_range(least as u64..=most as u64) as usize;
    let count = cells.pow(axes as u32);
    let kept = kept(count);
    let mut stays: Vec<bool> = (0..count).map(|cell| cell < kept).collect();
    stays.shuffle(&mut rng);
    (cells, stays)
}

/// A point uniform over the sample, and a standard deviation uniform between two.
pub(crate) fn draw_bell(key: Key, index: usize, (least, most): (f64, f64), shape: &[usize]) -> (Vec<f64>, f64) {
    let mut rng = key.block(Stream::Mask, index);
    let centre = shape.iter().map(|&len| rng.random::<f64>() * len as f64).collect();
    (centre, least + (most - least) * rng.random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_as_likely_to_stay() {
        let mut count = [0; 8];
        for index in 0..4000 {
            let (cells, stays) = draw_cells(Key::new(&[1]), index, (2, 2), 3, |count| count - 6);
            assert_eq!((cells, stays.len(), stays.iter().filter(|stays| **stays).count()), (2, 8, 2));
            count.iter_mut().zip(stays).for_each(|(count, stays)| *count += usize::from(stays));
        }
        // Each 1,000 times, with a standard deviation of 27.
        assert!(count.iter().all(|count| (880..1120).contains(count)), "{count:?}");
        let drawn: Vec<usize> = (0..300).map(|index| draw_cells(Key::new(&[1]), index, (3, 5), 1, |_| 0).0).collect();
        assert_eq!([3, 4, 5].map(|cells| drawn.contains(&cells)), [true; 3]);
        assert!(drawn.iter().all(|cells| (3..=5).contains(cells)));
    }

    #[test]
    fn bells_lie_in_the_sample() {
        let draw = |index| draw_bell(Key::new(&[1]), index, (0.2, 0.4), &[10, 1000]);
        let (points, sigmas): (Vec<_>, Vec<f64>) = (0..500).map(draw).unzip();
        assert!(sigmas.iter().all(|sigma| (0.2..0.4).contains(sigma)));
        assert!(sigmas.iter().any(|sigma| *sigma < 0.21) && sigmas.iter().any(|sigma| *sigma > 0.39));
        assert!(points.iter().all(|point| (0.0..10.0).contains(&point[0]) && (0.0..1000.0).contains(&point[1])));
        assert!(points.iter().any(|point| point[0] > 9.0) && points.iter().any(|point| point[1] < 100.0));
    }
}
