//! Masks as NumPy arrays.

use std::sync::Arc;

use numpy::prelude::*;
use numpy::{PyArray1, PyReadonlyArray1, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::{MixError, memory_for};
use crate::plan::{Mask, MixPlan, Partners, Region, Regions, Shares, SpatialShape};

use super::arguments;
use super::describe::dtype_name;
use super::dtype::Dtype;

/// Makes a plan of the argument `masks`: for all samples, of the spatial shape, or one per sample, with an axis before.
/// Without a `shape`, arrays of one, two and four axes are for all, time series, images and none, and three are images.
pub(super) fn plan(masks: &Bound<'_, PyAny>, partner: Partners, shape: Option<Vec<usize>>) -> PyResult<MixPlan> {
    let array = arguments::as_array("masks", masks)?;
    let n = partner.len();
    let (is_shared, shape) = spatial(&array, n, shape)?;
    refuse_ones(&array)?;
    let shares = |index: Option<usize>| -> PyResult<Arc<Mask>> {
        let mask = match index {
            Some(index) => array.as_any().get_item(index)?.cast_into::<PyUntypedArray>()?,
            None => array.clone(),
        };
        Ok(Arc::new(Mask::new(shares(&mask)?).map_err(|error| at(error, index))?))
    };
    memory_for(n)?;
    let is_repeated = n > 0 && !is_shared && array.strides()[0] == 0;
    let masks = match n {
        _ if is_shared || is_repeated => vec![shares(is_repeated.then_some(0))?; n],
        _ => (0..n).map(|index| shares(Some(index))).collect::<PyResult<_>>()?,
    };
    Ok(MixPlan::from_masks(masks, &shape, partner)?)
}

/// Refuses bytes of 0 and 1, of which 1 would be 1/255.
fn refuse_ones(masks: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
    let is_bytes = (masks.dtype().kind(), masks.dtype().itemsize()) == (b'u', 1);
    if is_bytes && masks.len() > 0 && masks.as_any().call_method0("max")?.extract::<u8>()? == 1 {
        return Err(PyValueError::new_err(
            "masks of uint8 must be 255 where the sample itself stays, got none above 1; of 0 and 1 give booleans: \
             masks.astype(bool)",
        ));
    }
    Ok(())
}

/// Names the mask of an error, where there are several.
fn at(error: MixError, index: Option<usize>) -> PyErr {
    match index {
        Some(index) => PyValueError::new_err(format!("{error}, in the mask at index {index}")),
        None => error.into(),
    }
}

/// Whether the masks are one for all of `n` samples, and the lengths of the spatial axes.
fn spatial(array: &Bound<'_, PyUntypedArray>, n: usize, shape: Option<Vec<usize>>) -> PyResult<(bool, Vec<usize>)> {
    let got = array.shape();
    let Some(shape) = shape else {
        return match got {
            [_] | [_, _] => Ok((true, got.to_vec())),
            [count, spatial @ ..] if (2..=3).contains(&spatial.len()) => {
                if *count != n {
                    return Err(PyValueError::new_err(format!(
                        "masks must be one for all samples or one for each of {n}, got {count} of {spatial:?}; \
                         shape=... says which axes are spatial"
                    )));
                }
                Ok((false, spatial.to_vec()))
            }
            _ => Err(PyValueError::new_err(format!(
                "masks must have shape (height, width) or (n, height, width), or name their spatial axes by shape=..., \
                 got {got:?}"
            ))),
        };
    };
    SpatialShape::new(&shape)?;
    let each = [&[n], &shape[..]].concat();
    match got {
        _ if got == shape => Ok((true, shape)),
        _ if got == each => Ok((false, shape)),
        _ => Err(PyValueError::new_err(format!("masks must have shape {shape:?} or {each:?}, got {got:?}"))),
    }
}

fn shares(mask: &Bound<'_, PyUntypedArray>) -> PyResult<Shares> {
    let dtype = mask.dtype();
    match (dtype.kind(), dtype.itemsize()) {
        (b'b', _) => {
            let bytes: Vec<u8> = elements(mask, "uint8")?;
            Ok(Shares::Bytes(bytes.into_iter().map(|stays| 255 * stays).collect()))
        }
        (b'u', 1) => Ok(Shares::Bytes(elements(mask, "uint8")?)),
        (b'f', 1..=4) => Ok(Shares::Single(elements(mask, "float32")?)),
        (b'f', _) => Ok(Shares::Double(elements(mask, "float64")?)),
        _ if Dtype::of(&dtype) == Some(Dtype::Bf16) => Ok(Shares::Single(elements(mask, "float32")?)),
        _ => Err(PyTypeError::new_err(format!(
            "masks must be booleans, uint8 (255 for the sample itself) or floats in [0, 1], got {}",
            dtype_name(mask)
        ))),
    }
}

/// The elements of an array in C order, in another dtype.
fn elements<T: numpy::Element + Copy>(array: &Bound<'_, PyUntypedArray>, dtype: &str) -> PyResult<Vec<T>> {
    let flat = array.as_any().call_method1("astype", (dtype,))?.call_method0("ravel")?;
    let flat: PyReadonlyArray1<'_, T> = flat.extract()?;
    Ok(flat.as_slice()?.to_vec())
}

/// The shares of all samples: (n, ...) float64. A view of one mask if all samples have the same.
pub(super) fn to_array<'py>(py: Python<'py>, plan: &MixPlan) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(regions) = plan.regions().filter(|regions| regions.has_masks()) else { return Ok(None) };
    let shape = [&[plan.len()], regions.shape.as_slice()].concat();
    if let Some(mask) = the_only(regions) {
        let mask = PyArray1::from_vec(py, mask.to_f64()).reshape(regions.shape.as_slice().to_vec())?;
        return Ok(Some(py.import("numpy")?.getattr("broadcast_to")?.call1((mask, PyTuple::new(py, shape)?))?));
    }
    let all: Vec<f64> = (0..plan.len()).flat_map(|i| regions.shares(i)).collect();
    Ok(Some(PyArray1::from_vec(py, all).reshape(shape)?.into_any()))
}

/// The mask that all samples have.
fn the_only(regions: &Regions) -> Option<&Arc<Mask>> {
    let first = regions.of.first()?.mask()?;
    let is_it = |region: &Region| region.mask().is_some_and(|mask| Arc::ptr_eq(mask, first));
    regions.of.iter().all(is_it).then_some(first)
}

/// The different masks of a plan as they are stored, and which of them each sample has; -1 for none.
pub(super) fn table<'py>(py: Python<'py>, regions: &Regions) -> PyResult<(Vec<Bound<'py, PyAny>>, Vec<isize>)> {
    let (mut masks, mut arrays, mut which): (Vec<&Arc<Mask>>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    for region in &regions.of {
        let Some(mask) = region.mask() else {
            which.push(-1);
            continue;
        };
        // A mask in common is most often that of the sample before.
        let known = masks.iter().rposition(|known| Arc::ptr_eq(known, mask));
        which.push(known.unwrap_or(masks.len()) as isize);
        if known.is_none() {
            masks.push(mask);
            arrays.push(match mask.shares() {
                Shares::Bytes(bytes) => PyArray1::from_slice(py, bytes).into_any(),
                Shares::Single(floats) => PyArray1::from_slice(py, floats).into_any(),
                Shares::Double(floats) => PyArray1::from_slice(py, floats).into_any(),
            });
        }
    }
    Ok((arrays, which))
}

/// The regions of boxes and of a [`table`] of masks.
pub(super) fn restored(mut regions: Regions, masks: &[Bound<'_, PyAny>], which: &[isize]) -> PyResult<Regions> {
    let masks = masks
        .iter()
        .map(|mask| Ok(Arc::new(Mask::new(shares(mask.cast::<PyUntypedArray>()?)?)?)))
        .collect::<PyResult<Vec<_>>>()?;
    let size: usize = regions.shape.as_slice().iter().product();
    for (region, &which) in regions.of.iter_mut().zip(which) {
        let Ok(which) = usize::try_from(which) else { continue };
        match masks.get(which).filter(|mask| mask.len() == size) {
            Some(mask) => *region = Region::Mask(mask.clone()),
            None => return Err(PyValueError::new_err("not the state of a plan")),
        }
    }
    Ok(regions)
}
