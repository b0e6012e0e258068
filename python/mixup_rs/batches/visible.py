"""What is still visible of boxes and points under a plan, and how much that weighs: NumPy alone.

A mixed sample has what its own sample has, then what its partner has. In each pixel the own sample has a share, and the
partner the rest. What has no share anywhere is not visible.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from mixup_rs._core import MixPlan

__all__ = ["Seen", "Sources", "placed", "visible_boxes", "visible_points"]


@dataclass(frozen=True)
class Sources:
    """Of the rows of all mixed samples, one after the other, where each comes from.

    Attributes
    ----------
    rows : numpy.ndarray
        Its number among the rows of all samples, one after the other.
    sample : numpy.ndarray
        The mixed sample that it belongs to.
    inside, outside : numpy.ndarray
        Its share in the box of the sample's region, and outside.
    is_own : numpy.ndarray
        Whether it is of the sample itself.

    Examples
    --------
    >>> sources = Sources.of(MixPlan([0.75, 1.0], [1, 0]), np.array([1, 2]))
    >>> sources.rows, sources.outside
    (array([0, 1, 2, 1, 2, 0]), array([0.75, 0.25, 0.25, 1.  , 1.  , 0.  ]))
    """

    rows: np.ndarray
    sample: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    is_own: np.ndarray

    @classmethod
    def of(cls, plan: MixPlan, counts: np.ndarray) -> Sources:
        """The rows that a plan may leave visible, of samples with so many rows each."""
        if plan.other is not None:
            raise ValueError("partners come from another batch: mix those behind the samples, by plan_of_both")
        if plan.k > 2:
            raise ValueError(f"boxes and points are of two samples each, but {plan.k} are mixed; use k=2")
        n, partner = len(plan), plan.partner
        is_alone = partner == np.arange(n)
        source = np.stack([np.arange(n), partner], axis=1)
        lengths = counts[source]
        lengths[is_alone, 1] = 0
        source, lengths = source.ravel(), lengths.ravel()
        first = np.cumsum(counts) - counts
        behind = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        place = np.repeat(np.arange(2 * n), lengths)
        sample, is_own = place // 2, place % 2 == 0
        # A sample that is its own partner is what it was.
        weight = np.where(is_alone, 1.0, plan.weight)[sample]
        alone = is_alone[sample]
        inside = np.where(is_own & ~alone, 0.0, 1.0)
        outside = np.where(is_own, weight, 1 - weight)
        return cls(np.repeat(first[source], lengths) + behind, sample, inside, outside, is_own)

    def only(self, stays: np.ndarray) -> Sources:
        """Those of some rows."""
        return Sources(*(getattr(self, one.name)[stays] for one in fields(self)))

    def shares(self, masks: np.ndarray, row: int) -> np.ndarray:
        """The share of a row in each pixel, by the masks of all samples."""
        if self.is_own[row] and self.inside[row]:
            return np.ones(masks.shape[1:])
        mask = masks[self.sample[row]]
        return mask if self.is_own[row] else 1 - mask


@dataclass(frozen=True)
class Seen:
    """What is visible of boxes or points.

    Attributes
    ----------
    where : numpy.ndarray
        The boxes, x0, y0, x1, y1, or the points, as they are given or moved.
    part : numpy.ndarray
        The part of the area of each box, from 0 to 1; 1 or 0 for points.
    share : numpy.ndarray
        The mean share in the pixels of the part.
    """

    where: np.ndarray
    part: np.ndarray
    share: np.ndarray


def placed(plan: MixPlan, sources: Sources, coordinates: np.ndarray) -> np.ndarray:
    """Where coordinates x, y, x, y, ... of the samples are in the mixed ones, a row each of `sources`.

    Those of partners that fill a box are scaled into it; boxes are clipped to the partner before.

    Raises
    ------
    ValueError
        If such a partner is blended outside of its box as well: then it is in two places.

    Examples
    --------
    >>> plan = MixPlan.from_boxes([[0, 0, 4, 4]] * 2, (8, 8), partner=[1, 0], resized=True)
    >>> points = np.array([[2.0, 5.0], [6.0, 6.0]])
    >>> placed(plan, sources := Sources.of(plan, np.array([1, 1])), points[sources.rows])
    array([[2. , 5. ],
           [3. , 3. ],
           [6. , 6. ],
           [1. , 2.5]])
    """
    if plan.patches is None or plan.spatial_shape is None:
        return coordinates
    boxes = plan.patches[sources.sample]
    is_moved = boxes.any(axis=1) & ~sources.is_own
    if (is_moved & (sources.outside > 0)).any():
        raise ValueError(
            "boxes and points of a partner that is resized into a box, and blended outside of it, are in two places: "
            "expected a weight of 1 beside resized=True"
        )
    shape = plan.spatial_shape[::-1]
    start, size = boxes[:, [1, 0]], (boxes[:, [3, 2]] - boxes[:, [1, 0]]) / shape
    middle = (-1,) + (1,) * (coordinates.ndim - 2)
    ends = coordinates.shape[-1] // 2
    first, scale = (np.tile(of, ends).reshape(*middle, 2 * ends) for of in (start, size))
    inside = np.clip(coordinates, 0, shape * ends) if ends == 2 else coordinates
    return np.where(is_moved.reshape(*middle, 1), first + inside * scale, coordinates)


def visible_boxes(plan: MixPlan, sources: Sources, boxes: np.ndarray) -> Seen:
    """What is visible of boxes x0, y0, x1, y1, a row each of `sources`: the smallest boxes that hold it.

    Boxes with a hidden side are clipped to the image; others, and those that are hidden, are as they are given.

    Examples
    --------
    >>> plan = MixPlan.from_boxes([[0, 0, 8, 4]] * 2, (8, 8), partner=[1, 0])
    >>> boxes = np.array([[2.0, 0.0, 6.0, 8.0], [6.0, 6.0, 7.0, 7.0]])
    >>> seen = visible_boxes(plan, sources := Sources.of(plan, np.array([1, 1])), boxes[sources.rows])
    >>> seen.where[:2], seen.part[:2]
    (array([[4., 0., 6., 8.],
           [6., 6., 7., 7.]]), array([0.5, 0. ]))
    """
    if plan.spatial_shape is None:
        return Seen(boxes, (sources.outside > 0) * 1.0, sources.outside)
    height, width = plan.spatial_shape
    low, high = np.clip(boxes[:, :2], 0, (width, height)), np.clip(boxes[:, 2:], 0, (width, height))
    seen = _by_boxes(plan, sources, low, high) if plan.masks is None else _by_masks(plan, sources, low, high)
    # Of a box that reaches beyond the image a side that is not hidden stays.
    clipped = np.concatenate([low, high], axis=1)
    is_changed = (seen.where != clipped).any(axis=1) & (seen.part > 0)
    return Seen(np.where(is_changed[:, None], seen.where, boxes), seen.part, seen.share)


def _by_boxes(plan: MixPlan, sources: Sources, low: np.ndarray, high: np.ndarray) -> Seen:
    region = plan.boxes[sources.sample][:, [1, 0, 3, 2]].astype(np.float64)  # pyright: ignore[reportOptionalSubscript]
    cut_low, cut_high = region[:, :2], region[:, 2:]
    both_low, both_high = np.maximum(low, cut_low), np.minimum(high, cut_high)
    # A side without length counts as one pixel, which is covered or not.
    is_point = low == high
    covered = np.where(is_point, (cut_low <= low) & (low < cut_high), np.maximum(both_high - both_low, 0))
    area, cover = np.where(is_point, 1, high - low).prod(axis=1), covered.prod(axis=1)
    inside, outside = sources.inside, sources.outside
    visible = cover * (inside > 0) + (area - cover) * (outside > 0)
    total = cover * inside + (area - cover) * outside
    share = np.where(inside == outside, outside, total / np.where(visible > 0, visible, 1))
    share = np.where(inside == 0, outside, np.where(outside == 0, inside, share))

    # Where the region covers a box along one axis, the other one has an end that is hidden.
    is_across = ((cut_low <= low) & (high <= cut_high))[:, ::-1]
    rest_low = np.where(is_across & (cut_low <= low), np.maximum(low, cut_high), low)
    rest_high = np.where(is_across & (high <= cut_high), np.minimum(high, cut_low), high)
    only_in, only_out = (outside == 0)[:, None], ((inside == 0) & (cover > 0))[:, None]
    new_low = np.where(only_in, both_low, np.where(only_out, rest_low, low))
    new_high = np.where(only_in, both_high, np.where(only_out, rest_high, high))
    return Seen(np.concatenate([new_low, new_high], axis=1), visible / area, share)


def _by_masks(plan: MixPlan, sources: Sources, low: np.ndarray, high: np.ndarray) -> Seen:
    where, part, share = np.concatenate([low, high], axis=1), np.zeros(len(low)), np.zeros(len(low))
    masks: np.ndarray = plan.masks  # pyright: ignore[reportAssignmentType]
    for row in range(len(low)):
        (x, across), (y, down) = (_pixels(low[row, axis], high[row, axis], masks.shape[-1 - axis]) for axis in (0, 1))
        shares = sources.shares(masks, row)[y : y + len(down), x : x + len(across)]
        is_visible = shares > 0
        seen = down @ is_visible @ across
        if not seen:
            continue
        part[row], share[row] = seen / (down.sum() * across.sum()), down @ shares @ across / seen
        for axis, (first, line) in enumerate([(x, is_visible.any(axis=0)), (y, is_visible.any(axis=1))]):
            start, end = np.flatnonzero(line)[[0, -1]] + (first, first + 1)
            where[row, axis] = max(low[row, axis], start)
            where[row, axis + 2] = min(high[row, axis], end)
    return Seen(where, part, share)


def _pixels(low: float, high: float, length: int) -> tuple[int, np.ndarray]:
    """The first pixel that an interval lies in, and how much of it and of each one behind it does."""
    first = min(int(low), length - 1)
    if low == high:
        return first, np.ones(1)
    edges = np.clip(np.arange(first, int(np.ceil(high)) + 1), low, high)
    return first, np.diff(edges)


def visible_points(plan: MixPlan, sources: Sources, points: np.ndarray) -> Seen:
    """Which points x, y are visible, (m, ..., 2), a row each of `sources`: those whose pixel has a share.

    Points beyond the image count as those in the nearest pixel.

    Examples
    --------
    >>> plan = MixPlan.from_boxes([[0, 0, 8, 4]] * 2, (8, 8), partner=[1, 0])
    >>> points = np.array([[2.0, 5.0], [6.0, 6.0]])
    >>> visible_points(plan, sources := Sources.of(plan, np.array([1, 1])), points[sources.rows]).part
    array([0., 0., 1., 1.])
    """
    middle = (-1,) + (1,) * (points.ndim - 2)
    share = np.broadcast_to(sources.outside.reshape(middle), points.shape[:-1])
    if plan.spatial_shape is not None:
        height, width = plan.spatial_shape
        pixel = np.clip(np.floor(points), 0, (width - 1, height - 1)).astype(np.intp)
        if plan.masks is not None:
            share = plan.masks[sources.sample.reshape(middle), pixel[..., 1], pixel[..., 0]]
            share = np.where(sources.is_own.reshape(middle), share, 1 - share)
            share = np.where((sources.is_own & (sources.inside > 0)).reshape(middle), 1, share)
        elif plan.boxes is not None:
            region = plan.boxes[sources.sample][:, [1, 0, 3, 2]].reshape(*middle, 4)
            is_inside = ((region[..., :2] <= pixel) & (pixel < region[..., 2:])).all(axis=-1)
            share = np.where(is_inside, sources.inside.reshape(middle), share)
    return Seen(points, (share > 0) * 1.0, share)
