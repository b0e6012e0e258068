"""Weighted means of more than two samples, for what the core does not mix itself."""

from __future__ import annotations

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import parts_of

__all__ = ["steps_of"]


def steps_of(plan: MixPlan) -> list[tuple[np.ndarray, np.ndarray]]:
    """The partners, one after the other, and the share of each in its mean with all before it, the sample itself first.

    So a mean is taken as the core takes it: by blending two, again and again.

    Examples
    --------
    >>> plan = MixPlan.from_weights([[0.25, 0.25, 0.5], [0.0, 0.0, 1.0]], [[1, 0], [0, 0]])
    >>> [share for _, share in steps_of(plan)]
    [array([0.5, 0. ]), array([0.5, 1. ])]
    """
    weights = plan.weights
    shares = np.divide(weights, (sums := weights.cumsum(axis=1)), out=np.zeros_like(weights), where=sums > 0)
    return [(partner, share) for (partner, _), share in zip(parts_of(plan), shares.T[1:], strict=True)]
