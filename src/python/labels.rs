//! Applies a plan to labels of any kind.

use numpy::prelude::*;
use numpy::{PyArray1, PyReadwriteArray2, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::error::MixError;
use crate::plan::{MixPlan, SoftTargets};

use super::arguments::{self, as_array};
use super::arrays;
use super::describe::dtype_name;

/// The mixed labels; for labels that cannot be blended, the labels and those of the partners.
pub(super) type Mixed<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

/// Checks the options for labels, before any labels are known.
pub(super) fn soft_targets(num_classes: Option<&Bound<'_, PyAny>>, label_smoothing: f64) -> PyResult<How> {
    let num_classes = num_classes.map(|count| arguments::count("num_classes", count, 1)).transpose()?;
    Ok(How { num_classes, soft: SoftTargets::new(num_classes.unwrap_or(0), label_smoothing)? })
}

/// The options for labels.
#[derive(Clone, Copy)]
pub(super) struct How {
    num_classes: Option<usize>,
    soft: SoftTargets,
}

/// Mixes `y` by its kind: blends it, turns it into soft targets, or returns it with the labels of the partners. `other`
/// are the labels of the other batch, if partners come from one.
pub(super) fn apply<'py>(
    plan: &MixPlan,
    y: &Bound<'py, PyAny>,
    other: Option<&Bound<'py, PyAny>>,
    how: How,
) -> PyResult<Mixed<'py>> {
    let py = y.py();
    let y = as_array("y", y)?;
    plan.check_batch(y.shape()).map_err(|error| PyValueError::new_err(format!("y: {error}")))?;
    let other = other.map(|other| others(other, &y)).transpose()?;
    plan.check_other(other.as_ref().map(|other| other.shape()[0]))
        .map_err(|error| PyValueError::new_err(format!("y: {error}")))?;
    let How { num_classes, soft } = how;
    let is_class_index = b"iu".contains(&y.dtype().kind());
    if soft.label_smoothing != 0.0 && !(is_class_index && num_classes.is_some()) {
        let got = dtype_name(&y);
        return Err(PyValueError::new_err(format!(
            "label_smoothing needs y of class indices (integers) and num_classes; \
             got y of {got} and num_classes={num_classes:?}"
        )));
    }
    match (num_classes, is_class_index) {
        (Some(count), true) if columns(&y, count)?.is_some() => {
            if soft.label_smoothing != 0.0 {
                return Err(PyValueError::new_err(
                    "label_smoothing needs class indices, but y has a column for each class",
                ));
            }
            if let Some(other) = &other
                && columns(other, count)?.is_none()
            {
                return Err(PyValueError::new_err(format!(
                    "y has a column of 0 and 1 for each of {count} classes, which other must have as well"
                )));
            }
            blend(plan, &y, other.as_ref())
        }
        (Some(count), true) => {
            if y.ndim() != 1 {
                return Err(PyValueError::new_err(format!(
                    "with num_classes={count}, integers must be class indices of shape (n,) or columns of 0 and 1 of \
                     shape (n, {count}), got shape {:?}",
                    y.shape()
                )));
            }
            let classes = arguments::integers(&y)?;
            soft.check(&classes)?;
            let others = other.as_ref().map(arguments::integers).transpose()?;
            if let Some(classes) = &others {
                soft.check(classes).map_err(|error| PyValueError::new_err(format!("other: {error}")))?;
            }
            let targets = py.import("numpy")?.call_method1("empty", ((plan.len(), count), "float32"))?;
            let mut writable: PyReadwriteArray2<'_, f32> = targets.extract()?;
            plan.soft_targets(&classes, others.as_deref(), soft, writable.as_slice_mut()?)?;
            Ok((targets, None))
        }
        (None, true) if is_one_hot(&y)? => Err(PyValueError::new_err(format!(
            "y has integers of shape {:?} that are one-hot rows: num_classes={} or y.astype(numpy.float32) blends them, \
             y.argmax(1) pairs their classes",
            y.shape(),
            y.shape()[1]
        ))),
        (None, true) if plan.k() > 2 => Err(PyValueError::new_err(format!(
            "y has class indices, of which a pair holds two, but {k} samples are mixed (k={k}): num_classes=... makes \
             soft targets of them",
            k = plan.k()
        ))),
        (None, true) => {
            let partner = PyArray1::from_iter(py, plan.partner().iter().map(|&partner| partner as isize));
            // Not `take`, which releases the interpreter lock for any number of labels.
            let other = other.as_ref().unwrap_or(&y).as_any().get_item(partner)?;
            Ok((y.into_any(), Some(other)))
        }
        (Some(count), false) if y.ndim() != 2 || y.shape()[1] != count => Err(PyValueError::new_err(format!(
            "with num_classes={count}, y must be integers of shape (n,) or of shape (n, {count}), got {} of shape {:?}",
            dtype_name(&y),
            y.shape()
        ))),
        (_, false) => blend(plan, &y, other.as_ref()),
    }
}

/// The labels of another batch, which must be like `y`.
fn others<'py>(other: &Bound<'py, PyAny>, y: &Bound<'py, PyUntypedArray>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let other = as_array("other", other)?;
    let is_integer = |labels: &Bound<'py, PyUntypedArray>| b"iu".contains(&labels.dtype().kind());
    let is_alike = if is_integer(y) { is_integer(&other) } else { other.dtype().is_equiv_to(&y.dtype()) };
    if !is_alike {
        return Err(PyTypeError::new_err(format!(
            "other must have labels like those of y, {}, got {}; soft targets of classes are \
             MixPlan.identity(len(y)).apply_labels(y, num_classes)[0]",
            dtype_name(y),
            dtype_name(&other)
        )));
    }
    match other.shape() {
        [] => Err(MixError::NoBatchAxis.into()),
        [_, got @ ..] if *got != y.shape()[1..] => {
            Err(MixError::OtherShape { got: got.to_vec(), expected: y.shape()[1..].to_vec() }.into())
        }
        _ => Ok(other),
    }
}

/// The values of integers if these are a column of 0 and 1 for each of `count` classes.
fn columns(y: &Bound<'_, PyUntypedArray>, count: usize) -> PyResult<Option<Vec<i128>>> {
    if count < 2 || y.ndim() != 2 || y.shape()[1] != count {
        return Ok(None);
    }
    let values = arguments::integers(y)?;
    Ok(values.iter().all(|value| (0..=1).contains(value)).then_some(values))
}

/// Whether integers are one-hot rows. Returned beside those of the partners, these would look mixed and not be.
fn is_one_hot(y: &Bound<'_, PyUntypedArray>) -> PyResult<bool> {
    if y.ndim() != 2 || y.is_empty() {
        return Ok(false);
    }
    let count = y.shape()[1];
    Ok(columns(y, count)?.is_some_and(|values| values.chunks(count).all(|row| row.iter().sum::<i128>() == 1)))
}

fn blend<'py>(
    plan: &MixPlan,
    y: &Bound<'py, PyUntypedArray>,
    other: Option<&Bound<'py, PyUntypedArray>>,
) -> PyResult<Mixed<'py>> {
    let labels = plan.for_labels();
    match y.dtype().kind() {
        b'b' | b'i' | b'u' => {
            let floats = |labels: &Bound<'py, PyUntypedArray>| labels.as_any().call_method1("astype", ("float32",));
            let (hot, other) = (floats(y)?, other.map(floats).transpose()?);
            let in_place = (plan.k() == 2).then_some(&hot);
            Ok((arrays::apply(&labels, "y", &hot, other.as_ref(), in_place, None)?, None))
        }
        // 'V' is the kind of bfloat16. `apply` rejects other dtypes of this kind.
        b'f' | b'V' => {
            let other = other.map(|other| other.as_any());
            Ok((arrays::apply(&labels, "y", y.as_any(), other, None, None)?, None))
        }
        _ => {
            let got = dtype_name(y);
            Err(PyTypeError::new_err(format!("y must be floats, integers or booleans, got {got}")))
        }
    }
}
