//! What is done with each stretch of a sample that is stacked.

use super::means::Mean;
use crate::arithmetic::Element;
use crate::simd::{Ahead, Level, ShareRun};

/// Computes a stretch of a mixed sample.
pub(super) trait Finish<T>: Sync {
    type Out: Copy + Send + Sync;
    fn finish(&self, level: Level, weight: f64, out: &mut [Self::Out], stretch: StretchOf<'_, T>);
    /// The same, by the own share of each element.
    fn finish_masked(&self, level: Level, shares: ShareRun<'_>, out: &mut [Self::Out], stretch: StretchOf<'_, T>);

    /// The float that means of more than two samples are taken in, and what a thread needs for these.
    type Wide: Element<Wide = Self::Wide>;
    type Scratch: Default;
    /// Computes at most [`BLOCK`](super::means::BLOCK) elements of a mean, from element `at` on, of runs that `read` gives.
    fn finish_mean<'s>(
        &self,
        level: Level,
        mean: &Mean<Self::Wide>,
        out: &mut [Self::Out],
        at: usize,
        scratch: &mut Self::Scratch,
        read: impl Fn(usize) -> &'s [T],
    ) where
        T: 's;
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
