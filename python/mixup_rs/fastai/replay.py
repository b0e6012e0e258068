"""fastai's MixUp and CutMix again: its draws, its order of operations, its loss, to the bit."""

from __future__ import annotations

from typing import Any

import torch
from fastai.callback.mixup import reduce_loss
from fastai.layers import NoneReduce
from fastai.torch_core import unsqueeze

from mixup_rs._core import MixPlan
from mixup_rs.torch.apply import like

__all__ = ["blend", "draw_cut", "draw_mix", "loss", "share_left"]


def draw_mix(distrib: Any, n: int) -> MixPlan:
    """The plan that fastai's MixUp draws: lam from its distribution, then the partners, both on the host."""
    lam = distrib.sample((n,))
    return MixPlan(torch.max(lam, 1 - lam).numpy(), torch.randperm(n, device="cpu").numpy())


def draw_cut(distrib: Any, n: int, height: int, width: int) -> MixPlan:
    """The plan that fastai's CutMix draws: the share, the partners, the centre of the box."""
    side = torch.sqrt(1.0 - distrib.sample((1,)))
    partner = torch.randperm(n, device="cpu").numpy()
    halves = [int(torch.round(length * side).long()) // 2 for length in (width, height)]
    centres = [int(torch.randint(0, length, (1,), device="cpu")) for length in (width, height)]
    x0, y0 = (max(centre - half, 0) for centre, half in zip(centres, halves, strict=True))
    x1 = min(centres[0] + halves[0], width)
    y1 = min(centres[1] + halves[1], height)
    return MixPlan.from_boxes([[y0, x0, y1, x1]] * n, (height, width), partner)


def share_left(plan: MixPlan) -> float:
    """lam of a plan of `draw_cut`, computed as in fastai's CutMix: each step rounds to single precision."""
    assert plan.spatial_shape is not None
    assert plan.boxes is not None
    height, width = plan.spatial_shape
    y0, x0, y1, x1 = plan.boxes[0].tolist()
    return (1 - torch.tensor([(x1 - x0) * (y1 - y0)], device="cpu") / float(width * height)).item()


def blend(x: torch.Tensor, partner: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """A blend by torch's own arithmetic, whose last bit may differ from the kernel's."""
    return like(torch.lerp(x[partner], x, weight=unsqueeze(lam.contiguous(), n=x.ndim - 1)), x)


def loss(loss_func: Any, pred: Any, own: Any, partner: Any, lam: torch.Tensor) -> torch.Tensor:
    """The loss as fastai's `MixHandler.lf` computes it."""
    with NoneReduce(loss_func) as unreduced:
        total = torch.lerp(unreduced(pred, *partner), unreduced(pred, *own), lam)
    return reduce_loss(total, getattr(loss_func, "reduction", "mean"))
