//! How many threads, seen from Python.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::{buffer, threads};

use super::arguments;

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
    num_threads(py)
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
    threads::set_limit(arguments::count("num_threads", num_threads, 1)?);
    Ok(())
}

/// Gives the memory that waits for the next results back to the system.
///
/// New results lie in the memory of earlier ones that nobody uses any more. MIXUP_RS_CACHE_MB bounds how much may wait.
///
/// >>> import mixup_rs
/// >>> mixup_rs.clear_cache()
#[pyfunction]
pub(super) fn clear_cache() {
    buffer::clear();
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
