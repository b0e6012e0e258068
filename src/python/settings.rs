//! The settings of threads and recycled memory for Python, and warnings about the environment.

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::runtime::environment::whole_number;
use crate::runtime::{self, buffer};
use crate::{LEVEL_ENVIRONMENT, Level};

use super::arguments;
use super::errors::catch_panics;

/// Return the number of threads a large batch is mixed on.
///
/// Returns
/// -------
/// int
///     What `set_num_threads` set in this process; else MIXUP_RS_NUM_THREADS, RAYON_NUM_THREADS or OMP_NUM_THREADS;
///     else 1 in a worker of a torch DataLoader; else the number of processors that this process may use. Never more
///     than those.
///
/// See Also
/// --------
/// set_num_threads : Set it.
///
/// Examples
/// --------
/// >>> import mixup_rs
/// >>> mixup_rs.get_num_threads() >= 1
/// True
#[pyfunction]
pub(super) fn get_num_threads(py: Python<'_>) -> PyResult<usize> {
    catch_panics(|| num_threads(py))
}

/// Set the number of threads a large batch is mixed on, in this process.
///
/// Results do not depend on it.
///
/// Parameters
/// ----------
/// num_threads : int
///     At least 1. More threads than processors count as the number of processors.
///
/// Raises
/// ------
/// ValueError
///     If `num_threads` is below 1.
/// TypeError
///     If it is not an int.
///
/// See Also
/// --------
/// get_num_threads : The number in use.
///
/// Examples
/// --------
/// >>> import mixup_rs
/// >>> mixup_rs.set_num_threads(1)
/// >>> mixup_rs.get_num_threads()
/// 1
#[pyfunction]
pub(super) fn set_num_threads(num_threads: &Bound<'_, PyAny>) -> PyResult<()> {
    catch_panics(|| {
        runtime::set_limit(arguments::count("num_threads", num_threads, 1)?);
        Ok(())
    })
}

/// Return the memory that is kept for the next results to the system.
///
/// A new result reuses the memory of an earlier one that has been freed. MIXUP_RS_CACHE_MB bounds how much is kept.
///
/// Examples
/// --------
/// >>> import mixup_rs
/// >>> mixup_rs.clear_cache()
#[pyfunction]
pub(super) fn clear_cache() -> PyResult<()> {
    catch_panics(|| {
        buffer::clear();
        Ok(())
    })
}

/// Warns about invalid values in the environment, which are ignored.
pub(super) fn warn_of_environment(py: Python<'_>) -> PyResult<()> {
    let numbers =
        [(runtime::THREADS_ENVIRONMENT[0], 1, "a whole number >= 1"), (buffer::ENVIRONMENT, 0, "a whole number >= 0")];
    for (name, least, expected) in numbers {
        if let Err(got) = whole_number(name, least) {
            warn(py, format!("{name} must be {expected}, got {got:?}; it is ignored"))?;
        }
    }
    if let Err(got) = Level::forced() {
        let names: Vec<&str> = Level::available().into_iter().map(Level::name).collect();
        let names = names.join(", ");
        warn(py, format!("{LEVEL_ENVIRONMENT} must be one of {names} on this processor, got {got:?}; it is ignored"))?;
    }
    Ok(())
}

fn warn(py: Python<'_>, message: String) -> PyResult<()> {
    let category = py.get_type::<PyRuntimeWarning>();
    py.import("warnings")?.call_method1("warn", (message, category))?;
    Ok(())
}

pub(super) fn num_threads(py: Python<'_>) -> PyResult<usize> {
    match runtime::requested() {
        Some(count) => Ok(count),
        None if is_data_loader_worker(py)? => Ok(1),
        None => Ok(runtime::available()),
    }
}

/// Whether torch, if loaded, says that this is a DataLoader worker. A DataLoader starts several workers, and with
/// threads in each there would be more threads than processors.
fn is_data_loader_worker(py: Python<'_>) -> PyResult<bool> {
    let modules = py.import("sys")?.getattr("modules")?;
    match modules.cast::<PyDict>()?.get_item("torch.utils.data")? {
        Some(data) => Ok(!data.call_method0("get_worker_info")?.is_none()),
        None => Ok(false),
    }
}
