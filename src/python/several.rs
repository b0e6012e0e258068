//! Plans of more than one partner, as Python gives and sees them.

use numpy::prelude::*;
use numpy::{PyArray1, PyArray2, PyReadonlyArray1};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::error::memory_for;
use crate::plan::MixPlan;

use super::arguments;
use super::describe::dtype_name;

/// Makes a plan of the arguments `weights`, (n, k), and `partner`, (n, k − 1).
pub(super) fn plan(weights: &Bound<'_, PyAny>, partner: &Bound<'_, PyAny>) -> PyResult<MixPlan> {
    let array = arguments::as_array("weights", weights)?;
    if !b"fiu".contains(&array.dtype().kind()) {
        let got = dtype_name(&array);
        return Err(PyTypeError::new_err(format!("weights must be floats, got {got}")));
    }
    let &[n, k] = array.shape() else {
        let got = array.shape();
        return Err(PyValueError::new_err(format!("weights must have shape (n, k), got {got:?}")));
    };
    let partner = arguments::several_partners(partner, n, k.saturating_sub(1))?;
    memory_for(array.len())?;
    let floats = array.as_any().call_method1("astype", ("float64",))?.call_method0("ravel")?;
    let floats: PyReadonlyArray1<'_, f64> = floats.extract()?;
    Ok(MixPlan::from_weights(k, floats.as_array().to_vec(), partner)?)
}

/// The partners of all samples: (n,), or (n, k − 1).
pub(super) fn partner<'py>(py: Python<'py>, plan: &MixPlan) -> PyResult<Bound<'py, PyAny>> {
    let flat = PyArray1::from_iter(py, plan.partner().iter().map(|&partner| partner as isize));
    if plan.k() == 2 { Ok(flat.into_any()) } else { Ok(flat.reshape([plan.len(), plan.k() - 1])?.into_any()) }
}

/// The weights of labels, (n, k).
pub(super) fn weights<'py>(py: Python<'py>, plan: &MixPlan) -> PyResult<Bound<'py, PyArray2<f64>>> {
    PyArray1::from_vec(py, plan.weights()).reshape([plan.len(), plan.k()])
}
