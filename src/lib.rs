//! Mixup (Zhang et al., arXiv 1710.09412) and CutMix (Yun et al., arXiv 1905.04899) for whole batches: parallel, exact
//! and repeatable.
//!
//! A [`Rule`] draws a [`MixPlan`], and the plan mixes any array whose axis 0 is the batch: images, embeddings, soft
//! labels. A plan holds the partner of each sample, its weight and the region taken from the partner. Drawing a plan
//! touches no data and is a pure function of a [`Key`].
//!
//! ```
//! use mixup_rs::{Key, Mixup, Rule};
//! use ndarray::Array;
//!
//! let images = Array::<f32, _>::ones((8, 3, 32, 32));
//! let plan = Mixup::default().plan(8, &[], Key::new(&[42]))?;
//! let mixed = plan.apply(images.view())?;
//! assert_eq!(mixed, images.into_dyn());
//! # Ok::<(), mixup_rs::MixError>(())
//! ```
//!
//! Imports go one way: `python` → [`rules`] → [`plan`], [`random`]; `python` → `apply` → [`plan`], [`arithmetic`],
//! `simd`, [`runtime`]; [`random`] → `simd`, [`runtime`]; `simd` → [`arithmetic`]. All code that knows Python is in
//! `python`, behind the feature of that name.

#![deny(unsafe_code)]
#![warn(missing_debug_implementations, missing_docs, rust_2018_idioms)]

mod apply;
pub mod arithmetic;
pub mod error;
pub mod plan;
#[cfg(feature = "python")]
mod python;
pub mod random;
pub mod rules;
pub mod runtime;
mod simd;

pub use arithmetic::{Element, Normalize, Opaque};
pub use error::MixError;
pub use plan::{Lam, MAX_SPATIAL_AXES, Mask, MixPlan, Mode, Partners, Rect, Region, Sampling, SoftTargets};
pub use random::{Key, STREAM_VERSION};
pub use rules::*;
pub use runtime::{BYTES_PER_THREAD, Machine, Vendor};
pub use simd::{ENVIRONMENT as LEVEL_ENVIRONMENT, Level};
