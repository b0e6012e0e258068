//! Floats in blocks of four AVX2 vectors.
//!
//! What keeps the compiler's own loop from the memory's speed is not the formula but the rules for NaN, which cost it a
//! comparison and a choice per vector. Here one branch asks for NaN in a whole block, and only a block that has one goes
//! through the rules element by element. Halves are widened and narrowed by instructions the compiler does not find.

use std::any::TypeId;
use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Ahead, Run, prefetch};
use crate::element::Element;

/// Blends the whole blocks of a run and returns what is left of it; a run of integers it returns as it came.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn blend_blocks<T: Element, const OWN_IS_NEAR: bool>(
    mut run: Run<'_, T, OWN_IS_NEAR>,
) -> Run<'_, T, OWN_IS_NEAR> {
    // Known at compile time: a single call is left, or none.
    let element = TypeId::of::<T>();
    let done = if element == TypeId::of::<f32>() {
        blend_f32::<OWN_IS_NEAR>(of_type(&mut run))
    } else if element == TypeId::of::<f64>() {
        blend_f64::<OWN_IS_NEAR>(of_type(&mut run))
    } else if element == TypeId::of::<f16>() {
        blend_f16::<OWN_IS_NEAR>(of_type(&mut run))
    } else if element == TypeId::of::<bf16>() {
        blend_bf16::<OWN_IS_NEAR>(of_type(&mut run))
    } else {
        return run;
    };
    run.split_at(done).1
}

/// A run by its addresses.
struct Pointers<T: Element> {
    out: *mut T,
    own: *const T,
    partner: *const T,
    len: usize,
    weight: T::Weight,
    ahead: Ahead<T>,
}

/// The run as one of `U`, which must be its type.
#[inline(always)]
#[allow(unsafe_code)]
fn of_type<T: Element, U: Element, const OWN_IS_NEAR: bool>(run: &mut Run<'_, T, OWN_IS_NEAR>) -> Pointers<U> {
    assert_eq!(TypeId::of::<T>(), TypeId::of::<U>());
    let out = run.out.as_mut_ptr();
    Pointers {
        out: out.cast(),
        own: run.own.map_or(out.cast_const(), <[T]>::as_ptr).cast(),
        partner: run.partner.as_ptr().cast(),
        len: run.out.len(),
        ahead: run.ahead.map(<*const T>::cast),
        // SAFETY: the types are the same.
        weight: unsafe { std::mem::transmute_copy(&run.weight) },
    }
}

/// A function that blends the whole blocks of a run, and says how many elements that were.
macro_rules! blend_function {
    (
        $name:ident, $element:ident, $lanes:literal, $load:ident, $store:ident,
        $set:ident, $sub:ident, $mul:ident, $cmp:ident, $or:ident, $mask:ident
    ) => {
        #[inline]
        #[target_feature(enable = "avx2,f16c")]
        #[allow(unsafe_code)]
        fn $name<const OWN_IS_NEAR: bool>(run: Pointers<$element>) -> usize {
            const BLOCK: usize = 4 * $lanes;
            let weight = $set(run.weight);
            let mut at = 0;
            while at + BLOCK <= run.len {
                if let Some(ahead) = run.ahead {
                    prefetch(ahead.wrapping_add(at), BLOCK * size_of::<$element>());
                }
                // SAFETY: the block lies within the run. All of it is read before any of it is written.
                unsafe {
                    let (out, own, partner) = (run.out.add(at), run.own.add(at), run.partner.add(at));
                    let blend = |vector: usize| {
                        let (own, partner) = ($load(own.add(vector * $lanes)), $load(partner.add(vector * $lanes)));
                        let (near, far) = if OWN_IS_NEAR { (own, partner) } else { (partner, own) };
                        $sub(near, $mul($sub(near, far), weight))
                    };
                    let (a, b, c, d) = (blend(0), blend(1), blend(2), blend(3));
                    let nan = $or($cmp::<_CMP_UNORD_Q>(a, b), $cmp::<_CMP_UNORD_Q>(c, d));
                    if $mask(nan) == 0 {
                        $store(out, a);
                        $store(out.add($lanes), b);
                        $store(out.add(2 * $lanes), c);
                        $store(out.add(3 * $lanes), d);
                    } else {
                        for i in 0..BLOCK {
                            *out.add(i) = $element::blend::<OWN_IS_NEAR>(*own.add(i), *partner.add(i), run.weight);
                        }
                    }
                }
                at += BLOCK;
            }
            at
        }
    };
}

/// The same for what is computed in float32.
macro_rules! blend_as_f32 {
    ($name:ident, $element:ident, $load:ident, $store:ident) => {
        blend_function!(
            $name,
            $element,
            8,
            $load,
            $store,
            _mm256_set1_ps,
            _mm256_sub_ps,
            _mm256_mul_ps,
            _mm256_cmp_ps,
            _mm256_or_ps,
            _mm256_movemask_ps
        );
    };
}
blend_as_f32!(blend_f32, f32, _mm256_loadu_ps, _mm256_storeu_ps);
blend_as_f32!(blend_f16, f16, load_f16, store_f16);
blend_as_f32!(blend_bf16, bf16, load_bf16, store_bf16);
blend_function!(
    blend_f64,
    f64,
    4,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_set1_pd,
    _mm256_sub_pd,
    _mm256_mul_pd,
    _mm256_cmp_pd,
    _mm256_or_pd,
    _mm256_movemask_pd
);

/// # Safety
/// There must be eight elements at `from`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
#[allow(unsafe_code)]
unsafe fn load_f16(from: *const f16) -> __m256 {
    // SAFETY: as required above.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
}

/// # Safety
/// There must be room for eight elements at `to`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
#[allow(unsafe_code)]
unsafe fn store_f16(to: *mut f16, values: __m256) {
    // SAFETY: as required above.
    unsafe { _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values)) };
}

/// # Safety
/// There must be eight elements at `from`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
#[allow(unsafe_code)]
unsafe fn load_bf16(from: *const bf16) -> __m256 {
    // SAFETY: as required above.
    let bits = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(from.cast()) });
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
}

/// Rounds to nearest even; the values hold no NaN.
///
/// # Safety
/// There must be room for eight elements at `to`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
#[allow(unsafe_code)]
unsafe fn store_bf16(to: *mut bf16, values: __m256) {
    let bits = _mm256_castps_si256(values);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    let halves = _mm256_srli_epi32::<16>(rounded);
    // Packing works within 128 bits: the two quarters that are wanted lie first and third.
    let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(halves, halves));
    // SAFETY: as required above.
    unsafe { _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(packed)) };
}
