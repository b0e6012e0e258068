//! Converts the argument `rng` to a key.

use numpy::PyReadonlyArray1;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyInt, PyType};

use crate::random::Key;

use super::arguments::is_sequence;
use super::describe::type_name;

/// The key for None, an int, a sequence of ints, or a Generator or SeedSequence of numpy.random.
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
    if !is_sequence(rng)? {
        return if is_whole_number(rng)? { Ok(Key::from_digits([&digits(rng)?[..]])) } else { Err(wrong()) };
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

/// Whether it is an int, or an object that `operator.index` accepts, such as a NumPy integer. A bool is not.
fn is_whole_number(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if object.is_instance_of::<PyInt>() {
        return Ok(!object.is_instance_of::<PyBool>());
    }
    if let Ok(dtype) = object.getattr("dtype") {
        // `operator.index` also accepts boolean arrays and tensors, and some with an axis.
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

/// The 64-bit digits of a whole number, least significant first.
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
