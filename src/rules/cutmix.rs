//! CutMix (Yun et al., arXiv 1905.04899): a box of each sample is taken from its partner.
//!
//! The box is a span along one spatial axis, a rectangle along two, a cuboid along three.

use super::partners::partners;
use super::{Rule, Slot, check_alpha, check_fractions, check_prob, check_shape, draws, keep, share};
use crate::error::Result;
use crate::plan::{Lam, MixPlan, Mode, Rect};
use crate::random::{Key, Spans, draw_boxes, draw_lam, draw_sizes};

/// The CutMix rule. The box has the proportions of the sample and covers a share 1 − a of it, a ~ Beta(α, α). Its
/// centre is uniform over the sample, and it is clipped to the sample. λ is the share of the sample outside the clipped
/// box.
///
/// ```
/// use mixup_rs::{CutMix, Key, Rule};
/// let plan = CutMix::default().plan(4, &[32, 32], Key::new(&[42]))?;
/// let rect = plan.boxes().unwrap()[0];
/// let [_, height, width] = [0, 1, 2].map(|axis| rect.end[axis] - rect.start[axis]);
/// assert_eq!(plan.lam()[0], 1.0 - (height * width) as f64 / 1024.0);
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CutMix {
    /// The share outside the box, before clipping, ~ Beta(alpha, alpha). Finite and >= 0; 0 mixes nothing.
    pub alpha: f64,
    /// Which samples share a box.
    pub mode: Mode,
    /// If given, 0 <= min <= max <= 1: each side of the box is drawn uniformly between these fractions of the sample's
    /// side instead, and the box lies within the sample.
    pub minmax: Option<(f64, f64)>,
    /// The probability in [0, 1] that a drawn box is used; otherwise nothing is cut.
    pub prob: f64,
    /// Whether boxes are in the middle of the samples, for [`MixPlan::centred_at`] to move them. With `minmax` they are
    /// anywhere.
    pub in_middle: bool,
}

impl CutMix {
    /// The default α, that of the paper.
    pub const ALPHA: f64 = 1.0;
}

impl Default for CutMix {
    fn default() -> Self {
        Self { alpha: Self::ALPHA, mode: Mode::Batch, minmax: None, prob: 1.0, in_middle: false }
    }
}

impl Rule for CutMix {
    fn check(&self) -> Result<()> {
        check_alpha(self.alpha)?;
        check_prob(self.prob)?;
        self.minmax.map_or(Ok(()), |minmax| check_fractions("minmax", minmax))
    }

    fn options(&mut self) -> Vec<(&'static str, Slot<'_>)> {
        vec![
            ("alpha", Slot::Real(&mut self.alpha)),
            ("mode", Slot::Mode(&mut self.mode)),
            ("minmax", Slot::MaybeFractions(&mut self.minmax)),
            ("prob", Slot::Real(&mut self.prob)),
            ("saliency", Slot::Given(&mut self.in_middle)),
        ]
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn plan_on(&self, _limit: usize, n: usize, shape: &[usize], key: Key) -> Result<MixPlan> {
        self.check()?;
        if self.alpha == 0.0 {
            return MixPlan::identity(n);
        }
        check_shape(shape)?;
        let (partner, order) = partners(n, self.mode, None, key)?;
        let count = draws(n, self.mode);
        let drawn = match self.minmax {
            Some(minmax) => draw_sizes(key, count, minmax, shape),
            None => draw_boxes(key, &draw_lam(key, count, self.alpha, false, 1)?, shape, self.in_middle),
        };
        let mut boxes: Vec<Rect> = drawn.into_iter().map(rect).collect();
        keep(&mut boxes, self.prob, Rect::NONE, key);
        share(&mut boxes, n, self.mode, &partner);
        Ok(MixPlan::from_boxes(boxes, shape, partner, Lam::Shared(1.0))?.with_order(order))
    }
}

pub(super) fn rect(spans: Spans) -> Rect {
    Rect { start: spans.map(|[start, _]| start), end: spans.map(|[_, end]| end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::MixError;

    fn plan(rule: &CutMix, n: usize, shape: &[usize]) -> MixPlan {
        rule.plan(n, shape, Key::new(&[7])).unwrap()
    }

    #[test]
    fn modes_share_boxes() {
        let draw = |mode| plan(&CutMix { mode, ..CutMix::default() }, 9, &[32, 32]);
        let boxes = |mode| draw(mode).boxes().unwrap();
        assert!(boxes(Mode::Batch).iter().all(|one| *one == boxes(Mode::Batch)[0]));
        let pair = draw(Mode::Pair);
        for (i, &partner) in pair.partner().iter().enumerate() {
            assert_eq!(pair.boxes().unwrap()[partner], pair.boxes().unwrap()[i]);
        }
        assert_ne!(boxes(Mode::Elem)[0], boxes(Mode::Elem)[1]);
        assert_eq!(plan(&CutMix::default(), 0, &[32, 32]).len(), 0);
    }

    #[test]
    fn spans_and_cuboids_are_boxes_too() {
        let rule = CutMix { mode: Mode::Elem, ..CutMix::default() };
        for shape in [&[1000][..], &[40, 60], &[9, 20, 30]] {
            let plan = plan(&rule, 50, shape);
            let size: usize = shape.iter().product();
            for (rect, lam) in plan.boxes().unwrap().iter().zip(plan.lam()) {
                let inside: usize = rect.start.iter().zip(&rect.end).map(|(start, end)| end - start).product();
                assert_eq!(*lam, 1.0 - inside as f64 / size as f64);
            }
        }
        for shape in [&[][..], &[1; 4]] {
            assert_eq!(rule.plan(2, shape, Key::new(&[7])), Err(MixError::SpatialRank { got: shape.len() }));
        }
    }

    #[test]
    fn prob_and_alpha_of_0_cut_nothing() {
        let all = plan(&CutMix { mode: Mode::Elem, ..CutMix::default() }, 500, &[32, 32]);
        let some = plan(&CutMix { mode: Mode::Elem, prob: 0.3, ..CutMix::default() }, 500, &[32, 32]);
        let (all, some) = (all.boxes().unwrap(), some.boxes().unwrap());
        let cut = (0..500).filter(|&i| some[i] != Rect::NONE).count();
        assert!((100..200).contains(&cut), "{cut}");
        assert!((0..500).all(|i| some[i] == Rect::NONE || some[i] == all[i]));
        assert_eq!(plan(&CutMix { alpha: 0.0, ..CutMix::default() }, 5, &[]), MixPlan::identity(5).unwrap());
        assert!(CutMix { minmax: Some((0.5, 0.4)), ..CutMix::default() }.check().is_err());
    }
}
