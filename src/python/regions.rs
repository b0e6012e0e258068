//! Boxes as Python gives, sees and keeps them, and which of them hold the whole partner, resized.

use numpy::prelude::*;
use numpy::{PyArray1, PyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::{MixError, Result};
use crate::plan::{Lam, MAX_SPATIAL_AXES, MixPlan, Partners, Rect, Region, Regions, Sampling};

use super::several;

/// Makes a plan of boxes, of which all or each are resized.
pub(super) fn plan(
    boxes: Vec<Rect>,
    shape: &[usize],
    partner: Partners,
    weight: Lam,
    resized: &[bool],
) -> Result<MixPlan> {
    let n = boxes.len();
    if resized.len() != 1 && resized.len() != n {
        return Err(MixError::ResizedLength { got: resized.len(), expected: n });
    }
    let regions = Regions::of_boxes(boxes, shape, weight.for_samples(n, "weight")?)?;
    let sampling = (0..n).map(|i| resized[i % resized.len()].then(Sampling::default));
    MixPlan::of_regions(regions.resized_where(sampling)?, partner)
}

/// How the partner of each sample is resized: 0 for not at all.
pub(super) fn codes(regions: &Regions) -> Vec<u8> {
    let code = |region: &Region| match region.resized() {
        None => 0,
        Some((_, Sampling::Bilinear)) => 1,
        Some((_, Sampling::Nearest)) => 2,
    };
    regions.of.iter().map(code).collect()
}

/// The regions of boxes and of [`codes`].
pub(super) fn restored(regions: Regions, codes: &[u8]) -> PyResult<Regions> {
    if codes.len() != regions.of.len() {
        return Err(PyValueError::new_err("not the state of a plan"));
    }
    let sampling = codes.iter().map(|code| match code {
        0 => None,
        1 => Some(Sampling::Bilinear),
        _ => Some(Sampling::Nearest),
    });
    Ok(regions.resized_where(sampling)?)
}

pub(super) fn takes_nearest(regions: &Regions) -> bool {
    codes(regions).contains(&2)
}

/// The boxes of these regions of all samples, starts then ends; zeros for the others.
pub(super) fn bounds<'py>(
    py: Python<'py>,
    regions: &Regions,
    is_given: impl Fn(&Region) -> bool,
) -> PyResult<Bound<'py, PyArray2<isize>>> {
    let axes = regions.shape.as_slice().len();
    let rect = |region: &Region| if is_given(region) { region.rect() } else { Rect::NONE };
    let bounds = regions.of.iter().map(rect).flat_map(|rect| {
        [rect.start, rect.end]
            .map(|ends| ends.map(|bound| bound as isize))
            .map(|ends| ends[MAX_SPATIAL_AXES - axes..].to_vec())
    });
    PyArray1::from_iter(py, bounds.flatten()).reshape([regions.of.len(), 2 * axes])
}

pub(super) fn repr(py: Python<'_>, plan: &MixPlan) -> PyResult<String> {
    let partner = several::partner(py, plan)?.repr()?;
    if plan.k() > 2 {
        return Ok(format!("MixPlan.from_weights({}, partner={partner})", several::weights(py, plan)?.repr()?));
    }
    let lam = PyArray1::from_slice(py, plan.share()).repr()?;
    let region = match plan.regions() {
        None => String::new(),
        Some(regions) if regions.has_masks() => {
            format!(", masks of {}", PyTuple::new(py, regions.shape.as_slice())?.repr()?)
        }
        Some(regions) => format!(", boxes={}{}", bounds(py, regions, |_| true)?.repr()?, resized(regions)),
    };
    let other = plan.other().map_or_else(String::new, |other| format!(", other={other}"));
    let shown = format!("MixPlan(lam={lam}, partner={partner}{region}{other})");
    match plan.label_lam() {
        None => Ok(shown),
        Some(lam) => Ok(format!("{shown}.with_label_lam({})", PyArray1::from_slice(py, lam).repr()?)),
    }
}

/// The argument `resized` of a plan of these boxes.
fn resized(regions: &Regions) -> String {
    let is_resized = |region: &Region| region.resized().is_some();
    if !regions.has_resized() {
        return String::new();
    }
    if regions.of.iter().all(|region| is_resized(region) || *region == Region::None) {
        return ", resized=True".into();
    }
    let each: Vec<&str> = regions.of.iter().map(|region| if is_resized(region) { "True" } else { "False" }).collect();
    format!(", resized=[{}]", each.join(", "))
}
