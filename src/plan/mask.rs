//! A mask: the share of a sample itself in each of its pixels.

use crate::error::{MixError, Result};

/// The shares of all pixels, in C order, in the narrowest type that holds them exactly.
#[derive(Debug, Clone)]
pub enum Shares {
    /// In units of 1/255.
    Bytes(Vec<u8>),
    /// Float32.
    Single(Vec<f32>),
    /// Float64.
    Double(Vec<f64>),
}

/// The share of a sample itself in each pixel, along its spatial axes: 1 where it stays, 0 where its partner is taken.
///
/// ```
/// use mixup_rs::{Mask, plan::Shares};
/// let mask = Mask::new(Shares::Single(vec![1.0, 0.5, 0.0, 0.0]))?;
/// assert_eq!((mask.mean(), mask.is_hard()), (0.375, false));
/// assert_eq!(Mask::hard([true, false]), Mask::new(Shares::Bytes(vec![255, 0]))?);
/// # Ok::<(), mixup_rs::MixError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mask {
    shares: Shares,
    is_hard: bool,
    mean: f64,
}

impl Mask {
    /// A mask of these shares.
    ///
    /// # Errors
    /// [`MixError::MaskRange`] if a share is outside [0, 1], [`MixError::MaskEmpty`] if there is no pixel.
    pub fn new(shares: Shares) -> Result<Self> {
        let shares = match shares {
            Shares::Bytes(bytes) => Shares::Bytes(bytes),
            Shares::Single(floats) => checked(floats).map(|of| of.map_or_else(Shares::Bytes, Shares::Single))?,
            Shares::Double(floats) => checked(floats).map(|of| of.map_or_else(Shares::Bytes, Shares::Double))?,
        };
        let mean = match &shares {
            Shares::Bytes(bytes) => {
                bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>() as f64 / (255.0 * bytes.len() as f64)
            }
            Shares::Single(floats) => mean(floats),
            Shares::Double(floats) => mean(floats),
        };
        if mean.is_nan() {
            return Err(MixError::MaskEmpty);
        }
        let is_hard = matches!(&shares, Shares::Bytes(bytes) if bytes.iter().all(|byte| [0, 255].contains(byte)));
        Ok(Self { shares, is_hard, mean: mean.min(1.0) })
    }

    /// A mask of pixels that stay or are taken.
    ///
    /// # Panics
    /// If there is no pixel.
    pub fn hard(stays: impl IntoIterator<Item = bool>) -> Self {
        let bytes = stays.into_iter().map(|stays| if stays { 255 } else { 0 }).collect();
        Self::new(Shares::Bytes(bytes)).expect("bytes are shares")
    }

    /// The number of pixels.
    pub fn len(&self) -> usize {
        match &self.shares {
            Shares::Bytes(bytes) => bytes.len(),
            Shares::Single(floats) => floats.len(),
            Shares::Double(floats) => floats.len(),
        }
    }

    /// Whether there is no pixel: never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The mean of all shares.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Whether every pixel is either the sample's or its partner's.
    pub fn is_hard(&self) -> bool {
        self.is_hard
    }

    /// The shares as they are stored.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// The shares as float64.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.shares {
            Shares::Bytes(bytes) => bytes.iter().map(|&byte| f64::from(byte) / 255.0).collect(),
            Shares::Single(floats) => floats.iter().map(|&float| float.into()).collect(),
            Shares::Double(floats) => floats.clone(),
        }
    }
}

/// Masks are equal by their shares, however they are stored.
impl PartialEq for Mask {
    fn eq(&self, other: &Self) -> bool {
        match (&self.shares, &other.shares) {
            (Shares::Bytes(own), Shares::Bytes(other)) => own == other,
            (Shares::Single(own), Shares::Single(other)) => own == other,
            _ => self.to_f64() == other.to_f64(),
        }
    }
}

/// Checks shares. `Err` with bytes if these hold all of them, which are 0 and 1 then.
fn checked<F: Copy + Into<f64>>(shares: Vec<F>) -> Result<std::result::Result<Vec<F>, Vec<u8>>> {
    let (mut is_valid, mut is_hard) = (true, true);
    for &share in &shares {
        let share: f64 = share.into();
        is_valid &= (0.0..=1.0).contains(&share);
        is_hard &= share == 0.0 || share == 1.0;
    }
    if !is_valid {
        let outside = |share: &F| !(0.0..=1.0).contains(&(*share).into());
        let pixel = shares.iter().position(outside).expect("found above");
        return Err(MixError::MaskRange { pixel, value: shares[pixel].into() });
    }
    Ok(if is_hard {
        Err(shares.iter().map(|&share| if share.into() == 1.0 { 255 } else { 0 }).collect())
    } else {
        Ok(shares)
    })
}

/// The mean of shares; NaN of none. That of equal ones is their share; of others it is exact to a few units in the last
/// place: sums of short stretches, added with the error carried along (Neumaier, 1974).
fn mean<F: Copy + Into<f64> + PartialEq>(shares: &[F]) -> f64 {
    if let Some(first) = shares.first().filter(|&first| shares.iter().all(|share| share == first)) {
        return (*first).into();
    }
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for stretch in shares.chunks(64) {
        let part: f64 = stretch.iter().map(|&share| -> f64 { share.into() }).sum();
        let next = sum + part;
        lost += if sum >= part { (sum - next) + part } else { (part - next) + sum };
        sum = next;
    }
    (sum + lost) / shares.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_0_and_1_are_hard_in_any_type() {
        let hard = Mask::hard([true, false, true]);
        assert!(hard.is_hard());
        assert_eq!(hard, Mask::new(Shares::Single(vec![1.0, 0.0, 1.0])).unwrap());
        assert_eq!(hard, Mask::new(Shares::Double(vec![1.0, -0.0, 1.0])).unwrap());
        assert!(Mask::new(Shares::Double(vec![1.0, 0.0])).unwrap().is_hard());
        for soft in [Shares::Bytes(vec![255, 254]), Shares::Single(vec![1.0, 0.5]), Shares::Double(vec![1e-300, 0.0])] {
            assert!(!Mask::new(soft).unwrap().is_hard());
        }
    }

    #[test]
    fn masks_are_equal_by_value() {
        let [single, double] = [Shares::Single(vec![0.25, 1.0]), Shares::Double(vec![0.25, 1.0])].map(Mask::new);
        assert_eq!(single, double);
        assert_ne!(single, Mask::new(Shares::Double(vec![0.1, 1.0])));
        assert_ne!(single, Mask::new(Shares::Single(vec![0.25, 1.0, 1.0])));
        assert_eq!(Mask::new(Shares::Bytes(vec![51])), Mask::new(Shares::Double(vec![51.0 / 255.0])));
    }

    #[test]
    fn the_mean_is_exact() {
        assert_eq!(Mask::new(Shares::Bytes(vec![51; 1001])).unwrap().mean(), 0.2);
        assert_eq!(Mask::hard((0..1000).map(|i| i < 375)).mean(), 0.375);
        // A tenth, rounded to float64, a million times and one half more. Adding one after another is off by 1e-11.
        let tenths = |last: f64| [vec![0.1; 1_000_000], vec![last]].concat();
        assert_eq!(Mask::new(Shares::Double(tenths(0.1))).unwrap().mean(), 0.1);
        let mean = Mask::new(Shares::Double(tenths(0.5))).unwrap().mean();
        assert!((mean - 100_000.5 / 1_000_001.0).abs() < 1e-15);
        assert_eq!(Mask::new(Shares::Single(vec![0.5; 99])).unwrap().mean(), 0.5);
    }

    #[test]
    fn shares_are_checked() {
        for (value, shares) in
            [(1.5, vec![0.5, 1.5]), (-1e-9, vec![1.0, -1e-9]), (f64::INFINITY, vec![0.0, f64::INFINITY])]
        {
            assert_eq!(Mask::new(Shares::Double(shares)), Err(MixError::MaskRange { pixel: 1, value }));
        }
        assert!(Mask::new(Shares::Single(vec![f32::NAN])).is_err());
        assert_eq!(Mask::new(Shares::Bytes(vec![])), Err(MixError::MaskEmpty));
        assert_eq!(Mask::new(Shares::Double(vec![])), Err(MixError::MaskEmpty));
    }
}
