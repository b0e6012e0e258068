//! Weights, and which samples share them.

use crate::error::{MixError, Result, memory_for};

/// Which samples share a drawn λ or box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// None: one is drawn per sample.
    #[default]
    Elem,
    /// The two samples of a pair. A sample is the partner of its partner.
    Pair,
    /// All samples of the batch.
    Batch,
}

/// Weights in [0, 1].
#[derive(Debug, Clone, PartialEq)]
pub enum Lam {
    /// One weight for all samples.
    Shared(f64),
    /// One weight per sample.
    Each(Vec<f64>),
}

impl Lam {
    /// Checks the weights, called `name` in messages, and returns one per sample.
    pub(crate) fn for_samples(self, n: usize, name: &'static str) -> Result<Vec<f64>> {
        let lam = match self {
            Self::Shared(lam) => memory_for(n).map(|()| vec![lam; n])?,
            Self::Each(lam) if lam.len() != n => {
                return Err(MixError::WeightLength { name, got: lam.len(), expected: n });
            }
            Self::Each(lam) => lam,
        };
        match lam.iter().position(|lam| !(0.0..=1.0).contains(lam)) {
            Some(index) => Err(MixError::WeightRange { name, index, value: lam[index] }),
            None => Ok(lam),
        }
    }
}
