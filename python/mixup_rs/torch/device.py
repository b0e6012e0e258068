"""Plans applied to tensors on an accelerator, by torch's own operations on that device.

Only partners, weights, boxes and masks are copied to the device, in one asynchronous transfer. The batch stays there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from mixup_rs._core import MixPlan
from mixup_rs.batches.others import refuse_other
from mixup_rs.batches.patches import taps_of
from mixup_rs.batches.several import steps_of

__all__ = ["DevicePlan", "mix_on_device", "send_pairs", "send_plan", "spatial_axes_of"]

#: Types that are blended as they are; narrower ones are cast to float32.
_WIDE_DTYPES = {torch.float64, torch.float32}
_NARROW_INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.uint16}


class DevicePlan(NamedTuple):
    """A plan on a device.

    Parameters
    ----------
    partner : torch.Tensor
        Partners, shape (n,), int64.
    share : torch.Tensor
        Weight of the partner outside of its region, shape (n, 1, ...), one axis for each axis of the batch. Of a plan
        with masks its weight in each pixel, of length 1 along the axes that are not spatial, and along that of the
        batch if there is one mask.
    inside : torch.Tensor or None
        Whether an element is in the box of its sample: bool, of length 1 along the axes that are not spatial. None for
        a plan without boxes.
    rows, sources : torch.Tensor or None
        Samples that are copied bit for bit, and the samples that they are copied from. None where there are none.
    """

    partner: torch.Tensor
    share: torch.Tensor
    inside: torch.Tensor | None
    rows: torch.Tensor | None
    sources: torch.Tensor | None


def mix_on_device(
    plan: MixPlan, x: torch.Tensor, inplace: bool, spatial_axes: Sequence[int] | None = None
) -> torch.Tensor:
    """Blend, by one gather and one blend, and take regions from the partners.

    Parameters
    ----------
    plan : MixPlan
        The plan.
    x : torch.Tensor
        The batch, on any device. Types that cannot be blended need a plan that blends nothing.
    inplace : bool
        Overwrite the batch.
    spatial_axes : sequence of int, optional
        The axes that regions are along; by default the last ones.

    Returns
    -------
    torch.Tensor
        The mixed batch.
    """
    if plan.other is not None:
        refuse_other(plan, None)
    if plan.k > 2:
        return _mean(plan, x, inplace)
    if plan.masks is not None:
        return _mask(plan, x, inplace, spatial_axes)
    if plan.boxes is not None and plan.only_copies:
        return _cut(plan, x, inplace, spatial_axes)
    sent = send_plan(plan, x, spatial_axes)
    others = _others(plan, x, sent.partner, spatial_axes)
    copies = x.index_select(0, sent.sources) if sent.rows is not None and sent.sources is not None else None
    mixed = _blend(x, others, sent.share, inplace)
    if copies is not None and sent.rows is not None:
        mixed = mixed.index_copy_(0, sent.rows, copies)
    if sent.inside is None:
        return mixed
    return torch.where(sent.inside, others, mixed, out=mixed) if inplace else torch.where(sent.inside, others, mixed)


def _blend(x: torch.Tensor, others: torch.Tensor, share: torch.Tensor, inplace: bool) -> torch.Tensor:
    if x.dtype in _WIDE_DTYPES:
        return x.lerp_(others, share) if inplace else torch.lerp(x, others, share)
    mixed = torch.lerp(x.float(), others.float(), share)
    mixed = mixed if x.is_floating_point() else mixed.round_()
    return x.copy_(mixed) if inplace else mixed.to(x.dtype)


def _mean(plan: MixPlan, x: torch.Tensor, inplace: bool) -> torch.Tensor:
    """Mix more than two samples at a time: blend by blend, rounded once."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    n, steps = len(plan), steps_of(plan)
    parts = [part for partner, share in steps for part in (partner, _bits(share, dtype))]
    sent = iter(_to_device(np.concatenate(parts), x.device).split([n] * len(parts)))
    mixed = x.to(dtype)
    for partner, bits in zip(sent, sent, strict=True):
        others, share = x.index_select(0, partner).to(dtype), _weights(bits, dtype).view(-1, *[1] * (x.ndim - 1))
        # What has no share does not leak, and two equal infinities are one.
        kept = (share == 0) | ((mixed == others) & mixed.isinf())
        mixed = torch.where(kept, mixed, torch.where(share == 1, others, torch.lerp(mixed, others, share)))
    mixed = mixed if x.is_floating_point() else mixed.round()
    return x.copy_(mixed) if inplace else mixed.to(x.dtype)


def _mask(plan: MixPlan, x: torch.Tensor, inplace: bool, spatial_axes: Sequence[int] | None) -> torch.Tensor:
    """Blend each pixel by its share. What has none of the partner, or nothing but it, is copied."""
    sent = send_plan(plan, x, spatial_axes)
    others = _others(plan, x, sent.partner, spatial_axes)
    per_sample = (-1, *[1] * (x.ndim - 1))
    kept = (sent.share == 0) | (sent.partner == torch.arange(len(x), device=x.device)).view(per_sample)
    mixed = others if plan.only_copies else torch.where(sent.share == 1, others, _blend(x, others, sent.share, False))
    mixed = torch.where(kept, x, mixed)
    return x.copy_(mixed) if inplace else mixed


def _cut(plan: MixPlan, x: torch.Tensor, inplace: bool, spatial_axes: Sequence[int] | None) -> torch.Tensor:
    """Take the box of each sample from its partner, and blend nothing."""
    boxes, axes = plan.boxes, spatial_axes_of(plan, x, spatial_axes)
    assert boxes is not None
    if plan.patches is None and (boxes == boxes[:1]).all() and (plan.weight == 1).all():
        # One box for all samples: only its elements are read and written.
        bounds = boxes[0] if len(boxes) else np.zeros(2 * len(axes), int)
        inside = [slice(None)] * x.ndim
        for axis, start, end in zip(axes, bounds[: len(axes)], bounds[len(axes) :], strict=True):
            inside[axis] = slice(int(start), int(end))
        partner = _to_device(plan.partner, x.device)
        out = x if inplace else x.clone()
        out[tuple(inside)] = x[tuple(inside)].index_select(0, partner)
        return out
    sent = send_plan(plan, x, spatial_axes)
    assert sent.inside is not None
    taken = sent.inside | (sent.share == 1)
    mixed = torch.where(taken, _others(plan, x, sent.partner, spatial_axes), x)
    return x.copy_(mixed) if inplace else mixed


def _others(plan: MixPlan, x: torch.Tensor, partner: torch.Tensor, spatial_axes: Sequence[int] | None) -> torch.Tensor:
    """The partners of all samples, which fill their boxes where the plan resizes them."""
    others = x.index_select(0, partner)
    is_blended = x.is_floating_point() or x.dtype in _NARROW_INTEGERS
    taps = taps_of(plan, nearest=not is_blended)
    if taps is None:
        return others
    # A sample that is its own partner stays as it is.
    is_other = partner != torch.arange(len(x), device=x.device)
    resized, inside = others, is_other.view(-1, *[1] * (x.ndim - 1))
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    for axis, along in zip(spatial_axes_of(plan, x, spatial_axes), taps, strict=True):
        shape = [len(along.near), *(x.shape[k] if k == axis else 1 for k in range(1, x.ndim))]
        indices = np.stack([along.near, along.far, along.inside.astype(np.int64)])
        near, far, within = (part.view(shape) for part in _to_device(indices, x.device))
        inside = inside & within.bool()
        if not along.weight.any():
            resized = resized.take_along_dim(near, axis)
            continue
        weight = _weights(_to_device(_bits(along.weight.ravel(), wide), x.device), wide).view(shape)
        resized = resized.to(wide)
        a, b = resized.take_along_dim(near, axis), resized.take_along_dim(far, axis)
        resized = torch.where((a == b) & a.isinf(), a, torch.lerp(a, b, weight))
    if resized.dtype != x.dtype:
        resized = (resized if x.is_floating_point() else resized.round()).to(x.dtype)
    return torch.where(inside, resized, others)


def spatial_axes_of(plan: MixPlan, x: torch.Tensor, given: Sequence[int] | None) -> list[int]:
    """The axes of a batch that regions are along, from its front. Raises ValueError if the regions do not fit."""
    shape = plan.spatial_shape or ()
    axes = [axis % x.ndim for axis in (range(-len(shape), 0) if given is None else given)]
    if len(axes) != len(shape) or tuple(x.shape[axis] for axis in axes) != shape or len({0, *axes}) <= len(axes):
        regions = "boxes" if plan.boxes is not None else "masks"
        raise ValueError(f"the {regions} are for samples of {shape}, got a tensor of shape {tuple(x.shape)}")
    return axes


def send_plan(plan: MixPlan, x: torch.Tensor, spatial_axes: Sequence[int] | None = None) -> DevicePlan:
    """Copy a plan to the device of `x`, in one asynchronous transfer."""
    masks = plan.masks
    if masks is not None:
        return _send_masks(plan, masks, x, spatial_axes_of(plan, x, spatial_axes))
    n, boxes, blends = len(plan), plan.boxes, bool((plan.weight < 1).any())
    rows, sources = _copied(plan) if blends and x.is_floating_point() else (np.empty(0, np.intp),) * 2
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    shares = _bits(1 - plan.weight, dtype) if blends else np.empty(0, np.int64)  # all are 0
    bounds = [] if boxes is None else list(np.ascontiguousarray(boxes.T))
    parts = [plan.partner, shares, rows, sources, *bounds]
    partner, share, *rest = _to_device(np.concatenate(parts), x.device).split([*map(len, parts)])
    copies, sent_bounds = rest[:2], rest[2:]
    per_sample = (-1, *[1] * (x.ndim - 1))
    inside = None
    if boxes is not None:
        axes = spatial_axes_of(plan, x, spatial_axes)
        for axis, start, end in zip(axes, sent_bounds[: len(axes)], sent_bounds[len(axes) :], strict=True):
            at = torch.arange(x.shape[axis], device=x.device).view([-1 if k == axis else 1 for k in range(x.ndim)])
            along = (at >= start.view(per_sample)) & (at < end.view(per_sample))
            inside = along if inside is None else inside & along
    share = _weights(share, dtype) if blends else torch.zeros(n, dtype=dtype, device=x.device)
    share = share.view(per_sample)
    return DevicePlan(partner, share, inside, *(copies if len(rows) else (None, None)))


def _send_masks(plan: MixPlan, masks: np.ndarray, x: torch.Tensor, axes: list[int]) -> DevicePlan:
    """Copy partners, and the weight of the partner in each pixel along these axes, as bytes."""
    if len(masks) and masks.strides[0] == 0:  # one for all samples
        masks = masks[:1]
    shares = (1 - masks).astype(np.float64 if x.dtype == torch.float64 else np.float32)
    # The axes of the masks in the order that they have in the batch.
    order = sorted(range(len(axes)), key=axes.__getitem__)
    shares = shares.transpose(0, *(axis + 1 for axis in order)).ravel()
    parts = [plan.partner.astype(np.int64).view(np.uint8), shares.view(np.uint8)]
    partner, share = _to_device(np.concatenate(parts), x.device).split([*map(len, parts)])
    shape = [x.shape[axis] if axis in axes else 1 for axis in range(1, x.ndim)]
    share = share.view(torch.float64 if x.dtype == torch.float64 else torch.float32).view(len(masks), *shape)
    return DevicePlan(partner.view(torch.int64), share, None, None, None)


def send_pairs(plan: MixPlan, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Copy partners, int64, and lam (n,) float32 to a device, in one asynchronous transfer."""
    partner = plan.partner
    if device.type == "cpu":
        return torch.from_numpy(partner), torch.from_numpy(plan.lam).float()
    table = np.concatenate([partner.ravel(), _bits(plan.lam, torch.float32)])
    partners, lam = _to_device(table, device).split([partner.size, len(plan)])
    return partners.view(partner.shape), _weights(lam, torch.float32)


def _to_device(table: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy a table to the device. Neither the host nor the device waits."""
    sent = torch.from_numpy(table)
    # CUDA copies asynchronously from pinned memory only.
    return (sent.pin_memory() if device.type == "cuda" else sent).to(device, non_blocking=True)


def _bits(weights: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """Round weights to a dtype and store their bits as int64, so that one table holds them beside the partners."""
    table = np.zeros(len(weights), np.int64)
    floats = table.view(np.float64 if dtype == torch.float64 else np.float32)
    floats[:: table.itemsize // floats.itemsize] = weights
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
    own, weight = np.arange(len(plan)), plan.weight
    kept = (weight == 1) | (plan.partner == own)
    rows = np.flatnonzero(kept | (weight == 0))
    return rows, np.where(kept, own, plan.partner)[rows]
