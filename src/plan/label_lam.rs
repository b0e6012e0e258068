//! Labels that are weighted otherwise than pixels.

use std::borrow::Cow;

use super::{Lam, MixPlan};
use crate::error::Result;

impl MixPlan {
    /// The plan with these weights of labels in [0, 1], apart from those of pixels: Remix (Chou et al., arXiv 2007.03943)
    /// gives rare classes more.
    ///
    /// ```
    /// use mixup_rs::{Lam, MixPlan};
    /// let plan = MixPlan::new(Lam::Shared(0.75), vec![1, 0])?.with_label_lam(Lam::Each(vec![0.75, 0.0]))?;
    /// assert_eq!((plan.lam(), plan.weight()), ([0.75, 0.0].as_slice(), [0.75; 2].as_slice()));
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// [`crate::MixError::WeightRange`] or [`crate::MixError::WeightLength`] as [`MixPlan::new`];
    /// [`crate::MixError::Several`] for a plan of several partners.
    pub fn with_label_lam(self, lam: Lam) -> Result<Self> {
        self.check_one_partner("a weight of labels apart from that of pixels")?;
        let lam = lam.for_samples(self.len(), "lam")?;
        Ok(Self { label_lam: Some(lam).filter(|lam| *lam != self.lam), ..self })
    }

    /// The plan for labels: every sample is blended by [`MixPlan::lam`] as a whole.
    pub fn for_labels(&self) -> Cow<'_, Self> {
        match &self.label_lam {
            None => self.without_region(),
            Some(lam) => Cow::Owned(Self {
                lam: lam.clone(),
                label_lam: None,
                regions: None,
                several: None,
                partner: self.partner.clone(),
                order: self.order.clone(),
            }),
        }
    }

    /// The share of each sample itself in the result, in [0, 1].
    pub fn share(&self) -> &[f64] {
        &self.lam
    }

    /// The weights of labels, if they are apart from those of pixels.
    pub fn label_lam(&self) -> Option<&[f64]> {
        self.label_lam.as_deref()
    }

    /// Combines plans as [`MixPlan::choose`] does.
    pub(super) fn choose_label_lam(self, plans: &[Option<Self>], which: &[Option<usize>]) -> Result<Self> {
        if plans.iter().flatten().all(|plan| plan.label_lam.is_none()) {
            return Ok(self);
        }
        let chosen =
            |(i, plan): (usize, &Option<usize>)| plan.and_then(|plan| plans[plan].as_ref()).map(|plan| plan.lam()[i]);
        let lam = which.iter().enumerate().map(|one| chosen(one).unwrap_or(1.0)).collect();
        self.with_label_lam(Lam::Each(lam))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Rect;

    #[test]
    fn pixels_keep_their_weights() {
        let boxes = vec![Rect::new(&[0, 0], &[2, 4]); 2];
        let cut = MixPlan::from_boxes(boxes, &[4, 4], vec![1, 0], Lam::Shared(1.0)).unwrap();
        let plan = cut.clone().with_label_lam(Lam::Each(vec![0.5, 0.0])).unwrap();
        assert_ne!(plan, cut);
        assert_eq!(plan.lam(), [0.5, 0.0]);
        assert_eq!((plan.weight(), plan.boxes()), (cut.weight(), cut.boxes()));
        let whole = plan.without_region().into_owned();
        assert_eq!((whole.weight(), whole.lam()), ([0.5; 2].as_slice(), plan.lam()));
        assert_eq!(*plan.for_labels(), MixPlan::new(Lam::Each(vec![0.5, 0.0]), vec![1, 0]).unwrap());
        assert_eq!(plan.for_classes(), cut.for_classes());
    }

    #[test]
    fn equal_weights_are_none_apart() {
        let plan = MixPlan::new(Lam::Each(vec![0.25, 1.0]), vec![1, 0]).unwrap();
        let same = plan.clone().with_label_lam(Lam::Each(vec![0.0, 1.0])).unwrap();
        assert_ne!(same, plan);
        assert_eq!(same.with_label_lam(Lam::Each(plan.lam().to_vec())), Ok(plan.clone()));
        for lam in [Lam::Each(vec![0.5]), Lam::Shared(1.5)] {
            assert!(plan.clone().with_label_lam(lam).is_err());
        }
    }

    #[test]
    fn a_choice_keeps_the_weights_of_labels() {
        let plan = MixPlan::new(Lam::Shared(0.75), vec![1, 2, 0]).unwrap();
        let other = plan.clone().with_label_lam(Lam::Shared(0.0)).unwrap();
        let chosen = MixPlan::choose(&[Some(plan), Some(other)], &[Some(0), Some(1), None]).unwrap();
        assert_eq!((chosen.lam(), chosen.weight()), ([0.75, 0.0, 1.0].as_slice(), [0.75, 0.75, 1.0].as_slice()));
    }
}
