"""What becomes of the inputs and targets of a batch under a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mixup_rs._core import MixPlan
from mixup_rs.nest import tree_leaves, tree_map
from mixup_rs.torch import is_mixable, mix_tensor

__all__ = ["batch_size", "draw_cut", "is_paired", "mix_inputs", "mix_targets", "partner_targets"]


def batch_size(xb: Any) -> int:
    """The length of the first tensor.

    >>> batch_size(({"image": torch.zeros(4, 3)}, torch.zeros(4)))
    4
    """
    for x in tree_leaves(xb):
        if x.ndim == 0 or x.shape[0] == 0:
            raise ValueError(f"expected a batch of at least one sample, got an input of shape {tuple(x.shape)}")
        return x.shape[0]
    raise TypeError(f"expected a batch of tensors, got {xb!r}")


def mix_inputs(plan: MixPlan, xb: Any, inplace: bool = False) -> Any:
    """The nest of inputs with all mixed that can be: floats and narrow integers; of a CutMix plan, what it can cut.

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
    """The nest of targets, masks cut and floats blended; and whether there are class indices, which stay.

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
        blend = plan if plan.boxes is None else MixPlan(plan.lam, plan.partner)
        return mix_tensor(blend, y if y.is_floating_point() else y.float().as_subclass(type(y)))

    return tree_map(mix, yb), has_index


def partner_targets(plan: MixPlan, yb: Any, partner: Callable[[torch.device], torch.Tensor]) -> Any:
    """Of targets that `mix_targets` gave, the partners' class indices; what was cut or blended is of both already.

    partner: gives the plan's partners on a device.
    """

    def take(y: torch.Tensor) -> torch.Tensor:
        return y.index_select(0, partner(y.device)) if _is_index(y) and not _is_cut(plan, y) else y

    return tree_map(take, yb)


def draw_cut(xb: Any, n: int, **how: Any) -> MixPlan:
    """A CutMix plan for the first input that has a height and a width."""
    for x in tree_leaves(xb):
        if is_mixable(x) and x.ndim > 2:
            return MixPlan.cutmix(n, x.shape[-2], x.shape[-1], **how)
    raise TypeError(f"CutMix needs an image of shape (n, ..., height, width), got {_described(xb)}")


def is_paired(y: Any) -> bool:
    """Whether a target is (y, y_partner, lam), as `MixCollate` makes it."""
    if isinstance(y, torch.Tensor) or not (
        isinstance(y, tuple | list) and len(y) == 3 and all(isinstance(part, torch.Tensor) for part in y)
    ):
        return False
    own, partner, lam = y
    return own.dtype == partner.dtype == torch.int64 and lam.is_floating_point() and own.shape == partner.shape


def _is_cut(plan: MixPlan, tensor: torch.Tensor) -> bool:
    """Whether a tensor has the height and width that a CutMix plan cuts."""
    return plan.boxes is not None and tensor.ndim > 2 and tuple(tensor.shape[-2:]) == plan.spatial_shape


def _is_index(y: torch.Tensor) -> bool:
    """Whether a target cannot be blended."""
    return not (y.is_floating_point() or y.dtype == torch.bool)


def _described(xb: Any) -> str:
    return ", ".join(f"{x.dtype} of shape {tuple(x.shape)}" for x in tree_leaves(xb))
