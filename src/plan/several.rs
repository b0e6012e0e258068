//! More than one partner: each sample is a weighted mean of itself and of several others.

use std::sync::OnceLock;

use super::weights::Weights;
use super::{Lam, MixPlan, Partners};
use crate::error::{MixError, Result};

impl MixPlan {
    /// A plan that mixes `k` samples at a time, 2 to 16. `weights` holds k numbers in [0, 1] for each sample, that of the
    /// sample itself first, which sum to 1: a sum within 10⁻⁶ of it is divided out. `partner` holds the k − 1 partners of
    /// each sample. With a k of 2 it is the plan of [`MixPlan::new`].
    ///
    /// ```
    /// use mixup_rs::MixPlan;
    /// use ndarray::array;
    ///
    /// let plan = MixPlan::from_weights(3, vec![0.5, 0.25, 0.25, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0], vec![1, 2, 0, 0, 0, 1])?;
    /// assert_eq!(plan.apply(array![[4.0], [8.0], [0.0]].view())?, array![[4.0], [8.0], [4.0]].into_dyn());
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// [`MixError::K`] unless k is 2 to 16, [`MixError::SeveralLengths`] if the lengths do not fit, [`MixError::WeightRange`],
    /// [`MixError::WeightSum`] or [`MixError::PartnerRange`] if a value is out of range, [`MixError::TooManySamples`] if
    /// memory runs out.
    pub fn from_weights(k: usize, weights: Vec<f64>, partner: Vec<usize>) -> Result<Self> {
        let given = weights.len();
        let weights = Weights::new(k, weights)?;
        let n = weights.rows.len() / k;
        if partner.len() != n * (k - 1) {
            return Err(MixError::SeveralLengths { k, weights: given, partners: partner.len() });
        }
        if let Some(at) = partner.iter().position(|&partner| partner >= n) {
            return Err(MixError::PartnerRange { index: at / (k - 1), value: partner[at] as i128, n });
        }
        let lam = weights.rows.iter().copied().step_by(k).collect();
        if k == 2 {
            return Self::new(Lam::Each(lam), partner);
        }
        let (partner, several) = (Partners::from(partner), Some(weights));
        Ok(Self { lam, label_lam: None, partner, regions: None, several, order: OnceLock::new() })
    }

    /// The number of samples that are mixed at a time: 2, or more for a plan of [`MixPlan::from_weights`].
    pub fn k(&self) -> usize {
        self.several.as_ref().map_or(2, |several| several.k)
    }

    /// The weights of labels, k a sample: of its own first, then of those of its partners.
    pub fn weights(&self) -> Vec<f64> {
        let of_two = || self.lam().iter().flat_map(|&lam| [lam, 1.0 - lam]).collect();
        self.several.as_ref().map_or_else(of_two, |several| several.rows.clone())
    }

    /// What is mixed into sample `i`, itself first: the index of a sample and its weight. Of a plan with a k above 2.
    pub(crate) fn terms(&self, i: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let Weights { k, rows } = self.several.as_ref().expect("called for a plan of several partners");
        let partners = &self.partner.index[i * (k - 1)..(i + 1) * (k - 1)];
        std::iter::once(i).chain(partners.iter().copied()).zip(rows[i * k..(i + 1) * k].iter().copied())
    }

    /// Whether samples have more than one partner.
    pub(crate) fn has_several(&self) -> bool {
        self.several.is_some()
    }

    /// Refuses a plan of more than one partner. `what` needs one.
    pub(crate) fn check_one_partner(&self, what: &'static str) -> Result<()> {
        match &self.several {
            None => Ok(()),
            Some(Weights { k, .. }) => Err(MixError::Several { what, k: *k }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SoftTargets;

    fn of_three() -> MixPlan {
        MixPlan::from_weights(3, vec![0.5, 0.25, 0.25, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0], vec![1, 2, 0, 2, 0, 1]).unwrap()
    }

    #[test]
    fn a_plan_says_what_it_mixes() {
        let plan = of_three();
        assert_eq!(
            (plan.k(), plan.len(), plan.lam(), plan.weight()),
            (3, 3, &[0.5, 1.0, 0.0][..], &[0.5, 1.0, 0.0][..])
        );
        assert_eq!(plan.terms(0).collect::<Vec<_>>(), [(0, 0.5), (1, 0.25), (2, 0.25)]);
        assert_eq!(plan.weights()[..3], [0.5, 0.25, 0.25]);
        assert_eq!((plan.without_region().into_owned(), plan.for_labels().into_owned()), (of_three(), of_three()));
        let other = MixPlan::from_weights(3, vec![0.5, 0.5, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0], vec![1, 2, 0, 2, 0, 1]);
        assert_ne!(other, Ok(plan));
    }

    #[test]
    fn with_one_partner_it_is_the_plan_of_two() {
        let plan = MixPlan::from_weights(2, vec![0.75, 0.25, 0.0, 1.0], vec![1, 0]).unwrap();
        assert_eq!(plan, MixPlan::new(Lam::Each(vec![0.75, 0.0]), vec![1, 0]).unwrap());
        assert_eq!((plan.k(), plan.weights()), (2, vec![0.75, 0.25, 0.0, 1.0]));
    }

    #[test]
    fn weights_that_nearly_sum_to_1_are_divided_once() {
        let plan = MixPlan::from_weights(3, vec![0.3 + 5e-7, 0.3, 0.4], vec![0, 0]).unwrap();
        assert!((plan.weights().iter().sum::<f64>() - 1.0).abs() < 1e-15 && plan.lam()[0] != 0.3 + 5e-7);
        assert_eq!(MixPlan::from_weights(3, plan.weights(), vec![0, 0]), Ok(plan));
    }

    #[test]
    fn wrong_plans_are_errors() {
        let of = |k, weights: &[f64], partner: &[usize]| {
            MixPlan::from_weights(k, weights.to_vec(), partner.to_vec()).unwrap_err()
        };
        for k in [0, 1, 17] {
            assert_eq!(of(k, &[], &[]), MixError::K { got: k, most: 16 });
        }
        assert_eq!(of(3, &[1.0; 4], &[0; 2]), MixError::SeveralLengths { k: 3, weights: 4, partners: 2 });
        assert_eq!(of(3, &[1.0, 0.0, 0.0], &[0]), MixError::SeveralLengths { k: 3, weights: 3, partners: 1 });
        assert_eq!(of(3, &[1.5, -0.5, 0.0], &[0; 2]), MixError::WeightRange { name: "weights", index: 0, value: 1.5 });
        assert!(matches!(of(3, &[f64::NAN, 0.5, 0.5], &[0; 2]), MixError::WeightRange { index: 0, .. }));
        assert_eq!(of(3, &[0.5, 0.25, 0.125], &[0; 2]), MixError::WeightSum { index: 0, value: 0.875 });
        assert_eq!(of(3, &[1.0, 0.0, 0.0], &[0, 1]), MixError::PartnerRange { index: 0, value: 1, n: 1 });
    }

    #[test]
    fn what_needs_one_partner_refuses_it() {
        let refused = |result: Result<MixPlan>| matches!(result, Err(MixError::Several { k: 3, .. }));
        assert!(refused(of_three().with_partners(vec![0, 1, 2])));
        assert!(refused(of_three().with_label_lam(Lam::Shared(0.5))));
        assert!(refused(MixPlan::choose(&[Some(of_three())], &[Some(0); 3])));
    }

    #[test]
    fn classes_are_not_blended() {
        let expected =
            MixPlan::from_weights(3, vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0], vec![1, 2, 0, 2, 0, 1]);
        assert_eq!(Ok(of_three().for_classes()), expected);
    }

    #[test]
    fn the_weights_of_equal_classes_are_added() {
        let plan = MixPlan::from_weights(3, vec![0.5, 0.25, 0.25, 0.2, 0.3, 0.5], vec![1, 1, 0, 0]).unwrap();
        let mut targets = [9.0; 6];
        plan.soft_targets(&[0_i64, 2], None, SoftTargets::new(3, 0.0).unwrap(), &mut targets).unwrap();
        assert_eq!(targets, [0.5, 0.0, 0.5, 0.8, 0.0, 0.2]);
        plan.soft_targets(&[1_i64, 1], None, SoftTargets::new(3, 0.3).unwrap(), &mut targets).unwrap();
        assert_eq!(targets, [0.1, 0.8, 0.1, 0.1, 0.8, 0.1]);
    }
}
