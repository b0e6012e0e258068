//! Converts Python arguments that have several accepted forms.

use numpy::prelude::*;
use numpy::{PyReadonlyArray1, PyUntypedArray};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyFloat, PyList, PyString, PyTuple};

use crate::error::{MixError, memory_for};
use crate::plan::{Lam, MAX_SPATIAL_AXES, Mode, Partners, Rect};

use super::describe::{dtype_name, refuse_masked, type_name};
use super::dtype::Dtype;

pub(super) fn mode(name: &str) -> PyResult<Mode> {
    match name {
        "elem" => Ok(Mode::Elem),
        "pair" => Ok(Mode::Pair),
        "batch" => Ok(Mode::Batch),
        _ => Err(PyValueError::new_err(format!("mode must be 'elem', 'pair' or 'batch', got '{name}'"))),
    }
}

/// The option `mode` of a rule.
pub(super) fn mode_of(value: &Bound<'_, PyAny>) -> PyResult<Mode> {
    match value.cast::<PyString>() {
        Ok(name) => mode(&name.to_cow()?),
        Err(_) => Err(PyTypeError::new_err(format!("mode must be a str, got {}", type_name(value)))),
    }
}

/// A whole number that must be at least `least`.
pub(super) fn count(name: &str, value: &Bound<'_, PyAny>, least: i64) -> PyResult<usize> {
    let count = match value.extract::<i64>() {
        Ok(count) => count,
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            return Err(PyValueError::new_err(format!("{name} must be at least {least} and below 2**63, got {value}")));
        }
        Err(_) => {
            let got = value.get_type().fully_qualified_name()?;
            return Err(PyTypeError::new_err(format!("{name} must be an int, got {got}")));
        }
    };
    if count < least {
        return Err(PyValueError::new_err(format!("{name} must be at least {least}, got {count}")));
    }
    Ok(count as usize)
}

/// A real number. An int too large for a float has a valid type, so it is a ValueError.
pub(super) fn real(name: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    value.extract::<f64>().map_err(|error| {
        let py = value.py();
        if error.is_instance_of::<PyOverflowError>(py) {
            return PyValueError::new_err(format!("{name} must lie in the range of a float, got a larger int"));
        }
        if !error.is_instance_of::<PyTypeError>(py) {
            return error;
        }
        PyTypeError::new_err(format!("{name} must be a real number, got {}", type_name(value)))
    })
}

pub(super) fn alpha(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    real("alpha", value)
}

/// A probability for each rule, or None.
pub(super) fn probs(value: &Bound<'_, PyAny>) -> PyResult<Option<Vec<f64>>> {
    if value.is_none() {
        return Ok(None);
    }
    let items = items("probs", "a number for each rule", value)?;
    items.iter().map(|item| real("probs", item)).collect::<PyResult<_>>().map(Some)
}

pub(super) fn label_smoothing(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    real("label_smoothing", value)
}

/// Two fractions.
pub(super) fn fractions(name: &str, value: &Bound<'_, PyAny>) -> PyResult<(f64, f64)> {
    match &items(name, "two fractions", value)?[..] {
        [least, most] => Ok((real(name, least)?, real(name, most)?)),
        others => {
            let len = others.len();
            Err(PyValueError::new_err(format!("{name} must be two fractions, got a sequence of {len}")))
        }
    }
}

/// Two counts.
pub(super) fn counts(name: &str, value: &Bound<'_, PyAny>) -> PyResult<(usize, usize)> {
    match &items(name, "two ints", value)?[..] {
        [least, most] => Ok((count(name, least, 1)?, count(name, most, 1)?)),
        others => {
            let len = others.len();
            Err(PyValueError::new_err(format!("{name} must be two ints, got a sequence of {len}")))
        }
    }
}

/// Axes as ints, or None. Their range is checked once the array is known.
pub(super) fn spatial_axes(value: &Bound<'_, PyAny>) -> PyResult<Option<Vec<isize>>> {
    let axis = |value: &Bound<'_, PyAny>| match value.extract::<isize>() {
        Ok(axis) => Ok(axis),
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            Err(PyValueError::new_err(format!("spatial_axes must be axes of the array, got {value}")))
        }
        Err(_) => Err(PyTypeError::new_err(format!("spatial_axes must be ints, got {}", type_name(value)))),
    };
    if value.is_none() {
        return Ok(None);
    }
    items("spatial_axes", "None or a sequence of ints", value)?.iter().map(axis).collect::<PyResult<_>>().map(Some)
}

pub(super) fn fold(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    boolean("fold", value)
}

/// True or False, of Python or NumPy.
pub(super) fn boolean(name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let wrong = |_| PyTypeError::new_err(format!("{name} must be True or False, got {}", type_name(value)));
    value.extract().map_err(wrong)
}

/// An axis other than the batch of an array with `ndim` axes, as an index from 0.
pub(super) fn axis(name: &str, value: &Bound<'_, PyAny>, ndim: usize) -> PyResult<usize> {
    let axis = match value.extract::<isize>() {
        Ok(axis) => axis,
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            return Err(PyValueError::new_err(format!("{name} must be an axis of the array, got {value}")));
        }
        Err(_) => return Err(PyTypeError::new_err(format!("{name} must be an int, got {}", type_name(value)))),
    };
    let from_front = usize::try_from(if axis < 0 { axis + ndim as isize } else { axis });
    from_front.ok().filter(|axis| (1..ndim).contains(axis)).ok_or_else(|| {
        PyValueError::new_err(format!("{name} must be an axis behind the batch, got {axis} for {ndim} dimensions"))
    })
}

/// The lengths of a sample's spatial axes; empty for None.
pub(super) fn shape(value: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    if value.is_none() {
        return Ok(Vec::new());
    }
    let expected = "None or one to three lengths, such as (height, width)";
    items("shape", expected, value)?.iter().map(|item| count("shape", item, 1)).collect()
}

/// The items of a sequence, such as a tuple, a list or an array.
fn items<'py>(name: &str, expected: &str, value: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if !is_sequence(value)? {
        return Err(PyTypeError::new_err(format!("{name} must be {expected}, got {}", type_name(value))));
    }
    (0..value.len()?).map(|at| value.get_item(at)).collect()
}

/// Whether it is a sequence of items: no text and no mapping. Tuples and lists need no look at their attributes; to
/// find that one has none takes longer than a small draw.
pub(super) fn is_sequence(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyList>() {
        return Ok(true);
    }
    let is_sized = !is_text(value) && value.len().is_ok();
    Ok(is_sized && value.hasattr("__getitem__")? && !value.hasattr("keys")?)
}

fn is_text(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>()
}

/// The argument `lam`: a number, or an array-like with one number per sample.
pub(super) fn lam(object: &Bound<'_, PyAny>) -> PyResult<Lam> {
    weights("lam", object)
}

/// The argument `weight`, of the same form.
pub(super) fn weight(object: &Bound<'_, PyAny>) -> PyResult<Lam> {
    weights("weight", object)
}

fn weights(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Lam> {
    if let Ok(number) = object.cast::<PyFloat>() {
        return Ok(Lam::Shared(number.value()));
    }
    let array = as_array(name, object)?;
    let is_number = b"fiu".contains(&array.dtype().kind()) || Dtype::of(&array.dtype()) == Some(Dtype::Bf16);
    if !is_number {
        let got = dtype_name(&array);
        return Err(PyTypeError::new_err(format!("{name} must be a float or one float per sample, got {got}")));
    }
    if array.ndim() > 1 {
        let got = array.shape();
        return Err(PyValueError::new_err(format!(
            "{name} must be a float or one float per sample, got shape {got:?}"
        )));
    }
    let floats = array.as_any().call_method1("astype", ("float64",))?;
    if array.ndim() == 0 {
        return Ok(Lam::Shared(floats.extract()?));
    }
    let floats: PyReadonlyArray1<'_, f64> = floats.extract()?;
    memory_for(floats.len())?;
    Ok(Lam::Each(floats.as_array().to_vec()))
}

/// The arguments `partner` and `other`: whose samples are partners.
pub(super) fn partners(partner: &Bound<'_, PyAny>, other: Option<&Bound<'_, PyAny>>) -> PyResult<Partners> {
    let other = other.map(|other| count("other", other, 0)).transpose()?;
    let index = self::partner(partner, other)?;
    Ok(match other {
        Some(other) => Partners::of_other(index, other),
        None => index.into(),
    })
}

/// The argument `partner`: an array-like with one index per sample, of the batch or of `other` samples of another.
pub(super) fn partner(object: &Bound<'_, PyAny>, other: Option<usize>) -> PyResult<Vec<usize>> {
    let array = as_array("partner", object)?;
    if array.ndim() != 1 {
        let ndim = array.ndim();
        return Err(PyValueError::new_err(format!("partner must have 1 dimension, got {ndim}")));
    }
    let n = other.unwrap_or(array.len());
    indices("partner", &array, |index, value| MixError::PartnerRange { index, value, n })
}

/// The argument `partner` of shape (n, count), which (n,) is as well if `count` is 1.
pub(super) fn several_partners(object: &Bound<'_, PyAny>, n: usize, count: usize) -> PyResult<Vec<usize>> {
    let array = as_array("partner", object)?;
    let got = array.shape();
    if *got != [n, count] && !(count == 1 && *got == [n]) {
        return Err(PyValueError::new_err(format!(
            "partner must have shape ({n}, {count}), a column less than weights, got {got:?}"
        )));
    }
    indices("partner", &array, |at, value| MixError::PartnerRange { index: at / count.max(1), value, n })
}

/// The argument `boxes`: an array-like with a row per sample, of the starts along all axes, then the ends.
pub(super) fn boxes(object: &Bound<'_, PyAny>, axes: usize) -> PyResult<Vec<Rect>> {
    if !(1..=MAX_SPATIAL_AXES).contains(&axes) {
        return Err(MixError::SpatialRank { got: axes }.into());
    }
    let array = as_array("boxes", object)?;
    let columns = 2 * axes;
    if array.len() > 0 && (array.ndim() != 2 || array.shape()[1] != columns) {
        let got = array.shape();
        return Err(PyValueError::new_err(format!("boxes must have shape (n, {columns}), got {got:?}")));
    }
    let flat = indices("boxes", &array, |index, value| MixError::BoxBound { index: index / columns, value })?;
    Ok(flat.chunks_exact(columns).map(|bounds| Rect::new(&bounds[..axes], &bounds[axes..])).collect())
}

/// The argument `resized`: True or False, or an array-like with one per box.
pub(super) fn resized(object: &Bound<'_, PyAny>) -> PyResult<Vec<bool>> {
    if let Ok(one) = object.cast::<PyBool>() {
        return Ok(vec![one.is_true()]);
    }
    let array = as_array("resized", object)?;
    if array.dtype().kind() != b'b' && array.len() > 0 {
        let got = dtype_name(&array);
        return Err(PyTypeError::new_err(format!("resized must be True or False, or one of them per box, got {got}")));
    }
    if array.ndim() > 1 {
        let got = array.shape();
        return Err(PyValueError::new_err(format!(
            "resized must be one for all boxes or one for each, got shape {got:?}"
        )));
    }
    let flat = array.as_any().call_method1("astype", ("bool",))?.call_method0("ravel")?;
    flat.call_method0("tolist")?.extract()
}

/// The elements of an array of whole numbers >= 0. An empty array may have any dtype, as that of `[]` is float64.
fn indices(
    name: &str,
    array: &Bound<'_, PyUntypedArray>,
    negative: impl Fn(usize, i128) -> MixError,
) -> PyResult<Vec<usize>> {
    if array.len() == 0 {
        return Ok(Vec::new());
    }
    if !b"iu".contains(&array.dtype().kind()) {
        let got = dtype_name(array);
        return Err(PyTypeError::new_err(format!("{name} must be integers, got {got}")));
    }
    let index = |(i, value): (usize, i128)| usize::try_from(value).map_err(|_| negative(i, value).into());
    integers(array)?.into_iter().enumerate().map(index).collect()
}

/// The elements of an integer array of any width.
pub(super) fn integers(array: &Bound<'_, PyUntypedArray>) -> PyResult<Vec<i128>> {
    let flat = array.as_any().call_method0("ravel")?;
    memory_for(array.len())?;
    if array.dtype().kind() == b'u' {
        let wide = flat.call_method1("astype", ("uint64",))?;
        let wide: PyReadonlyArray1<'_, u64> = wide.extract()?;
        return Ok(wide.as_array().iter().map(|&value| value.into()).collect());
    }
    let wide = flat.call_method1("astype", ("int64",))?;
    let wide: PyReadonlyArray1<'_, i64> = wide.extract()?;
    Ok(wide.as_array().iter().map(|&value| value.into()).collect())
}

/// The result of `numpy.asarray(object)`.
pub(super) fn as_array<'py>(name: &str, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    static AS_ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if let Ok(array) = object.cast::<PyUntypedArray>() {
        refuse_masked(name, array)?;
        return Ok(array.clone());
    }
    let py = object.py();
    let array = AS_ARRAY.import(py, "numpy", "asarray")?.call1((object,));
    array.and_then(|array| Ok(array.cast_into()?)).map_err(|error| {
        PyTypeError::new_err(format!("{name} must be something numpy.asarray takes: {}", error.value(py)))
    })
}
