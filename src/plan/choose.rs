//! One plan of several, each for some samples of a batch.

use super::{Lam, MixPlan, Partners, Region, Regions};
use crate::error::{MixError, Result};

impl MixPlan {
    /// Combines plans for the same batch. Sample i is mixed by plan number `which[i]`; `None` leaves it unchanged.
    pub(crate) fn choose(plans: &[Option<Self>], which: &[Option<usize>]) -> Result<Self> {
        Self::choose_regions(plans, which)?.choose_label_lam(plans, which)
    }

    fn choose_regions(plans: &[Option<Self>], which: &[Option<usize>]) -> Result<Self> {
        let n = which.len();
        let drawn = || plans.iter().flatten();
        drawn().try_for_each(|plan| plan.check_batch(&[n]))?;
        drawn().try_for_each(|plan| plan.check_one_partner("a choice of rules for each sample"))?;
        // An unchanged sample takes its partner from a plan that has some, so that partners stay a permutation.
        let has_partners = |plan: &&Self| (0..n).any(|i| !plan.is_alone(i));
        let Some(common) = drawn().find(has_partners).or(drawn().next()) else { return Self::identity(n) };
        let chosen = |i: usize| which[i].and_then(|plan| plans[plan].as_ref());
        let changed = |i: usize| chosen(i).filter(|plan| plan.lam[i] != 1.0 || plan.lam()[i] != 1.0);
        let index: Vec<usize> = (0..n).map(|i| changed(i).unwrap_or(common).partner()[i]).collect();
        let order = (index == common.partner()).then(|| common.order.get().cloned()).flatten();
        if let Some(plan) = drawn().find(|plan| plan.other() != common.other()) {
            return Err(MixError::Others { got: plan.other(), expected: common.other() });
        }
        let partner = Partners { index, other: common.other() };
        let weight: Vec<f64> = (0..n).map(|i| chosen(i).map_or(1.0, |plan| plan.weight()[i])).collect();
        let mut shapes = drawn().filter_map(|plan| plan.regions.as_ref()).map(|regions| regions.shape);
        let Some(shape) = shapes.next() else { return Ok(Self::new(Lam::Each(weight), partner)?.with_order(order)) };
        if let Some(other) = shapes.find(|other| *other != shape) {
            let [got, expected] = [other, shape].map(|shape| shape.as_slice().to_vec());
            return Err(MixError::SpatialShapes { got, expected });
        }
        let region =
            |i| chosen(i).and_then(|plan| plan.regions.as_ref()).map_or(Region::None, |regions| regions.of[i].clone());
        let regions = Regions { shape, weight, of: (0..n).map(region).collect() };
        Ok(Self::of_regions(regions, partner)?.with_order(order))
    }
}
