//! AVX2 and AVX-512 vectors and their operations in [`blocks`](super::blocks), under the same names.

use std::arch::x86_64::*;

use half::f16;

pub(super) mod f32x8 {
    use super::*;
    pub use std::arch::x86_64::{
        __m256 as Vector, _mm256_loadu_ps as load, _mm256_mul_ps as mul, _mm256_set1_ps as splat,
        _mm256_storeu_ps as store, _mm256_sub_ps as sub,
    };
    // Operations on the bits, for bfloat16.
    pub use std::arch::x86_64::{
        _mm256_add_epi32 as add_bits, _mm256_and_si256 as and, _mm256_castps_si256 as to_bits,
        _mm256_castsi256_ps as from_bits, _mm256_loadu_si256 as load_bits, _mm256_set1_epi32 as splat_bits,
        _mm256_slli_epi32 as left, _mm256_srli_epi32 as right, _mm256_storeu_si256 as store_bits,
    };

    pub const LANES: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn any_nan(a: Vector, b: Vector, c: Vector, d: Vector) -> bool {
        _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(a, b), _mm256_cmp_ps::<_CMP_UNORD_Q>(c, d))) != 0
    }

    /// The lower halves of the first, the upper ones of the second.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn halves(lower: __m256i, upper: __m256i) -> __m256i {
        _mm256_blend_epi16::<0b1010_1010>(lower, upper)
    }
}

pub(super) mod f32x16 {
    use super::*;
    pub use std::arch::x86_64::{
        __m512 as Vector, _mm512_loadu_ps as load, _mm512_mul_ps as mul, _mm512_set1_ps as splat,
        _mm512_storeu_ps as store, _mm512_sub_ps as sub,
    };
    pub use std::arch::x86_64::{
        _mm512_add_epi32 as add_bits, _mm512_and_si512 as and, _mm512_castps_si512 as to_bits,
        _mm512_castsi512_ps as from_bits, _mm512_loadu_si512 as load_bits, _mm512_set1_epi32 as splat_bits,
        _mm512_slli_epi32 as left, _mm512_srli_epi32 as right, _mm512_storeu_si512 as store_bits,
    };

    pub const LANES: usize = 16;

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn any_nan(a: Vector, b: Vector, c: Vector, d: Vector) -> bool {
        (_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b) | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(c, d)) != 0
    }

    /// The lower halves of the first, the upper ones of the second.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub fn halves(lower: __m512i, upper: __m512i) -> __m512i {
        _mm512_mask_blend_epi16(0xAAAA_AAAA, lower, upper)
    }
}

pub(super) mod f64x4 {
    use super::*;
    pub use std::arch::x86_64::{
        __m256d as Vector, _mm256_loadu_pd as load, _mm256_mul_pd as mul, _mm256_set1_pd as splat,
        _mm256_storeu_pd as store, _mm256_sub_pd as sub,
    };

    pub const LANES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn any_nan(a: Vector, b: Vector, c: Vector, d: Vector) -> bool {
        _mm256_movemask_pd(_mm256_or_pd(_mm256_cmp_pd::<_CMP_UNORD_Q>(a, b), _mm256_cmp_pd::<_CMP_UNORD_Q>(c, d))) != 0
    }
}

pub(super) mod f64x8 {
    use super::*;
    pub use std::arch::x86_64::{
        __m512d as Vector, _mm512_loadu_pd as load, _mm512_mul_pd as mul, _mm512_set1_pd as splat,
        _mm512_storeu_pd as store, _mm512_sub_pd as sub,
    };

    pub const LANES: usize = 8;

    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn any_nan(a: Vector, b: Vector, c: Vector, d: Vector) -> bool {
        (_mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, b) | _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(c, d)) != 0
    }
}

/// As float32, in memory as float16.
pub(super) mod f16x8 {
    use super::*;
    pub use f32x8::{LANES, Vector, any_nan, mul, splat, sub};

    /// # Safety
    /// There must be eight elements at `from`.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    #[allow(unsafe_code)]
    pub unsafe fn load(from: *const f16) -> Vector {
        // SAFETY: as required above.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
    }

    /// # Safety
    /// There must be room for eight elements at `to`.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    #[allow(unsafe_code)]
    pub unsafe fn store(to: *mut f16, values: Vector) {
        // SAFETY: as required above.
        unsafe { _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values)) };
    }
}

/// As float32, in memory as float16.
pub(super) mod f16x16 {
    use super::*;
    pub use f32x16::{LANES, Vector, any_nan, mul, splat, sub};

    /// # Safety
    /// There must be sixteen elements at `from`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    #[allow(unsafe_code)]
    pub unsafe fn load(from: *const f16) -> Vector {
        // SAFETY: as required above.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    /// # Safety
    /// There must be room for sixteen elements at `to`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    #[allow(unsafe_code)]
    pub unsafe fn store(to: *mut f16, values: Vector) {
        // SAFETY: as required above.
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values)) };
    }
}

/// 16-bit lanes, each of which holds two bytes.
pub(super) mod u8x32 {
    pub use std::arch::x86_64::{
        __m256i as Vector, _mm256_add_epi16 as add, _mm256_and_si256 as and, _mm256_loadu_si256 as load,
        _mm256_mulhrs_epi16 as mulhrs, _mm256_or_si256 as or, _mm256_set1_epi16 as splat, _mm256_slli_epi16 as left,
        _mm256_srli_epi16 as right, _mm256_storeu_si256 as store, _mm256_sub_epi16 as sub,
    };

    pub const LANES: usize = 32;
}

pub(super) mod u8x64 {
    pub use std::arch::x86_64::{
        __m512i as Vector, _mm512_add_epi16 as add, _mm512_and_si512 as and, _mm512_loadu_si512 as load,
        _mm512_mulhrs_epi16 as mulhrs, _mm512_or_si512 as or, _mm512_set1_epi16 as splat, _mm512_slli_epi16 as left,
        _mm512_srli_epi16 as right, _mm512_storeu_si512 as store, _mm512_sub_epi16 as sub,
    };

    pub const LANES: usize = 64;
}
