"""timm's `Mixup` and `FastCollateMixup` with the arithmetic of this package.

Draws, from NumPy's global generator, and labels are by timm's own functions. Images are mixed by a plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixup_rs._core import MixPlan

try:
    import torch
    from timm.data import mixup as original
    from torch.utils.data import default_collate
except ModuleNotFoundError as error:
    text = "mixup_rs.timm needs timm: pip install 'mixup-rs[timm]'"
    raise ModuleNotFoundError(text, name=error.name) from error

from mixup_rs.torch.apply import apply
from mixup_rs.torch.samples import as_arrays, is_array, stack
from mixup_rs.torch.shared import SharedFlag

__all__ = ["FastCollateMixup", "Mixup"]


class Mixup(original.Mixup):
    """timm's `Mixup`, which mixes a batch in place.

    A batch may be of integers of at most 16 bits, and of an odd number of samples: the middle one is its own
    partner. `mixup_enabled` may be set while training, and reaches DataLoader workers that live on.

    Parameters
    ----------
    *args, **kwargs
        As of `timm.data.Mixup`: `mixup_alpha`, `cutmix_alpha`, `cutmix_minmax`, `prob`, `switch_prob`, `mode`,
        `correct_lam`, `label_smoothing`, `num_classes`, `multi_label`.

    Raises
    ------
    ValueError, AssertionError, TypeError
        As timm's, when constructed or called; or if the images are not a tensor whose dtype can be mixed.

    Examples
    --------
    >>> _ = np.random.seed(1)
    >>> mix = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, mode="elem", label_smoothing=0.0, num_classes=3)
    >>> images = torch.arange(3.0).reshape(3, 1, 1, 1).repeat(1, 3, 8, 8)
    >>> mixed, target = mix(images, torch.arange(3))
    >>> mixed is images, target.shape, torch.allclose(target.sum(1), torch.ones(3))
    (True, torch.Size([3, 3]), True)
    """

    mixup_enabled = SharedFlag()
    __copy__ = SharedFlag.copied
    #: Whether a box is drawn even for a batch whose lam is 1, as timm's collate does.
    _always_draws_box = False

    def __call__(self, x: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix images (n, ...) in place; return them, and soft targets (n, num_classes)."""
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"expected images as a tensor, got {type(x).__name__}")
        lam, plan = self._draw(len(x), x.shape)
        dtype = x.dtype if x.is_floating_point() else torch.float32
        target = self._mix_target(target, lam, len(x), device=x.device, dtype=dtype)
        return x if plan is None else apply(plan, x, inplace=True), target

    def _mix_target(self, target: torch.Tensor, lam: Any, n: int, **options: Any) -> torch.Tensor:
        """Soft targets by timm's function."""
        if len(target) != n:
            raise ValueError(f"expected a target for each of {n} images, got {len(target)}")
        if isinstance(lam, np.ndarray):
            lam = torch.tensor(lam, **options).unsqueeze(1)
        return original.mixup_target(target, self.num_classes, lam, self.label_smoothing, self.multi_label)

    def _draw(self, n: int, shape: Sequence[int], half: bool = False) -> tuple[Any, MixPlan | None]:
        """Draw what labels are weighted by, one for the batch or (n,), and the plan of the pixels if any are mixed."""
        own = np.arange(n)
        partner, size = own[::-1], tuple(shape[-2:])
        if not half and self.mode not in ("elem", "pair"):
            lam, cut = self._params_per_batch()
            if cut and (lam != 1 or self._always_draws_box):
                box, lam = self._draw_box(shape, lam)
                return lam, MixPlan.from_boxes(np.full((n, 4), box), size, partner)
            return lam, MixPlan(np.full(n, lam), partner) if lam != 1 else None
        count = (n + 1) // 2 if half else n // 2 if self.mode == "pair" else n
        lam, cut = self._params_per_elem(count)
        weight, boxes = np.append(lam, 1.0), np.zeros((count + 1, 4), np.intp)
        cut = np.flatnonzero(cut & (lam != 1))
        if len(cut):
            boxes[cut], lam[cut] = zip(*[self._draw_box(shape, each) for each in lam[cut]], strict=True)
            weight[cut] = 1
        # Samples for which nothing was drawn have number `count`.
        of = np.minimum(own, partner if self.mode == "pair" else count)
        weights = np.append(lam, np.ones(1, lam.dtype))[of]
        if len(cut):
            return weights, MixPlan.from_boxes(boxes[of], size, partner, weight[of])
        return weights, MixPlan(weight[of], partner) if (lam != 1).any() else None

    def _draw_box(self, shape: Sequence[int], lam: Any) -> tuple[tuple[int, int, int, int], Any]:
        (top, bottom, left, right), lam = original.cutmix_bbox_and_lam(
            shape, lam, ratio_minmax=self.cutmix_minmax, correct_lam=self.correct_lam
        )
        return (top, left, bottom, right), lam


class FastCollateMixup(Mixup, original.FastCollateMixup):
    """timm's `FastCollateMixup`, which mixes samples while it stacks them.

    Samples are not written to. Their number may be odd: the middle one is its own partner, and with mode "half" the
    last of the batch. `mixup_enabled`, which `PrefetchLoader` sets, reaches workers that live on.

    Parameters
    ----------
    *args, **kwargs
        As of `timm.data.FastCollateMixup`, those of `Mixup`; `mode` may be "half".

    Raises
    ------
    ValueError, AssertionError, TypeError
        As timm's, when constructed or called; or if the images are not uint8, in the CPU's memory and of one shape.

    Examples
    --------
    >>> collate = FastCollateMixup(mixup_alpha=0.2, mode="pair", num_classes=5)
    >>> images, target = collate([(np.full((3, 8, 8), 50 * i, np.uint8), i) for i in range(5)])
    >>> images.shape, images.dtype, target.shape
    (torch.Size([5, 3, 8, 8]), torch.uint8, torch.Size([5, 5]))
    """

    _always_draws_box = True

    def __call__(self, batch: Sequence[Any], _: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Stack samples (image, label) of uint8; return images (n, ...), and soft targets (n, num_classes)."""
        images = [sample[0] for sample in batch]
        arrays = as_arrays(images)
        if not is_array(images[0]) or arrays[0].dtype != np.uint8:
            got = getattr(images[0], "dtype", type(images[0]).__name__)
            raise TypeError(f"expected images as arrays or tensors of uint8, got {got}; Mixup mixes batches of others")
        n, half = len(images), "half" in self.mode
        kept = (n + 1) // 2 if half else n
        lam, plan = self._draw(n, (kept, *images[0].shape), half)
        target = self._mix_target(default_collate([sample[1] for sample in batch]), lam, n)
        return stack(arrays, plan or MixPlan.identity(n), torch.uint8)[:kept], target[:kept]
