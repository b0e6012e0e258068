"""Whether a loss needs one lam for the batch, which is decided before the first batch of an epoch is drawn."""

from __future__ import annotations

import warnings
from dataclasses import is_dataclass, replace
from typing import Any

import torch

from mixup_rs.batches.targets import TargetOptions
from mixup_rs.fastai.chosen import chosen
from mixup_rs.rules import OneOf, Rule
from mixup_rs.torch.nest import tree_leaves
from mixup_rs.torch.separable import Parts, parts_of, tried_parts_of

__all__ = ["DrawnRule", "needs_one_lam", "with_one_lam"]

#: Samples of the values that a loss is tried on, beside one of each class.
_TRIED = 10
#: About how many predictions it is tried on at most, if that leaves `_TRIED` samples.
_MOST = 2**22


class DrawnRule:
    """The rule that is drawn from: with one lam for the batch where the loss needs that, which is said once."""

    def __init__(self, rule: Rule) -> None:
        #: How the loss of the learner comes apart, if that was found.
        self.parts: Parts | None = None
        #: The rule of the callback, the loss, and what is drawn from for them; without an epoch the rule, for any loss.
        self._decided: tuple[Rule, Any, Rule] | None = (rule, None, rule)
        #: What a loss that was found to come apart is tried on in each batch.
        self._pred: torch.Tensor | None = None
        self._warned = False

    def forget(self) -> None:
        """Decide anew."""
        self._decided = self._pred = None

    def of(self, callback: Any, yb: Any) -> Rule:
        """The rule for a batch with these targets, by a callback; decided where its rule or the loss is another."""
        rule, loss_func = callback.rule, callback.learn.loss_func
        decided = self._decided
        if decided is None or decided[0] is not rule or not (decided[1] is None or decided[1] is loss_func):
            needed, self.parts = needs_one_lam(callback.learn, yb, callback._options, callback.targets)
            drawn = with_one_lam(rule) if needed else rule
            self._decided = decided = rule, loss_func, drawn
        drawn = decided[2]
        if self.parts is not None and (one := with_one_lam(drawn)) != drawn and not self._is_apart(callback.learn, yb):
            drawn = one
        if drawn != rule and not self._warned:
            self._warn(type(callback), loss_func)
        return drawn

    def _is_apart(self, learn: Any, yb: Any) -> bool:
        """Whether a loss that was found to come apart does so for these targets, which may have some to ignore."""
        target = tree_leaves(yb)[0].as_subclass(torch.Tensor)
        target = target[: _most(learn.dls.c, target)]
        if self._pred is None or self._pred.shape[2:] != target.shape[1:] or len(self._pred) < len(target):
            self._pred = _predictions(learn.dls.c, target, torch.Generator().manual_seed(1))
        return tried_parts_of(learn.loss_func, self._pred[: len(target)], [target], halves=False) is not None

    def _warn(self, kind: type, loss_func: Any) -> None:
        self._warned = True
        warnings.warn(
            f"{getattr(loss_func, '__name__', type(loss_func).__name__)} is not known to come apart into the losses of "
            f"samples: {kind.__name__} draws one lam for each batch instead of one per sample",
            stacklevel=2,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Excludes the loss from pickles."""
        return {"parts": None, "_decided": None, "_pred": None, "_warned": self._warned}


def needs_one_lam(learn: Any, yb: Any, options: TargetOptions, at: tuple[int, ...] | None) -> tuple[bool, Parts | None]:
    """Whether the loss of a learner needs one lam for the batch, and its parts if they were found by trying.

    Blended targets need none. For class indices the loss must be known to come apart into samples, or be found to on
    values that are made for it, with every class: the same learner decides the same way each time.
    """
    if options.pair:  # the rule has one, which is checked
        return False, None
    leaves = tree_leaves(yb)
    mixed = tree_leaves(chosen("targets", at, yb))
    if all(y.is_floating_point() or (y.dtype == torch.bool and y.ndim < 3) for y in mixed):
        return False, None
    if parts_of(learn.loss_func) is not None and len(leaves) == 1:
        return False, None
    classes = getattr(learn.dls, "c", None)
    if len(leaves) != 1 or not isinstance(classes, int) or classes < 2:
        return True, None
    random, target = torch.Generator().manual_seed(0), leaves[0].as_subclass(torch.Tensor)
    made = _targets(classes, target.shape[1:], _most(classes, target), random).to(target.device)
    parts = tried_parts_of(learn.loss_func, _predictions(classes, made, random), [made])
    return parts is None, parts


def _most(classes: int, target: torch.Tensor) -> int:
    """How many samples a loss is tried on at most."""
    return max(_TRIED, _MOST // (classes * max(target[:1].numel(), 1)))


def _predictions(classes: int, target: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    return torch.randn(len(target), classes, *target.shape[1:], generator=random).to(target.device)


def _targets(classes: int, shape: tuple[int, ...], most: int, random: torch.Generator) -> torch.Tensor:
    """Class indices of at most so many samples: one of each class, so that each weight shows, and some at random."""
    each = torch.randperm(classes, generator=random) if not shape else torch.empty(0, *shape, dtype=torch.int64)
    return torch.cat([torch.randint(0, classes, (_TRIED, *shape), generator=random), each])[:most]


def with_one_lam(rule: Rule) -> Rule:
    """The rule with one lam for the batch, as far as it has a `mode`; the loss refuses several."""
    if isinstance(rule, OneOf):
        return replace(rule, mode="batch", rules=tuple(map(with_one_lam, rule.rules)))
    if is_dataclass(rule) and hasattr(rule, "mode"):
        return replace(rule, mode="batch")  # type: ignore[type-var]
    return rule
