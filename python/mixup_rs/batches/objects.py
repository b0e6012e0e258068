"""Objects of mixed samples: dicts with the boxes or keypoints of each sample, and with what belongs to these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import Arrays
from mixup_rs.batches.detection import Kept, keep_boxes, keep_points
from mixup_rs.batches.nest import rebuilt

__all__ = ["BOX_NAMES", "POINTS", "are_objects", "has_objects", "mix_objects", "objects_beside", "with_weights"]

#: The names of boxes x0, y0, x1, y1 in the data sets of torchvision and Albumentations.
BOX_NAMES = ("boxes", "bboxes", "bbox")
POINTS = "keypoints"
WEIGHTS = "weights"
#: What belongs to the whole image, even if it is as long as there are boxes.
_OF_THE_IMAGE = frozenset(["image_id", "size", "orig_size", "original_size"])


def has_objects(value: Any) -> bool:
    """Whether a value is a mapping with boxes or keypoints.

    Examples
    --------
    >>> has_objects({"boxes": np.zeros((0, 4)), "labels": []}), has_objects({"labels": []})
    (True, False)
    """
    return isinstance(value, Mapping) and any(name in value for name in (*BOX_NAMES, POINTS))


def are_objects(value: Any) -> bool:
    """Whether a value is a list with such a mapping for each sample."""
    return isinstance(value, list | tuple) and bool(value) and all(map(has_objects, value))


def mix_objects(
    arrays_of: Callable[[Any], Arrays | None], plan: MixPlan, samples: Sequence[Mapping[str, Any]], name: str
) -> list[Any]:
    """The objects of mixed samples: each has its own, then its partner's, as far as they are visible.

    Parameters
    ----------
    arrays_of : callable
        The library of an array, or None.
    plan : MixPlan
        The plan of n samples.
    samples : sequence of mappings
        One for each sample: boxes (k, 4), keypoints, or both; and what belongs to them, such as labels: entries with k
        rows in every sample. `area` is multiplied by the part of each box that is visible. Other entries stay.
    name : str
        For messages.

    Returns
    -------
    list of mappings
        The same entries, and `weights`, float32: a weight for each box, or point where there are no boxes.

    Raises
    ------
    TypeError, ValueError
        If an entry cannot be mixed rightly.

    Examples
    --------
    >>> from mixup_rs.batches.arrays import NUMPY
    >>> samples = [{"boxes": np.array([[0, 0, 4, 4]]), "labels": np.array([i])} for i in range(2)]
    >>> mixed = mix_objects(lambda value: NUMPY, MixPlan([0.75, 1.0], [1, 0]), samples, "[1]")
    >>> mixed[0]["labels"], mixed[0]["weights"]
    (array([0, 1]), array([0.75, 0.25], dtype=float32))
    """
    if len(samples) != len(plan):
        raise ValueError(f"{name} has the boxes of {len(samples)} samples, the batch has {len(plan)}")
    names = list(samples[0])
    for i, sample in enumerate(samples):
        if {*sample} != {*names}:
            raise ValueError(f"{name} of sample {i} has the entries {sorted(sample)}, expected {sorted(names)}")
    if "masks" in names:
        raise TypeError(f"{name} has instance masks, which cannot be mixed; leave them out")
    if WEIGHTS in names:
        raise TypeError(f"{name} has weights already, which mixing adds")
    given = [entry for entry in BOX_NAMES if entry in names]
    if len(given) > 1:
        raise TypeError(f"{name} has boxes twice: {given[0]!r} and {given[1]!r}")
    columns: dict[str, Sequence[Any]] = {entry: [sample[entry] for sample in samples] for entry in names}
    main = given[0] if given else POINTS
    label = f"{main} of {name}"
    arrays = _library(arrays_of, columns[main], label)
    if given:
        _refuse_shares(arrays, columns[main], label)
        mixed, kept = keep_boxes(arrays, plan, columns[main], name=label)
    else:
        mixed, kept = keep_points(arrays, plan, columns[main], name=label)
    counts = [len(rows) for rows in columns[main]]
    columns[main] = mixed
    for entry in names:
        if entry != main:
            columns[entry] = _beside(kept, plan, columns[entry], entry, counts, f"{entry} of {name}")
    rows = zip(*(columns[entry] for entry in names), strict=True)
    return [with_weights(*one) for one in zip(samples, rows, kept.weights, strict=True)]


def objects_beside(entries: Mapping[str, Sequence[Any]]) -> list[str]:
    """The names of the entries that have a row for each box or point in every sample; none without boxes.

    Parameters
    ----------
    entries : mapping
        The values of all samples by name, such as those beside an image.

    Examples
    --------
    >>> entries = {"boxes": [np.zeros((2, 4)), np.zeros((0, 4))], "labels": [[1, 2], []], "name": ["a", "b"]}
    >>> objects_beside(entries)
    ['boxes', 'labels']
    """
    main = next((name for name in (*BOX_NAMES, POINTS) if name in entries), None)
    if main is None:
        return []
    counts = [len(rows) if _has_rows(rows) else -1 for rows in entries[main]]
    is_one = {name: name in (*BOX_NAMES, POINTS, WEIGHTS) for name in entries}
    return [name for name, values in entries.items() if is_one[name] or _follows(name, values, counts)]


def with_weights(container: Mapping[str, Any], items: Sequence[Any], weights: Any) -> Any:
    """A mapping of the same type with other entries and with weights."""
    if type(container) is dict:
        return {**dict(zip(container, items, strict=True)), WEIGHTS: weights}
    copied: Any = rebuilt(container, items)
    copied[WEIGHTS] = weights
    return copied


def _beside(
    kept: Kept, plan: MixPlan, values: Sequence[Any], entry: str, counts: Sequence[int], name: str
) -> Sequence[Any]:
    """An entry beside the boxes or points: what has a row for each of them follows them."""
    if not _follows(entry, values, counts):
        return values
    if entry == POINTS:
        return kept.hide(plan, values, name)
    if entry == "area":
        return kept.follow(values, name, kept.seen.part)
    return kept.follow(values, name)


def _follows(entry: str, values: Sequence[Any], counts: Sequence[int]) -> bool:
    return entry not in _OF_THE_IMAGE and all(
        _has_rows(value) and len(value) == count for value, count in zip(values, counts, strict=True)
    )


def _has_rows(value: Any) -> bool:
    return isinstance(value, list) or len(getattr(value, "shape", ())) > 0


def _library(arrays_of: Callable[[Any], Arrays | None], values: Sequence[Any], name: str) -> Arrays:
    libraries = [arrays_of(value) for value in values]
    for i, library in enumerate(libraries):
        if library is None:
            raise TypeError(f"{name} of sample {i} must be an array, got {type(values[i]).__name__}")
        if library is not libraries[0]:
            raise TypeError(f"{name} must be arrays of one library")
    assert libraries[0] is not None
    return libraries[0]


def _refuse_shares(arrays: Arrays, boxes: Sequence[Any], name: str) -> None:
    """Refuses boxes that seem to be written as shares of the image's sides; torchvision's are always in pixels."""
    filled = [value for value in boxes if value.shape and value.shape[0] and arrays.kind(value) == "float"]
    filled = [value for value in filled if not hasattr(value, "canvas_size")]
    if filled and all(float(np.abs(arrays.host(value)).max()) <= 1 for value in filled):
        raise ValueError(f"{name} are all within 1, as shares of the image are; expected pixels")
