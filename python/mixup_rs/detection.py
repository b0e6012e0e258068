"""`MixPlan.apply_boxes` and `apply_keypoints`, which the compiled class calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import Arrays
from mixup_rs.batches.detection import MIN_VISIBLE, check_min_visible, keep_boxes, keep_points
from mixup_rs.batches.others import plan_of_both
from mixup_rs.mixer import arrays_of

__all__ = ["apply_boxes", "apply_keypoints"]


def apply_boxes(plan: MixPlan, boxes: Any, labels: Any, min_visible: float | None, other: Any) -> tuple[Any, Any, Any]:
    """As `MixPlan.apply_boxes` documents."""
    min_visible = MIN_VISIBLE if min_visible is None else min_visible
    check_min_visible(min_visible)
    n, (boxes, labels) = len(plan), _entries_of_both(plan, boxes, labels, other, "boxes")
    if not boxes:
        return [], [], []
    arrays, boxes = _listed(boxes, "boxes")
    mixed, kept = keep_boxes(arrays, _of_both(plan), boxes, min_visible)
    return mixed[:n], kept.follow(labels, "labels")[:n], kept.weights[:n]


def apply_keypoints(plan: MixPlan, points: Any, labels: Any, other: Any) -> tuple[Any, Any, Any]:
    """As `MixPlan.apply_keypoints` documents."""
    n, (points, labels) = len(plan), _entries_of_both(plan, points, labels, other, "points")
    if not points:
        return [], labels, []
    arrays, points = _listed(points, "points")
    mixed, kept = keep_points(arrays, _of_both(plan), points)
    return mixed[:n], None if labels is None else kept.follow(labels, "labels")[:n], kept.weights[:n]


def _of_both(plan: MixPlan) -> MixPlan:
    return plan if plan.other is None else plan_of_both(plan)


def _entries_of_both(plan: MixPlan, first: Any, labels: Any, other: Any, name: str) -> tuple[list[Any], Any]:
    """The entries of the samples, and of their partners behind them if these come from another batch."""
    n = len(plan)
    first = _entries(first, n, name)
    labels = None if labels is None else _entries(labels, n, "labels")
    if other is None and plan.other is None:
        return first, labels
    expected = f"other must be the {name} and the labels of {plan.other} samples"
    if plan.other is None:
        raise ValueError(f"partners are samples of the batch itself, got {name} of another batch")
    if not isinstance(other, tuple | list) or len(other) != 2:
        got = "none" if other is None else type(other).__name__
        raise (ValueError if other is None else TypeError)(f"{expected}, got {got}")
    theirs, their_labels = other
    theirs = _entries(theirs, plan.other, f"{name} of other")
    if (labels is None) != (their_labels is None):
        raise ValueError(f"labels of other must be given if labels are, got {type(their_labels).__name__}")
    if labels is not None:
        their_labels = _entries(their_labels, plan.other, "labels of other")
        labels = [*labels, *(their_labels[i] for i in plan.partner)]
    return [*first, *(theirs[i] for i in plan.partner)], labels


def _entries(given: Any, n: int, name: str) -> list[Any]:
    if not hasattr(given, "__len__") or isinstance(given, str | dict):
        raise TypeError(f"{name} must be a list with an entry for each of {n} samples, got {type(given).__name__}")
    if len(given) != n:
        raise ValueError(f"{name} must have an entry for each of {n} samples, got {len(given)}")
    return list(given)


def _listed(given: Sequence[Any], name: str) -> tuple[Arrays, list[Any]]:
    """Arrays of one library, which numbers become arrays of."""
    entries = [np.asarray(value) if isinstance(value, list | tuple) else value for value in given]
    libraries = []
    for i, value in enumerate(entries):
        if (arrays := arrays_of(value)) is None:
            raise TypeError(f"{name} of sample {i} must be an array, got {type(value).__name__}")
        libraries.append(arrays)
    if any(one is not libraries[0] for one in libraries):
        raise TypeError(f"{name} must be arrays of one library")
    return libraries[0], entries
