//! Draws boxes along one to three axes: spans, rectangles, cuboids.

use rand::RngExt;

use super::key::{Key, Stream};

/// The largest number of spatial axes of a sample.
pub(crate) const MAX_AXES: usize = 3;

/// A half-open span along each axis. If a sample has fewer axes, the first spans have length 1.
pub(crate) type Spans = [[usize; 2]; MAX_AXES];

/// Draws a box for each λ: with the proportions of the sample and a share of 1 − λ, its centre uniform over the sample,
/// clipped to the sample. If `in_middle`, its centre is that of the sample, and nothing is clipped.
pub(crate) fn draw_boxes(key: Key, kept: &[f64], shape: &[usize], in_middle: bool) -> Vec<Spans> {
    let mut rng = key.stream(Stream::Box);
    let mut span = |whole: usize, lam: f64| {
        let length = (whole as f64 * side(1.0 - lam, shape.len())).round() as usize;
        let centre = match whole {
            _ if in_middle => whole / 2,
            0 => 0,
            _ => rng.random_range(0..whole as u64) as usize,
        };
        let end = centre + length.div_ceil(2);
        [end.saturating_sub(length), end.min(whole)]
    };
    kept.iter().map(|&lam| spans(shape, |whole| span(whole, lam))).collect()
}

fn spans(shape: &[usize], mut span: impl FnMut(usize) -> [usize; 2]) -> Spans {
    let mut spans = [[0, 1]; MAX_AXES];
    for (axis, &whole) in spans[MAX_AXES - shape.len()..].iter_mut().zip(shape) {
        *axis = span(whole);
    }
    spans
}

/// The side of a cube of this volume, by functions that round alike on every machine.
fn side(volume: f64, axes: usize) -> f64 {
    match axes {
        1 => volume,
        2 => volume.sqrt(),
        _ => libm::cbrt(volume),
    }
}

/// Draws `count` boxes within the sample, each side uniform between two fractions of the sample's side.
pub(crate) fn draw_sizes(key: Key, count: usize, minmax: (f64, f64), shape: &[usize]) -> Vec<Spans> {
    let (least, most) = minmax;
    let mut rng = key.stream(Stream::Box);
    let mut span = |whole: usize| {
        let bound = |fraction: f64| ((whole as f64 * fraction) as u64).min(whole as u64);
        let length = rng.random_range(bound(least)..=bound(most));
        let start = rng.random_range(0..=whole as u64 - length);
        [start as usize, (start + length) as usize]
    };
    (0..count).map(|_| spans(shape, &mut span)).collect()
}

/// Draws `count` boxes within the sample: each with the sample's own proportions, its sides the same fraction of the
/// sample's, uniform between the two of `scale`, to the nearest pixel; anywhere it fits.
pub(crate) fn draw_patches(key: Key, count: usize, scale: (f64, f64), shape: &[usize]) -> Vec<Spans> {
    let (least, most) = scale;
    let mut rng = key.stream(Stream::Box);
    let patch = |_| {
        let fraction = least + (most - least) * rng.random::<f64>();
        spans(shape, |whole| {
            let length = ((whole as f64 * fraction).round() as u64).min(whole as u64);
            let start = rng.random_range(0..=whole as u64 - length);
            [start as usize, (start + length) as usize]
        })
    };
    (0..count).map(patch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_cover_the_drawn_share() {
        for shape in [&[50][..], &[31, 40], &[9, 16, 25]] {
            for lam in [0.0, 0.19, 0.5, 0.75, 1.0] {
                let boxes = draw_boxes(Key::new(&[3]), &[lam; 400], shape, false);
                for (axis, &whole) in shape.iter().enumerate() {
                    let length = (whole as f64 * (1.0_f64 - lam).powf(1.0 / shape.len() as f64)).round() as usize;
                    let axis = MAX_AXES - shape.len() + axis;
                    for spans in &boxes {
                        let [start, end] = spans[axis];
                        assert!(start <= end && end <= whole && end - start <= length);
                        // Shorter only if clipped.
                        assert!(end - start == length || start == 0 || end == whole);
                    }
                    // Some centres are far enough from the edges, so some boxes are not clipped.
                    let whole = |spans: &Spans| spans[axis][1] - spans[axis][0] == length;
                    assert!(boxes.iter().any(whole), "{shape:?} {lam}");
                }
            }
        }
    }

    #[test]
    fn boxes_in_the_middle_are_whole() {
        for whole in [1, 2, 7, 8] {
            for length in 0..=whole {
                let lam = 1.0 - length as f64 / whole as f64;
                let [start, end] = draw_boxes(Key::new(&[3]), &[lam], &[whole], true)[0][MAX_AXES - 1];
                assert!(end - start == length && start.abs_diff(whole - end) <= 1 && end <= whole);
            }
        }
    }

    #[test]
    fn sizes_are_between_their_bounds() {
        let boxes = draw_sizes(Key::new(&[3]), 500, (0.2, 0.8), &[10, 20]);
        let heights: Vec<usize> = boxes.iter().map(|spans| spans[1][1] - spans[1][0]).collect();
        assert_eq!((heights.iter().min(), heights.iter().max()), (Some(&2), Some(&8)));
        assert!(boxes.iter().all(|spans| spans[2][1] <= 20 && (4..=16).contains(&(spans[2][1] - spans[2][0]))));
        let ends = (boxes.iter().map(|spans| spans[2][0]).min(), boxes.iter().map(|spans| spans[2][1]).max());
        assert_eq!(ends, (Some(0), Some(20)), "boxes reach both edges");
    }

    #[test]
    fn patches_keep_the_proportions_and_fit() {
        let boxes = draw_patches(Key::new(&[3]), 800, (0.2, 0.8), &[10, 200]);
        let sides: Vec<[usize; 2]> =
            boxes.iter().map(|spans| [1, 2].map(|axis| spans[axis][1] - spans[axis][0])).collect();
        assert!(sides.iter().all(|[height, width]| (40..=160).contains(width) && height.abs_diff(width / 20) <= 1));
        assert_eq!(
            (sides.iter().map(|side| side[0]).min(), sides.iter().map(|side| side[0]).max()),
            (Some(2), Some(8))
        );
        assert!(boxes.iter().all(|spans| spans[1][1] <= 10 && spans[2][1] <= 200));
        let ends = (boxes.iter().map(|spans| spans[1][0]).min(), boxes.iter().map(|spans| spans[1][1]).max());
        assert_eq!(ends, (Some(0), Some(10)), "patches reach both edges");
        assert!(
            draw_patches(Key::new(&[3]), 9, (1.0, 1.0), &[3, 4]).iter().all(|spans| spans[1..] == [[0, 3], [0, 4]])
        );
    }

    #[test]
    fn an_empty_sample_has_empty_boxes() {
        assert!(draw_boxes(Key::new(&[1]), &[0.0, 0.5], &[0, 9], false).iter().all(|spans| spans[1] == [0, 0]));
        let none = draw_sizes(Key::new(&[1]), 1, (0.0, 0.0), &[0, 9]);
        assert!(none.iter().flat_map(|spans| &spans[1..]).all(|[start, end]| start == end));
    }
}
