//! Blending of interleaved samples: neighbours in memory belong to different samples, so each has its own weight.
//!
//! The near and the far values are gathered first. The blend is then a plain loop over three runs, which the compiler
//! vectorises. Selecting near and far inside that loop was ten times as slow for bytes and halves.

use super::blend::Recipe;
use super::level::Level;
use super::vectorised::{Loop, vectorised};
use crate::arithmetic::Element;

/// The [`Recipe`]s of all lanes, as arrays.
pub(crate) struct Lanes<T: Element> {
    /// The lane that holds the near value of each lane. `None` if that is always the lane itself.
    near: Option<Vec<usize>>,
    /// The lane that holds the far value of each lane.
    far: Vec<usize>,
    weights: Vec<T::Weight>,
    /// The lanes that copy the near value bit for bit.
    copies: Vec<usize>,
}

impl<T: Element> Lanes<T> {
    /// Takes the partner and the recipe of each lane.
    pub fn new(samples: impl Iterator<Item = (usize, Recipe<T::Weight>)>) -> Self {
        let (mut near, mut far, mut weights, mut copies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (i, (partner, recipe)) in samples.enumerate() {
            let (is_near, is_far, weight) = match recipe {
                Recipe::KeepOwn => (i, i, None),
                Recipe::TakePartner => (partner, partner, None),
                Recipe::NearOwn(weight) => (i, partner, Some(weight)),
                Recipe::NearPartner(weight) => (partner, i, Some(weight)),
            };
            near.push(is_near);
            far.push(is_far);
            weights.push(weight.unwrap_or(T::weight(0.0)));
            if weight.is_none() {
                copies.push(i);
            }
        }
        let is_own = near.iter().enumerate().all(|(i, &near)| i == near);
        Self { near: (!is_own).then_some(near), far, weights, copies }
    }

    /// Scratch memory for [`Lanes::gather`] and [`Lanes::blend`].
    pub fn scratch(&self) -> [Vec<T>; 2] {
        [0; 2].map(|_| vec![T::default(); self.far.len()])
    }

    /// Gathers near and far values of the first `own.len()` lanes.
    ///
    /// # Safety
    /// The partners of these lanes must be among them.
    #[allow(unsafe_code)]
    pub unsafe fn gather(&self, own: &[T], [near, far]: &mut [Vec<T>; 2]) {
        let pick = |from: &[usize], to: &mut [T]| {
            for (to, &i) in to[..own.len()].iter_mut().zip(from) {
                // SAFETY: as required above.
                *to = unsafe { *own.get_unchecked(i) };
            }
        };
        match &self.near {
            Some(indices) => pick(indices, near),
            None => near[..own.len()].copy_from_slice(own),
        }
        pick(&self.far, far);
    }

    /// Blends the gathered values of the first `out.len()` lanes.
    pub fn blend(&self, level: Level, out: &mut [T], [near, far]: &[Vec<T>; 2]) {
        vectorised(level, Lane { out: &mut *out, near, far, weights: &self.weights });
        let len = out.len();
        for &i in self.copies.iter().take_while(|&&i| i < len) {
            out[i] = near[i];
        }
    }
}

/// out = near blended with far, each by its own weight.
struct Lane<'a, T: Element> {
    out: &'a mut [T],
    near: &'a [T],
    far: &'a [T],
    weights: &'a [T::Weight],
}

impl<T: Element> Loop for Lane<'_, T> {
    #[inline(always)]
    fn run(self) {
        for (((out, &near), &far), &weight) in self.out.iter_mut().zip(self.near).zip(self.far).zip(self.weights) {
            *out = T::blend::<true>(near, far, weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_blends_each_lane_by_its_recipe() {
        let mut own: Vec<f32> = (0..150).map(|i| (i * 37 % 101) as f32).collect();
        // A NaN with a payload, which a blend would not preserve.
        own[5] = f32::from_bits(0x7F80_0001);
        let lam = |i: usize| [1.0, 0.75, 0.0, 0.5, 0.25][i % 5];
        let partner = |i: usize| (i / 10 * 10) + (i * 7 + 3) % 10;
        let recipe = |i: usize| Recipe::new::<f32>(lam(i));
        let lanes = Lanes::<f32>::new((0..own.len()).map(|i| (partner(i), recipe(i))));
        for level in Level::available() {
            let mut scratch = lanes.scratch();
            // All lanes or fewer, as at the end of a column.
            for len in [150, 140, 20, 10] {
                let mut out = vec![0.0; len];
                // SAFETY: partners lie in the same block of ten lanes, and `len` is a multiple of ten.
                #[allow(unsafe_code)]
                unsafe {
                    lanes.gather(&own[..len], &mut scratch);
                }
                lanes.blend(level, &mut out, &scratch);
                for (i, &out) in out.iter().enumerate() {
                    let (own, partner) = (own[i], own[partner(i)]);
                    let expected = match lam(i) {
                        1.0 => own,
                        0.0 => partner,
                        _ if own.is_nan() || partner.is_nan() => f32::NAN,
                        lam => (lam * f64::from(own) + (1.0 - lam) * f64::from(partner)) as f32,
                    };
                    assert_eq!(out.to_bits(), expected.to_bits(), "{level:?} {len} {i}");
                }
            }
        }
    }
}
