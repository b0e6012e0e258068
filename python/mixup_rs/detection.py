"""`MixPlan.apply_boxes` and `apply_keypoints`, which the compiled class calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import NUMPY, Arrays
from mixup_rs.batches.detection import MIN_VISIBLE, check_min_visible, keep_boxes, keep_points
from mixup_rs.mixer import arrays_of

__all__ = ["apply_boxes", "apply_keypoints"]


def apply_boxes(plan: MixPlan, boxes: Any, labels: Any, min_visible: float | None) -> tuple[Any, Any, Any]:
    """As `MixPlan.apply_boxes` documents."""
    min_visible = MIN_VISIBLE if min_visible is None else min_visible
    check_min_visible(min_visible)
    arrays, boxes = _listed(boxes, len(plan), "boxes")
    labels = _entries(labels, len(plan), "labels")
    if not boxes:
        return [], [], []
    mixed, kept = keep_boxes(arrays, plan, boxes, min_visible)
    return mixed, kept.follow(labels, "labels"), kept.weights


def apply_keypoints(plan: MixPlan, points: Any, labels: Any) -> tuple[Any, Any, Any]:
    """As `MixPlan.apply_keypoints` documents."""
    arrays, points = _listed(points, len(plan), "points")
    labels = None if labels is None else _entries(labels, len(plan), "labels")
    if not points:
        return [], labels, []
    mixed, kept = keep_points(arrays, plan, points)
    return mixed, None if labels is None else kept.follow(labels, "labels"), kept.weights


def _entries(given: Any, n: int, name: str) -> Sequence[Any]:
    if not hasattr(given, "__len__") or isinstance(given, str | dict):
        raise TypeError(f"{name} must be a list with an entry for each of {n} samples, got {type(given).__name__}")
    if len(given) != n:
        raise ValueError(f"{name} must have an entry for each of {n} samples, got {len(given)}")
    return list(given)


def _listed(given: Any, n: int, name: str) -> tuple[Arrays, list[Any]]:
    """Arrays of one library, which numbers become arrays of."""
    entries = [np.asarray(value) if isinstance(value, list | tuple) else value for value in _entries(given, n, name)]
    libraries = []
    for i, value in enumerate(entries):
        if (arrays := arrays_of(value)) is None:
            raise TypeError(f"{name} of sample {i} must be an array, got {type(value).__name__}")
        libraries.append(arrays)
    if any(one is not libraries[0] for one in libraries):
        raise TypeError(f"{name} must be arrays of one library")
    return (libraries[0] if libraries else NUMPY), entries
