//! The Python bindings: they convert arguments, results and errors. All other code is independent of Python.

mod arguments;
mod arrays;
mod batch;
mod collate;
mod describe;
mod dtype;
mod errors;
mod key;
mod labels;
mod masks;
mod plan;
mod regions;
mod rules;
mod settings;
mod several;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

#[cfg(feature = "panics")]
use errors::catch_panics;

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
        let machine = crate::Machine::current();
        module.add("CACHES", (machine.first, machine.second, machine.third))?;
        module.add("DTYPES", PyTuple::new(module.py(), dtype::Dtype::all_names())?)?;
        module.add("MixedBatch", batch::mixed_batch_type(module.py())?)?;
        module.add("SIMD_LEVEL", crate::Level::current().name())?;
        module.add("STREAM_VERSION", crate::STREAM_VERSION)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
