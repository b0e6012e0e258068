//! A float64 whose `exp` and `ln` give the same bits on every platform.
//!
//! The samplers of `rand_distr` are generic over [`num_traits::Float`]. For a plain `f64` that trait calls the C
//! library of the platform, whose results differ in the last bit between systems. [`Portable`] calls the `libm` crate,
//! which is compiled in, for every function that IEEE 754 does not define exactly.

use std::num::FpCategory;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

use num_traits::{Float, Num, NumCast, One, ToPrimitive, Zero};
use rand::Rng;
use rand::distr::{Distribution, Open01};

/// A float64 with platform-independent transcendental functions.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Portable(pub f64);

impl Distribution<Portable> for Open01 {
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> Portable {
        Portable(self.sample(rng))
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident),*) => {$(
        impl $operator for Portable {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                Self(self.0.$method(other.0))
            }
        }
    )*};
}
operators!(Add add, Sub sub, Mul mul, Div div, Rem rem);

impl Neg for Portable {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Zero for Portable {
    fn zero() -> Self {
        Self(0.0)
    }
    fn is_zero(&self) -> bool {
        self.0 == 0.0
    }
}

impl One for Portable {
    fn one() -> Self {
        Self(1.0)
    }
}

impl Num for Portable {
    type FromStrRadixErr = <f64 as Num>::FromStrRadixErr;
    fn from_str_radix(text: &str, radix: u32) -> Result<Self, Self::FromStrRadixErr> {
        f64::from_str_radix(text, radix).map(Self)
    }
}

impl ToPrimitive for Portable {
    fn to_i64(&self) -> Option<i64> {
        self.0.to_i64()
    }
    fn to_u64(&self) -> Option<u64> {
        self.0.to_u64()
    }
    fn to_f64(&self) -> Option<f64> {
        Some(self.0)
    }
}

impl NumCast for Portable {
    fn from<T: ToPrimitive>(number: T) -> Option<Self> {
        number.to_f64().map(Self)
    }
}

macro_rules! constants {
    ($($name:ident = $value:expr),*) => {$(fn $name() -> Self { Self($value) })*};
}
/// Exact by IEEE 754, so the standard library gives the same bits everywhere.
macro_rules! exact {
    ($($name:ident($($argument:ident),*)),*) => {
        $(fn $name(self, $($argument: Self),*) -> Self { Self(f64::$name(self.0, $($argument.0),*)) })*
    };
}
macro_rules! predicates {
    ($($name:ident),*) => {$(fn $name(self) -> bool { self.0.$name() })*};
}
macro_rules! by_libm {
    ($($name:ident($($argument:ident),*) = $function:ident),*) => {
        $(fn $name(self, $($argument: Self),*) -> Self { Self(libm::$function(self.0, $($argument.0),*)) })*
    };
}

impl Float for Portable {
    constants!(
        nan = f64::NAN,
        infinity = f64::INFINITY,
        neg_infinity = f64::NEG_INFINITY,
        neg_zero = -0.0,
        min_value = f64::MIN,
        min_positive_value = f64::MIN_POSITIVE,
        max_value = f64::MAX
    );
    predicates!(is_nan, is_infinite, is_finite, is_normal, is_sign_positive, is_sign_negative);
    exact!(
        floor(),
        ceil(),
        round(),
        trunc(),
        fract(),
        abs(),
        signum(),
        recip(),
        sqrt(),
        max(other),
        min(other),
        mul_add(a, b)
    );
    by_libm!(
        powf(exponent) = pow,
        exp() = exp,
        exp2() = exp2,
        exp_m1() = expm1,
        ln() = log,
        ln_1p() = log1p,
        log2() = log2,
        log10() = log10,
        cbrt() = cbrt,
        hypot(other) = hypot,
        abs_sub(other) = fdim,
        sin() = sin,
        cos() = cos,
        tan() = tan,
        asin() = asin,
        acos() = acos,
        atan() = atan,
        atan2(other) = atan2,
        sinh() = sinh,
        cosh() = cosh,
        tanh() = tanh,
        asinh() = asinh,
        acosh() = acosh,
        atanh() = atanh
    );
    fn log(self, base: Self) -> Self {
        self.ln() / base.ln()
    }
    fn powi(self, exponent: i32) -> Self {
        Self(libm::pow(self.0, exponent.into()))
    }
    fn sin_cos(self) -> (Self, Self) {
        (self.sin(), self.cos())
    }
    fn classify(self) -> FpCategory {
        self.0.classify()
    }
    fn integer_decode(self) -> (u64, i16, i8) {
        num_traits::float::FloatCore::integer_decode(self.0)
    }
}
