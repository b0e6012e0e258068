//! The Python class `MixPlan`.

use std::hash::{DefaultHasher, Hash, Hasher};

use numpy::{PyArray1, PyArray2};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::plan::{Lam, MixPlan, Regions};

use super::errors::catch_panics;
use super::{arguments, arrays, labels, masks, regions, several};

/// Who is mixed with whom, and how much: decided once, applied to any array whose axis 0 is the batch.
///
/// ``mixed[i] = lam[i] * x[i] + (1 - lam[i]) * x[partner[i]]``, mixup [1]_. A plan with boxes (`from_boxes`, or drawn
/// by `CutMix` [2]_) blends each sample by a weight and then takes a box of it from its partner as it is; `lam` is then
/// the weight times the share outside of the box. The box may hold the whole partner, resized (`ResizeMix`). A plan with
/// masks (`from_masks`, or drawn by `FMix`) has a weight for each pixel, and `lam` is their mean. One of several partners
/// (`from_weights`, or drawn by ``Mixup(k=3)``) makes weighted means of them.
///
/// Parameters
/// ----------
/// lam : array_like
///     (n,) floats in [0, 1], the weight of each sample itself, or one for all.
/// partner : array_like
///     (n,) integers in [0, n), the index of the sample that each is mixed with; repeats allowed.
/// other : int, optional
///     The number of samples of another batch: `partner` is in [0, other), and the plan is applied with that batch.
///
/// Raises
/// ------
/// ValueError
///     If a weight or an index is outside its range or the lengths differ.
/// TypeError
///     For other types.
///
/// See Also
/// --------
/// Rule : What draws plans.
///
/// References
/// ----------
/// .. [1] Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412.
/// .. [2] Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
///    arXiv 1905.04899.
///
/// Examples
/// --------
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
    #[pyo3(signature = (lam, partner, other=None))]
    fn new(lam: &Bound<'_, PyAny>, partner: &Bound<'_, PyAny>, other: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        catch_panics(|| Ok(Self(MixPlan::new(arguments::lam(lam)?, arguments::partners(partner, other)?)?)))
    }

    /// Return the plan that leaves every sample as it is.
    ///
    /// Parameters
    /// ----------
    /// n : int
    ///     The number of samples, at least 0.
    ///
    /// Returns
    /// -------
    /// MixPlan
    ///     A plan of `lam` 1 in which every sample is its own partner.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError
    ///     If `n` is not an int of at least 0.
    ///
    /// Examples
    /// --------
    /// >>> from mixup_rs import MixPlan
    /// >>> MixPlan.identity(2)
    /// MixPlan(lam=array([1., 1.]), partner=array([0, 1]))
    #[staticmethod]
    fn identity(n: &Bound<'_, PyAny>) -> PyResult<Self> {
        catch_panics(|| Ok(Self(MixPlan::identity(arguments::count("n", n, 0)?)?)))
    }

    #[allow(clippy::doc_lazy_continuation)] // a docstring
    #[doc = include_str!("from_boxes.txt")]
    #[staticmethod]
    #[pyo3(
        signature = (boxes, shape, partner, weight=None, resized=None, other=None),
        text_signature = "(boxes, shape, partner, weight=1.0, resized=False, other=None)"
    )]
    fn from_boxes(
        boxes: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = arguments::shape)] shape: Vec<usize>,
        partner: &Bound<'_, PyAny>,
        weight: Option<&Bound<'_, PyAny>>,
        resized: Option<&Bound<'_, PyAny>>,
        other: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        catch_panics(|| {
            let weight = weight.map_or(Ok(Lam::Shared(1.0)), arguments::weight)?;
            let boxes = arguments::boxes(boxes, shape.len())?;
            let resized = resized.map_or(Ok(vec![false]), arguments::resized)?;
            Ok(Self(regions::plan(boxes, &shape, arguments::partners(partner, other)?, weight, &resized)?))
        })
    }

    #[allow(clippy::doc_lazy_continuation)] // a docstring
    #[doc = include_str!("from_masks.txt")]
    #[staticmethod]
    #[pyo3(signature = (masks, partner, shape=None, other=None))]
    fn from_masks(
        masks: &Bound<'_, PyAny>,
        partner: &Bound<'_, PyAny>,
        shape: Option<&Bound<'_, PyAny>>,
        other: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        catch_panics(|| {
            let shape = shape.map(arguments::shape).transpose()?;
            Ok(Self(masks::plan(masks, arguments::partners(partner, other)?, shape)?))
        })
    }

    #[allow(clippy::doc_lazy_continuation)] // a docstring
    #[doc = include_str!("from_weights.txt")]
    #[staticmethod]
    fn from_weights(weights: &Bound<'_, PyAny>, partner: &Bound<'_, PyAny>) -> PyResult<Self> {
        catch_panics(|| Ok(Self(several::plan(weights, partner)?)))
    }

    /// The plan with regions of any kind, as `__reduce__` takes it apart.
    #[staticmethod]
    fn _restore(
        boxes: &Bound<'_, PyAny>,
        masks: Vec<Bound<'_, PyAny>>,
        which: Vec<isize>,
        #[pyo3(from_py_with = arguments::shape)] shape: Vec<usize>,
        partners: (Bound<'_, PyAny>, Option<Bound<'_, PyAny>>),
        weight: &Bound<'_, PyAny>,
        sampling: Vec<u8>,
    ) -> PyResult<Self> {
        catch_panics(|| {
            let boxes = arguments::boxes(boxes, shape.len())?;
            let weight = arguments::weight(weight)?.for_samples(boxes.len(), "weight")?;
            let of = regions::restored(Regions::of_boxes(boxes, &shape, weight)?, &sampling)?;
            let of = masks::restored(of, &masks, &which)?;
            Ok(Self(MixPlan::of_regions(of, arguments::partners(&partners.0, partners.1.as_ref())?)?))
        })
    }

    /// The weight of each sample's own label: what remains of it, unless `with_label_lam` gave another. (n,) float64, a copy.
    #[getter]
    fn lam<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        catch_panics(|| Ok(PyArray1::from_slice(py, self.0.lam())))
    }

    /// The weight of each sample outside of its box or mask, of all of it where there are neither: (n,) float64, a copy.
    #[getter]
    fn weight<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        catch_panics(|| Ok(PyArray1::from_slice(py, self.0.weight())))
    }

    /// The index of the sample that each is mixed with: (n,) intp, a copy; (n, k - 1) where `k` is above 2.
    #[getter]
    fn partner<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        catch_panics(|| several::partner(py, &self.0))
    }

    /// The number of samples that are mixed at a time: 2, unless `from_weights` or a rule with an option `k` says more.
    #[getter]
    fn k(&self) -> usize {
        self.0.k()
    }

    /// The weights of each sample's own label, `lam`, and of those of its partners: (n, k) float64, a copy.
    #[getter]
    fn weights<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        catch_panics(|| several::weights(py, &self.0))
    }

    /// The number of samples of the other batch that partners come from; None if they are samples of the batch itself.
    #[getter]
    fn other(&self) -> Option<usize> {
        self.0.other()
    }

    /// The boxes, resized ones too, starts then ends: (n, 2 * d) intp, a copy; None for a plan without regions, or with masks.
    #[getter]
    fn boxes<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray2<isize>>>> {
        catch_panics(|| match self.0.regions().filter(|regions| !regions.has_masks()) {
            Some(of) => regions::bounds(py, of, |_| true).map(Some),
            None => Ok(None),
        })
    }

    /// The boxes that hold the whole partner, resized: (n, 4) intp, zeros for samples without; None if no sample has one.
    #[getter]
    fn patches<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray2<isize>>>> {
        catch_panics(|| match self.0.regions().filter(|regions| regions.has_resized()) {
            Some(of) => regions::bounds(py, of, |region| region.resized().is_some()).map(Some),
            None => Ok(None),
        })
    }

    /// Whether partners are resized by their nearest pixels, as `for_classes` says.
    #[getter]
    fn takes_nearest(&self) -> bool {
        self.0.regions().is_some_and(regions::takes_nearest)
    }

    /// The share of each sample itself in each pixel: (n, ...) float64; None for a plan without masks.
    ///
    /// A plan of `OneOf` with masks and other regions has all of them here: a box as 0, and the weight outside of it.
    #[getter]
    fn masks<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        catch_panics(|| masks::to_array(py, &self.0))
    }

    /// Whether the plan has regions and only copies, in them and outside: then it is applied to elements of any dtype.
    #[getter]
    fn only_copies(&self) -> bool {
        self.0.only_copies()
    }

    /// The lengths of a sample's spatial axes; None for a plan without regions.
    #[getter]
    fn spatial_shape<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        self.0.spatial_shape().map(|shape| PyTuple::new(py, shape)).transpose()
    }

    /// Return the plan for what has no such spatial axes: every sample blended as a whole.
    ///
    /// Returns
    /// -------
    /// MixPlan
    ///     The same `lam`, `partner` and `other`, without boxes and masks. Its `weight` is what remains of each sample.
    ///
    /// Examples
    /// --------
    /// >>> from mixup_rs import MixPlan
    /// >>> plan = MixPlan.from_boxes([[0, 4], [0, 0]], (8,), partner=[1, 0])
    /// >>> plan.without_region() == MixPlan(lam=[0.5, 1.0], partner=[1, 0])
    /// True
    fn without_region(slf: &Bound<'_, Self>) -> PyResult<Py<Self>> {
        catch_panics(|| match slf.get().0.without_region() {
            std::borrow::Cow::Borrowed(_) => Ok(slf.clone().unbind()),
            std::borrow::Cow::Owned(plan) => Py::new(slf.py(), Self(plan)),
        })
    }

    #[allow(clippy::doc_lazy_continuation)] // a docstring
    #[doc = include_str!("with_label_lam.txt")]
    fn with_label_lam(&self, lam: &Bound<'_, PyAny>) -> PyResult<Self> {
        catch_panics(|| Ok(Self(self.0.clone().with_label_lam(arguments::lam(lam)?)?)))
    }

    #[allow(clippy::doc_lazy_continuation)] // a docstring
    #[doc = include_str!("for_labels.txt")]
    fn for_labels(&self) -> PyResult<Self> {
        catch_panics(|| Ok(Self(self.0.for_labels().into_owned())))
    }

    #[allow(clippy::doc_lazy_continuation)] // a docstring
    #[doc = include_str!("for_classes.txt")]
    fn for_classes(&self) -> PyResult<Self> {
        catch_panics(|| Ok(Self(self.0.for_classes())))
    }

    /// Mix an array.
    ///
    /// Parameters
    /// ----------
    /// x : numpy.ndarray
    ///     Shape (n, ...), dtype float64, float32, float16, bfloat16 (of ml_dtypes), uint8, int8, uint16 or int16; if
    ///     the plan has boxes or masks and blends nothing, any dtype. It is not copied, and not written to unless it is
    ///     `out`.
    /// out : numpy.ndarray, optional
    ///     An array of the shape and dtype of `x` to write to, or `x` itself to mix in place. It may overlap `x` in any
    ///     way, unless `k` is above 2.
    /// spatial_axes : sequence of int, optional
    ///     The axes of `x` that boxes and masks are along; by default the last ones.
    /// other : numpy.ndarray, optional
    ///     The batch that partners come from, if the plan has an `other`: so many samples like those of `x`, not copied.
    ///
    /// Returns
    /// -------
    /// numpy.ndarray
    ///     `out`, or a new array in the memory layout of `x`.
    ///
    /// Raises
    /// ------
    /// ValueError, TypeError
    ///     Before anything is written, if an argument is not as described.
    ///
    /// Examples
    /// --------
    /// >>> import numpy as np
    /// >>> from mixup_rs import MixPlan
    /// >>> x = np.array([[8, 0], [0, 4]], dtype=np.uint8)
    /// >>> plan = MixPlan(lam=[0.75, 1.0], partner=[1, 0])
    /// >>> plan.apply(x, out=x) is x
    /// True
    /// >>> x
    /// array([[6, 1],
    ///        [0, 4]], dtype=uint8)
    /// >>> plan = MixPlan(lam=0.5, partner=[2, 0], other=3)
    /// >>> plan.apply(np.array([8.0, 4.0]), other=np.array([0.0, 1.0, 2.0]))
    /// array([5., 2.])
    #[pyo3(signature = (x, out=None, spatial_axes=None, other=None))]
    fn apply<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = arguments::spatial_axes)] spatial_axes: Option<Vec<isize>>,
        other: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        catch_panics(|| arrays::apply(&self.0, "x", x, other, out, spatial_axes.as_deref()))
    }

    #[allow(clippy::doc_lazy_continuation)] // a docstring
    #[doc = include_str!("apply_labels.txt")]
    #[pyo3(signature = (y, num_classes=None, label_smoothing=0.0, other=None))]
    fn apply_labels<'py>(
        &self,
        y: &Bound<'py, PyAny>,
        num_classes: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = arguments::label_smoothing)] label_smoothing: f64,
        other: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<labels::Mixed<'py>> {
        catch_panics(|| labels::apply(&self.0, y, other, labels::soft_targets(num_classes, label_smoothing)?))
    }

    #[allow(clippy::doc_lazy_continuation)] // a docstring
    #[doc = include_str!("apply_boxes.txt")]
    #[pyo3(
        signature = (boxes, labels, min_visible=None, other=None),
        text_signature = "(self, boxes, labels, min_visible=0.1, other=None)"
    )]
    fn apply_boxes<'py>(
        slf: &Bound<'py, Self>,
        boxes: &Bound<'py, PyAny>,
        labels: &Bound<'py, PyAny>,
        min_visible: Option<&Bound<'py, PyAny>>,
        other: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("mixup_rs.detection")?.call_method1("apply_boxes", (slf, boxes, labels, min_visible, other))
    }

    #[allow(clippy::doc_lazy_continuation)] // a docstring
    #[doc = include_str!("apply_keypoints.txt")]
    #[pyo3(signature = (points, labels=None, other=None))]
    fn apply_keypoints<'py>(
        slf: &Bound<'py, Self>,
        points: &Bound<'py, PyAny>,
        labels: Option<&Bound<'py, PyAny>>,
        other: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("mixup_rs.detection")?.call_method1("apply_keypoints", (slf, points, labels, other))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Equal plans have regions with equal weights, but for the last bit.
    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.partner().hash(&mut hasher);
        if self.0.regions().is_none() {
            self.0.lam().iter().for_each(|lam| (lam + 0.0).to_bits().hash(&mut hasher)); // 0.0 and -0.0 are equal
        }
        hasher.finish()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let (py, plan) = (slf.py(), slf.get());
        if let Some(lam) = plan.0.label_lam() {
            let same = plan.0.clone().with_label_lam(Lam::Each(plan.0.share().to_vec()))?;
            let arguments = (Self(same), PyArray1::from_slice(py, lam));
            return (slf.get_type().getattr("with_label_lam")?, arguments).into_pyobject(py);
        }
        if plan.0.k() > 2 {
            let arguments = (plan.weights(py)?, plan.partner(py)?);
            return (slf.get_type().getattr("from_weights")?, arguments).into_pyobject(py);
        }
        let Some(of) = plan.0.regions() else {
            return (slf.get_type(), (plan.lam(py)?, plan.partner(py)?, plan.other())).into_pyobject(py);
        };
        let (boxes, (masks, which)) = (regions::bounds(py, of, |_| true)?, masks::table(py, of)?);
        let (sampling, weight) = (pyo3::types::PyBytes::new(py, &regions::codes(of)), plan.weight(py)?);
        let (shape, partners) = (plan.spatial_shape(py)?, (plan.partner(py)?, plan.other()));
        let arguments = (boxes, masks, which, shape, partners, weight, sampling);
        (slf.getattr("_restore")?, arguments).into_pyobject(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        regions::repr(py, &self.0)
    }
}
