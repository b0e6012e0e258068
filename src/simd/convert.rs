//! Elements to the float they are computed in, and back.

use std::any::TypeId;

use half::f16;

use super::level::Level;
#[cfg(target_arch = "x86_64")]
use super::level::Set;
use super::vectorised::{Loop, vectorised};
use crate::arithmetic::Element;

/// to = from, exactly; the payload of a NaN may be lost. The slices have the same length.
pub(crate) fn widen<T: Element>(level: Level, from: &[T], to: &mut [T::Wide]) {
    assert_eq!(from.len(), to.len());
    #[cfg(target_arch = "x86_64")]
    if level.set() != Set::Baseline
        && let (Some(from), Some(to)) = (as_type(from), as_type_mut(to))
    {
        // SAFETY: a level proves that the processor supports it.
        #[allow(unsafe_code)]
        return unsafe { halves::widen(from, to) };
    }
    vectorised(level, Widen { from, to });
}

/// to = from, rounded once; every NaN must be the canonical one. The slices have the same length.
pub(crate) fn narrow<T: Element>(level: Level, from: &[T::Wide], to: &mut [T]) {
    assert_eq!(from.len(), to.len());
    #[cfg(target_arch = "x86_64")]
    if level.set() != Set::Baseline
        && let (Some(from), Some(to)) = (as_type(from), as_type_mut(to))
    {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        return unsafe { halves::narrow(from, to) };
    }
    vectorised(level, Narrow { from, to });
}

/// Whether elements are best widened before they are computed with, and narrowed after: those for which the compiler
/// does not find the instructions.
pub(crate) fn converts_apart<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<f16>()
}

/// The slice, if its elements are of this type.
#[allow(unsafe_code)]
fn as_type<T: 'static, U: 'static>(slice: &[T]) -> Option<&[U]> {
    // SAFETY: the types are the same.
    (TypeId::of::<T>() == TypeId::of::<U>()).then(|| unsafe { &*(&raw const *slice as *const [U]) })
}

/// The slice, if its elements are of this type.
#[allow(unsafe_code)]
fn as_type_mut<T: 'static, U: 'static>(slice: &mut [T]) -> Option<&mut [U]> {
    // SAFETY: as above.
    (TypeId::of::<T>() == TypeId::of::<U>()).then(|| unsafe { &mut *(&raw mut *slice as *mut [U]) })
}

struct Widen<'a, T: Element> {
    from: &'a [T],
    to: &'a mut [T::Wide],
}

impl<T: Element> Loop for Widen<'_, T> {
    #[inline(always)]
    fn run(self) {
        self.to.iter_mut().zip(self.from).for_each(|(to, from)| *to = from.widen());
    }
}

struct Narrow<'a, T: Element> {
    from: &'a [T::Wide],
    to: &'a mut [T],
}

impl<T: Element> Loop for Narrow<'_, T> {
    #[inline(always)]
    fn run(self) {
        self.to.iter_mut().zip(self.from).for_each(|(to, &from)| *to = T::narrow(from));
    }
}

/// By the instructions for float16, which the compiler does not find.
#[cfg(target_arch = "x86_64")]
mod halves {
    use std::arch::x86_64::{_mm256_loadu_ps, _mm256_storeu_ps};

    use half::f16;

    use super::super::vectors::f16x8::{LANES, load, store};
    use super::{Loop, Narrow, Widen};

    #[target_feature(enable = "avx2,f16c")]
    #[allow(unsafe_code)]
    pub fn widen(from: &[f16], to: &mut [f32]) {
        let ((halves, rest), (floats, last)) = (from.as_chunks::<LANES>(), to.as_chunks_mut::<LANES>());
        for (halves, floats) in halves.iter().zip(floats) {
            // SAFETY: both have as many elements as a vector.
            unsafe { _mm256_storeu_ps(floats.as_mut_ptr(), load(halves.as_ptr())) };
        }
        Widen { from: rest, to: last }.run();
    }

    #[target_feature(enable = "avx2,f16c")]
    #[allow(unsafe_code)]
    pub fn narrow(from: &[f32], to: &mut [f16]) {
        let ((floats, rest), (halves, last)) = (from.as_chunks::<LANES>(), to.as_chunks_mut::<LANES>());
        for (floats, halves) in floats.iter().zip(halves) {
            // SAFETY: both have as many elements as a vector.
            unsafe { store(halves.as_mut_ptr(), _mm256_loadu_ps(floats.as_ptr())) };
        }
        Narrow { from: rest, to: last }.run();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    fn check<T: Element + PartialEq + std::fmt::Debug>(values: &[T])
    where
        T::Wide: PartialEq + std::fmt::Debug,
    {
        for level in Level::available() {
            for len in (0..40).chain([values.len()]) {
                let mut wide = vec![T::Wide::default(); len];
                widen(level, &values[..len], &mut wide);
                assert!(wide.iter().zip(values).all(|(wide, value)| *wide == value.widen()), "{level:?}");
                let mut back = vec![T::default(); len];
                narrow(level, &wide, &mut back);
                assert_eq!(back, values[..len], "{level:?}");
            }
        }
    }

    #[test]
    fn every_value_is_the_same_there_and_back() {
        let bits = 0..=u16::MAX;
        check(&bits.clone().map(f16::from_bits).filter(|half| !half.is_nan()).collect::<Vec<_>>());
        check(&bits.clone().map(bf16::from_bits).filter(|half| !half.is_nan()).collect::<Vec<_>>());
        check(&bits.collect::<Vec<_>>());
        check(&(0..=u8::MAX).collect::<Vec<_>>());
        check(&[1.5, -0.0, f32::INFINITY, f32::MIN_POSITIVE / 4.0].repeat(20));
    }

    #[test]
    fn every_level_rounds_alike() {
        let values: Vec<f32> = (0..200_000_u32).map(|at| f32::from_bits(at.wrapping_mul(0x9E37_79B1))).collect();
        let values: Vec<f32> = values.into_iter().map(|value| if value.is_nan() { f32::NAN } else { value }).collect();
        for level in Level::available() {
            let mut rounded = vec![f16::ZERO; values.len()];
            narrow(level, &values, &mut rounded);
            assert!(values.iter().zip(&rounded).all(|(value, got)| got.to_bits() == f16::narrow(*value).to_bits()));
        }
    }
}
