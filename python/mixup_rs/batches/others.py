"""Partners from another batch, by what mixes one: both, one after the other, of which the first is kept.

The core reads partners where they are. Whatever it does not mix itself, of any library or kind, is mixed so: the
partners behind the samples, by a plan of both.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import Arrays

__all__ = ["beside_partners", "first", "plan_of_both"]


def plan_of_both(plan: MixPlan) -> MixPlan:
    """The plan that mixes the samples of a batch with as many behind them, their partners, and leaves these.

    Examples
    --------
    >>> plan_of_both(MixPlan([0.75, 1.0], [4, 2], other=5))
    MixPlan(lam=array([0.75, 1.  , 1.  , 1.  ]), partner=array([2, 3, 2, 3]))
    """
    n, behind = len(plan), np.arange(len(plan), 2 * len(plan))
    partner, shape = np.concatenate([behind, behind]), plan.spatial_shape
    weight = np.concatenate([plan.weight, np.ones(n)])
    if shape is None:
        return MixPlan(weight, partner)
    if plan.masks is not None:
        masks = np.concatenate([plan.masks, np.ones((n, *shape))])
        masks = masks > 0 if plan.only_copies else masks
        return MixPlan.from_masks(masks, partner, shape)
    boxes = np.concatenate([cast("np.ndarray", plan.boxes), np.zeros((n, 2 * len(shape)), np.intp)])
    resized = False if plan.patches is None else np.append(plan.patches.any(axis=1), np.zeros(n, bool))
    both = MixPlan.from_boxes(boxes, shape, partner, weight, resized)
    return both.for_classes() if plan.takes_nearest else both


def beside_partners(arrays: Arrays, plan: MixPlan, x: Any, other: Any) -> Any:
    """The samples of a batch, then the partner of each, of the same library.

    Examples
    --------
    >>> from mixup_rs.batches.arrays import NUMPY
    >>> beside_partners(NUMPY, MixPlan(0.5, [2, 0], other=3), np.array([1, 2]), np.array([7, 8, 9]))
    array([1, 2, 9, 7])
    """
    return arrays.like(arrays.join([x, arrays.take(other, plan.partner)]), x)


def first(mixed: Any, n: int) -> Any:
    """The first samples of what was mixed: an array, a list, or a pair of targets."""
    if isinstance(mixed, tuple):
        return type(mixed)([first(part, n) for part in mixed])
    return mixed[:n]
