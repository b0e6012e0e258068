//! Floats and bytes in blocks of AVX2 vectors, long runs of floats in blocks of AVX-512 ones.
//!
//! What keeps the compiler's own loop from the memory's speed is not the formula but
//!
//! 1. the rules for NaN, which cost it a comparison and a choice per vector. Here one branch asks for NaN in a whole
//!    block, and only a block that has one goes through the rules element by element;
//! 2. widening and narrowing. Float16 has instructions for it that the compiler does not find; bfloat16 and bytes are
//!    not unpacked at all, but computed in two halves, the elements at even places and those at odd ones, which a shift
//!    or a mask brings out;
//! 3. stores across two cache lines, where a batch begins in the middle of one, as NumPy's do.

use std::any::TypeId;
use std::arch::x86_64::*;

use half::{bf16, f16};

use super::vectors::{f16x8, f16x16, f32x8, f32x16, f64x4, f64x8};
use super::{Ahead, CACHE_LINE, Run, blend_chunk};
use crate::arithmetic::Element;

/// Runs below this are not worth aligning, and AVX-512 is for aligned runs alone. In place, on an Emerald Rapids, it
/// saves 3 to 6 % for 512 × 3 × 224 × 224 float32, 17 % for 64 of bfloat16, 2 % for float16, and nothing for other
/// batches that stay in the cache; rows of 1 KiB would take 6 % longer. (With heads and tails as masked vectors, rows of
/// 128 bytes take twice as long.)
const ALIGNED_BYTES: usize = 4 << 10;

/// Blends the whole blocks of a run and returns what is left of it; a run of other integers than bytes it returns as it
/// came. Called in one place for either value of `AVX512`, it is compiled into its caller, which saves a run of 128
/// bytes 1 ns of 16.
///
/// # Safety
/// With `AVX512`, the processor must have avx512f and avx512bw.
#[inline]
#[target_feature(enable = "avx2,f16c")]
#[allow(unsafe_code)]
pub(super) unsafe fn blend_blocks<T: Element, const OWN_IS_NEAR: bool, const AVX512: bool>(
    run: Run<'_, T, OWN_IS_NEAR>,
) -> Run<'_, T, OWN_IS_NEAR> {
    let is_long = size_of_val(run.out) >= ALIGNED_BYTES;
    let mut run = if is_long { aligned(run) } else { run };
    let is_wide = AVX512 && is_long;
    macro_rules! blended {
        ($narrow:ident, $wide:ident) => {{
            let run = of_type(&mut run);
            // SAFETY: as required above.
            if is_wide { unsafe { $wide::<OWN_IS_NEAR>(run) } } else { $narrow::<OWN_IS_NEAR>(run) }
        }};
    }
    // Known at compile time: a single call of either width is left, or none.
    let element = TypeId::of::<T>();
    let done = if element == TypeId::of::<f32>() {
        blended!(blend_f32, blend_f32_wide)
    } else if element == TypeId::of::<f64>() {
        blended!(blend_f64, blend_f64_wide)
    } else if element == TypeId::of::<f16>() {
        blended!(blend_f16, blend_f16_wide)
    } else if element == TypeId::of::<bf16>() {
        blended!(blend_bf16, blend_bf16_wide)
    } else if element == TypeId::of::<u8>() {
        blend_u8::<OWN_IS_NEAR>(of_type(&mut run))
    } else {
        return run;
    };
    run.split_at(done).1
}

/// Blends what lies before the first whole cache line of the result, and returns the rest.
#[inline(always)]
fn aligned<T: Element, const OWN_IS_NEAR: bool>(run: Run<'_, T, OWN_IS_NEAR>) -> Run<'_, T, OWN_IS_NEAR> {
    let before = (run.out.as_ptr() as usize).wrapping_neg() % CACHE_LINE;
    let (head, rest) = run.split_at(before / size_of::<T>());
    blend_chunk(head);
    rest
}

/// A run by its addresses.
struct Pointers<T: Element> {
    out: *mut T,
    own: *const T,
    partner: *const T,
    len: usize,
    weight: T::Weight,
    ahead: Option<Ahead<T>>,
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
        ahead: run.ahead.map(Ahead::cast),
        // SAFETY: the types are the same.
        weight: unsafe { std::mem::transmute_copy(&run.weight) },
    }
}

/// A function that blends the whole blocks of a run, and says how many elements that were.
macro_rules! blend_function {
    ($features:literal, $name:ident, $element:ident, $block:expr, $splat:path, $blend_block:ident) => {
        #[inline]
        #[target_feature(enable = $features)]
        #[allow(unsafe_code)]
        fn $name<const OWN_IS_NEAR: bool>(run: Pointers<$element>) -> usize {
            const BLOCK: usize = $block;
            // A run that begins within a cache line reaches into one more: of 1 KiB it takes 4 % of the time.
            if let Some(ahead) = run.ahead {
                ahead.skip(run.len.max(1) - 1).fetch(1);
            }
            let weight = $splat(run.weight);
            let mut at = 0;
            while at + BLOCK <= run.len {
                if let Some(ahead) = run.ahead {
                    ahead.skip(at).fetch(BLOCK);
                }
                // SAFETY: the block lies within the run, and `own` is `out` or apart from it.
                unsafe {
                    let (out, own, partner) = (run.out.add(at), run.own.add(at), run.partner.add(at));
                    if !$blend_block::<OWN_IS_NEAR>(out, own, partner, weight) {
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
blend_function!("avx2,f16c", blend_f32, f32, 4 * f32x8::LANES, f32x8::splat, block_f32);
blend_function!("avx2,f16c", blend_f64, f64, 4 * f64x4::LANES, f64x4::splat, block_f64);
blend_function!("avx2,f16c", blend_f16, f16, 4 * f16x8::LANES, f16x8::splat, block_f16);
blend_function!("avx2,f16c", blend_bf16, bf16, 4 * f32x8::LANES, f32x8::splat, block_bf16);
blend_function!("avx2,f16c", blend_u8, u8, 64, _mm256_set1_epi16, block_u8);
blend_function!("avx512f,avx512bw", blend_f32_wide, f32, 4 * f32x16::LANES, f32x16::splat, block_f32_wide);
blend_function!("avx512f,avx512bw", blend_f64_wide, f64, 4 * f64x8::LANES, f64x8::splat, block_f64_wide);
blend_function!("avx512f,avx512bw", blend_f16_wide, f16, 4 * f16x16::LANES, f16x16::splat, block_f16_wide);
blend_function!("avx512f,avx512bw", blend_bf16_wide, bf16, 4 * f32x16::LANES, f32x16::splat, block_bf16_wide);

/// A function that blends four vectors, unless there is a NaN among the results: then it writes nothing and says false.
///
/// # Safety
/// There must be four vectors of elements at each address, and `out` writable.
macro_rules! four_vectors {
    ($features:literal, $name:ident, $element:ident, $vectors:ident) => {
        #[inline]
        #[target_feature(enable = $features)]
        #[allow(unsafe_code)]
        unsafe fn $name<const OWN_IS_NEAR: bool>(
            out: *mut $element,
            own: *const $element,
            partner: *const $element,
            weight: $vectors::Vector,
        ) -> bool {
            use $vectors::*;
            // SAFETY: as required above.
            unsafe {
                let blend = |vector: usize| {
                    let (own, partner) = (load(own.add(vector * LANES)), load(partner.add(vector * LANES)));
                    let (near, far) = if OWN_IS_NEAR { (own, partner) } else { (partner, own) };
                    sub(near, mul(sub(near, far), weight))
                };
                let (a, b, c, d) = (blend(0), blend(1), blend(2), blend(3));
                if any_nan(a, b, c, d) {
                    return false;
                }
                store(out, a);
                store(out.add(LANES), b);
                store(out.add(2 * LANES), c);
                store(out.add(3 * LANES), d);
            }
            true
        }
    };
}
four_vectors!("avx2,f16c", block_f32, f32, f32x8);
four_vectors!("avx2,f16c", block_f64, f64, f64x4);
four_vectors!("avx2,f16c", block_f16, f16, f16x8);
four_vectors!("avx512f,avx512bw", block_f32_wide, f32, f32x16);
four_vectors!("avx512f,avx512bw", block_f64_wide, f64, f64x8);
four_vectors!("avx512f,avx512bw", block_f16_wide, f16, f16x16);

/// The same for bfloat16, of which a vector of float32 holds twice as many.
///
/// # Safety
/// As above.
macro_rules! four_vectors_of_bf16 {
    ($features:literal, $name:ident, $vectors:ident) => {
        #[inline]
        #[target_feature(enable = $features)]
        #[allow(unsafe_code)]
        unsafe fn $name<const OWN_IS_NEAR: bool>(
            out: *mut bf16,
            own: *const bf16,
            partner: *const bf16,
            weight: $vectors::Vector,
        ) -> bool {
            use $vectors::*;
            let blend = |own, partner| {
                let (near, far) = if OWN_IS_NEAR { (own, partner) } else { (partner, own) };
                sub(near, mul(sub(near, far), weight))
            };
            // A bfloat16 is the upper half of a float32.
            let even = |pairs| from_bits(left::<16>(pairs));
            let odd = |pairs| from_bits(and(pairs, splat_bits(0xFFFF_0000_u32 as i32)));
            // To nearest even; the values hold no NaN.
            let rounded = |values| {
                let bits = to_bits(values);
                add_bits(bits, add_bits(and(right::<16>(bits), splat_bits(1)), splat_bits(0x7FFF)))
            };
            let together = |even, odd| halves(right::<16>(rounded(even)), rounded(odd));
            // SAFETY: as required above.
            unsafe {
                let load = |from: *const bf16, pairs: usize| load_bits(from.add(pairs * 2 * LANES).cast());
                let (own, partner) = ([load(own, 0), load(own, 1)], [load(partner, 0), load(partner, 1)]);
                let (a, b) = (blend(even(own[0]), even(partner[0])), blend(odd(own[0]), odd(partner[0])));
                let (c, d) = (blend(even(own[1]), even(partner[1])), blend(odd(own[1]), odd(partner[1])));
                if any_nan(a, b, c, d) {
                    return false;
                }
                store_bits(out.cast(), together(a, b));
                store_bits(out.add(2 * LANES).cast(), together(c, d));
            }
            true
        }
    };
}
four_vectors_of_bf16!("avx2,f16c", block_bf16, f32x8);
four_vectors_of_bf16!("avx512f,avx512bw", block_bf16_wide, f32x16);

/// Blends 64 elements, and says true: bytes hold no NaN.
///
/// # Safety
/// There must be 64 elements at each address, and `out` writable.
#[inline]
#[target_feature(enable = "avx2,f16c")]
#[allow(unsafe_code)]
unsafe fn block_u8<const OWN_IS_NEAR: bool>(out: *mut u8, own: *const u8, partner: *const u8, weight: __m256i) -> bool {
    const LANES: usize = 32;
    // The product in one instruction: (distance·weight + 2¹⁴) >> 15.
    let blend = |own, partner| {
        let (near, far) = if OWN_IS_NEAR { (own, partner) } else { (partner, own) };
        _mm256_add_epi16(near, _mm256_mulhrs_epi16(_mm256_sub_epi16(far, near), weight))
    };
    let even = |pairs| _mm256_and_si256(pairs, _mm256_set1_epi16(0xFF));
    let odd = |pairs| _mm256_srli_epi16::<8>(pairs);
    for vector in 0..2 {
        // SAFETY: as required above.
        unsafe {
            let own = _mm256_loadu_si256(own.add(vector * LANES).cast());
            let partner = _mm256_loadu_si256(partner.add(vector * LANES).cast());
            let (a, b) = (blend(even(own), even(partner)), blend(odd(own), odd(partner)));
            let together = _mm256_or_si256(a, _mm256_slli_epi16::<8>(b));
            _mm256_storeu_si256(out.add(vector * LANES).cast(), together);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_runs_go_on_at_a_cache_line() {
        let (own, partner) = (vec![1.0_f32; 2000], vec![3.0; 2000]);
        for offset in 0..17 {
            for len in [100, 1900] {
                let mut memory = own.clone();
                let start = memory.as_ptr().align_offset(CACHE_LINE) + offset;
                let out = &mut memory[start..][..len];
                let run = Run::<_, true> { out, own: None, partner: &partner[..len], weight: 0.25, ahead: None };
                let rest = aligned(run);
                let done = len - rest.out.len();
                assert_eq!(done, (16 - offset % 16) % 16, "{offset} {len}");
                assert!(memory[start..][..done].iter().all(|blended| *blended == 1.5));
                assert!(memory[start + done..].iter().all(|untouched| *untouched == 1.0));
            }
        }
    }
}
