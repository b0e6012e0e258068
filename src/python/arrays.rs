//! Converts NumPy arrays to views and back, without copies.
//!
//! Arrays are accessed by pointer, shape and strides, not through the borrow guards of rust-numpy: an in-place call
//! passes the same array twice, and overlap is judged by byte ranges (see `apply::overlap`). As in NumPy, an array must
//! not be written to while another thread mixes it.

use ndarray::{IxDyn, RawArrayViewMut, ShapeBuilder};
use numpy::npyffi::{self, PY_ARRAY_API, PyArrayObject, npy_intp};
use numpy::prelude::*;
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::exceptions::{PyMemoryError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::apply::dense_like;
use crate::arithmetic::{Element, Opaque};
use crate::error::MixError;
use crate::plan::MixPlan;
use crate::runtime::buffer::{Buffer, RECYCLED_BYTES};

use super::describe::{dtype_name, refuse_masked};
use super::dtype::{Dtype, Visitor};
use super::settings;

/// Batches below this size are mixed in 0.1 ms or less, without releasing the interpreter lock.
const UNLOCK_BYTES: usize = 1 << 20;

/// An array that a plan can be applied to: aligned, with strides of whole elements.
#[derive(Clone)]
pub(super) struct Operand<'py> {
    pub array: Bound<'py, PyUntypedArray>,
    pub itemsize: usize,
}

impl<'py> Operand<'py> {
    /// `object` as an input called `name`. Copies it only if it is not aligned.
    pub fn input(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let array = plain_array(name, object)?;
        let itemsize = array.dtype().itemsize();
        if is_addressable(&array) {
            return Ok(Self { array, itemsize });
        }
        // Copies to a plain array, as a subclass may define its own copy.
        static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let copy = COPY.import(array.py(), "numpy", "array")?.call1((array, None::<Bound<'_, PyAny>>))?;
        let array: Bound<'py, PyUntypedArray> = copy.cast_into()?;
        Ok(Self { itemsize: array.dtype().itemsize(), array })
    }

    /// `object` as a writable array of this element type.
    pub fn output(object: &Bound<'py, PyAny>, descr: &Bound<'py, PyArrayDescr>) -> PyResult<Self> {
        let array = plain_array("out", object)?;
        if !array.dtype().is_equiv_to(descr) {
            let got = dtype_name(&array);
            return Err(PyTypeError::new_err(format!("out must have dtype {}, as x has, got {got}", descr.str()?)));
        }
        if !is_addressable(&array) {
            return Err(PyValueError::new_err("out must be aligned, got an array at an odd address or stride"));
        }
        if flags(&array) & npyffi::NPY_ARRAY_WRITEABLE == 0 {
            return Err(PyValueError::new_err("out must be writeable, got a read-only array"));
        }
        Ok(Self { itemsize: descr.itemsize(), array })
    }

    /// `object` as an array of samples like those of `x`, an argument called `name`.
    fn other(name: &str, object: &Bound<'py, PyAny>, x: &Self) -> PyResult<Self> {
        let other = Self::input("other", object)?;
        let descr = x.array.dtype();
        if !other.array.dtype().is_equiv_to(&descr) {
            let got = dtype_name(&other.array);
            return Err(PyTypeError::new_err(format!(
                "other must have dtype {}, as {name} has, got {got}",
                descr.str()?
            )));
        }
        match other.shape() {
            [] => Err(MixError::NoBatchAxis.into()),
            [_, got @ ..] if *got != x.shape()[1..] => {
                Err(MixError::OtherShape { got: got.to_vec(), expected: x.shape()[1..].to_vec() }.into())
            }
            _ => Ok(other),
        }
    }

    pub fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    fn bytes(&self) -> usize {
        self.array.len() * self.itemsize
    }

    /// The elements of an array in C order.
    ///
    /// # Safety
    /// They must be of type `T`, and not written while the slice lives.
    #[allow(unsafe_code)]
    pub unsafe fn as_slice<'a, T>(&self) -> &'a [T] {
        // SAFETY: as required above; NumPy describes valid memory, and `is_addressable` found it aligned.
        unsafe { std::slice::from_raw_parts(data(&self.array).cast(), self.array.len()) }
    }

    /// The elements of an array in C order, writable.
    ///
    /// # Safety
    /// They must be of type `T`, and neither read nor written in another way while the slice lives.
    #[allow(unsafe_code)]
    pub unsafe fn as_mut_slice<'a, T>(&self) -> &'a mut [T] {
        // SAFETY: as required above and in `as_slice`.
        unsafe { std::slice::from_raw_parts_mut(data(&self.array).cast(), self.array.len()) }
    }

    /// Whether the byte ranges of two arrays in C order overlap.
    pub fn meets(&self, other: &Self) -> bool {
        let range = |array: &Self| data(&array.array) as usize..data(&array.array) as usize + array.bytes();
        let (own, other) = (range(self), range(other));
        own.start < other.end && other.start < own.end
    }

    /// Strides in elements.
    fn strides(&self) -> Vec<isize> {
        self.array.strides().iter().map(|bytes| bytes / self.itemsize.max(1) as isize).collect()
    }

    /// The array as a view of elements of the size of `T`.
    #[allow(unsafe_code)]
    pub fn view<T>(&self) -> RawArrayViewMut<T, IxDyn> {
        assert_eq!(size_of::<T>(), self.itemsize);
        let strides: Vec<usize> = self.strides().into_iter().map(|stride| stride as usize).collect();
        let shape = IxDyn(self.shape()).strides(IxDyn(&strides));
        // SAFETY: NumPy describes valid memory, and `is_addressable` found it aligned. ndarray takes a negative stride
        // as its two's complement.
        unsafe { RawArrayViewMut::from_shape_ptr(shape, data(&self.array).cast()) }
    }
}

/// The length of axis 0 of `x`, an argument called `name`.
pub(super) fn samples(name: &str, x: &Bound<'_, PyAny>) -> PyResult<usize> {
    let x = plain_array(name, x)?;
    x.shape().first().copied().ok_or_else(|| MixError::NoBatchAxis.into())
}

/// Whether samples of `x` have no element, so that nothing of them is mixed.
pub(super) fn are_empty(x: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(plain_array("x", x)?.shape().iter().skip(1).any(|&len| len == 0))
}

/// The lengths of the spatial axes of `x`: of those given, else of the last two axes of three or more, else none.
pub(super) fn spatial_shape(x: &Bound<'_, PyAny>, given: Option<&[isize]>) -> PyResult<Vec<usize>> {
    let x = plain_array("x", x)?;
    let (shape, ndim) = (x.shape(), x.ndim());
    let Some(axes) = given else { return Ok(if ndim > 2 { shape[ndim - 2..].to_vec() } else { Vec::new() }) };
    let len = |&axis: &isize| {
        let at = usize::try_from(if axis < 0 { axis + ndim as isize } else { axis });
        at.ok().and_then(|at| shape.get(at).copied())
    };
    axes.iter()
        .map(len)
        .collect::<Option<_>>()
        .ok_or_else(|| MixError::SpatialAxes { axes: axes.to_vec(), ndim, expected: axes.len() }.into())
}

/// Applies a plan to `x`, an argument called `name`, with partners from `other` if given. Writes to `out` and returns it
/// if given, else returns a new array.
pub(super) fn apply<'py>(
    plan: &MixPlan,
    name: &str,
    x: &Bound<'py, PyAny>,
    other: Option<&Bound<'py, PyAny>>,
    out: Option<&Bound<'py, PyAny>>,
    spatial_axes: Option<&[isize]>,
) -> PyResult<Bound<'py, PyAny>> {
    let x = Operand::input(name, x)?;
    let function = function(plan, name, &x)?;
    plan.check_batch(x.shape())?;
    let other = other.map(|other| Operand::other(name, other, &x)).transpose()?;
    plan.check_other(other.as_ref().map(|other| other.shape()[0]))?;
    let target = match out {
        Some(out) => Operand::output(out, &x.array.dtype())?,
        None => new_like(&x)?,
    };
    function(plan, &x, other.as_ref(), &target, spatial_axes)?;
    Ok(out.cloned().unwrap_or_else(|| target.array.into_any()))
}

/// Applies a plan to arrays of one element type.
type Function = fn(&MixPlan, &Operand<'_>, Option<&Operand<'_>>, &Operand<'_>, Option<&[isize]>) -> PyResult<()>;

struct ChooseFunction;

impl Visitor for ChooseFunction {
    type Output = Function;
    fn visit<T: Element>(self) -> Function {
        mix::<T>
    }
}

/// The function for the element type of `x`. A plan that only copies takes any type but Python objects, which own
/// references.
fn function(plan: &MixPlan, name: &str, x: &Operand<'_>) -> PyResult<Function> {
    if let Some(dtype) = Dtype::of(&x.array.dtype()) {
        return Ok(dtype.visit(ChooseFunction));
    }
    let got = dtype_name(&x.array);
    if !plan.only_copies() {
        let hint = match x.array.dtype().kind() {
            b'b' | b'i' | b'u' | b'f' if name == "x" => "; x.astype(numpy.float32) would do",
            b'c' if name == "x" => "; mix x.real and x.imag by one MixPlan",
            _ => "",
        };
        return Err(PyTypeError::new_err(format!("{name} must have dtype {}, got {got}{hint}", Dtype::names())));
    }
    match x.itemsize {
        _ if x.array.dtype().has_object() => {}
        1 => return Ok(mix::<Opaque<u8>>),
        2 => return Ok(mix::<Opaque<u16>>),
        4 => return Ok(mix::<Opaque<u32>>),
        8 => return Ok(mix::<Opaque<u64>>),
        16 => return Ok(mix::<Opaque<[u64; 2]>>),
        _ => {}
    }
    Err(PyTypeError::new_err(format!("{name} must have elements of 1, 2, 4, 8 or 16 bytes, no objects, got {got}")))
}

fn mix<T: Element>(
    plan: &MixPlan,
    x: &Operand<'_>,
    other: Option<&Operand<'_>>,
    target: &Operand<'_>,
    spatial_axes: Option<&[isize]>,
) -> PyResult<()> {
    let other = other.map(|other| other.view::<T>().raw_view());
    let (source, target) = (x.view::<T>().raw_view(), target.view::<T>());
    unlocked(x, |limit| {
        // SAFETY: the views are valid and aligned, and the target is writable. The caller keeps all arrays alive.
        #[allow(unsafe_code)]
        unsafe {
            plan.apply_raw(source, other, target, spatial_axes, limit)
        }
    })
}

/// Runs `call` with the number of threads it may use, without the interpreter lock. Small batches keep the lock:
/// releasing it can cost more than mixing, by far if another thread is busy.
pub(super) fn unlocked(x: &Operand<'_>, call: impl FnOnce(usize) -> crate::error::Result<()>) -> PyResult<()> {
    let py = x.array.py();
    if x.bytes() < UNLOCK_BYTES {
        return Ok(call(1)?);
    }
    let limit = settings::num_threads(py)?;
    let call = Unlocked(move || call(limit));
    Ok(py.detach(|| call.run())?)
}

/// A closure with raw pointers that runs without the interpreter lock.
struct Unlocked<F>(F);

// SAFETY: only used in `unlocked`, where the closure runs on the same thread.
#[allow(unsafe_code)]
unsafe impl<F> Send for Unlocked<F> {}

impl<R, F: FnOnce() -> R> Unlocked<F> {
    fn run(self) -> R {
        (self.0)()
    }
}

/// A new, uninitialised array with the shape, element type and memory order of `like`.
fn new_like<'py>(like: &Operand<'py>) -> PyResult<Operand<'py>> {
    let strides = dense_like(like.shape(), &like.strides());
    let array = uninitialised(like.array.dtype(), like.shape(), &strides)?;
    Ok(Operand { array, itemsize: like.itemsize })
}

/// Owns the buffer of an array. NumPy drops it with the array and all views of it.
#[pyclass(frozen, name = "_Buffer", module = "mixup_rs._core")]
struct Owner(#[allow(dead_code)] Buffer);

/// A new, uninitialised array with these dense strides, in elements. Large arrays use recycled memory.
#[allow(unsafe_code)]
pub(super) fn uninitialised<'py>(
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
    // SAFETY: the strides are dense for the shape, so the array lies within the buffer. NumPy takes ownership of the
    // descriptor, and of the owner as the base of the array.
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

/// `object` as an array. Masked arrays are an error.
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

/// Whether every element is aligned to its size, or to 8 bytes if it is larger, and strides are whole elements.
fn is_addressable(array: &Bound<'_, PyUntypedArray>) -> bool {
    let size = array.dtype().itemsize();
    let align = size.clamp(1, 8);
    let strides = array.shape().iter().zip(array.strides());
    (data(array) as usize).is_multiple_of(align)
        && strides.into_iter().all(|(&len, &stride)| len <= 1 || size == 0 || stride % size as isize == 0)
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
