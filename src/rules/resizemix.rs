//! ResizeMix (Qin et al., arXiv 2012.11101): the whole partner is resized into a box of each sample.

use super::cutmix::rect;
use super::partners::partners;
use super::{Rule, Slot, check_fractions, check_prob, check_shape, draws, keep, share};
use crate::error::Result;
use crate::plan::{Lam, MixPlan, Mode, Rect};
use crate::random::{Key, draw_patches};

/// The ResizeMix rule. The partner is resized by a factor τ, uniform between the two of `scale`, and pasted anywhere it
/// fits. λ is the share of the sample outside that box: about 1 − τ².
///
/// ```
/// use mixup_rs::{Key, ResizeMix, Rule};
/// let plan = ResizeMix { scale: (0.5, 0.5), ..ResizeMix::default() }.plan(4, &[32, 48], Key::new(&[42]))?;
/// let rect = plan.boxes().unwrap()[0];
/// assert_eq!([1, 2].map(|axis| rect.end[axis] - rect.start[axis]), [16, 24]);
/// assert_eq!(plan.lam(), [0.75; 4]);
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ResizeMix {
    /// The least and the largest fraction of the sample's sides, 0 <= min <= max <= 1. (0, 0) mixes nothing.
    pub scale: (f64, f64),
    /// Which samples share a box.
    pub mode: Mode,
    /// The probability in [0, 1] that a drawn box is used; otherwise nothing is pasted.
    pub prob: f64,
}

impl ResizeMix {
    /// The default scale, that of the paper.
    pub const SCALE: (f64, f64) = (0.1, 0.8);
}

impl Default for ResizeMix {
    fn default() -> Self {
        Self { scale: Self::SCALE, mode: Mode::Batch, prob: 1.0 }
    }
}

impl Rule for ResizeMix {
    fn check(&self) -> Result<()> {
        check_prob(self.prob)?;
        check_fractions("scale", self.scale)
    }

    fn options(&mut self) -> Vec<(&'static str, Slot<'_>)> {
        vec![
            ("scale", Slot::Fractions(&mut self.scale)),
            ("mode", Slot::Mode(&mut self.mode)),
            ("prob", Slot::Real(&mut self.prob)),
        ]
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn plan_on(&self, _limit: usize, n: usize, shape: &[usize], key: Key) -> Result<MixPlan> {
        self.check()?;
        check_shape(shape)?;
        let (partner, order) = partners(n, self.mode, None, key)?;
        let mut boxes: Vec<Rect> =
            draw_patches(key, draws(n, self.mode), self.scale, shape).into_iter().map(rect).collect();
        keep(&mut boxes, self.prob, Rect::NONE, key);
        share(&mut boxes, n, self.mode, &partner);
        Ok(MixPlan::from_resized(boxes, shape, partner, Lam::Shared(1.0))?.with_order(order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::MixError;

    #[test]
    fn options_and_shapes_are_checked() {
        for scale in [(-0.1, 0.5), (0.5, 0.4), (0.5, 1.1), (f64::NAN, 0.5)] {
            assert!(ResizeMix { scale, ..ResizeMix::default() }.check().is_err(), "{scale:?}");
        }
        assert!(ResizeMix { prob: 1.5, ..ResizeMix::default() }.check().is_err());
        for got in [1, 3] {
            let plan = ResizeMix::default().plan(2, &vec![8; got], Key::new(&[7]));
            assert_eq!(plan, Err(MixError::ResizedRank { got }));
        }
        assert_eq!(ResizeMix::default().plan(2, &[], Key::new(&[7])), Err(MixError::SpatialRank { got: 0 }));
    }

    #[test]
    fn prob_leaves_samples_as_they_are() {
        let rule = ResizeMix { mode: Mode::Elem, prob: 0.3, ..ResizeMix::default() };
        let plan = rule.plan(500, &[32, 32], Key::new(&[7])).unwrap();
        let kept = plan.boxes().unwrap().iter().filter(|rect| **rect == Rect::NONE).count();
        assert!((300..400).contains(&kept), "{kept}");
        assert!(plan.lam().iter().all(|&lam| lam == 1.0 || (0.33..1.0).contains(&lam)));
    }
}
