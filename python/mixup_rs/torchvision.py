"""torchvision's `MixUp` and `CutMix` with the arithmetic of this package: its draws and labels, pixels by a plan."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np

from mixup_rs._core import MixPlan

try:
    import torch
    from torch.utils._pytree import tree_leaves
    from torchvision import tv_tensors
    from torchvision.transforms import v2
    from torchvision.transforms.v2.functional import is_pure_tensor
except ModuleNotFoundError as error:
    text = "mixup_rs.torchvision needs torchvision: pip install 'mixup-rs[torchvision]'"
    raise ModuleNotFoundError(text, name=error.name) from error

from mixup_rs.torch.apply import apply
from mixup_rs.torch.held import Held, hold

__all__ = ["CutMix", "MixUp"]

_Base: Any = v2.MixUp.__base__  # torchvision's own base of both


class _Mixed(_Base):
    """What `MixUp` and `CutMix` have in common, before torchvision's class among their bases."""

    _transformed_types = (*_Base._transformed_types, Held)

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        num_classes: int | None = None,
        labels_getter: Callable[[Any], Any] | str | None = "default",
        mode: str = "batch",
        masks: bool = False,
        boxes: bool = False,
    ):
        if mode not in ("batch", "elem"):
            raise ValueError(f"mode must be 'batch' or 'elem', got {mode!r}")
        self._without_labels = (masks or boxes) and labels_getter is None
        getter: Any = itemgetter(1) if self._without_labels else labels_getter
        super().__init__(alpha=float(alpha), num_classes=num_classes, labels_getter=getter)
        self.mode, self.masks, self.boxes = mode, masks, boxes  # after torchvision's own in `repr`

    def forward(self, *given: Any) -> Any:
        if not (self.masks or self.boxes):
            return super().forward(*given)
        image = next((leaf for leaf in tree_leaves(given) if _is_image(leaf) and leaf.ndim > 2), None)
        if image is None:
            raise ValueError("expected images beside masks or boxes, found none")
        height, width = image.shape[-2:]
        inputs = hold(given, (height, width), tv_tensors.Mask if self.masks else (), self.boxes)
        if not self._without_labels:
            return super().forward(*inputs)
        labels = torch.zeros(len(image), self.num_classes or 1)  # torchvision needs some
        return super().forward(inputs if len(inputs) > 1 else inputs[0], labels)[0]

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        images = [x for x in flat_inputs if not isinstance(x, Held)]
        if images and all(isinstance(x, torch.Tensor) and x.ndim < 3 for x in images):
            got = f"{images[0].ndim} dimensions instead. Images come first."
            raise ValueError(f"Expected a batched input with 4 dims, but got {got}")
        draw = super().make_params
        if self.mode == "batch":
            return draw(images)
        drawn = [draw(images) for _ in range(len(images[0]) or 1)]
        return {name: np.array([params[name] for params in drawn]) for name in drawn[0]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, Held):
            return inpt.mixed(_plan(params, inpt.image_size))
        if inpt is params["labels"] or not _is_image(inpt):
            return super().transform(inpt, params)
        self._check_image_or_video(inpt, batch_size=params["batch_size"])
        return apply(_plan(params, tuple(inpt.shape[-2:])), inpt)

    def _mixup_label(self, label: torch.Tensor, *, lam: Any) -> torch.Tensor:
        lam = torch.from_numpy(lam).to(label.device).unsqueeze(1) if isinstance(lam, np.ndarray) else lam
        return super()._mixup_label(label, lam=lam)


def _plan(params: dict[str, Any], size: Any) -> MixPlan:
    """The plan of what torchvision drew: each sample's partner is the one before it."""
    n = params["batch_size"]
    partner = np.arange(-1, n - 1) % n
    if "box" not in params:
        return MixPlan(np.full(n, params["lam"]), partner)
    boxes = np.full((n, 4), params["box"])[:, [1, 0, 3, 2]]  # in the order of the axes: y, x
    return MixPlan.from_boxes(boxes, size, partner)


def _is_image(value: Any) -> bool:
    return isinstance(value, tv_tensors.Image | tv_tensors.Video) or is_pure_tensor(value)


class MixUp(_Mixed, v2.MixUp):
    """torchvision's `MixUp`, for images of bytes too. `mode`, `masks` and `boxes` are new.

    Parameters
    ----------
    alpha, num_classes, labels_getter
        As of `torchvision.transforms.v2.MixUp`, or None with `masks` or `boxes` for a batch without labels.
    mode : {"batch", "elem"}, default "batch"
        One lam for the batch, or one for each sample.
    masks : bool, default False
        Mix each `tv_tensors.Mask`: floats are blended, others become a `PairedTarget` (own, partner's, lam).
    boxes : bool, default False
        Mix lists with a dict of boxes or keypoints for each sample, which get `weights`.

    Raises
    ------
    ValueError, TypeError
        As torchvision's, when constructed or called; or if the images have a dtype that cannot be mixed, or if
        `boxes` is set and there are none.

    Examples
    --------
    >>> [len(y) for y in MixUp(alpha=0.4, num_classes=3)(torch.rand(2, 3, 8, 8), torch.tensor([0, 2]))[1]]
    [3, 3]
    """


class CutMix(_Mixed, v2.CutMix):
    """torchvision's `CutMix`. `mode`, `masks` and `boxes` are new.

    Parameters
    ----------
    alpha, num_classes, labels_getter
        As of `torchvision.transforms.v2.CutMix`, or None with `masks` or `boxes` for a batch without labels.
    mode, masks, boxes
        As of `MixUp`; masks and boxes are cut with the images.

    Raises
    ------
    ValueError, TypeError
        As torchvision's, when constructed or called; or if a mask has not the images' height and width.

    Examples
    --------
    >>> [len(y) for y in CutMix(alpha=1.0, num_classes=3)(torch.rand(2, 3, 8, 8), torch.tensor([0, 2]))[1]]
    [3, 3]
    """
