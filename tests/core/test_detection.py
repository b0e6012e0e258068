"""Boxes and keypoints of mixed samples, held against what is left of them when they are painted pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixup_rs import CutMix, FMix, GridMix, MixPlan, Mixup, OneOf, SmoothMix

SIDE = 12
RULES = [
    Mixup(1.0),
    CutMix(1.0, mode="elem"),
    OneOf([Mixup(1.0), CutMix(1.0)], mode="elem"),
    FMix(mode="elem"),
    GridMix(mode="elem"),
    SmoothMix(mode="elem"),
]
LEFT_THEN_RIGHT = MixPlan.from_boxes([[0, 0, 8, 4], [0, 0, 0, 0]], (8, 8), partner=[1, 0])


def own_shares(plan):
    """The share of the own sample in each pixel of each mixed sample."""
    shares = np.ones((len(plan), SIDE, SIDE)) * plan.weight[:, None, None]
    if plan.masks is not None:
        return np.broadcast_to(plan.masks, shares.shape)
    if plan.boxes is not None:
        for share, (top, left, bottom, right) in zip(shares, plan.boxes, strict=True):
            share[top:bottom, left:right] = 0
    return shares


def painted(plan, boxes, labels, min_visible):
    """The boxes, labels and weights, from the pixels of each box."""
    shares = own_shares(plan)
    for i, partner in enumerate(plan.partner):
        found = []
        for source in dict.fromkeys([i, int(partner)]):
            share = np.ones((SIDE, SIDE)) if partner == i else shares[i] if source == i else 1 - shares[i]
            for box, label in zip(boxes[source], labels[source], strict=True):
                x0, y0, x1, y1 = box
                visible = np.zeros((SIDE, SIDE), bool)
                visible[y0:y1, x0:x1] = share[y0:y1, x0:x1] > 0
                part = visible.sum() / ((x1 - x0) * (y1 - y0))
                if not visible.any() or part < min_visible:
                    continue
                rows, columns = np.nonzero(visible)
                around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                found.append((around, label, share[visible].mean()))
        yield found


@st.composite
def pictures(draw):
    """Boxes and labels of a few samples, some without any."""
    n = draw(st.integers(1, 4))
    ends = st.lists(st.integers(0, SIDE), min_size=2, max_size=2, unique=True).map(sorted)
    boxes = [[(x[0], y[0], x[1], y[1]) for x, y in draw(st.lists(st.tuples(ends, ends), max_size=4))] for _ in range(n)]
    return [np.array(rows, np.int64).reshape(-1, 4) for rows in boxes]


@given(pictures(), st.sampled_from(RULES), st.integers(0, 1000), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_boxes_are_what_is_left_of_the_painted_ones(boxes, rule, seed, min_visible):
    plan = rule.plan(len(boxes), (SIDE, SIDE), rng=seed)
    ends = np.cumsum([0, *map(len, boxes)])
    labels = [np.arange(ends[i], ends[i + 1]) for i in range(len(boxes))]
    mixed = plan.apply_boxes(boxes, labels, min_visible)
    for expected, got, names, weights in zip(painted(plan, boxes, labels, min_visible), *mixed, strict=True):
        assert got.tolist() == [one for one, _, _ in expected]
        assert names.tolist() == [label for _, label, _ in expected]
        np.testing.assert_allclose(weights, [weight for _, _, weight in expected], rtol=1e-6)
        assert (got.dtype, weights.dtype) == (np.int64, np.float32)


@given(pictures(), st.sampled_from(RULES), st.integers(0, 1000))
def test_points_are_seen_where_their_pixel_has_a_share(boxes, rule, seed):
    plan = rule.plan(len(boxes), (SIDE, SIDE), rng=seed)
    points = [np.minimum(box[:, :2], SIDE - 1) for box in boxes]
    shares = own_shares(plan)
    mixed, labels, weights = plan.apply_keypoints(points, points)
    for i, partner in enumerate(plan.partner):
        expected = []
        for source in dict.fromkeys([i, int(partner)]):
            for x, y in points[source].tolist():
                share = 1.0 if partner == i else shares[i, y, x] if source == i else 1 - shares[i, y, x]
                expected += [([x, y], share)] if share > 0 else []
        assert mixed[i].tolist() == labels[i].tolist() == [point for point, _ in expected]
        np.testing.assert_allclose(weights[i], [share for _, share in expected], rtol=1e-6)


def test_a_sample_that_is_not_mixed_keeps_its_boxes():
    boxes = [np.array([[-3.5, 0.25, 40.0, 7.125]], np.float32), np.zeros((0, 4), np.float32)]
    mixed, labels, weights = MixPlan.identity(2).apply_boxes(boxes, [np.array([5]), np.array([], int)])
    assert [(one == other).all() for one, other in zip(mixed, boxes, strict=True)] == [True, True]
    assert (labels[0].tolist(), weights[0].tolist()) == ([5], [1.0])


def test_hidden_points_of_an_instance_are_marked():
    points = [np.array([[[1.0, 1.0, 2.0], [6.0, 6.0, 2.0]]]), np.zeros((0, 2, 3))]
    mixed, labels, weights = LEFT_THEN_RIGHT.apply_keypoints(points)
    assert mixed[0].tolist() == [[[1, 1, 0], [6, 6, 2]]]
    assert (labels, weights[0].tolist()) == (None, [[0, 1]])


BOXES = [np.array([[0, 0, 4, 4]]), np.array([[2, 2, 6, 6]])]
LABELS = [np.array([1]), np.array([2])]


@pytest.mark.parametrize(
    ("plan", "boxes", "labels", "options", "error", "message"),
    [
        (None, BOXES[:1], LABELS, {}, ValueError, "boxes must have an entry for each of 2 samples, got 1"),
        (None, BOXES, LABELS[:1], {}, ValueError, "labels must have an entry for each of 2 samples, got 1"),
        (None, 5, LABELS, {}, TypeError, "boxes must be a list with an entry for each of 2 samples, got int"),
        (None, BOXES, [[1, 2], [3]], {}, ValueError, "labels of sample 0 must have 1 rows, got 2"),
        (None, [np.ones((1, 5)), BOXES[1]], LABELS, {}, ValueError, "boxes must have one dtype and one shape"),
        (None, [box[:, :3] for box in BOXES], LABELS, {}, ValueError, r"must have shape \(k, 4\), got \(1, 3\)"),
        (None, [box[:, ::-1] for box in BOXES], LABELS, {}, ValueError, "must have x0 <= x1 and y0 <= y1"),
        (None, BOXES, LABELS, {"min_visible": 2}, ValueError, r"min_visible must lie in \[0, 1\], got 2"),
        (None, BOXES, LABELS, {"min_visible": "all"}, TypeError, "min_visible must be a float"),
        (CutMix().plan(2, (8,), rng=0), BOXES, LABELS, {}, ValueError, "a height and a width"),
    ],
)
def test_what_is_refused(plan, boxes, labels, options, error, message):
    with pytest.raises(error, match=message):
        (plan or LEFT_THEN_RIGHT).apply_boxes(boxes, labels, **options)
