//! `MixPlan`, seen from Python.

use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::plan::{MixPlan, Mixup};

use super::arrays::{self, Mixable};
use super::{arguments, labels, shielded};

/// Who is mixed with whom, and how much: decided once, applied to any array whose axis 0 is the batch.
///
/// mixed[i] = lam[i] * x[i] + (1 - lam[i]) * x[partner[i]]   (Zhang et al., arXiv 1710.09412)
///
/// lam: (n,) floats in [0, 1], or one for all. partner: (n,) integers in [0, n); repeats allowed.
///
/// Raises ValueError if a weight or an index lies outside its range or the lengths differ, TypeError for other types.
///
/// >>> import numpy as np
/// >>> from mixup_rs import MixPlan
/// >>> plan = MixPlan(lam=[0.75, 1.0], partner=[1, 0])
/// >>> plan.apply(np.array([[8.0, 0.0], [0.0, 4.0]]))
/// array([[6., 1.],
///        [0., 4.]])
#[pyclass(frozen, name = "MixPlan", module = "mixup_rs")]
pub(super) struct PyMixPlan(pub(super) MixPlan);

#[pymethods]
impl PyMixPlan {
    #[new]
    fn new(lam: &Bound<'_, PyAny>, partner: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self(MixPlan::new(arguments::lam(lam)?, arguments::partner(partner)?)?))
    }

    /// Draws a mixup plan for n samples: a pure function of its arguments, unless rng is None or a Generator.
    ///
    /// alpha: lam ~ Beta(alpha, alpha); finite and > 0.
    /// mode: "elem", a lam per sample; "pair", i and its partner share lam; "batch", one lam.
    /// fold: lam := max(lam, 1 - lam), fastai's habit; False is the paper's.
    /// lam: given weights instead of drawn ones, never folded: a float or (n,) floats in [0, 1].
    /// partner: given partners: (n,) integers in [0, n); repeats allowed. By default a random permutation.
    /// rng: None for fresh entropy; an int or a sequence of ints, such as (seed, epoch, rank, step), as a key; a
    ///     numpy.random.Generator, which moves on, or SeedSequence, which does not.
    ///
    /// Raises ValueError or TypeError for anything else.
    ///
    /// >>> from mixup_rs import MixPlan
    /// >>> plan = MixPlan.mixup(4, rng=(42, 0))
    /// >>> plan == MixPlan.mixup(4, rng=(42, 0))
    /// True
    /// >>> plan.partner
    /// array([1, 2, 0, 3])
    #[staticmethod]
    #[pyo3(signature = (n, *, alpha=0.4, mode="elem", fold=true, lam=None, partner=None, rng=None))]
    fn mixup(
        n: &Bound<'_, PyAny>,
        alpha: f64,
        mode: &str,
        fold: bool,
        lam: Option<&Bound<'_, PyAny>>,
        partner: Option<&Bound<'_, PyAny>>,
        rng: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        shielded(|| draw(arguments::count("n", n, 0)?, alpha, mode, fold, lam, partner, rng).map(Self))
    }

    /// The weight of each sample itself: (n,) float64, a copy.
    #[getter]
    fn lam<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_slice(py, self.0.lam())
    }

    /// With whom each sample is mixed: (n,) intp, a copy.
    #[getter]
    fn partner<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<isize>> {
        PyArray1::from_iter(py, self.0.partner().iter().map(|&partner| partner as isize))
    }

    /// The mixed array: new, in the memory layout of x, or out.
    ///
    /// x: a numpy.ndarray of shape (n, ...) and dtype float64, float32, float16, bfloat16 (of ml_dtypes), uint8, int8,
    ///     uint16 or int16. It is not copied, and not written to unless it is out.
    /// out: an array of the shape and dtype of x to write to, or x itself to mix in place. It may overlap x in any way.
    ///
    /// Raises ValueError or TypeError before anything is written.
    ///
    /// >>> import numpy as np
    /// >>> from mixup_rs import MixPlan
    /// >>> x = np.array([[8, 0], [0, 4]], dtype=np.uint8)
    /// >>> plan = MixPlan(lam=[0.75, 1.0], partner=[1, 0])
    /// >>> plan.apply(x, out=x) is x
    /// True
    /// >>> x
    /// array([[6, 1],
    ///        [0, 4]], dtype=uint8)
    #[pyo3(signature = (x, out=None))]
    fn apply<'py>(&self, x: &Bound<'py, PyAny>, out: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        shielded(|| arrays::apply(&self.0, &Mixable::input("x", x)?, out))
    }

    /// The mixed labels, as (y, y_partner); y_partner is None where y is already mixed.
    ///
    /// y: floats of shape (n, ...) are blended like x. Integers of shape (n,) become float32 soft targets of shape
    ///     (n, num_classes); without num_classes they are returned as they are, with y[partner] as y_partner: the
    ///     paper's (y_a, y_b, lam). Booleans of shape (n, k) are several labels at once, blended as float32.
    /// num_classes: at least 1; class indices must lie in [0, num_classes).
    /// label_smoothing: s in [0, 1], for class indices: 1 - s + s/C for the class, s/C for the others.
    ///
    /// Raises ValueError or TypeError.
    ///
    /// >>> import numpy as np
    /// >>> from mixup_rs import MixPlan
    /// >>> plan = MixPlan(lam=[0.75, 1.0], partner=[1, 0])
    /// >>> plan.apply_labels(np.array([0, 2]), num_classes=3)[0]
    /// array([[0.75, 0.  , 0.25],
    ///        [0.  , 0.  , 1.  ]], dtype=float32)
    /// >>> plan.apply_labels(np.array([0, 2]))
    /// (array([0, 2]), array([2, 0]))
    #[pyo3(signature = (y, num_classes=None, label_smoothing=0.0))]
    fn apply_labels<'py>(
        &self,
        y: &Bound<'py, PyAny>,
        num_classes: Option<&Bound<'py, PyAny>>,
        label_smoothing: f64,
    ) -> PyResult<labels::Mixed<'py>> {
        shielded(|| labels::apply(&self.0, y, labels::soft_targets(num_classes, label_smoothing)?))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let arguments = (slf.get().lam(py), slf.get().partner(py));
        (slf.get_type(), arguments).into_pyobject(py)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("MixPlan(lam={:?}, partner={:?})", self.lam(py), self.partner(py))
    }
}

pub(super) fn draw(
    n: usize,
    alpha: f64,
    mode: &str,
    fold: bool,
    lam: Option<&Bound<'_, PyAny>>,
    partner: Option<&Bound<'_, PyAny>>,
    rng: Option<&Bound<'_, PyAny>>,
) -> PyResult<MixPlan> {
    let how = Mixup {
        alpha,
        mode: arguments::mode(mode)?,
        fold,
        lam: lam.map(arguments::lam).transpose()?,
        partner: partner.map(arguments::partner).transpose()?,
    };
    Ok(MixPlan::mixup(n, &how, arguments::key(rng)?)?)
}
