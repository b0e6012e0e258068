"""The targets of a batch that a `MixCollate` mixed."""

from __future__ import annotations

from typing import Any

import torch

from mixup_rs.batches.targets import PairedTarget
from mixup_rs.torch.losses import common_lam

__all__ = ["unpaired"]


def unpaired(yb: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...], torch.Tensor | None]:
    """The own targets, those of the partners, and lam; None where no target is a pair.

    Examples
    --------
    >>> pair = PairedTarget(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    >>> unpaired(({"label": pair},))
    (({'label': tensor([0, 1])},), ({'label': tensor([1, 0])},), tensor([0.7500, 1.0000]))
    """
    pairs: list[PairedTarget] = []

    def side(target: Any, at: int) -> Any:
        if isinstance(target, PairedTarget):
            pairs.append(target)
            return target[at]
        if isinstance(target, tuple | list):
            return type(target)([side(item, at) for item in target])
        return {key: side(item, at) for key, item in target.items()} if isinstance(target, dict) else target

    own, partners = (tuple(side(y, at) for y in yb) for at in (0, 1))
    return own, partners, common_lam([pair.lam for pair in pairs]) if pairs else None
