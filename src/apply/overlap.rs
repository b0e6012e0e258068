//! Overlap of source and target.

use ndarray::{ArrayD, IxDyn, RawArrayView, RawArrayViewMut, ShapeBuilder};

use super::layout::dense_like;

/// Calls `write` with `out`. If `out` partly overlaps `x`, or shares memory with the array `other` that partners come
/// from, calls it with a new array, which is then copied to `out`.
///
/// # Safety
/// `out` must be valid and writable.
#[allow(unsafe_code)]
pub(crate) unsafe fn apart_or_same<T: Copy + Default>(
    x: &RawArrayView<T, IxDyn>,
    other: Option<&RawArrayView<T, IxDyn>>,
    out: RawArrayViewMut<T, IxDyn>,
    write: impl FnOnce(RawArrayViewMut<T, IxDyn>),
) {
    let is_other_apart = other.is_none_or(|other| !extents_meet(other, &out));
    if is_other_apart && (same_elements(x, &out) || !extents_meet(x, &out)) {
        return write(out);
    }
    let mut apart = new_array::<T>(out.shape(), &dense_like(out.shape(), out.strides()));
    write(apart.raw_view_mut());
    // SAFETY: valid as required above.
    unsafe { out.deref_into_view_mut() }.assign(&apart);
}

pub(crate) fn new_array<T: Copy + Default>(shape: &[usize], strides: &[isize]) -> ArrayD<T> {
    if shape.contains(&0) {
        return ArrayD::default(shape);
    }
    let strides: Vec<usize> = strides.iter().map(|&stride| stride as usize).collect();
    let elements = vec![T::default(); shape.iter().product()];
    ArrayD::from_shape_vec(IxDyn(shape).strides(IxDyn(&strides)), elements).expect("the strides are dense")
}

/// Whether both arrays have the same elements at the same indices.
fn same_elements<T>(x: &RawArrayView<T, IxDyn>, out: &RawArrayViewMut<T, IxDyn>) -> bool {
    let strides = || x.shape().iter().zip(x.strides().iter().zip(out.strides()));
    std::ptr::eq(x.as_ptr(), out.as_ptr()) && strides().all(|(&len, (x, out))| len <= 1 || x == out)
}

/// Whether the byte ranges from the lowest to the highest element overlap.
fn extents_meet<T>(x: &RawArrayView<T, IxDyn>, out: &RawArrayViewMut<T, IxDyn>) -> bool {
    let x = extent(x.as_ptr(), x.shape(), x.strides());
    let out = extent(out.as_ptr(), out.shape(), out.strides());
    x.start < out.end && out.start < x.end
}

fn extent<T>(start: *const T, shape: &[usize], strides: &[isize]) -> std::ops::Range<usize> {
    if shape.contains(&0) {
        return 0..0;
    }
    let (mut low, mut high) = (0_isize, 1_isize);
    for (&len, &stride) in shape.iter().zip(strides) {
        let reach = (len as isize - 1) * stride;
        low += reach.min(0);
        high += reach.max(0);
    }
    start.wrapping_offset(low) as usize..start.wrapping_offset(high) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Axis;

    /// Calls `look` with two views of the same memory, each given as its first element, shape and strides.
    fn two_views<R>(
        x: (usize, [usize; 2], [isize; 2]),
        out: (usize, [usize; 2], [isize; 2]),
        look: impl FnOnce(&RawArrayView<f32, IxDyn>, &RawArrayViewMut<f32, IxDyn>) -> R,
    ) -> R {
        let mut memory = [0_f32; 100];
        let start = memory.as_mut_ptr();
        // ndarray takes positive strides only, so axes are inverted afterwards.
        let view = |(first, shape, strides): (usize, [usize; 2], [isize; 2])| {
            let size = strides.map(|stride| stride.unsigned_abs());
            let low = (0..2).filter(|&k| strides[k] < 0).map(|k| (shape[k].max(1) - 1) * size[k]).sum::<usize>();
            let low = start.wrapping_add(first - low);
            // SAFETY: the views of the tests below lie within `memory`.
            #[allow(unsafe_code)]
            let mut view = unsafe { RawArrayViewMut::from_shape_ptr(shape.strides(size), low) }.into_dyn();
            (0..2).filter(|&k| strides[k] < 0).for_each(|k| view.invert_axis(Axis(k)));
            view
        };
        look(&view(x).raw_view(), &view(out))
    }

    #[test]
    fn views_of_the_same_elements_are_recognised() {
        let rows = (20, [3, 4], [8, 1]);
        assert!(two_views(rows, rows, same_elements));
        assert!(!two_views(rows, (21, [3, 4], [8, 1]), same_elements));
        assert!(!two_views(rows, (20, [3, 4], [9, 1]), same_elements));
        assert!(!two_views(rows, (20, [3, 4], [8, 2]), same_elements));
        // The stride of an axis of length 1 does not matter.
        assert!(two_views((20, [1, 4], [4, 1]), (20, [1, 4], [9, 1]), same_elements));
    }

    #[test]
    fn extents_meet_if_they_share_a_byte() {
        // Elements 20 to 31.
        let rows = (20, [3, 4], [4, 1]);
        let meets = |out| (two_views(rows, out, extents_meet), two_views(out, rows, extents_meet));
        for first in 8..=32 {
            let expected = (9..=31).contains(&first);
            assert_eq!(meets((first, [3, 4], [4, 1])), (expected, expected), "{first}");
        }
        // Both axes reversed, from the last element: 11 below the first.
        for first in 19..=43 {
            let expected = (20..=42).contains(&first);
            assert_eq!(meets((first, [3, 4], [-4, -1])), (expected, expected), "{first}");
        }
        // An empty array overlaps nothing.
        assert_eq!(meets((24, [0, 4], [4, 1])), (false, false));
    }
}
