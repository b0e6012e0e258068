//! The region of a sample that is taken from its partner: none, a box along one to three spatial axes, a mask, or a box
//! that the whole partner is resized into.
//!
//! A new kind of region is a variant of [`Region`], and code in `apply` that takes it.

use std::sync::Arc;

use super::mask::Mask;
use crate::error::{MixError, Result};

/// The largest number of spatial axes of a sample.
pub const MAX_SPATIAL_AXES: usize = 3;

/// The region of a sample that is taken from its partner.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Region {
    /// No region: the whole sample is blended.
    #[default]
    None,
    /// A box along the spatial axes.
    Box(Rect),
    /// A share of each pixel. Samples may have a mask in common. The weight outside the region is 1.
    Mask(Arc<Mask>),
    /// A box along two spatial axes that holds the whole partner, resized.
    Resized(Rect, Sampling),
}

/// How a partner is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sampling {
    /// Between the four nearest pixels, without a filter before. Elements that cannot be blended are taken from the
    /// nearest pixel.
    #[default]
    Bilinear,
    /// The nearest pixel.
    Nearest,
}

/// A half-open box along three axes. If samples have fewer spatial axes, the first axes have length 1, except in
/// [`Rect::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// The first index along each axis.
    pub start: [usize; MAX_SPATIAL_AXES],
    /// One past the last index along each axis.
    pub end: [usize; MAX_SPATIAL_AXES],
}

impl Rect {
    /// No box: zeros. A sample with it has no region.
    pub const NONE: Self = Self { start: [0; MAX_SPATIAL_AXES], end: [0; MAX_SPATIAL_AXES] };

    /// A box with these starts and ends along the last axes, one to three of each.
    ///
    /// # Panics
    /// If there are more than [`MAX_SPATIAL_AXES`].
    ///
    /// ```
    /// use mixup_rs::Rect;
    /// let rect = Rect::new(&[10, 20], &[30, 40]);
    /// assert_eq!((rect.start, rect.end), ([0, 10, 20], [1, 30, 40]));
    /// ```
    pub fn new(start: &[usize], end: &[usize]) -> Self {
        let mut rect = Self { start: [0; MAX_SPATIAL_AXES], end: [1; MAX_SPATIAL_AXES] };
        rect.start[MAX_SPATIAL_AXES - start.len()..].copy_from_slice(start);
        rect.end[MAX_SPATIAL_AXES - end.len()..].copy_from_slice(end);
        rect
    }

    /// The number of elements of one channel inside the box.
    fn size(&self) -> f64 {
        self.start.iter().zip(&self.end).map(|(start, end)| end.saturating_sub(*start) as f64).product()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start.iter().zip(&self.end).any(|(start, end)| start >= end)
    }
}

impl Region {
    /// The region of a box. A box of zeros stands for no region, so that every region can be written as a box.
    pub(crate) fn of_rect(rect: Rect, axes: usize) -> Self {
        let is_zero = rect.end[MAX_SPATIAL_AXES - axes..].iter().all(|&end| end == 0);
        if is_zero { Self::None } else { Self::Box(rect) }
    }

    /// The region as a box; none for a mask.
    pub(crate) fn rect(&self) -> Rect {
        match self {
            Self::None | Self::Mask(_) => Rect::NONE,
            Self::Box(rect) | Self::Resized(rect, _) => *rect,
        }
    }

    pub(crate) fn mask(&self) -> Option<&Arc<Mask>> {
        if let Self::Mask(mask) = self { Some(mask) } else { None }
    }

    /// The box that the partner is resized into, and how.
    pub(crate) fn resized(&self) -> Option<(&Rect, Sampling)> {
        if let Self::Resized(rect, sampling) = self { Some((rect, *sampling)) } else { None }
    }

    /// The share of the sample outside the region, among `size` pixels.
    fn share_outside(&self, size: f64) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Box(rect) | Self::Resized(rect, _) => 1.0 - rect.size() / size,
            Self::Mask(mask) => mask.mean(),
        }
    }

    /// Whether the region is copied, and not blended.
    fn is_copied(&self) -> bool {
        self.mask().is_none_or(|mask| mask.is_hard())
    }
}

/// The lengths of the spatial axes of a sample, one to three of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpatialShape {
    axes: usize,
    len: [usize; MAX_SPATIAL_AXES],
}

impl SpatialShape {
    pub fn new(shape: &[usize]) -> Result<Self> {
        if !(1..=MAX_SPATIAL_AXES).contains(&shape.len()) {
            return Err(MixError::SpatialRank { got: shape.len() });
        }
        let mut len = [1; MAX_SPATIAL_AXES];
        len[MAX_SPATIAL_AXES - shape.len()..].copy_from_slice(shape);
        Ok(Self { axes: shape.len(), len })
    }

    pub fn as_slice(&self) -> &[usize] {
        &self.len[MAX_SPATIAL_AXES - self.axes..]
    }

    fn size(&self) -> f64 {
        self.len.iter().map(|&len| len as f64).product()
    }

    fn contains(&self, rect: &Rect) -> bool {
        (0..MAX_SPATIAL_AXES).all(|axis| rect.start[axis] <= rect.end[axis] && rect.end[axis] <= self.len[axis])
    }

    /// The axes of the regions, called `regions` in messages, in a batch of `shape`, as indices from 0: those given,
    /// negative ones counted from the end, or by default the last ones.
    fn axes_of(&self, regions: &'static str, shape: &[usize], given: Option<&[isize]>) -> Result<SpatialAxes> {
        let ndim = shape.len();
        let last: Vec<isize> = (1..=self.axes as isize).rev().map(|axis| -axis).collect();
        let given = given.unwrap_or(&last);
        let wrong = || MixError::SpatialAxes { axes: given.to_vec(), ndim, expected: self.axes };
        if given.len() != self.axes {
            return Err(wrong());
        }
        let mut axes = [None; MAX_SPATIAL_AXES];
        for (found, &axis) in axes[MAX_SPATIAL_AXES - self.axes..].iter_mut().zip(given) {
            let from_front = usize::try_from(if axis < 0 { axis + ndim as isize } else { axis });
            *found = Some(from_front.ok().filter(|axis| (1..ndim).contains(axis)).ok_or_else(wrong)?);
        }
        let found: Vec<usize> = axes.iter().copied().flatten().collect();
        if found.iter().enumerate().any(|(i, axis)| found[..i].contains(axis)) {
            return Err(wrong());
        }
        let got: Vec<usize> = found.iter().map(|&axis| shape[axis]).collect();
        if got != self.as_slice() {
            let (expected, axes) = (self.as_slice().to_vec(), given.to_vec());
            return Err(MixError::SpatialShape { regions, got, expected, axes });
        }
        Ok(SpatialAxes(axes))
    }
}

/// The axes of the regions in a batch; `None` for spatial axes that its samples lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpatialAxes(pub [Option<usize>; MAX_SPATIAL_AXES]);

/// The regions of a batch, one per sample, and the weight of each sample outside its region.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Regions {
    pub shape: SpatialShape,
    pub weight: Vec<f64>,
    pub of: Vec<Region>,
}

/// Weights that are 0 or 1 already, and 1 for others.
pub(crate) fn unblended(weight: &[f64]) -> Vec<f64> {
    weight.iter().map(|&weight| if weight == 0.0 { 0.0 } else { 1.0 }).collect()
}

impl Regions {
    /// Checks boxes within samples of this shape.
    pub fn of_boxes(boxes: Vec<Rect>, shape: &[usize], weight: Vec<f64>) -> Result<Self> {
        let shape = SpatialShape::new(shape)?;
        if let Some(index) = boxes.iter().position(|rect| !shape.contains(rect)) {
            let first = MAX_SPATIAL_AXES - shape.axes;
            let value = [&boxes[index].start[first..], &boxes[index].end[first..]].concat();
            return Err(MixError::Box { index, value, shape: shape.as_slice().to_vec() });
        }
        let of = boxes.into_iter().map(|rect| Region::of_rect(rect, shape.axes)).collect();
        Ok(Self { shape, weight, of })
    }

    /// The same boxes. Those of `resized` hold the whole partner instead of a part of it.
    pub fn resized_where(mut self, resized: impl IntoIterator<Item = Option<Sampling>>) -> Result<Self> {
        for (region, sampling) in self.of.iter_mut().zip(resized) {
            let Some(sampling) = sampling else { continue };
            if self.shape.axes != 2 {
                return Err(MixError::ResizedRank { got: self.shape.axes });
            }
            if let Region::Box(rect) = *region {
                *region = Region::Resized(rect, sampling);
            }
        }
        Ok(self)
    }

    /// The same regions without anything that averages two elements: what is blended stays as it is, and partners are
    /// resized by their nearest pixels.
    pub fn unblended(mut self) -> Self {
        self.weight = unblended(&self.weight);
        for region in &mut self.of {
            match region {
                Region::Resized(_, sampling) => *sampling = Sampling::Nearest,
                Region::Mask(mask) if !mask.is_hard() => *region = Region::None,
                _ => {}
            }
        }
        self
    }

    /// The same boxes moved to these points, and clipped to the sample.
    pub fn centred_at(mut self, points: impl IntoIterator<Item = [usize; MAX_SPATIAL_AXES]>) -> Self {
        for (region, point) in self.of.iter_mut().zip(points) {
            let Region::Box(rect) = region else { continue };
            for (axis, at) in point.into_iter().enumerate().skip(MAX_SPATIAL_AXES - self.shape.axes) {
                let length = rect.end[axis] - rect.start[axis];
                let end = at + length.div_ceil(2);
                (rect.start[axis], rect.end[axis]) = (end.saturating_sub(length), end.min(self.shape.len[axis]));
            }
        }
        self
    }

    /// Whether a sample has a box that its partner is resized into.
    pub fn has_resized(&self) -> bool {
        self.of.iter().any(|region| region.resized().is_some())
    }

    /// Checks that masks have the pixels of samples of this shape.
    pub fn of_masks(masks: Vec<Arc<Mask>>, shape: &[usize]) -> Result<Self> {
        let shape = SpatialShape::new(shape)?;
        if let Some(index) = masks.iter().position(|mask| mask.len() as f64 != shape.size()) {
            let got = masks[index].len();
            return Err(MixError::MaskLength { index, got, shape: shape.as_slice().to_vec() });
        }
        Ok(Self { shape, weight: vec![1.0; masks.len()], of: masks.into_iter().map(Region::Mask).collect() })
    }

    /// The axes of the regions in a batch of `shape`: those given, or by default the last ones.
    pub fn axes_of(&self, shape: &[usize], given: Option<&[isize]>) -> Result<SpatialAxes> {
        self.shape.axes_of(if self.has_masks() { "masks" } else { "boxes" }, shape, given)
    }

    /// Whether a sample has a mask.
    pub fn has_masks(&self) -> bool {
        self.of.iter().any(|region| region.mask().is_some())
    }

    /// Whether samples are copied in whole and in part, and never blended.
    pub fn only_copy(&self) -> bool {
        self.weight.iter().all(|&weight| weight == 1.0 || weight == 0.0) && self.of.iter().all(Region::is_copied)
    }

    /// The share of sample `i` itself in each of its pixels, in C order.
    pub fn shares(&self, i: usize) -> Vec<f64> {
        if let Region::Mask(mask) = &self.of[i] {
            return mask.to_f64();
        }
        let ([depth, height, width], rect) = (self.shape.len, self.of[i].rect());
        let is_inside = |index: [usize; MAX_SPATIAL_AXES]| {
            (0..MAX_SPATIAL_AXES).all(|axis| (rect.start[axis]..rect.end[axis]).contains(&index[axis]))
        };
        let share = |z, y, x| if is_inside([z, y, x]) { 0.0 } else { self.weight[i] };
        (0..depth)
            .flat_map(|z| (0..height).flat_map(move |y| (0..width).map(move |x| (z, y, x))))
            .map(|(z, y, x)| share(z, y, x))
            .collect()
    }

    /// The share of each sample itself in the result: its weight times the share outside its region.
    pub fn lam(&self) -> Vec<f64> {
        let size = self.shape.size().max(1.0);
        self.of.iter().zip(&self.weight).map(|(region, weight)| weight * region.share_outside(size)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes_of(shape: &[usize], batch: &[usize], given: Option<&[isize]>) -> Result<Vec<usize>> {
        let axes = SpatialShape::new(shape).unwrap().axes_of("boxes", batch, given)?;
        Ok(axes.0.into_iter().flatten().collect())
    }

    #[test]
    fn spatial_axes_are_counted_from_either_end() {
        assert_eq!(axes_of(&[3, 4], &[2, 5, 3, 4], None), Ok(vec![2, 3]));
        assert_eq!(axes_of(&[3, 4], &[2, 5, 3, 4], Some(&[-2, -1])), Ok(vec![2, 3]));
        assert_eq!(axes_of(&[3, 4], &[2, 3, 4, 5], Some(&[1, 2])), Ok(vec![1, 2]));
        assert_eq!(axes_of(&[3, 4], &[2, 4, 3], Some(&[2, -2])), Ok(vec![2, 1]));
        assert_eq!(axes_of(&[7], &[2, 5, 7], None), Ok(vec![2]));
        assert_eq!(axes_of(&[5, 6, 7], &[2, 5, 6, 7, 3], Some(&[1, 2, 3])), Ok(vec![1, 2, 3]));
        for axes in [[1, 1], [-1, 2], [0, 1], [1, 0], [-3, 1], [1, -3], [3, 1], [1, 3], [-4, 1], [1, -4]] {
            let wrong = MixError::SpatialAxes { axes: axes.to_vec(), ndim: 3, expected: 2 };
            assert_eq!(axes_of(&[3, 4], &[2, 3, 4], Some(&axes)), Err(wrong));
        }
        let one = MixError::SpatialAxes { axes: vec![1], ndim: 3, expected: 2 };
        assert_eq!(axes_of(&[3, 4], &[2, 3, 4], Some(&[1])), Err(one));
        assert!(axes_of(&[3, 4], &[2, 3], None).is_err());
        let (got, expected, axes) = (vec![4, 3], vec![3, 4], vec![1, 2]);
        let turned = MixError::SpatialShape { regions: "boxes", got, expected, axes };
        assert_eq!(axes_of(&[3, 4], &[2, 4, 3], Some(&[1, 2])), Err(turned));
        assert_eq!(SpatialShape::new(&[]), Err(MixError::SpatialRank { got: 0 }));
        assert_eq!(SpatialShape::new(&[1; 4]), Err(MixError::SpatialRank { got: 4 }));
    }

    #[test]
    fn lam_is_the_weight_times_the_share_outside() {
        let boxes = vec![Rect::new(&[0, 0], &[5, 6]), Rect::new(&[1, 2], &[3, 4]), Rect::new(&[2, 2], &[2, 6])];
        let regions = Regions::of_boxes(boxes, &[5, 6], vec![1.0, 0.5, 0.25]).unwrap();
        assert_eq!(regions.lam(), [0.0, 0.5 * 26.0 / 30.0, 0.25]);
        let volume = Regions::of_boxes(vec![Rect::new(&[1, 1, 1], &[2, 3, 4])], &[2, 3, 4], vec![1.0]).unwrap();
        assert_eq!(volume.lam(), [0.75]);
        let outside = Regions::of_boxes(vec![Rect::new(&[3], &[8])], &[7], vec![1.0]);
        assert_eq!(outside, Err(MixError::Box { index: 0, value: vec![3, 8], shape: vec![7] }));
    }

    #[test]
    fn boxes_are_resized_along_two_axes() {
        let boxes = vec![Rect::new(&[1, 1], &[3, 4]), Rect::NONE, Rect::new(&[0, 0], &[5, 6])];
        let regions = |shape: &[usize], boxes: Vec<Rect>| Regions::of_boxes(boxes, shape, vec![1.0; 3]).unwrap();
        let resized =
            regions(&[5, 6], boxes.clone()).resized_where([Some(Sampling::Bilinear), Some(Sampling::Nearest), None]);
        let resized = resized.unwrap();
        let first = Region::Resized(boxes[0], Sampling::Bilinear);
        assert_eq!(resized.of, [first, Region::None, Region::Box(boxes[2])]);
        assert_eq!(resized.lam(), [0.8, 1.0, 0.0]);
        assert!(resized.has_resized() && resized.only_copy());
        let nearest = resized.clone().unblended();
        assert_eq!(nearest.of[0], Region::Resized(boxes[0], Sampling::Nearest));
        assert_eq!((&nearest.of[1..], &nearest.weight), (&resized.of[1..], &resized.weight));
        let spans = regions(&[7], vec![Rect::new(&[1], &[3]); 3]);
        assert_eq!(spans.clone().resized_where([None; 3]), Ok(spans.clone()));
        assert_eq!(spans.resized_where([Some(Sampling::Bilinear); 3]), Err(MixError::ResizedRank { got: 1 }));
    }

    #[test]
    fn every_region_can_be_written_as_a_box() {
        for rect in [Rect::new(&[0, 0], &[0, 0]), Rect::new(&[2, 3], &[2, 3]), Rect::new(&[0, 1], &[4, 2])] {
            let region = Region::of_rect(rect, 2);
            assert_eq!(Region::of_rect(region.rect(), 2), region);
        }
        assert_eq!(Region::of_rect(Rect::new(&[0], &[0]), 1), Region::None);
        assert!(Region::None.rect().is_empty());
        assert!(Rect::new(&[2, 3], &[2, 5]).is_empty() && !Rect::new(&[2, 3], &[3, 4]).is_empty());
    }
}
