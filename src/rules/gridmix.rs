//! GridMix (Baek, Bang and Shim, Pattern Recognition 109, 2021): some cells of a grid come from the partner.

use std::sync::Arc;

use super::masks::Masks;
use super::{Rule, Slot, check_alpha, check_prob, wrong};
use crate::error::Result;
use crate::plan::{Mask, MixPlan, Mode};
use crate::random::{Key, draw_cells};

/// The GridMix rule. The sample is divided into a grid with the same number of cells along each axis, drawn uniformly
/// from `cells`. Of all cells a share λ ~ Beta(α, α) stays, rounded to whole ones, but at least one stays and one is taken.
/// Any are as likely. Cells are as large as pixels allow, so λ of the plan is the share of the pixels.
///
/// ```
/// use mixup_rs::{GridMix, Key, Rule};
/// let plan = GridMix { cells: (4, 4), ..GridMix::default() }.plan(4, &[32, 32], Key::new(&[42]))?;
/// assert_eq!((plan.lam()[0] * 16.0).fract(), 0.0);
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GridMix {
    /// The share of the cells that stay ~ Beta(alpha, alpha). Finite and >= 0; 0 mixes nothing.
    pub alpha: f64,
    /// The least and the largest number of cells along an axis, at least 1.
    pub cells: (usize, usize),
    /// Which samples share a grid.
    pub mode: Mode,
    /// The probability in [0, 1] that a drawn grid is used.
    pub prob: f64,
}

impl Default for GridMix {
    fn default() -> Self {
        Self { alpha: 1.0, cells: (2, 6), mode: Mode::Batch, prob: 1.0 }
    }
}

impl Rule for GridMix {
    fn check(&self) -> Result<()> {
        check_alpha(self.alpha)?;
        check_prob(self.prob)?;
        let (least, most) = self.cells;
        if 1 <= least && least <= most && most <= MOST_CELLS {
            Ok(())
        } else {
            let expected = format!("be two numbers, 1 <= min <= max <= {MOST_CELLS}");
            Err(wrong("cells", expected, format!("({least}, {most})")))
        }
    }

    fn options(&mut self) -> Vec<(&'static str, Slot<'_>)> {
        vec![
            ("alpha", Slot::Real(&mut self.alpha)),
            ("cells", Slot::Counts(&mut self.cells)),
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
            let (cells, stays) = draw_cells(key, index, self.cells, shape.len(), |count| kept(lam, count));
            Arc::new(of_cells(&stays, cells, shape))
        })
    }
}

/// The number of cells that stay. Rounding leaves a cell of each.
fn kept(lam: f64, count: usize) -> usize {
    let kept = (lam * count as f64).round() as usize;
    if count > 1 && 0.0 < lam && lam < 1.0 { kept.clamp(1, count - 1) } else { kept }
}

/// In three axes a million cells.
const MOST_CELLS: usize = 100;

/// The mask of a grid with so many cells along each axis. Cell k of an axis of `len` pixels ends at ⌊(k + 1)·len/cells⌋.
fn of_cells(stays: &[bool], cells: usize, shape: &[usize]) -> Mask {
    // The cell of each pixel along an axis, then of all combinations.
    let along = |len: usize| (0..len).map(move |at| ((at + 1) * cells - 1) / len);
    let combined = shape.iter().fold(vec![0], |outer: Vec<usize>, &len| {
        outer.into_iter().flat_map(|cell| along(len).map(move |inner| cell * cells + inner)).collect()
    });
    Mask::hard(combined.into_iter().map(|cell| stays[cell]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_stay_with_their_cells() {
        let mask = of_cells(&[true, false, false, true], 2, &[2, 5]);
        let row = |stays: [u8; 5]| stays.map(f64::from);
        assert_eq!(mask.to_f64(), [row([1, 1, 0, 0, 0]), row([0, 0, 1, 1, 1])].concat());
        // More cells than pixels: some have none.
        assert_eq!(of_cells(&[true, false, true, false], 4, &[2]).to_f64(), [0.0, 0.0]);
    }

    #[test]
    fn a_cell_of_each_is_left() {
        assert_eq!([0.0, 1e-9, 0.3, 0.5, 0.99, 1.0].map(|lam| kept(lam, 4)), [0, 1, 1, 2, 3, 4]);
        assert_eq!([0.0, 0.4, 0.6, 1.0].map(|lam| kept(lam, 1)), [0, 0, 1, 1]);
    }

    #[test]
    fn options_are_checked() {
        for cells in [(0, 2), (3, 2), (1, 101)] {
            assert!(GridMix { cells, ..GridMix::default() }.check().is_err(), "{cells:?}");
        }
        assert!(GridMix { cells: (1, 100), ..GridMix::default() }.check().is_ok());
    }
}
