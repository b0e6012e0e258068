//! Float16 in blocks of eight, by the conversion instructions of F16C.

use std::any::TypeId;
use std::arch::x86_64::{
    _CMP_EQ_OQ, _CMP_UNORD_Q, _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128, _mm_storeu_si128, _mm256_add_ps,
    _mm256_blendv_ps, _mm256_cmp_ps, _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_movemask_ps, _mm256_mul_ps,
    _mm256_set1_ps, _mm256_sub_ps,
};

use half::f16;

use super::Run;
use crate::element::Element;

const BLOCK: usize = 8;

/// Blends the blocks at the start of a run of float16, up to one with a NaN in its result, and returns the rest; all of
/// it for other elements (the compiler drops the question).
#[inline]
#[target_feature(enable = "avx2,f16c")]
#[allow(unsafe_code)]
pub(super) fn blend_blocks<T: Element, const OWN_IS_NEAR: bool>(
    run: Run<'_, T, OWN_IS_NEAR>,
) -> Run<'_, T, OWN_IS_NEAR> {
    if TypeId::of::<T>() != TypeId::of::<f16>() {
        return run;
    }
    let Run { out, own, partner, weight } = run;
    // SAFETY: T is float16, whose weight is a float32.
    let scalar: f32 = unsafe { std::mem::transmute_copy(&weight) };
    let weights = _mm256_set1_ps(scalar);
    let mut done = 0;
    while done + BLOCK <= out.len() {
        let own = own.map_or(out.as_ptr(), <[T]>::as_ptr);
        // SAFETY: T is float16, and the block lies within runs of one length.
        unsafe {
            let own = _mm256_cvtph_ps(_mm_loadu_si128(own.add(done).cast()));
            let partner = _mm256_cvtph_ps(_mm_loadu_si128(partner.as_ptr().add(done).cast()));
            let (near, far) = if OWN_IS_NEAR { (own, partner) } else { (partner, own) };
            let mixed = _mm256_add_ps(near, _mm256_mul_ps(_mm256_sub_ps(far, near), weights));
            let mixed = _mm256_blendv_ps(mixed, own, _mm256_cmp_ps::<_CMP_EQ_OQ>(own, partner));
            if _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(mixed, mixed)) != 0 {
                break;
            }
            let rounded = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(mixed);
            _mm_storeu_si128(out.as_mut_ptr().add(done).cast(), rounded);
        }
        done += BLOCK;
    }
    Run { out: &mut out[done..], own: own.map(|own| &own[done..]), partner: &partner[done..], weight }
}
