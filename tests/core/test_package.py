"""What importing the package does and what it offers."""

import copy
import doctest
import importlib.metadata
import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest
from oracle import assert_same_bits
from rules import KINDS

import mixup_rs
from mixup_rs import CutMix, MixedBatch, MixPlan, Mixup, Rule, mix_batch

HEAVY = ["torch", "fastai", "fastcore", "matplotlib", "scipy", "ml_dtypes", "PIL", "pandas", "jax"]


def test_importing_it_imports_nothing_heavy(run_python):
    code = f"""
import sys
import numpy
with_numpy = set(sys.modules)
import mixup_rs
x = numpy.zeros((3, 4), numpy.float32)
mixup_rs.mix_batch(x, [0, 1, 2], num_classes=3, out=x)
print(*sorted(set({HEAVY}) & (set(sys.modules) - with_numpy)))
"""
    assert run_python(code) == "\n"


def test_importing_it_starts_no_thread_and_reads_no_random_state(run_python):
    code = """
import os, numpy
before = numpy.random.get_state()[1].tolist()
threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
import mixup_rs
mixup_rs.mix_batch(numpy.zeros((3, 4), numpy.float32))
assert numpy.random.get_state()[1].tolist() == before
print((len(os.listdir("/proc/self/task")) if threads else 0) - threads)
"""
    assert run_python(code) == "0\n"


def test_all_of_it_is_imported_without_a_framework(run_python):
    assert (
        run_python("from mixup_rs import *\nimport sys\nprint(Mixup.__name__, 'torch' in sys.modules)")
        == "Mixup False\n"
    )


def test_the_version_is_the_packages():
    assert mixup_rs.__version__ == importlib.metadata.version("mixup-rs")


CORE = {
    name: value
    for name, value in vars(mixup_rs).items()
    if not name.startswith("_")
    and callable(value)
    and value.__module__
    in (
        "mixup_rs",
        "mixup_rs._core",
        "mixup_rs.rule",
        "mixup_rs.rules",
        "mixup_rs.partners",
        "mixup_rs.remix",
        "mixup_rs.mixer",
        "mixup_rs.salient",
        "mixup_rs.batches.targets",
    )
}
RULES = {kind.__name__: kind for kind in KINDS}
DOCUMENTED = (
    CORE
    | {f"MixPlan.{name}": getattr(MixPlan, name) for name in sorted(vars(MixPlan)) if not name.startswith("_")}
    | {f"{name}.plan": rule.plan for name, rule in (RULES | {"Rule": Rule}).items()}
)


def test_the_public_names_are_there():
    mixing, settings = (
        {"MixPlan", "MixedBatch", "Mixer", "PairedTarget", "mix_batch", "collate", "saliency"},
        {"get_num_threads", "set_num_threads"},
    )
    partners = {"Within", "Across", "Balanced", "CMixup"} | {"Remix"}
    expected = mixing | set(RULES) | {"Rule"} | partners | settings | {"clear_cache"}
    missing, unknown = sorted(expected - set(CORE)), sorted(set(CORE) - expected)
    assert not missing, f"python/mixup_rs/__init__.py does not import {missing}"
    assert not unknown, f"{unknown} are public, but not named in this test"
    hidden = sorted(set(RULES) - set(mixup_rs.rules.__all__))
    assert not hidden, f"__all__ of python/mixup_rs/rules.py does not name {hidden}"
    made, applied = (
        ["identity", "from_boxes", "from_masks", "from_weights"],
        [
            "apply",
            "apply_boxes",
            "apply_keypoints",
            "apply_labels",
            "for_classes",
            "for_labels",
            "with_label_lam",
            "without_region",
        ],
    )
    regions = ["boxes", "masks", "patches", "only_copies", "takes_nearest", "spatial_shape"]
    shown = ["lam", "weight", "weights", "partner", "k", "other", *regions]
    plan = {name for name in vars(MixPlan) if not name.startswith("_")}
    assert plan == {*made, *applied, *shown}
    hidden = sorted(set(CORE) - set(mixup_rs.__all__))
    assert not hidden, f"__all__ of python/mixup_rs/__init__.py does not name {hidden}"
    assert set(mixup_rs.__all__) <= set(dir(mixup_rs))


@pytest.mark.parametrize("public", DOCUMENTED)
def test_every_public_name_is_documented(public):
    doc = inspect.getdoc(DOCUMENTED[public])
    assert doc
    assert doc != inspect.getdoc(tuple)
    if callable(DOCUMENTED[public]) and public != "MixedBatch":
        for parameter in inspect.signature(DOCUMENTED[public]).parameters:
            is_one = parameter in {"self", "/"} or public == "Rule"  # a protocol, without instances
            assert is_one or parameter in doc, f"{public} does not explain {parameter}"


EXAMPLES = {public: inspect.getdoc(value) for public, value in DOCUMENTED.items() if ">>>" in (value.__doc__ or "")}


def test_whatever_takes_arguments_has_an_example():
    without = {public for public in DOCUMENTED if public not in EXAMPLES}
    regions = ["boxes", "masks", "patches", "only_copies", "takes_nearest", "spatial_shape"]
    shown = {f"MixPlan.{name}" for name in ["lam", "weight", "weights", "partner", "k", "other", *regions]}
    # The rules' own examples draw plans.
    assert without <= {"MixedBatch", *shown, *(f"{rule}.plan" for rule in [*RULES, "Rule"])}


@pytest.mark.usefixtures("set_num_threads")
@pytest.mark.parametrize("public", EXAMPLES)
def test_the_examples_give_what_they_say(public):
    example = doctest.DocTestParser().get_doctest(EXAMPLES[public], {}, public, None, 0)
    assert example.examples
    report = []
    doctest.DocTestRunner().run(example, out=report.append)
    assert not report, "".join(report)


def test_the_defaults_are_those_of_the_contract():
    defaults = {
        "y": None,
        "alpha": 0.4,
        "mode": "elem",
        "fold": True,
        "lam": None,
        "partner": None,
        "rule": None,
        "other": None,
        "num_classes": None,
        "label_smoothing": 0.0,
        "out": None,
        "spatial_axes": None,
        "rng": None,
    }
    parameters = inspect.signature(mix_batch).parameters
    assert {name: parameters[name].default for name in defaults} == defaults
    assert list(parameters) == ["x", *defaults]
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in defaults if name != "y")
    contract = {
        "Mixup": {"alpha": 0.4, "mode": "elem", "fold": True, "prob": 1.0, "partners": None, "k": 2},
        "CutMix": {"alpha": 1.0, "mode": "batch", "minmax": None, "prob": 1.0, "saliency": None, "partners": None},
        "FMix": {"alpha": 1.0, "decay": 3.0, "soft": 0.0, "mode": "batch", "prob": 1.0, "partners": None},
        "GridMix": {"alpha": 1.0, "cells": (2, 6), "mode": "batch", "prob": 1.0, "partners": None},
        "ResizeMix": {"scale": (0.1, 0.8), "mode": "batch", "prob": 1.0, "partners": None},
        "SmoothMix": {"sigma": (0.25, 0.5), "mode": "batch", "prob": 1.0, "partners": None},
        "OneOf": {"rules": inspect.Parameter.empty, "probs": None, "mode": "batch"},
    }
    missing = sorted(set(RULES) - set(contract))
    assert not missing, f"add the defaults of {missing} to the contract in this test"
    for name, rule in RULES.items():
        parameters = inspect.signature(rule).parameters
        assert {option: parameter.default for option, parameter in parameters.items()} == contract[name]
        parameters = inspect.signature(rule.plan).parameters
        assert list(parameters) == ["self", "n", "shape", "labels", "rng", "other"]
        assert all(parameters[name].default is None for name in ["shape", "labels", "rng"])


def test_a_default_alpha_stands_in_one_place_in_effect():
    """The signature of mix_batch, the rules' defaults and what is drawn where none is named agree."""
    assert Mixup.alpha == Mixup().alpha == inspect.signature(mix_batch).parameters["alpha"].default == 0.4
    assert CutMix.alpha == CutMix().alpha == 1.0
    assert Mixup().plan(50, rng=1) == Mixup(alpha=0.4).plan(50, rng=1)
    assert CutMix().plan(50, (32, 32), rng=1) == CutMix(alpha=1.0).plan(50, (32, 32), rng=1)
    mixed = mix_batch(np.zeros(50), rng=1)
    assert MixPlan(mixed.lam, mixed.partner) == Mixup().plan(50, rng=1)


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("copied", [lambda plan: pickle.loads(pickle.dumps(plan)), copy.copy, copy.deepcopy])
def test_a_plan_survives_copying(n, copied):
    plan = Mixup().plan(n, rng=n)
    other = copied(plan)
    assert type(other) is MixPlan
    assert other == plan
    assert_same_bits(other.lam, plan.lam)
    assert_same_bits(other.partner, plan.partner)


def test_a_batch_survives_pickling():
    mixed = mix_batch(np.arange(12, dtype=np.float32).reshape(4, 3), [0, 1, 2, 0], rng=0)
    other = pickle.loads(pickle.dumps(mixed))
    assert type(other) is type(mixed) is MixedBatch
    assert MixedBatch._fields == ("x", "y", "y_partner", "lam", "partner")
    for got, expected in zip(other, mixed, strict=True):
        assert_same_bits(got, expected)


def test_plans_are_equal_by_value():
    plan = MixPlan([0.5, 1], [1, 0])
    assert plan == MixPlan(np.array([0.5, 1]), np.array([1, 0]))
    assert plan != MixPlan([0.5, 0.9], [1, 0])
    assert plan != MixPlan([0.5, 1], [1, 1])
    assert plan != "a plan"
    assert len(plan) == 2
    assert "0.5" in repr(plan)


def test_the_number_of_threads_is_at_most_the_processors(set_num_threads):
    set_num_threads(1)
    assert mixup_rs.get_num_threads() == 1
    set_num_threads(10_000)
    most = mixup_rs.get_num_threads()
    assert 1 <= most < 10_000
    set_num_threads(most)
    assert mixup_rs.get_num_threads() == most


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({"MIXUP_RS_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "10000"}, 1),
        ({"MIXUP_RS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "10000"}, 1),
        ({"MIXUP_RS_NUM_THREADS": "10000", "OMP_NUM_THREADS": "1"}, None),
        ({"MIXUP_RS_NUM_THREADS": "none"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_environment_sets_the_number_of_threads(run_python, set_num_threads, environment, threads):
    set_num_threads(10_000)
    expected = threads or mixup_rs.get_num_threads()
    assert int(run_python("import mixup_rs; print(mixup_rs.get_num_threads())", **environment)) == expected


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [("losses", "torch", "torch"), ("torch", "torch", "torch"), ("fastai", "torch", "fastai"),
     ("RustMixUp", "torch", "fastai"), ("fastai", "fastai", "fastai"), ("lightning", "torch", "lightning"),
     ("ray", "torch", "ray"), ("timm", "torch", "timm"), ("torchvision", "torch", "torchvision")],
)  # fmt: skip
def test_an_import_that_needs_what_is_not_installed_names_its_extra(run_python, module, library, extra):
    code = f"""
import importlib
import sys
import mixup_rs
sys.modules[{library!r}] = None
name = "fastai" if {module!r} == "RustMixUp" else {module!r}
for found in (lambda: importlib.import_module("mixup_rs." + name), lambda: getattr(mixup_rs, {module!r})):
    try:
        found()
    except ModuleNotFoundError as error:
        print(error)
"""
    said, again = run_python(code).splitlines()
    assert said.startswith("mixup_rs.")
    assert said.endswith(f": pip install 'mixup-rs[{extra}]'")
    assert said == again


def test_modules_are_found_without_being_imported(run_python):
    assert run_python("import mixup_rs; print(mixup_rs.plot.__name__)") == "mixup_rs.plot\n"
    assert run_python("import mixup_rs; print(hasattr(mixup_rs, 'nothing'))") == "False\n"


def test_each_module_of_a_framework_is_an_attribute(run_python):
    folder = Path(mixup_rs.__file__).parent
    needing = {path.stem for path in folder.glob("*.py") if "pip install" in path.read_text(encoding="utf-8")}
    assert {"jax", "lightning", "ray", "timm", "torchvision"} <= needing <= {*dir(mixup_rs), "__init__"}
    code = """
import sys
import mixup_rs
sys.modules["ray"] = None
try:
    mixup_rs.ray
except ModuleNotFoundError as error:
    print(error)
"""
    assert run_python(code).endswith("needs torch and Ray Data: pip install 'mixup-rs[ray]'\n")
