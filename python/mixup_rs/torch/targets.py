"""What becomes of the targets of a batch: the one place that tells their kinds apart.

Floats are blended. Booleans of one axis a sample are several labels at once. Integers are classes: without an axis they
become soft targets or pairs, with the spatial shape of the plan they are masks, which are cut with it. Integers are
never averaged as numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from mixup_rs._core import MixPlan
from mixup_rs.torch.apply import apply_labels, like, mix_tensor, only_copies
from mixup_rs.torch.device import send_pairs

__all__ = ["PairedTarget", "TargetOptions", "has_region_shape", "mix_target", "own_weight", "refuse_boxes"]


class PairedTarget(tuple):
    """A target that cannot be blended: the own one, the partner's, and the weight of the own one.

    It is a tuple ``(y, y_partner, lam)``. The loss of it is lam * loss(pred, y) + (1 - lam) * loss(pred, y_partner), by
    `mixed_loss`, which reduces as the loss does. It passes through pinned memory, `to_device` and worker processes.

    Parameters
    ----------
    y, y_partner : torch.Tensor
        The targets, of one shape (n, ...).
    lam : torch.Tensor
        float32, (n,); or a single number for the batch.

    Examples
    --------
    >>> y, y_partner, lam = PairedTarget(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0.7, 1.0]))
    >>> lam
    tensor([0.7000, 1.0000])
    """

    __slots__ = ()
    #: torch, accelerate and Lightning rebuild what has this from its items one by one, fastai from a list of them.
    _fields = ("y", "y_partner", "lam")

    def __new__(cls, *items: Any) -> PairedTarget:
        return super().__new__(cls, items[0] if len(items) == 1 else items)

    @property
    def y(self) -> torch.Tensor:
        """The own targets."""
        return self[0]

    @property
    def y_partner(self) -> torch.Tensor:
        """The targets of the partners."""
        return self[1]

    @property
    def lam(self) -> torch.Tensor:
        """The weight of the own targets."""
        return self[2]


@dataclass(frozen=True)
class TargetOptions:
    """How targets are mixed; `MixCollate` documents the options."""

    num_classes: int | None = None
    label_smoothing: float = 0.0
    multi_label: bool = False
    pair: bool = False


def mix_target(plan: MixPlan, y: torch.Tensor, options: TargetOptions, name: str = "the target") -> Any:
    """Mix a target of a batch.

    Parameters
    ----------
    plan : MixPlan
        The plan of the batch.
    y : torch.Tensor
        (n, ...), on any device.
    options : TargetOptions
        How.
    name : str
        The target, for messages.

    Returns
    -------
    torch.Tensor or PairedTarget
        The mixed target, or the own one, the partner's and lam where it cannot be mixed into one tensor.

    Raises
    ------
    TypeError, ValueError
        If it cannot be mixed rightly. The message names what would settle it.

    Examples
    --------
    >>> plan = MixPlan([0.5, 1.0], [1, 0])
    >>> mix_target(plan, torch.tensor([2.0, 4.0]), TargetOptions())
    tensor([3., 4.])
    >>> mix_target(plan, torch.tensor([0, 2]), TargetOptions()).y_partner
    tensor([2, 0])
    """
    if y.ndim == 1 and y.dtype == torch.int64 and options.num_classes is not None and not options.pair:
        return apply_labels(plan, y, options.num_classes, options.label_smoothing)[0]  # most often
    refuse_boxes(y, name)
    if y.is_complex():
        raise TypeError(f"{name} is of {y.dtype}, which cannot be mixed")
    if options.pair:
        return _pair(plan, y, one_lam=True, name=name)
    is_mask = y.ndim > 2 or has_region_shape(plan, y)
    if y.is_floating_point():
        _refuse_class_numbers(y, options, name)
        if y.ndim == 2 and y.shape[1] == options.num_classes:
            _refuse_smoothing(options, name)
        if not has_region_shape(plan, y):
            return mix_tensor(plan.without_region(), y)
        # What is blended outside of the regions is blended by `weight`, as the image is.
        return mix_tensor(plan, y)
    if y.dtype == torch.bool and not is_mask:
        if options.num_classes is None or y.ndim > 1:
            _refuse_smoothing(options, name)
            return mix_tensor(plan.without_region(), y.float())
        y = y.long()
    if is_mask:
        return _mask(plan, y, name)
    if _is_indicator(y, options, name):
        _refuse_smoothing(options, name)
        return mix_tensor(plan.without_region(), y.float())
    is_index = y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1)
    if options.num_classes is not None and is_index:
        return apply_labels(plan, y.reshape(-1), options.num_classes, options.label_smoothing)[0]
    if options.num_classes is not None:
        raise ValueError(
            f"{name} has shape {tuple(y.shape)} and integers, which with num_classes={options.num_classes} must be "
            f"class indices of shape (n,) or columns of 0 and 1 of shape (n, {options.num_classes}); "
            "multi_label=True blends it, num_classes=None pairs it"
        )
    return _pair(plan, y)


def refuse_boxes(value: Any, name: str) -> None:
    """Refuses torchvision's tensors of boxes and keypoints, as an input or a target: their averages mean nothing."""
    if type(value).__name__ in ("BoundingBoxes", "KeyPoints"):
        raise TypeError(f"{name} is of bounding boxes or keypoints, which cannot be averaged; they cannot be mixed yet")


def has_region_shape(plan: MixPlan, tensor: torch.Tensor) -> bool:
    """Whether the last axes of a batch are the spatial axes that the plan's regions are along."""
    shape = plan.spatial_shape
    return shape is not None and tensor.ndim > len(shape) and tuple(tensor.shape[-len(shape) :]) == shape


def own_weight(plan: MixPlan, device: torch.device) -> torch.Tensor:
    """`plan.weight` as (n,) float32 on a device."""
    return torch.from_numpy(plan.weight).float().to(device)


def _is_indicator(y: torch.Tensor, options: TargetOptions, name: str) -> bool:
    """Whether integers are a column of 0 and 1 for each class."""
    if y.ndim != 2 or not (options.multi_label or (y.shape[1] > 1 and y.shape[1] == options.num_classes)):
        return False
    is_binary = bool(((y == 0) | (y == 1)).all())
    if options.multi_label and not is_binary:
        raise ValueError(
            f"{name} has integers of {int(y.min())} to {int(y.max())}, which multi_label=True expects to be columns of "
            "0 and 1"
        )
    return is_binary


def _refuse_smoothing(options: TargetOptions, name: str) -> None:
    if options.label_smoothing:
        raise ValueError(f"label_smoothing needs class indices, but {name} has a column for each class")


def _refuse_class_numbers(y: torch.Tensor, options: TargetOptions, name: str) -> None:
    """Refuses floats that are class numbers: they would be blended as the numbers they look like."""
    if options.num_classes is None or y.ndim > 2 or (y.ndim == 2 and y.shape[1] > 1):
        return
    if bool(((y == y.floor()) & (y >= 0) & (y < options.num_classes)).all()):
        raise TypeError(
            f"{name} has floats that look like class numbers, with num_classes={options.num_classes}; "
            "class indices must be integers: y.long()"
        )


def _mask(plan: MixPlan, y: torch.Tensor, name: str) -> Any:
    """Masks of classes: cut where the plan has regions, and paired where it blends."""
    if plan.spatial_shape is None:
        return _pair(plan, y)
    if not has_region_shape(plan, y):
        raise ValueError(
            f"{name} is a mask of shape {tuple(y.shape)}, which cannot be cut with images of {plan.spatial_shape}: "
            "masks must have the images' height and width"
        )
    if only_copies(plan):
        return mix_tensor(plan, y)
    cut = mix_tensor(_regions(plan, name), y)
    # A sample that is only cut has no other side: there the two are equal.
    blended = torch.from_numpy(plan.weight < 1).to(y.device).view(-1, *[1] * (y.ndim - 1))
    partner = torch.where(blended, y.index_select(0, torch.from_numpy(plan.partner).to(y.device)), cut)
    return PairedTarget(cut, like(partner, y), own_weight(plan, y.device))


def _regions(plan: MixPlan, name: str) -> MixPlan:
    """The regions of a plan, without its weights."""
    shape = cast("tuple[int, ...]", plan.spatial_shape)
    if plan.boxes is not None:
        return MixPlan.from_boxes(plan.boxes, shape, plan.partner)
    masks = cast("np.ndarray", plan.masks)
    soft = ((masks > 0) & (masks < 1)).reshape(len(plan), -1).any(axis=1)
    if (soft & (plan.weight == 1)).any():
        raise TypeError(
            f"{name} is a mask of classes, which cannot be blended by soft masks; a rule of hard ones cuts it, such as "
            "FMix(soft=0.0)"
        )
    return MixPlan.from_masks(masks > 0, plan.partner, shape)


def _pair(plan: MixPlan, y: torch.Tensor, one_lam: bool = False, name: str = "") -> PairedTarget:
    partner, lam = send_pairs(plan, y.device)
    if one_lam:
        if len(plan) and not np.all(plan.lam == plan.lam[0]):
            raise ValueError(
                f"pair=True needs one lam for the batch, but {name} has several: use a rule of mode='batch'"
            )
        lam = lam[0] if len(plan) else lam.new_ones(())
    return PairedTarget(y, y.index_select(0, partner), lam)
