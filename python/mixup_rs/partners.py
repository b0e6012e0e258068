"""How partners are chosen: what the rules take as `partners`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Across", "Balanced", "CMixup", "Partners", "Within"]

#: From the number of samples, the labels of the batch as a NumPy array or None, and a generator: (n,) integers.
Partners: TypeAlias = Callable[[int, Any, np.random.Generator], ArrayLike]

#: How many weights `CMixup` computes at once.
_AT_ONCE = 1 << 20
#: By how much shares of float16 or bfloat16 may sum to something else than 1.
_ROUNDING = 0.01


def drawn_by(partners: Partners, n: int, labels: Any, words: tuple[int, ...], count: int = 1) -> np.ndarray:
    """So many partners of each sample, drawn one after the other from the words of a key. The core calls it."""
    rng = np.random.Generator(np.random.PCG64(words))
    labels = None if labels is None else as_array(labels)
    drawn = [_checked(partners, n, partners(n, labels, rng)) for _ in range(count)]
    return np.stack(drawn, axis=1) if count > 1 else drawn[0]


def _checked(partners: Partners, n: int, chosen: ArrayLike) -> np.ndarray:
    drawn = np.asarray(chosen)
    if drawn.shape != (n,) or (n and drawn.dtype.kind not in "iu"):
        raise ValueError(
            f"{_name(partners)} must return {n} integers, one for each sample, got an array of {drawn.dtype} and shape "
            f"{drawn.shape}"
        )
    wrong = (drawn < 0) | (drawn >= n)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"{_name(partners)} must return integers in [0, {n}), got {drawn[at]} at index {at}")
    return drawn


def _name(partners: Partners) -> str:
    return getattr(partners, "__name__", type(partners).__name__)


def as_array(labels: Any) -> np.ndarray:
    """Labels of any library as a NumPy array; a tensor of an accelerator is copied to the host."""
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu()
        if labels.is_floating_point():
            labels = labels.double()  # NumPy has no bfloat16
    try:
        labels = np.asarray(labels)
    except (TypeError, RuntimeError, BufferError):  # of a device
        labels = np.from_dlpack(labels, device="cpu", copy=True)
    return labels.astype(np.float32) if labels.dtype.name == "bfloat16" else labels


def classes_of(labels: np.ndarray, name: str) -> np.ndarray:
    """The class of each sample, for what is called `name` in messages."""
    _refuse_shape(labels, name)
    takes = f"{name} takes class indices (n,), or shares (n, classes) which sum to 1"
    if len(labels) and labels.dtype.kind not in ("biuSU" if labels.ndim == 1 else "biuf"):
        raise TypeError(f"{takes}, got {labels.dtype} of shape {labels.shape}; CMixup takes other numbers")
    if labels.ndim == 1:
        return labels
    # Several labels at once have no one class.
    if (wrong := ~(abs(labels.sum(axis=1, dtype=np.float64) - 1) <= _ROUNDING)).any():
        at = int(wrong.argmax())
        raise ValueError(f"{takes}, got {labels[at].tolist()} at index {at}")
    return labels.argmax(axis=1)


def _refuse_shape(labels: np.ndarray, name: str) -> None:
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[1] == 0):
        raise ValueError(f"{name} takes labels of shape (n,) or (n, k), got {labels.shape}")


@dataclass(frozen=True, eq=False, repr=False)
class _OfLabels:
    """Draws partners by labels: those given, or else those of the batch."""

    labels: ArrayLike | None = None

    def __post_init__(self) -> None:
        if self.labels is not None:
            labels = as_array(self.labels).copy()
            self._read(labels)
            labels.flags.writeable = False
            object.__setattr__(self, "labels", labels)

    def __call__(self, n: int, labels: ArrayLike | None, rng: np.random.Generator) -> np.ndarray:
        """Draw the partners of `n` samples."""
        name = type(self).__name__
        given = self.labels if self.labels is not None else labels
        if given is None:
            raise ValueError(
                f"{name} needs the labels of the batch: in a batch a target of shape (n,) or (n, k); for a plan "
                f"rule.plan(n, labels=...), or {name}(labels)"
            )
        read = self._read(as_array(given))
        if len(read) != n:
            raise ValueError(f"{name} has labels of {len(read)} samples, the batch has {n}")
        return self._draw(read, rng)

    def _read(self, labels: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def _key(self) -> tuple[Any, ...]:
        values = (getattr(self, field.name) for field in fields(self))
        plain = ((one.dtype.str, one.shape, one.tobytes()) if isinstance(one, np.ndarray) else one for one in values)
        return (type(self), *plain)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, _OfLabels) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, so that the labels of a copy cannot be written to either.
        return _made, (type(self), {field.name: getattr(self, field.name) for field in fields(self)})

    def __repr__(self) -> str:
        shown: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                shown.append(np.array2string(value, separator=", ", threshold=20).replace("\n", ""))
            elif value is not None:
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _made(kind: type[_OfLabels], options: dict[str, Any]) -> _OfLabels:
    return kind(**options)


@dataclass(frozen=True)
class _Sorted:
    """The samples in the order of their classes."""

    order: np.ndarray
    #: The class of each sample, from 0.
    classes: np.ndarray
    #: How many samples each class has, and where in the order the first is.
    counts: np.ndarray
    starts: np.ndarray


class _OfClasses(_OfLabels):
    """Draws partners by classes."""

    def _read(self, labels: np.ndarray) -> np.ndarray:
        return classes_of(labels, type(self).__name__)

    def _draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        order = np.argsort(classes, kind="stable")
        return self._chosen(_Sorted(order, classes, counts, np.cumsum(counts) - counts), rng)

    def _chosen(self, samples: _Sorted, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError


def _below(counts: Any, rng: np.random.Generator, n: int) -> np.ndarray:
    """A whole number below each count; any where the count is 0."""
    # Less than the count: a float below 1 times a whole number below 2**53 is not rounded up to it.
    return (rng.random(n) * counts).astype(np.intp)


class Within(_OfClasses):
    """Partners of the same class: each other sample of the class is equally likely.

    A sample whose class has no other in the batch is its own partner, and stays as it is.

    Parameters
    ----------
    labels : array_like, optional
        The labels of the batch, if not those that `plan` is given, as every front does: class indices (n,), or one-hot
        or soft targets (n, classes), of which the largest counts. They are copied.

    Raises
    ------
    ValueError, TypeError
        If there are no labels, or of another shape or length.

    See Also
    --------
    Across : Partners of other classes.
    Balanced : Partners of any class equally often.

    Examples
    --------
    >>> from mixup_rs import Mixup, Within
    >>> Mixup(partners=Within()).plan(5, labels=[0, 1, 0, 1, 2], rng=1).partner
    array([2, 3, 0, 1, 4])
    """

    def _chosen(self, samples: _Sorted, rng: np.random.Generator) -> np.ndarray:
        order, classes, counts, starts = samples.order, samples.classes, samples.counts, samples.starts
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        others = counts[classes] - 1
        place = starts[classes] + _below(others, rng, len(order))
        place += place >= places  # itself is left out
        return order[np.where(others > 0, place, places)]


class Across(_OfClasses):
    """Partners of another class: each sample of any other class is equally likely.

    Where the batch has one class only, each sample is its own partner, and stays as it is.

    Parameters
    ----------
    labels : array_like, optional
        The labels of the batch, if not those that `plan` is given, as every front does: class indices (n,), or one-hot
        or soft targets (n, classes), of which the largest counts. They are copied.

    Raises
    ------
    ValueError, TypeError
        If there are no labels, or of another shape or length.

    See Also
    --------
    Within : Partners of the same class.
    Balanced : Partners of any class equally often.

    Examples
    --------
    >>> from mixup_rs import CutMix, Across
    >>> plan = CutMix(partners=Across()).plan(4, (8, 8), labels=[0, 0, 0, 1], rng=1)
    >>> plan.partner[:3], bool(plan.partner[3] < 3)
    (array([3, 3, 3]), True)
    """

    def _chosen(self, samples: _Sorted, rng: np.random.Generator) -> np.ndarray:
        order, classes, counts, starts = samples.order, samples.classes, samples.counts, samples.starts
        n, own = len(order), counts[classes]
        if len(counts) < 2:
            return np.arange(n)
        place = _below(n - own, rng, n)
        return order[place + np.where(place >= starts[classes], own, 0)]  # its class is left out


class Balanced(_OfClasses):
    """Partners of any class equally often: the class is drawn first, then a sample of it, [1]_.

    The classes are those of the batch. Samples of rare classes are partners more often. A sample may be its own.

    Parameters
    ----------
    labels : array_like, optional
        The labels of the batch, if not those that `plan` is given, as every front does: class indices (n,), or one-hot
        or soft targets (n, classes), of which the largest counts. They are copied.

    Raises
    ------
    ValueError, TypeError
        If there are no labels, or of another shape or length.

    See Also
    --------
    Across : Partners of other classes.

    References
    ----------
    .. [1] Galdran, Carneiro and González Ballester, "Balanced-MixUp for Highly Imbalanced Medical Image
       Classification", arXiv 2109.09850.

    Examples
    --------
    >>> import numpy as np
    >>> from mixup_rs import Balanced, Mixup
    >>> labels = np.array([0] * 900 + [1] * 100)
    >>> plan = Mixup(partners=Balanced()).plan(1000, labels=labels, rng=1)
    >>> bool(abs(labels[plan.partner].mean() - 0.5) < 0.05)
    True
    """

    def _chosen(self, samples: _Sorted, rng: np.random.Generator) -> np.ndarray:
        order, counts, starts = samples.order, samples.counts, samples.starts
        kind = _below(len(counts), rng, len(order))
        return order[starts[kind] + _below(counts[kind], rng, len(order))]


@dataclass(frozen=True, eq=False, repr=False)
class CMixup(_OfLabels):
    """Partners with labels near to its own, for regression: C-Mixup, [1]_.

    The probability of a partner is proportional to ``exp(-d**2 / (2 * bandwidth**2))`` of the distance d between both
    labels. A sample may be its own partner; without others near it mostly is, and stays as it is.

    Parameters
    ----------
    labels : array_like, optional
        The labels of the batch, if not those that `plan` is given, as every front does: numbers (n,) or (n, k), whose
        distance is the Euclidean one. They are copied.
    bandwidth : float
        In the unit of the labels; above 0.

    Raises
    ------
    ValueError, TypeError
        If there are no labels, or not such, or `bandwidth` is not above 0.

    See Also
    --------
    Within : Partners of the same class.

    References
    ----------
    .. [1] Yao, Wang, Zhang, Zou and Finn, "C-Mixup: Improving Generalization in Regression", arXiv 2210.05775.

    Examples
    --------
    >>> import numpy as np
    >>> from mixup_rs import CMixup, Mixup
    >>> y = np.linspace(0, 1, 1000)
    >>> plan = Mixup(1.0, partners=CMixup(y, bandwidth=0.05)).plan(len(y), rng=1)
    >>> bool(np.abs(y[plan.partner] - y).max() < 0.25)
    True
    """

    _: KW_ONLY
    bandwidth: float

    _EXPECTED: ClassVar[str] = "bandwidth must be a finite number above 0"

    def __post_init__(self) -> None:
        try:
            bandwidth = float(self.bandwidth)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"{self._EXPECTED}, got {self.bandwidth!r}") from None
        if not 0 < bandwidth < float("inf"):
            raise ValueError(f"{self._EXPECTED}, got {bandwidth}")
        object.__setattr__(self, "bandwidth", bandwidth)
        super().__post_init__()

    def _read(self, labels: np.ndarray) -> np.ndarray:
        _refuse_shape(labels, "CMixup")
        if labels.dtype.kind not in "iuf":
            raise TypeError(f"CMixup takes labels that are numbers, got {labels.dtype}")
        numbers = labels.astype(np.float64).reshape(len(labels), -1 if len(labels) else 1)
        if (wrong := ~np.isfinite(numbers).all(axis=1)).any():
            at = int(wrong.argmax())
            raise ValueError(f"CMixup takes labels that are finite, got {labels[at].tolist()} at index {at}")
        return numbers

    def _draw(self, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n = len(labels)
        uniform, partner = rng.random(n), np.empty(n, np.intp)
        rows = max(1, _AT_ONCE // max(n, 1))
        for first in range(0, n, rows):
            own = slice(first, first + rows)
            with np.errstate(over="ignore", under="ignore"):
                steps = (np.subtract.outer(column[own], column) / self.bandwidth for column in labels.T)
                squares = sum(step * step for step in steps)
                ends = np.exp(-0.5 * squares).cumsum(axis=1)
            # Its own weight is 1: the sum is above 0.
            partner[own] = (ends <= (uniform[own] * ends[:, -1])[:, None]).sum(axis=1)
        return partner
