"""Boxes and keypoints of mixed samples, held against what is left of them when they are painted pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules import EXAMPLES, takes

from mixup_rs import CutMix, FMix, MixPlan, OneOf, ResizeMix

SIDE = 12
#: All but those that resize the partner, which move its boxes.
RULES = [rule for rule in EXAMPLES if takes(rule, (SIDE,))]
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
    """The boxes, labels and weights, from the pixels of each box; those of another batch are behind the others."""
    shares = own_shares(plan)
    for i, partner in enumerate(plan.partner if plan.other is None else plan.partner + len(plan)):
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


def takes_others(rule):
    chosen = rule.rules if isinstance(rule, OneOf) else [rule]
    return all(takes_others(one) if one is not rule else one.partners is None and one.mode != "pair" for one in chosen)


OTHERS = [rule for rule in RULES if takes_others(rule)]


@given(pictures(), pictures(), st.sampled_from(OTHERS), st.integers(0, 1000))
def test_boxes_of_another_batch(own, theirs, rule, seed):
    n = len(own)
    plan, boxes = rule.plan(n, (SIDE, SIDE), rng=seed, other=len(theirs)), [*own, *theirs]
    labels = [np.full(len(rows), i) for i, rows in enumerate(boxes)]
    mixed = plan.apply_boxes(own, labels[:n], 0.25, other=(theirs, labels[n:]))
    for expected, got, names, weights in zip(painted(plan, boxes, labels, 0.25), *mixed, strict=True):
        assert got.tolist() == [one for one, _, _ in expected]
        assert names.tolist() == [label for _, label, _ in expected]
        np.testing.assert_allclose(weights, [weight for _, _, weight in expected], rtol=1e-6)
    points = [np.minimum(rows[:, :2], SIDE - 1) for rows in boxes]
    shares = own_shares(plan)
    mixed, labels, weights = plan.apply_keypoints(points[:n], points[:n], other=(points[n:], points[n:]))
    for i, partner in enumerate(plan.partner):
        expected = [(point, shares[i, point[1], point[0]]) for point in points[i].tolist()]
        expected += [(point, 1 - shares[i, point[1], point[0]]) for point in points[n + partner].tolist()]
        assert mixed[i].tolist() == labels[i].tolist() == [point for point, share in expected if share > 0]
        np.testing.assert_allclose(weights[i], [share for _, share in expected if share > 0], rtol=1e-6)


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
OF_OTHER, THREE = MixPlan(0.5, [2, 0], other=3), [*BOXES, BOXES[0]]


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
        (OF_OTHER, BOXES, LABELS, {}, ValueError, "other must be the boxes and the labels of 3 samples, got none"),
        (OF_OTHER, BOXES, LABELS, {"other": 5}, TypeError, "the boxes and the labels of 3 samples, got int"),
        (OF_OTHER, BOXES, LABELS, {"other": (BOXES, LABELS)}, ValueError, "boxes of other .* each of 3 samples, got 2"),
        (OF_OTHER, BOXES, LABELS, {"other": (THREE, LABELS)}, ValueError, "labels of other .* 3 samples, got 2"),
        (OF_OTHER, BOXES, LABELS, {"other": (THREE, None)}, ValueError, "labels of other must be given"),
        (None, BOXES, LABELS, {"other": (BOXES, LABELS)}, ValueError, "the batch itself, got boxes of another batch"),
    ],
)
def test_what_is_refused(plan, boxes, labels, options, error, message):
    with pytest.raises(error, match=message):
        (plan or LEFT_THEN_RIGHT).apply_boxes(boxes, labels, **options)


class TestPatches:
    """Partners that are resized into a box: their boxes and points are scaled into it."""

    PLAN = MixPlan.from_boxes([[2, 1, 6, 7], [0, 0, 0, 0]], (8, 12), partner=[1, 0], resized=True)

    @given(pictures(), st.integers(0, 1000))
    def test_boxes_are_scaled_with_the_image(self, boxes, seed):
        """Painted in images and resized with them, they are where the boxes are."""
        plan = ResizeMix((0.3, 1), mode="elem").plan(len(boxes), (SIDE, SIDE), rng=seed)
        boxes = [box.astype(np.float64) for box in boxes]
        labels = [np.full(len(box), i) for i, box in enumerate(boxes)]
        mixed, sources, weights = plan.apply_boxes(boxes, labels, 0.0)
        for i, (y0, x0, y1, x1) in enumerate(plan.patches):
            partner = plan.partner[i]
            if partner == i or y0 == y1 or x0 == x1:
                continue
            scaled = boxes[partner] * np.tile([(x1 - x0) / SIDE, (y1 - y0) / SIDE], 2) + [x0, y0] * 2
            np.testing.assert_allclose(mixed[i][sources[i] == partner], scaled)
            own = [box for box in boxes[i] if not (x0 <= box[0] and box[2] <= x1 and y0 <= box[1] and box[3] <= y1)]
            assert len(mixed[i]) == len(own) + len(scaled)
            assert (weights[i] == 1).all()

    def test_boxes_and_points_of_floats_and_integers(self):
        for dtype in (np.float32, np.int64):
            boxes = [np.array([[0, 0, 1, 8]], dtype), np.array([[-4, 2, 6, 20], [6, 0, 7, 1]], dtype)]
            mixed, labels, weights = self.PLAN.apply_boxes(boxes, [np.array([1]), np.array([2, 3])])
            # Clipped to the partner before.
            expected = np.array([[0, 0, 1, 8], [1, 3, 4, 6], [4, 2, 4.5, 2.5]])
            assert mixed[0].tolist() == (expected if dtype == np.float32 else np.rint(expected)).tolist()
            assert (labels[0].tolist(), weights[0].tolist()) == ([1, 2, 3], [1, 1, 1])
            assert (mixed[1] == boxes[1]).all()
            points = [np.array([[3, 3], [9, 7]], dtype), np.array([[5, 7]], dtype)]
            mixed, _, _ = self.PLAN.apply_keypoints(points)
            assert mixed[0].tolist() == [[9, 7], [3.5, 5.5] if dtype == np.float32 else [3, 5]]
            assert (mixed[1] == points[1]).all()

    def test_points_of_instances_and_of_boxes(self):
        points = [np.zeros((0, 2, 3)), np.array([[[0.0, 0.0, 2.0], [12.0, 8.0, 2.0]]])]
        mixed, _, weights = self.PLAN.apply_keypoints(points)
        assert mixed[0].tolist() == [[[1, 2, 2], [7, 6, 0]]]  # the second lies behind the last pixel
        assert weights[0].tolist() == [[1, 0]]

    def test_beside_masks(self):
        rule = OneOf([ResizeMix(mode="elem"), FMix(mode="elem")], mode="elem")
        plan = rule.plan(12, (SIDE, SIDE), rng=1)
        assert plan.masks is not None
        boxes = [np.array([[3.0, 3.0, 9.0, 9.0]])] * 12
        mixed, _, _ = plan.apply_boxes(boxes, [np.array([0])] * 12, 0.0)
        for i, (y0, x0, y1, x1) in enumerate(plan.patches.tolist()):
            if y1 > y0 and plan.partner[i] != i:
                height, width = (y1 - y0) / 4, (x1 - x0) / 4
                np.testing.assert_allclose(mixed[i][-1], [x0 + width, y0 + height, x0 + 3 * width, y0 + 3 * height])

    def test_a_partner_in_two_places_is_refused(self):
        plan = MixPlan.from_boxes(self.PLAN.boxes, (8, 12), [1, 0], weight=0.5, resized=True)
        for call in (lambda: plan.apply_boxes(BOXES, LABELS), lambda: plan.apply_keypoints([np.ones((1, 2))] * 2)):
            with pytest.raises(ValueError, match="resized into a box, and blended outside of it, are in two places"):
                call()


def test_an_empty_list_is_no_box_and_no_point():
    boxes, labels, weights = LEFT_THEN_RIGHT.apply_boxes([[], [[0, 0, 3, 8]]], [[], [7]])
    assert [one.tolist() for one in boxes] == [[[0, 0, 3, 8]], [[0, 0, 3, 8]]]
    assert [one.tolist() for one in labels] == [[7], [7]]
    assert [one.tolist() for one in weights] == [[1.0], [1.0]]
    boxes, _, weights = LEFT_THEN_RIGHT.apply_boxes([[], np.array([])], [[], []])
    assert [one.shape for one in boxes] == [(0, 4)] * 2
    assert [one.shape for one in weights] == [(0,)] * 2
    points, _, _ = LEFT_THEN_RIGHT.apply_keypoints([[], [[[1, 1, 2], [7, 7, 2]]]])
    assert [one.tolist() for one in points] == [[[[1, 1, 2], [7, 7, 0]]], [[[1, 1, 2], [7, 7, 2]]]]
    points, _, _ = LEFT_THEN_RIGHT.apply_keypoints([[], []])
    assert [one.shape for one in points] == [(0, 2)] * 2
