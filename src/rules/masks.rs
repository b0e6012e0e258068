//! What rules of masks have in common: λ, partners, and which samples share a mask.

use std::sync::Arc;

use super::partners::partners;
use super::{check_shape, draws, keep, share};
use crate::error::{Result, memory_for};
use crate::plan::{Lam, Mask, MixPlan, Mode};
use crate::random::{Key, draw_lam};

/// The options in common.
#[derive(Clone, Copy)]
pub(super) struct Masks {
    pub mode: Mode,
    pub prob: f64,
}

impl Masks {
    /// Draws a plan: partners, and a mask by its number, which has streams of its own. Masks that are not used, with
    /// probability 1 − `prob`, are not drawn.
    pub fn plan(self, n: usize, shape: &[usize], key: Key, mask: impl Fn(usize) -> Arc<Mask>) -> Result<MixPlan> {
        let Self { mode, prob } = self;
        check_shape(shape)?;
        let (partner, order) = partners(n, mode, None, key)?;
        if shape.contains(&0) {
            // There is no pixel to take.
            return Ok(MixPlan::new(Lam::Shared(1.0), partner)?.with_order(order));
        }
        let mut used = vec![true; draws(n, mode)];
        keep(&mut used, prob, false, key);
        let size: usize = shape.iter().product();
        let whole = Arc::new(Mask::hard(vec![true; size]));
        // The second of a pair has the mask of the first.
        let is_first = |i: usize| mode != Mode::Pair || i <= partner[i];
        let of = |(i, used): (usize, bool)| if used && is_first(i) { mask(i) } else { whole.clone() };
        let mut masks: Vec<Arc<Mask>> = used.into_iter().enumerate().map(of).collect();
        share(&mut masks, n, mode, &partner);
        Ok(MixPlan::from_masks(masks, shape, partner)?.with_order(order))
    }

    /// As [`Masks::plan`], with λ ~ Beta(α, α) for each mask.
    pub fn plan_by_lam(
        self,
        alpha: f64,
        limit: usize,
        n: usize,
        shape: &[usize],
        key: Key,
        mask: impl Fn(usize, f64) -> Arc<Mask>,
    ) -> Result<MixPlan> {
        if alpha == 0.0 {
            return MixPlan::identity(n);
        }
        memory_for(n)?;
        let lam = draw_lam(key, draws(n, self.mode), alpha, false, limit)?;
        self.plan(n, shape, key, |i| mask(i, lam[i]))
    }
}
