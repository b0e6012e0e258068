//! Who the samples of a batch are mixed with.

use crate::error::{MixError, Result};

/// The partner of each sample: a sample of the batch itself, or of another batch, which may have more samples or fewer.
///
/// ```
/// use mixup_rs::{Lam, MixPlan, Partners};
/// use ndarray::array;
///
/// let plan = MixPlan::new(Lam::Shared(0.75), Partners::of_other(vec![2, 0], 3))?;
/// let (x, other) = (array![[8.0], [4.0]], array![[0.0], [1.0], [4.0]]);
/// assert_eq!(plan.apply_with(x.view(), other.view())?, array![[7.0], [3.0]].into_dyn());
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partners {
    /// The index of the partner of each sample.
    pub(super) index: Vec<usize>,
    /// The number of samples of the other batch; `None` if partners are samples of the batch itself.
    pub(super) other: Option<usize>,
}

impl Partners {
    /// Partners among the `other` samples of another batch, one index for each sample. They may repeat.
    pub fn of_other(index: Vec<usize>, other: usize) -> Self {
        Self { index, other: Some(other) }
    }

    /// The number of samples that have a partner.
    #[cfg(feature = "python")]
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Checks the partners of `n` samples.
    pub(super) fn check(&self, n: usize) -> Result<()> {
        let Self { index: partner, other } = self;
        if partner.len() != n {
            return Err(MixError::PartnerLength { got: partner.len(), expected: n });
        }
        let n = other.unwrap_or(n);
        match partner.iter().position(|&partner| partner >= n) {
            Some(index) => Err(MixError::PartnerRange { index, value: partner[index] as i128, n }),
            None => Ok(()),
        }
    }
}

impl From<Vec<usize>> for Partners {
    fn from(index: Vec<usize>) -> Self {
        Self { index, other: None }
    }
}
