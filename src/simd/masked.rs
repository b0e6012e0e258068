//! One run blended with another by a share for each element.

use super::level::Level;
use super::prefetch::Ahead;
use super::run::AHEAD_BYTES;
use super::vectorised::{Loop, vectorised};
use crate::arithmetic::Element;

/// The own share of each element of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ShareRun<'a> {
    /// 255 where it stays, 0 where the partner's is taken.
    Hard(&'a [u8]),
    Single(&'a [f32]),
    Double(&'a [f64]),
}

/// A share, as a blend takes it.
pub(crate) trait Share: Copy {
    /// Whether the own value is near, and the weight of the far one, at most ½.
    fn split(self) -> (bool, f64);
}

impl Share for u8 {
    #[inline(always)]
    fn split(self) -> (bool, f64) {
        (self != 0, 0.0)
    }
}

impl Share for f32 {
    #[inline(always)]
    fn split(self) -> (bool, f64) {
        let is_own = self >= 0.5;
        // Exact: 1 − s is a float32 for s ≥ ½.
        (is_own, f64::from(if is_own { 1.0 - self } else { self }))
    }
}

impl Share for f64 {
    #[inline(always)]
    fn split(self) -> (bool, f64) {
        let is_own = self >= 0.5;
        (is_own, if is_own { 1.0 - self } else { self })
    }
}

/// A run to blend by a share for each element. With `own: None`, `out` holds the own values.
pub(crate) struct MaskedRun<'a, T> {
    pub out: &'a mut [T],
    pub own: Option<&'a [T]>,
    pub partner: &'a [T],
    pub ahead: Option<Ahead<T>>,
}

/// out = own blended with partner, by the share of each element. The slices have the same length.
pub(crate) fn blend_masked<T: Element>(level: Level, run: MaskedRun<'_, T>, shares: ShareRun<'_>) {
    match shares {
        ShareRun::Hard(shares) => match size_of::<T>() {
            1 => vectorised(level, Hard { run: run.into_bits::<u8>(), shares }),
            2 => vectorised(level, Hard { run: run.into_bits::<u16>(), shares }),
            4 => vectorised(level, Hard { run: run.into_bits::<u32>(), shares }),
            8 => vectorised(level, Hard { run: run.into_bits::<u64>(), shares }),
            _ => vectorised(level, Copied { run, shares }),
        },
        ShareRun::Single(shares) => vectorised(level, Soft { run, shares }),
        ShareRun::Double(shares) => vectorised(level, Soft { run, shares }),
    }
}

impl<'a, T: Copy> MaskedRun<'a, T> {
    /// The run as unsigned integers of the size of its elements.
    #[allow(unsafe_code)]
    fn into_bits<U>(self) -> MaskedRun<'a, U> {
        assert!(size_of::<T>() == size_of::<U>() && align_of::<T>() >= align_of::<U>());
        let len = self.out.len();
        // SAFETY: the sizes are the same, the alignment is enough, and any bits are an integer. Elements have no padding.
        unsafe {
            let bits = |slice: &'a [T]| std::slice::from_raw_parts(slice.as_ptr().cast(), slice.len());
            MaskedRun {
                out: std::slice::from_raw_parts_mut(self.out.as_mut_ptr().cast(), len),
                own: self.own.map(bits),
                partner: bits(self.partner),
                ahead: self.ahead.map(Ahead::cast),
            }
        }
    }

    /// Calls `blend` with each element, its own value and its partner's, and with its share.
    #[inline(always)]
    fn for_each<S: Copy>(self, shares: &[S], blend: impl Fn(T, T, S) -> T) {
        let Self { out, own, partner, mut ahead } = self;
        assert!(
            out.len() == partner.len() && out.len() == shares.len() && own.is_none_or(|own| own.len() == out.len())
        );
        let chunk = if ahead.is_some() { AHEAD_BYTES / size_of::<T>() } else { usize::MAX };
        let mut at = 0;
        while at < out.len() {
            let part = at..(out.len() - at).min(chunk) + at;
            if let Some(next) = ahead {
                next.fetch(part.len());
                ahead = Some(next.skip(part.len()));
            }
            let (out, rest) = (&mut out[part.clone()], partner[part.clone()].iter().zip(&shares[part.clone()]));
            match own {
                Some(own) => {
                    for ((out, &own), (&partner, &share)) in out.iter_mut().zip(&own[part.clone()]).zip(rest) {
                        *out = blend(own, partner, share);
                    }
                }
                None => {
                    for (out, (&partner, &share)) in out.iter_mut().zip(rest) {
                        *out = blend(*out, partner, share);
                    }
                }
            }
            at = part.end;
        }
    }
}

/// Copies integers. As a blend of bits it is vectorised, which a selection by bytes is not.
struct Hard<'a, U> {
    run: MaskedRun<'a, U>,
    shares: &'a [u8],
}

macro_rules! hard {
    ($($bits:ident as $signed:ident),*) => {$(
        impl Loop for Hard<'_, $bits> {
            #[inline(always)]
            fn run(self) {
                self.run.for_each(self.shares, |own, partner, stays| {
                    let stays = $signed::from(stays as i8) as $bits;
                    own & stays | partner & !stays
                });
            }
        }
    )*};
}
hard!(u8 as i8, u16 as i16, u32 as i32, u64 as i64);

/// Copies elements that are longer than an integer.
struct Copied<'a, T> {
    run: MaskedRun<'a, T>,
    shares: &'a [u8],
}

impl<T: Element> Loop for Copied<'_, T> {
    #[inline(always)]
    fn run(self) {
        self.run.for_each(self.shares, |own, partner, stays| if stays != 0 { own } else { partner });
    }
}

/// Blends.
struct Soft<'a, T, S> {
    run: MaskedRun<'a, T>,
    shares: &'a [S],
}

impl<T: Element, S: Share> Loop for Soft<'_, T, S> {
    #[inline(always)]
    fn run(self) {
        self.run.for_each(self.shares, |own, partner, share| {
            let (is_own, weight) = share.split();
            let (near, far) = if is_own { (own, partner) } else { (partner, own) };
            let mixed = T::blend::<true>(near, far, T::weight(weight));
            if weight == 0.0 { near } else { mixed }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arithmetic::Opaque;
    use crate::simd::blend::{Recipe, blend_into};
    use half::{bf16, f16};

    /// Every level, in place and not, against a blend of each element alone.
    fn check<T: Element + PartialEq + std::fmt::Debug>(element: impl Fn(usize) -> T, shares: ShareRun<'_>, len: usize) {
        let [own, partner] = [0, 1].map(|seed| (0..len).map(|i| element(i * 13 + seed * 7919)).collect::<Vec<T>>());
        let share = |i: usize| match shares {
            ShareRun::Hard(bytes) => f64::from(bytes[i] / 255),
            ShareRun::Single(floats) => floats[i].into(),
            ShareRun::Double(floats) => floats[i],
        };
        let mut expected = own.clone();
        for i in 0..len {
            let (recipe, at) = (Recipe::new::<T>(share(i)), i..i + 1);
            let (own, partner) = (&own[at.clone()], &partner[at.clone()]);
            blend_into(Level::available()[0], recipe, &mut expected[at], own, partner, None);
        }
        for level in Level::available() {
            for ahead in [None, Some(Ahead::new(partner.as_ptr(), crate::simd::Cache::First))] {
                let (mut out, mut in_place) = (vec![T::default(); len], own.clone());
                let run = MaskedRun { out: &mut out, own: Some(&own), partner: &partner, ahead };
                blend_masked(level, run, shares);
                let run = MaskedRun { out: &mut in_place, own: None, partner: &partner, ahead };
                blend_masked(level, run, shares);
                assert_eq!(out, expected, "{level:?}");
                assert_eq!(in_place, expected, "{level:?}");
            }
        }
    }

    #[test]
    fn every_level_blends_each_element_by_its_share() {
        let len = 1000;
        let pick = |i: usize| [0.0, 1.0, 0.5, 0.25, 0.75, 1e-9, 0.999_999, 0.3][i * 7 % 8];
        let hard: Vec<u8> = (0..len).map(|i| if i * i % 7 < 3 { 255 } else { 0 }).collect();
        let double: Vec<f64> = (0..len).map(pick).collect();
        let single: Vec<f32> = double.iter().map(|&share| share as f32).collect();
        let value = |i: usize| (i * 7919 % 1009) as f32 / 8.0;
        for shares in [ShareRun::Hard(&hard), ShareRun::Single(&single), ShareRun::Double(&double)] {
            check(|i| f64::from(value(i)), shares, len);
            check(value, shares, len);
            check(|i| f16::from_f32(value(i)), shares, len);
            check(|i| bf16::from_f32(value(i)), shares, len);
            check(|i| value(i) as u8, shares, len);
            check(|i| (value(i) - 64.0) as i8, shares, len);
            check(|i| (value(i) * 500.0) as u16, shares, len);
            check(|i| (value(i) * 500.0 - 30000.0) as i16, shares, len);
        }
        check(|i| Opaque(i as u8), ShareRun::Hard(&hard), len);
        check(|i| Opaque([i as u64; 2]), ShareRun::Hard(&hard), len);
    }
}
