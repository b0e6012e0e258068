//! How plans are drawn, a rule a file: options and a key in, a [`MixPlan`] out. No data is touched.
//!
//! In every rule an `alpha` of 0 and a `prob` of 0 mean that nothing is mixed, and a plan is a pure function of its
//! options, the number of samples, their shape and the key.

mod cutmix;
mod mixup;
mod one_of;
mod partners;

pub use cutmix::CutMix;
pub use mixup::{Given, Mixup};
pub use one_of::{Choice, OneOf};

use std::fmt::Debug;

use crate::error::{MixError, Result};
use crate::plan::{MixPlan, Mode};
use crate::random::{Key, default_limit, draw_uniform};

/// How the samples of a batch are to be mixed.
pub trait Rule: Debug + Send + Sync {
    /// Refuses options that nothing can be drawn from.
    fn check(&self) -> Result<()>;

    /// Draws a plan for `n` samples on at most `limit` threads, on which it does not depend. `shape` is that of a
    /// sample's spatial axes: (height, width), (length,), (depth, height, width); empty if it is not known.
    fn plan_on(&self, limit: usize, n: usize, shape: &[usize], key: Key) -> Result<MixPlan>;

    /// Draws a plan for `n` samples.
    ///
    /// ```
    /// use mixup_rs::{Key, Mixup, Rule};
    /// let key = Key::new(&[42, 0]);
    /// assert_eq!(Mixup::default().plan(4, &[], key)?, Mixup::default().plan(4, &[], key)?);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    fn plan(&self, n: usize, shape: &[usize], key: Key) -> Result<MixPlan> {
        self.plan_on(default_limit(), n, shape, key)
    }
}

fn check_alpha(alpha: f64) -> Result<()> {
    if alpha.is_finite() && alpha >= 0.0 { Ok(()) } else { Err(MixError::Alpha(alpha)) }
}

fn check_prob(prob: f64) -> Result<()> {
    if (0.0..=1.0).contains(&prob) { Ok(()) } else { Err(MixError::Prob(prob)) }
}

/// How many λ or boxes a batch needs.
fn draws(n: usize, mode: Mode) -> usize {
    if mode == Mode::Batch { n.min(1) } else { n }
}

/// Replaces the draws that `prob` leaves out by `unmixed`.
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

/// Draws, one for the batch or one per sample, to one per sample as the mode shares them.
fn share<T: Clone>(drawn: &mut Vec<T>, n: usize, mode: Mode, partner: &[usize]) {
    match mode {
        Mode::Elem => {}
        Mode::Batch => *drawn = drawn.first().map_or_else(Vec::new, |drawn| vec![drawn.clone(); n]),
        Mode::Pair => (0..n).for_each(|i| drawn[i] = drawn[i.min(partner[i])].clone()),
    }
}
