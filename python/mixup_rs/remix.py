"""Remix: labels that lean towards rare classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from mixup_rs._core import MixPlan
from mixup_rs.partners import as_array, classes_of
from mixup_rs.rule import CoreRule, Rule, frozen
from mixup_rs.rules import Mixup

__all__ = ["Remix"]

#: What the paper mixes pixels by.
_PAPER = Mixup(1.0, fold=False)


@frozen
class Remix(CoreRule):
    """Remix: a sample mixed of a rare and a frequent class may have the label of the rare one, [1]_.

    Pixels are mixed by `rule`. Of a sample and its partner, whose classes have `a` and `b` samples, the sample's own
    label gets the weight 0 if ``a / b >= kappa`` and ``lam < tau``, 1 if ``b / a >= kappa`` and ``1 - lam < tau``, and
    else lam.

    Parameters
    ----------
    rule : Rule, default Mixup(1.0, fold=False)
        Draws the plan of the pixels: the paper's mixup, `CutMix`, or any other.
    kappa : float, default 3.0
        How many times as frequent a class is as a rare one; at least 1, and infinity for plain mixing.
    tau : float, default 0.5
        In [0, 1]: how little there must be of the frequent one for its label to vanish. 0 is plain mixing.
    counts : sequence of float, optional
        The number of training samples of each class. By default the labels of each batch are counted, which suits large
        batches alone.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    See Also
    --------
    MixPlan.with_label_lam : Weights of labels by a rule of your own.

    Notes
    -----
    Labels are class indices (n,), or one-hot or soft targets (n, classes), of which the largest counts. Targets that
    are cut with the input, such as masks of segmentation, follow its pixels. With a lam per sample, and with labels of
    several classes in one batch, labels have several weights: a loss must come apart into samples.

    References
    ----------
    .. [1] Chou, Chang, Pan, Wei and Juan, "Remix: Rebalanced Mixup", arXiv 2007.03943.

    Examples
    --------
    >>> import numpy as np
    >>> from mixup_rs import Remix
    >>> plan = Remix(counts=[900, 100]).plan(100, labels=np.arange(100) % 2, rng=1)
    >>> moved = plan.lam != plan.weight
    >>> bool(moved.any()), sorted(set(plan.lam[moved].tolist()))
    (True, [0.0, 1.0])
    """

    rule: Rule = _PAPER
    kappa: float = 3.0
    tau: float = 0.5
    counts: Sequence[float] | None = None
    _rule: ClassVar[str] = "Remix"
    _needs_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        kappa, tau = _number("kappa", self.kappa), _number("tau", self.tau)
        if not kappa >= 1:
            raise ValueError(f"kappa must be at least 1, got {kappa}")
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must be in [0, 1], got {tau}")
        object.__setattr__(self, "kappa", kappa)
        object.__setattr__(self, "tau", tau)
        if self.counts is not None:
            object.__setattr__(self, "counts", _counts(self.counts))
        super().__post_init__()


def label_lam(rule: Remix, plan: MixPlan, labels: Any) -> np.ndarray:
    """The weights of labels beside this plan of the pixels. The core calls it."""
    if plan.other is not None:
        raise ValueError("Remix needs the classes of both samples: it takes no partners from another batch")
    classes = _classes(labels, len(plan))
    if rule.counts is None:
        _, classes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    else:
        counts = np.array(rule.counts)
        if len(classes) and classes.dtype.kind not in "biu":
            raise TypeError(f"counts are those of class indices, got labels of {classes.dtype}")
        classes = classes.astype(np.int64)
        if (wrong := (classes < 0) | (classes >= len(counts))).any():
            at = int(wrong.argmax())
            raise ValueError(f"counts has {len(counts)} classes, got the class {classes[at]} at index {at}")
    own, lam = counts[classes], plan.lam
    other = own[plan.partner]
    # Of one class there is no rare one, which with kappa=1 must be said.
    differs = classes[plan.partner] != classes
    is_own = differs & (other >= rule.kappa * own) & (1 - lam < rule.tau)
    is_other = differs & (own >= rule.kappa * other) & (lam < rule.tau)
    return np.where(is_other, 0.0, np.where(is_own, 1.0, lam))


def _number(name: str, value: Any) -> float:
    if isinstance(value, str | bytes | bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None


def _counts(counts: Any) -> tuple[float, ...]:
    if isinstance(counts, str | bytes) or not isinstance(counts, Iterable):
        raise TypeError(f"counts must be a sequence of numbers, got {type(counts).__name__}")
    found = tuple(_number("counts", count) for count in counts)
    for at, count in enumerate(found):
        if not 0 < count < float("inf"):
            raise ValueError(f"counts must be finite and above 0, got {count} at index {at}")
    return found


def _classes(labels: Any, n: int) -> np.ndarray:
    """The class of each sample."""
    if labels is None:
        raise ValueError(
            "Remix needs the labels of the batch: in a batch a target of shape (n,) or (n, classes); for a plan "
            "rule.plan(n, labels=...)"
        )
    array = as_array(labels)
    classes = classes_of(array, "Remix")
    if len(classes) != n:
        raise ValueError(f"Remix has labels of {len(classes)} samples, the batch has {n}")
    return classes
