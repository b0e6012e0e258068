//! Turns class indices into mixed soft targets.

use crate::error::{MixError, Result};

/// The number of classes and the label smoothing of soft targets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftTargets {
    /// C, the number of classes.
    pub num_classes: usize,
    /// s in [0, 1]: the class gets 1 − s + s/C, every other s/C (Szegedy et al., arXiv 1512.00567).
    pub label_smoothing: f64,
}

impl SoftTargets {
    /// Takes the number of classes and a smoothing in [0, 1].
    ///
    /// # Errors
    /// [`MixError::LabelSmoothing`] if the smoothing is outside [0, 1].
    pub fn new(num_classes: usize, label_smoothing: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&label_smoothing) {
            return Err(MixError::LabelSmoothing(label_smoothing));
        }
        Ok(Self { num_classes, label_smoothing })
    }

    /// Checks class indices.
    ///
    /// # Errors
    /// [`MixError::ClassIndex`] if one is outside [0, `num_classes`).
    pub fn check<C: Copy + Into<i128>>(&self, classes: &[C]) -> Result<()> {
        let outside = |&class: &C| {
            let class: i128 = class.into();
            usize::try_from(class).map_or(true, |class| class >= self.num_classes)
        };
        match classes.iter().position(outside) {
            None => Ok(()),
            Some(index) => {
                Err(MixError::ClassIndex { index, value: classes[index].into(), num_classes: self.num_classes })
            }
        }
    }

    /// Fills `targets`, one row of `num_classes` per sample: λ for the sample's class and 1 − λ for its partner's,
    /// smoothed, computed in float64 and rounded once. `classes` and `partner` have one entry per sample; partners are
    /// indices into `others`, which may be `classes`.
    ///
    /// ```
    /// use mixup_rs::SoftTargets;
    /// let mut targets = [0.0; 6];
    /// SoftTargets::new(3, 0.0)?.fill(&[0_i64, 2], &[0, 2], &[0.75, 1.0], &[1, 0], &mut targets)?;
    /// assert_eq!(targets, [0.75, 0.0, 0.25, 0.0, 0.0, 1.0]);
    /// # Ok::<(), mixup_rs::MixError>(())
    /// ```
    ///
    /// # Errors
    /// [`MixError::ClassIndex`] if a class is outside [0, `num_classes`). Nothing is written then.
    ///
    /// # Panics
    /// If a partner is not the index of a class.
    pub fn fill<C: Copy + Into<i128>>(
        &self,
        classes: &[C],
        others: &[C],
        lam: &[f64],
        partner: &[usize],
        targets: &mut [f32],
    ) -> Result<()> {
        self.check(classes)?;
        self.check(others)?;
        let off = self.label_smoothing / self.num_classes as f64;
        let on = 1.0 - self.label_smoothing;
        targets.fill(off as f32);
        let rows = targets.chunks_exact_mut(self.num_classes.max(1));
        for ((row, i), &lam) in rows.zip(0..).zip(lam) {
            let (own, other) = (class(classes[i]), class(others[partner[i]]));
            if own == other {
                row[own] = (on + off) as f32;
            } else {
                row[own] = (on * lam + off) as f32;
                row[other] = (on * (1.0 - lam) + off) as f32;
            }
        }
        Ok(())
    }

    /// As [`SoftTargets::fill`], for samples of the classes and weights that `terms` gives for each: indices into `classes`.
    pub(super) fn fill_several<C: Copy + Into<i128>, I: Iterator<Item = (usize, f64)>>(
        &self,
        classes: &[C],
        terms: impl Fn(usize) -> I,
        targets: &mut [f32],
    ) -> Result<()> {
        self.check(classes)?;
        let off = self.label_smoothing / self.num_classes as f64;
        let on = 1.0 - self.label_smoothing;
        targets.fill(off as f32);
        for (i, row) in targets.chunks_exact_mut(self.num_classes.max(1)).enumerate() {
            for (index, _) in terms(i) {
                let class = class(classes[index]);
                let same = terms(i).filter(|&(other, _)| self::class(classes[other]) == class);
                row[class] = (on * same.map(|(_, weight)| weight).sum::<f64>() + off) as f32;
            }
        }
        Ok(())
    }
}

/// A class index that has been checked.
fn class<C: Into<i128>>(index: C) -> usize {
    index.into() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_spreads_over_all_classes() {
        let mut targets = [0.0; 8];
        let soft = SoftTargets::new(4, 0.2).unwrap();
        soft.fill(&[1_u8, 3], &[1, 3], &[0.75, 0.5], &[1, 1], &mut targets).unwrap();
        let expected = [0.05, 0.65, 0.05, 0.25, 0.05, 0.05, 0.05, 0.85_f32];
        for (got, expected) in targets.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-7, "{targets:?}");
        }
    }

    #[test]
    fn errors_name_the_invalid_class() {
        let soft = SoftTargets::new(3, 0.0).unwrap();
        for (classes, index, value) in [([0_i64, 3], 1, 3), ([-1, 0], 0, -1)] {
            let error = soft.fill(&classes, &[0; 2], &[1.0; 2], &[0, 1], &mut [0.0; 6]).unwrap_err();
            assert_eq!(error, MixError::ClassIndex { index, value, num_classes: 3 });
        }
        assert_eq!(SoftTargets::new(3, 1.5), Err(MixError::LabelSmoothing(1.5)));
        assert!(SoftTargets::new(3, f64::NAN).is_err());
    }
}
