//! SmoothMix (Lee et al., CVPR Workshops 2020): a round part of each sample comes from its partner, with soft edges.

use std::sync::Arc;

use super::masks::Masks;
use super::{Rule, Slot, check_fractions, check_prob};
use crate::error::Result;
use crate::plan::{Mask, MixPlan, Mode, Shares};
use crate::random::{Key, draw_bell};

/// The SmoothMix rule. The weight of the partner is a Gaussian bell with a peak of 1 at a point uniform over the sample.
/// Its standard deviation is a fraction of each side, uniform between two. λ is the mean of what remains.
///
/// ```
/// use mixup_rs::{Key, Rule, SmoothMix};
/// let plan = SmoothMix::default().plan(4, &[32, 32], Key::new(&[42]))?;
/// let mask = &plan.masks().unwrap()[0];
/// assert!((plan.lam()[0] - mask.iter().sum::<f64>() / 1024.0).abs() < 1e-12);
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SmoothMix {
    /// The least and the largest standard deviation as a fraction of each side, 0 <= min <= max <= 1. (0, 0) mixes nothing.
    pub sigma: (f64, f64),
    /// Which samples share a bell.
    pub mode: Mode,
    /// The probability in [0, 1] that a drawn bell is used.
    pub prob: f64,
}

impl SmoothMix {
    /// The default standard deviations, those that implementations of the paper draw from.
    pub const SIGMA: (f64, f64) = (0.25, 0.5);
}

impl Default for SmoothMix {
    fn default() -> Self {
        Self { sigma: Self::SIGMA, mode: Mode::Batch, prob: 1.0 }
    }
}

impl Rule for SmoothMix {
    fn check(&self) -> Result<()> {
        check_fractions("sigma", self.sigma)?;
        check_prob(self.prob)
    }

    fn options(&mut self) -> Vec<(&'static str, Slot<'_>)> {
        vec![
            ("sigma", Slot::Fractions(&mut self.sigma)),
            ("mode", Slot::Mode(&mut self.mode)),
            ("prob", Slot::Real(&mut self.prob)),
        ]
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn plan_on(&self, _limit: usize, n: usize, shape: &[usize], key: Key) -> Result<MixPlan> {
        self.check()?;
        let rule = Masks { mode: self.mode, prob: self.prob };
        rule.plan(n, shape, key, |index| {
            let (centre, sigma) = draw_bell(key, index, self.sigma, shape);
            Arc::new(outside(&centre, sigma, shape))
        })
    }
}

/// One minus a bell with this centre, in pixels, and this standard deviation, as a fraction of each side.
fn outside(centre: &[f64], sigma: f64, shape: &[usize]) -> Mask {
    // A bell is a product of bells along the axes.
    let along = |(&len, &centre): (&usize, &f64)| -> Vec<f64> {
        let pixel = |at: usize| {
            let distance = (at as f64 + 0.5 - centre) / (sigma * len as f64);
            // Without any width there is no bell.
            if sigma > 0.0 { libm::exp(-0.5 * distance * distance) } else { 0.0 }
        };
        (0..len).map(pixel).collect()
    };
    let bell = shape.iter().zip(centre).map(along).fold(vec![1.0], |outer: Vec<f64>, axis| {
        outer.into_iter().flat_map(|value| axis.iter().map(move |other| value * other)).collect()
    });
    let shares = bell.into_iter().map(|value| (1.0 - value) as f32).collect();
    Mask::new(Shares::Single(shares)).expect("a bell lies in [0, 1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_has_its_deviation_and_its_peak() {
        for (shape, sigma) in [(&[1001][..], 0.04), (&[201, 301], 0.09), (&[61, 81, 71], 0.11)] {
            let centre: Vec<f64> = shape.iter().map(|&len| len as f64 / 2.0).collect();
            let mask = outside(&centre, sigma, shape);
            // The integral of a bell; its edges are inside the sample.
            let share = (sigma * std::f64::consts::TAU.sqrt()).powi(shape.len() as i32);
            assert!((1.0 - mask.mean() - share).abs() < 1e-3, "{shape:?}: {}", mask.mean());
            let shares = mask.to_f64();
            assert_eq!(shares[shares.len() / 2], 0.0);
            assert!(shares[0] > 0.99);
        }
        assert!(outside(&[3.0, 3.0], 0.0, &[8, 8]).to_f64().iter().all(|&share| share == 1.0));
    }

    #[test]
    fn options_are_checked() {
        assert!(SmoothMix { sigma: (0.5, 0.25), ..SmoothMix::default() }.check().is_err());
        assert!(SmoothMix { prob: 1.5, ..SmoothMix::default() }.check().is_err());
    }
}
