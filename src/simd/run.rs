//! A run of elements, and the loops over it, to be compiled once per instruction set.

use super::prefetch::Ahead;
use crate::arithmetic::Element;

/// Bytes fetched at a time. 4096 are more lines than can be in flight, and save nothing; a new result of which half is
/// copied takes 1.3 times as long with 2048, and 1.8 with 8192 (Zen 5).
pub(super) const AHEAD_BYTES: usize = 512;

/// A run to blend. With `own: None`, `out` holds the own values.
pub(super) struct Run<'a, T: Element, const OWN_IS_NEAR: bool> {
    pub out: &'a mut [T],
    pub own: Option<&'a [T]>,
    pub partner: &'a [T],
    pub weight: T::Weight,
    pub ahead: Option<Ahead<T>>,
}

impl<'a, T: Element, const OWN_IS_NEAR: bool> Run<'a, T, OWN_IS_NEAR> {
    #[inline(always)]
    pub fn split_at(self, at: usize) -> (Self, Self) {
        let Self { weight, ahead, .. } = self;
        let (out, out_rest) = self.out.split_at_mut(at);
        let (partner, partner_rest) = self.partner.split_at(at);
        let (own, own_rest) = self.own.map(|own| own.split_at(at)).unzip();
        let ahead_rest = ahead.map(|ahead| ahead.skip(at));
        let rest = Self { out: out_rest, own: own_rest, partner: partner_rest, weight, ahead: ahead_rest };
        (Self { out, own, partner, weight, ahead }, rest)
    }
}

/// The loops, inlined into one function per instruction set.
#[inline(always)]
pub(super) fn blend<T: Element, const OWN_IS_NEAR: bool>(run: Run<'_, T, OWN_IS_NEAR>) {
    let mut rest = run;
    while let Some(ahead) = rest.ahead {
        let chunk = (AHEAD_BYTES / size_of::<T>()).min(rest.out.len());
        let (run, next) = rest.split_at(chunk);
        ahead.fetch(chunk);
        blend_chunk(run);
        if next.out.is_empty() {
            return;
        }
        rest = next;
    }
    blend_chunk(rest);
}

#[inline(always)]
pub(super) fn blend_chunk<T: Element, const OWN_IS_NEAR: bool>(run: Run<'_, T, OWN_IS_NEAR>) {
    let Run { out, own, partner, weight, .. } = run;
    match own {
        Some(own) => {
            for ((out, &own), &partner) in out.iter_mut().zip(own).zip(partner) {
                *out = T::blend::<OWN_IS_NEAR>(own, partner, weight);
            }
        }
        None => {
            for (out, &partner) in out.iter_mut().zip(partner) {
                *out = T::blend::<OWN_IS_NEAR>(*out, partner, weight);
            }
        }
    }
}
