//! The way out of an interpreter whose daemon threads still mix.
//!
//! Up to Python 3.13 a thread that asks for the interpreter lock while the interpreter ends is ended by `pthread_exit`,
//! which unwinds the stack; frames of Rust on it abort the process. So a thread that comes back from mixing after the
//! exit has begun waits for the end of the process instead, and the exit waits for those that are asking already.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

static LEAVING: AtomicBool = AtomicBool::new(false);

/// How many threads are about to ask for the lock, or do.
static RETURNING: AtomicUsize = AtomicUsize::new(0);

/// The exit waits no longer than this: a fork may have left a count behind that nobody will lower.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs `call` without the interpreter lock.
pub(super) fn unlocked<R: Send>(py: Python<'_>, call: impl FnOnce() -> R + Send) -> R {
    if LEAVING.load(Ordering::SeqCst) {
        return call();
    }
    let result = py.detach(|| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
        RETURNING.fetch_add(1, Ordering::SeqCst);
        if LEAVING.load(Ordering::SeqCst) {
            RETURNING.fetch_sub(1, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
        result
    });
    RETURNING.fetch_sub(1, Ordering::SeqCst);
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Called by `atexit`, before the interpreter ends threads.
#[pyfunction]
fn leave(py: Python<'_>) {
    LEAVING.store(true, Ordering::SeqCst);
    py.detach(|| {
        let begun = Instant::now();
        while RETURNING.load(Ordering::SeqCst) > 0 && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let leave = wrap_pyfunction!(leave, module)?;
    module.py().import("atexit")?.call_method1("register", (leave,))?;
    Ok(())
}
