"""Wrong arguments about partners from another batch: what is raised, and that nothing has been written."""

import numpy as np
import pytest
from oracle import values
from refusals import HUGE, case, raises, refused

import mixup_rs
from mixup_rs import Balanced, CutMix, MixPlan, Mixup, OneOf, mix_batch

N, M = 4, 3
PLAN, OWN = MixPlan(0.5, [0, 2, 1, 0], other=M), MixPlan(0.5, [1, 0, 3, 2])


def x():
    return np.linspace(0, 1, 3 * N, dtype=np.float32).reshape(N, 3)


OTHERS = [
    (None, raises(ValueError, "another batch of 3 samples, which must be given: other=")),
    (values((2, 3), np.float32), raises(ValueError, "another batch of 3 samples, got one of 2")),
    (values((4, 3), np.float32), raises(ValueError, "another batch of 3 samples, got one of 4")),
    (values((0, 3), np.float32), raises(ValueError, "another batch of 3 samples, got one of 0")),
    (values((M, 4), np.float32), raises(ValueError, "other must have samples of shape [3]", "got [4]")),
    (values((M,), np.float32), raises(ValueError, "other must have samples of shape [3]", "got []")),
    (values((M, 3, 1), np.float32), raises(ValueError, "other must have samples of shape [3]", "got [3, 1]")),
    (np.array(1, np.float32), raises(ValueError, "axis 0", "0 dimensions")),
    (values((M, 3), np.float64), raises(TypeError, "other must have dtype float32, as x has", "float64")),
    (values((M, 3), np.float32).tolist(), raises(TypeError, "other must be a numpy.ndarray", "list")),
    ((values((M, 3), np.float32), [0] * M), raises(TypeError, "other must be a numpy.ndarray", "tuple")),
    (np.ma.array(values((M, 3), np.float32)), raises(TypeError, "other must not be a masked array")),
]


@pytest.mark.parametrize(("other", "expected"), OTHERS, ids=case)
def test_another_batch_is_refused(other, expected):
    batch, out = x(), x()
    given = [array for array in (batch, out, other) if isinstance(array, np.ndarray)]
    refused(lambda: PLAN.apply(batch, other=other), given, expected)
    refused(lambda: PLAN.apply(batch, out=out, other=other), given, expected)
    refused(lambda: PLAN.apply(batch, out=batch, other=other), given, expected)


LABELS = [
    (None, raises(ValueError, "y: ", "another batch of 3 samples, which must be given: other=")),
    ([0, 1], raises(ValueError, "y: ", "another batch of 3 samples, got one of 2")),
    ([0, 1, 3], raises(ValueError, "other: class indices", "[0, 3)", "got 3 at index 2")),
    ([0, -1, 2], raises(ValueError, "other: class indices", "[0, 3)", "got -1 at index 1")),
    ([[0], [1], [2]], raises(ValueError, "other must have samples of shape []", "got [1]")),
    (0, raises(ValueError, "axis 0", "0 dimensions")),
    (np.eye(M), raises(TypeError, "labels like those of y, int64, got float64", "MixPlan.identity(len(y))")),
    (["a", "b", "c"], raises(TypeError, "labels like those of y, int64, got <U1")),
]


@pytest.mark.parametrize(("other", "expected"), LABELS, ids=case)
def test_labels_of_another_batch_are_refused(other, expected):
    y = np.array([0, 1, 2, 0])
    refused(lambda: PLAN.apply_labels(y, 3, other=other), [y], expected)
    if other is not None:
        batch = x()
        z = values((M, 3), np.float32)
        call = lambda: mix_batch(batch, y, num_classes=3, partner=PLAN.partner, other=(z, other), out=batch)  # noqa: E731
        refused(call, [batch, z, y], expected)


def test_a_batch_is_refused_where_partners_are_its_own():
    batch, y, expected = x(), np.arange(N), raises(ValueError, "samples of the batch itself, got another batch of 3")
    refused(lambda: OWN.apply(batch, out=batch, other=x()[:M]), [batch], expected)
    refused(lambda: OWN.apply_labels(y, other=[0] * M), [y], expected)


@pytest.mark.parametrize(
    ("other", "y", "expected"),
    [
        (x()[:M], np.arange(N), raises(TypeError, "other must be a batch and its labels", "got numpy.ndarray")),
        ((x()[:M],), np.arange(N), raises(TypeError, "other must be a batch and its labels", "got a tuple of 1")),
        ((x()[:M], [0] * M), None, raises(TypeError, "other must be a batch alone", "got a tuple of 2")),
        ([0] * M, None, raises(TypeError, "other must be a numpy.ndarray", "list")),
        (3, None, raises(TypeError, "other must be a numpy.ndarray", "int")),
        (np.float32(1), None, raises(TypeError, "other must be a numpy.ndarray", "float32")),
        (x()[:0], None, raises(ValueError, "other must have samples to draw partners from, got none")),
    ],
    ids=case,
)
def test_what_mix_batch_cannot_draw_from(other, y, expected):
    batch = x()
    refused(lambda: mix_batch(batch, y, other=other, out=batch, rng=0), [batch], expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"mode": "pair"}, raises(ValueError, 'mode="pair" needs partners that are samples of the batch itself')),
        ({"partner": [0, 3, 0, 0]}, raises(ValueError, "partner must lie in [0, 3)", "got 3 at index 1")),
        ({"partner": [0, -1, 0, 0]}, raises(ValueError, "partner must lie in [0, 3)", "got -1 at index 1")),
        ({"partner": [0, 1, 2]}, raises(ValueError, "partner", "expected 4", "got 3")),
        ({"rule": CutMix(mode="pair"), "spatial_axes": (1,)}, raises(ValueError, 'mode="pair"')),
        ({"rule": OneOf([Mixup(mode="pair")])}, raises(ValueError, 'mode="pair"')),
        ({"rule": Mixup(partners=Balanced([0] * N))}, raises(ValueError, "samples of the batch itself", "Balanced")),
    ],
    ids=case,
)
def test_what_is_not_drawn_from_another_batch(arguments, expected):
    batch = x()
    refused(lambda: mix_batch(batch, other=x()[:M], out=batch, rng=0, **arguments), [batch], expected)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (-1, raises(ValueError, "other must be at least 0", "-1")),
        (0, raises(ValueError, "other must have samples to draw partners from")),
        (1.5, raises(TypeError, "other must be an int", "float")),
        ("3", raises(TypeError, "other must be an int", "str")),
        (x(), raises(TypeError, "other must be an int", "ndarray")),
        (HUGE, raises(ValueError, "other must be at least 0 and below 2**63", str(HUGE))),
    ],
    ids=case,
)
def test_a_number_of_others_is_refused(other, expected):
    for rule in (Mixup(), CutMix(), OneOf([Mixup()])):
        refused(lambda rule=rule: rule.plan(N, (4, 4), rng=0, other=other), [], expected)


def test_few_of_more_others_than_memory_holds():
    assert (Mixup().plan(N, rng=0, other=2**62).partner > 2**40).any()
    with pytest.raises(MemoryError, match="no memory for a plan of 4611686018427387904 samples"):
        Mixup().plan(2**62, rng=0, other=2)


def test_a_plan_of_others_cannot_be_made_of():
    for make in (
        lambda partner, other: MixPlan(0.5, partner, other),
        lambda partner, other: MixPlan.from_boxes([[0, 1]] * len(partner), (3,), partner, other=other),
        lambda partner, other: MixPlan.from_masks([1.0, 0.0, 0.0], partner, (3,), other),
    ):
        refused(
            lambda make=make: make([0, 3], 3), [], raises(ValueError, "partner must lie in [0, 3)", "got 3 at index")
        )
        refused(lambda make=make: make([0, -1], 3), [], raises(ValueError, "partner must lie in [0, 3)", "got -1"))
        refused(lambda make=make: make([0, 1], -3), [], raises(ValueError, "other must be at least 0", "-3"))
        refused(lambda make=make: make([0, 1], 3.0), [], raises(TypeError, "other must be an int", "float"))


def test_samples_alone_cannot_be_stacked_by_it():
    expected = raises(ValueError, "another batch of 3 samples, which must be given")
    refused(lambda: mixup_rs.collate(list(x()), PLAN), [], expected)
