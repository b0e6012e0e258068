"""Whether a loss needs one lam for the batch, which is decided before the first batch of an epoch is drawn."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from typing import Any

import torch

from mixup_rs.batches.targets import TargetOptions
from mixup_rs.rules import OneOf, Rule
from mixup_rs.torch.nest import tree_leaves
from mixup_rs.torch.separable import Parts, parts_of, tried_parts_of

__all__ = ["needs_one_lam", "with_one_lam"]

#: Samples of the values that a loss is tried on, beside one of each class.
_TRIED = 10
#: About how many predictions it is tried on at most, if that leaves `_TRIED` samples.
_MOST = 2**22


def needs_one_lam(learn: Any, yb: Any, options: TargetOptions) -> tuple[bool, Parts | None]:
    """Whether the loss of a learner needs one lam for the batch, and its parts if they were found by trying.

    Blended targets need none. For class indices the loss must be known to come apart into samples, or be found to, on
    targets that are made for it, with every class, and on those of the batch, which may have some to ignore.
    Predictions are made: the same learner decides the same way each time.
    """
    if options.pair:  # the rule has one, which is checked
        return False, None
    leaves = tree_leaves(yb)
    if all(y.is_floating_point() or (y.dtype == torch.bool and y.ndim < 3) for y in leaves):
        return False, None
    if parts_of(learn.loss_func) is not None and len(leaves) == 1:
        return False, None
    classes = getattr(learn.dls, "c", None)
    if len(leaves) != 1 or not isinstance(classes, int) or classes < 2:
        return True, None
    target = leaves[0].as_subclass(torch.Tensor)
    random = torch.Generator().manual_seed(0)
    most = max(_TRIED, _MOST // (classes * max(target[0].numel(), 1)))
    made = _targets(classes, target.shape[1:], most, random).to(target.device)
    parts = None
    for y in (made, target[:most]):
        pred = torch.randn(len(y), classes, *y.shape[1:], generator=random).to(y.device)
        if (parts := tried_parts_of(learn.loss_func, pred, [y])) is None:
            return True, None
    return False, parts


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
