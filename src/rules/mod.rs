//! The rules that draw plans, one per file: options and a key in, a [`MixPlan`] out. No data is touched.
//!
//! A plan is a pure function of the options, the number of samples, their shape and the key. In every rule an `alpha`
//! of 0 and a `prob` of 0 mix nothing. With an `alpha` of 0 nothing is drawn either, so that no shape is needed.

mod cutmix;
mod fmix;
mod gridmix;
mod masks;
mod mixup;
mod one_of;
mod partners;
mod resizemix;
mod slot;
mod smoothmix;
mod text;

pub use cutmix::CutMix;
pub use fmix::FMix;
pub use gridmix::GridMix;
pub use mixup::{Given, Mixup};
pub use one_of::{Choice, OneOf};
pub use resizemix::ResizeMix;
pub use slot::Slot;
pub use smoothmix::SmoothMix;

use std::fmt::Debug;

use crate::error::{MixError, Result};
use crate::plan::{MixPlan, Mode, SpatialShape};
use crate::random::{Key, default_limit, draw_uniform};

/// A rule that draws plans.
pub trait Rule: Debug + Send + Sync {
    /// Checks the options.
    ///
    /// # Errors
    /// The variant of [`MixError`] of the first invalid option.
    fn check(&self) -> Result<()>;

    /// The options by name, in the order of the Python class. A rule that [`named`] does not make has none.
    fn options(&mut self) -> Vec<(&'static str, Slot<'_>)> {
        Vec::new()
    }

    /// Draws a plan for `n` samples on at most `limit` threads, which do not change the plan. `shape` holds the lengths
    /// of a sample's spatial axes, such as (length,), (height, width) or (depth, height, width). It may be empty for
    /// rules without regions.
    ///
    /// # Errors
    /// As [`Rule::check`]; [`MixError::SpatialRank`] if a rule with regions gets no shape of one to three axes;
    /// [`MixError::TooManySamples`] if memory runs out.
    fn plan_on(&self, limit: usize, n: usize, shape: &[usize], key: Key) -> Result<MixPlan>;

    /// Which samples share what is drawn.
    fn mode(&self) -> Mode;

    /// As [`Rule::plan_on`], with partners among `other` samples of another batch: permutations of these, one after the
    /// other. All else is drawn as without.
    ///
    /// ```
    /// use mixup_rs::{Key, Mixup, Rule};
    /// let plan = Mixup::default().plan_with(1, 4, 6, &[], Key::new(&[42]))?;
    /// assert!(plan.other() == Some(6) && plan.partner().iter().all(|&partner| partner < 6));
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Rule::plan_on`]; [`MixError::OtherEmpty`] if there is none, [`MixError::OtherPaired`] for [`Mode::Pair`].
    fn plan_with(&self, limit: usize, n: usize, other: usize, shape: &[usize], key: Key) -> Result<MixPlan> {
        partners::check_not_paired(self.mode())?;
        let plan = self.plan_on(limit, n, shape, key)?;
        plan.check_one_partner("other")?;
        plan.with_partners(partners::others(n, other, None, key)?)
    }

    /// As [`Rule::plan_on`], on as many threads as the process may use.
    ///
    /// ```
    /// use mixup_rs::{Key, Mixup, Rule};
    /// let key = Key::new(&[42, 0]);
    /// assert_eq!(Mixup::default().plan(4, &[], key)?, Mixup::default().plan(4, &[], key)?);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Rule::plan_on`].
    fn plan(&self, n: usize, shape: &[usize], key: Key) -> Result<MixPlan> {
        self.plan_on(default_limit(), n, shape, key)
    }
}

/// The rule of this name with its default options, such as `Mixup`. `OneOf` has none: it needs rules.
///
/// ```
/// use mixup_rs::rules::named;
/// assert!(named("FMix").is_some() && named("OneOf").is_none());
/// ```
pub fn named(name: &str) -> Option<Box<dyn Rule>> {
    Some(match name {
        "Mixup" => Box::new(Mixup::default()),
        "CutMix" => Box::new(CutMix::default()),
        "FMix" => Box::new(FMix::default()),
        "GridMix" => Box::new(GridMix::default()),
        "SmoothMix" => Box::new(SmoothMix::default()),
        "ResizeMix" => Box::new(ResizeMix::default()),
        _ => return None,
    })
}

/// The error of an option: `name` must `expected`, got `got`.
fn wrong(name: &'static str, expected: impl ToString, got: impl ToString) -> MixError {
    MixError::Option { name, expected: expected.to_string(), got: got.to_string() }
}

/// Checks that 0 <= min <= max <= 1.
fn check_fractions(name: &'static str, (least, most): (f64, f64)) -> Result<()> {
    if 0.0 <= least && least <= most && most <= 1.0 {
        Ok(())
    } else {
        Err(wrong(name, "be two fractions, 0 <= min <= max <= 1", format!("({least}, {most})")))
    }
}

fn check_alpha(alpha: f64) -> Result<()> {
    if alpha.is_finite() && alpha >= 0.0 { Ok(()) } else { Err(MixError::Alpha(alpha)) }
}

fn check_prob(prob: f64) -> Result<()> {
    if (0.0..=1.0).contains(&prob) { Ok(()) } else { Err(MixError::Prob(prob)) }
}

/// For rules with regions.
fn check_shape(shape: &[usize]) -> Result<()> {
    SpatialShape::new(shape).map(|_| ())
}

/// The number of λ or boxes to draw for a batch. A pair draws one per sample and uses that of the first.
fn draws(n: usize, mode: Mode) -> usize {
    if mode == Mode::Batch { n.min(1) } else { n }
}

/// Replaces each draw by `unmixed` with probability 1 − `prob`, drawn from a stream of the key that is independent of
/// λ, partners and boxes.
fn keep<T: Clone>(drawn: &mut [T], prob: f64, unmixed: T, key: Key) {
    if prob == 1.0 {
        return;
    }
    let uniform = draw_uniform(key, drawn.len());
    for (drawn, chosen) in drawn.iter_mut().zip(uniform) {
        if chosen >= prob {
            *drawn = unmixed.clone();
        }
    }
}

/// Expands draws, one for the batch or one per sample, to one per sample, shared by the mode.
fn share<T: Clone>(drawn: &mut Vec<T>, n: usize, mode: Mode, partner: &[usize]) {
    match mode {
        Mode::Elem => {}
        Mode::Batch => *drawn = drawn.first().map_or_else(Vec::new, |drawn| vec![drawn.clone(); n]),
        Mode::Pair => (0..n).for_each(|i| drawn[i] = drawn[i.min(partner[i])].clone()),
    }
}
