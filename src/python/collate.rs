//! `mixup_rs.collate`: mixes a list of arrays while stacking them.

use half::{bf16, f16};
use numpy::prelude::*;
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::apply::dense_like;
use crate::arithmetic::{Element, Normalize, NormalizedOutput, Pixel};
use crate::plan::MixPlan;

use super::arguments;
use super::arrays::{self, Operand};
use super::describe::dtype_name;
use super::dtype::{Dtype, Visitor};
use super::errors::catch_panics;
use super::plan::PyMixPlan;

/// Stack samples into one new batch, mixed by a plan.
///
/// Each sample is read, blended and written once.
///
/// Parameters
/// ----------
/// samples : sequence of numpy.ndarray
///     `len(plan)` arrays of one shape and of one dtype that `MixPlan.apply` blends. They are not written to. Those
///     that are not in C order are copied.
/// plan : MixPlan
///     A plan for as many samples.
/// out : numpy.ndarray, optional
///     An array of shape (len(samples), ...) in C order to write to, which overlaps no sample.
/// normalize : (mean, std), optional
///     Numbers, or one per channel: uint8, uint16, float16, float32 or float64 samples become (mixed - mean) / std of
///     dtype float32, or of the dtype of `out`: float32, float16 or bfloat16. The largest integer counts as 1. Computed
///     in float64, rounded once.
/// spatial_axes : sequence of int, optional
///     The axes of the batch that the regions of the plan are along; by default the last ones.
/// channel_axis : int, optional
///     The axis of the batch that the channels of `normalize` are along; by default axis 1, or the last, that has so
///     many.
///
/// Returns
/// -------
/// numpy.ndarray
///     The batch of shape (len(samples), ...): `out`, or a new array.
///
/// Raises
/// ------
/// ValueError, TypeError
///     Before anything is written, if an argument is not as described.
///
/// See Also
/// --------
/// MixPlan.apply : Mix a batch that is stacked already.
///
/// Examples
/// --------
/// >>> import numpy as np, mixup_rs
/// >>> samples = [np.array([8, 0], dtype=np.uint8), np.array([0, 4], dtype=np.uint8)]
/// >>> mixup_rs.collate(samples, mixup_rs.MixPlan(lam=[0.75, 1.0], partner=[1, 0]))
/// array([[6, 1],
///        [0, 4]], dtype=uint8)
#[pyfunction]
#[pyo3(signature = (samples, plan, *, out=None, normalize=None, spatial_axes=None, channel_axis=None))]
pub(super) fn collate<'py>(
    samples: &Bound<'py, PyAny>,
    plan: &Bound<'py, PyMixPlan>,
    out: Option<&Bound<'py, PyAny>>,
    normalize: Option<&Bound<'py, PyAny>>,
    #[pyo3(from_py_with = arguments::spatial_axes)] spatial_axes: Option<Vec<isize>>,
    channel_axis: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    catch_panics(|| {
        let plan = &plan.get().0;
        let samples = Samples::new(samples, plan)?;
        let normalize = normalize.map(normalize_of).transpose()?;
        let channel_axis = match channel_axis {
            // Axis 0 is the batch.
            Some(axis) => Some(arguments::axis("channel_axis", axis, samples.first.shape().len() + 1)? - 1),
            None => None,
        };
        let job = Job { plan, samples: &samples, normalize, axes: spatial_axes.as_deref(), channel_axis };
        let descr = job.descr(out)?;
        let function = job.function(&descr)?;
        let target = samples.target(out, descr)?;
        function(&job, &target)?;
        Ok(out.cloned().unwrap_or_else(|| target.array.into_any()))
    })
}

/// Arrays of the same shape and dtype.
struct Samples<'py> {
    /// The first sample as given.
    first: Operand<'py>,
    /// All samples in C order.
    all: Vec<Operand<'py>>,
}

impl<'py> Samples<'py> {
    fn new(samples: &Bound<'py, PyAny>, plan: &MixPlan) -> PyResult<Self> {
        let mut all: Vec<Operand<'py>> = Vec::with_capacity(plan.len());
        for (i, sample) in samples.try_iter()?.enumerate() {
            let sample = Operand::input(&format!("samples[{i}]"), &sample?)?;
            if let Some(first) = all.first() {
                same_kind(i, &sample, first)?;
            }
            all.push(sample);
        }
        plan.check_batch(&[all.len()])?;
        let Some(first) = all.first().cloned() else {
            return Err(PyValueError::new_err("expected at least one sample, got none"));
        };
        Ok(Self { first, all: in_c_order(all)? })
    }

    fn shape(&self) -> Vec<usize> {
        [&[self.all.len()], self.first.shape()].concat()
    }

    /// `out` checked, or a new array.
    fn target(&self, out: Option<&Bound<'py, PyAny>>, descr: Bound<'py, PyArrayDescr>) -> PyResult<Operand<'py>> {
        let shape = self.shape();
        let Some(out) = out else {
            let strides = dense_like(&shape, &vec![0; shape.len()]);
            let itemsize = descr.itemsize();
            return Ok(Operand { array: arrays::uninitialised(descr, &shape, &strides)?, itemsize });
        };
        let target = Operand::output(out, &descr)?;
        if target.shape() != shape {
            return Err(crate::MixError::OutShape { got: target.shape().to_vec(), expected: shape }.into());
        }
        if !target.array.is_c_contiguous() {
            return Err(PyValueError::new_err("out must be in C order, got an array with gaps or another order"));
        }
        if let Some(i) = self.all.iter().position(|sample| sample.meets(&target)) {
            return Err(PyValueError::new_err(format!(
                "out must not overlap a sample, got one that overlaps samples[{i}]"
            )));
        }
        Ok(target)
    }
}

/// The samples in C order. Those in another order are copied into one array in recycled memory: an array for each would
/// take new pages every time.
fn in_c_order(mut samples: Vec<Operand<'_>>) -> PyResult<Vec<Operand<'_>>> {
    let others: Vec<usize> = (0..samples.len()).filter(|&i| !samples[i].array.is_c_contiguous()).collect();
    let Some(&first) = others.first() else { return Ok(samples) };
    let gather = match samples[first].itemsize {
        // `Job::function` rejects this dtype. Python objects must not be copied by their bytes.
        _ if Dtype::of(&samples[first].array.dtype()).is_none() => return Ok(samples),
        1 => gather::<u8>,
        2 => gather::<u16>,
        4 => gather::<u32>,
        8 => gather::<u64>,
        size => unreachable!("no element that can be mixed has {size} bytes"),
    };
    let shape = [&[others.len()], samples[first].shape()].concat();
    let strides = dense_like(&shape, &vec![0; shape.len()]);
    let array = arrays::uninitialised(samples[first].array.dtype(), &shape, &strides)?;
    let copies = Operand { array, itemsize: samples[first].itemsize };
    gather(&others.iter().map(|&i| &samples[i]).collect::<Vec<_>>(), &copies)?;
    for (at, i) in others.into_iter().enumerate() {
        samples[i] = Operand::input("samples", &copies.array.as_any().get_item(at)?)?;
    }
    Ok(samples)
}

fn gather<T: Copy + Send + Sync>(samples: &[&Operand<'_>], copies: &Operand<'_>) -> PyResult<()> {
    let views: Vec<_> = samples.iter().map(|sample| sample.view::<T>().raw_view()).collect();
    let target = copies.view::<T>().as_mut_ptr();
    arrays::unlocked(copies, |limit| {
        // SAFETY: the samples are valid, aligned and of the same shape. The new array has room for all of them.
        #[allow(unsafe_code)]
        unsafe {
            crate::apply::gather(&views, target, limit);
        }
        Ok(())
    })
}

fn same_kind(i: usize, sample: &Operand<'_>, first: &Operand<'_>) -> PyResult<()> {
    if sample.shape() != first.shape() {
        let (got, expected) = (sample.shape(), first.shape());
        return Err(PyValueError::new_err(format!(
            "samples must have one shape: samples[0] has {expected:?}, samples[{i}] {got:?}"
        )));
    }
    if !sample.array.dtype().is_equiv_to(&first.array.dtype()) {
        let (got, expected) = (dtype_name(&sample.array), dtype_name(&first.array));
        return Err(PyTypeError::new_err(format!(
            "samples must have one dtype: samples[0] has {expected}, samples[{i}] {got}"
        )));
    }
    Ok(())
}

fn normalize_of(pair: &Bound<'_, PyAny>) -> PyResult<Normalize> {
    let terms = |term: &Bound<'_, PyAny>| -> PyResult<Vec<f64>> {
        let array = arguments::as_array("normalize", term)?;
        array.as_any().call_method1("astype", ("float64",))?.call_method0("ravel")?.call_method0("tolist")?.extract()
    };
    let wrong = |_| PyTypeError::new_err("normalize must be (mean, std), each a number or one per channel");
    let (mean, std): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract().map_err(wrong)?;
    let (mean, std) = (terms(&mean)?, terms(&std)?);
    Ok(Normalize::new(mean, std)?)
}

struct Job<'a, 'py> {
    plan: &'a MixPlan,
    samples: &'a Samples<'py>,
    normalize: Option<Normalize>,
    axes: Option<&'a [isize]>,
    channel_axis: Option<usize>,
}

type Function = fn(&Job<'_, '_>, &Operand<'_>) -> PyResult<()>;

impl<'py> Job<'_, 'py> {
    /// The element type of the batch.
    fn descr(&self, out: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyArrayDescr>> {
        let samples = self.samples.first.array.dtype();
        if self.normalize.is_none() {
            return Ok(samples);
        }
        match out.map(|out| out.cast::<PyUntypedArray>()) {
            Some(Ok(out)) => Ok(out.dtype()),
            _ => Ok(numpy::dtype::<f32>(samples.py())),
        }
    }

    fn function(&self, target: &Bound<'py, PyArrayDescr>) -> PyResult<Function> {
        let source = Dtype::of(&self.samples.first.array.dtype());
        let got = || dtype_name(&self.samples.first.array);
        if self.normalize.is_none() {
            return source.map(|dtype| dtype.visit(ChooseStack)).ok_or_else(|| {
                PyTypeError::new_err(format!("samples must have dtype {}, got {}", Dtype::names(), got()))
            });
        }
        match (source, Dtype::of(target)) {
            (Some(Dtype::U8), Some(output)) => normalized_from::<u8>(output),
            (Some(Dtype::U16), Some(output)) => normalized_from::<u16>(output),
            (Some(Dtype::F16), Some(output)) => normalized_from::<f16>(output),
            (Some(Dtype::F32), Some(output)) => normalized_from::<f32>(output),
            (Some(Dtype::F64), Some(output)) => normalized_from::<f64>(output),
            _ => None,
        }
        .ok_or_else(|| {
            let to = target.str().map_or_else(|_| "?".into(), |name| name.to_string());
            PyTypeError::new_err(format!(
                "normalize takes uint8, uint16, float16, float32 or float64 samples to float32, float16 or bfloat16, \
                 got {} to {to}",
                got()
            ))
        })
    }
}

fn normalized_from<T: Pixel>(output: Dtype) -> Option<Function> {
    match output {
        Dtype::F32 => Some(normalized::<T, f32>),
        Dtype::F16 => Some(normalized::<T, f16>),
        Dtype::Bf16 => Some(normalized::<T, bf16>),
        _ => None,
    }
}

struct ChooseStack;

impl Visitor for ChooseStack {
    type Output = Function;
    fn visit<T: Element>(self) -> Function {
        stack::<T>
    }
}

fn stack<T: Element>(job: &Job<'_, '_>, target: &Operand<'_>) -> PyResult<()> {
    run::<T, T>(job, target, |samples, batch, limit| {
        job.plan.collate(samples, job.samples.first.shape(), job.axes, batch, limit)
    })
}

fn normalized<T: Pixel, O: NormalizedOutput>(job: &Job<'_, '_>, target: &Operand<'_>) -> PyResult<()> {
    let Some(normalize) = &job.normalize else { unreachable!("chosen where it is given") };
    run::<T, O>(job, target, |samples, batch, limit| {
        let shape = job.samples.first.shape();
        job.plan.collate_normalized(samples, shape, job.axes, normalize, job.channel_axis, batch, limit)
    })
}

#[allow(unsafe_code)]
fn run<T, O>(
    job: &Job<'_, '_>,
    target: &Operand<'_>,
    call: impl FnOnce(&[&[T]], &mut [O], usize) -> crate::error::Result<()>,
) -> PyResult<()> {
    // SAFETY: `Samples` holds aligned arrays in C order with elements of this type, alive until the call ends. `target`
    // is such an array too, is writable, and overlaps none of them.
    let (samples, batch) = unsafe {
        let samples: Vec<&[T]> = job.samples.all.iter().map(|sample| sample.as_slice()).collect();
        (samples, target.as_mut_slice::<O>())
    };
    arrays::unlocked(target, |limit| call(&samples, batch, limit))
}
