"""The values of samples that a collate stacks: their kinds, their memory, their axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from mixup_rs._core import MixPlan
from mixup_rs.torch._compat import new_shared_storage
from mixup_rs.torch.apply import as_numpy

__all__ = [
    "as_arrays",
    "empty_batch",
    "float_dtype",
    "is_array",
    "is_bool",
    "is_channels_last",
    "is_float",
    "spatial_axes",
]


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
    array = as_numpy(value.detach()) if isinstance(value, torch.Tensor) else value
    if array is None:
        raise TypeError("expected samples in the memory of the CPU; bfloat16 needs the package ml_dtypes")
    return array


def empty_batch(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Allocate a batch; in a worker in shared memory, as `default_collate` does, so that it is sent without a copy."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype, device="cpu")
    size = int(np.prod(shape)) * dtype.itemsize
    return torch.empty(0, dtype=dtype, device="cpu").set_(new_shared_storage(max(size, 1)), 0, shape)


def spatial_axes(shape: tuple[int, ...], plan: MixPlan) -> tuple[int, int] | None:
    """The axes of height and width of a batch whose samples have this shape; None if the plan's boxes do not fit."""
    if plan.boxes is None or len(shape) < 2:
        return None
    if shape[-2:] == plan.spatial_shape:
        return (-2, -1)
    return (1, 2) if shape[:2] == plan.spatial_shape else None


def is_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the shape of a sample is (height, width, channels)."""
    return len(shape) == 3 and shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4)


def is_array(value: Any) -> bool:
    """Whether a value is a tensor or a NumPy array."""
    return isinstance(value, torch.Tensor | np.ndarray)


def is_float(value: Any) -> bool:
    """Whether a tensor or an array is of floats."""
    return value.is_floating_point() if isinstance(value, torch.Tensor) else value.dtype.kind == "f"


def is_bool(value: Any) -> bool:
    """Whether a tensor or an array is of booleans."""
    return value.dtype in (torch.bool, np.dtype(bool))


def float_dtype(value: Any) -> torch.dtype:
    """The dtype of a batch of such floats, as `default_collate` chooses it."""
    if isinstance(value, torch.Tensor):
        return value.dtype
    return torch.float64 if isinstance(value, float | np.float64) else torch.float32
