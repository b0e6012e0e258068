//! The element types and the formula that blends two elements.
//!
//! With a = own, b = partner and 0 < λ < 1:
//!
//! - λ ≥ ½: a + (b − a)·(1 − λ)
//! - λ < ½: b + (a − b)·λ
//!
//! so the result is *near* + (*far* − *near*)·*weight*, where the weight is at most ½ and rounded once. This form gives
//! a when a = b, and loses less to rounding than λ·a + (1 − λ)·b. It is computed as near − (near − far)·weight: the
//! same number, but two zeros of the same sign keep that sign. Three rules make the bits independent of the machine:
//!
//! 1. one order of operations and no fused multiply-add;
//! 2. two equal infinities give that infinity, though ∞ − ∞ is NaN;
//! 3. any other NaN becomes the canonical NaN, as processors differ in the payload and sign that they propagate.
//!
//! Unsigned 8-bit integers are blended in 16-bit fixed point, float64 in float64, all other types in float32.

use half::{bf16, f16};

mod sealed {
    pub trait Sealed {}
}

/// Calls a macro with every element type and its name in NumPy. This is the only list of them.
#[cfg(feature = "python")]
macro_rules! with_elements {
    ($callback:path) => {
        $callback! {
            F64: f64 = "float64",
            F32: f32 = "float32",
            F16: half::f16 = "float16",
            Bf16: half::bf16 = "bfloat16",
            U8: u8 = "uint8",
            I8: i8 = "int8",
            U16: u16 = "uint16",
            I16: i16 = "int16",
        }
    };
}
#[cfg(feature = "python")]
pub(crate) use with_elements;

/// A type of array elements that a plan can be applied to: `f64`, `f32`, [`f16`], [`bf16`], `u8`, `i8`, `u16` and
/// `i16`, which are blended, and [`Opaque`], which is only copied. Sealed.
pub trait Element: Copy + Default + Send + Sync + 'static + sealed::Sealed {
    /// Whether elements can be blended, not only copied.
    const IS_BLENDED: bool = true;

    /// The weight of the far value, in the type of the computation.
    type Weight: Copy + Send + Sync;

    /// Rounds the weight of the far value, in [0, ½].
    fn weight(far: f64) -> Self::Weight;

    /// Computes near − (near − far)·weight. The near value is `own` if `OWN_IS_NEAR`, else `partner`.
    ///
    /// ```
    /// use mixup_rs::Element;
    /// assert_eq!(f32::blend::<true>(8.0, 4.0, f32::weight(0.25)), 7.0);
    /// assert_eq!(f32::blend::<false>(8.0, 4.0, f32::weight(0.25)), 5.0);
    /// ```
    fn blend<const OWN_IS_NEAR: bool>(own: Self, partner: Self, weight: Self::Weight) -> Self;

    /// The float in which elements are interpolated, several times before they are rounded.
    type Wide: Element<Wide = Self::Wide>;

    /// Converts to that float, exactly.
    fn widen(self) -> Self::Wide;

    /// Rounds a value between two elements, integers to the nearest.
    ///
    /// ```
    /// use mixup_rs::Element;
    /// assert_eq!(u8::narrow(254.6), 255);
    /// ```
    fn narrow(wide: Self::Wide) -> Self;
}

macro_rules! native_float {
    ($float:ident) => {
        impl sealed::Sealed for $float {}
        impl Element for $float {
            type Weight = $float;

            #[inline(always)]
            fn weight(far: f64) -> $float {
                far as $float
            }

            #[inline(always)]
            fn blend<const OWN_IS_NEAR: bool>(own: $float, partner: $float, weight: $float) -> $float {
                let (near, far) = if OWN_IS_NEAR { (own, partner) } else { (partner, own) };
                let mixed = near - (near - far) * weight;
                // This order matters: with the selection of `own` last, the compiler emits a masked store, which takes
                // three times as long.
                let settled = if own == partner { own } else { $float::NAN };
                if mixed.is_nan() { settled } else { mixed }
            }

            type Wide = $float;

            #[inline(always)]
            fn widen(self) -> $float {
                self
            }

            #[inline(always)]
            fn narrow(wide: $float) -> $float {
                wide
            }
        }
    };
}
native_float!(f32);
native_float!(f64);

/// Halves are blended in float32 and rounded once, to nearest even.
macro_rules! half_float {
    ($half:ident, $widen:path, $narrow:path) => {
        impl sealed::Sealed for $half {}
        impl Element for $half {
            type Weight = f32;

            #[inline(always)]
            fn weight(far: f64) -> f32 {
                far as f32
            }

            #[inline(always)]
            fn blend<const OWN_IS_NEAR: bool>(own: $half, partner: $half, weight: f32) -> $half {
                let (own, partner) = ($widen(own.to_bits()), $widen(partner.to_bits()));
                $half::from_bits($narrow(f32::blend::<OWN_IS_NEAR>(own, partner, weight)))
            }

            type Wide = f32;

            #[inline(always)]
            fn widen(self) -> f32 {
                $widen(self.to_bits())
            }

            #[inline(always)]
            fn narrow(wide: f32) -> $half {
                $half::from_bits($narrow(wide))
            }
        }
    };
}
half_float!(f16, widen_f16, narrow_f16);
half_float!(bf16, widen_bf16, narrow_bf16);

/// 1.5·2²³.
const ROUND: f32 = 12_582_912.0;

/// Integers of up to 16 bits are exact in float32. Adding 1.5·2²³ rounds to the nearest integer (even on a tie) and
/// leaves it in the low bits: no rounding instruction is needed, and the loop vectorises. The result lies between the
/// two values, so it cannot leave the type's range.
macro_rules! integer {
    ($integer:ident) => {
        impl sealed::Sealed for $integer {}
        impl Element for $integer {
            type Weight = f32;

            #[inline(always)]
            fn weight(far: f64) -> f32 {
                far as f32
            }

            #[inline(always)]
            fn blend<const OWN_IS_NEAR: bool>(own: $integer, partner: $integer, weight: f32) -> $integer {
                let (a, b) = (f32::from(own), f32::from(partner));
                let (near, far) = if OWN_IS_NEAR { (a, b) } else { (b, a) };
                Self::narrow(near - (near - far) * weight)
            }

            type Wide = f32;

            #[inline(always)]
            fn widen(self) -> f32 {
                self.into()
            }

            #[inline(always)]
            fn narrow(wide: f32) -> $integer {
                (wide + ROUND).to_bits() as $integer
            }
        }
    };
}
integer!(i8);
integer!(i16);
integer!(u16);

impl sealed::Sealed for u8 {}
impl Element for u8 {
    /// In units of 2⁻¹⁵, at most 2¹⁴.
    type Weight = i16;

    #[inline(always)]
    fn weight(far: f64) -> i16 {
        (far * 32768.0).round() as i16
    }

    /// The step towards the far value is rounded once, halves up. The rounding of the weight moves it by less than
    /// 1/256.
    #[inline(always)]
    fn blend<const OWN_IS_NEAR: bool>(own: u8, partner: u8, weight: i16) -> u8 {
        let (near, far) = if OWN_IS_NEAR { (own, partner) } else { (partner, own) };
        let distance = i16::from(far) - i16::from(near);
        // (distance·weight + 2¹⁴) >> 15 within 16 bits. Nested floors give the same number.
        let product = (i32::from(distance << 6) * i32::from(weight)) >> 16;
        (i16::from(near) + ((product as i16 + 16) >> 5)) as u8
    }

    type Wide = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        self.into()
    }

    #[inline(always)]
    fn narrow(wide: f32) -> u8 {
        (wide + ROUND).to_bits() as u8
    }
}

/// An element of the size of `U` that is copied and never computed with.
///
/// ```
/// use mixup_rs::{Lam, MixPlan, Opaque, Rect};
/// use ndarray::array;
///
/// let plan = MixPlan::from_boxes(vec![Rect::new(&[1], &[2]); 2], &[2], vec![1, 0], Lam::Shared(1.0))?;
/// let mixed = plan.apply(array![[1_u64, 2], [3, 4]].mapv(Opaque).view())?;
/// assert_eq!(mixed, array![[1_u64, 4], [3, 2]].mapv(Opaque).into_dyn());
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Opaque<U>(pub U);

impl<U> sealed::Sealed for Opaque<U> {}

impl<U: Copy + Default + Send + Sync + 'static> Element for Opaque<U> {
    const IS_BLENDED: bool = false;

    /// Uninhabited: plans that blend are rejected, see [`Element::IS_BLENDED`].
    type Weight = std::convert::Infallible;

    fn weight(_: f64) -> Self::Weight {
        unreachable!("a plan that blends was applied to elements that cannot be blended")
    }

    #[inline(always)]
    fn blend<const OWN_IS_NEAR: bool>(_: Self, _: Self, weight: Self::Weight) -> Self {
        match weight {}
    }

    type Wide = f32;

    fn widen(self) -> f32 {
        unreachable!("elements that cannot be blended are taken from the nearest pixel")
    }

    fn narrow(_: f32) -> Self {
        unreachable!("elements that cannot be blended are taken from the nearest pixel")
    }
}

/// Converts float16 bits to float32, exactly. All three cases are computed without a branch, so that it vectorises.
#[inline(always)]
fn widen_f16(bits: u16) -> f32 {
    const SMALLEST_NORMAL: u32 = 113 << 23;
    let magnitude = u32::from(bits & 0x7FFF) << 13;
    let normal = magnitude + (112 << 23);
    let special = magnitude + (224 << 23);
    let subnormal = f32::from_bits(magnitude + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL);
    let finite = if magnitude < 1 << 23 { subnormal.to_bits() } else { normal };
    let value = if magnitude >= 0x7C00 << 13 { special } else { finite };
    f32::from_bits(value | u32::from(bits & 0x8000) << 16)
}

/// Rounds float32 to float16 bits, to nearest even. Branch-free.
#[inline(always)]
pub(crate) fn narrow_f16(value: f32) -> u16 {
    const INFINITE: u32 = (127 + 16) << 23;
    const SMALLEST_NORMAL: u32 = (127 - 14) << 23;
    let magnitude = value.to_bits() & 0x7FFF_FFFF;
    let odd = magnitude >> 13 & 1;
    let normal = magnitude.wrapping_add(0xC800_0FFF + odd) >> 13;
    // Adding ½ leaves a float16 subnormal in the low bits, rounded by the addition.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    let special = if magnitude > 0x7F80_0000 { 0x7E00 } else { 0x7C00 };
    let finite = if magnitude < SMALLEST_NORMAL { subnormal } else { normal };
    let rounded = if magnitude >= INFINITE { special } else { finite };
    rounded as u16 | (value.to_bits() >> 16) as u16 & 0x8000
}

/// Converts bfloat16 bits to float32, exactly.
#[inline(always)]
fn widen_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Rounds float32 to bfloat16 bits, to nearest even. Any NaN becomes the canonical NaN.
#[inline(always)]
pub(crate) fn narrow_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
    if value.is_nan() { 0x7FC0 } else { rounded as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        for bits in 0..=u16::MAX {
            let expected = f16::from_bits(bits).to_f32_const();
            let got = widen_f16(bits);
            assert!(got == expected || got.is_nan() && expected.is_nan(), "{bits:#x}");
            assert_eq!(got.is_sign_negative(), expected.is_sign_negative());
            let expected = bf16::from_bits(bits).to_f32_const();
            let got = widen_bf16(bits);
            assert!(got == expected || got.is_nan() && expected.is_nan(), "{bits:#x}");
        }
    }

    #[test]
    fn halves_narrow_to_nearest_even() {
        // Every boundary between two halves, and the float32 values next to it.
        for bits in 0..=u16::MAX {
            for base in [widen_f16(bits), widen_bf16(bits)] {
                for offset in [-0x1001_i32, -0x1000, -0xFFF, -1, 0, 1, 0xFFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001] {
                    let value = f32::from_bits(base.to_bits().wrapping_add_signed(offset));
                    let canonical = if value.is_nan() { f32::NAN } else { value };
                    assert_eq!(narrow_f16(canonical), f16::from_f32_const(canonical).to_bits(), "{value:e}");
                    assert_eq!(narrow_bf16(canonical), bf16::from_f32_const(canonical).to_bits(), "{value:e}");
                }
            }
        }
    }

    #[test]
    fn bytes_are_within_a_128th_of_the_nearest() {
        for step in 0..=512_u32 {
            let weight = f64::from(step) / 1024.0 + f64::from(step % 3) * 1e-7;
            if weight > 0.5 {
                continue;
            }
            for own in 0..=u8::MAX {
                for partner in 0..=u8::MAX {
                    let exact = f64::from(own) + (f64::from(partner) - f64::from(own)) * weight;
                    let got = f64::from(u8::blend::<true>(own, partner, u8::weight(weight)));
                    assert!((got - exact).abs() <= 0.5 + 1.0 / 128.0, "{own} {partner} {weight}");
                }
            }
        }
    }
}
