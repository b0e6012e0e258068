//! `mix_batch`: draw, apply to x, apply to y.

use numpy::PyArray1;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyTuple, PyType};

use crate::random::DRAWN_ALONE;
use crate::rules::{Given, Mixup, Rule};

use super::describe::type_name;
use super::errors::catch_panics;
use super::{arguments, arrays, key, labels, rules, settings, several};

/// The type of the named tuple that `mix_batch` returns, created at import.
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

const DOC: &str = "What `mix_batch` returns.\n\n\
    Attributes\n----------\n\
    x : numpy.ndarray\n    The mixed batch.\n\
    y : numpy.ndarray or None\n    The mixed labels; class indices without `num_classes` as they came; None where none were given.\n\
    y_partner : numpy.ndarray or None\n    `y[partner]` for class indices without `num_classes`.\n\
    lam : numpy.ndarray\n    (n,) float64, the weight of each sample itself.\n\
    partner : numpy.ndarray\n    (n,) intp, the index of the sample that each is mixed with;\n    (n, k - 1) with a rule of a `k` above 2.";

/// Mix a batch and its labels.
///
/// `x[i]` becomes ``lam[i] * x[i] + (1 - lam[i]) * x[partner[i]]``, and `y` alike: mixup, [1]_. It draws a `MixPlan`
/// and applies it to both.
///
/// Parameters
/// ----------
/// x : numpy.ndarray
///     Shape (n, ...), dtype float64, float32, float16, bfloat16 (of ml_dtypes), uint8, int8, uint16 or int16, any
///     strides. It is not copied, and not written to unless it is `out`.
/// y : array_like, optional
///     Floats of shape (n, ...) are blended. Integers of shape (n,) are class indices: float32 soft targets of shape
///     (n, num_classes) with `num_classes`, else returned as they are beside those of the partners. Integers 0 and 1 of
///     shape (n, num_classes) and booleans of shape (n, k) are several labels at once, blended as float32.
/// alpha : float, default 0.4
///     lam ~ Beta(alpha, alpha); finite, 0 for no mixing.
/// mode : {"elem", "pair", "batch"}, default "elem"
///     A lam per sample; one that i and its partner share; one for the batch.
/// fold : bool, default True
///     lam := max(lam, 1 - lam), fastai's habit; False is the paper's.
/// lam : array_like, optional
///     Given weights instead of drawn ones, never folded: a float or (n,) floats in [0, 1]. Excludes `alpha`, `mode` and
///     `fold`.
/// partner : array_like, optional
///     Given partners: (n,) integers in [0, n), repeats allowed. By default a random permutation.
/// rule : Rule, optional
///     Draws the plan instead of the five arguments above. Its regions are along `spatial_axes`.
/// other : numpy.ndarray or (numpy.ndarray, array_like), optional
///     Another batch that partners come from, with samples like those of `x`, more or fewer; with `y` the batch and its
///     labels. `partner` then counts the samples of that batch: drawn, none repeats before all are partners.
/// num_classes : int, optional
///     At least 1; class indices must be in [0, num_classes).
/// label_smoothing : float, default 0.0
///     s in [0, 1], for class indices: 1 - s + s/C for the class, s/C for the others.
/// out : numpy.ndarray, optional
///     An array of the shape and dtype of `x` to write to, or `x` itself to mix in place. It may overlap `x` in any
///     way.
/// spatial_axes : sequence of int, optional
///     The axes of `x` that regions are along: by default the last two of three or more. They must be given where the
///     shape of images looks as if channels came last.
/// rng : None, int, sequence of int, numpy.random.Generator or numpy.random.SeedSequence
///     None draws fresh entropy. An int or a sequence of ints, such as (seed, epoch, batch, rank), is a key. A
///     Generator moves on, a SeedSequence does not.
///
/// Returns
/// -------
/// MixedBatch
///     A named tuple (x, y, y_partner, lam, partner).
///
/// Raises
/// ------
/// ValueError, TypeError
///     Before anything is written, if an argument is not as described.
///
/// See Also
/// --------
/// MixPlan : Decide once, mix anything.
/// Mixup : The rule behind `alpha`, `mode` and `fold`.
///
/// References
/// ----------
/// .. [1] Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412.
///
/// Examples
/// --------
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
    x, y=None, *, alpha=0.4, mode="elem", fold=true, lam=None, partner=None, rule=None, other=None,
    num_classes=None, label_smoothing=0.0, out=None, spatial_axes=None, rng=None
))]
#[allow(clippy::too_many_arguments)] // the public signature
pub(super) fn mix_batch<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    y: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = arguments::alpha)] alpha: f64,
    mode: &str,
    #[pyo3(from_py_with = arguments::fold)] fold: bool,
    lam: Option<&Bound<'py, PyAny>>,
    partner: Option<&Bound<'py, PyAny>>,
    rule: Option<&Bound<'py, PyAny>>,
    other: Option<&Bound<'py, PyAny>>,
    num_classes: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = arguments::label_smoothing)] label_smoothing: f64,
    out: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = arguments::spatial_axes)] spatial_axes: Option<Vec<isize>>,
    rng: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    catch_panics(|| {
        let mixup = Mixup { alpha, mode: arguments::mode(mode)?, fold, ..Mixup::default() };
        let (n, key) = (arrays::samples("x", x)?, key::key(rng)?);
        let Other { x: other, y: other_y, count } = Other::new(other, y.is_some())?;
        let is_set = mixup != Mixup::default();
        let plan = match rule {
            Some(rule) => {
                if is_set || lam.is_some() || partner.is_some() {
                    return Err(PyValueError::new_err(
                        "a rule draws the plan: alpha, mode, fold, lam and partner cannot be given beside it",
                    ));
                }
                let shape = arrays::spatial_shape(x, spatial_axes.as_deref())?;
                let batch = rules::Batch { n, other: count, shape: &shape, labels: y, missing: "spatial_axes" };
                let plan = rules::draw_any(rule, batch, key)?;
                if spatial_axes.is_none() && plan.spatial_shape().is_some() {
                    py.import("mixup_rs.batches.axes")?.call_method1("refuse_channels_last", (x.getattr("shape")?,))?;
                }
                plan
            }
            None if is_set && lam.is_some() => {
                mixup.check()?;
                return Err(PyValueError::new_err(
                    "lam is given: alpha, mode and fold, by which it would be drawn, cannot be given beside it",
                ));
            }
            None => {
                let lam = lam.map(arguments::lam).transpose()?;
                let given = Given {
                    lam,
                    partner: partner.map(|partner| arguments::partner(partner, count)).transpose()?,
                    other: count,
                };
                let limit = if n < DRAWN_ALONE { 1 } else { settings::num_threads(py)? };
                mixup.plan_given(limit, n, given, key)?
            }
        };
        if y.is_some() && plan.lam().iter().any(|&lam| lam < 1.0) && arrays::are_empty(x)? {
            return Err(PyValueError::new_err(format!(
                "y must be None where samples of x have no element, got labels beside x of shape {}: they are not mixed \
                 where nothing else is",
                x.getattr("shape")?
            )));
        }
        let how = labels::soft_targets(num_classes, label_smoothing)?;
        // Labels come first, so that they are checked before anything is written.
        let (y, y_partner) = match y {
            Some(y) => {
                let (y, y_partner) = labels::apply(&plan, y, other_y.as_ref(), how)?;
                (Some(y), y_partner)
            }
            None => (None, None),
        };
        let mixed = arrays::apply(&plan, "x", x, other.as_ref(), out, spatial_axes.as_deref())?;
        let lam = PyArray1::from_slice(py, plan.lam());
        let partner = several::partner(py, &plan)?;
        let fields: Bound<'py, PyTuple> = (mixed, y, y_partner, lam, partner).into_pyobject(py)?;
        // Calling the type would run Python code, which can release the interpreter lock. Up to Python 3.13, a daemon
        // thread that takes the lock while the interpreter shuts down is unwound, and unwinding through Rust frames
        // aborts. (PyO3's own `detach` handles this: there such a thread hangs instead.)
        static NEW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let new = NEW.get_or_try_init(py, || PyResult::Ok(py.get_type::<PyTuple>().getattr("__new__")?.unbind()))?;
        new.bind(py).call1((mixed_batch_type(py)?, fields))
    })
}

/// The argument `other`: another batch, or that and its labels.
struct Other<'py> {
    x: Option<Bound<'py, PyAny>>,
    y: Option<Bound<'py, PyAny>>,
    /// The number of its samples.
    count: Option<usize>,
}

impl<'py> Other<'py> {
    fn new(other: Option<&Bound<'py, PyAny>>, is_labelled: bool) -> PyResult<Self> {
        let Some(other) = other else { return Ok(Self { x: None, y: None, count: None }) };
        let both = other.cast::<PyTuple>().ok().map(|both| both.iter().collect::<Vec<_>>());
        let (x, y) = match (both.as_deref(), is_labelled) {
            (None, false) => (other.clone(), None),
            (Some([x, y]), true) => (x.clone(), Some(y.clone())),
            (_, is_labelled) => {
                let expected = if is_labelled {
                    "a batch and its labels, (x, y), as y is given"
                } else {
                    "a batch alone, as y is not given"
                };
                let got = both.map_or_else(|| type_name(other), |both| format!("a tuple of {}", both.len()));
                return Err(PyTypeError::new_err(format!("other must be {expected}, got {got}")));
            }
        };
        let count = arrays::samples("other", &x)?;
        Ok(Self { x: Some(x), y, count: Some(count) })
    }
}
