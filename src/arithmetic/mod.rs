//! The arithmetic: the formula that blends two elements, and normalising.

pub mod element;
pub mod normalize;

pub use element::{Element, Opaque};
pub use normalize::{Normalize, NormalizedOutput, Pixel};
