//! Mixing plans: the partner of each sample, its weight, and the region taken from the partner.

mod choose;
mod label_lam;
mod labels;
mod lam;
mod mask;
mod order;
mod partners;
mod region;
mod several;
mod weights;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use crate::error::{MixError, Result, memory_for};

pub use labels::SoftTargets;
pub use lam::{Lam, Mode};
pub use mask::{Mask, Shares};
pub use partners::Partners;
pub use region::{MAX_SPATIAL_AXES, Rect, Region, Sampling};

pub(crate) use order::{Last, Order, Segment};
pub(crate) use region::{Regions, SpatialAxes, SpatialShape};
pub(crate) use weights::check_k;

use weights::Weights;

/// How a batch is mixed: mixed[i] = weight[i]·x[i] + (1 − weight[i])·x[partner[i]], then a region of mixed[i] is
/// replaced by that of x[partner[i]]. Applies to any array whose axis 0 is the batch.
///
/// Mixup (Zhang et al., arXiv 1710.09412) has no region, CutMix (Yun et al., arXiv 1905.04899) a weight of 1, and a
/// plan can have both. A region may also be a mask, which gives each pixel a weight of its own. Labels are weighted by
/// `lam`, the weight times the share of the sample outside the region. Partners are samples of the batch itself, or of
/// another one, see [`Partners`].
///
/// ```
/// use mixup_rs::{Lam, MixPlan};
/// use ndarray::array;
///
/// let plan = MixPlan::new(Lam::Each(vec![0.75, 1.0]), vec![1, 0])?;
/// let mixed = plan.apply(array![[8.0, 0.0], [0.0, 4.0]].view().into_dyn())?;
/// assert_eq!(mixed, array![[6.0, 1.0], [0.0, 4.0]].into_dyn());
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MixPlan {
    /// The share of each sample itself in the result.
    lam: Vec<f64>,
    /// The weight of each sample's own label, if it is another.
    label_lam: Option<Vec<f64>>,
    partner: Partners,
    regions: Option<Regions>,
    /// What a plan of more than one partner has besides. It has neither regions nor other weights of labels.
    several: Option<Weights>,
    order: OnceLock<Order>,
}

impl MixPlan {
    /// A plan with these weights in [0, 1] and partners, one index per sample. Partners may repeat, and be those of
    /// another batch, see [`Partners`].
    ///
    /// # Errors
    /// [`MixError::WeightRange`] or [`MixError::PartnerRange`] if a value is out of range, [`MixError::PartnerLength`] if
    /// the lengths differ, [`MixError::TooManySamples`] if memory runs out.
    pub fn new(lam: Lam, partner: impl Into<Partners>) -> Result<Self> {
        let partner = partner.into();
        let n = match &lam {
            Lam::Shared(_) => partner.index.len(),
            Lam::Each(lam) => lam.len(),
        };
        Self::for_samples(n, lam, partner)
    }

    /// As [`MixPlan::new`], for `n` samples.
    pub(crate) fn for_samples(n: usize, lam: Lam, partner: impl Into<Partners>) -> Result<Self> {
        let (lam, partner) = (lam.for_samples(n, "lam")?, partner.into());
        partner.check(n)?;
        Ok(Self { lam, label_lam: None, partner, regions: None, several: None, order: OnceLock::new() })
    }

    /// The plan that leaves every sample unchanged.
    ///
    /// ```
    /// use mixup_rs::MixPlan;
    /// assert_eq!(MixPlan::identity(2)?.partner(), [0, 1]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// [`MixError::TooManySamples`] if memory runs out.
    pub fn identity(n: usize) -> Result<Self> {
        memory_for(n)?;
        Self::new(Lam::Shared(1.0), (0..n).collect::<Vec<_>>())
    }

    /// A plan with these boxes, one per sample, which are taken from the partners. `shape` holds the lengths of a
    /// sample's one to three spatial axes. `weight` is the weight of each sample outside its box: 1 for CutMix.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan, Rect};
    /// let boxes = vec![Rect::new(&[0, 0], &[4, 8]), Rect::NONE];
    /// let plan = MixPlan::from_boxes(boxes, &[8, 8], vec![1, 0], Lam::Shared(1.0))?;
    /// assert_eq!(plan.lam(), [0.5, 1.0]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// [`MixError::SpatialRank`] unless `shape` has one to three axes, [`MixError::Box`] if a box is not within
    /// `shape`, [`MixError::LamLength`] or [`MixError::PartnerLength`] if the lengths differ, [`MixError::WeightRange`] or
    /// [`MixError::PartnerRange`] if a value is out of range, [`MixError::TooManySamples`] if memory runs out.
    pub fn from_boxes(boxes: Vec<Rect>, shape: &[usize], partner: impl Into<Partners>, weight: Lam) -> Result<Self> {
        let n = boxes.len();
        Self::of_regions(Regions::of_boxes(boxes, shape, weight.for_samples(n, "weight")?)?, partner)
    }

    /// As [`MixPlan::from_boxes`], but the boxes hold the whole partners, resized. `shape` has two axes.
    ///
    /// Elements are interpolated between the four nearest pixels, as many libraries do by "bilinear" with pixels aligned
    /// by their edges and without antialiasing. Those that cannot be blended are taken from the nearest pixel.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan, Rect};
    /// use ndarray::array;
    /// let boxes = vec![Rect::new(&[0, 1], &[1, 2]); 2];
    /// let plan = MixPlan::from_resized(boxes, &[2, 2], vec![1, 0], Lam::Shared(1.0))?;
    /// let mixed = plan.apply(array![[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]].view())?;
    /// assert_eq!(mixed, array![[[1.0, 6.5], [3.0, 4.0]], [[5.0, 2.5], [7.0, 8.0]]].into_dyn());
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// As [`MixPlan::from_boxes`]; [`MixError::ResizedRank`] unless `shape` has two axes.
    pub fn from_resized(boxes: Vec<Rect>, shape: &[usize], partner: impl Into<Partners>, weight: Lam) -> Result<Self> {
        let n = boxes.len();
        let regions = Regions::of_boxes(boxes, shape, weight.for_samples(n, "weight")?)?;
        Self::of_regions(regions.resized_where((0..n).map(|_| Some(Sampling::default())))?, partner)
    }

    /// A plan with these masks, one per sample. A pixel of a sample is blended with that of its partner by its share in
    /// the mask. `shape` holds the lengths of a sample's one to three spatial axes.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use mixup_rs::{Mask, MixPlan};
    /// let left = Arc::new(Mask::hard([true, true, false, false]));
    /// let plan = MixPlan::from_masks(vec![left; 2], &[1, 4], vec![1, 0])?;
    /// assert_eq!(plan.lam(), [0.5, 0.5]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// [`MixError::SpatialRank`] unless `shape` has one to three axes, [`MixError::MaskLength`] if a mask does not have
    /// the pixels of `shape`, [`MixError::PartnerLength`] or [`MixError::PartnerRange`] as [`MixPlan::new`],
    /// [`MixError::TooManySamples`] if memory runs out.
    pub fn from_masks(masks: Vec<Arc<Mask>>, shape: &[usize], partner: impl Into<Partners>) -> Result<Self> {
        memory_for(masks.len())?;
        Self::of_regions(Regions::of_masks(masks, shape)?, partner)
    }

    /// A plan with regions of any kind.
    pub(crate) fn of_regions(regions: Regions, partner: impl Into<Partners>) -> Result<Self> {
        let partner = partner.into();
        partner.check(regions.of.len())?;
        let lam = regions.lam();
        Ok(Self { lam, label_lam: None, partner, regions: Some(regions), several: None, order: OnceLock::new() })
    }

    /// The same plan with other partners, one index per sample.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan, Partners};
    /// let plan = MixPlan::new(Lam::Shared(0.75), vec![1, 0])?.with_partners(Partners::of_other(vec![4, 2], 5))?;
    /// assert_eq!((plan.partner(), plan.other()), (&[4, 2][..], Some(5)));
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// [`MixError::PartnerLength`] and [`MixError::PartnerRange`] as [`MixPlan::new`]; [`MixError::Several`] if samples have
    /// several.
    pub fn with_partners(self, partner: impl Into<Partners>) -> Result<Self> {
        let partner = partner.into();
        self.check_one_partner("another partner for each sample")?;
        partner.check(self.len())?;
        Ok(Self { partner, order: OnceLock::new(), ..self })
    }

    /// Attaches the visiting order of the same partners. A plan without one finds it when it is first applied.
    pub(crate) fn with_order(self, order: Option<Order>) -> Self {
        Self { order: order.map_or_else(OnceLock::new, OnceLock::from), ..self }
    }

    /// The plan with each box moved to a point of its partner, and clipped to the sample: SaliencyMix (Uddin et al., arXiv
    /// 2006.01791), if the points are where saliency is greatest. `points` are those of all samples that partners are
    /// among, along the last axes. Other regions stay as they are.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan, Rect};
    /// let boxes = vec![Rect::new(&[2, 2], &[6, 6]); 2];
    /// let plan = MixPlan::from_boxes(boxes, &[8, 8], vec![1, 0], Lam::Shared(1.0))?;
    /// let moved = plan.centred_at(&[[0, 4, 4], [0, 7, 3]])?;
    /// assert_eq!(moved.boxes().unwrap(), [Rect::new(&[5, 1], &[8, 5]), Rect::new(&[2, 2], &[6, 6])]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// [`MixError::Points`] if a partner has no point.
    pub fn centred_at(self, points: &[[usize; MAX_SPATIAL_AXES]]) -> Result<Self> {
        if let Some(&expected) = self.partner.index.iter().max().filter(|&&partner| partner >= points.len()) {
            return Err(MixError::Points { got: points.len(), expected: expected + 1 });
        }
        let Some(regions) = self.regions else { return Ok(self) };
        let regions = regions.centred_at(self.partner.index.iter().map(|&partner| points[partner]));
        Ok(Self { lam: regions.lam(), regions: Some(regions), ..self })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.lam.len()
    }

    /// Whether the plan is for an empty batch.
    pub fn is_empty(&self) -> bool {
        self.lam.is_empty()
    }

    /// The weight of each sample's own label, in [0, 1]: the share of the sample itself in the result, unless
    /// [`MixPlan::with_label_lam`] gave others.
    pub fn lam(&self) -> &[f64] {
        self.label_lam.as_ref().unwrap_or(&self.lam)
    }

    /// The weight of each sample itself outside its region, in [0, 1].
    pub fn weight(&self) -> &[f64] {
        self.regions.as_ref().map_or(&self.lam, |regions| &regions.weight)
    }

    /// The partner of each sample, as an index below [`MixPlan::other`], or below [`MixPlan::len`] without one. With a
    /// [`MixPlan::k`] above 2 the k − 1 partners of each.
    pub fn partner(&self) -> &[usize] {
        &self.partner.index
    }

    /// The number of samples of the other batch that partners come from; `None` if they are samples of the batch itself.
    pub fn other(&self) -> Option<usize> {
        self.partner.other
    }

    /// Whether a sample is its own partner, and so stays as it is.
    pub(crate) fn is_alone(&self, i: usize) -> bool {
        self.partner.other.is_none() && self.partner.index[i] == i
    }

    /// The boxes taken from the partners or filled by them, one per sample; `None` for a plan without regions, or with masks.
    pub fn boxes(&self) -> Option<Vec<Rect>> {
        let regions = self.regions.as_ref().filter(|regions| !regions.has_masks())?;
        Some(regions.of.iter().map(Region::rect).collect())
    }

    /// The share of each sample itself in each of its pixels, one vector per sample, its weight and a box included;
    /// `None` for a plan without masks.
    pub fn masks(&self) -> Option<Vec<Vec<f64>>> {
        let regions = self.regions.as_ref().filter(|regions| regions.has_masks())?;
        Some((0..self.len()).map(|i| regions.shares(i)).collect())
    }

    /// The lengths of a sample's spatial axes; `None` for a plan without regions.
    pub fn spatial_shape(&self) -> Option<&[usize]> {
        self.regions.as_ref().map(|regions| regions.shape.as_slice())
    }

    /// The plan for arrays without these spatial axes: every sample is blended as a whole, by its share in the result.
    pub fn without_region(&self) -> Cow<'_, Self> {
        match self.regions {
            None => Cow::Borrowed(self),
            Some(_) => Cow::Owned(Self { regions: None, ..self.clone() }),
        }
    }

    /// The plan for masks of classes, which must not be averaged: what is blended stays as it is, and partners are resized
    /// by their nearest pixels.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan};
    /// let plan = MixPlan::new(Lam::Each(vec![0.3, 0.0]), vec![1, 0])?;
    /// assert_eq!(plan.for_classes().lam(), [1.0, 0.0]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    pub fn for_classes(&self) -> Self {
        let regions = self.regions.clone().map(Regions::unblended);
        let lam = regions.as_ref().map_or_else(|| region::unblended(&self.lam), Regions::lam);
        let (partner, order) = (self.partner.clone(), self.order.clone());
        Self { lam, label_lam: None, regions, several: self.several.as_ref().map(Weights::unblended), partner, order }
    }

    /// Whether the plan has regions and blends nothing, outside them or in them. Such a plan applies to elements of any type.
    pub fn only_copies(&self) -> bool {
        self.regions.as_ref().is_some_and(Regions::only_copy)
    }

    pub(crate) fn regions(&self) -> Option<&Regions> {
        self.regions.as_ref()
    }

    /// The visiting order, which is computed once. Samples that no other reads are visited as they come.
    pub(crate) fn order(&self) -> &Order {
        let as_they_come = || Order { samples: (0..self.len()).collect(), cycles: vec![self.len()] };
        self.order.get_or_init(|| match self.partner.other {
            Some(_) => as_they_come(),
            None => Order::new(&self.partner.index),
        })
    }

    /// Checks that there is memory for the visiting order, unless it is computed already.
    pub(crate) fn memory_for_order(&self) -> Result<()> {
        self.order.get().map_or_else(|| memory_for(self.len()), |_| Ok(()))
    }

    /// Fills `targets` with mixed soft targets of class indices, one row of `num_classes` per sample. `other` are the
    /// classes of the other batch, if partners come from one.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan, SoftTargets};
    /// let (plan, mut targets) = (MixPlan::new(Lam::Shared(0.75), vec![1, 0])?, [0.0; 4]);
    /// plan.soft_targets(&[0_i64, 1], None, SoftTargets::new(2, 0.0)?, &mut targets)?;
    /// assert_eq!(targets, [0.75, 0.25, 0.25, 0.75]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// [`MixError::BatchLength`] unless there is one class index per sample, [`MixError::OtherLength`] and the like as
    /// [`MixPlan::apply_with`], [`MixError::ClassIndex`] if one is outside [0, `num_classes`). Nothing is written then.
    pub fn soft_targets<C: Copy + Into<i128>>(
        &self,
        classes: &[C],
        other: Option<&[C]>,
        how: SoftTargets,
        targets: &mut [f32],
    ) -> Result<()> {
        self.check_batch(&[classes.len()])?;
        self.check_other(other.map(|other| other.len()))?;
        if self.has_several() {
            return how.fill_several(classes, |i| self.terms(i), targets);
        }
        how.fill(classes, other.unwrap_or(classes), self.lam(), &self.partner.index, targets)
    }

    /// Checks that another batch of `got` samples is given if partners come from one, and not otherwise.
    ///
    /// # Errors
    /// [`MixError::NoOther`], [`MixError::OtherGiven`] or [`MixError::OtherLength`].
    pub fn check_other(&self, got: Option<usize>) -> Result<()> {
        match (self.other(), got) {
            (Some(expected), None) => Err(MixError::NoOther { expected }),
            (None, Some(got)) => Err(MixError::OtherGiven { got }),
            (Some(expected), Some(got)) if got != expected => Err(MixError::OtherLength { got, expected }),
            _ => Ok(()),
        }
    }

    /// Checks that axis 0 of an array of this shape has the length of the plan.
    ///
    /// # Errors
    /// [`MixError::NoBatchAxis`] if there is no axis, [`MixError::BatchLength`] if the lengths differ.
    pub fn check_batch(&self, shape: &[usize]) -> Result<()> {
        match shape.first() {
            None => Err(MixError::NoBatchAxis),
            Some(&got) if got != self.len() => Err(MixError::BatchLength { got, expected: self.len() }),
            Some(_) => Ok(()),
        }
    }
}

impl PartialEq for MixPlan {
    fn eq(&self, other: &Self) -> bool {
        // With regions λ follows from them, to the last bit but for how masks are stored.
        let is_same = self.regions == other.regions && (self.regions.is_some() || self.lam == other.lam);
        is_same && (&self.label_lam, &self.several, &self.partner) == (&other.label_lam, &other.several, &other.partner)
    }
}

#[cfg(test)]
mod tests;
