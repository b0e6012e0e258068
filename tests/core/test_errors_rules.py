"""Wrong rules, options and shapes: what is raised, what it says, and that nothing has been written."""

import numpy as np
import pytest
from oracle import values
from refusals import AXES, HUGE, INF, NAN, RNG, case, raises, refused
from rules import EXAMPLES, KINDS, Drawn, Fixed, having, made

from mixup_rs import CutMix, MixPlan, Mixup, OneOf, Remix, mix_batch

N = 4
BESIDE = ["a rule draws the plan", "alpha, mode, fold, lam and partner cannot be given beside it"]
SPATIAL = "a box needs the shape of a sample's one to three spatial axes"


class Nonsense:
    """A rule whose plan is `returns`."""

    def __init__(self, returns):
        self.returns = returns

    def plan(self, n, shape=None, labels=None, rng=None):
        return self.returns


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"rule": 3}, raises(TypeError, "rule must be a rule, such as Mixup(0.4)", "int")),
        ({"rule": "mixup"}, raises(TypeError, "rule must be a rule, such as Mixup(0.4)", "str")),
        ({"rule": [Mixup()]}, raises(TypeError, "rule must be a rule, such as Mixup(0.4)", "list")),
        ({"rule": Mixup().plan}, raises(TypeError, "rule must be a rule, such as Mixup(0.4)", "got method")),
        ({"rule": MixPlan.identity(N)}, raises(TypeError, "rule must be a rule, such as Mixup(0.4)", "MixPlan")),
        # The parentheses were forgotten.
        *[({"rule": kind}, raises(TypeError, "rule", kind.__name__)) for kind in KINDS],
        ({"rule": Nonsense(None)}, raises(TypeError, "Nonsense.plan must return a MixPlan", "NoneType")),
        ({"rule": Nonsense("a plan")}, raises(TypeError, "Nonsense.plan must return a MixPlan", "str")),
        ({"rule": Nonsense(MixPlan.identity(3))}, raises(ValueError, "3", "4")),
        ({"rule": Nonsense(MixPlan.from_boxes([[0, 0]] * N, (9,), range(N)))}, raises(ValueError, "[9]", "[6]")),
        ({"rule": Mixup(), "alpha": 0.5}, raises(ValueError, *BESIDE)),
        ({"rule": Mixup(), "mode": "pair"}, raises(ValueError, *BESIDE)),
        ({"rule": Mixup(), "fold": False}, raises(ValueError, *BESIDE)),
        ({"rule": Mixup(), "lam": 0.5}, raises(ValueError, *BESIDE)),
        ({"rule": Mixup(), "partner": [1, 0, 3, 2]}, raises(ValueError, *BESIDE)),
        ({"rule": Mixup(), "alpha": -1}, raises(ValueError, *BESIDE)),
        ({"rule": CutMix(), "spatial_axes": 1}, raises(TypeError, AXES, "int")),
        ({"rule": CutMix(), "spatial_axes": "12"}, raises(TypeError, AXES, "str")),
        ({"rule": CutMix(), "spatial_axes": {1, 2}}, raises(TypeError, AXES, "set")),
        ({"rule": CutMix(), "spatial_axes": (1.0, 2)}, raises(TypeError, "spatial_axes must be ints", "float")),
        ({"rule": CutMix(), "spatial_axes": (None,)}, raises(TypeError, "spatial_axes must be ints", "NoneType")),
        (
            {"rule": CutMix(), "spatial_axes": (HUGE, 1)},
            raises(ValueError, "spatial_axes", "axes of the array", str(HUGE)),
        ),
        ({"rule": CutMix(), "spatial_axes": ()}, raises(ValueError, SPATIAL, "0")),
        ({"rule": CutMix(), "spatial_axes": (1, 2, 3, 4)}, raises(ValueError, "spatial_axes", "[1, 2, 3, 4]")),
        ({"rule": CutMix(), "spatial_axes": (0, 1)}, raises(ValueError, "spatial_axes must be 2 different", "[0, 1]")),
        ({"rule": CutMix(), "spatial_axes": (2, 2)}, raises(ValueError, "spatial_axes must be 2 different", "[2, 2]")),
        (
            {"rule": CutMix(), "spatial_axes": (2, -2)},
            raises(ValueError, "spatial_axes must be 2 different", "[2, -2]"),
        ),
        (
            {"rule": CutMix(), "spatial_axes": (2, 9)},
            raises(ValueError, "spatial_axes must be 2 different", "[2, 9]", "4"),
        ),
        (
            {"rule": CutMix(), "spatial_axes": (-9,)},
            raises(ValueError, "spatial_axes must be 1 different", "[-9]", "4"),
        ),
        ({"rule": CutMix(), "rng": "key"}, raises(TypeError, *RNG, "str")),
        ({"rule": CutMix(), "num_classes": 2, "y": [0, 1, 2, 0]}, raises(ValueError, "[0, 2)", "got 2 at index 2")),
        ({"rule": CutMix(), "y": [0, 1, 2]}, raises(ValueError, "4 samples", "3")),
        ({"rule": CutMix(), "label_smoothing": 2}, raises(ValueError, "label_smoothing must lie in [0, 1]", "2")),
    ],
    ids=case,
)
def test_a_rule_or_its_axes_are_refused(arguments, expected):
    images, out = values((N, 3, 5, 6), np.float32), values((N, 3, 5, 6), np.float32, seed=1)
    refused(lambda: mix_batch(images, **arguments), [images], expected)
    refused(lambda: mix_batch(images, out=images, **arguments), [images], expected)
    refused(lambda: mix_batch(images, out=out, **arguments), [images, out], expected)


def test_images_whose_channels_seem_to_be_last_are_not_cut_along_them():
    x = values((N, 8, 9, 3), np.float32)
    for rule in (CutMix(), Fixed(CutMix().plan(N, (9, 3), rng=1)), OneOf([CutMix(mode="elem")])):
        expected = raises(ValueError, "(4, 8, 9, 3)", "spatial_axes=(1, 2)", "spatial_axes=(2, 3)")
        refused(lambda rule=rule: mix_batch(x, rule=rule, out=x), [x], expected)
    last = mix_batch(x, rule=CutMix(), spatial_axes=(1, 2), rng=1)
    first = mix_batch(np.moveaxis(x, 3, 1), rule=CutMix(), rng=1)
    np.testing.assert_array_equal(np.moveaxis(last.x, 3, 1), first.x)
    for few, axes in ((values((N, 32, 40, 6), np.float32), "(1, 2)"), (values((N, 5, 8, 9, 3), np.float32), "(2, 3)")):
        expected = raises(ValueError, "channels were its last axis", f"say spatial_axes={axes}")  # as for Mixer
        refused(lambda few=few: mix_batch(few, rule=CutMix(), out=few), [few], expected)
    for certain in (x[:, :3], x[:, :1], values((N, 8, 9, 5), np.float32), values((N, 3, 5, 8, 9), np.float32)):
        assert mix_batch(certain, rule=CutMix(), rng=1).x.shape == certain.shape
    assert mix_batch(x, rule=Mixup()).x.shape == x.shape


def test_a_rule_with_regions_says_what_it_needs_where_there_are_no_spatial_axes():
    x = values((N, 3), np.float32)
    refused(lambda: mix_batch(x, rule=CutMix()), [x], raises(ValueError, SPATIAL, "0"))
    # What would settle it is named.
    refused(lambda: mix_batch(x, rule=CutMix()), [x], raises(ValueError, "spatial_axes"))


SHAPES = [
    (None, raises(ValueError, SPATIAL, "0")),
    ((), raises(ValueError, SPATIAL, "0")),
    ((1, 2, 3, 4), raises(ValueError, SPATIAL, "4")),
    (3, raises(TypeError, "shape must be None or one to three lengths", "int")),
    ("ab", raises(TypeError, "shape must be None or one to three lengths", "str")),
    ({3, 4}, raises(TypeError, "shape must be None or one to three lengths", "set")),
    ({3: 4}, raises(TypeError, "shape must be None or one to three lengths", "dict")),
    ((3, 0), raises(ValueError, "shape must be at least 1", "0")),
    ((-3, 4), raises(ValueError, "shape must be at least 1", "-3")),
    ((3.0, 4), raises(TypeError, "shape must be an int", "float")),
    (("3", 4), raises(TypeError, "shape must be an int", "str")),
    ((HUGE, 4), raises(ValueError, "shape must be", "below 2**63", str(HUGE))),
    ([[3, 4]], raises(TypeError, "shape must be an int", "list")),
]


@pytest.mark.parametrize(("shape", "expected"), SHAPES, ids=case)
def test_a_shape_is_refused(shape, expected):
    refused(lambda: MixPlan.from_boxes(np.zeros((0, 4), int), shape, []), [], expected)
    for rule in (*EXAMPLES, *(OneOf([rule]) for rule in EXAMPLES)):
        # A rule that cuts no box asks for no shape, but refuses what is none.
        if expected.error is TypeError or rule.plan(N, (5, 6), rng=0).boxes is not None:
            refused(lambda rule=rule: rule.plan(N, shape, rng=0), [], expected)


PROB, PROBS = "prob must lie in [0, 1]", "each >= 0 and together at most 1"
#: Refused by each rule that has the option.
COMMON = [
    ({"prob": 1.0000001}, raises(ValueError, PROB, "1.0000001")),
    ({"prob": -1e-9}, raises(ValueError, PROB, "-0.000000001")),
    ({"prob": NAN}, raises(ValueError, PROB, "NaN")),
    ({"prob": INF}, raises(ValueError, PROB, "inf")),
    ({"prob": 10**400}, raises(ValueError, "prob must lie in the range of a float")),
    ({"prob": "0.5"}, raises(TypeError, "prob must be a real number", "str")),
    ({"prob": None}, raises(TypeError, "prob must be a real number", "NoneType")),
    ({"prob": [0.5]}, raises(TypeError, "prob must be a real number", "list")),
    ({"alpha": "1"}, raises(TypeError, "alpha must be a real number", "str")),
    ({"mode": None}, raises(TypeError, "mode must be a str", "NoneType")),
    ({"mode": 1}, raises(TypeError, "mode must be a str", "int")),
]
OPTIONS = [
    *[(kind, wrong, expected) for wrong, expected in COMMON for kind in having(*wrong)],
    (CutMix, {"minmax": (0.5, 0.25)}, raises(ValueError, "minmax must be two fractions", "0.5, 0.25")),
    (CutMix, {"minmax": (0, 10**400)}, raises(ValueError, "minmax must lie in the range of a float")),
    (CutMix, {"minmax": (0.5,)}, raises(ValueError, "minmax must be two fractions", "1")),
    (CutMix, {"minmax": (0, 0.5, 1)}, raises(ValueError, "minmax must be two fractions", "3")),
    (CutMix, {"minmax": (NAN, 1)}, raises(ValueError, "minmax must be two fractions", "NaN, 1")),
    (CutMix, {"minmax": "01"}, raises(TypeError, "minmax must be two fractions", "str")),
    (CutMix, {"minmax": 0.5}, raises(TypeError, "minmax must be two fractions", "float")),
    (CutMix, {"minmax": ("a", 1)}, raises(TypeError, "minmax must be a real number", "str")),
    (Mixup, {"fold": 2}, raises(TypeError, "fold", "int")),
    (Mixup, {"fold": None}, raises(TypeError, "fold", "NoneType")),
    (Mixup, {"k": 1}, raises(ValueError, "k must be at least 2", "1")),
    (Mixup, {"k": 17}, raises(ValueError, "k, the number of samples", "[2, 16]", "17")),
    (Mixup, {"k": HUGE}, raises(ValueError, "k must be at least 2", str(HUGE))),
    (Mixup, {"k": 3.0}, raises(TypeError, "k must be an int", "float")),
    (Mixup, {"k": None}, raises(TypeError, "k must be an int", "NoneType")),
    (Mixup, {"k": 3, "mode": "pair"}, raises(ValueError, 'mode="pair" needs one partner', "k=2", "2 (k=3)")),
    (Mixup, {"k": 3, "mode": "pair", "partners": Drawn()}, raises(ValueError, 'mode="pair" needs one partner', "k=3")),
    (OneOf, {"rules": [CutMix(), Mixup(k=4)]}, raises(ValueError, "OneOf needs one partner", "k=2", "3 (k=4)")),
    (Remix, {"rule": Mixup(k=3)}, raises(ValueError, "Remix needs one partner", "k=2", "2 (k=3)")),
    (OneOf, {"probs": [0.5, 0.6]}, raises(ValueError, "expected 2 probs", PROBS, "[0.5, 0.6]")),
    (OneOf, {"probs": [0.5]}, raises(ValueError, "expected 2 probs", PROBS, "[0.5]")),
    (OneOf, {"probs": [0.2] * 3}, raises(ValueError, "expected 2 probs", PROBS, "[0.2, 0.2, 0.2]")),
    (OneOf, {"probs": []}, raises(ValueError, "expected 2 probs", PROBS, "[]")),
    (OneOf, {"probs": [1.5, -0.5]}, raises(ValueError, "expected 2 probs", PROBS, "[1.5, -0.5]")),
    (OneOf, {"probs": [NAN, 0.5]}, raises(ValueError, "expected 2 probs", PROBS, "[NaN, 0.5]")),
    (OneOf, {"probs": [INF, 0.5]}, raises(ValueError, "expected 2 probs", PROBS, "[inf, 0.5]")),
    (OneOf, {"probs": [10**400, 0]}, raises(ValueError, "probs must lie in the range of a float")),
    (OneOf, {"probs": 0.5}, raises(TypeError, "probs must be a number for each rule", "float")),
    (OneOf, {"probs": "ab"}, raises(TypeError, "probs must be a number for each rule", "str")),
    (OneOf, {"probs": ["0.5", 0.5]}, raises(TypeError, "probs must be a real number", "str")),
    (OneOf, {"probs": [None, 0.5]}, raises(TypeError, "probs must be a real number", "NoneType")),
    # By its keys alone, the numbers would be lost.
    (OneOf, {"probs": {0.5: Mixup(), 0.25: CutMix()}}, raises(TypeError, "probs", "dict")),
    (OneOf, {"rules": {Mixup(): 0.9, CutMix(): 0.1}}, raises(TypeError, "rules must be a sequence of rules", "dict")),
    (OneOf, {"rules": []}, raises(ValueError, "at least one rule", "none")),
    (OneOf, {"rules": Mixup()}, raises(TypeError, "rules must be a sequence of rules", "Mixup")),
    (OneOf, {"rules": None}, raises(TypeError, "rules must be a sequence of rules", "NoneType")),
    (OneOf, {"rules": "ab"}, raises(TypeError, "rules must be a sequence of rules", "str")),
    (OneOf, {"rules": [Mixup(), 3]}, raises(TypeError, "one of rules must be a rule", "int")),
    (OneOf, {"rules": [MixPlan.identity(N)]}, raises(TypeError, "one of rules must be a rule", "MixPlan")),
    (OneOf, {"rules": [Mixup(), CutMix]}, raises(TypeError, "rules", "CutMix")),
    (OneOf, {"mode": "pair"}, raises(ValueError, "for each batch or for each sample, not for pairs")),
]


@pytest.mark.parametrize(
    ("kind", "options", "expected"), OPTIONS, ids=[f"{kind.__name__}-{case(options)}" for kind, options, _ in OPTIONS]
)
def test_options_are_refused_when_the_rule_is_made(kind, options, expected):
    refused(lambda: made(kind, **options), [], expected)


@pytest.mark.parametrize("rule", EXAMPLES, ids=repr)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"n": -1}, raises(ValueError, "n must be at least 0", "-1")),
        ({"n": 2.5}, raises(TypeError, "n must be an int", "float")),
        ({"n": HUGE}, raises(ValueError, "n must be at least 0 and below 2**63", str(HUGE))),
        ({"n": None}, raises(TypeError, "n must be an int", "NoneType")),
    ],
    ids=case,
)
def test_what_a_rule_draws_by_is_refused(rule, arguments, expected):
    refused(lambda: rule.plan(**{"n": N, "shape": (5, 6)} | arguments), [], expected)
