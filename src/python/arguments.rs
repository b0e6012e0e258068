//! Arguments that may come in several forms.

use numpy::prelude::*;
use numpy::{PyReadonlyArray1, PyUntypedArray};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyFloat, PyInt, PyString, PyType};

use crate::draw::{Lam, Mode};
use crate::error::{MixError, memory_for};
use crate::sample::Key;

use super::arrays::{Dtype, dtype_name, refuse_masked};

pub(super) fn mode(name: &str) -> PyResult<Mode> {
    match name {
        "elem" => Ok(Mode::Elem),
        "pair" => Ok(Mode::Pair),
        "batch" => Ok(Mode::Batch),
        _ => Err(PyValueError::new_err(format!("mode must be 'elem', 'pair' or 'batch', got '{name}'"))),
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

/// A real number. What is too large for a float is of the right type, so it is a wrong value.
fn real(name: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
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

pub(super) fn label_smoothing(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    real("label_smoothing", value)
}

/// Two fractions, or None.
pub(super) fn minmax(value: &Bound<'_, PyAny>) -> PyResult<Option<(f64, f64)>> {
    if value.is_none() {
        return Ok(None);
    }
    let [least, most] = two("minmax", "two fractions", value)?;
    Ok(Some((real("minmax", &least)?, real("minmax", &most)?)))
}

/// Two axes. One that no array has is refused when the array is known.
pub(super) fn spatial_axes(value: &Bound<'_, PyAny>) -> PyResult<(isize, isize)> {
    let axis = |value: &Bound<'_, PyAny>| match value.extract::<isize>() {
        Ok(axis) => Ok(axis),
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            Err(PyValueError::new_err(format!("spatial_axes must be two axes of the array, got {value}")))
        }
        Err(_) => Err(PyTypeError::new_err(format!("spatial_axes must be two ints, got {}", type_name(value)))),
    };
    let [y, x] = two("spatial_axes", "two ints", value)?;
    Ok((axis(&y)?, axis(&x)?))
}

/// The items of a sequence of two, such as a tuple, a list or an array.
fn two<'py>(name: &str, expected: &str, value: &Bound<'py, PyAny>) -> PyResult<[Bound<'py, PyAny>; 2]> {
    let is_sequence =
        !is_text(value) && value.len().is_ok() && value.hasattr("__getitem__")? && !value.hasattr("keys")?;
    if !is_sequence {
        return Err(PyTypeError::new_err(format!("{name} must be {expected}, got {}", type_name(value))));
    }
    match value.len()? {
        2 => Ok([value.get_item(0)?, value.get_item(1)?]),
        len => Err(PyValueError::new_err(format!("{name} must be {expected}, got a sequence of {len}"))),
    }
}

fn is_text(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>()
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().fully_qualified_name().map_or_else(|_| "?".into(), |name| name.to_string())
}

/// Weights: a number, or something that NumPy makes one number per sample of.
pub(super) fn lam(object: &Bound<'_, PyAny>) -> PyResult<Lam> {
    if let Ok(number) = object.cast::<PyFloat>() {
        return Ok(Lam::Shared(number.value()));
    }
    let array = as_array("lam", object)?;
    let is_number = b"fiu".contains(&array.dtype().kind()) || Dtype::of(&array.dtype()) == Some(Dtype::Bf16);
    if !is_number {
        let got = dtype_name(&array);
        return Err(PyTypeError::new_err(format!("lam must be a float or one float per sample, got {got}")));
    }
    if array.ndim() > 1 {
        let got = array.shape();
        return Err(PyValueError::new_err(format!("lam must be a float or one float per sample, got shape {got:?}")));
    }
    let floats = array.as_any().call_method1("astype", ("float64",))?;
    if array.ndim() == 0 {
        return Ok(Lam::Shared(floats.extract()?));
    }
    let floats: PyReadonlyArray1<'_, f64> = floats.extract()?;
    memory_for(floats.len())?;
    Ok(Lam::Each(floats.as_array().to_vec()))
}

/// Partners: something that NumPy makes one index per sample of.
pub(super) fn partner(object: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    let array = as_array("partner", object)?;
    if array.ndim() != 1 {
        let ndim = array.ndim();
        return Err(PyValueError::new_err(format!("partner must have 1 dimension, got {ndim}")));
    }
    let n = array.len();
    indices("partner", &array, |index, value| MixError::PartnerRange { index, value, n })
}

/// Boxes: something that NumPy makes four bounds per sample of.
pub(super) fn boxes(object: &Bound<'_, PyAny>) -> PyResult<Vec<[usize; 4]>> {
    let array = as_array("boxes", object)?;
    if array.len() > 0 && (array.ndim() != 2 || array.shape()[1] != 4) {
        let got = array.shape();
        return Err(PyValueError::new_err(format!("boxes must have shape (n, 4), got {got:?}")));
    }
    let flat = indices("boxes", &array, |index, value| MixError::BoxBound { index: index / 4, value })?;
    Ok(flat.chunks_exact(4).map(|bounds| [bounds[0], bounds[1], bounds[2], bounds[3]]).collect())
}

/// The elements of an array of whole numbers >= 0; an empty one may have any dtype, as `[]` has.
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

/// The elements of an integer array, whatever its width.
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

/// What `numpy.asarray` makes of `object`.
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

/// What a plan is drawn from: None, an int, a sequence of ints, or something of numpy.random.
pub(super) fn key(rng: Option<&Bound<'_, PyAny>>) -> PyResult<Key> {
    static GENERATOR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static SEED_SEQUENCE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let Some(rng) = rng else { return Ok(Key::from_entropy()) };
    let py = rng.py();
    if rng.is_instance_of::<PyInt>() && !rng.is_instance_of::<PyBool>() {
        return Ok(Key::from_digits([&digits(rng)?[..]]));
    }
    if rng.is_instance(GENERATOR.import(py, "numpy.random", "Generator")?)? {
        let bytes: Vec<u8> = rng.call_method1("bytes", (32,))?.extract()?;
        let wrong = |bytes: Vec<u8>| PyTypeError::new_err(format!("rng.bytes(32) gave {} bytes", bytes.len()));
        return Ok(Key::from_bytes(bytes.try_into().map_err(wrong)?));
    }
    if rng.is_instance(SEED_SEQUENCE.import(py, "numpy.random", "SeedSequence")?)? {
        let state = rng.call_method1("generate_state", (8,))?;
        let state: PyReadonlyArray1<'_, u32> = state.extract()?;
        let state: Vec<u64> = state.as_array().iter().map(|&word| word.into()).collect();
        return Ok(Key::new(&state));
    }
    let wrong = || -> PyErr {
        let got = type_name(rng);
        PyTypeError::new_err(format!(
            "rng must be None, an int, a sequence of ints, numpy.random.Generator or numpy.random.SeedSequence, got {got}"
        ))
    };
    if is_whole_number(rng)? {
        return Ok(Key::from_digits([&digits(rng)?[..]]));
    }
    if is_text(rng)
        || rng.is_instance_of::<PyBool>()
        || rng.len().is_err()
        || !rng.hasattr("__getitem__")?
        || rng.hasattr("keys")?
    {
        return Err(wrong());
    }
    let mut items = Vec::new();
    for item in rng.try_iter()? {
        let item = item?;
        if !is_whole_number(&item)? {
            let got = item.get_type().fully_qualified_name()?;
            return Err(PyTypeError::new_err(format!("rng must be a sequence of ints, got one with {got} in it")));
        }
        items.push(digits(&item)?);
    }
    if items.is_empty() {
        return Err(PyValueError::new_err("rng must be a sequence of one int or more, got an empty one"));
    }
    Ok(Key::from_digits(items.iter().map(Vec::as_slice)))
}

/// An int, or what `operator.index` takes for one, such as a NumPy integer; not a bool.
fn is_whole_number(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if object.is_instance_of::<PyInt>() {
        return Ok(!object.is_instance_of::<PyBool>());
    }
    if let Ok(dtype) = object.getattr("dtype") {
        // Arrays and tensors of one bool, or of more than one element, also call themselves an index.
        if dtype.str()?.to_string().contains("bool") || object.len().is_ok() {
            return Ok(false);
        }
    }
    Ok(index(object).is_ok())
}

fn index<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static INDEX: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    INDEX.import(object.py(), "operator", "index")?.call1((object,))
}

/// The 64-bit digits of a whole number, least first.
fn digits(number: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    if let Ok(small) = number.extract::<u64>() {
        return Ok(vec![small]);
    }
    let number = index(number)?;
    if number.lt(0)? {
        return Err(PyValueError::new_err(format!("rng must be made of ints >= 0, got {number}")));
    }
    let bits: usize = number.call_method0("bit_length")?.extract()?;
    let bytes: Vec<u8> = number.call_method1("to_bytes", (bits.div_ceil(64) * 8, "little"))?.extract()?;
    let digit = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("chunks of 8"));
    Ok(bytes.chunks_exact(8).map(digit).collect())
}
