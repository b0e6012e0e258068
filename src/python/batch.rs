//! `mix_batch`: draw, apply to x, apply to y.

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyTuple, PyType};

use crate::plan::SPATIAL_AXES;

use super::{arguments, arrays, labels, plan, shielded};

/// The named tuple that `mix_batch` returns, made at import.
pub(super) fn mixed_batch_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let made = TYPE.get_or_try_init(py, || {
        let fields = ("x", "y", "y_partner", "lam", "partner");
        let options = [("module", "mixup_rs")].into_py_dict(py)?;
        let made = py.import("collections")?.getattr("namedtuple")?.call(("MixedBatch", fields), Some(&options))?;
        made.setattr("__doc__", DOC)?;
        Ok::<_, PyErr>(made.cast_into::<PyType>()?.unbind())
    })?;
    Ok(made.bind(py))
}

const DOC: &str = "What mix_batch returns.\n\n\
    x: the mixed batch.\n\
    y: the mixed labels; class indices without num_classes as they came; None where none were given.\n\
    y_partner: y[partner] for class indices without num_classes, else None.\n\
    lam: (n,) float64, the weight of each sample itself.\n\
    partner: (n,) intp, with whom it was mixed.";

/// Mixes a batch and its labels: x[i] becomes lam[i] * x[i] + (1 - lam[i]) * x[partner[i]], and y alike.
///
/// It draws a MixPlan and applies it to both; see MixPlan.mixup for alpha, mode, fold, lam, partner and rng,
/// MixPlan.apply for x and out, and MixPlan.apply_labels for y, num_classes and label_smoothing.
/// Returns a MixedBatch (x, y, y_partner, lam, partner). The method: Zhang et al., arXiv 1710.09412.
///
/// Raises ValueError or TypeError before anything is written.
///
/// >>> import numpy as np, mixup_rs
/// >>> x, y = np.array([[8.0, 0.0], [0.0, 4.0]]), np.array([0, 2])
/// >>> mixed = mixup_rs.mix_batch(x, y, lam=0.75, partner=[1, 0], num_classes=3)
/// >>> mixed.x
/// array([[6., 1.],
///        [2., 3.]])
/// >>> mixed.y
/// array([[0.75, 0.  , 0.25],
///        [0.25, 0.  , 0.75]], dtype=float32)
#[pyfunction]
#[pyo3(signature = (
    x, y=None, *, alpha=0.4, mode="elem", fold=true, lam=None, partner=None,
    num_classes=None, label_smoothing=0.0, out=None, rng=None
))]
#[allow(clippy::too_many_arguments)] // the public signature
pub(super) fn mix_batch<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    y: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = arguments::alpha)] alpha: f64,
    mode: &str,
    fold: bool,
    lam: Option<&Bound<'py, PyAny>>,
    partner: Option<&Bound<'py, PyAny>>,
    num_classes: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = arguments::label_smoothing)] label_smoothing: f64,
    out: Option<&Bound<'py, PyAny>>,
    rng: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    shielded(|| {
        let plan = plan::draw(py, arrays::samples(x)?, alpha, mode, fold, lam, partner, rng)?;
        let how = labels::soft_targets(num_classes, label_smoothing)?;
        // Labels first: they are checked before anything is written.
        let (y, y_partner) = match y {
            Some(y) => {
                let (y, y_partner) = labels::apply(&plan, y, how)?;
                (Some(y), y_partner)
            }
            None => (None, None),
        };
        let mixed = arrays::apply(&plan, "x", x, out, SPATIAL_AXES)?;
        let lam = PyArray1::from_slice(py, plan.lam());
        let partner = PyArray1::from_iter(py, plan.partner().iter().map(|&partner| partner as isize));
        let fields: Bound<'py, PyTuple> = (mixed, y, y_partner, lam, partner).into_pyobject(py)?;
        // Not by calling the type: that would run Python's code, which hands over the lock; and up to Python 3.13 a
        // daemon thread that asks for it while the interpreter ends is unwound, which frames of Rust below it turn into
        // an abort. (PyO3 sees to its own: where `detach` comes back, such a thread waits for ever.)
        static NEW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let new = NEW.get_or_try_init(py, || PyResult::Ok(py.get_type::<PyTuple>().getattr("__new__")?.unbind()))?;
        new.bind(py).call1((mixed_batch_type(py)?, fields))
    })
}
