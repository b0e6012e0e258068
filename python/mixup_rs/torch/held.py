"""Masks and boxes of a batch on their way through torchvision's transforms, which refuse them as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from mixup_rs._core import MixPlan
from mixup_rs.batches.objects import are_objects, mix_objects
from mixup_rs.batches.targets import TargetOptions, mix_target
from mixup_rs.torch.arrays import TORCH

__all__ = ["Held", "hold"]


@dataclass
class Held:
    """The masks or boxes of a batch.

    Parameters
    ----------
    value : tv_tensors.Mask or list
        The masks, or a dict of boxes or keypoints for each sample.
    image_size : (int, int)
        Height and width of the images.
    """

    value: Any
    image_size: tuple[int, int]

    def mixed(self, plan: MixPlan) -> Any:
        """Mix them by the plan of the images."""
        if not isinstance(self.value, torch.Tensor):
            return mix_objects(lambda x: TORCH if isinstance(x, torch.Tensor) else None, plan, self.value, "the batch")
        if len(self.value) != len(plan):
            raise ValueError(f"expected a mask for each of {len(plan)} samples, got {len(self.value)}")
        return mix_target(TORCH, plan, self.value, TargetOptions(), "the mask")


def hold(given: tuple[Any, ...], image_size: tuple[int, int], masks: Any, boxes: bool) -> Any:
    """The arguments of a transform with masks, of these classes, and boxes held.

    Raises
    ------
    ValueError
        If `boxes` is set and there are none.

    Examples
    --------
    >>> boxes = [{"boxes": torch.zeros(1, 4)}, {"boxes": torch.zeros(0, 4)}]
    >>> [type(value).__name__ for value in hold((torch.zeros(2, 3, 8, 8), boxes), (8, 8), (), True)]
    ['Tensor', 'Held']
    """

    def is_held(value: Any) -> bool:
        return isinstance(value, masks) or (boxes and are_objects(value))

    def held(value: Any) -> Any:
        return Held(value, image_size) if is_held(value) else value

    inputs = tuple(tree_map(held, one, is_leaf=is_held) for one in given)
    if boxes and not any(isinstance(x, Held) and are_objects(x.value) for x in tree_leaves(inputs)):
        raise ValueError("expected a list with a dict of boxes or keypoints for each sample, found none")
    return inputs
