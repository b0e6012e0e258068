//! Mixup (Zhang et al., arXiv 1710.09412) for whole batches: parallel, exact and repeatable.
//!
//! Decide once, mix anything. A [`MixPlan`] says who is mixed with whom and how much; drawing it touches no data and is
//! a pure function of a [`Key`]. It is then applied to any array whose axis 0 is the batch: images, embeddings, soft
//! labels.
//!
//! ```
//! use mixup_rs::{Key, MixPlan, Mixup};
//! use ndarray::Array;
//!
//! let images = Array::<f32, _>::ones((8, 3, 32, 32));
//! let plan = MixPlan::mixup(8, &Mixup::default(), Key::new(&[42]))?;
//! let mixed = plan.apply(images.view())?;
//! assert_eq!(mixed, images.into_dyn());
//! # Ok::<(), mixup_rs::MixError>(())
//! ```
//!
//! The modules stand on one another: [`plan`] on `mix` (the drivers), that on `kernel` and [`element`] (the
//! arithmetic); what knows Python is in `python` alone, behind the feature of that name.

#![deny(unsafe_code)]
#![warn(missing_debug_implementations, rust_2018_idioms)]

mod beta;
pub mod buffer;
pub mod collate;
mod columns;
pub mod cut;
pub mod draw;
pub mod element;
pub mod environment;
pub mod error;
mod kernel;
pub mod labels;
mod layout;
mod mix;
mod order;
mod overlap;
pub mod plan;
mod portable;
#[cfg(feature = "python")]
mod python;
pub mod sample;
pub mod threads;

pub use collate::Normalize;
pub use draw::{CutMix, Lam, Mixup, Mode};
pub use element::Element;
pub use error::MixError;
pub use kernel::{ENVIRONMENT as LEVEL_ENVIRONMENT, Level};
pub use labels::SoftTargets;
pub use mix::BYTES_PER_THREAD;
pub use plan::{MixPlan, SPATIAL_AXES};
pub use sample::{Key, STREAM_VERSION};
