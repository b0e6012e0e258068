//! What is done with each stretch of a sample that is stacked.

use crate::simd::{Ahead, Level, ShareRun};

/// Computes a stretch of a mixed sample.
pub(super) trait Finish<T>: Sync {
    type Out: Copy + Send + Sync;
    fn finish(&self, level: Level, weight: f64, out: &mut [Self::Out], stretch: StretchOf<'_, T>);
    /// The same, by the own share of each element.
    fn finish_masked(&self, level: Level, shares: ShareRun<'_>, out: &mut [Self::Out], stretch: StretchOf<'_, T>);
}

/// A stretch of a sample and of its partner.
pub(super) struct StretchOf<'a, T> {
    pub own: &'a [T],
    pub partner: &'a [T],
    /// The index of its first element in the sample.
    pub at: usize,
    /// The run to prefetch.
    pub ahead: Option<Ahead<T>>,
}
