"""Inputs and targets of a batch under a plan, in nests of tensors as models take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mixup_rs._core import MixPlan
from mixup_rs.batches.arrays import has_region_shape, joined, refuse_boxes
from mixup_rs.batches.heads import refuse_box_shape
from mixup_rs.batches.nest import children
from mixup_rs.batches.others import beside_partners, first_samples, plan_of_both
from mixup_rs.batches.roles import LABEL_NAMES, entries_of, mask_role
from mixup_rs.batches.targets import PairedTarget, TargetOptions, mix_target
from mixup_rs.torch.apply import is_mixable, mix_tensor, only_copies
from mixup_rs.torch.arrays import TORCH
from mixup_rs.torch.nest import is_flat, tree_leaves, tree_map

__all__ = [
    "MixedTargets",
    "batch_size",
    "mix_inputs",
    "mix_targets",
    "refuse_labels",
    "refuse_targets",
    "spatial_shape",
]

_NAME_THEM = "; if it is not to be mixed, name the positions of those that are: targets=[0]"


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


def spatial_shape(xb: Any) -> tuple[int, ...] | None:
    """The height and width of the first image: of an input with channels, if there is one.

    Examples
    --------
    >>> spatial_shape((torch.zeros(4, 7, 16), torch.zeros(4, 3, 8, 9)))
    (8, 9)
    """
    shape = None
    for x in tree_leaves(xb):
        if x.ndim > 2 and x.shape[1] > 0 and is_mixable(x):
            if x.ndim > 3:
                return tuple(x.shape[-2:])
            shape = shape or tuple(x.shape[-2:])
    return shape


def mix_inputs(plan: MixPlan, xb: Any, inplace: bool = False, other: Any = None) -> Any:
    """Mix the inputs of a batch.

    Parameters
    ----------
    plan : MixPlan
        Floats and integers of at most 16 bits are blended. Those of the spatial shape of the plan's boxes are cut,
        others are blended by `plan.lam`.
    xb : nest of torch.Tensor
        The inputs, batch first. Wider integers (tokens, categories) are returned as they are; entries named
        `attention_mask` or `padding_mask` become those of both samples.
    inplace : bool, default False
        Overwrite the inputs.
    other : nest of torch.Tensor, optional
        The inputs of the batch that partners come from, if the plan has an `other`.

    Returns
    -------
    nest of torch.Tensor
        The nest of `xb`.

    Raises
    ------
    TypeError
        If no input can be mixed, or one is of booleans or complex.

    Examples
    --------
    >>> mix_inputs(MixPlan([0.5, 1.0], [1, 0]), (torch.tensor([2.0, 4.0]), torch.tensor([7, 8])))
    (tensor([3., 4.]), tensor([7, 8]))
    """
    every, names = tree_leaves(xb), _mask_names(xb)
    leaves = every if not any(names) else [x for x, name in zip(every, names, strict=True) if not name]
    for x in leaves:
        TORCH.check(x, "an input")
        refuse_boxes(x, "an input")
    dtypes = {x.dtype for x in leaves}
    if torch.bool in dtypes:
        raise TypeError(
            f"an input of booleans is not blended: a mask must be of both samples, got {_described(leaves)}; "
            "convert it to floats, or name the inputs to mix: inputs=..."
        )
    if any(dtype.is_complex for dtype in dtypes):
        raise TypeError(f"complex inputs cannot be mixed, got {_described(leaves)}; give torch.view_as_real(x) instead")
    if not any(is_mixable(x) and x.numel() for x in leaves):
        raise TypeError(
            f"no input of this batch can be mixed, got {_described(leaves)}; indices are not blended: "
            "mix their embeddings with RustManifoldMixUp, or with mixup_rs.torch.apply inside the model"
        )

    def mix(x: torch.Tensor, name: str, partners: torch.Tensor | None) -> torch.Tensor:
        if name and (role := mask_role(name)) is not None:
            if partners is None:
                return joined(TORCH, plan, x, role, name)
            return first_samples(
                joined(TORCH, plan_of_both(plan), beside_partners(TORCH, plan, x, partners), role, name), len(x)
            )
        if has_region_shape(plan, x) and x.ndim > 1 and (is_mixable(x) or only_copies(plan)):
            return mix_tensor(plan, x, inplace, other=partners)
        return mix_tensor(plan.without_region(), x, inplace, other=partners) if is_mixable(x) else x

    others = [None] * len(every) if other is None else tree_leaves(other)
    return _nest(xb, list(map(mix, every, names, others)))


def share_memory(*nests: Any) -> bool:
    """Whether tensors of a batch have one storage, so that to overwrite one may change another.

    Examples
    --------
    >>> x = torch.zeros(2, 3)
    >>> share_memory((x, x[:, :1])), share_memory((x,), (x.clone(),))
    (True, False)
    """
    storages = [x.untyped_storage().data_ptr() for x in tree_leaves(nests) if x.numel()]
    return len(storages) > len({*storages})


def refuse_labels(xb: Any, yb: Any) -> None:
    """Refuse labels among the inputs: a model that is given them would see the own ones beside a mixed input.

    Parameters
    ----------
    xb, yb : nest of torch.Tensor
        The inputs and the targets of a batch.

    Raises
    ------
    TypeError
        If integers among the inputs have the name of a label, or one for each sample, beside others, are a target's.

    Examples
    --------
    >>> refuse_labels((torch.zeros(2, 3), torch.tensor([7, 8])), (torch.tensor([0, 1]),))
    """
    if is_flat(xb) and all(x.is_floating_point() for x in xb):
        return
    named = list(_named_leaves(xb))
    labels = [y for y in tree_leaves(yb) if len(named) > 1 and not y.is_floating_point()]
    for name, x in named:
        if x.is_floating_point():
            continue
        is_label = name in LABEL_NAMES or (
            x.ndim == 1 and any(x.shape == y.shape and x.dtype == y.dtype and torch.equal(x, y) for y in labels)
        )
        if is_label:
            raise TypeError(
                f"the input {name!r} is of labels, {x.dtype} of shape {tuple(x.shape)}, which would stay as they are "
                "beside what is mixed: give labels to the loss alone, with pair=True if it needs both; if it is none, "
                "name the inputs to mix: inputs=[0]"
            )


def _named_leaves(value: Any, name: int | str = "") -> Iterator[tuple[int | str, torch.Tensor]]:
    """The tensors of a nest, with the innermost key, field or position of each."""
    if isinstance(value, torch.Tensor):
        yield name, value
        return
    for key, item in zip(entries_of(value) or (), children(value) or (), strict=True):
        yield from _named_leaves(item, key)


def _mask_names(value: Any) -> list[str]:
    """The names of masks of where samples have data, "" for other tensors, in the order of `tree_leaves`."""
    if is_flat(value):
        return [""] * len(value)
    if isinstance(value, torch.Tensor):
        return [""]
    names: list[str] = []
    for key, item in zip(entries_of(value) or (), children(value) or (), strict=True):
        names.extend([str(key)] if isinstance(item, torch.Tensor) and mask_role(key) else _mask_names(item))
    return names


@dataclass(frozen=True)
class MixedTargets:
    """The targets of a mixed batch.

    Parameters
    ----------
    own : nest of torch.Tensor
        What the loss is computed against: the mixed targets, or, if there is a pair, the own ones.
    partner : callable or None
        Returns the nest of the partners' targets; None if there is no pair.
    lam : numpy.ndarray, optional
        The weights of the own ones in the loss, where these are not `plan.lam`.
    """

    own: Any
    partner: Callable[[], Any] | None
    lam: np.ndarray | None = None


def mix_targets(
    plan: MixPlan,
    yb: Any,
    options: TargetOptions,
    partner_on: Callable[[torch.device], torch.Tensor],
    other: Any = None,
    are_named: bool = False,
) -> MixedTargets:
    """Mix the targets of a batch.

    Where one of them cannot be blended (class indices), none is: each of the two losses then has its own targets,
    weights of samples among them. Masks that are cut are part of both.

    Parameters
    ----------
    plan : MixPlan
        The plan of the batch.
    yb : nest of torch.Tensor
        The targets, batch first.
    options : TargetOptions
        How.
    partner_on : callable
        Returns the plan's partners on a given device.
    other : nest of torch.Tensor, optional
        The targets of the batch that partners come from, if the plan has an `other`.
    are_named : bool, default False
        Whether these were asked for: then those in the shape of boxes are none.

    Returns
    -------
    MixedTargets
        The targets.

    Examples
    --------
    >>> plan, on = MixPlan([0.5, 1.0], [1, 0]), lambda device: torch.tensor([1, 0])
    >>> mix_targets(plan, (torch.tensor([2.0, 4.0]),), TargetOptions(), on).own
    (tensor([3., 4.]),)
    >>> mixed = mix_targets(plan, (torch.tensor([7, 8]),), TargetOptions(), on)
    >>> mixed.own, mixed.partner()
    ((tensor([7, 8]),), (tensor([8, 7]),))
    """
    leaves = tree_leaves(yb)
    refuse_targets(len(plan), yb)
    for y in () if are_named else leaves:
        refuse_box_shape(TORCH, y, "the target", "name its position: targets=[0]")
    if other is not None:
        return _mix_beside(plan, yb, options, partner_on, other)
    # Class indices need no look: they stay, and so does the rest beside them.
    stays = [plan.k == 2 and _is_class_index(plan, y, options) for y in leaves]
    if stays and all(stays):
        return MixedTargets(yb, lambda: tree_map(lambda y: y.index_select(0, partner_on(y.device)), yb))
    mixed = [None if stay else mix_target(TORCH, plan, y, options) for y, stay in zip(leaves, stays, strict=True)]
    if all(isinstance(y, torch.Tensor) for y in mixed):
        return MixedTargets(_nest(yb, mixed), None)

    def own(y: torch.Tensor, mixed: Any) -> torch.Tensor:
        if isinstance(mixed, PairedTarget):
            return mixed.y
        return mixed if mixed is not None and has_region_shape(plan, y) else y

    def partners() -> Any:
        def of(y: torch.Tensor, mixed: Any) -> torch.Tensor:
            if isinstance(mixed, PairedTarget):
                return mixed.y_partner
            return mixed if mixed is not None and has_region_shape(plan, y) else y.index_select(0, partner_on(y.device))

        return _nest(yb, [of(y, other) for y, other in zip(leaves, mixed, strict=True)])

    own_targets = _nest(yb, [own(y, other) for y, other in zip(leaves, mixed, strict=True)])
    return MixedTargets(own_targets, partners, _lam_of_masks(plan, leaves))


def refuse_targets(n: int, yb: Any) -> None:
    """Refuse targets that cannot be those of so many samples: they would stay as they are, or be mixed up.

    Parameters
    ----------
    n : int
        The number of samples.
    yb : Any
        The targets: a nest of tensors. None is no target.

    Raises
    ------
    ValueError
        If a tensor does not have a row for each sample.
    TypeError
        If a target is anything else, such as a list of numbers.

    Examples
    --------
    >>> refuse_targets(2, (torch.zeros(2), {"a": [torch.zeros(2, 3)], "b": None}))
    """
    if isinstance(yb, torch.Tensor):
        if yb.ndim == 0 or yb.shape[0] != n:
            raise ValueError(
                f"a target must have a row for each of the {n} samples, got the shape {tuple(yb.shape)}{_NAME_THEM}"
            )
        return
    items = children(yb)
    if items is None and yb is not None:
        raise TypeError(
            f"a target must be a tensor with a row for each sample, got {type(yb).__name__}: {yb!r:.40}{_NAME_THEM}"
        )
    for item in items or ():
        refuse_targets(n, item)


def _mix_beside(
    plan: MixPlan, yb: Any, options: TargetOptions, partner_on: Callable[[torch.device], torch.Tensor], other: Any
) -> MixedTargets:
    """Mix targets with partners from another batch, which are gathered behind them."""
    n, leaves = len(plan), tree_leaves(yb)
    theirs = [y.index_select(0, partner_on(y.device)) for y in tree_leaves(other)]
    if all(_is_class_index(plan, y, options) for y in leaves):
        return MixedTargets(yb, lambda: _nest(yb, theirs))
    both = plan_of_both(plan)
    behind = _nest(yb, [TORCH.join([y, partner]) for y, partner in zip(leaves, theirs, strict=True)])
    mixed = mix_targets(
        both, behind, options, lambda device: torch.from_numpy(both.partner).to(device), are_named=True
    )  # boxes were refused

    def kept(nest: Any) -> Any:
        return tree_map(lambda y: y[:n], nest)

    partner = mixed.partner
    lam = None if mixed.lam is None else mixed.lam[:n]
    return MixedTargets(kept(mixed.own), None if partner is None else lambda: kept(partner()), lam)


def _lam_of_masks(plan: MixPlan, leaves: Sequence[torch.Tensor]) -> np.ndarray | None:
    """The weights of masks in the loss, where the plan blends a sample and cuts it as well; None where it does not."""
    lam = np.where(plan.weight < 1, plan.weight, plan.lam)
    if np.array_equal(lam, plan.lam):
        return None
    are_masks = {_is_mask(plan, y) for y in leaves}
    if are_masks == {False}:
        return None
    if len(are_masks) > 1:
        raise ValueError(
            "a mask and labels have different weights where a sample is blended and cut as well: give each a loss of "
            "its own, as MixCollate and mixed_loss do"
        )
    return lam


def _is_mask(plan: MixPlan, y: torch.Tensor) -> bool:
    """Whether a target has the weights of pixels: it has the shape of regions, or is a mask where there are none."""
    return has_region_shape(plan, y) or (plan.spatial_shape is None and y.ndim > 2 and not y.is_floating_point())


def _is_class_index(plan: MixPlan, y: torch.Tensor, options: TargetOptions) -> bool:
    is_integer = not (y.is_floating_point() or y.dtype == torch.bool or y.is_complex())
    return is_integer and y.ndim < 3 and not options.multi_label and not has_region_shape(plan, y)


def _nest(like_this: Any, leaves: Sequence[Any]) -> Any:
    """A nest of the same structure with other leaves."""
    if is_flat(like_this):
        return tuple(leaves)
    rest = iter(leaves)
    return tree_map(lambda _: next(rest), like_this)


def _described(leaves: Sequence[torch.Tensor]) -> str:
    return ", ".join(f"{x.dtype} of shape {tuple(x.shape)}" for x in leaves)
