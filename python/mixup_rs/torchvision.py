"""torchvision's `MixUp` and `CutMix` with the arithmetic of this package: its draws and labels, pixels by a plan."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np

from mixup_rs._core import MixPlan

try:
    import torch
    from torch.utils._pytree import tree_leaves, tree_map_only
    from torchvision import tv_tensors
    from torchvision.transforms import v2
    from torchvision.transforms.v2.functional import is_pure_tensor
except ModuleNotFoundError as error:
    text = "mixup_rs.torchvision needs torchvision: pip install 'mixup-rs[torchvision]'"
    raise ModuleNotFoundError(text, name=error.name) from error

from mixup_rs.batches.targets import PairedTarget, TargetOptions, mix_target
from mixup_rs.torch.apply import apply
from mixup_rs.torch.arrays import TORCH

__all__ = ["CutMix", "MixUp"]

_Base: Any = v2.MixUp.__base__  # torchvision's own base of both


class _BatchMask(tv_tensors.TVTensor):
    """A batch of masks, by another name: torchvision's transforms refuse a `tv_tensors.Mask`."""


class _Mixed(_Base):
    """What `MixUp` and `CutMix` have in common, before torchvision's class among their bases."""

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        num_classes: int | None = None,
        labels_getter: Callable[[Any], Any] | str | None = "default",
        mode: str = "batch",
        masks: bool = False,
    ):
        if mode not in ("batch", "elem"):
            raise ValueError(f"mode must be 'batch' or 'elem', got {mode!r}")
        self._only_masks = masks and labels_getter is None
        getter: Any = itemgetter(1) if self._only_masks else labels_getter
        super().__init__(alpha=float(alpha), num_classes=num_classes, labels_getter=getter)
        self.mode, self.masks = mode, masks  # after torchvision's own in `repr`

    def forward(self, *given: Any) -> Any:
        if not self.masks:
            return super().forward(*given)
        inputs: Any = tree_map_only(tv_tensors.Mask, lambda mask: mask.as_subclass(_BatchMask), given)
        if not self._only_masks:
            return super().forward(*inputs)
        n = next(len(leaf) for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor))
        # With labels that stand in for those that torchvision needs.
        return super().forward(inputs if len(inputs) > 1 else inputs[0], torch.zeros(n, self.num_classes or 1))[0]

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        inputs = [tv_tensors.Mask(x) if isinstance(x, _BatchMask) else x for x in flat_inputs]
        if inputs and all(isinstance(x, torch.Tensor) and x.ndim < 3 for x in inputs):
            raise ValueError(
                f"Expected a batched input with 4 dims, but got {inputs[0].ndim} dimensions instead. Images come first."
            )
        draw = super().make_params
        if self.mode == "batch":
            return draw(inputs)
        drawn = [draw(inputs) for _ in range(len(inputs[0]))]
        return {name: np.array([params[name] for params in drawn]) for name in drawn[0]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if inpt is params["labels"]:
            return super().transform(inpt, params)
        n, is_mask = params["batch_size"], isinstance(inpt, _BatchMask)
        if not (is_mask or isinstance(inpt, tv_tensors.Image | tv_tensors.Video) or is_pure_tensor(inpt)):
            return inpt
        if not is_mask:
            self._check_image_or_video(inpt, batch_size=n)
        elif len(inpt) != n:
            raise ValueError(f"expected a mask for each of {n} samples, got {len(inpt)}")
        plan = MixPlan(np.broadcast_to(params.get("lam", 1.0), n), np.roll(np.arange(n), 1))
        if "box" in params:
            boxes = np.broadcast_to(params["box"], (n, 4))[:, [1, 0, 3, 2]]  # in the order of the axes: y, x
            plan = MixPlan.from_boxes(boxes, tuple(inpt.shape[-2:]), plan.partner)
        if not is_mask:
            return apply(plan, inpt)
        mixed = mix_target(TORCH, plan, inpt.as_subclass(torch.Tensor), TargetOptions(), "the mask")
        if isinstance(mixed, PairedTarget):
            return PairedTarget(tv_tensors.Mask(mixed.y), tv_tensors.Mask(mixed.y_partner), mixed.lam)
        return tv_tensors.Mask(mixed)

    def _mixup_label(self, label: torch.Tensor, *, lam: Any) -> torch.Tensor:
        lam = torch.from_numpy(lam).to(label.device).unsqueeze(1) if isinstance(lam, np.ndarray) else lam
        return super()._mixup_label(label, lam=lam)


class MixUp(_Mixed, v2.MixUp):
    """torchvision's `MixUp`, for images of bytes too. `mode` and `masks` are new.

    Parameters
    ----------
    alpha, num_classes, labels_getter
        As of `torchvision.transforms.v2.MixUp`. With `masks`, `labels_getter` is None for a batch without labels.
    mode : {"batch", "elem"}, default "batch"
        One lam for the batch, or one for each sample.
    masks : bool, default False
        Mix each `tv_tensors.Mask`: floats are blended, others become a `PairedTarget` (own, partner's, lam).

    Raises
    ------
    ValueError, TypeError
        As torchvision's, when constructed or called; or if the images have a dtype that cannot be mixed.

    Examples
    --------
    >>> [len(y) for y in MixUp(alpha=0.4, num_classes=3)(torch.rand(2, 3, 8, 8), torch.tensor([0, 2]))[1]]
    [3, 3]
    """


class CutMix(_Mixed, v2.CutMix):
    """torchvision's `CutMix`. `mode` and `masks` are new.

    Parameters
    ----------
    alpha, num_classes, labels_getter
        As of `torchvision.transforms.v2.CutMix`. With `masks`, `labels_getter` is None for a batch without labels.
    mode : {"batch", "elem"}, default "batch"
        One box for the batch, or one for each sample.
    masks : bool, default False
        Cut each `tv_tensors.Mask` with the images.

    Raises
    ------
    ValueError, TypeError
        As torchvision's, when constructed or called; or if a mask has not the images' height and width.

    Examples
    --------
    >>> [len(y) for y in CutMix(alpha=1.0, num_classes=3)(torch.rand(2, 3, 8, 8), torch.tensor([0, 2]))[1]]
    [3, 3]
    """
