"""Several targets in a batch: the options of each, and what is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import Arrays
from mixup_rs.batches.objects import BOX_NAMES, POINTS
from mixup_rs.batches.roles import Path, Role, named
from mixup_rs.batches.targets import TargetOptions

__all__ = ["Heads", "are_numbers", "is_table", "numbers", "refuse_box_name", "refuse_box_shape", "refuse_target"]


class Heads:
    """The options of the targets of a batch, in the order in which these come: several may have numbers of classes.

    `roles` has the entries that `targets` names in its order.
    """

    def __init__(self, how: Any, roles: Mapping[Path, Role]):
        self._how, self._count = how, 0
        self._named, self._place = [path for path, role in roles.items() if role == "target"], 0
        #: The names in `num_classes` that targets have.
        self._found: set[Any] = set()

    def next(self, path: Path) -> TargetOptions:
        """How the target at this path is mixed: its number of classes is that of its name, or of its place."""
        how, classes = self._how, self._how.num_classes
        place, self._count = self._count, self._count + 1
        if isinstance(classes, Mapping):
            found = next((key for key in (path, *reversed(path)) if key in classes), None)
            self._found.add(found)
            classes = None if found is None else classes[found]
        elif isinstance(classes, Sequence):
            if place >= len(classes):
                raise ValueError(f"num_classes has {len(classes)} numbers, but there are more targets")
            self._refuse_other_order(path)
            classes = classes[place]
        smoothing = how.label_smoothing if classes is not None else 0.0
        return TargetOptions(classes, smoothing, how.multi_label, how.pair)

    def _refuse_other_order(self, path: Path) -> None:
        """Refuses a list of numbers where `targets` names the targets in another order than that of the batch."""
        place = next((at for at, one in enumerate(self._named) if path[: len(one)] == one), self._place)
        if place < self._place:
            raise ValueError(
                f"num_classes={self._how.num_classes} counts targets as they are in the batch, and targets=... names "
                f"{named(path)} before others that precede it there; give numbers by name: num_classes={{...}}"
            )
        self._place = place

    def refuse_missing(self, roles: Mapping[Path, Role], targets: Any) -> None:
        """Refuses numbers of classes without a target, after the last target. `targets` are those that were named."""
        classes = self._how.num_classes
        if isinstance(classes, Mapping):
            if unknown := [key for key in classes if key not in self._found]:
                raise ValueError(f"num_classes names {unknown[0]!r}, but no target has this name")
        elif isinstance(classes, Sequence) and len(classes) > self._count:
            raise ValueError(f"num_classes has {len(classes)} numbers, but there are {self._count} targets")
        elif classes is not None and targets is None and "target" not in roles.values():
            raise ValueError(
                f"num_classes={classes}, but no entry is known to be a target; name it: targets=..., or targets=[] if "
                "there is none"
            )

    @staticmethod
    def check(num_classes: Any, label_smoothing: Any) -> None:
        """Refuses options that no target could have. Raises ValueError or TypeError."""
        is_list = isinstance(num_classes, Sequence) and not isinstance(num_classes, str)
        counts = num_classes.values() if isinstance(num_classes, Mapping) else num_classes if is_list else [num_classes]
        count: Any
        for count in counts:
            one = 1 if count is None else count
            if isinstance(one, bool):
                raise TypeError(f"num_classes must be an int, got {one}")
            MixPlan.identity(1).apply_labels(np.zeros(1, dtype=np.int64), one, label_smoothing)
        if label_smoothing and num_classes is None:
            raise ValueError("label_smoothing needs num_classes")


def are_numbers(values: Any) -> bool:
    """Whether values are Python's or NumPy's numbers, at least one."""
    return bool(values) and all(isinstance(value, int | float | np.number | np.bool_) for value in values)


def numbers(values: Sequence[Any], name: str) -> np.ndarray:
    """Numbers as an array: Python's as int64, float64 or bool. One float among ints makes all of them floats.

    Raises
    ------
    TypeError
        If they are not all numbers, or some are booleans.
    ValueError
        If an integer is too large for int64.

    Examples
    --------
    >>> numbers([1, 0.5], "the target")
    array([1. , 0.5])
    """
    types = {*map(type, values)}
    try:
        if types == {int}:  # most often
            return np.array(values, np.int64)
        if types and not types & {bool, np.timedelta64} and all(issubclass(one, int | np.integer) for one in types):
            return np.array([int(value) for value in values], np.int64)  # an unsigned one among others makes floats
    except OverflowError:
        raise ValueError(f"{name} has integers that int64 does not hold") from None
    array = np.asarray(values) if are_numbers(values) else np.empty(0, object)
    if array.dtype.kind not in "iufb" or (len(types) > 1 and types & {bool, np.bool_}):
        names = ", ".join(sorted(kind.__name__ for kind in types))
        raise TypeError(f"{name} is a target of different types: {names}")
    return array if array.dtype.kind == "b" else array.astype(np.promote_types(array.dtype, np.int64))


def refuse_target(value: Any, name: str) -> NoReturn:
    """Refuses what is no array, nor numbers, as a target."""
    hint = ".to_numpy() makes it an array" if is_table(value) else "convert it to a number"
    raise TypeError(
        f"{name} is a target of type {type(value).__name__}, which cannot be mixed; {hint}, or name other targets: "
        "targets=..."
    )


def is_table(value: Any) -> bool:
    """Whether a value is a table or a column of one, of pandas, pyarrow or polars."""
    return hasattr(value, "to_numpy") or hasattr(value, "to_pandas")


def refuse_box_name(path: Path, name: str) -> None:
    """Refuses boxes and keypoints by the name of the entry."""
    if path and path[-1] in (*BOX_NAMES, POINTS):
        raise TypeError(
            f"{name} is of boxes or keypoints, which cannot be averaged; each sample has them in a dict that is a "
            "target: {'boxes': boxes, 'labels': labels}"
        )


def refuse_box_shape(arrays: Arrays, y: Any, name: str, hint: str = "name it: targets=...") -> None:
    """Refuses targets in the shape of boxes that `targets` does not name. `hint` says what to do with others."""
    if y.ndim == 3 and y.shape[-1] == 4 and arrays.kind(y) == "float":
        raise TypeError(
            f"{name} has the shape of bounding boxes, {tuple(y.shape[1:])}, which cannot be averaged; each sample has "
            f"them in a dict: {{'boxes': boxes, 'labels': labels}}; if it is none, {hint}"
        )
