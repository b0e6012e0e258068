//! What rules of masks have in common: λ, partners, and which samples share a mask.

use std::sync::Arc;

use super::partners::partners;
use super::{check_shape, draws, keep, share};
use crate::error::Result;
use crate::plan::{Lam, Mask, MixPlan, Mode};
use crate::random::{Key, draw_lam};

/// The options in common.
pub(super) struct Masks {
    pub alpha: f64,
    pub mode: Mode,
    pub prob: f64,
}

/// Draws a plan: λ ~ Beta(α, α) for each mask, and the mask by its number and its λ. Masks that are not used, with
/// probability 1 − `prob`, are not drawn. `mask` has streams of its own for each number.
pub(super) fn plan_masks(
    rule: Masks,
    limit: usize,
    n: usize,
    shape: &[usize],
    key: Key,
    mask: impl Fn(usize, f64) -> Arc<Mask>,
) -> Result<MixPlan> {
    let Masks { alpha, mode, prob } = rule;
    if alpha == 0.0 {
        return MixPlan::identity(n);
    }
    check_shape(shape)?;
    let (partner, order) = partners(n, mode, None, key)?;
    if shape.contains(&0) {
        // There is no pixel to take.
        return Ok(MixPlan::new(Lam::Shared(1.0), partner)?.with_order(order));
    }
    let mut drawn: Vec<Option<f64>> =
        draw_lam(key, draws(n, mode), alpha, false, limit)?.into_iter().map(Some).collect();
    keep(&mut drawn, prob, None, key);
    let size: usize = shape.iter().product();
    let whole = Arc::new(Mask::hard(vec![true; size]));
    // The second of a pair has the mask of the first.
    let is_first = |i: usize| mode != Mode::Pair || i <= partner[i];
    let of = |(i, lam): (usize, Option<f64>)| match lam {
        Some(lam) if is_first(i) => mask(i, lam),
        _ => whole.clone(),
    };
    let mut masks: Vec<Arc<Mask>> = drawn.into_iter().enumerate().map(of).collect();
    share(&mut masks, n, mode, &partner);
    Ok(MixPlan::from_masks(masks, shape, partner)?.with_order(order))
}
