"""Partners from another batch, by what mixes one: both, one after the other, of which the first is kept.

The core reads partners where they are. Whatever it does not mix itself, of any library or kind, is mixed so: the
partners behind the samples, by a plan of both.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import Arrays

__all__ = ["beside_partners", "both_batches", "first_samples", "plan_of_both", "refuse_other"]


def plan_of_both(plan: MixPlan) -> MixPlan:
    """The plan that mixes the samples of a batch with their partners behind them, whose own mixes do not count.

    Examples
    --------
    >>> plan_of_both(MixPlan([0.75, 1.0], [4, 2], other=5))
    MixPlan(lam=array([0.75, 1.  , 0.75, 1.  ]), partner=array([2, 3, 2, 3]))
    """
    # Those behind are their own partners, with the weights and regions of the first: what all have in common still is.
    behind = np.arange(len(plan), 2 * len(plan))
    both, lam = _tiled(plan, np.concatenate([behind, behind])), np.tile(plan.lam, 2)
    return both if np.array_equal(both.lam, lam) else both.with_label_lam(lam)


def _tiled(plan: MixPlan, partner: np.ndarray) -> MixPlan:
    """The weights and regions of a plan twice, with these partners."""
    weight, shape = np.tile(plan.weight, 2), plan.spatial_shape
    if shape is None:
        return MixPlan(weight, partner)
    if plan.masks is not None:
        if plan.patches is not None:
            raise ValueError(
                "a plan with masks and with partners that are resized takes those of another batch as NumPy arrays "
                "alone; draw one kind for the batch: OneOf(..., mode='batch')"
            )
        masks = np.concatenate([plan.masks, plan.masks])
        masks = masks > 0 if plan.only_copies else masks
        return MixPlan.from_masks(masks, partner, shape)
    resized = False if plan.patches is None else np.tile(plan.patches.any(axis=1), 2)
    both = MixPlan.from_boxes(np.tile(cast("np.ndarray", plan.boxes), (2, 1)), shape, partner, weight, resized)
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


def both_batches(arrays: Arrays, plan: Any, x: Any, other: Any) -> tuple[MixPlan, Any] | None:
    """The plan that mixes the samples with their partners behind them, and these; None without another batch.

    Raises
    ------
    ValueError
        If another batch is given or is missing, or is not what the plan and `x` ask for.
    """
    # One whose arrays are traced has partners in the batch itself.
    known = plan if isinstance(plan, MixPlan) else MixPlan.identity(len(plan))
    if other is None and known.other is None:
        return None
    theirs: Any = other if hasattr(other, "dtype") else np.asarray(other)
    refuse_other(known, None if other is None else len(theirs))
    theirs = arrays.asarray(theirs, x) if isinstance(theirs, np.ndarray) else theirs
    if (theirs.shape[1:], theirs.dtype) != (x.shape[1:], x.dtype):
        expected, got = (f"{one.dtype} of shape {tuple(one.shape[1:])}" for one in (x, theirs))
        raise ValueError(f"other must have samples of {expected}, got {got}")
    return plan_of_both(known), beside_partners(arrays, known, x, theirs)


def refuse_other(plan: MixPlan, count: int | None) -> None:
    """Refuse another batch of `count` samples, or none, where the plan is for another or for none.

    Examples
    --------
    >>> refuse_other(MixPlan(0.75, [4, 2], other=5), 5)
    >>> refuse_other(MixPlan(0.75, [4, 2], other=5), None)
    Traceback (most recent call last):
    ValueError: partners come from another batch of 5 samples, which must be given: other=...
    """
    # The check of the core, on nothing.
    of = np.empty((len(plan), 0), np.float32)
    plan.without_region().apply(of, other=None if count is None else np.empty((count, 0), np.float32))


def first_samples(mixed: Any, n: int) -> Any:
    """The first samples of what was mixed: an array, a list, or a pair of targets."""
    if isinstance(mixed, tuple):
        return type(mixed)([part if getattr(part, "ndim", 1) == 0 else part[:n] for part in mixed])
    return mixed[:n]
