//! Turns the strides of N-d arrays into runs that can be blended.
//!
//! The axes of a sample are sorted into the memory order of the target, and an axis that continues another is merged
//! with it. The result is a run (the last axis) and the outer axes over which it repeats. If all arrays share a dense
//! layout, such as C order or channels_last, a sample is a single run.

/// An axis of a sample, with its strides in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub len: usize,
    pub source: isize,
    /// In the array that partners come from: the source, or another.
    pub other: isize,
    pub target: isize,
}

/// The memory layout of the samples of a source, of the array that partners come from, and of a target. Offsets and
/// strides are in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub n: usize,
    /// The offset of the first run from the first element of a sample: not zero if an axis is reversed.
    source_start: isize,
    other_start: isize,
    target_start: isize,
    /// The stride from one sample to the next.
    pub source_step: isize,
    pub other_step: isize,
    pub target_step: isize,
    /// The axes over which the run repeats, outermost first.
    pub outer: Vec<Axis>,
    pub run: Axis,
}

impl Layout {
    /// The layout of two arrays of the same `shape`, whose axis 0 is the batch, and of an array with samples of the same
    /// shape that partners come from: the source, or another. `None` if they are empty.
    pub fn with(shape: &[usize], source: &[isize], other: &[isize], target: &[isize]) -> Option<Self> {
        if shape.contains(&0) {
            return None;
        }
        let mut layout = Self {
            n: shape[0],
            source_start: 0,
            other_start: 0,
            target_start: 0,
            source_step: source[0],
            other_step: other[0],
            target_step: target[0],
            outer: Vec::new(),
            run: Axis { len: 1, source: 1, other: 1, target: 1 },
        };
        for (axis, number) in axes_in_memory(shape, source, target) {
            let sign = if target[number] < 0 { -1 } else { 1 };
            let axis = Axis { other: sign * other[number], ..axis };
            if target[number] < 0 {
                let last = axis.len as isize - 1;
                layout.source_start -= last * axis.source;
                layout.other_start -= last * axis.other;
                layout.target_start -= last * axis.target;
            }
            match layout.outer.last_mut() {
                Some(last) if last.continues(axis) => {
                    *last = Axis { len: last.len * axis.len, ..axis };
                }
                _ => layout.outer.push(axis),
            }
        }
        if let Some(run) = layout.outer.pop() {
            layout.run = run;
        }
        Some(layout)
    }

    /// The layout of two arrays, of which partners come from the source.
    #[cfg(test)]
    pub fn new(shape: &[usize], source: &[isize], target: &[isize]) -> Option<Self> {
        Self::with(shape, source, source, target)
    }

    /// The offsets at which run number `index` starts in the first sample of source and target.
    pub fn run_start(&self, index: usize) -> (isize, isize) {
        self.start_of_run(index, (self.source_start, self.target_start), |axis| (axis.source, axis.target))
    }

    /// The offset at which run number `index` starts in the first sample of the array that partners come from.
    pub fn other_start(&self, index: usize) -> isize {
        self.start_of_run(index, (self.other_start, 0), |axis| (axis.other, 0)).0
    }

    fn start_of_run(
        &self,
        index: usize,
        first: (isize, isize),
        strides: impl Fn(&Axis) -> (isize, isize),
    ) -> (isize, isize) {
        let (mut rest, mut start) = (index, first);
        for axis in self.outer.iter().rev() {
            let (at, (one, two)) = ((rest % axis.len) as isize, strides(axis));
            rest /= axis.len;
            start = (start.0 + at * one, start.1 + at * two);
        }
        start
    }

    /// The number of runs of a sample.
    pub fn runs(&self) -> usize {
        self.outer.iter().map(|axis| axis.len).product()
    }

    /// Whether a run is contiguous in all arrays.
    pub fn is_contiguous(&self) -> bool {
        self.run.source == 1 && self.run.other == 1 && self.run.target == 1
    }

    /// The number of elements.
    pub fn size(&self) -> usize {
        self.n * self.runs() * self.run.len
    }
}

impl Axis {
    /// Whether one step of this axis equals the whole of `inner`, so that both merge into one axis.
    fn continues(&self, inner: Axis) -> bool {
        let len = inner.len as isize;
        [self.source, self.other, self.target] == [inner.source, inner.other, inner.target].map(|stride| stride * len)
    }
}

/// An axis of a sample, with its index in the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SampleAxis {
    pub number: usize,
    pub len: usize,
    /// Whether it is traversed from its end.
    pub is_reversed: bool,
}

/// The axes of a sample and their numbers in the array, in the memory order of the target, outermost first, without
/// those of length 1. Axes with a negative stride in the target are reversed.
fn axes_in_memory(shape: &[usize], source: &[isize], target: &[isize]) -> Vec<(Axis, usize)> {
    let axis = |number: usize| {
        let sign = if target[number] < 0 { -1 } else { 1 };
        let (source, target) = (sign * source[number], sign * target[number]);
        (Axis { len: shape[number], source, other: source, target }, number)
    };
    let mut axes: Vec<_> = (1..shape.len()).filter(|&number| shape[number] > 1).map(axis).collect();
    axes.sort_by_key(|(axis, _)| std::cmp::Reverse((axis.target, axis.source)));
    axes
}

/// The axes of a sample in the order of a [`Layout`] of the same arrays.
pub(crate) fn sample_axes(shape: &[usize], source: &[isize], target: &[isize]) -> impl Iterator<Item = SampleAxis> {
    let axes = axes_in_memory(shape, source, target).into_iter();
    axes.map(|(axis, number)| SampleAxis { number, len: axis.len, is_reversed: target[number] < 0 })
}

/// Whether two elements of an array may share memory. Conservative: true also for interleaved strides that do not
/// overlap, which no array library produces.
pub(crate) fn overlaps_itself(shape: &[usize], strides: &[isize]) -> bool {
    if shape.contains(&0) {
        return false;
    }
    let mut axes: Vec<(usize, usize)> = shape
        .iter()
        .zip(strides)
        .filter(|&(&len, _)| len > 1)
        .map(|(&len, stride)| (stride.unsigned_abs(), len))
        .collect();
    axes.sort_unstable();
    let mut extent = 1;
    axes.into_iter().any(|(stride, len)| {
        let collides = stride < extent;
        extent += stride * (len - 1);
        collides
    })
}

/// The strides of a new dense array of this shape, with its axes in the memory order of `like` (NumPy's order='K').
pub(crate) fn dense_like(shape: &[usize], like: &[isize]) -> Vec<isize> {
    let mut order: Vec<usize> = (0..shape.len()).collect();
    // A stable sort: axes of equal stride, as in a broadcast array, keep their C order.
    order.sort_by_key(|&axis| std::cmp::Reverse(like[axis].unsigned_abs()));
    let mut strides = vec![0; shape.len()];
    let mut step = 1;
    for axis in order.into_iter().rev() {
        strides[axis] = step;
        step *= shape[axis].max(1) as isize;
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn layout(shape: &[usize], source: &[isize], target: &[isize]) -> Layout {
        Layout::new(shape, source, target).unwrap()
    }

    #[test]
    fn a_shared_dense_layout_is_one_run() {
        for strides in [[60, 20, 5, 1], [60, 1, 15, 3], [-60, 20, 5, 1], [0, 20, 5, 1]] {
            let layout = layout(&[2, 3, 4, 5], &strides, &strides);
            assert_eq!((layout.runs(), layout.run.len), (1, 60), "{strides:?}");
            assert!(layout.is_contiguous());
        }
    }

    #[test]
    fn reversed_axes_start_at_their_last_element() {
        let layout = layout(&[2, 4], &[4, -1], &[4, -1]);
        assert_eq!((layout.source_start, layout.target_start), (-3, -3));
        assert!(layout.is_contiguous());
        let mirrored = Layout::new(&[2, 4], &[4, -1], &[4, 1]).unwrap();
        assert_eq!((mirrored.source_start, mirrored.run.source), (0, -1));
        assert!(!mirrored.is_contiguous());
    }

    #[test]
    fn a_crop_is_a_run_per_row() {
        let layout = layout(&[2, 3, 2, 5], &[600, 100, 10, 1], &[30, 10, 5, 1]);
        assert_eq!((layout.runs(), layout.run.len, layout.size()), (6, 5, 60));
        assert_eq!(layout.run_start(0), (0, 0));
        assert_eq!(layout.run_start(1), (10, 5));
        assert_eq!(layout.run_start(5), (210, 25));
    }

    #[test]
    fn an_empty_array_has_no_layout() {
        assert_eq!(Layout::new(&[0, 3], &[3, 1], &[3, 1]), None);
        assert_eq!(Layout::new(&[3, 0], &[0, 1], &[0, 1]), None);
        assert_eq!(layout(&[3], &[2], &[1]).run.len, 1);
    }

    #[test]
    fn self_overlap_is_detected() {
        assert!(!overlaps_itself(&[2, 3], &[3, 1]));
        assert!(!overlaps_itself(&[2, 3], &[-3, -1]));
        assert!(!overlaps_itself(&[1, 3], &[0, 1]));
        assert!(!overlaps_itself(&[0, 3], &[0, 0]));
        assert!(overlaps_itself(&[2, 3], &[0, 1]));
        assert!(overlaps_itself(&[2, 3], &[2, 1]));
        assert!(overlaps_itself(&[2, 3], &[3, 0]));
    }

    #[test]
    fn a_new_array_keeps_the_order_of_the_axes() {
        assert_eq!(dense_like(&[2, 3, 4, 5], &[60, 20, 5, 1]), [60, 20, 5, 1]);
        assert_eq!(dense_like(&[2, 3, 4, 5], &[60, 1, 15, 3]), [60, 1, 15, 3]);
        assert_eq!(dense_like(&[2, 3], &[1, 2]), [1, 2]);
        assert_eq!(dense_like(&[4, 3], &[-9, 2]), [3, 1]);
        assert_eq!(dense_like(&[2, 3], &[0, 0]), [3, 1]);
    }

    /// The offsets of the elements of an array, in the order of their indices.
    fn offsets(shape: &[usize], strides: &[isize]) -> Vec<isize> {
        let add = |starts: Vec<isize>, (&len, &stride): (&usize, &isize)| {
            starts.iter().flat_map(|start| (0..len as isize).map(move |at| start + at * stride)).collect()
        };
        shape.iter().zip(strides).fold(vec![0], add)
    }

    fn has_duplicates(mut offsets: Vec<isize>) -> bool {
        offsets.sort_unstable();
        offsets.windows(2).any(|pair| pair[0] == pair[1])
    }

    proptest! {
        #[test]
        fn runs_cover_all_elements_of_a_sample(
            axes in vec((1..5_usize, -40..40_isize, -40..40_isize), 1..5),
            dense in any::<bool>(),
        ) {
            let shape: Vec<usize> = axes.iter().map(|axis| axis.0).collect();
            let mut source: Vec<isize> = axes.iter().map(|axis| axis.1).collect();
            let mut target: Vec<isize> = axes.iter().map(|axis| axis.2).collect();
            if dense {
                // With the batch as the outermost axis, all others merge.
                source[0] = 100;
                source = dense_like(&shape, &source);
                target = dense_like(&shape, &source);
            }
            let layout = layout(&shape, &source, &target);
            let mut got = Vec::new();
            for run in 0..layout.runs() {
                let (source, target) = layout.run_start(run);
                let run = (0..layout.run.len as isize).map(|at| at * layout.run.source + source).zip(
                    (0..layout.run.len as isize).map(|at| at * layout.run.target + target));
                got.extend(run);
            }
            let sample = |strides: &[isize]| offsets(&shape[1..], &strides[1..]).into_iter();
            let mut expected: Vec<_> = sample(&source).zip(sample(&target)).collect();
            prop_assert_eq!(layout.size(), shape[0] * expected.len());
            prop_assert!(!dense || layout.is_contiguous());
            got.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn self_overlap_is_never_missed(axes in vec((0..5_usize, -30..30_isize), 0..5)) {
            let (shape, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
            prop_assert!(overlaps_itself(&shape, &strides) || !has_duplicates(offsets(&shape, &strides)));
            prop_assert!(!overlaps_itself(&shape, &dense_like(&shape, &strides)));
        }

        #[test]
        fn a_new_array_has_no_gaps(axes in vec((1..5_usize, -30..30_isize), 0..5)) {
            let (shape, like): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
            let mut got = offsets(&shape, &dense_like(&shape, &like));
            got.sort_unstable();
            prop_assert!(got.into_iter().eq(0..shape.iter().product::<usize>() as isize));
        }
    }
}
