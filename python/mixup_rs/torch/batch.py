"""Inputs and targets of a batch under a plan: which are blended, which are cut, which are left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mixup_rs._core import MixPlan
from mixup_rs.torch.apply import is_mixable, mix_tensor
from mixup_rs.torch.nest import tree_leaves, tree_map

__all__ = [
    "batch_size",
    "draw_cut",
    "identity_plan",
    "is_paired",
    "mix_inputs",
    "mix_targets",
    "partner_targets",
    "without_region",
]


def identity_plan(n: int) -> MixPlan:
    """The plan that leaves each of `n` samples as it is."""
    return MixPlan(np.ones(n), np.arange(n))


def without_region(plan: MixPlan) -> MixPlan:
    """The plan for a tensor that has no height and width: a blend by the same weights."""
    return plan if plan.boxes is None else MixPlan(plan.lam, plan.partner)


def batch_size(xb: Any) -> int:
    """The number of samples of a batch: the length of its first tensor.

    Parameters
    ----------
    xb : nest of torch.Tensor
        The inputs, batch first.

    Raises
    ------
    ValueError
        If the first tensor has no samples.
    TypeError
        If there is no tensor.

    Examples
    --------
    >>> batch_size(({"image": torch.zeros(4, 3)}, torch.zeros(4)))
    4
    """
    for x in tree_leaves(xb):
        if x.ndim == 0 or x.shape[0] == 0:
            raise ValueError(f"expected a batch of at least one sample, got an input of shape {tuple(x.shape)}")
        return x.shape[0]
    raise TypeError(f"expected a batch of tensors, got {xb!r}")


def mix_inputs(plan: MixPlan, xb: Any, inplace: bool = False) -> Any:
    """Mix the inputs of a batch.

    Parameters
    ----------
    plan : MixPlan
        With boxes, inputs of their height and width are cut. Without, floats and integers of at most 16 bits are
        blended.
    xb : nest of torch.Tensor
        The inputs, batch first. Those that cannot be mixed are returned as they are.
    inplace : bool, default False
        Overwrite the inputs.

    Returns
    -------
    nest of torch.Tensor
        The nest of `xb`.

    Raises
    ------
    TypeError
        If no input can be mixed.

    Examples
    --------
    >>> mix_inputs(MixPlan([0.5, 1.0], [1, 0]), (torch.tensor([2.0, 4.0]), torch.tensor([7, 8])))
    (tensor([3., 4.]), tensor([7, 8]))
    """
    mixed = False

    def mix(x: torch.Tensor) -> torch.Tensor:
        nonlocal mixed
        if not (is_mixable(x) if plan.boxes is None else _is_cut(plan, x)):
            return x
        mixed = True
        return mix_tensor(plan, x, inplace)

    inputs = tree_map(mix, xb)
    if not mixed:
        raise TypeError(
            f"no input of this batch can be mixed, got {_described(xb)}; indices are not blended: "
            "mix their embeddings with RustManifoldMixUp, or with mixup_rs.torch.apply inside the model"
        )
    return inputs


def mix_targets(plan: MixPlan, yb: Any) -> tuple[Any, bool]:
    """Mix the targets of a batch.

    Parameters
    ----------
    plan : MixPlan
        With boxes, targets of their height and width (masks) are cut.
    yb : nest of torch.Tensor
        The targets, batch first. Floats are blended, booleans as float32. Integers are class indices and stay.

    Returns
    -------
    targets : nest of torch.Tensor
        The nest of `yb`.
    has_index : bool
        Whether there are class indices. The loss is then a weighted pair of losses.

    Examples
    --------
    >>> mix_targets(MixPlan([0.5, 1.0], [1, 0]), (torch.tensor([2.0, 4.0]), torch.tensor([7, 8])))
    ((tensor([3., 4.]), tensor([7, 8])), True)
    """
    has_index = False

    def mix(y: torch.Tensor) -> torch.Tensor:
        nonlocal has_index
        if _is_cut(plan, y):
            return mix_tensor(plan, y)
        if _is_index(y):
            has_index = True
            return y
        return mix_tensor(without_region(plan), y if y.is_floating_point() else y.float().as_subclass(type(y)))

    return tree_map(mix, yb), has_index


def partner_targets(plan: MixPlan, yb: Any, partner: Callable[[torch.device], torch.Tensor]) -> Any:
    """The targets of the partners, beside those that `mix_targets` returned.

    Parameters
    ----------
    plan : MixPlan
        The plan of the batch.
    yb : nest of torch.Tensor
        What `mix_targets` returned. Targets that were cut or blended are returned as they are.
    partner : callable
        Returns the plan's partners on a given device.
    """

    def take(y: torch.Tensor) -> torch.Tensor:
        return y.index_select(0, partner(y.device)) if _is_index(y) and not _is_cut(plan, y) else y

    return tree_map(take, yb)


def draw_cut(xb: Any, n: int, **how: Any) -> MixPlan:
    """Draw a CutMix plan for the first input that has a height and a width.

    Parameters
    ----------
    xb : nest of torch.Tensor
        The inputs, batch first.
    n : int
        The number of samples.
    **how
        Arguments of `MixPlan.cutmix`.

    Raises
    ------
    TypeError
        If no input has the shape (n, ..., height, width).
    """
    for x in tree_leaves(xb):
        if is_mixable(x) and x.ndim > 2:
            return MixPlan.cutmix(n, x.shape[-2], x.shape[-1], **how)
    raise TypeError(f"CutMix needs an image of shape (n, ..., height, width), got {_described(xb)}")


def is_paired(y: Any) -> bool:
    """Whether a target is the tuple (y, y_partner, lam) that `MixCollate` returns for class indices."""
    if isinstance(y, torch.Tensor) or not (
        isinstance(y, tuple | list) and len(y) == 3 and all(isinstance(part, torch.Tensor) for part in y)
    ):
        return False
    own, partner, lam = y
    return own.dtype == partner.dtype == torch.int64 and lam.is_floating_point() and own.shape == partner.shape


def _is_cut(plan: MixPlan, tensor: torch.Tensor) -> bool:
    """Whether a tensor has the height and width of the plan's boxes."""
    return plan.boxes is not None and tensor.ndim > 2 and tuple(tensor.shape[-2:]) == plan.spatial_shape


def _is_index(y: torch.Tensor) -> bool:
    """Whether a target is of class indices, which cannot be blended."""
    return not (y.is_floating_point() or y.dtype == torch.bool)


def _described(xb: Any) -> str:
    return ", ".join(f"{x.dtype} of shape {tuple(x.shape)}" for x in tree_leaves(xb))
