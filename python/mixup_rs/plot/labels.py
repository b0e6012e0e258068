"""Labels and their weights as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixup_rs.plot.images import as_numpy


def label_text(label: dict[str, float], max_n: int = 3) -> str:
    """Format a soft target as a line, the greatest weight first.

    Parameters
    ----------
    label : dict of str to float
        Weights by class name.
    max_n : int, default 3
        The number of classes.

    Returns
    -------
    str
        The line.

    Examples
    --------
    >>> label_text({"two": 0.29, "seven": 0.71})
    '0.71 seven + 0.29 two'
    """
    heaviest = sorted(label.items(), key=lambda item: -item[1])[:max_n]
    return " + ".join(f"{weight:.2f} {name}".rstrip() for name, weight in heaviest)


def label_weights(labels: Any, class_names: Sequence[str] | None, n: int) -> list[dict[str, float]]:
    """The weight of each class in the own label of each sample, without classes of weight 0."""
    if labels is None:
        return [{} for _ in range(n)]
    array = as_numpy(labels)
    if len(array) != n or array.ndim > 2:
        raise ValueError(f"expected labels of shape ({n},) or ({n}, k), got {array.shape}")

    def name(index: Any) -> str:
        if isinstance(index, str):
            return index
        if class_names is None:
            return f"{index:g}" if isinstance(index, float) and not index.is_integer() else str(int(index))
        if index not in range(len(class_names)):
            raise ValueError(f"class_names has {len(class_names)} names, got the label {index}")
        return str(class_names[int(index)])

    if array.ndim == 1:
        return [{name(index): 1.0} for index in array.tolist()]
    return [{name(k): float(row[k]) for k in np.flatnonzero(row)} for row in array]


def weighted_parts(plan: Any, i: int) -> list[tuple[int, float]]:
    """The samples that sample `i` is mixed of, itself first, and the weight of each.

    Examples
    --------
    >>> from mixup_rs import MixPlan
    >>> weighted_parts(MixPlan(lam=[0.75, 1.0], partner=[1, 0]), 0)
    [(0, 0.75), (1, 0.25)]
    """
    partner = as_numpy(plan.partner)[i]
    if partner.ndim == 0:
        lam = float(as_numpy(plan.lam)[i])
        return [(i, lam), (int(partner), 1 - lam)]
    if not hasattr(plan, "weights"):
        raise TypeError(f"{type(plan).__name__} has not the weights of several partners; give the MixPlan")
    return [(int(j), float(weight)) for j, weight in zip([i, *partner], plan.weights[i], strict=True)]


def weighted_text(names: list[dict[str, float]], *parts: tuple[int, float]) -> str:
    """The blended label of weighted samples; only the weights if there are no labels."""
    if not any(names):
        return " + ".join(f"{weight:.2f}" for _, weight in parts)
    blend: dict[str, float] = {}
    for i, weight in parts:
        for name, share in names[i].items():
            blend[name] = blend.get(name, 0.0) + weight * share
    return label_text(blend)
