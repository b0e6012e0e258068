//! Normalises samples while stacking them.

use std::marker::PhantomData;

use super::finish::{Finish, StretchOf};
use super::means::{BLOCK, Mean};
use crate::arithmetic::normalize::{Table, blend_normalized, normalized};
use crate::arithmetic::{NormalizedOutput, Pixel};
use crate::simd::vectorised::Loop;
use crate::simd::{Level, Share, ShareRun, vectorised};

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

impl<O: NormalizedOutput> Normalized<O> {
    /// Calls `each` with parts of a stretch whose terms are side by side, and where they are in it.
    fn by_parts<T>(
        &self,
        out: &mut [O],
        stretch: StretchOf<'_, T>,
        mut each: impl FnMut(std::ops::Range<usize>, Part<'_, T, O>),
    ) {
        let StretchOf { own, partner, at, ahead } = stretch;
        let mut done = 0;
        while done < out.len() {
            let (factors, summands) = self.table.terms(at + done, out.len() - done);
            let len = factors.len();
            let part = done..done + len;
            if let Some(ahead) = ahead {
                ahead.skip(done).fetch(len);
            }
            let (out, own, partner) = (&mut out[part.clone()], &own[part.clone()], &partner[part.clone()]);
            each(part, Part { out, own, partner, factors, summands });
            done += len;
        }
    }
}

impl<T: Pixel, O: NormalizedOutput> Finish<T> for Normalized<O> {
    type Out = O;
    fn finish(&self, level: Level, weight: f64, out: &mut [O], stretch: StretchOf<'_, T>) {
        self.by_parts(out, stretch, |_, part| vectorised(level, Run { part, weight }));
    }

    fn finish_masked(&self, level: Level, shares: ShareRun<'_>, out: &mut [O], stretch: StretchOf<'_, T>) {
        self.by_parts(out, stretch, |at, part| match shares {
            ShareRun::Hard(shares) => vectorised(level, Masked { part, shares: &shares[at] }),
            ShareRun::Single(shares) => vectorised(level, Masked { part, shares: &shares[at] }),
            ShareRun::Double(shares) => vectorised(level, Masked { part, shares: &shares[at] }),
        });
    }

    type Wide = f64;
    type Scratch = Means;

    fn finish_mean<'s>(
        &self,
        level: Level,
        mean: &Mean<f64>,
        out: &mut [O],
        at: usize,
        scratch: &mut Means,
        read: impl Fn(usize) -> &'s [T],
    ) {
        if let Some(only) = mean.only() {
            let (own, partner) = (read(only), read(only));
            return self.finish(level, 1.0, out, StretchOf { own, partner, at, ahead: None });
        }
        let Means { wide, widened, mean: of } = scratch;
        let of = &mut of[..out.len()];
        mean.fill(level, of, wide, widened, |i, to: &mut [f64]| {
            vectorised(level, Widen { from: read(i), to });
            None
        });
        let stretch = StretchOf { own: of, partner: of, at, ahead: None };
        self.by_parts(out, stretch, |_, part| vectorised(level, Run { part, weight: 1.0 }));
    }
}

/// What a thread needs to take means.
pub(super) struct Means {
    wide: [Vec<f64>; 2],
    widened: [Vec<f64>; 2],
    mean: Vec<f64>,
}

impl Default for Means {
    fn default() -> Self {
        let block = || vec![0.0; BLOCK];
        Self { wide: [block(), block()], widened: [block(), block()], mean: block() }
    }
}

struct Widen<'a, T> {
    from: &'a [T],
    to: &'a mut [f64],
}

impl<T: Pixel> Loop for Widen<'_, T> {
    #[inline(always)]
    fn run(self) {
        self.to.iter_mut().zip(self.from).for_each(|(to, from)| *to = from.to_f64());
    }
}

/// Elements to blend and normalise in float64, rounded once.
struct Part<'a, T, O> {
    out: &'a mut [O],
    own: &'a [T],
    partner: &'a [T],
    factors: &'a [f64],
    summands: &'a [f64],
}

/// All blended by one weight.
struct Run<'a, T, O> {
    part: Part<'a, T, O>,
    weight: f64,
}

impl<T: Pixel, O: NormalizedOutput> Loop for Run<'_, T, O> {
    #[inline(always)]
    fn run(self) {
        let Run { part: Part { out, own, partner, factors, summands }, weight } = self;
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

/// Each blended by a share of its own.
struct Masked<'a, T, O, S> {
    part: Part<'a, T, O>,
    shares: &'a [S],
}

impl<T: Pixel, O: NormalizedOutput, S: Share> Loop for Masked<'_, T, O, S> {
    #[inline(always)]
    fn run(self) {
        let Masked { part: Part { out, own, partner, factors, summands }, shares } = self;
        let terms = factors.iter().zip(summands);
        for ((((out, &own), &partner), &share), (&factor, &summand)) in
            out.iter_mut().zip(own).zip(partner).zip(shares).zip(terms)
        {
            let (is_own, weight) = share.split();
            let (near, far) = if is_own { (own, partner) } else { (partner, own) };
            let copied = normalized(near, factor, summand);
            let blended = blend_normalized(near, far, weight, factor, summand);
            *out = if weight == 0.0 { copied } else { blended };
        }
    }
}
