//! Errors and panics, as Python exceptions.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyMemoryError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

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
pub(super) fn catch_panics<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let message = (panic.downcast_ref::<&str>().copied())
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Err(PyRuntimeError::new_err(format!("internal error in mixup_rs, please report it: {message}")))
    })
}
