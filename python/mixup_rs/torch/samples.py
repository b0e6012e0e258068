"""The values of samples that a collate stacks: their memory, and which of their axes are the spatial ones."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from mixup_rs._core import MixPlan, collate
from mixup_rs.torch._compat import new_shared_storage
from mixup_rs.torch.apply import as_numpy, from_numpy

__all__ = ["Axes", "as_arrays", "is_array", "stack", "torch_dtype"]


class Axes:
    """Which axes of a sample are spatial, and which is the channels'.

    Parameters
    ----------
    shape : tuple of int
        The shape of a sample: (H, W), (C, H, W), (H, W, C), (C, T, H, W) or (T, H, W, C).
    sizes : set of (int, int)
        The heights and widths of other images of the sample, which tell the order of the axes.
    channels_last : bool, optional
        Whether the channels are the last axis.

    Attributes
    ----------
    spatial : tuple of int
        The axes of height and width.
    channel : int or None
        The axis of the channels; None if there is none.
    is_certain : bool
        Whether the shapes tell the order of the axes.

    Examples
    --------
    >>> Axes((224, 224, 3)).spatial, Axes((6, 32, 48)).spatial, Axes((32, 48, 40), {(32, 48)}).spatial
    ((0, 1), (1, 2), (0, 1))
    """

    def __init__(self, shape: tuple[int, ...], sizes: Set[tuple[int, int]] = frozenset(), channels_last: Any = None):
        ndim = len(shape)
        self.is_certain = True
        if ndim < 3:
            self.spatial, self.channel = tuple(range(ndim)), None
            return
        if channels_last is None:
            is_last, self.is_certain = _is_channels_last(shape, sizes)
        else:
            is_last = bool(channels_last)
        self.spatial = (ndim - 3, ndim - 2) if is_last else (ndim - 2, ndim - 1)
        self.channel = ndim - 1 if is_last else 0


def _is_channels_last(shape: tuple[int, ...], sizes: Set[tuple[int, int]]) -> tuple[bool, bool]:
    """Whether the channels are the last axis, and whether that is certain."""
    first, last = shape[-2:] in sizes, shape[-3:-1] in sizes
    if first != last:
        return last, True
    first, last = shape[0] in (1, 3, 4), shape[-1] in (1, 3, 4)
    if first != last:
        return last, True
    # Images are large and have few channels.
    few = max(1, min(shape[-3:]) * 4)
    first, last = few <= min(shape[-2:]), few <= min(shape[-3:-1])
    return last and not first, first != last


def is_array(value: Any) -> bool:
    """Whether a value is a tensor or a NumPy array."""
    return isinstance(value, (torch.Tensor, np.ndarray))


def torch_dtype(value: Any) -> torch.dtype | None:
    """The dtype of a tensor or an array in torch; None if torch has none."""
    if isinstance(value, torch.Tensor):
        return value.dtype
    try:
        return torch.from_numpy(np.empty(0, value.dtype)).dtype
    except TypeError:
        return None


def as_arrays(values: Sequence[Any]) -> list[np.ndarray]:
    """View tensors and arrays in host memory as arrays. Raises TypeError for a tensor that NumPy cannot view."""
    if {*map(type, values)} == {torch.Tensor}:
        try:
            # Without checks of each value: with 64 tiny samples these took 50 us of 142.
            return list(map(torch.Tensor.numpy, values))
        except (RuntimeError, TypeError):  # a tensor that requires a gradient, is bfloat16, or is on another device
            pass
    return [_as_array(value) for value in values]


def _as_array(value: Any) -> np.ndarray:
    array = as_numpy(value.detach().as_subclass(torch.Tensor)) if isinstance(value, torch.Tensor) else value
    if array is None:
        raise TypeError("expected samples in the memory of the CPU; bfloat16 needs the package ml_dtypes")
    return array


def stack(arrays: Sequence[np.ndarray], plan: MixPlan, dtype: torch.dtype, **options: Any) -> torch.Tensor:
    """Stack samples into a new tensor of `dtype`, mixed by a plan; `options` are those of `mixup_rs.collate`.

    In a worker the tensor is in shared memory, as that of `default_collate`, so that it is sent without a copy.
    """
    if get_worker_info() is None and ("normalize" not in options or dtype == torch.float32):
        # In recycled memory: mapping the pages of a new tensor takes longer than mixing.
        return from_numpy(collate(arrays, plan, **options), dtype)
    out = _empty_batch((len(arrays), *arrays[0].shape), dtype)
    view = as_numpy(out)
    if view is None:
        raise TypeError("dtype=torch.bfloat16 needs the package ml_dtypes")
    collate(arrays, plan, out=view, **options)
    return out


def _empty_batch(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype, device="cpu")
    size = int(np.prod(shape)) * dtype.itemsize
    batch: Any = torch.empty(0, dtype=dtype, device="cpu")
    return batch.set_(new_shared_storage(max(size, 1)), 0, shape)
