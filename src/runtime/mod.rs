//! Threads, memory, the machine, and settings from the environment.

pub mod buffer;
pub mod environment;
mod help;
mod machine;
mod pool;

pub use machine::{Machine, Vendor};
pub use pool::{BYTES_PER_THREAD, THREADS_ENVIRONMENT, available, requested, set_limit};
pub(crate) use pool::{for_each, for_each_chunk, jobs, worth};
