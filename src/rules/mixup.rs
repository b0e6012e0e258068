//! Mixup (Zhang et al., arXiv 1710.09412): each sample is blended with its partner by λ ~ Beta(α, α), or with several by
//! weights ~ Dirichlet(α, …, α).

use super::partners::{check_not_paired, others, partners};
use super::{Rule, Slot, check_alpha, check_prob, draws, keep, share};
use crate::error::{MixError, Result, memory_for};
use crate::plan::{Lam, MixPlan, Mode, check_k};
use crate::random::{Key, draw_circle, draw_lam, draw_weights};

/// What a rule of more than two samples does not take.
const GIVEN: &str = "a given lam or partner";

/// The mixup rule.
///
/// ```
/// use mixup_rs::{Key, Mixup, Rule};
/// let plan = Mixup { alpha: 1.0, fold: false, ..Mixup::default() }.plan(8, &[], Key::new(&[42]))?;
/// assert!(plan.lam().iter().all(|lam| (0.0..=1.0).contains(lam)));
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Mixup {
    /// λ ~ Beta(alpha, alpha). Finite and >= 0; 0 mixes nothing.
    pub alpha: f64,
    /// Which samples share a λ.
    pub mode: Mode,
    /// Whether λ is replaced by max(λ, 1 − λ), so that a sample outweighs its partner.
    pub fold: bool,
    /// The probability in [0, 1] that a drawn λ is used; otherwise λ is 1.
    pub prob: f64,
    /// The number of samples that are mixed at a time, 2 to 16. More than two have weights ~ Dirichlet(alpha, …, alpha),
    /// of which `fold` gives the sample itself the largest, and partners that differ if there are enough samples.
    pub k: usize,
}

impl Mixup {
    /// The default α, that of fastai.
    pub const ALPHA: f64 = 0.4;
}

impl Default for Mixup {
    fn default() -> Self {
        Self { alpha: Self::ALPHA, mode: Mode::Elem, fold: true, prob: 1.0, k: 2 }
    }
}

/// The parts of a plan that are given instead of drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given {
    /// Weights in [0, 1], which are not folded.
    pub lam: Option<Lam>,
    /// Partners, one index per sample. They may repeat, except in [`Mode::Pair`], where they must form pairs.
    pub partner: Option<Vec<usize>>,
    /// The number of samples of another batch, if partners come from one.
    pub other: Option<usize>,
}

impl Mixup {
    /// As [`Rule::plan_on`], with given weights or partners.
    ///
    /// ```
    /// use mixup_rs::{Key, Lam, Mixup, rules::Given};
    /// let given = Given { lam: Some(Lam::Shared(0.75)), ..Given::default() };
    /// let plan = Mixup::default().plan_given(1, 4, given, Key::new(&[42]))?;
    /// assert_eq!(plan.lam(), [0.75; 4]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Rule::plan_on`]; also if a given value is out of range, the lengths are not `n`, or in [`Mode::Pair`] the
    /// partners do not form pairs.
    pub fn plan_given(&self, limit: usize, n: usize, given: Given, key: Key) -> Result<MixPlan> {
        self.check()?;
        if self.k > 2 {
            return if given == Given::default() {
                self.plan_of_several(limit, n, key)
            } else {
                Err(self.only_two(GIVEN))
            };
        }
        if let Given { lam, partner, other: Some(other) } = given {
            check_not_paired(self.mode)?;
            let own = self.plan_given(limit, n, Given { lam, ..Given::default() }, key)?;
            return own.with_partners(others(n, other, partner, key)?);
        }
        if self.alpha == 0.0 && given == Given::default() {
            return MixPlan::identity(n);
        }
        let (partner, order) = partners(n, self.mode, given.partner, key)?;
        let lam = match given.lam {
            Some(lam) => lam,
            None if self.alpha == 0.0 => Lam::Shared(1.0),
            None => {
                let mut drawn = draw_lam(key, draws(n, self.mode), self.alpha, self.fold, limit)?;
                keep(&mut drawn, self.prob, 1.0, key);
                share(&mut drawn, n, self.mode, &partner);
                Lam::Each(drawn)
            }
        };
        Ok(MixPlan::for_samples(n, lam, partner)?.with_order(order))
    }

    /// A plan of `k` samples at a time.
    fn plan_of_several(&self, limit: usize, n: usize, key: Key) -> Result<MixPlan> {
        if self.alpha == 0.0 {
            return MixPlan::identity(n);
        }
        memory_for(n.saturating_mul(self.k))?;
        let drawn = draw_weights(key, draws(n, self.mode), self.k, self.alpha, self.fold, limit)?;
        let mut own = vec![0.0; self.k];
        own[0] = 1.0;
        let mut rows: Vec<&[f64]> = drawn.chunks_exact(self.k).collect();
        keep(&mut rows, self.prob, &own, key);
        share(&mut rows, n, self.mode, &[]);
        MixPlan::from_weights(self.k, rows.concat(), draw_circle(key, n, self.k - 1))
    }

    fn only_two(&self, what: &'static str) -> MixError {
        MixError::Several { what, k: self.k }
    }
}

impl Rule for Mixup {
    fn check(&self) -> Result<()> {
        check_alpha(self.alpha)?;
        check_prob(self.prob)?;
        check_k(self.k)?;
        if self.k > 2 && self.mode == Mode::Pair { Err(self.only_two("mode=\"pair\"")) } else { Ok(()) }
    }

    fn options(&mut self) -> Vec<(&'static str, Slot<'_>)> {
        vec![
            ("alpha", Slot::Real(&mut self.alpha)),
            ("mode", Slot::Mode(&mut self.mode)),
            ("fold", Slot::Switch(&mut self.fold)),
            ("prob", Slot::Real(&mut self.prob)),
            ("k", Slot::Count(&mut self.k, 2)),
        ]
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn plan_on(&self, limit: usize, n: usize, _: &[usize], key: Key) -> Result<MixPlan> {
        self.plan_given(limit, n, Given::default(), key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rule: &Mixup, n: usize) -> MixPlan {
        rule.plan(n, &[], Key::new(&[7])).unwrap()
    }

    #[test]
    fn modes_share_lam() {
        let draw = |mode| plan(&Mixup { mode, ..Mixup::default() }, 9);
        let elem = draw(Mode::Elem);
        assert!((1..9).all(|i| elem.lam()[i] != elem.lam()[0]));
        let batch = draw(Mode::Batch);
        assert!(batch.lam().iter().all(|&lam| lam == batch.lam()[0]));
        let pair = draw(Mode::Pair);
        for (i, &partner) in pair.partner().iter().enumerate() {
            assert_eq!(pair.partner()[partner], i);
            assert_eq!(pair.lam()[partner], pair.lam()[i]);
        }
        assert_eq!(plan(&Mixup { mode: Mode::Batch, ..Mixup::default() }, 0).len(), 0);
    }

    #[test]
    fn draws_do_not_depend_on_threads() {
        let draw = |limit, n| Mixup::default().plan_on(limit, n, &[], Key::new(&[7])).unwrap();
        let whole = draw(1, 40_000);
        assert_eq!(whole, draw(8, 40_000));
        assert_eq!(whole.lam()[..1000], draw(1, 1000).lam()[..]);
        assert_ne!(whole.lam()[..1000], whole.lam()[1024..2024]);
    }

    #[test]
    fn a_drawn_lam_is_used_with_probability_prob() {
        let all = plan(&Mixup::default(), 1000);
        let some = plan(&Mixup { prob: 0.3, ..Mixup::default() }, 1000);
        let used = (0..1000).filter(|&i| some.lam()[i] != 1.0).count();
        assert!((240..360).contains(&used), "{used}");
        assert!((0..1000).all(|i| some.lam()[i] == 1.0 || some.lam()[i] == all.lam()[i]));
        assert_eq!(some.partner(), all.partner());
        assert!(plan(&Mixup { prob: 0.0, ..Mixup::default() }, 9).lam().iter().all(|&lam| lam == 1.0));
        let pair = plan(&Mixup { prob: 0.5, mode: Mode::Pair, ..Mixup::default() }, 100);
        assert!((0..100).all(|i| pair.lam()[i] == pair.lam()[pair.partner()[i]]));
    }

    #[test]
    fn an_alpha_of_0_mixes_nothing() {
        assert_eq!(plan(&Mixup { alpha: 0.0, ..Mixup::default() }, 5), MixPlan::identity(5).unwrap());
        for rule in [Mixup { alpha: -1.0, ..Mixup::default() }, Mixup { prob: 1.5, ..Mixup::default() }] {
            assert!(rule.plan(5, &[], Key::new(&[7])).is_err());
        }
    }

    #[test]
    fn several_samples_are_mixed_at_a_time() {
        let of = |k, mode| Mixup { alpha: 1.0, k, mode, ..Mixup::default() };
        let elem = plan(&of(4, Mode::Elem), 9);
        assert_eq!((elem.k(), elem.len(), elem.partner().len()), (4, 9, 27));
        assert!(elem.weights().chunks_exact(4).all(|row| row.iter().all(|weight| *weight <= row[0])));
        let batch = plan(&of(4, Mode::Batch), 9).weights();
        assert!(batch.chunks_exact(4).all(|row| row == &batch[..4]));
        let some = plan(&Mixup { prob: 0.5, ..of(3, Mode::Elem) }, 1000);
        let kept = some.weights().chunks_exact(3).filter(|row| *row == [1.0, 0.0, 0.0]).count();
        assert!((430..570).contains(&kept), "{kept}");
        assert_eq!(plan(&Mixup { alpha: 0.0, ..of(3, Mode::Elem) }, 5), MixPlan::identity(5).unwrap());
        assert_eq!(plan(&of(3, Mode::Batch), 0).len(), 0);
        assert_eq!(plan(&of(2, Mode::Elem), 9), plan(&Mixup { alpha: 1.0, ..Mixup::default() }, 9));
    }

    #[test]
    fn what_needs_one_partner_is_refused() {
        let (rule, key) = (Mixup { k: 3, ..Mixup::default() }, Key::new(&[7]));
        for k in [0, 1, 17] {
            assert_eq!(Mixup { k, ..rule.clone() }.check(), Err(MixError::K { got: k, most: 16 }));
        }
        let refused = |result| matches!(result, Err(MixError::Several { k: 3, .. }));
        assert!(refused(Mixup { mode: Mode::Pair, ..rule.clone() }.plan(5, &[], key)));
        assert!(refused(rule.plan_with(1, 5, 4, &[], key)));
        assert!(refused(rule.plan_given(1, 5, Given { lam: Some(Lam::Shared(0.5)), ..Given::default() }, key)));
    }

    #[test]
    fn given_values_replace_drawn_ones() {
        let key = Key::new(&[7]);
        let given = |lam, partner| Mixup::default().plan_given(1, 3, Given { lam, partner, other: None }, key);
        let drawn = plan(&Mixup::default(), 3);
        assert_eq!(given(None, None).unwrap(), drawn);
        assert_eq!(given(Some(Lam::Shared(0.25)), None).unwrap().partner(), drawn.partner());
        assert_eq!(given(None, Some(vec![0; 3])).unwrap().lam(), drawn.lam());
        let few = given(Some(Lam::Each(vec![0.5; 2])), None);
        assert_eq!(few, Err(MixError::WeightLength { name: "lam", got: 2, expected: 3 }));
        assert_eq!(given(None, Some(vec![0; 4])), Err(MixError::PartnerLength { got: 4, expected: 3 }));
    }
}
