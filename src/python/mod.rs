//! The Python bindings: they convert arguments, results and errors. All other code is independent of Python.

mod arguments;
mod arrays;
mod batch;
mod collate;
mod describe;
mod dtype;
mod key;
mod labels;
mod plan;
mod rules;
mod settings;

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::MixError;

impl From<MixError> for PyErr {
    fn from(error: MixError) -> Self {
        match error {
            MixError::TooManySamples(_) => PyMemoryError::new_err(error.to_string()),
            _ => PyValueError::new_err(error.to_string()),
        }
    }
}

/// Runs `body` and turns a panic into a RuntimeError. PyO3's own PanicException is not caught by `except Exception`,
/// and a DataLoader worker loses its message.
fn catch_panics<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let message = (panic.downcast_ref::<&str>().copied())
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Err(PyRuntimeError::new_err(format!("internal error in mixup_rs, please report it: {message}")))
    })
}

/// Panics on a thread of the pool, as a bug in a kernel would.
#[cfg(feature = "panics")]
#[pyfunction]
fn _panic(py: Python<'_>, threads: usize) -> PyResult<()> {
    let work = |(): &mut (), job| assert!(job != 7, "a deliberate panic");
    catch_panics(|| {
        py.detach(|| crate::runtime::for_each(16, threads, || (), work));
        Ok(())
    })
}

#[pymodule(gil_used = false)]
mod _core {
    use super::*;

    #[cfg(feature = "panics")]
    #[pymodule_export]
    use super::_panic;
    #[pymodule_export]
    use super::batch::mix_batch;
    #[pymodule_export]
    use super::collate::collate;
    #[pymodule_export]
    use super::plan::PyMixPlan;
    #[pymodule_export]
    use super::rules::{check, draw};
    #[pymodule_export]
    use super::settings::{clear_cache, get_num_threads, set_num_threads};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        settings::warn_of_environment(module.py())?;
        module.add("DTYPES", PyTuple::new(module.py(), dtype::Dtype::all_names())?)?;
        module.add("MixedBatch", batch::mixed_batch_type(module.py())?)?;
        module.add("SIMD_LEVEL", crate::Level::current().name())?;
        module.add("STREAM_VERSION", crate::STREAM_VERSION)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
