//! How plans are drawn: options and a key in, a [`MixPlan`] out. No data is touched.

use crate::cut::Box;
use crate::error::{MixError, Result, memory_for};
use crate::order::Order;
use crate::plan::MixPlan;
use crate::sample::{Key, draw_boxes, draw_cycles, draw_lam, draw_matching, draw_sizes};
use crate::threads;

/// For how many samples a λ is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// One per sample.
    #[default]
    Elem,
    /// One per couple: partners name each other.
    Pair,
    /// One for the whole batch.
    Batch,
}

/// Given weights in [0, 1].
#[derive(Debug, Clone, PartialEq)]
pub enum Lam {
    /// One for all samples.
    Shared(f64),
    /// One per sample.
    Each(Vec<f64>),
}

impl Lam {
    pub(crate) fn for_samples(self, n: usize) -> Result<Vec<f64>> {
        match self {
            Self::Shared(lam) => memory_for(n).map(|()| vec![lam; n]),
            Self::Each(lam) if lam.len() != n => Err(MixError::LamLength { got: lam.len(), expected: n }),
            Self::Each(lam) => Ok(lam),
        }
    }
}

/// How a mixup plan is drawn, and what of it is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixup {
    /// λ ~ Beta(alpha, alpha); finite and > 0.
    pub alpha: f64,
    pub mode: Mode,
    /// λ := max(λ, 1 − λ), so that every sample stays mostly itself.
    pub fold: bool,
    /// Given weights instead of drawn ones, never folded.
    pub lam: Option<Lam>,
    /// Given partners, one index per sample; repeats allowed.
    pub partner: Option<Vec<usize>>,
}

impl Default for Mixup {
    fn default() -> Self {
        Self { alpha: 0.4, mode: Mode::Elem, fold: true, lam: None, partner: None }
    }
}

/// How a CutMix plan is drawn, and what of it is given.
#[derive(Debug, Clone, PartialEq)]
pub struct CutMix {
    /// The area that is kept ~ Beta(alpha, alpha), before the box is clipped; finite and > 0.
    pub alpha: f64,
    pub mode: Mode,
    /// Each side of the box is drawn between these fractions of the image's instead, and the box lies within it.
    pub minmax: Option<(f64, f64)>,
    /// Given partners, one index per sample; repeats allowed.
    pub partner: Option<Vec<usize>>,
}

impl Default for CutMix {
    fn default() -> Self {
        Self { alpha: 1.0, mode: Mode::Batch, minmax: None, partner: None }
    }
}

impl MixPlan {
    /// Draws a mixup plan for `n` samples: a pure function of its arguments.
    ///
    /// ```
    /// use mixup_rs::{Key, MixPlan, Mixup};
    /// let key = Key::new(&[42, 0]);
    /// let plan = MixPlan::mixup(4, &Mixup::default(), key)?;
    /// assert_eq!(plan, MixPlan::mixup(4, &Mixup::default(), key)?);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    pub fn mixup(n: usize, how: &Mixup, key: Key) -> Result<Self> {
        Self::mixup_on(threads::requested().unwrap_or_else(threads::available), n, how, key)
    }

    /// As [`MixPlan::mixup`], on at most `limit` threads; the plan does not depend on them.
    pub fn mixup_on(limit: usize, n: usize, how: &Mixup, key: Key) -> Result<Self> {
        let (partner, order) = partners(n, how.mode, how.partner.as_ref(), key)?;
        let draws = match (&how.lam, how.mode) {
            (Some(_), _) => 0, // none, but alpha is checked all the same
            (None, Mode::Batch) => 1,
            (None, _) => n,
        };
        let mut drawn = draw_lam(key, draws, how.alpha, how.fold, limit)?;
        let lam = match (&how.lam, how.mode) {
            (Some(lam), _) => lam.clone().for_samples(n)?,
            (None, mode) => {
                share(&mut drawn, n, mode, &partner);
                drawn
            }
        };
        Ok(Self::checked(lam, partner)?.with_order(order))
    }

    /// Draws a CutMix plan (Yun et al., arXiv 1905.04899) for `n` samples of `height` × `width`: a pure function of its
    /// arguments. A box of the area 1 − λ has its centre anywhere and is clipped; λ is what is left of the sample.
    ///
    /// ```
    /// use mixup_rs::{CutMix, Key, MixPlan};
    /// let plan = MixPlan::cutmix(4, 32, 32, &CutMix::default(), Key::new(&[42]))?;
    /// let [y0, x0, y1, x1] = plan.boxes().unwrap()[0];
    /// assert_eq!(plan.lam()[0], 1.0 - ((y1 - y0) * (x1 - x0)) as f64 / 1024.0);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    pub fn cutmix(n: usize, height: usize, width: usize, how: &CutMix, key: Key) -> Result<Self> {
        let (partner, order) = partners(n, how.mode, how.partner.as_ref(), key)?;
        let draws = if how.mode == Mode::Batch { 1 } else { n };
        let kept = draw_lam(key, draws, how.alpha, false, 1)?;
        let mut drawn: Vec<Box> = match how.minmax {
            Some(minmax) => draw_sizes(key, draws, minmax, [height, width])?,
            None => draw_boxes(key, &kept, [height, width]),
        };
        share(&mut drawn, n, how.mode, &partner);
        Ok(Self::from_boxes(drawn, height, width, partner)?.with_order(order))
    }
}

/// Partners that are given or drawn, with their order where that is known.
fn partners(n: usize, mode: Mode, given: Option<&Vec<usize>>, key: Key) -> Result<(Vec<usize>, Option<Order>)> {
    memory_for(n)?;
    if given.is_none() && mode != Mode::Pair {
        let (partner, order) = draw_cycles(key, n);
        return Ok((partner, Some(order)));
    }
    let partner = match given {
        Some(partner) if partner.len() != n => {
            return Err(MixError::PartnerLength { got: partner.len(), expected: n });
        }
        Some(partner) => partner.clone(),
        None => draw_matching(key, n),
    };
    if mode == Mode::Pair {
        check_paired(&partner)?;
    }
    Ok((partner, None))
}

/// Draws, one for the batch or one per sample, to one per sample as the mode shares them.
fn share<T: Clone>(drawn: &mut Vec<T>, n: usize, mode: Mode, partner: &[usize]) {
    match mode {
        Mode::Elem => {}
        Mode::Batch => *drawn = vec![drawn[0].clone(); n],
        Mode::Pair => (0..n).for_each(|i| drawn[i] = drawn[i.min(partner[i])].clone()),
    }
}

fn check_paired(partner: &[usize]) -> Result<()> {
    for (index, &named) in partner.iter().enumerate() {
        match partner.get(named) {
            None => {
                return Err(MixError::PartnerRange { index, value: named as i128, n: partner.len() });
            }
            Some(&back) if back != index => {
                return Err(MixError::NotPaired { index, partner: named, back });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_share_lam_as_they_say() {
        let key = Key::new(&[7]);
        let draw = |mode| MixPlan::mixup(9, &Mixup { mode, ..Mixup::default() }, key).unwrap();
        let elem = draw(Mode::Elem);
        assert!((1..9).all(|i| elem.lam()[i] != elem.lam()[0]));
        let batch = draw(Mode::Batch);
        assert!(batch.lam().iter().all(|&lam| lam == batch.lam()[0]));
        let pair = draw(Mode::Pair);
        for (i, &partner) in pair.partner().iter().enumerate() {
            assert_eq!(pair.partner()[partner], i);
            assert_eq!(pair.lam()[partner], pair.lam()[i]);
        }
        let how = Mixup { mode: Mode::Pair, partner: Some(vec![1, 2, 0]), ..Mixup::default() };
        assert_eq!(MixPlan::mixup(3, &how, key), Err(MixError::NotPaired { index: 0, partner: 1, back: 2 }));
    }

    #[test]
    fn draws_do_not_depend_on_threads() {
        let draw = |limit, n| MixPlan::mixup_on(limit, n, &Mixup::default(), Key::new(&[7])).unwrap();
        let whole = draw(1, 40_000);
        assert_eq!(whole, draw(8, 40_000));
        assert_eq!(whole.lam()[..1000], draw(1, 1000).lam()[..]);
        assert_ne!(whole.lam()[..1000], whole.lam()[1024..2024]);
    }

    #[test]
    fn partners_are_any_permutation_unless_paired() {
        let named_back = |mode| {
            let (partner, _) = partners(9, mode, None, Key::new(&[7])).unwrap();
            (0..9).filter(|&i| partner[partner[i]] == i).count()
        };
        assert_eq!(named_back(Mode::Pair), 9);
        assert!(named_back(Mode::Elem) < 9 && named_back(Mode::Batch) < 9);
    }

    #[test]
    fn what_is_given_has_the_length_of_the_batch() {
        let key = Key::new(&[7]);
        let lam = Mixup { lam: Some(Lam::Each(vec![0.5; 2])), ..Mixup::default() };
        assert_eq!(MixPlan::mixup(3, &lam, key), Err(MixError::LamLength { got: 2, expected: 3 }));
        let partner = Mixup { partner: Some(vec![0; 4]), ..Mixup::default() };
        assert_eq!(MixPlan::mixup(3, &partner, key), Err(MixError::PartnerLength { got: 4, expected: 3 }));
        // Couples are complete without the third: its λ would be sought beyond them.
        let couple = Mixup { mode: Mode::Pair, partner: Some(vec![1, 0]), ..Mixup::default() };
        assert_eq!(MixPlan::mixup(3, &couple, key), Err(MixError::PartnerLength { got: 2, expected: 3 }));
        let partner = CutMix { partner: Some(vec![0; 4]), ..CutMix::default() };
        assert_eq!(MixPlan::cutmix(3, 2, 2, &partner, key), Err(MixError::PartnerLength { got: 4, expected: 3 }));
    }

    #[test]
    fn boxes_have_the_size_they_were_drawn_for() {
        for lam in [0.0, 0.19, 0.5, 0.75, 1.0] {
            let boxes = draw_boxes(Key::new(&[3]), &[lam; 200], [31, 40]);
            for &[y0, x0, y1, x1] in &boxes {
                let (height, width) = ((31.0 * (1.0 - lam).sqrt()).round(), (40.0 * (1.0 - lam).sqrt()).round());
                assert!(y0 <= y1 && y1 <= 31 && x0 <= x1 && x1 <= 40);
                // Smaller only where it was clipped.
                assert!((y1 - y0) as f64 == height || y0 == 0 || y1 == 31);
                assert!((x1 - x0) as f64 == width || x0 == 0 || x1 == 40);
                assert!((y1 - y0) as f64 <= height && (x1 - x0) as f64 <= width);
            }
            // Their centres are all over the image, so some are whole.
            let whole = |side: fn(&Box) -> usize, length: f64| boxes.iter().any(|one| side(one) as f64 == length);
            assert!(whole(|one| one[2] - one[0], (31.0 * (1.0 - lam).sqrt()).round()), "{lam}");
            assert!(whole(|one| one[3] - one[1], (40.0 * (1.0 - lam).sqrt()).round()), "{lam}");
        }
    }

    #[test]
    fn sizes_lie_between_their_bounds() {
        let boxes = draw_sizes(Key::new(&[3]), 500, (0.2, 0.8), [10, 20]).unwrap();
        let heights: Vec<usize> = boxes.iter().map(|[y0, _, y1, _]| y1 - y0).collect();
        assert_eq!((heights.iter().min(), heights.iter().max()), (Some(&2), Some(&8)));
        assert!(boxes.iter().all(|&[_, x0, _, x1]| x1 <= 20 && (4..=16).contains(&(x1 - x0))));
        let ends = (boxes.iter().map(|one| one[1]).min(), boxes.iter().map(|one| one[3]).max());
        assert_eq!(ends, (Some(0), Some(20)), "they lie anywhere");
        for bad in [(-0.1, 0.5), (0.5, 0.4), (0.5, 1.1), (f64::NAN, 0.5)] {
            assert!(draw_sizes(Key::new(&[3]), 1, bad, [10, 20]).is_err());
        }
    }

    #[test]
    fn cut_plans_share_boxes_as_their_mode_says() {
        let draw = |mode| {
            let how = CutMix { mode, ..CutMix::default() };
            MixPlan::cutmix(9, 32, 32, &how, Key::new(&[7])).unwrap()
        };
        let batch = draw(Mode::Batch);
        assert!(batch.boxes().unwrap().iter().all(|one| *one == batch.boxes().unwrap()[0]));
        let pair = draw(Mode::Pair);
        for (i, &partner) in pair.partner().iter().enumerate() {
            assert_eq!(pair.boxes().unwrap()[partner], pair.boxes().unwrap()[i]);
        }
        assert_ne!(draw(Mode::Elem).boxes().unwrap()[0], draw(Mode::Elem).boxes().unwrap()[1]);
    }
}
