"""Boxes that hold the whole partner, resized: against the oracle, in any layout and dtype, in plans of every kind."""

import itertools
import pickle

import model
import numpy as np
import pytest
from layouts import LAYOUTS, PARTNERS, SHAPE
from oracle import DTYPES, assert_applied, assert_same_bits, lam_of, name, nearest, values
from refusals import INF, NAN, case, raises, refused
from scipy import stats

import mixup_rs
from mixup_rs import CutMix, FMix, MixPlan, Mixup, OneOf, ResizeMix, SmoothMix, mix_batch

AXES = [None, (1, 2), (-1, -2), (2, 3), (4, 2), (1, 4)]
EACH = [True, False, True, True, True, True]


def plan_along(axes, shape=SHAPE, partner="permutation", resized=True):
    """Weights of 1, 0 and between; boxes of every kind: none, a whole sample, one pixel, a row."""
    axes = (-2, -1) if axes is None else axes
    height, width = (shape[axis] for axis in axes)
    boxes = np.sort(np.random.default_rng(0).integers(0, (height + 1, width + 1), (shape[0], 2, 2)), axis=1).reshape(
        -1, 4
    )
    boxes[:4] = [[0, 0, 0, 0], [0, 0, height, width], [height - 1, 1, height, 2], [1, 0, 2, width]]
    weight = np.resize([1, 1, 0.3, 1, 0, 0.5], shape[0])
    return MixPlan.from_boxes(boxes, (height, width), np.resize(PARTNERS[partner], shape[0]), weight, resized)


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_along_any_axes_it_equals_the_oracle_and_the_model(dtype, partner, axes):
    for resized in (True, EACH):
        plan, x = plan_along(axes, partner=partner, resized=resized), values(SHAPE, dtype)
        original, expected = x.copy(), model.applied(x, plan, axes)
        apart = plan.apply(x, spatial_axes=axes)
        assert_same_bits(x, original)
        assert_applied(apart, x, plan, axes)
        assert_same_bits(apart, expected)
        assert_same_bits(mixup_rs.collate(list(x), plan, spatial_axes=axes), expected)
        assert plan.apply(x, out=x, spatial_axes=axes) is x
        assert_same_bits(x, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("axes", [None, (1, 2), (4, 2)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64], ids=name)
def test_in_any_layout(dtype, axes, layout):
    plan, x = plan_along(axes, resized=EACH), LAYOUTS[layout](values(SHAPE, np.uint8).astype(dtype))
    plan = MixPlan.from_boxes(plan.boxes, plan.spatial_shape, plan.partner, np.round(plan.weight), EACH)
    expected = model.applied(x, plan, axes)
    assert_same_bits(plan.apply(x, spatial_axes=axes), expected)
    for out in (np.empty_like(x), np.empty(SHAPE, dtype, order="F"), np.empty((*SHAPE, 2), dtype)[::-1, ..., 1]):
        assert_same_bits(plan.apply(x, out=out, spatial_axes=axes), expected)
    plan.apply(x, out=x, spatial_axes=axes)
    assert_same_bits(x, expected)


def test_an_overlapping_out_is_as_if_it_did_not():
    memory, size = values((3 * 2520,), np.float32), 2520
    x, out = (memory[start : start + size].reshape(SHAPE) for start in (size, size + 421))
    plan = plan_along(None)
    expected = model.applied(x, plan)
    assert_same_bits(plan.apply(x, out=out), expected)


@pytest.mark.parametrize("partner", [*itertools.product(range(4), repeat=4)])
def test_partners_of_every_kind_are_read_before_they_are_written(partner):
    """Cycles, repeats and samples alone, in place."""
    x = values((4, 2, 6, 5), np.float32)
    plan = MixPlan.from_boxes([[1, 0, 5, 4], [0, 1, 3, 5], [0, 0, 6, 5], [2, 2, 5, 3]], (6, 5), partner, resized=True)
    expected = model.applied(x, plan)
    plan.apply(x, out=x)
    assert_same_bits(x, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float16], ids=name)
def test_large_batches_on_any_number_of_threads(dtype, set_num_threads):
    for axes, shape in [((2, 3), (6, 3, 300, 301)), ((1, 2), (6, 300, 301, 3))]:
        x, plan = values(shape, np.uint8, seed=2).astype(dtype), plan_along(axes, shape)
        expected = model.applied(x, plan, axes)
        for threads in (1, 2, 8):
            set_num_threads(threads)
            assert_same_bits(plan.apply(x, spatial_axes=axes), expected)
            own = x.copy()
            assert_same_bits(plan.apply(own, out=own, spatial_axes=axes), expected)
            assert_same_bits(mixup_rs.collate(list(x), plan, spatial_axes=axes), expected)


@pytest.mark.parametrize("axes", [None, (1, 2), (4, 2)], ids=str)
@pytest.mark.parametrize("channels", ["first", "last", "one"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32], ids=name)
def test_collate_normalises_what_it_applied(dtype, channels, axes):
    x, plan = values(SHAPE, np.uint8).astype(dtype), plan_along(axes, resized=EACH)
    count = {"first": 4, "last": 3, "one": 1}[channels]
    mean, std = np.array([0.485, 0.456, 0.406, 0.5])[:count], np.array([0.229, 0.224, 0.225, 0.25])[:count]
    like_sample = (count, 1, 1, 1) if channels == "first" else (count,)
    out = np.empty(SHAPE, np.float32)
    mixup_rs.collate(list(x), plan, out=out, normalize=(mean, std), spatial_axes=axes)
    mixed = plan.apply(x, spatial_axes=axes)
    # Boxes are rounded to the dtype of the samples, then normalised; the blend around them is not.
    assert plan.boxes is not None
    around = MixPlan.from_boxes(plan.boxes * 0, plan.spatial_shape, plan.partner, plan.weight)
    exact = model.applied(x, around, axes)
    where = mixed != exact
    near = (mixed / (255 if dtype == np.uint8 else 1) - mean.reshape(like_sample)) / std.reshape(like_sample)
    np.testing.assert_allclose(out[where], near[where], rtol=1e-5, atol=1e-6)
    assert where.any()


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.complex128, np.int64, "U2", ">f4", "M8[s]"], ids=str)
def test_elements_that_cannot_be_blended_are_those_of_the_nearest_pixel(dtype):
    x = values(SHAPE, np.uint8).astype(np.uint16).astype(dtype)
    plan = plan_along(None)
    plan = MixPlan.from_boxes(plan.boxes, plan.spatial_shape, plan.partner, np.round(plan.weight), True)
    assert plan.only_copies
    expected = model.applied(x, plan)
    assert_same_bits(plan.apply(x), expected)
    assert_same_bits(plan.apply(x, out=x), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32], ids=name)
def test_masks_of_classes_are_never_averaged(dtype):
    plan, x = plan_along(None, resized=EACH), values(SHAPE, np.uint8).astype(dtype)
    classes = plan.for_classes()
    assert classes.takes_nearest
    assert not plan.takes_nearest
    assert (classes != plan, classes.weight.tolist()) == (True, [1, 1, 1, 1, 0, 1])
    got = classes.apply(x)
    assert_same_bits(got, model.applied(x, classes))
    assert set(np.unique(got)) <= set(np.unique(x))
    y0, x0, y1, x1 = plan.patches[5]
    assert_same_bits(got[5][..., y0:y1, x0:x1], nearest(x[plan.partner[5]], y1 - y0, x1 - x0))


def test_soft_masks_and_weights_leave_classes_as_they_are():
    plan = OneOf([Mixup(1.0), SmoothMix(mode="elem"), ResizeMix(mode="elem")], mode="elem").plan(30, (8, 9), rng=3)
    x, classes = np.arange(30 * 72, dtype=np.int64).reshape(30, 8, 9), plan.for_classes()
    assert classes.only_copies
    is_patch = plan.patches.any(axis=1)
    got = classes.apply(x)
    assert (got[~is_patch] == x[~is_patch]).all()
    assert all((got[i] != x[i]).any() for i in np.flatnonzero(is_patch & (plan.partner != np.arange(30))))


class TestPlans:
    def test_plans_are_values(self):
        plan, part = plan_along(None), plan_along(None, resized=EACH)
        for one in (plan, part, plan.for_classes()):
            assert one == pickle.loads(pickle.dumps(one))
        again = MixPlan.from_boxes(plan.boxes, plan.spatial_shape, plan.partner, plan.weight, plan.patches.any(axis=1))
        assert plan == again
        assert plan != part != MixPlan.from_boxes(plan.boxes, plan.spatial_shape, plan.partner, plan.weight)
        assert plan.without_region() == MixPlan(plan.lam, plan.partner)
        assert repr(plan).endswith(", resized=True)")
        assert repr(part).endswith(", resized=[False, False, True, True, True, True])")
        assert (plan.patches == plan.boxes).all()
        assert part.patches.any(axis=1).tolist() == [False, False, True, True, True, True]
        assert CutMix().plan(2, (8, 8), rng=0).patches is None
        assert MixPlan.from_boxes([], (4, 4), [], resized=True).patches is None

    def test_lam_is_the_exact_share(self):
        plan = plan_along(None)
        assert max(abs(lam - share) for lam, share in zip(plan.lam.tolist(), lam_of(plan), strict=True)) <= 1e-15

    def test_one_plan_holds_every_kind_of_region(self):
        rules = [Mixup(1.0), CutMix(mode="elem"), FMix(mode="elem"), SmoothMix(mode="elem"), ResizeMix(mode="elem")]
        plan, x = OneOf(rules, mode="elem").plan(60, (12, 14), rng=1), values((60, 3, 12, 14), np.float32)
        assert plan == pickle.loads(pickle.dumps(plan))
        assert 5 < plan.patches.any(axis=1).sum() < 30
        assert plan.boxes is None
        assert_applied(plan.apply(x), x, plan)
        for mixed in (mixup_rs.collate(list(x), plan), plan.apply(x.copy()), model.applied(x, plan)):
            assert_same_bits(mixed, plan.apply(x))
        np.testing.assert_allclose(plan.masks.mean(axis=(1, 2)), plan.lam, atol=1e-12)


def test_an_infinity_leaks_no_further_than_its_pixels():
    x = np.zeros((2, 1, 6), np.float32)
    x[1, 0] = [np.inf, np.inf, np.inf, 2, np.nan, 3]
    plan = MixPlan.from_boxes([[0, 0, 1, 3]] * 2, (1, 6), [1, 0], resized=True)
    np.testing.assert_array_equal(plan.apply(x)[0, 0], [np.inf, np.nan, np.nan, 0, 0, 0])
    x[1, 0] = [np.inf, np.inf, 7, 7, -np.inf, -np.inf]
    np.testing.assert_array_equal(plan.apply(x)[0, 0], [np.inf, 7, -np.inf, 0, 0, 0])
    whole = MixPlan.from_boxes([[0, 0, 1, 6]] * 2, (1, 6), [1, 0], resized=True)
    payload = x.view(np.uint32) + (np.isnan(x) * 5).astype(np.uint32)
    assert_same_bits(whole.apply(payload.view(np.float32)), payload[::-1].view(np.float32))


class TestLaw:
    def test_the_factor_is_uniform_and_the_box_anywhere(self):
        """arXiv 2012.11101: the scale rate is uniform between 0.1 and 0.8, and the patch is pasted at random."""
        plan = ResizeMix(mode="elem").plan(4000, (600, 900), rng=3)
        y0, x0, y1, x1 = plan.boxes.T
        factor = (x1 - x0) / 900
        assert stats.kstest(factor, stats.uniform(0.1, 0.7).cdf).pvalue > 0.01
        assert np.abs((y1 - y0) - 600 * factor).max() <= 0.5 + 600 / 900 / 2
        for start, length, whole in [(y0, y1 - y0, 600), (x0, x1 - x0, 900)]:
            assert stats.kstest(start / (whole - length), "uniform").pvalue > 0.01
        assert abs(np.corrcoef(x0 / (900 - (x1 - x0)), y0 / (600 - (y1 - y0)))[0, 1]) < 0.05
        assert_same_bits(plan.lam, 1 - (y1 - y0) * (x1 - x0) / (600 * 900))

    def test_labels_follow(self):
        plan = ResizeMix(mode="elem").plan(6, (20, 30), rng=1)
        x, y = values((6, 3, 20, 30), np.float32), np.arange(6)
        mixed = mix_batch(x, y, rule=ResizeMix(mode="elem"), num_classes=6, rng=1)
        assert_same_bits(mixed.x, plan.apply(x))
        np.testing.assert_allclose(mixed.y[y, y], plan.lam + (1 - plan.lam) * (plan.partner == y), rtol=1e-6)


AXES_2 = ["a partner is resized into boxes along two spatial axes, (height, width)"]
BOXES = {"boxes": [[0, 0, 2, 2]] * 2, "shape": (4, 4), "partner": [1, 0]}
REFUSED = [
    ({"resized": 1}, raises(TypeError, "resized must be True or False", "int64")),
    ({"resized": "yes"}, raises(TypeError, "resized must be True or False", "<U3")),
    ({"resized": [True, False, True]}, raises(ValueError, "one for each of 2", "got 3")),
    ({"resized": [[True, False]]}, raises(ValueError, "resized must be one for all boxes", "[1, 2]")),
    ({"boxes": [[0, 2]] * 2, "shape": (4,), "resized": True}, raises(ValueError, *AXES_2, "got 1")),
    ({"boxes": [[0, 0, 0, 1, 2, 2]] * 2, "shape": (4, 4, 4), "resized": True}, raises(ValueError, *AXES_2, "got 3")),
    ({"boxes": [[0, 0, 2, 5]] * 2, "resized": True}, raises(ValueError, "a box must have starts <= ends", "[4, 4]")),
]


@pytest.mark.parametrize(("arguments", "expected"), REFUSED, ids=case)
def test_boxes_are_refused(arguments, expected):
    refused(lambda: MixPlan.from_boxes(**BOXES | arguments), [], expected)


RULES = [
    (lambda: ResizeMix(scale=(-0.1, 0.5)), raises(ValueError, "scale must be two fractions", "(-0.1, 0.5)")),
    (lambda: ResizeMix(scale=(0.5, 0.4)), raises(ValueError, "0 <= min <= max <= 1", "(0.5, 0.4)")),
    (lambda: ResizeMix(scale=(0.5, 1.1)), raises(ValueError, "0 <= min <= max <= 1", "(0.5, 1.1)")),
    (lambda: ResizeMix(scale=(0.5, NAN)), raises(ValueError, "0 <= min <= max <= 1", "NaN")),
    (lambda: ResizeMix(scale=(0.5, INF)), raises(ValueError, "0 <= min <= max <= 1", "inf")),
    (lambda: ResizeMix(scale=(0.1, 0.2, 0.3)), raises(ValueError, "scale must be two fractions", "3")),
    (lambda: ResizeMix(scale=0.5), raises(TypeError, "scale must be two fractions", "float")),
    (lambda: ResizeMix(scale=("a", "b")), raises(TypeError, "scale must be a real number", "str")),
    (lambda: ResizeMix(scale=None), raises(TypeError, "scale must be two fractions", "NoneType")),
    (lambda: ResizeMix().plan(2), raises(ValueError, "a box needs the shape", "shape=...")),
    (lambda: ResizeMix().plan(2, (8,)), raises(ValueError, *AXES_2, "got 1")),
    (lambda: ResizeMix().plan(2, (8, 8, 8)), raises(ValueError, *AXES_2, "got 3")),
]


@pytest.mark.parametrize(("call", "expected"), RULES, ids=case)
def test_the_rule_refuses(call, expected):
    refused(call, [], expected)


def test_a_batch_of_another_shape_is_refused():
    plan, x = MixPlan.from_boxes(**BOXES | {"shape": (4, 5)}, resized=True), np.zeros((2, 3, 5, 4), np.float32)
    expected = raises(ValueError, "the boxes are for samples of [4, 5]", "[5, 4]")
    for call in (lambda: plan.apply(x), lambda: plan.apply(x, out=x), lambda: mixup_rs.collate(list(x), plan)):
        refused(call, [x], expected)
