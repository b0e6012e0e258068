"""The other callbacks of a learner: those that would mix as well, and those that change what was mixed."""

from __future__ import annotations

from typing import Any

import torch
from fastai.callback.mixup import MixHandler

from mixup_rs.fastai._compat import set_attributes
from mixup_rs.fastai.keys import TURN
from mixup_rs.torch.apply import is_mixable
from mixup_rs.torch.nest import tree_leaves

__all__ = ["is_its_turn", "refuse_changed", "refuse_fastais"]


def refuse_fastais(callback: Any, ours: type) -> None:
    """Refuse a callback of fastai that would mix beside one of `ours`."""
    others = [cb for cb in callback.learn.cbs if isinstance(cb, MixHandler) and not isinstance(cb, ours)]
    if others:
        names = ", ".join(type(cb).__name__ for cb in others)
        raise ValueError(
            f"{type(callback).__name__} and fastai's {names} would both mix a batch; take one of them: "
            f"cbs={type(callback).__name__}, or learn.remove_cb(...)"
        )


def is_its_turn(callback: Any, ours: type) -> bool:
    """Whether a callback mixes the batch: of several of `ours` in one learner, one is drawn for each batch."""
    mixers = [cb for cb in callback.learn.cbs if isinstance(cb, ours) and cb.run]
    if len(mixers) < 2 or callback not in mixers:
        return True
    if callback is mixers[0]:
        set_attributes(callback, _turn=callback._draw_below(len(mixers), TURN))
    return callback is mixers[mixers[0]._turn]


def refuse_changed(callback: Any) -> None:
    """Refuse what another callback did since a batch was mixed.

    Other targets would have partners as they were; labels among the inputs are the own ones.
    """
    given, found = tree_leaves(callback._own), tree_leaves(callback.learn.yb)
    if len(given) == len(found) and not all(map(_are_same, given, found)):
        raise ValueError(
            f"another callback changed the targets after {type(callback).__name__} mixed them, and those of the "
            f"partners are as they were: change them before, with an order below {callback._order}"
        )
    labels = {y.data_ptr() for y in found if y.numel()}
    if any(x.data_ptr() in labels and not is_mixable(x) for x in tree_leaves(callback.learn.xb)):
        raise TypeError(
            f"another callback gave the model labels after {type(callback).__name__} mixed its input, and they "
            "are the own ones: give labels to the loss alone, with pair=True if it needs both"
        )


def _are_same(given: torch.Tensor, found: torch.Tensor) -> bool:
    """Whether targets have the same values. fastai casts the class of all of them, which leaves their memory."""
    if given is found:
        return True
    if (given.shape, given.dtype, given.device) != (found.shape, found.dtype, found.device):
        return False
    return given.data_ptr() == found.data_ptr() or torch.equal(given, found)
