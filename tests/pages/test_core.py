"""The core of the explorer, in WebAssembly, gives what the native one gives: to the bit."""

import dataclasses

import numpy as np
import pages
import pytest
from explorer import LEFT_OUT, PLANNED
from goldens import written
from pages import array, ask, entries, text
from rules import EXAMPLES, KINDS

import mixup_rs
from mixup_rs import CutMix, MixPlan, Mixup
from mixup_rs.rule import CoreRule

CLASSES = 5
#: With two pictures there is no choice of partners.
SHOWN = [rule for rule in EXAMPLES if "partners=" not in written(rule)]
#: Beside the examples of all rules: an α that each sampler has, and what is drawn in several blocks.
RULES = [*SHOWN, Mixup(0), Mixup(1e-300), Mixup(3.5, fold=False), Mixup(1e300), CutMix(7, minmax=(0, 1))]
KEYS = [(0,), (42, 0), (7, 3, 1), (2**64 - 1, 2**53 + 1)]
SIZES = [(9, (24, 17)), (1, (5, 5)), (0, (4, 4)), (64, (3, 8))]


def pixels(n, shape):
    return np.random.default_rng(n).integers(0, 256, (n, *shape, 4), np.uint8)


def classes(n):
    return np.random.default_rng(n).integers(0, CLASSES, n)


def request(n, shape, **how):
    # Numbers above 2^53 go as text: JSON in JavaScript would round them.
    how = {name: [str(item) for item in value] if name == "key" else value for name, value in how.items()}
    return how | {"n": n, "shape": shape, "x": text(pixels(n, shape)), "y": classes(n).tolist(), "classes": CLASSES}


def assert_same(answer, plan, n, shape):
    """λ, weights, partners, boxes and targets to the bit, and every pixel."""
    assert "error" not in answer, answer
    for name, dtype in (("lam", np.float64), ("weight", np.float64), ("partner", np.uint32)):
        np.testing.assert_array_equal(array(answer[name], dtype), getattr(plan, name), err_msg=name)
    assert (answer["boxes"] is None) == (plan.boxes is None)
    if plan.boxes is not None:
        got = array(answer["boxes"], np.uint32).reshape(n, 6)[:, [1, 2, 4, 5]]
        np.testing.assert_array_equal(got, plan.boxes)
    mixed = plan.apply(pixels(n, shape), spatial_axes=None if plan.spatial_shape is None else (1, 2))
    np.testing.assert_array_equal(array(answer["x"], np.uint8).reshape(mixed.shape), mixed)
    soft, _ = plan.apply_labels(classes(n), num_classes=CLASSES)
    np.testing.assert_array_equal(array(answer["y"], np.float32).reshape(soft.shape), soft)


def test_every_rule_draws_and_mixes_alike():
    assert {type(rule) for rule in SHOWN} == set(KINDS)
    cases = [(rule, key, n, shape) for rule in RULES for key in KEYS for n, shape in SIZES]
    asked = ask([request(n, shape, rule=written(rule), key=key) for rule, key, n, shape in cases])
    moved = 0
    for (rule, key, n, shape), answer in zip(cases, asked["answers"], strict=True):
        plan = rule.plan(n, shape, rng=key)
        assert_same(answer, plan, n, shape)
        moved += int((plan.lam < 1).any())
    # What is compared is mixed, in most cases.
    assert moved > len(cases) / 3


def test_many_weights_are_drawn_alike():
    for alpha in (0.4, 1.0, 2.0):
        rule = Mixup(alpha, fold=False)
        [answer] = ask([{"rule": written(rule), "n": 5000, "shape": (1, 1), "key": [3]}])["answers"]
        np.testing.assert_array_equal(array(answer["lam"], np.float64), rule.plan(5000, rng=(3,)).lam)


def test_given_weights_and_boxes_mix_alike():
    shape = (12, 9)
    lams = [0, 1e-9, 0.25, 1 / 3, 0.5, 0.6, 1]
    boxes = [(0, 0, 12, 9), (2, 3, 2, 3), (1, 2, 7, 9), (0, 0, 0, 0)]
    requests = [request(2, shape, blend=lam) for lam in lams] + [request(2, shape, cut=box) for box in boxes]
    plans = [MixPlan(lam, [1, 0]) for lam in lams]
    plans += [MixPlan.from_boxes([box] * 2, shape, partner=[1, 0]) for box in boxes]
    for answer, plan in zip(ask(requests)["answers"], plans, strict=True):
        assert_same(answer, plan, 2, shape)


def test_no_memory_is_lost():
    requests = [request(9, (96, 96), rule=written(CutMix()), key=(step,)) for step in range(20)]
    assert ask(requests)["grown"] < 4 * 9 * 96 * 96 * 4


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("Mixup(alpha=-1)", "alpha must be a finite number >= 0, got -1"),
        ("CutMix(mode='all')", 'expected "elem", "pair" or "batch" in the text of a rule'),
        (
            "Blur()",
            'expected the name of a rule in the text of a rule, such as FMix(decay=2, mode="elem"), got "Blur()"',
        ),
        ("", "expected the name of a rule"),
    ],
)
def test_what_is_wrong_is_said(rule, message):
    [answer, other] = ask([{"rule": rule, "n": 2, "shape": [4, 4], "key": [1]}, {"blend": 1.5, "shape": [4, 4]}])[
        "answers"
    ]
    assert message in answer["error"]
    assert "lam must lie in [0, 1], got 1.5" in other["error"]


def test_the_core_needs_nothing_from_the_page():
    assert entries()["imports"] == []


def test_the_page_has_every_rule_with_its_defaults():
    rules = entries()["rules"]
    assert [rule["name"] for rule in rules] == [kind.__name__ for kind in KINDS]
    for rule in rules:
        made = eval(rule["python"], vars(mixup_rs))
        assert isinstance(made, CoreRule)
        assert rule["options"] == [field.name for field in dataclasses.fields(made) if field.name not in LEFT_OUT]
        if rule["name"] != "OneOf":
            assert made == type(made)(), "the defaults are those of the Python class"
    assert {rule["python"] for rule in rules} >= set(PLANNED)
    assert pages.PAGE.joinpath("index.html").exists()
