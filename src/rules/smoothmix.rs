//! SmoothMix (Lee et al., CVPR Workshops 2020): a round part of each sample comes from its partner, with soft edges.

use std::sync::Arc;

use super::masks::Masks;
use super::{Rule, Slot, check_alpha, check_prob};
use crate::error::Result;
use crate::plan::{Mask, MixPlan, Mode, Shares};
use crate::random::{Key, draw_point};

/// The SmoothMix rule. The weight of the partner is a Gaussian bell with a peak of 1 at a point uniform over the sample.
/// Its standard deviation along each axis is in the proportion of the sample's, and such that the whole bell has a share
/// 1 − a of the sample, a ~ Beta(α, α). λ is the mean of what remains, as the edges of the sample cut the bell.
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
    /// The share outside of the whole bell ~ Beta(alpha, alpha). Finite and >= 0; 0 mixes nothing.
    pub alpha: f64,
    /// Which samples share a bell.
    pub mode: Mode,
    /// The probability in [0, 1] that a drawn bell is used.
    pub prob: f64,
}

impl Default for SmoothMix {
    fn default() -> Self {
        Self { alpha: 1.0, mode: Mode::Batch, prob: 1.0 }
    }
}

impl Rule for SmoothMix {
    fn check(&self) -> Result<()> {
        check_alpha(self.alpha)?;
        check_prob(self.prob)
    }

    fn options(&mut self) -> Vec<(&'static str, Slot<'_>)> {
        vec![
            ("alpha", Slot::Real(&mut self.alpha)),
            ("mode", Slot::Mode(&mut self.mode)),
            ("prob", Slot::Real(&mut self.prob)),
        ]
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn plan_on(&self, limit: usize, n: usize, shape: &[usize], key: Key) -> Result<MixPlan> {
        self.check()?;
        let rule = Masks { mode: self.mode, prob: self.prob };
        rule.plan_by_lam(self.alpha, limit, n, shape, key, |index, lam| {
            Arc::new(outside(&draw_point(key, index, shape), 1.0 - lam, shape))
        })
    }
}

/// One minus a bell with this centre, in pixels, that has this share of the sample without its edges.
fn outside(centre: &[f64], share: f64, shape: &[usize]) -> Mask {
    // (2π)^(d/2)·σ^d = share, with σ as a fraction of each side.
    let deviation = libm::pow(share, 1.0 / shape.len() as f64) / std::f64::consts::TAU.sqrt();
    // A bell is a product of bells along the axes.
    let along = |(&len, &centre): (&usize, &f64)| -> Vec<f64> {
        let pixel = |at: usize| {
            let distance = (at as f64 + 0.5 - centre) / (deviation * len as f64);
            // Without any width there is no bell.
            if deviation > 0.0 { libm::exp(-0.5 * distance * distance) } else { 0.0 }
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
    fn a_bell_has_its_share_and_its_peak() {
        for (shape, share) in [(&[1001][..], 0.1), (&[201, 301], 0.05), (&[61, 81, 71], 0.02)] {
            let centre: Vec<f64> = shape.iter().map(|&len| len as f64 / 2.0).collect();
            let mask = outside(&centre, share, shape);
            assert!((1.0 - mask.mean() - share).abs() < 1e-3, "{shape:?}: {}", mask.mean());
            let shares = mask.to_f64();
            assert_eq!(shares[shares.len() / 2], 0.0);
            assert!(shares[0] > 0.99);
        }
        assert!(outside(&[3.0, 3.0], 0.0, &[8, 8]).to_f64().iter().all(|&share| share == 1.0));
    }

    #[test]
    fn options_are_checked() {
        assert!(SmoothMix { alpha: -1.0, ..SmoothMix::default() }.check().is_err());
        assert!(SmoothMix { prob: 1.5, ..SmoothMix::default() }.check().is_err());
    }
}
