//! Mixup (Zhang et al., arXiv 1710.09412) and its kin for whole batches: parallel, exact and repeatable.
//!
//! A [`Rule`] draws a plan, a plan mixes anything. A [`MixPlan`] says who is mixed with whom, how much and of which
//! region; drawing it touches no data and is a pure function of a [`Key`]. It is then applied to any array whose axis 0
//! is the batch: images, embeddings, soft labels.
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
//! `simd`, [`runtime`]; [`random`] → `simd`, [`runtime`]; `simd` → [`arithmetic`]. What knows Python is in `python`
//! alone, behind the feature of that name.

#![deny(unsafe_code)]
#![warn(missing_debug_implementations, rust_2018_idioms)]

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
pub use plan::{Lam, MAX_SPATIAL_AXES, MixPlan, Mode, Rect, Region, SoftTargets};
pub use random::{Key, STREAM_VERSION};
pub use rules::{Choice, CutMix, Mixup, OneOf, Rule};
pub use runtime::BYTES_PER_THREAD;
pub use simd::{ENVIRONMENT as LEVEL_ENVIRONMENT, Level};
