//! A rule chosen at random from several, for each batch or for each sample.

use super::Rule;
use super::partners::others;
use crate::error::{MixError, Result};
use crate::plan::{MixPlan, Mode};
use crate::random::{Key, draw_uniform};

/// A random choice among rules, with a probability for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The probability of each rule. With the rest up to 1, no rule is chosen.
    probs: Vec<f64>,
    /// [`Mode::Batch`] for one choice per batch, [`Mode::Elem`] for one per sample.
    mode: Mode,
}

impl Choice {
    /// A choice among `count` rules, with equal probabilities if `probs` is `None`. Probabilities may sum to less than
    /// 1: with the rest no rule is chosen, and samples stay unchanged. `mode` is [`Mode::Batch`] for one choice per
    /// batch or [`Mode::Elem`] for one per sample.
    ///
    /// # Errors
    /// [`MixError::NoRules`] if `count` is 0, [`MixError::Probs`] unless there are `count` probabilities, each at least
    /// 0 and with a sum of at most 1, [`MixError::ChoiceMode`] for [`Mode::Pair`].
    pub fn new(count: usize, probs: Option<Vec<f64>>, mode: Mode) -> Result<Self> {
        if count == 0 {
            return Err(MixError::NoRules);
        }
        let probs = probs.unwrap_or_else(|| vec![1.0 / count as f64; count]);
        let sum: f64 = probs.iter().sum();
        // Tolerates rounding: thirds and tenths do not sum to 1 exactly.
        let is_right = probs.len() == count && probs.iter().all(|prob| *prob >= 0.0) && sum <= 1.0 + 1e-9;
        if !is_right {
            return Err(MixError::Probs { got: probs, expected: count });
        }
        if mode == Mode::Pair {
            return Err(MixError::ChoiceMode);
        }
        Ok(Self { probs, mode })
    }

    /// Draws a plan, with partners among `other` samples of another batch if given. `plan` draws the plan of a chosen
    /// rule, given its index and key. That key is a child of `key`, so all rules draw the same partners.
    ///
    /// # Errors
    /// The errors of `plan`; [`MixError::BatchLength`] if it returns a plan for another number of samples,
    /// [`MixError::SpatialShapes`] if it returns plans for different spatial shapes.
    pub fn plan_by<E: From<MixError>>(
        &self,
        n: usize,
        other: Option<usize>,
        key: Key,
        mut plan: impl FnMut(usize, Key) -> std::result::Result<MixPlan, E>,
    ) -> std::result::Result<MixPlan, E> {
        let draws = if self.mode == Mode::Batch { 1 } else { n };
        let chosen: Vec<Option<usize>> = draw_uniform(key, draws).into_iter().map(|u| self.at(u)).collect();
        let mut draw = |rule: usize| plan(rule, key.child(rule as u64));
        let unmixed = || match other {
            None => MixPlan::identity(n),
            Some(other) => MixPlan::identity(n)?.with_partners(others(n, other, None, key)?),
        };
        if self.mode == Mode::Batch {
            return chosen[0].map_or_else(|| Ok(unmixed()?), draw);
        }
        let mut plans: Vec<Option<MixPlan>> = Vec::with_capacity(self.probs.len());
        for rule in 0..self.probs.len() {
            plans.push(if chosen.contains(&Some(rule)) { Some(draw(rule)?) } else { None });
        }
        if plans.iter().all(Option::is_none) {
            return Ok(unmixed()?);
        }
        Ok(MixPlan::choose(&plans, &chosen)?)
    }

    /// The rule chosen by a uniform number in [0, 1).
    fn at(&self, uniform: f64) -> Option<usize> {
        let mut end = 0.0;
        self.probs.iter().position(|prob| {
            end += prob;
            uniform < end
        })
    }
}

/// The rule that applies one of several rules, chosen at random.
///
/// ```
/// use mixup_rs::{Choice, CutMix, Key, Mixup, Mode, OneOf, Rule};
/// let rules: Vec<Box<dyn Rule>> = vec![Box::new(Mixup::default()), Box::new(CutMix::default())];
/// let rule = OneOf { choice: Choice::new(2, None, Mode::Elem)?, rules };
/// let plan = rule.plan(64, &[32, 32], Key::new(&[1]))?;
/// let blended = plan.weight().iter().filter(|weight| **weight < 1.0).count();
/// assert!(0 < blended && blended < 64);
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug)]
pub struct OneOf {
    /// The rules, as many as `choice` has probabilities.
    pub rules: Vec<Box<dyn Rule>>,
    /// How one of them is chosen.
    pub choice: Choice,
}

impl Rule for OneOf {
    fn check(&self) -> Result<()> {
        if self.rules.len() != self.choice.probs.len() {
            return Err(MixError::Probs { got: self.choice.probs.clone(), expected: self.rules.len() });
        }
        self.rules.iter().try_for_each(|rule| rule.check())
    }

    fn mode(&self) -> Mode {
        self.choice.mode
    }

    fn plan_on(&self, limit: usize, n: usize, shape: &[usize], key: Key) -> Result<MixPlan> {
        self.check()?;
        self.choice.plan_by(n, None, key, |rule, key| self.rules[rule].plan_on(limit, n, shape, key))
    }

    fn plan_with(&self, limit: usize, n: usize, other: usize, shape: &[usize], key: Key) -> Result<MixPlan> {
        self.check()?;
        self.choice.plan_by(n, Some(other), key, |rule, key| self.rules[rule].plan_with(limit, n, other, shape, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Rect;
    use crate::rules::{CutMix, Mixup};

    fn one_of(probs: Option<Vec<f64>>, mode: Mode) -> OneOf {
        let cut = CutMix { mode: Mode::Elem, minmax: Some((0.25, 0.5)), ..CutMix::default() };
        let rules: Vec<Box<dyn Rule>> = vec![Box::new(Mixup { alpha: 1.0, ..Mixup::default() }), Box::new(cut)];
        OneOf { rules, choice: Choice::new(2, probs, mode).unwrap() }
    }

    fn counts(rule: &OneOf, n: usize, key: u64) -> [usize; 2] {
        let plan = rule.plan(n, &[32, 32], Key::new(&[key])).unwrap();
        let boxes = plan.boxes().unwrap_or_else(|| vec![Rect::NONE; n]);
        let blended = plan.weight().iter().filter(|weight| **weight != 1.0).count();
        [blended, boxes.iter().filter(|rect| **rect != Rect::NONE).count()]
    }

    #[test]
    fn each_sample_has_its_own_choice() {
        let near = |got: usize, expected: usize| got.abs_diff(expected) < 90;
        for (probs, expected) in
            [(None, [1000, 1000]), (Some(vec![0.2, 0.3]), [400, 600]), (Some(vec![1.0, 0.0]), [2000, 0])]
        {
            let got = counts(&one_of(probs, Mode::Elem), 2000, 1);
            assert!(near(got[0], expected[0]) && near(got[1], expected[1]), "{got:?}, not {expected:?}");
        }
    }

    #[test]
    fn all_rules_share_their_partners() {
        let rule = one_of(Some(vec![0.4, 0.4]), Mode::Elem);
        let plan = rule.plan(100, &[32, 32], Key::new(&[5])).unwrap();
        let alone = Mixup::default().plan(100, &[], Key::new(&[5])).unwrap();
        assert_eq!(plan.partner(), alone.partner());
        assert_ne!(plan.lam(), alone.lam());
    }

    #[test]
    fn mode_batch_applies_one_rule_to_all_samples() {
        let rule = one_of(Some(vec![0.5, 0.25]), Mode::Batch);
        let all: Vec<_> = (0..400).map(|key| counts(&rule, 8, key)).collect();
        let times = |kind: [bool; 2]| all.iter().filter(|count| count.map(|count| count == 8) == kind).count();
        let got = [times([true, false]), times([false, true]), times([false, false])];
        assert_eq!(got.iter().sum::<usize>(), 400);
        assert!(got.iter().zip([200, 100, 100]).all(|(got, expected)| got.abs_diff(expected) < 45), "{got:?}");
    }

    #[test]
    fn probabilities_are_checked() {
        for probs in [vec![0.5], vec![0.5, 0.6], vec![-0.1, 0.5], vec![f64::NAN, 0.5]] {
            assert!(Choice::new(2, Some(probs.clone()), Mode::Elem).is_err(), "{probs:?}");
        }
        assert_eq!(Choice::new(0, None, Mode::Elem), Err(MixError::NoRules));
        assert!(Choice::new(10, Some(vec![0.1; 10]), Mode::Elem).is_ok());
        assert_eq!(Choice::new(2, None, Mode::Pair), Err(MixError::ChoiceMode));
        let wrong = OneOf { choice: Choice::new(1, None, Mode::Elem).unwrap(), ..one_of(None, Mode::Elem) };
        assert!(wrong.check().is_err());
    }
}
