"""Plans applied to tensors on an accelerator, by torch's own operations on that device.

Only partners, weights and boxes are copied to the device, in one asynchronous transfer. The batch stays there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from mixup_rs._core import MixPlan

__all__ = ["DevicePlan", "cut_on_device", "mix_on_device", "send_boxes", "send_pairs", "send_plan"]

#: Types that are blended as they are; narrower ones are cast to float32.
_WIDE_DTYPES = {torch.float64, torch.float32}


def mix_on_device(plan: MixPlan, x: torch.Tensor, inplace: bool) -> torch.Tensor:
    """Mix by one gather and one blend, between casts where the type is narrower than float32."""
    sent = send_plan(plan, x)
    others = x.index_select(0, sent.partner)
    copies = x.index_select(0, sent.sources) if sent.rows is not None else None
    if x.dtype in _WIDE_DTYPES:
        mixed = x.lerp_(others, sent.share) if inplace else torch.lerp(x, others, sent.share)
    else:
        mixed = torch.lerp(x.float(), others.float(), sent.share)
        mixed = mixed if x.is_floating_point() else mixed.round_()
        mixed = x.copy_(mixed) if inplace else mixed.to(x.dtype)
    return mixed if copies is None else mixed.index_copy_(0, sent.rows, copies)


def cut_on_device(plan: MixPlan, x: torch.Tensor, inplace: bool) -> torch.Tensor:
    """Copy the box of each sample from its partner."""
    boxes = plan.boxes
    if tuple(x.shape[-2:]) != plan.spatial_shape:
        raise ValueError(f"the boxes are for samples of {plan.spatial_shape}, got a tensor of shape {tuple(x.shape)}")
    if (boxes == boxes[:1]).all():
        # One box for all samples: only its pixels are read and written.
        y0, x0, y1, x1 = boxes[0] if len(boxes) else (0, 0, 0, 0)
        partner = _to_device(plan.partner, x.device)
        out = x if inplace else x.clone()
        out[..., y0:y1, x0:x1] = x[..., y0:y1, x0:x1].index_select(0, partner)
        return out
    partner, inside = send_boxes(plan, x)
    mixed = torch.where(inside, x.index_select(0, partner), x)
    return x.copy_(mixed) if inplace else mixed


class DevicePlan(NamedTuple):
    """A mixup plan on a device.

    Parameters
    ----------
    partner : torch.Tensor
        Partners, shape (n,), int64.
    share : torch.Tensor
        Weight of the partner, shape (n, 1, ...), one axis for each axis of the batch.
    rows, sources : torch.Tensor or None
        Samples that are copied bit for bit, and the samples that they are copied from. None where there are none.
    """

    partner: torch.Tensor
    share: torch.Tensor
    rows: torch.Tensor | None
    sources: torch.Tensor | None


def send_plan(plan: MixPlan, x: torch.Tensor) -> DevicePlan:
    """Copy a mixup plan to the device of `x`, in one asynchronous transfer."""
    rows, sources = _copied(plan) if x.is_floating_point() else (np.empty(0, np.intp),) * 2
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    sizes = (len(plan), len(plan), len(rows), len(rows))
    table = np.concatenate([plan.partner, _bits(1 - plan.lam, dtype), rows, sources])
    partner, share, *copies = _to_device(table, x.device).split(sizes)
    share = _weights(share, dtype).view(-1, *[1] * (x.ndim - 1))
    return DevicePlan(partner, share, *(copies if len(rows) else (None, None)))


def send_boxes(plan: MixPlan, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Copy partners and boxes to the device of `x`, in one asynchronous transfer.

    Returns
    -------
    partner : torch.Tensor
        Partners, shape (n,), int64.
    inside : torch.Tensor
        Whether an element of `x` lies in the box of its sample, bool, shape (n, 1, ..., height, width).
    """
    partner, *bounds = _to_device(np.concatenate([plan.partner[None], plan.boxes.T]), x.device)
    y0, x0, y1, x1 = (bound.view(-1, *[1] * (x.ndim - 1)) for bound in bounds)
    rows = torch.arange(x.shape[-2], device=x.device).view(-1, 1)
    columns = torch.arange(x.shape[-1], device=x.device)
    return partner, (rows >= y0) & (rows < y1) & (columns >= x0) & (columns < x1)


def send_pairs(plan: MixPlan, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Copy partners (n,) int64 and own weights (n,) float32 to a device, in one asynchronous transfer."""
    partner, lam = _to_device(np.stack([plan.partner, _bits(plan.lam, torch.float32)]), device)
    return partner, _weights(lam, torch.float32)


def _to_device(table: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy a table to the device. Neither the host nor the device waits."""
    sent = torch.from_numpy(table)
    # CUDA copies asynchronously from pinned memory only.
    return (sent.pin_memory() if device.type == "cuda" else sent).to(device, non_blocking=True)


def _bits(weights: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Round weights to a dtype and store their bits as int64, so that one table holds them beside the partners."""
    table = np.zeros(len(weights), np.int64)
    _weights(torch.from_numpy(table), dtype).copy_(torch.from_numpy(weights))
    return table


def _weights(bits: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """View the bits that `_bits` stored as weights of a dtype."""
    if not bits.numel():  # torch cannot view an empty tensor of these strides
        return bits.to(dtype)
    return bits.view(dtype)[:: bits.itemsize // dtype.itemsize]


def _copied(plan: MixPlan) -> tuple[np.ndarray, np.ndarray]:
    """Find the samples that are copied without arithmetic, so that infinities and NaNs do not leak, and their sources.

    Integers have neither: a blend by 0 or 1, or of equal values, is exact.
    """
    own = np.arange(len(plan))
    kept = (plan.lam == 1) | (plan.partner == own)
    rows = np.flatnonzero(kept | (plan.lam == 0))
    return rows, np.where(kept, own, plan.partner)[rows]
