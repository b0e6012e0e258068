"""Where the pixels of resized partners come from, for libraries that mix by operations of their own: NumPy alone.

Along an axis a pixel of a box is near + (far - near) * weight, of two pixels of the partner. These are found here in
whole numbers, as the core finds them, so that a library only gathers and blends.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mixup_rs._core import MixPlan

__all__ = ["Taps", "taps_of"]


class Taps(NamedTuple):
    """The sources of all pixels along an axis: arrays (n, length), or (1, length) if all samples have one box.

    Parameters
    ----------
    near, far : array
        The two pixels, int64.
    weight : array
        The weight of the second, float64.
    inside : array
        Whether a pixel is in the box, bool; others have themselves as sources.
    """

    near: np.ndarray
    far: np.ndarray
    weight: np.ndarray
    inside: np.ndarray


def taps_of(plan: MixPlan, nearest: bool = False, shared: bool = True) -> tuple[Taps, Taps] | None:
    """The taps along height and width; None for a plan that resizes nothing.

    Parameters
    ----------
    plan : MixPlan
        The plan.
    nearest : bool
        Take the nearest pixel alone, as the core does for what cannot be blended.
    shared : bool
        Whether one box for all samples is given once.

    Examples
    --------
    >>> plan = MixPlan.from_boxes([[0, 1, 4, 3]] * 2, (4, 4), [1, 0], resized=True)
    >>> height, width = taps_of(plan)
    >>> width.near, width.far, width.weight
    (array([[0, 0, 2, 3]]), array([[0, 1, 3, 3]]), array([[0. , 0.5, 0.5, 0. ]]))
    """
    boxes, shape = plan.patches, plan.spatial_shape
    if boxes is None or shape is None:
        return None
    if shared and len(boxes) and (boxes == boxes[:1]).all():
        boxes = boxes[:1]
    is_all = (boxes == [0, 0, *shape]).all(axis=1)  # copied bit for bit, as by the core
    as_nearest = np.where(nearest or plan.takes_nearest, True, is_all)
    along = [_along(boxes[:, axis], boxes[:, axis + 2], length, as_nearest) for axis, length in enumerate(shape)]
    return along[0], along[1]


def _along(start: np.ndarray, end: np.ndarray, length: int, nearest: np.ndarray) -> Taps:
    start, end, nearest = start[:, None], end[:, None], nearest[:, None]
    at = np.arange(length)[None]
    inside = (at >= start) & (at < end)
    place, size = at - start, np.maximum(end - start, 1)
    middle = (2 * place + 1) * length
    first, rest = np.divmod(np.maximum(middle - size, 0), 2 * size)
    second = np.minimum(first + 1, length - 1)
    swapped = rest > size
    weight = np.where(swapped, 2 * size - rest, rest) / (2 * size)
    near, far = np.where(swapped, second, first), np.where(swapped, first, second)
    is_one = nearest | (rest == 0) | (first == second)
    near = np.where(nearest, middle // (2 * size), near)
    near = np.where(inside, near, at)
    far, weight = np.where(is_one | ~inside, near, far), np.where(is_one | ~inside, 0.0, weight)
    return Taps(near.astype(np.int64), far.astype(np.int64), weight, inside)
