//! How many threads, seen from Python.

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::environment::whole_number;
use crate::{LEVEL_ENVIRONMENT, Level, buffer, threads};

use super::{arguments, shielded};

/// The number of threads a large batch is mixed on.
///
/// What `set_num_threads` set in this process; else MIXUP_RS_NUM_THREADS, RAYON_NUM_THREADS or OMP_NUM_THREADS; else 1
/// in a worker of a torch DataLoader; else the processors this process may use. Never more than those.
///
/// >>> import mixup_rs
/// >>> mixup_rs.get_num_threads() >= 1
/// True
#[pyfunction]
pub(super) fn get_num_threads(py: Python<'_>) -> PyResult<usize> {
    shielded(|| num_threads(py))
}

/// Sets the number of threads a large batch is mixed on, in this process. Results do not depend on it.
///
/// num_threads: at least 1; more than there are processors counts as those.
///
/// Raises ValueError if num_threads < 1.
///
/// >>> import mixup_rs
/// >>> mixup_rs.set_num_threads(1)
/// >>> mixup_rs.get_num_threads()
/// 1
#[pyfunction]
pub(super) fn set_num_threads(num_threads: &Bound<'_, PyAny>) -> PyResult<()> {
    shielded(|| {
        threads::set_limit(arguments::count("num_threads", num_threads, 1)?);
        Ok(())
    })
}

/// Gives the memory that waits for the next results back to the system.
///
/// New results lie in the memory of earlier ones that nobody uses any more. MIXUP_RS_CACHE_MB bounds how much may wait.
///
/// >>> import mixup_rs
/// >>> mixup_rs.clear_cache()
#[pyfunction]
pub(super) fn clear_cache() -> PyResult<()> {
    shielded(|| {
        buffer::clear();
        Ok(())
    })
}

/// Warns of settings in the environment that mean nothing, and are taken as not set.
pub(super) fn warn_of_environment(py: Python<'_>) -> PyResult<()> {
    let numbers =
        [(threads::ENVIRONMENT[0], 1, "a whole number >= 1"), (buffer::ENVIRONMENT, 0, "a whole number >= 0")];
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
    match threads::requested() {
        Some(count) => Ok(count),
        None if is_data_loader_worker(py)? => Ok(1),
        None => Ok(threads::available()),
    }
}

/// Asks torch, if it is there: a DataLoader starts a worker per processor, and threads in each would be too many.
fn is_data_loader_worker(py: Python<'_>) -> PyResult<bool> {
    let modules = py.import("sys")?.getattr("modules")?;
    match modules.cast::<PyDict>()?.get_item("torch.utils.data")? {
        Some(data) => Ok(!data.call_method0("get_worker_info")?.is_none()),
        None => Ok(false),
    }
}
