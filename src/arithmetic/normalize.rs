//! Normalises pixels: (pixel / unit − mean) / std, computed in float64 as pixel · factor + summand.

use half::{bf16, f16};

use super::element::{Element, narrow_bf16, narrow_f16};
use crate::error::{MixError, Result};

/// An element type of samples that can be normalised: `u8`, `u16`, [`f16`], `f32` or `f64`.
pub trait Pixel: Element {
    /// The pixel value that counts as 1.0: the largest of an integer type, 1 for floats.
    const UNIT: f64;

    /// Converts to float64, exactly.
    fn to_f64(self) -> f64;
}

macro_rules! pixel {
    ($pixel:ident, $unit:expr) => {
        impl Pixel for $pixel {
            const UNIT: f64 = $unit;

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.into()
            }
        }
    };
}
pixel!(u8, 255.0);
pixel!(u16, 65535.0);
pixel!(f16, 1.0);
pixel!(f32, 1.0);
pixel!(f64, 1.0);

/// An element type of normalised batches: `f32`, [`f16`] or [`bf16`].
pub trait NormalizedOutput: Copy + Send + Sync {
    /// Rounds to the nearest value, for [`f16`] and [`bf16`] by way of float32.
    fn round(value: f64) -> Self;
}

impl NormalizedOutput for f32 {
    #[inline(always)]
    fn round(value: f64) -> Self {
        value as Self
    }
}

impl NormalizedOutput for f16 {
    #[inline(always)]
    fn round(value: f64) -> Self {
        Self::from_bits(narrow_f16(value as f32))
    }
}

impl NormalizedOutput for bf16 {
    #[inline(always)]
    fn round(value: f64) -> Self {
        Self::from_bits(narrow_bf16(value as f32))
    }
}

/// The mean and standard deviation of each channel, or one pair for all channels.
///
/// ```
/// use mixup_rs::Normalize;
/// assert!(Normalize::new(vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]).is_ok());
/// assert!(Normalize::new(vec![0.485, 0.456, 0.406], vec![0.25]).is_ok());
/// assert!(Normalize::new(vec![0.5], vec![0.0]).is_err());
/// ```
#[derive(Debug, Clone)]
pub struct Normalize {
    channels: Vec<(f64, f64)>,
}

impl Normalize {
    /// Takes one mean and one standard deviation for all channels, or one for each of either or both.
    ///
    /// # Errors
    /// [`MixError::Normalize`] unless `mean` and `std` have the same length of at least 1 or one has 1, all values are finite and
    /// each standard deviation is above 0.
    pub fn new(mean: Vec<f64>, std: Vec<f64>) -> Result<Self> {
        let is_std = |std: &f64| std.is_finite() && *std > 0.0;
        let count = mean.len().max(std.len());
        let is_count = |len| len > 0 && (len == count || len == 1);
        let are_finite = mean.iter().all(|mean| mean.is_finite()) && std.iter().all(is_std);
        if !(is_count(mean.len()) && is_count(std.len()) && are_finite) {
            return Err(MixError::Normalize { mean, std });
        }
        Ok(Self { channels: mean.into_iter().cycle().zip(std.into_iter().cycle()).take(count).collect() })
    }

    /// The factors and summands for pixels `T` of samples of this shape. The channels are along `axis` of the sample;
    /// by default along its first axis if that has as many channels, else along its last.
    pub(crate) fn table<T: Pixel>(&self, shape: &[usize], axis: Option<usize>) -> Result<Table> {
        let count = self.channels.len();
        let terms: Vec<(f64, f64)> =
            self.channels.iter().map(|(mean, std)| (1.0 / T::UNIT / std, -mean / std)).collect();
        let size: usize = shape.iter().product();
        let repeated = |terms: &[(f64, f64)]| -> Terms { terms.iter().copied().cycle().take(PATTERN + count).unzip() };
        if count == 1 {
            return Ok(Table { inner: size, period: 1, patterns: vec![repeated(&terms)] });
        }
        let has_channels = |axis: &usize| shape.get(*axis) == Some(&count);
        let axis = match axis {
            Some(axis) => Some(axis).filter(has_channels),
            None => [0, shape.len().saturating_sub(1)].into_iter().find(has_channels),
        };
        let Some(axis) = axis else { return Err(MixError::Channels { got: shape.to_vec(), expected: count }) };
        if axis + 1 == shape.len() {
            return Ok(Table { inner: size, period: count, patterns: vec![repeated(&terms)] });
        }
        let patterns = terms.chunks(1).map(repeated).collect();
        Ok(Table { inner: shape[axis + 1..].iter().product(), period: 1, patterns })
    }
}

/// The largest number of elements normalised at once, by factors stored side by side.
const PATTERN: usize = 256;

type Terms = (Vec<f64>, Vec<f64>);

/// Factors and summands along a sample: each pattern covers `inner` elements and repeats with `period`.
pub(crate) struct Table {
    inner: usize,
    period: usize,
    patterns: Vec<Terms>,
}

impl Table {
    /// The factors and summands of at most `len` elements from `at` on, all of one pattern.
    pub fn terms(&self, at: usize, len: usize) -> (&[f64], &[f64]) {
        let (pattern, within) = (at / self.inner % self.patterns.len(), at % self.inner);
        let len = PATTERN.min(self.inner - within).min(len);
        let (factors, summands) = &self.patterns[pattern];
        let phase = within % self.period;
        (&factors[phase..][..len], &summands[phase..][..len])
    }
}

/// Blends a pixel with its partner, the far value weighted by `weight`, and normalises the result.
#[inline(always)]
pub(crate) fn blend_normalized<T: Pixel, O: NormalizedOutput>(
    near: T,
    far: T,
    weight: f64,
    factor: f64,
    summand: f64,
) -> O {
    let (near, far) = (near.to_f64(), far.to_f64());
    O::round((near - (near - far) * weight) * factor + summand)
}

/// Normalises a pixel.
#[inline(always)]
pub(crate) fn normalized<T: Pixel, O: NormalizedOutput>(pixel: T, factor: f64, summand: f64) -> O {
    O::round(pixel.to_f64() * factor + summand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_repeat_with_the_channels() {
        let normalize = Normalize::new(vec![0.5, 0.25], vec![0.5, 0.125]).unwrap();
        let first = normalize.table::<f32>(&[2, 600], None).unwrap();
        assert_eq!(first.terms(590, 100), (&[2.0; 10][..], &[-1.0; 10][..]));
        assert_eq!(first.terms(600, 1000), (&[8.0; PATTERN][..], &[-2.0; PATTERN][..]));
        let last = normalize.table::<f32>(&[600, 2], None).unwrap();
        assert_eq!(last.terms(3, 3), (&[8.0, 2.0, 8.0][..], &[-2.0, -1.0, -2.0][..]));
        let middle = normalize.table::<f32>(&[3, 2, 2], Some(1)).unwrap();
        assert_eq!(middle.terms(2, 9), (&[8.0; 2][..], &[-2.0; 2][..]));
        assert_eq!(middle.terms(4, 9), (&[2.0; 2][..], &[-1.0; 2][..]));
        // The first and the last axis have as many channels.
        let last = normalize.table::<f32>(&[2, 3, 2], Some(2)).unwrap();
        assert_eq!(last.terms(0, 2), (&[2.0, 8.0][..], &[-1.0, -2.0][..]));
        for (shape, axis) in [(&[3][..], None), (&[2, 3], Some(1)), (&[2, 3], Some(5)), (&[], None)] {
            assert!(matches!(normalize.table::<f32>(shape, axis), Err(MixError::Channels { .. })));
        }
    }
}
