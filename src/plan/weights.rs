//! The weights of samples that have several partners.

use crate::error::{MixError, Result, memory_for};

/// The largest number of samples that are mixed at a time.
const MOST: usize = 16;

/// The farthest that given weights of a sample may be from a sum of 1.
const TOLERANCE: f64 = 1e-6;

/// The weights of each sample itself and of its partners, which sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Weights {
    /// The number of samples that are mixed at a time.
    pub k: usize,
    /// k of each sample, its own first.
    pub rows: Vec<f64>,
}

impl Weights {
    /// Checks weights, and divides those of a sample by their sum if that is not 1.
    pub fn new(k: usize, mut rows: Vec<f64>) -> Result<Self> {
        check_k(k)?;
        if !rows.len().is_multiple_of(k) {
            return Err(MixError::SeveralLengths { k, weights: rows.len(), partners: rows.len() / k * (k - 1) });
        }
        memory_for(rows.len())?;
        if let Some(index) = rows.iter().position(|weight| !(0.0..=1.0).contains(weight)) {
            return Err(MixError::WeightRange { name: "weights", index: index / k, value: rows[index] });
        }
        for (index, row) in rows.chunks_exact_mut(k).enumerate() {
            normalize(row).map_err(|value| MixError::WeightSum { index, value })?;
        }
        Ok(Self { k, rows })
    }

    /// Those for masks of classes: what is blended stays as it is.
    pub fn unblended(&self) -> Self {
        let mut rows = self.rows.clone();
        for row in rows.chunks_exact_mut(self.k).filter(|row| !row.contains(&1.0)) {
            row.fill(0.0);
            row[0] = 1.0;
        }
        Self { k: self.k, rows }
    }
}

/// Checks the number of samples that are mixed at a time.
pub(crate) fn check_k(k: usize) -> Result<()> {
    if (2..=MOST).contains(&k) { Ok(()) } else { Err(MixError::K { got: k, most: MOST }) }
}

/// Divides weights by their sum if that is not 1 but for rounding, so that those of a plan stay as they are. Returns a sum
/// that is too far from 1 as an error.
fn normalize(row: &mut [f64]) -> std::result::Result<(), f64> {
    const ROUNDING: f64 = MOST as f64 * f64::EPSILON;
    let sum: f64 = row.iter().sum();
    match (sum - 1.0).abs() {
        off if off <= ROUNDING => Ok(()),
        off if off <= TOLERANCE => {
            row.iter_mut().for_each(|weight| *weight /= sum);
            Ok(())
        }
        _ => Err(sum),
    }
}
