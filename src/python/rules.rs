//! Draws plans by rules of Python: `mixup_rs.rules`.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};

use crate::error::MixError;
use crate::plan::{MixPlan, Rect};
use crate::random::{DRAWN_ALONE, Key};
use crate::rules::{Choice, Rule, Slot, named};

use super::describe::type_name;
use super::errors::catch_panics;
use super::plan::PyMixPlan;
use super::{arguments, key, settings};

/// Draws a plan by a rule of this package. `mixup_rs.rules` documents the arguments.
#[pyfunction]
#[pyo3(signature = (rule, n, shape, labels, rng, other=None))]
pub(super) fn draw(
    rule: &Bound<'_, PyAny>,
    n: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = arguments::shape)] shape: Vec<usize>,
    labels: Option<&Bound<'_, PyAny>>,
    rng: Option<&Bound<'_, PyAny>>,
    other: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyMixPlan> {
    catch_panics(|| {
        let other = other.map(|other| arguments::count("other", other, 0)).transpose()?;
        let batch = Batch { n: arguments::count("n", n, 0)?, other, shape: &shape, labels, missing: "shape" };
        Ok(PyMixPlan(draw_own(rule, batch, key::key(rng)?)?))
    })
}

/// Checks the options of a rule of this package.
#[pyfunction]
pub(super) fn check(rule: &Bound<'_, PyAny>) -> PyResult<()> {
    catch_panics(|| match Options::of(rule)? {
        Options::Rule(options) => {
            options.check()?;
            check_partners(rule)
        }
        Options::OneOf(_, rules) => {
            rules.iter().try_for_each(|rule| check_rule("one of rules", rule).and_then(|()| check_k("OneOf", rule)))
        }
        Options::Remix(inner) => check_rule("rule", &inner).and_then(|()| check_k("Remix", &inner)),
    })
}

/// The options of a rule of this package.
enum Options<'py> {
    Rule(Box<dyn Rule>),
    OneOf(Choice, Vec<Bound<'py, PyAny>>),
    /// The rule of the pixels. Weights of labels are chosen in `mixup_rs.remix`.
    Remix(Bound<'py, PyAny>),
}

impl<'py> Options<'py> {
    /// Reads the options by the name of the rule, the attribute `_rule` of its class.
    fn of(rule: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = rule.py();
        let kind = rule.getattr(intern!(py, "_rule"))?;
        Ok(match &*kind.cast::<PyString>()?.to_cow()? {
            "OneOf" => {
                let rules = rule.getattr(intern!(py, "rules"))?;
                let Ok(rules) = rules.cast::<PyTuple>() else {
                    return Err(PyTypeError::new_err(format!(
                        "rules must be a sequence of rules, got {}",
                        type_name(&rules)
                    )));
                };
                let rules: Vec<_> = rules.iter().collect();
                let probs = arguments::probs(&rule.getattr(intern!(py, "probs"))?)?;
                let mode = arguments::mode_of(&rule.getattr(intern!(py, "mode"))?)?;
                Self::OneOf(Choice::new(rules.len(), probs, mode)?, rules)
            }
            "Remix" => Self::Remix(rule.getattr(intern!(py, "rule"))?),
            kind => {
                let Some(mut own) = named(kind) else {
                    let rule = type_name(rule);
                    return Err(PyTypeError::new_err(format!(
                        "{rule} is of the kind {kind:?}, which the core does not know"
                    )));
                };
                for (name, slot) in own.options() {
                    fill(name, slot, &rule.getattr(PyString::intern(py, name))?)?;
                }
                Self::Rule(own)
            }
        })
    }
}

/// Sets an option.
fn fill(name: &str, slot: Slot<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    match slot {
        Slot::Real(slot) => *slot = arguments::real(name, value)?,
        Slot::Count(slot, least) => *slot = arguments::count(name, value, least as i64)?,
        Slot::Counts(slot) => *slot = arguments::counts(name, value)?,
        Slot::Fractions(slot) => *slot = arguments::fractions(name, value)?,
        Slot::MaybeFractions(slot) if value.is_none() => *slot = None,
        Slot::MaybeFractions(slot) => *slot = Some(arguments::fractions(name, value)?),
        Slot::Switch(slot) => *slot = arguments::boolean(name, value)?,
        Slot::Mode(slot) => *slot = arguments::mode_of(value)?,
        Slot::Given(slot) => *slot = !value.is_none(),
    }
    Ok(())
}

/// Refuses what has no method `plan`, and a class, which is not called yet.
fn check_rule(name: &str, rule: &Bound<'_, PyAny>) -> PyResult<()> {
    if rule.getattr_opt("plan")?.is_some_and(|plan| plan.is_callable()) && !rule.is_instance_of::<PyType>() {
        return Ok(());
    }
    rule.py().import("mixup_rs.rule")?.call_method1("check_rule", (rule, name)).map(drop)
}

/// Refuses a rule of this package that draws several partners. In other rules `k` may mean anything.
fn check_k(what: &'static str, rule: &Bound<'_, PyAny>) -> PyResult<()> {
    if !rule.hasattr(intern!(rule.py(), "_rule"))? {
        return Ok(());
    }
    match rule.getattr_opt(intern!(rule.py(), "k"))?.and_then(|k| k.extract::<usize>().ok()) {
        Some(k) if k > 2 => Err(MixError::Several { what, k }.into()),
        _ => Ok(()),
    }
}

/// The type of a value, or which class it is.
fn described(value: &Bound<'_, PyAny>) -> String {
    match value.cast::<PyType>() {
        Ok(class) => class.fully_qualified_name().map_or_else(|_| "a class".into(), |name| format!("the class {name}")),
        Err(_) => type_name(value),
    }
}

/// Refuses `partners` that cannot be called, a class, which is not made yet, and pairs, whose partners are theirs.
fn check_partners(rule: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(partners) = rule.getattr_opt(intern!(rule.py(), "partners"))?.filter(|partners| !partners.is_none())
    else {
        return Ok(());
    };
    if !partners.is_callable() || partners.is_instance_of::<PyType>() {
        let got = described(&partners);
        return Err(PyTypeError::new_err(format!(
            "partners must be None or a function of (n, labels, rng), such as Within(), got {got}"
        )));
    }
    if rule.getattr(intern!(rule.py(), "mode"))?.eq("pair")? {
        return Err(PyValueError::new_err("partners cannot be given beside mode='pair', which pairs samples itself"));
    }
    Ok(())
}

/// What a plan is drawn for.
#[derive(Clone, Copy)]
pub(super) struct Batch<'a, 'py> {
    pub n: usize,
    /// The number of samples of another batch, if partners come from one.
    pub other: Option<usize>,
    /// The lengths of a sample's spatial axes; empty if they are not known.
    pub shape: &'a [usize],
    pub labels: Option<&'a Bound<'py, PyAny>>,
    /// The argument that would name the shape.
    pub missing: &'static str,
}

fn draw_own(rule: &Bound<'_, PyAny>, batch: Batch<'_, '_>, key: Key) -> PyResult<MixPlan> {
    match Options::of(rule)? {
        Options::Rule(options) => {
            let limit = if batch.n < DRAWN_ALONE { 1 } else { settings::num_threads(rule.py())? };
            let plan = match batch.other {
                None => options.plan_on(limit, batch.n, batch.shape, key),
                Some(other) => options.plan_with(limit, batch.n, other, batch.shape, key),
            };
            let plan = plan.map_err(|error| match error {
                MixError::SpatialRank { got: 0 } => {
                    PyValueError::new_err(format!("{error}; name them: {}=...", batch.missing))
                }
                error => error.into(),
            })?;
            centred(with_chosen_partners(plan, rule, batch, key)?, rule, batch)
        }
        Options::OneOf(choice, rules) => {
            choice.plan_by(batch.n, batch.other, key, |chosen, key| draw_any(&rules[chosen], batch, key))
        }
        Options::Remix(inner) => {
            let plan = draw_any(&inner, batch, key)?;
            plan.check_one_partner("Remix")?;
            let arguments = (rule, PyMixPlan(plan.clone()), batch.labels);
            let lam = rule.py().import("mixup_rs.remix")?.call_method1("label_lam", arguments)?;
            Ok(plan.with_label_lam(arguments::lam(&lam)?)?)
        }
    }
}

/// The plan with the partners that the option `partners` of its rule chooses, if it has one and the plan mixes anything.
fn with_chosen_partners(plan: MixPlan, rule: &Bound<'_, PyAny>, batch: Batch<'_, '_>, key: Key) -> PyResult<MixPlan> {
    let py = rule.py();
    let Some(partners) = rule.getattr_opt(intern!(py, "partners"))?.filter(|partners| !partners.is_none()) else {
        return Ok(plan);
    };
    if batch.other.is_some() {
        return Err(PyValueError::new_err(format!(
            "partners chooses among samples of the batch itself, by their labels, not among those of another batch; \
             got partners={} with other",
            partners.repr()?
        )));
    }
    if plan == MixPlan::identity(batch.n)? {
        return Ok(plan);
    }
    let count = plan.k() - 1;
    let arguments = (partners, batch.n, batch.labels, PyTuple::new(py, key.partner_words())?, count);
    let partner = py.import("mixup_rs.partners")?.call_method1("drawn_by", arguments)?;
    if count > 1 {
        let partner = arguments::several_partners(&partner, batch.n, count)?;
        return Ok(MixPlan::from_weights(plan.k(), plan.weights(), partner)?);
    }
    Ok(plan.with_partners(arguments::partner(&partner, None)?)?)
}

/// The plan with boxes at the peaks of the partners' saliency, if its rule has the option `saliency`.
fn centred(plan: MixPlan, rule: &Bound<'_, PyAny>, batch: Batch<'_, '_>) -> PyResult<MixPlan> {
    let Some(peaks) = rule.getattr_opt(intern!(rule.py(), "saliency"))?.filter(|peaks| !peaks.is_none()) else {
        return Ok(plan);
    };
    if plan.spatial_shape().is_none() {
        return Ok(plan);
    }
    let (shape, at): (Vec<usize>, Vec<Vec<usize>>) = peaks.extract()?;
    if shape != batch.shape {
        let expected = batch.shape;
        return Err(PyValueError::new_err(format!("saliency must be maps of {expected:?}, got maps of {shape:?}")));
    }
    // The samples that partners are among.
    let expected = batch.other.unwrap_or(batch.n);
    if at.len() != expected {
        let got = at.len();
        return Err(PyValueError::new_err(format!(
            "saliency must have a map for each of {expected} samples, got {got}"
        )));
    }
    let points: Vec<_> = at.iter().map(|at| Rect::new(at, at).start).collect();
    Ok(plan.centred_at(&points)?)
}

/// Draws a plan by a rule of this package, or by calling the method `plan` of any other object.
pub(super) fn draw_any(rule: &Bound<'_, PyAny>, batch: Batch<'_, '_>, key: Key) -> PyResult<MixPlan> {
    check_rule("rule", rule)?;
    let py = rule.py();
    // A rule of this package with its own `plan`, not overridden by a subclass.
    static OWN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let own = OWN.get_or_try_init(py, || {
        PyResult::Ok(py.import("mixup_rs.rule")?.getattr("CoreRule")?.getattr("plan")?.unbind())
    })?;
    if rule.get_type().getattr_opt("plan")?.is_some_and(|plan| plan.is(own)) {
        return draw_own(rule, batch, key);
    }
    let Batch { n, other, shape, labels, .. } = batch;
    let shape = if shape.is_empty() { None } else { Some(PyTuple::new(py, shape)?) };
    let arguments = (rule, n, shape, labels, PyTuple::new(py, key.words())?, other);
    let plan = py.import("mixup_rs.rule")?.call_method1("draw_by", arguments)?;
    Ok(plan.cast::<PyMixPlan>()?.get().0.clone())
}
