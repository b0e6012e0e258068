"""The targets of a batch that a `MixCollate` mixed, a callback beside it, and the one lam that `pair` needs of both."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from mixup_rs.batches.targets import ONE_LAM
from mixup_rs.fastai._compat import set_attributes
from mixup_rs.torch.collate import MixCollate

__all__ = ["are_soft", "refuse_several", "warn_of_unused"]


def are_soft(loss_func: Any, yb: tuple[Any, ...]) -> bool:
    """Whether a loss of class indices is given soft targets."""
    is_one = len(yb) == 1 and isinstance(yb[0], torch.Tensor) and yb[0].is_floating_point()
    return is_one and getattr(loss_func, "y_int", False)


def refuse_several(lam: Any, source: Any) -> None:
    """Refuse weights, of a rule or a collate, that are not one for the batch."""
    if not bool((lam == lam.reshape(-1)[0]).all()):
        raise ValueError(f"pair=True gives the loss one lam for the batch, but {source} drew several: {ONE_LAM}")


def warn_of_unused(callback: Any, collate: MixCollate) -> None:
    """Say once which options of a callback count for nothing, as the `MixCollate` of the loader mixes."""
    options = {name: getattr(callback, name) for name in ("rng", "inputs", "targets")}
    unused = [f"{name}={value!r}" for name, value in options.items() if value is not None]
    if callback.rule not in (callback._default_rule, collate.rule):
        unused.insert(0, repr(callback.rule))
    if not unused or callback._warned_of_unused:
        return
    set_attributes(callback, _warned_of_unused=True)
    warnings.warn(
        f"the MixCollate of the loader mixes its batches, by {collate.rule!r}: {', '.join(unused)} of "
        f"{type(callback).__name__} is not used; give it to the MixCollate",
        stacklevel=2,
    )
