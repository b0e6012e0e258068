//! Names of types and dtypes for error messages, and the check for masked arrays.

use numpy::PyUntypedArray;
use numpy::prelude::*;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

pub(super) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().fully_qualified_name().map_or_else(|_| "?".into(), |name| name.to_string())
}

pub(super) fn dtype_name(array: &Bound<'_, PyUntypedArray>) -> String {
    array.dtype().str().map_or_else(|_| "an unknown one".into(), |name| name.to_string())
}

/// Rejects a masked array, as its mask would be lost.
pub(super) fn refuse_masked(name: &str, array: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
    static PLAIN: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static MASKED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = array.py();
    if array.get_type().is(PLAIN.import(py, "numpy", "ndarray")?) {
        return Ok(());
    }
    if array.is_instance(MASKED.import(py, "numpy.ma", "MaskedArray")?)? {
        return Err(PyTypeError::new_err(format!(
            "{name} must not be a masked array: its mask would be lost; fill it first, or pass {name}.data"
        )));
    }
    Ok(())
}
