//! Draws plans by rules of Python: `mixup_rs.rules`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::plan::MixPlan;
use crate::random::{DRAWN_ALONE, Key};
use crate::rules::{Choice, CutMix, Mixup, Rule};

use super::describe::type_name;
use super::errors::catch_panics;
use super::plan::PyMixPlan;
use super::{arguments, key, settings};

/// Draws a plan by a rule of this package. `mixup_rs.rules` documents the arguments.
#[pyfunction]
#[pyo3(signature = (rule, n, shape, labels, rng))]
pub(super) fn draw(
    rule: &Bound<'_, PyAny>,
    n: &Bound<'_, PyAny>,
    #[pyo3(from_py_with = arguments::shape)] shape: Vec<usize>,
    labels: Option<&Bound<'_, PyAny>>,
    rng: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyMixPlan> {
    catch_panics(|| Ok(PyMixPlan(draw_own(rule, arguments::count("n", n, 0)?, &shape, labels, key::key(rng)?)?)))
}

/// Checks the options of a rule of this package.
#[pyfunction]
pub(super) fn check(rule: &Bound<'_, PyAny>) -> PyResult<()> {
    catch_panics(|| match Options::of(rule)? {
        Options::Rule(rule) => Ok(rule.check()?),
        Options::OneOf(_, rules) => rules.iter().try_for_each(|rule| {
            if rule.hasattr("plan")? {
                return Ok(());
            }
            Err(PyTypeError::new_err(format!("rules must have a method plan, got {}", type_name(rule))))
        }),
    })
}

/// The options of a rule of this package.
enum Options<'py> {
    Rule(Box<dyn Rule>),
    OneOf(Choice, Vec<Bound<'py, PyAny>>),
}

impl<'py> Options<'py> {
    /// Reads the options by the name of the rule, the attribute `_rule` of its class.
    fn of(rule: &Bound<'py, PyAny>) -> PyResult<Self> {
        let get = |name: &str| rule.getattr(name);
        let mode = || arguments::mode(&get("mode")?.extract::<String>().map_err(|_| wrong_mode(rule))?);
        let alpha = || arguments::alpha(&get("alpha")?);
        let prob = || arguments::prob(&get("prob")?);
        Ok(match get("_rule")?.extract::<String>()?.as_str() {
            "mixup" => {
                let fold = get("fold")?.is_truthy()?;
                Self::Rule(Box::new(Mixup { alpha: alpha()?, mode: mode()?, fold, prob: prob()? }))
            }
            "cutmix" => {
                let minmax = arguments::minmax(&get("minmax")?)?;
                Self::Rule(Box::new(CutMix { alpha: alpha()?, mode: mode()?, minmax, prob: prob()? }))
            }
            "one_of" => {
                let rules = get("rules")?;
                let Ok(rules) = rules.cast::<PyTuple>() else {
                    return Err(PyTypeError::new_err(format!(
                        "rules must be a sequence of rules, got {}",
                        type_name(&rules)
                    )));
                };
                let rules: Vec<_> = rules.iter().collect();
                Self::OneOf(Choice::new(rules.len(), arguments::probs(&get("probs")?)?, mode()?)?, rules)
            }
            other => unreachable!("no rule is called {other}"),
        })
    }
}

fn wrong_mode(rule: &Bound<'_, PyAny>) -> PyErr {
    let got = rule.getattr("mode").map_or_else(|_| "nothing".into(), |mode| type_name(&mode));
    PyTypeError::new_err(format!("mode must be a str, got {got}"))
}

fn draw_own(
    rule: &Bound<'_, PyAny>,
    n: usize,
    shape: &[usize],
    labels: Option<&Bound<'_, PyAny>>,
    key: Key,
) -> PyResult<MixPlan> {
    match Options::of(rule)? {
        Options::Rule(options) => {
            let limit = if n < DRAWN_ALONE { 1 } else { settings::num_threads(rule.py())? };
            Ok(options.plan_on(limit, n, shape, key)?)
        }
        Options::OneOf(choice, rules) => {
            choice.plan_by(n, key, |chosen, key| draw_any(&rules[chosen], n, shape, labels, key))
        }
    }
}

/// Draws a plan by a rule of this package, or by calling the method `plan` of any other object.
pub(super) fn draw_any(
    rule: &Bound<'_, PyAny>,
    n: usize,
    shape: &[usize],
    labels: Option<&Bound<'_, PyAny>>,
    key: Key,
) -> PyResult<MixPlan> {
    let py = rule.py();
    // A rule of this package with its own `plan`, not overridden by a subclass.
    static OWN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let own = OWN.get_or_try_init(py, || {
        PyResult::Ok(py.import("mixup_rs.rules")?.getattr("_CoreRule")?.getattr("plan")?.unbind())
    })?;
    if rule.get_type().getattr_opt("plan")?.is_some_and(|plan| plan.is(own)) {
        return draw_own(rule, n, shape, labels, key);
    }
    let shape = if shape.is_empty() { None } else { Some(PyTuple::new(py, shape)?) };
    let drawn = rule.call_method1("plan", (n, shape, labels, PyTuple::new(py, key.words())?))?;
    let Ok(plan) = drawn.cast::<PyMixPlan>() else {
        let got = type_name(&drawn);
        return Err(PyTypeError::new_err(format!("{}.plan must return a MixPlan, got {got}", type_name(rule))));
    };
    let plan = &plan.get().0;
    plan.check_batch(&[n])?;
    Ok(plan.clone())
}
