"""Boxes and keypoints of mixed samples, in lists with an entry for each sample, of any library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import Arrays
from mixup_rs.batches.visible import Seen, Sources, placed, visible_boxes, visible_points

__all__ = ["MIN_VISIBLE", "Kept", "check_min_visible", "keep_boxes", "keep_points"]

#: Of a box that is partly hidden at least this part of its area must be visible.
MIN_VISIBLE = 0.1
#: How torchvision's boxes are written, as corners x0, y0, x1, y1; and back.
_FORMATS: dict[str, tuple[Callable[[Any, Any], tuple[Any, Any]], Callable[[Any, Any], tuple[Any, Any]]]] = {
    "XYXY": (lambda low, high: (low, high), lambda low, high: (low, high)),
    "XYWH": (lambda low, size: (low, low + size), lambda low, high: (low, high - low)),
    "CXCYWH": (
        lambda middle, size: (middle - size / 2, middle + size / 2),
        lambda low, high: ((low + high) / 2, high - low),
    ),
}


class _Ragged:
    """Arrays with an entry for each sample, each of its own number of rows."""

    def __init__(self, arrays: Arrays, values: Sequence[Any], n: int, name: str):
        if len(values) != n:
            raise ValueError(f"{name} must have an entry for each of {n} samples, got {len(values)}")
        self.arrays, self.values = arrays, list(values)
        for i, value in enumerate(values):
            if not value.shape:
                raise ValueError(f"{name} of sample {i} must have a row for each box or point, got a single number")
        self.counts = np.array([value.shape[0] for value in values], np.intp)
        # Arrays without rows often have another dtype, or other axes.
        self.filled = [value for value in values if value.shape[0]]
        kinds = {(str(value.dtype), tuple(value.shape[1:])) for value in self.filled}
        if len(kinds) > 1:
            described = ", ".join(f"{dtype} of shape (k, {str(shape)[1:]}" for dtype, shape in sorted(kinds)[:2])
            raise ValueError(f"{name} must have one dtype and one shape but for their rows, got {described}")

    def joined(self) -> Any:
        """The rows of all samples."""
        return self.arrays.join(self.filled or self.values[:1])

    def as_array(self, value: Any) -> Any:
        """An array as it is, and numbers as one of the library."""
        return value if hasattr(value, "shape") else self.arrays.asarray(np.asarray(value), self.values[0])

    def split(self, flat: Any, ends: np.ndarray) -> list[Any]:
        """The rows of each sample, as an array of the class that the sample's own are of."""
        parts = _split(flat, ends)
        return [self.arrays.like(part, value) for part, value in zip(parts, self.values, strict=True)]


def _split(flat: Any, ends: np.ndarray) -> list[Any]:
    return [flat[start:end] for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]


class Kept:
    """Which rows of the samples each mixed sample has: its own, then those of its partner.

    Parameters
    ----------
    given : _Ragged
        The boxes or points of the samples.
    sources : Sources
        Where the rows of mixed samples come from.
    stays : numpy.ndarray
        Which of these are kept.
    seen : Seen
        What is visible of each.

    Attributes
    ----------
    sources : Sources
        Where the rows that are kept come from.
    seen : Seen
        What is visible of them.
    weights : list of arrays
        Their weights, float32, for each sample.
    """

    def __init__(self, given: _Ragged, sources: Sources, stays: np.ndarray, seen: Seen):
        self._given, self.sources = given, sources.only(stays)
        self._ends = np.cumsum(np.bincount(self.sources.sample, minlength=len(given.counts)))
        self.seen = Seen(seen.where[stays], seen.part[stays], seen.share[stays])
        plain = given.arrays.weights(self.seen.share, given.joined())
        self.weights = _split(plain, self._ends)

    def placed(self, flat: np.ndarray, like: _Ragged | None = None) -> list[Any]:
        """Coordinates of the rows that are kept, in the dtype and the classes of those that were given."""
        like = self._given if like is None else like
        return like.split(like.arrays.as_like(flat, like.joined()), self._ends)

    def follow(self, values: Sequence[Any], name: str, scale: np.ndarray | None = None) -> list[Any]:
        """What belongs to each row, such as its label, for each mixed sample; times `scale` if it is given."""
        ragged = self.beside(values, name)
        flat = ragged.joined()
        if scale is not None:
            rows = ragged.arrays.host(flat)[self.sources.rows].astype(np.float64) * scale
            return self.placed(rows, ragged)
        return ragged.split(ragged.arrays.take(flat, self.sources.rows), self._ends)

    def hide(self, plan: MixPlan, points: Sequence[Any], name: str) -> list[Any]:
        """Instances of points (k, p, 3) that belong to the rows: of hidden points the third number is 0."""
        ragged = self.beside(points, name)
        if any(value.ndim != 3 or value.shape[2] != 3 for value in points):
            raise ValueError(f"{name} beside boxes must have shape (k, p, 3): x, y and whether the point is visible")
        return self.placed(_seen_points(ragged, plan, self.sources, name)[0], ragged)

    def beside(self, values: Sequence[Any], name: str) -> _Ragged:
        """What belongs to the rows that were given: as many for each sample."""
        given = self._given
        ragged = _Ragged(given.arrays, [given.as_array(value) for value in values], len(given.values), name)
        for i in np.flatnonzero(ragged.counts != given.counts)[:1]:
            raise ValueError(f"{name} of sample {i} must have {given.counts[i]} rows, got {ragged.counts[i]}")
        return ragged


def check_min_visible(given: Any) -> None:
    """Refuses what is no number from 0 to 1."""
    if isinstance(given, bool) or not isinstance(given, int | float | np.floating):
        raise TypeError(f"min_visible must be a float in [0, 1], got {type(given).__name__}")
    if not 0 <= given <= 1:
        raise ValueError(f"min_visible must lie in [0, 1], got {given}")


def keep_boxes(
    arrays: Arrays, plan: MixPlan, boxes: Sequence[Any], min_visible: float = MIN_VISIBLE, name: str = "boxes"
) -> tuple[list[Any], Kept]:
    """The boxes of mixed samples, and what else belongs to them.

    Parameters
    ----------
    arrays : Arrays
        The library of the boxes.
    plan : MixPlan
        The plan of n samples.
    boxes : sequence of arrays
        An entry for each sample, (k, 4): x0, y0, x1, y1, or as the `format` of torchvision's tensors says.
    min_visible : float
        In [0, 1].
    name : str
        For messages.

    Returns
    -------
    tuple of (list of arrays, Kept)
        The boxes, and which they are.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> from mixup_rs.batches.arrays import NUMPY
    >>> boxes = [np.array([[0, 0, 4, 4]]), np.array([[2, 2, 6, 6], [1, 1, 3, 3]])]
    >>> mixed, kept = keep_boxes(NUMPY, MixPlan([0.75, 1.0], [1, 0]), boxes)
    >>> [len(one) for one in mixed], kept.follow([["cat"], ["dog", "cat"]], "labels")[0].tolist()
    ([3, 2], ['cat', 'dog', 'cat'])
    """
    check_min_visible(min_visible)
    _check_axes(plan, name)
    boxes = _with_axes(arrays, boxes, (4,))
    given = _Ragged(arrays, boxes, len(plan), name)
    for i, value in enumerate(boxes):
        if value.ndim != 2 or value.shape[1] != 4:
            raise ValueError(f"{name} of sample {i} must have shape (k, 4), got {tuple(value.shape)}")
    written = _format_of(boxes, name)
    rows = _numbers(given, name)
    if written == "CXCYWH" and rows.dtype.kind in "iu":
        raise TypeError(f"{name} of the format CXCYWH must be floats, got {rows.dtype}: their corners may be halves")
    _check_canvas(plan, boxes, name)
    to_corners, from_corners = _FORMATS[written]
    wide = rows.astype(np.float64)
    corners = np.concatenate(to_corners(wide[:, :2], wide[:, 2:]), axis=1)
    # Not `>`, which a NaN passes.
    if (wrong := ~(corners[:, :2] <= corners[:, 2:]).all(axis=1)).any():
        row = int(np.argmax(wrong))
        i = int(np.searchsorted(np.cumsum(given.counts), row, side="right"))
        raise ValueError(
            f"{name} of sample {i} must have x0 <= x1 and y0 <= y1, written x0, y0, x1, y1, got {rows[row].tolist()}"
        )
    sources = Sources.of(plan, given.counts)
    seen = visible_boxes(plan, sources, placed(plan, sources, corners[sources.rows]))
    kept = Kept(given, sources, (seen.part > 0) & (seen.part >= min_visible), seen)
    where, source = kept.seen.where, kept.sources.rows
    is_moved = (where != corners[source]).any(axis=1, keepdims=True)
    written_again = np.concatenate(from_corners(where[:, :2], where[:, 2:]), axis=1)
    if rows.dtype.kind in "iu":  # the edges of a partner that is resized lie between pixels
        written_again = np.rint(written_again)
    return kept.placed(np.where(is_moved, written_again.astype(rows.dtype), rows[source])), kept


def keep_points(arrays: Arrays, plan: MixPlan, points: Sequence[Any], name: str = "points") -> tuple[list[Any], Kept]:
    """The points of mixed samples, or instances of several points, and what else belongs to them.

    Parameters
    ----------
    arrays : Arrays
        The library of the points.
    plan : MixPlan
        The plan of n samples.
    points : sequence of arrays
        An entry for each sample: (k, 2), or instances (k, p, 2); or with a third number behind x and y, 0 for points
        that are not labelled.
    name : str
        For messages.

    Returns
    -------
    tuple of (list of arrays, Kept)
        The points and where they come from. Hidden points have the third number 0. Instances stay while one of their
        points is visible.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """
    _check_axes(plan, name)
    points = _with_axes(arrays, points, (2,))
    given = _Ragged(arrays, points, len(plan), name)
    sources = Sources.of(plan, given.counts)
    rows, seen = _seen_points(given, plan, sources, name)
    stays = np.asarray((seen.part > 0).any(axis=tuple(range(1, seen.part.ndim))))
    kept = Kept(given, sources, stays, seen)
    return kept.placed(rows[stays]), kept


def _seen_points(given: _Ragged, plan: MixPlan, sources: Sources, name: str) -> tuple[np.ndarray, Seen]:
    """The points of mixed samples, with the third number 0 where they are hidden, and which of them are visible."""
    for i, value in enumerate(given.values):
        if value.ndim not in (2, 3) or value.shape[-1] not in (2, 3):
            raise ValueError(
                f"{name} of sample {i} must have shape (k, 2) or (k, p, 2), or 3 numbers for each point, got "
                f"{tuple(value.shape)}"
            )
    _check_canvas(plan, given.values, name)
    rows = _numbers(given, name)[sources.rows]
    if not np.isfinite(rows.astype(np.float64)).all():
        raise ValueError(f"{name} must be finite")
    at = placed(plan, sources, rows[..., :2].astype(np.float64))
    seen = visible_points(plan, sources, at)
    if plan.patches is not None:
        rows = rows.copy()
        rows[..., :2] = np.floor(at) if rows.dtype.kind in "iu" else at
    if rows.shape[-1] == 3:
        is_there = (seen.part > 0) & (rows[..., 2] > 0)
        rows[..., 2] = np.where(seen.part > 0, rows[..., 2], 0)
        seen = Seen(seen.where, is_there * 1.0, np.where(is_there, seen.share, 0))
    return rows, seen


def _with_axes(arrays: Arrays, values: Sequence[Any], row: tuple[int, ...]) -> list[Any]:
    """The entries of samples; those that are empty lists have rows like those of others, or else of the shape `row`."""
    row = next((tuple(value.shape[1:]) for value in values if value.shape and value.shape[0]), row)
    return [
        arrays.asarray(np.zeros((0, *row), np.float32), value) if tuple(value.shape) == (0,) else value
        for value in values
    ]


def _numbers(given: _Ragged, name: str) -> np.ndarray:
    """The rows of all samples, as NumPy has them."""
    flat = given.joined()
    if given.arrays.kind(flat) not in ("float", "integer"):
        raise TypeError(f"{name} must be floats or integers, got {flat.dtype}")
    return given.arrays.host(flat)


def _check_axes(plan: MixPlan, name: str) -> None:
    if plan.spatial_shape is not None and len(plan.spatial_shape) != 2:
        raise ValueError(
            f"{name} are of images, with a height and a width, but the plan cuts samples of {plan.spatial_shape}"
        )


def _format_of(boxes: Sequence[Any], name: str) -> str:
    """How boxes are written. Raises TypeError for rotated ones, and for several formats."""
    formats = {str(getattr(written := getattr(value, "format", "XYXY"), "name", written)) for value in boxes} or {
        "XYXY"
    }
    if len(formats) > 1:
        raise TypeError(f"{name} must be of one format, got {' and '.join(sorted(formats))}")
    (written,) = formats
    if written not in _FORMATS:
        raise TypeError(f"{name} are of the format {written}, expected one of {', '.join(_FORMATS)}")
    return written


def _check_canvas(plan: MixPlan, values: Sequence[Any], name: str) -> None:
    """Refuses tensors of torchvision for images of another size."""
    expected = plan.spatial_shape
    for i, value in enumerate(values):
        if (size := getattr(value, "canvas_size", None)) is None:
            continue
        if expected is not None and tuple(size) != expected:
            raise ValueError(f"{name} of sample {i} are of an image of {tuple(size)}, expected {expected}")
        expected = tuple(size)
