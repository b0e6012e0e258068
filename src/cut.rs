//! The driver of CutMix: boxes copied from the partner (Yun et al., arXiv 1905.04899).
//!
//! Nothing is computed, so any elements will do. In place the samples are visited in the same order as for a blend (see
//! [`crate::order`]); of the head of a cycle only the box of the last is saved.

use ndarray::{ArrayView, ArrayViewMut, Axis, IxDyn, RawArrayView, RawArrayViewMut, Slice};

use crate::mix::worth;
use crate::order::{Arc, Last, Order};
use crate::threads;

/// A half-open rectangle: y0, x0, y1, x1.
pub type Box = [usize; 4];

/// Whose box is copied from whom, and along which axes of the array the boxes lie.
#[derive(Clone, Copy)]
pub(crate) struct Cutting<'a> {
    pub boxes: &'a [Box],
    pub partner: &'a [usize],
    pub order: &'a Order,
    /// The axes of y and x.
    pub axes: [usize; 2],
}

/// The box within a sample, which has no batch axis any more.
fn region<T>(cutting: Cutting<'_>, i: usize, mut cut: impl FnMut(Axis, Slice) -> T) {
    let [y0, x0, y1, x1] = cutting.boxes[i];
    cut(Axis(cutting.axes[0] - 1), Slice::from(y0..y1));
    cut(Axis(cutting.axes[1] - 1), Slice::from(x0..x1));
}

/// Cuts `source` into `target`, on at most `limit` threads.
///
/// # Safety
/// Both views must be valid for the time of the call, `target` for writes, and no element of it may overlap another.
/// They are the same array or do not overlap. The boxes lie within the array; there is one, and one partner, per
/// sample.
#[allow(unsafe_code)]
pub(crate) unsafe fn cut<T: Copy + Send + Sync>(
    cutting: Cutting<'_>,
    source: RawArrayView<T, IxDyn>,
    target: RawArrayViewMut<T, IxDyn>,
    limit: usize,
) {
    if std::ptr::eq(source.as_ptr(), target.as_ptr()) {
        // SAFETY: as required above; the source is not used beside it.
        return in_place(cutting, unsafe { target.deref_into_view_mut() });
    }
    // SAFETY: as required above.
    let (source, mut target) = unsafe { (source.deref_into_view(), target.deref_into_view_mut()) };
    let threads = worth(source.len() * size_of::<T>(), limit);
    let samples: Vec<_> = target.axis_iter_mut(Axis(0)).map(std::sync::Mutex::new).collect();
    threads::for_each(
        samples.len(),
        threads,
        || (),
        |(), i| {
            let mut own = samples[i].lock().expect("nobody else takes this sample");
            own.assign(&source.index_axis(Axis(0), i));
            let mut from = source.index_axis(Axis(0), cutting.partner[i]);
            let mut to = own.view_mut();
            region(cutting, i, |axis, range| {
                from.slice_axis_inplace(axis, range);
                to.slice_axis_inplace(axis, range);
            });
            to.assign(&from);
        },
    );
}

fn in_place<T: Copy>(cutting: Cutting<'_>, mut batch: ArrayViewMut<'_, T, IxDyn>) {
    let mut samples: Vec<ArrayViewMut<'_, T, IxDyn>> = batch.axis_iter_mut(Axis(0)).collect();
    for Arc { range, last } in cutting.order.arcs() {
        let visited = &cutting.order.samples[range];
        let (Some(&first), Some(&end)) = (visited.first(), visited.last()) else { continue };
        let head = (last == Last::Head).then(|| boxed(cutting, end, samples[first].view()).to_owned());
        for &i in visited {
            match &head {
                Some(head) if i == end => paste(cutting, i, &mut samples[i], head.view()),
                _ => {
                    let [own, partner] = samples.get_disjoint_mut([i, cutting.partner[i]]).expect("two samples");
                    paste(cutting, i, own, boxed(cutting, i, partner.view()));
                }
            }
        }
    }
}

/// The box of sample `i`, in any sample.
fn boxed<'a, T>(cutting: Cutting<'_>, i: usize, mut sample: ArrayView<'a, T, IxDyn>) -> ArrayView<'a, T, IxDyn> {
    region(cutting, i, |axis, range| sample.slice_axis_inplace(axis, range));
    sample
}

fn paste<T: Copy>(
    cutting: Cutting<'_>,
    i: usize,
    sample: &mut ArrayViewMut<'_, T, IxDyn>,
    from: ArrayView<'_, T, IxDyn>,
) {
    let mut to = sample.view_mut();
    region(cutting, i, |axis, range| to.slice_axis_inplace(axis, range));
    to.assign(&from);
}
