//! FMix (Harris et al., arXiv 2002.12047): each sample keeps what is brightest in an image of smooth noise.

use std::sync::Arc;

use super::masks::Masks;
use super::{Rule, Slot, check_alpha, check_prob, wrong};
use crate::error::Result;
use crate::plan::{Mask, MixPlan, Mode, Shares};
use crate::random::{Key, draw_field};

/// The FMix rule. The mask is a threshold of a random field whose waves have an amplitude of their frequency to the power
/// −`decay`: smooth shapes with rough edges. It keeps a share λ ~ Beta(α, α) of the pixels, rounded to whole ones.
///
/// ```
/// use mixup_rs::{FMix, Key, Rule};
/// let plan = FMix::default().plan(4, &[32, 32], Key::new(&[42]))?;
/// let mask = &plan.masks().unwrap()[0];
/// assert_eq!(plan.lam()[0], mask.iter().sum::<f64>() / 1024.0);
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FMix {
    /// The share that is kept ~ Beta(alpha, alpha). Finite and >= 0; 0 mixes nothing.
    pub alpha: f64,
    /// How fast waves lose amplitude with their frequency: finite and >= 0; 0 is white noise.
    pub decay: f64,
    /// In [0, ½]: on either side of the threshold so large a share of the pixels is blended, by a weight that falls from
    /// 1 to 0 along their brightness; less where fewer remain. 0 is a hard threshold.
    pub soft: f64,
    /// Which samples share a mask.
    pub mode: Mode,
    /// The probability in [0, 1] that a drawn mask is used.
    pub prob: f64,
}

impl FMix {
    /// The default α, that of the paper.
    pub const ALPHA: f64 = 1.0;
    /// The default decay, that of the paper.
    pub const DECAY: f64 = 3.0;
}

impl Default for FMix {
    fn default() -> Self {
        Self { alpha: Self::ALPHA, decay: Self::DECAY, soft: 0.0, mode: Mode::Batch, prob: 1.0 }
    }
}

impl Rule for FMix {
    fn check(&self) -> Result<()> {
        check_alpha(self.alpha)?;
        check_prob(self.prob)?;
        if !(self.decay.is_finite() && self.decay >= 0.0) {
            return Err(wrong("decay", "be a finite number >= 0", self.decay));
        }
        if !(0.0..=0.5).contains(&self.soft) {
            return Err(wrong("soft", "lie in [0, 0.5]", self.soft));
        }
        Ok(())
    }

    fn options(&mut self) -> Vec<(&'static str, Slot<'_>)> {
        vec![
            ("alpha", Slot::Real(&mut self.alpha)),
            ("decay", Slot::Real(&mut self.decay)),
            ("soft", Slot::Real(&mut self.soft)),
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
            let field = draw_field(key, index, shape, self.decay);
            brightest(&field, lam, self.soft)
        })
    }
}

/// The mask that keeps a share of the pixels, the brightest of a field; of pixels as bright, the first.
fn brightest(field: &[f32], share: f64, soft: f64) -> Arc<Mask> {
    let size = field.len();
    let kept = (share * size as f64).round() as usize;
    let band = ((soft * size as f64) as usize).min(kept).min(size - kept);
    // The brightest first, as whole numbers in one order: the brightness, then the place.
    let mut ranks: Vec<u64> = field.iter().zip(0..).map(|(&value, at)| rank(value) << 32 | at).collect();
    let place = |rank: u64| (rank & u64::from(u32::MAX)) as usize;
    let (first, last) = (kept - band, kept + band);
    if 0 < first && first < size {
        ranks.select_nth_unstable(first);
    }
    if band == 0 {
        let mut stays = vec![0; size];
        ranks[..kept].iter().for_each(|&rank| stays[place(rank)] = 255);
        return Arc::new(Mask::new(Shares::Bytes(stays)).expect("bytes are shares"));
    }
    if last < size {
        ranks[first..].select_nth_unstable(last - first);
    }
    ranks[first..last].sort_unstable();
    let mut shares = vec![0.0_f32; size];
    ranks[..first].iter().for_each(|&rank| shares[place(rank)] = 1.0);
    for (at, &rank) in ranks[first..last].iter().enumerate() {
        // Symmetric about ½, so that the band has the mean of a hard threshold.
        shares[place(rank)] = 1.0 - at as f32 / (2 * band - 1) as f32;
    }
    Arc::new(Mask::new(Shares::Single(shares)).expect("fractions are shares"))
}

/// Falls as the value rises.
fn rank(value: f32) -> u64 {
    let bits = value.to_bits();
    let rising = if value.is_sign_negative() { !bits } else { bits | 1 << 31 };
    u64::from(!rising)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(mask: &Mask) -> Vec<f64> {
        mask.to_f64()
    }

    #[test]
    fn the_brightest_pixels_stay() {
        let field = [0.5, -1.0, 2.0, 0.0, -0.0, 2.0, -3.0, 1.0];
        let kept = |share: f64, soft: f64| shares(&brightest(&field, share, soft));
        assert_eq!(kept(0.5, 0.0), [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(kept(0.125, 0.0), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(kept(0.7, 0.0), [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0]);
        assert_eq!((kept(0.0, 0.0), kept(1.0, 0.5)), (vec![0.0; 8], vec![1.0; 8]));
        // Half of the pixels in the band: the third to the sixth.
        let third = f64::from(1.0 - 1.0_f32 / 3.0);
        assert_eq!(kept(0.5, 0.25), [third, 0.0, 1.0, f64::from(1.0 - 2.0_f32 / 3.0), 0.0, 1.0, 0.0, 1.0]);
        // No wider than what stays, or what is taken.
        assert_eq!(kept(0.125, 0.5), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn options_are_checked() {
        for rule in [
            FMix { decay: -1.0, ..FMix::default() },
            FMix { decay: f64::NAN, ..FMix::default() },
            FMix { soft: 0.6, ..FMix::default() },
            FMix { soft: f64::NAN, ..FMix::default() },
            FMix { alpha: -1.0, ..FMix::default() },
            FMix { prob: 1.5, ..FMix::default() },
        ] {
            assert!(rule.check().is_err(), "{rule:?}");
        }
    }
}
