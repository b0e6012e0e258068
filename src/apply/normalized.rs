//! Normalises samples while stacking them.

use std::marker::PhantomData;

use super::finish::{Finish, StretchOf};
use crate::arithmetic::normalize::{Table, blend_normalized, normalized};
use crate::arithmetic::{NormalizedOutput, Pixel};
use crate::simd::vectorised::Loop;
use crate::simd::{Level, vectorised};

/// Blends and normalises.
pub(super) struct Normalized<O> {
    table: Table,
    out: PhantomData<fn() -> O>,
}

impl<O> Normalized<O> {
    pub fn new(table: Table) -> Self {
        Self { table, out: PhantomData }
    }
}

impl<T: Pixel, O: NormalizedOutput> Finish<T> for Normalized<O> {
    type Out = O;
    fn finish(&self, level: Level, weight: f64, out: &mut [O], stretch: StretchOf<'_, T>) {
        let StretchOf { own, partner, at, ahead } = stretch;
        let mut done = 0;
        while done < out.len() {
            let (factors, summands) = self.table.terms(at + done, out.len() - done);
            let len = factors.len();
            let part = done..done + len;
            if let Some(ahead) = ahead {
                ahead.skip(done).fetch(len);
            }
            let (out, own, partner) = (&mut out[part.clone()], &own[part.clone()], &partner[part]);
            vectorised(level, Run { out, own, partner, weight, factors, summands });
            done += len;
        }
    }
}

/// A stretch to blend and normalise in float64, rounded once.
struct Run<'a, T, O> {
    out: &'a mut [O],
    own: &'a [T],
    partner: &'a [T],
    weight: f64,
    factors: &'a [f64],
    summands: &'a [f64],
}

impl<T: Pixel, O: NormalizedOutput> Loop for Run<'_, T, O> {
    #[inline(always)]
    fn run(self) {
        let Run { out, own, partner, weight, factors, summands } = self;
        let terms = factors.iter().zip(summands);
        if weight == 1.0 || weight == 0.0 {
            let from = if weight == 1.0 { own } else { partner };
            for ((out, pixel), (factor, summand)) in out.iter_mut().zip(from).zip(terms) {
                *out = normalized(*pixel, *factor, *summand);
            }
            return;
        }
        let (near, far) = if weight >= 0.5 { (own, partner) } else { (partner, own) };
        let weight = weight.min(1.0 - weight);
        for (((out, near), far), (factor, summand)) in out.iter_mut().zip(near).zip(far).zip(terms) {
            *out = blend_normalized(*near, *far, weight, *factor, *summand);
        }
    }
}
