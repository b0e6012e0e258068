//! Weighted means of samples.
//!
//! A mean is taken term by term, each blended with the mean of those before it by its share of their weights: by the
//! formula of two samples, whose properties it has. Terms of weight 0 are not read, equal ones stay as they are, and the
//! result is never outside of them. It is kept in a wide type until all are in, so that it is rounded once.

use crate::arithmetic::Element;
use crate::simd::vectorised::{Loop, vectorised};
use crate::simd::{Level, Recipe, converts_apart, narrow, widen};

/// The most elements to take a mean of at once.
pub(super) const BLOCK: usize = 1024;

/// How a sample is mixed in the float `W`, decided once for all its elements.
pub(super) struct Mean<W: Element> {
    /// The first sample that has a weight.
    start: usize,
    /// The others, and how each is blended with those before it.
    steps: Vec<(usize, Recipe<W::Weight>)>,
}

impl<W: Element<Wide = W>> Mean<W> {
    pub fn new(own: usize, terms: impl Iterator<Item = (usize, f64)>) -> Self {
        let (mut mean, mut sum) = (Self { start: own, steps: Vec::new() }, 0.0);
        for (index, weight) in terms.filter(|(_, weight)| *weight != 0.0) {
            let before = sum;
            sum += weight;
            match Recipe::new::<W>(before / sum) {
                Recipe::TakePartner => mean = Self { start: index, steps: Vec::new() },
                Recipe::KeepOwn => {}
                // The same bits, a NaN's as well.
                _ if mean.steps.is_empty() && index == mean.start => {}
                recipe => mean.steps.push((index, recipe)),
            }
        }
        mean
    }

    /// The sample that is taken as it is, if no other has a weight.
    pub fn only(&self) -> Option<usize> {
        self.steps.is_empty().then_some(self.start)
    }

    /// Fills `out` with the mean of the samples that `read` gives, as [`Mean::fill`] does.
    pub fn mix<'s, T: Element<Wide = W>>(
        &self,
        level: Level,
        out: &mut [T],
        scratch: &mut Scratch<T>,
        mut read: impl FnMut(usize, &mut [T]) -> Option<&'s [T]>,
    ) {
        let Scratch { wide, widened, gathered, mean } = scratch;
        if self.steps.is_empty() {
            if let Some(run) = read(self.start, out) {
                out.copy_from_slice(run);
            }
        } else if converts_apart::<T>() {
            let mean = &mut mean[..out.len()];
            self.fill(level, mean, wide, widened, |i, wide| {
                let buffer = &mut gathered[0][..wide.len()];
                widen(level, read(i, buffer).unwrap_or(buffer), wide);
                None
            });
            narrow(level, mean, out);
        } else {
            self.fill(level, out, wide, gathered, read);
        }
    }

    /// Fills `out` with the mean of the samples that `read` gives: where they are, or else in the buffer that it fills.
    /// `wide` holds what is not rounded yet. More than one sample must have a weight.
    pub fn fill<'s, A: Element<Wide = W>, O: Element<Wide = W>>(
        &self,
        level: Level,
        out: &mut [O],
        [before, now]: &mut [Vec<W>; 2],
        [first, other]: &mut [Vec<A>; 2],
        mut read: impl FnMut(usize, &mut [A]) -> Option<&'s [A]>,
    ) {
        let len = out.len();
        let (first, other) = (&mut first[..len], &mut other[..len]);
        let (&(second, recipe), steps) = self.steps.split_first().expect("called for several samples");
        let (start, next) = (read(self.start, first).unwrap_or(first), read(second, other).unwrap_or(other));
        let Some((&(last, last_recipe), steps)) = steps.split_last() else {
            return blend(level, recipe, start, next, out);
        };
        blend(level, recipe, start, next, &mut now[..len]);
        for &(next, recipe) in steps {
            std::mem::swap(before, now);
            blend(level, recipe, &before[..len], read(next, other).unwrap_or(other), &mut now[..len]);
        }
        blend(level, last_recipe, &now[..len], read(last, other).unwrap_or(other), out);
    }
}

/// What a thread needs to mix elements, at most [`BLOCK`] at a time.
pub(super) struct Scratch<T: Element> {
    /// Means so far.
    wide: [Vec<T::Wide>; 2],
    /// Elements of samples as they are computed with, and where they are not beside each other.
    widened: [Vec<T::Wide>; 2],
    gathered: [Vec<T>; 2],
    /// The mean, to be rounded.
    mean: Vec<T::Wide>,
}

impl<T: Element> Default for Scratch<T> {
    fn default() -> Self {
        let wide = || vec![T::Wide::default(); BLOCK];
        let gathered = [(); 2].map(|()| vec![T::default(); BLOCK]);
        Self { wide: [wide(), wide()], widened: [wide(), wide()], gathered, mean: wide() }
    }
}

/// out = own blended with partner, each of the narrow type or the wide one.
fn blend<W: Element, A: Element<Wide = W>, B: Element<Wide = W>, O: Element<Wide = W>>(
    level: Level,
    recipe: Recipe<W::Weight>,
    own: &[A],
    partner: &[B],
    out: &mut [O],
) {
    match recipe {
        Recipe::NearOwn(weight) => vectorised(level, Step::<_, _, _, W, true> { own, partner, out, weight }),
        Recipe::NearPartner(weight) => vectorised(level, Step::<_, _, _, W, false> { own, partner, out, weight }),
        Recipe::KeepOwn | Recipe::TakePartner => unreachable!("no step is a copy"),
    }
}

struct Step<'a, A, B, O, W: Element, const OWN_IS_NEAR: bool> {
    own: &'a [A],
    partner: &'a [B],
    out: &'a mut [O],
    weight: W::Weight,
}

impl<W, A, B, O, const OWN_IS_NEAR: bool> Loop for Step<'_, A, B, O, W, OWN_IS_NEAR>
where
    W: Element,
    A: Element<Wide = W>,
    B: Element<Wide = W>,
    O: Element<Wide = W>,
{
    #[inline(always)]
    fn run(self) {
        for ((out, own), partner) in self.out.iter_mut().zip(self.own).zip(self.partner) {
            *out = O::narrow(W::blend::<OWN_IS_NEAR>(own.widen(), partner.widen(), self.weight));
        }
    }
}
