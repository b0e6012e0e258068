//! Blending one run of elements with another.
//!
//! The loops are written once, for any [`Element`], and compiled once per instruction set. [`Level`] selects one at run
//! time. The compiler vectorises them, as an element's blend is branch-free and the runs do not alias. No instruction
//! set fuses or reorders operations, so all give the same bits.
//!
//! Three parts are written by hand for x86-64: whole [`blocks`] of floats and bytes, stores past the cache
//! ([`stream`]), and [`prefetch`]ing.

#[cfg(target_arch = "x86_64")]
mod blocks;
mod lanes;
mod level;
pub(crate) mod stream;
pub(crate) mod vectorised;
#[cfg(target_arch = "x86_64")]
mod vectors;

pub(crate) use lanes::Lanes;
pub use level::{ENVIRONMENT, Level};
pub(crate) use vectorised::vectorised;

use level::Set;

use crate::arithmetic::Element;

pub(crate) const CACHE_LINE: usize = 64;

/// How one sample is mixed, decided once for all its elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Recipe<W> {
    /// λ = 1, or the sample is its own partner: its own bits.
    KeepOwn,
    /// λ = 0: the partner's bits.
    TakePartner,
    /// λ ≥ ½: blended, the partner weighted by 1 − λ.
    NearOwn(W),
    /// λ < ½: blended, the sample itself weighted by λ.
    NearPartner(W),
}

impl<W> Recipe<W> {
    /// The recipe for `lam` in [0, 1].
    pub fn new<T: Element<Weight = W>>(lam: f64) -> Self {
        if lam == 1.0 {
            Self::KeepOwn
        } else if lam == 0.0 {
            Self::TakePartner
        } else if lam >= 0.5 {
            Self::NearOwn(T::weight(1.0 - lam))
        } else {
            Self::NearPartner(T::weight(lam))
        }
    }
}

/// The run that will be read next, of about the same length. It is fetched into the cache while a run is blended: the
/// hardware prefetcher follows a run, but cannot know where the next one starts. Only the address is used.
#[derive(Debug, PartialEq)]
pub(crate) struct Ahead<T> {
    from: *const T,
    to: Cache,
}

/// The cache that a run is fetched into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cache {
    /// The first-level cache, by way of the others.
    First,
    /// The first-level cache alone. The hardware prefetcher does not fetch the lines that follow.
    FirstAlone,
    /// The second-level cache.
    Second,
}

impl Cache {
    /// The best cache for runs of `bytes` of a batch of `batch_bytes`.
    pub fn best(bytes: usize, batch_bytes: usize) -> Self {
        if bytes > SHORT_BYTES {
            Self::Second
        } else if batch_bytes <= SHARED_BYTES {
            Self::FirstAlone
        } else {
            Self::First
        }
    }
}

impl<T> Clone for Ahead<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Ahead<T> {}

impl<T> Ahead<T> {
    pub fn new(from: *const T, to: Cache) -> Self {
        Self { from, to }
    }

    #[inline(always)]
    #[cfg(target_arch = "x86_64")]
    fn cast<U>(self) -> Ahead<U> {
        Ahead { from: self.from.cast(), to: self.to }
    }

    /// The same run without its first `len` elements.
    #[inline(always)]
    pub fn skip(self, len: usize) -> Self {
        Self { from: self.from.wrapping_add(len), ..self }
    }

    /// An address in each of the cache lines of the first `len` elements.
    #[inline(always)]
    fn lines(self, len: usize) -> impl Iterator<Item = *const i8> {
        (0..len * size_of::<T>()).step_by(CACHE_LINE).map(move |line| self.from.cast::<i8>().wrapping_add(line))
    }

    /// Fetches the first `len` elements. Selecting the hint for each line costs nothing: with the hint fixed at compile
    /// time and a tenth fewer instructions, rows of 1 KiB took 65 ns instead of 51.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub fn fetch(self, len: usize) {
        #[cfg(target_arch = "x86_64")]
        for address in self.lines(len) {
            use std::arch::x86_64::{_MM_HINT_NTA, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
            // SAFETY: every x86-64 processor has the instruction, which ignores an address that it cannot read.
            unsafe {
                match self.to {
                    Cache::First => _mm_prefetch::<_MM_HINT_T0>(address),
                    Cache::FirstAlone => _mm_prefetch::<_MM_HINT_NTA>(address),
                    Cache::Second => _mm_prefetch::<_MM_HINT_T1>(address),
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = self.lines(len);
    }
}

/// Longer runs are fetched into the second-level cache. In the first they would evict the data being blended, and fewer
/// lines can be in flight to it. Times in place on an Emerald Rapids, fetched into the first and into the second:
///
/// - 512 × 3 × 224 × 224 float32, long columns: 1.80 and 1.24 times the time of scaling them;
/// - 16,384 × 256, short columns: 1.69 and 1.93 times;
/// - columns of 8 KiB, as of smaller batches, are still short: of 64 samples 1.36 and 1.42 ms, of 8 on two threads
///   0.076 and 0.084 ms.
///
/// Fetching only the first 128 to 2048 bytes of each page, and leaving the rest to the hardware prefetcher, takes 1.48
/// to 1.71 ms instead of 1.36.
const SHORT_BYTES: usize = 8 << 10;

/// The largest batch that even a small third-level cache holds. 16,384 × 256 float32 in place take 59 ns a row if short
/// runs are fetched by way of all caches, and 51 into the first alone; batches in memory take 140 and 190.
const SHARED_BYTES: usize = 16 << 20;

/// Bytes fetched at a time. 4096 are more lines than can be in flight, and save nothing.
const AHEAD_BYTES: usize = 512;

/// out = own blended with partner. The slices have the same length.
pub(crate) fn blend_into<T: Element>(
    level: Level,
    recipe: Recipe<T::Weight>,
    out: &mut [T],
    own: &[T],
    partner: &[T],
    ahead: Option<Ahead<T>>,
) {
    assert!(out.len() == own.len() && own.len() == partner.len());
    match recipe {
        Recipe::KeepOwn => copy(out, own, ahead),
        Recipe::TakePartner => copy(out, partner, ahead),
        Recipe::NearOwn(weight) => dispatch(level, Run::<T, true> { out, own: Some(own), partner, weight, ahead }),
        Recipe::NearPartner(weight) => dispatch(level, Run::<T, false> { out, own: Some(own), partner, weight, ahead }),
    }
}

/// out = from, while the next run is fetched. Without the fetch, a new result of 64 × 3 × 224 × 224 float32 with half
/// the samples cut takes 1.16 times as long as one with all samples blended, with it 1.06 times (Emerald Rapids).
fn copy<T: Copy>(out: &mut [T], from: &[T], ahead: Option<Ahead<T>>) {
    let Some(mut ahead) = ahead else { return out.copy_from_slice(from) };
    let len = AHEAD_BYTES / size_of::<T>();
    for (out, from) in out.chunks_mut(len).zip(from.chunks(len)) {
        ahead.fetch(from.len());
        ahead = ahead.skip(from.len());
        out.copy_from_slice(from);
    }
}

/// own = own blended with partner. The slices have the same length.
pub(crate) fn blend_in_place<T: Element>(
    level: Level,
    recipe: Recipe<T::Weight>,
    own: &mut [T],
    partner: &[T],
    ahead: Option<Ahead<T>>,
) {
    assert!(own.len() == partner.len());
    let (out, own) = (own, None);
    match recipe {
        Recipe::KeepOwn => {}
        Recipe::TakePartner => out.copy_from_slice(partner),
        Recipe::NearOwn(weight) => dispatch(level, Run::<T, true> { out, own, partner, weight, ahead }),
        Recipe::NearPartner(weight) => dispatch(level, Run::<T, false> { out, own, partner, weight, ahead }),
    }
}

/// A run to blend. With `own: None`, `out` holds the own values.
struct Run<'a, T: Element, const OWN_IS_NEAR: bool> {
    out: &'a mut [T],
    own: Option<&'a [T]>,
    partner: &'a [T],
    weight: T::Weight,
    ahead: Option<Ahead<T>>,
}

impl<'a, T: Element, const OWN_IS_NEAR: bool> Run<'a, T, OWN_IS_NEAR> {
    #[inline(always)]
    fn split_at(self, at: usize) -> (Self, Self) {
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
fn blend<T: Element, const OWN_IS_NEAR: bool>(run: Run<'_, T, OWN_IS_NEAR>) {
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
fn blend_chunk<T: Element, const OWN_IS_NEAR: bool>(run: Run<'_, T, OWN_IS_NEAR>) {
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
#[allow(unsafe_code)]
fn blend_avx2<T: Element, const OWN_IS_NEAR: bool>(run: Run<'_, T, OWN_IS_NEAR>) {
    // SAFETY: there are no requirements without AVX-512.
    blend(unsafe { blocks::blend_blocks::<T, OWN_IS_NEAR, false>(run) });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
#[allow(unsafe_code)]
fn blend_avx512<T: Element, const OWN_IS_NEAR: bool>(run: Run<'_, T, OWN_IS_NEAR>) {
    // SAFETY: this function requires the same features.
    blend(unsafe { blocks::blend_blocks::<T, OWN_IS_NEAR, true>(run) });
}

#[inline]
#[allow(unsafe_code)]
fn dispatch<T: Element, const OWN_IS_NEAR: bool>(level: Level, run: Run<'_, T, OWN_IS_NEAR>) {
    match level.set() {
        Set::Baseline => blend(run),
        // SAFETY: a level proves that the processor supports it.
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => unsafe { blend_avx2(run) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => unsafe { blend_avx512(run) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lam_decides_the_recipe() {
        assert_eq!(Recipe::new::<f32>(1.0), Recipe::KeepOwn);
        assert_eq!(Recipe::new::<f32>(0.0), Recipe::TakePartner);
        assert_eq!(Recipe::new::<f32>(0.5), Recipe::NearOwn(0.5));
        assert_eq!(Recipe::new::<f32>(0.75), Recipe::NearOwn(0.25));
        assert_eq!(Recipe::new::<f32>(0.25), Recipe::NearPartner(0.25));
        assert_eq!(Recipe::new::<u8>(0.25), Recipe::NearPartner(1 << 13));
    }

    #[test]
    fn every_line_ahead_is_fetched_once() {
        let elements = [0.0_f32; 300];
        let ahead = Ahead::new(elements.as_ptr(), Cache::First).skip(10);
        let lines: Vec<usize> = ahead.lines(100).map(|line| line as usize - elements.as_ptr() as usize).collect();
        assert_eq!(lines, [40, 104, 168, 232, 296, 360, 424]);
    }

    #[test]
    fn long_runs_are_fetched_into_the_second_cache() {
        const MIB: usize = 1 << 20;
        let best = |batch_bytes| [1 << 10, 8 << 10, 64 << 10].map(|bytes| Cache::best(bytes, batch_bytes));
        assert_eq!(best(16 * MIB), [Cache::FirstAlone, Cache::FirstAlone, Cache::Second]);
        assert_eq!(best(17 * MIB), [Cache::First, Cache::First, Cache::Second]);
    }

    #[test]
    fn weights_of_0_and_1_copy_every_bit() {
        let own = [f32::from_bits(0x7F80_0001), -0.0, 1.0];
        let partner = [f32::NAN, f32::INFINITY, f32::from_bits(0xFFC0_1234)];
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let mut out = [0.0; 3];
        blend_into(Level::current(), Recipe::new::<f32>(1.0), &mut out, &own, &partner, None);
        assert_eq!(bits(&out), bits(&own));
        blend_into(Level::current(), Recipe::new::<f32>(0.0), &mut out, &own, &partner, None);
        assert_eq!(bits(&out), bits(&partner));
        blend_in_place(Level::current(), Recipe::new::<f32>(0.0), &mut out, &own, None);
        assert_eq!(bits(&out), bits(&own));
    }

    #[test]
    fn equal_values_stay_and_nan_is_canonical() {
        for lam in [0.3, 0.5, 0.9] {
            let own = [f32::INFINITY, -0.0, 0.0, 1e-45, f32::MAX, -f32::INFINITY, f32::NAN, 1.0];
            let partner = [f32::INFINITY, -0.0, -0.0, 1e-45, f32::MAX, f32::INFINITY, 1.0, f32::NAN];
            let mut out = own;
            blend_in_place(Level::current(), Recipe::new::<f32>(lam), &mut out, &partner, None);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&out[..5]), bits(&own[..5]));
            assert_eq!(bits(&out[5..]), [f32::NAN.to_bits(); 3]);
        }
    }

    /// Every level against the formula, element by element, at every small length and misalignment.
    fn check_levels<T: Element + std::fmt::Debug + PartialEq>(bits: impl Fn(usize) -> T, same: impl Fn(T, T) -> bool) {
        let pool: Vec<T> = (0..5000).map(bits).collect();
        for level in Level::available() {
            for len in (0..130).chain([256, 300]).chain(2048..2118).chain([4500]) {
                let offset = len % 7;
                let (own, partner) = (&pool[offset..][..len], &pool[2 * offset + 60..][..len]);
                for lam in [0.7, 0.2] {
                    let recipe = Recipe::new::<T>(lam);
                    let expected = |i: usize| match recipe {
                        Recipe::NearOwn(weight) => T::blend::<true>(own[i], partner[i], weight),
                        Recipe::NearPartner(weight) => T::blend::<false>(own[i], partner[i], weight),
                        _ => unreachable!(),
                    };
                    let mut memory = vec![T::default(); len + 8];
                    let out = &mut memory[7 - offset..][..len];
                    blend_into(level, recipe, out, own, partner, None);
                    assert!((0..len).all(|i| same(out[i], expected(i))), "{level:?} {len}");
                    out.copy_from_slice(own);
                    blend_in_place(level, recipe, out, partner, Some(Ahead::new(own.as_ptr(), Cache::First)));
                    assert!((0..len).all(|i| same(out[i], expected(i))), "{level:?} {len}");
                    let mut scratch = stream::Scratch::of(32);
                    out.fill(T::default());
                    stream::blend_into(
                        level,
                        recipe,
                        out,
                        own,
                        partner,
                        Some(Ahead::new(own.as_ptr(), Cache::Second)),
                        &mut scratch,
                    );
                    stream::fence();
                    assert!((0..len).all(|i| same(out[i], expected(i))), "{level:?} {len}");
                }
            }
        }
    }

    #[test]
    fn every_level_gives_the_same_bits() {
        use half::{bf16, f16};
        // Bit patterns of every kind: subnormals, infinities and NaNs among them.
        let hash = |i: usize| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        check_levels(|i| f64::from_bits(hash(i)), |a, b| a.to_bits() == b.to_bits());
        check_levels(|i| f32::from_bits((hash(i) >> 32) as u32), |a, b| a.to_bits() == b.to_bits());
        check_levels(|i| f16::from_bits((hash(i) >> 48) as u16), |a, b| a.to_bits() == b.to_bits());
        check_levels(|i| bf16::from_bits((hash(i) >> 48) as u16), |a, b| a.to_bits() == b.to_bits());
        // NaNs of every kind.
        check_levels(|i| f64::from_bits(hash(i) | 0x7FF0_0000_0000_0001), |a, b| a.to_bits() == b.to_bits());
        check_levels(|i| f32::from_bits((hash(i) >> 32) as u32 | 0x7F80_0001), |a, b| a.to_bits() == b.to_bits());
        check_levels(|i| f16::from_bits((hash(i) >> 48) as u16 | 0x7C01), |a, b| a.to_bits() == b.to_bits());
        check_levels(|i| bf16::from_bits((hash(i) >> 48) as u16 | 0x7F81), |a, b| a.to_bits() == b.to_bits());
        check_levels(|i| (hash(i) >> 56) as u8, |a, b| a == b);
        check_levels(|i| (hash(i) >> 56) as i8, |a, b| a == b);
        check_levels(|i| (hash(i) >> 48) as u16, |a, b| a == b);
        check_levels(|i| (hash(i) >> 48) as i16, |a, b| a == b);
    }
}
