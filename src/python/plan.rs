//! `MixPlan`, seen from Python.

use numpy::prelude::*;
use numpy::{PyArray1, PyArray2};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::draw::{CutMix, Mixup};
use crate::plan::MixPlan;
use crate::sample::{DRAWN_ALONE, Key};

use super::arrays;
use super::{arguments, labels, shielded, workers};

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
        shielded(|| Ok(Self(MixPlan::new(arguments::lam(lam)?, arguments::partner(partner)?)?)))
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
    /// array([2, 1, 0, 3])
    #[staticmethod]
    #[pyo3(signature = (n, *, alpha=0.4, mode="elem", fold=true, lam=None, partner=None, rng=None))]
    fn mixup(
        n: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::alpha)] alpha: f64,
        mode: &str,
        fold: bool,
        lam: Option<&Bound<'_, PyAny>>,
        partner: Option<&Bound<'_, PyAny>>,
        rng: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        shielded(|| draw(n.py(), arguments::count("n", n, 0)?, alpha, mode, fold, lam, partner, rng).map(Self))
    }

    /// The weight of each sample itself: (n,) float64, a copy.
    #[getter]
    fn lam<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        shielded(|| Ok(PyArray1::from_slice(py, self.0.lam())))
    }

    /// With whom each sample is mixed: (n,) intp, a copy.
    #[getter]
    fn partner<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<isize>>> {
        shielded(|| Ok(PyArray1::from_iter(py, self.0.partner().iter().map(|&partner| partner as isize))))
    }

    /// Draws a CutMix plan for n samples of height x width: a box of each is copied from its partner.
    ///
    /// A box has the shape of the image and the area 1 - a, a ~ Beta(alpha, alpha); its centre lies anywhere, and it is
    /// clipped. lam is what is then left of the sample (Yun et al., arXiv 1905.04899).
    ///
    /// alpha: finite and > 0.
    /// mode: "batch", one box; "elem", a box per sample; "pair", i and its partner share a box.
    /// minmax: each side of the box is drawn between these fractions of the image's instead; nothing is clipped.
    /// partner, rng: as for mixup.
    ///
    /// Raises ValueError or TypeError for anything else.
    ///
    /// >>> from mixup_rs import MixPlan
    /// >>> plan = MixPlan.cutmix(2, 8, 8, rng=1)
    /// >>> y0, x0, y1, x1 = plan.boxes[0]
    /// >>> bool(plan.lam[0] == 1 - (y1 - y0) * (x1 - x0) / 64)
    /// True
    #[staticmethod]
    #[pyo3(signature = (n, height, width, *, alpha=1.0, mode="batch", minmax=None, partner=None, rng=None))]
    #[allow(clippy::too_many_arguments)] // the public signature
    fn cutmix(
        n: &Bound<'_, PyAny>,
        height: &Bound<'_, PyAny>,
        width: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::alpha)] alpha: f64,
        mode: &str,
        #[pyo3(from_py_with = arguments::minmax)] minmax: Option<(f64, f64)>,
        partner: Option<&Bound<'_, PyAny>>,
        rng: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        shielded(|| {
            let partner = partner.map(arguments::partner).transpose()?;
            let how = CutMix { alpha, mode: arguments::mode(mode)?, minmax, partner };
            let (height, width) = (arguments::count("height", height, 1)?, arguments::count("width", width, 1)?);
            let key: Key = arguments::key(rng)?;
            Ok(Self(MixPlan::cutmix(arguments::count("n", n, 0)?, height, width, &how, key)?))
        })
    }

    /// A CutMix plan of given boxes: (n, 4) integers y0, x0, y1, x1 within height x width, and partners (n,).
    ///
    /// >>> from mixup_rs import MixPlan
    /// >>> MixPlan.from_boxes([[0, 0, 4, 8], [0, 0, 0, 0]], 8, 8, partner=[1, 0]).lam
    /// array([0.5, 1. ])
    #[staticmethod]
    #[pyo3(signature = (boxes, height, width, partner))]
    fn from_boxes(
        boxes: &Bound<'_, PyAny>,
        height: &Bound<'_, PyAny>,
        width: &Bound<'_, PyAny>,
        partner: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        shielded(|| {
            let (height, width) = (arguments::count("height", height, 1)?, arguments::count("width", width, 1)?);
            let plan = MixPlan::from_boxes(arguments::boxes(boxes)?, height, width, arguments::partner(partner)?)?;
            Ok(Self(plan))
        })
    }

    /// The boxes of a CutMix plan, (n, 4) intp y0, x0, y1, x1, a copy; None for a mixup plan.
    #[getter]
    fn boxes<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray2<isize>>>> {
        shielded(|| {
            let Some(boxes) = self.0.boxes() else { return Ok(None) };
            let flat = boxes.iter().flatten().map(|&bound| bound as isize);
            Ok(Some(PyArray1::from_iter(py, flat).reshape([boxes.len(), 4])?))
        })
    }

    /// The (height, width) of the samples of a CutMix plan; None for a mixup plan.
    #[getter]
    fn spatial_shape(&self) -> Option<(usize, usize)> {
        self.0.spatial_shape().map(Into::into)
    }

    /// The mixed array: new, in the memory layout of x, or out.
    ///
    /// x: a numpy.ndarray of shape (n, ...) and dtype float64, float32, float16, bfloat16 (of ml_dtypes), uint8, int8,
    ///     uint16 or int16; for a CutMix plan of any, masks too. It is not copied, nor written to unless it is out.
    /// out: an array of the shape and dtype of x to write to, or x itself to mix in place. It may overlap x in any way.
    /// spatial_axes: the axes of height and width, for the boxes of a CutMix plan alone.
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
    #[pyo3(signature = (x, out=None, spatial_axes=(-2, -1)))]
    fn apply<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = arguments::spatial_axes)] spatial_axes: (isize, isize),
    ) -> PyResult<Bound<'py, PyAny>> {
        shielded(|| arrays::apply(&self.0, "x", x, out, spatial_axes.into()))
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
        #[pyo3(from_py_with = arguments::label_smoothing)] label_smoothing: f64,
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
        let (py, plan) = (slf.py(), slf.get());
        match plan.0.spatial_shape() {
            None => (slf.get_type(), (plan.lam(py)?, plan.partner(py)?)).into_pyobject(py),
            Some([height, width]) => {
                let arguments = (plan.boxes(py)?, height, width, plan.partner(py)?);
                (slf.getattr("from_boxes")?, arguments).into_pyobject(py)
            }
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (lam, partner) = (self.lam(py)?.repr()?, self.partner(py)?.repr()?);
        Ok(match self.boxes(py)? {
            None => format!("MixPlan(lam={lam}, partner={partner})"),
            Some(boxes) => format!("MixPlan(lam={lam}, partner={partner}, boxes={})", boxes.repr()?),
        })
    }
}

#[allow(clippy::too_many_arguments)] // those of mix_batch
pub(super) fn draw(
    py: Python<'_>,
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
    let limit = if n < DRAWN_ALONE { 1 } else { workers::num_threads(py)? };
    Ok(MixPlan::mixup_on(limit, n, &how, arguments::key(rng)?)?)
}
