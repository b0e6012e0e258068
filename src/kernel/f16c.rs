//! Float16 in blocks of eight, by the conversion instructions of F16C.

use std::any::TypeId;
use std::arch::x86_64::{
    _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128, _mm_storeu_si128, _mm256_cvtph_ps, _mm256_cvtps_ph, _mm256_loadu_ps,
    _mm256_storeu_ps,
};

use half::f16;

use super::Run;
use crate::element::Element;

const BLOCK: usize = 8;

/// Blends what of a run of float16 fills whole blocks, and returns the rest. Runs of other elements it returns as they
/// came; the compiler drops the question.
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
    let whole = out.len() / BLOCK * BLOCK;
    // SAFETY: T is float16, whose weight is a float32.
    let scalar: f32 = unsafe { std::mem::transmute_copy(&weight) };
    for at in (0..whole).step_by(BLOCK) {
        let near = own.map_or(out.as_ptr(), <[T]>::as_ptr);
        // SAFETY: T is float16, and the block lies within runs of one length.
        unsafe {
            let (a, b) = (widen(near.add(at).cast()), widen(partner.as_ptr().add(at).cast()));
            let mixed = std::array::from_fn(|i| f32::blend::<OWN_IS_NEAR>(a[i], b[i], scalar));
            narrow(mixed, out.as_mut_ptr().add(at).cast());
        }
    }
    Run { out: &mut out[whole..], own: own.map(|own| &own[whole..]), partner: &partner[whole..], weight }
}

/// # Safety
/// There must be eight float16 at `block`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
#[allow(unsafe_code)]
unsafe fn widen(block: *const f16) -> [f32; BLOCK] {
    let mut wide = [0.0; BLOCK];
    // SAFETY: as required above; the array holds eight float32.
    unsafe { _mm256_storeu_ps(wide.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(block.cast()))) };
    wide
}

/// # Safety
/// There must be room for eight float16 at `block`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
#[allow(unsafe_code)]
unsafe fn narrow(wide: [f32; BLOCK], block: *mut f16) {
    // SAFETY: as required above; the array holds eight float32.
    unsafe {
        let rounded = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(wide.as_ptr()));
        _mm_storeu_si128(block.cast(), rounded);
    }
}
