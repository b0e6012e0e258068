//! Blending one run of elements with another.
//!
//! The loops are written once, for any [`Element`], and compiled once per instruction set. [`Level`] selects one at run
//! time. The compiler vectorises them, as an element's blend is branch-free and the runs do not alias. No instruction
//! set fuses or reorders operations, so all give the same bits.
//!
//! Three parts are written by hand for x86-64: whole [`blocks`] of floats and bytes, stores past the cache
//! ([`stream`]), and [`prefetch`]ing.

mod blend;
#[cfg(target_arch = "x86_64")]
mod blocks;
mod convert;
mod lanes;
mod level;
mod masked;
mod prefetch;
mod run;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
pub(crate) mod vectorised;
#[cfg(target_arch = "x86_64")]
mod vectors;

pub(crate) use blend::{Recipe, blend_in_place, blend_into};
pub(crate) use convert::{converts_apart, narrow, widen};
pub(crate) use lanes::Lanes;
pub use level::{ENVIRONMENT, Level};
pub(crate) use masked::{MaskedRun, Share, ShareRun, blend_masked};
pub(crate) use prefetch::{Ahead, CACHE_LINE, Cache};
pub(crate) use vectorised::vectorised;
