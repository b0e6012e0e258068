//! NumPy arrays to views and back, without copies.
//!
//! The memory is taken as it is described by pointer, shape and strides, not through borrows: an in-place call passes
//! the same array twice, and which arrays overlap is decided by their bytes (see [`crate::plan`]). As in NumPy, nobody
//! may write to an array while another thread mixes it.

use half::{bf16, f16};
use ndarray::{IxDyn, RawArrayView, RawArrayViewMut, ShapeBuilder};
use numpy::npyffi::{self, PY_ARRAY_API, PyArrayObject, npy_intp};
use numpy::prelude::*;
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::exceptions::{PyMemoryError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::buffer::{Buffer, RECYCLED_BYTES};
use crate::element::Element;
use crate::layout::dense_like;
use crate::mix::PARALLEL_BYTES;
use crate::plan::MixPlan;

use super::workers;

const MIXABLE: &str = "float64, float32, float16, bfloat16, uint8, int8, uint16 or int16";

/// The element type of an array, known at run time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    U8,
    I8,
    U16,
    I16,
}

impl Dtype {
    /// The element type that `descr` describes, if it is one that can be mixed, in native byte order.
    pub(super) fn of(descr: &Bound<'_, PyArrayDescr>) -> Option<Self> {
        if descr.is_native_byteorder() == Some(false) {
            return None;
        }
        match (descr.kind(), descr.itemsize()) {
            (b'f', 8) => Some(Self::F64),
            (b'f', 4) => Some(Self::F32),
            (b'f', 2) => Some(Self::F16),
            (b'u', 1) => Some(Self::U8),
            (b'i', 1) => Some(Self::I8),
            (b'u', 2) => Some(Self::U16),
            (b'i', 2) => Some(Self::I16),
            // NumPy knows bfloat16 only from the package ml_dtypes, which registers it as a type of no known kind.
            (_, 2) if descr.typeobj().name().is_ok_and(|name| name == "bfloat16") => Some(Self::Bf16),
            _ => None,
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 | Self::U16 | Self::I16 => 2,
            Self::U8 | Self::I8 => 1,
        }
    }
}

/// An array that can be mixed: of a supported element type, aligned, its strides whole elements.
pub(super) struct Mixable<'py> {
    array: Bound<'py, PyUntypedArray>,
    dtype: Dtype,
}

impl<'py> Mixable<'py> {
    /// `object` as an input called `name`. Never copies, but for an array that is not aligned.
    pub(super) fn input(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let array = plain_array(name, object)?;
        let dtype = Dtype::of(&array.dtype()).ok_or_else(|| {
            let hint = if name == "x" { "; x.astype(numpy.float32) would do" } else { "" };
            PyTypeError::new_err(format!("{name} must have dtype {MIXABLE}, got {}{hint}", dtype_name(&array)))
        })?;
        if is_addressable(&array, dtype) {
            return Ok(Self { array, dtype });
        }
        let copy = array.as_any().call_method1("copy", ("K",))?;
        Ok(Self { array: copy.cast_into()?, dtype })
    }

    /// `object` as an array to write the result of mixing `x` to.
    fn output(object: &Bound<'py, PyAny>, x: &Self) -> PyResult<Self> {
        let array = plain_array("out", object)?;
        if !array.dtype().is_equiv_to(&x.array.dtype()) {
            let (got, expected) = (dtype_name(&array), dtype_name(&x.array));
            return Err(PyTypeError::new_err(format!("out must have dtype {expected}, as x has, got {got}")));
        }
        if !is_addressable(&array, x.dtype) {
            return Err(PyValueError::new_err("out must be aligned, got an array at an odd address or stride"));
        }
        if flags(&array) & npyffi::NPY_ARRAY_WRITEABLE == 0 {
            return Err(PyValueError::new_err("out must be writeable, got a read-only array"));
        }
        Ok(Self { array, dtype: x.dtype })
    }

    pub(super) fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    /// The length of axis 0.
    pub(super) fn samples(&self) -> PyResult<usize> {
        (self.shape().first().copied()).ok_or_else(|| crate::MixError::NoBatchAxis.into())
    }

    fn bytes(&self) -> usize {
        self.array.len() * self.dtype.size()
    }

    /// Strides in elements.
    fn strides(&self) -> Vec<isize> {
        self.array.strides().iter().map(|bytes| bytes / self.dtype.size() as isize).collect()
    }

    /// The elements, which must be of type `T`.
    #[allow(unsafe_code)]
    fn view<T>(&self) -> RawArrayViewMut<T, IxDyn> {
        let strides: Vec<usize> = self.strides().into_iter().map(|stride| stride as usize).collect();
        let shape = IxDyn(self.shape()).strides(IxDyn(&strides));
        // SAFETY: NumPy describes valid memory, and `is_addressable` found it aligned. ndarray reads a stride that is
        // negative from its two's complement.
        unsafe { RawArrayViewMut::from_shape_ptr(shape, data(&self.array).cast()) }
    }
}

/// The plan applied to `x`: into `out` if given, which is returned, else into a new array.
pub(super) fn apply<'py>(
    plan: &MixPlan,
    x: &Mixable<'py>,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    plan.check_batch(x.shape())?;
    let target = match out {
        Some(out) => Mixable::output(out, x)?,
        None => new_like(x)?,
    };
    match x.dtype {
        Dtype::F64 => apply_typed::<f64>(plan, x, &target),
        Dtype::F32 => apply_typed::<f32>(plan, x, &target),
        Dtype::F16 => apply_typed::<f16>(plan, x, &target),
        Dtype::Bf16 => apply_typed::<bf16>(plan, x, &target),
        Dtype::U8 => apply_typed::<u8>(plan, x, &target),
        Dtype::I8 => apply_typed::<i8>(plan, x, &target),
        Dtype::U16 => apply_typed::<u16>(plan, x, &target),
        Dtype::I16 => apply_typed::<i16>(plan, x, &target),
    }?;
    Ok(out.cloned().unwrap_or_else(|| target.array.into_any()))
}

/// Small batches keep the interpreter lock: handing it over can cost more than mixing, by far if another thread is busy.
fn apply_typed<T: Element>(plan: &MixPlan, x: &Mixable<'_>, target: &Mixable<'_>) -> PyResult<()> {
    let py = x.array.py();
    let (source, target): (RawArrayView<T, _>, _) = (x.view::<T>().raw_view(), target.view::<T>());
    if x.bytes() < PARALLEL_BYTES {
        // SAFETY: the views are valid and aligned, the target writable.
        #[allow(unsafe_code)]
        return Ok(unsafe { plan.apply_raw(source, target, 1) }?);
    }
    let limit = workers::num_threads(py)?;
    let call = Unlocked(move || {
        // SAFETY: the views are valid and aligned, the target writable; both arrays are kept alive by the caller.
        #[allow(unsafe_code)]
        unsafe {
            plan.apply_raw(source, target, limit)
        }
    });
    Ok(py.detach(|| call.run())?)
}

/// A call that may run without the interpreter lock although it holds raw pointers.
struct Unlocked<F>(F);

// SAFETY: used above alone, with a call that runs on this very thread.
#[allow(unsafe_code)]
unsafe impl<F> Send for Unlocked<F> {}

impl<R, F: FnOnce() -> R> Unlocked<F> {
    fn run(self) -> R {
        (self.0)()
    }
}

/// A new array of the shape, element type and memory order of `like`; its elements are not set.
fn new_like<'py>(like: &Mixable<'py>) -> PyResult<Mixable<'py>> {
    let strides = dense_like(like.shape(), &like.strides());
    let array = uninitialised(like.array.dtype(), like.shape(), &strides)?;
    Ok(Mixable { array, dtype: like.dtype })
}

/// Keeps the buffer of an array until nobody uses the array, nor a view of it, any more.
#[pyclass(frozen, name = "_Buffer", module = "mixup_rs._core")]
struct Owner(#[allow(dead_code)] Buffer);

/// A new array with these dense strides, in elements. Large ones lie in recycled memory.
#[allow(unsafe_code)]
fn uninitialised<'py>(
    descr: Bound<'py, PyArrayDescr>,
    shape: &[usize],
    strides: &[isize],
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = descr.py();
    let itemsize = descr.itemsize();
    let bytes = shape.iter().product::<usize>() * itemsize;
    let owner = if bytes < RECYCLED_BYTES {
        None
    } else {
        let no_memory = || PyMemoryError::new_err(format!("no memory for a result of {bytes} bytes"));
        Some(Buffer::new(bytes).ok_or_else(no_memory)?)
    };
    let start = owner.as_ref().map_or(std::ptr::null_mut(), |buffer| buffer.as_ptr().cast());
    let mut shape: Vec<npy_intp> = shape.iter().map(|&len| len as npy_intp).collect();
    let mut strides: Vec<npy_intp> = strides.iter().map(|&stride| stride * itemsize as isize).collect();
    // SAFETY: the strides are dense for the shape, so the array ends where the buffer does at the latest. NumPy takes
    // over the descriptor, and the owner as the array's base.
    unsafe {
        let array = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            npyffi::get_type_object(py, npyffi::NpyTypes::PyArray_Type),
            descr.into_dtype_ptr(),
            shape.len() as i32,
            shape.as_mut_ptr(),
            strides.as_mut_ptr(),
            start,
            npyffi::NPY_ARRAY_WRITEABLE,
            std::ptr::null_mut(),
        );
        let array: Bound<'_, PyAny> = Bound::from_owned_ptr_or_err(py, array)?;
        if let Some(buffer) = owner {
            let owner = Bound::new(py, Owner(buffer))?.into_ptr();
            let array: *mut PyArrayObject = array.as_ptr().cast();
            if PY_ARRAY_API.PyArray_SetBaseObject(py, array, owner) != 0 {
                return Err(PyErr::fetch(py));
            }
        }
        Ok(array.cast_into_unchecked())
    }
}

/// `object` as an array, unless it is one whose elements do not mean what they say.
fn plain_array<'py>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let Ok(array) = object.cast::<PyUntypedArray>() else {
        let got = object.get_type().fully_qualified_name()?;
        let hint = if got.to_string().starts_with("torch.") || object.hasattr("__torch_function__")? {
            "; mixup_rs.torch.apply(plan, tensor) mixes tensors"
        } else {
            ""
        };
        return Err(PyTypeError::new_err(format!("{name} must be a numpy.ndarray, got {got}{hint}")));
    };
    refuse_masked(name, array)?;
    Ok(array.clone())
}

/// Refuses a masked array: its mask would be lost.
pub(super) fn refuse_masked(name: &str, array: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
    static PLAIN: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static MASKED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = array.py();
    if array.get_type().is(PLAIN.import(py, "numpy", "ndarray")?) {
        return Ok(());
    }
    if array.is_instance(MASKED.import(py, "numpy.ma", "MaskedArray")?)? {
        return Err(PyTypeError::new_err(format!(
            "{name} must not be a masked array: its mask would be lost; fill it first, or pass {name}.data"
        )));
    }
    Ok(())
}

/// Whether every element lies at a multiple of its size.
fn is_addressable(array: &Bound<'_, PyUntypedArray>, dtype: Dtype) -> bool {
    let size = dtype.size();
    let strides = array.shape().iter().zip(array.strides());
    (data(array) as usize).is_multiple_of(size)
        && strides.into_iter().all(|(&len, &stride)| len <= 1 || stride % size as isize == 0)
        && flags(array) & npyffi::NPY_ARRAY_ALIGNED != 0
}

#[allow(unsafe_code)]
fn data(array: &Bound<'_, PyUntypedArray>) -> *mut u8 {
    // SAFETY: the pointer is to a live array object.
    unsafe { (*array.as_array_ptr()).fields.data.cast() }
}

#[allow(unsafe_code)]
fn flags(array: &Bound<'_, PyUntypedArray>) -> i32 {
    // SAFETY: the pointer is to a live array object.
    unsafe { (*array.as_array_ptr()).fields.flags }
}

pub(super) fn dtype_name(array: &Bound<'_, PyUntypedArray>) -> String {
    array.dtype().str().map_or_else(|_| "an unknown one".into(), |name| name.to_string())
}
