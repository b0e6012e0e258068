"""The values of samples that a collate stacks, and their memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from mixup_rs._core import MixPlan, collate
from mixup_rs.batches.roles import Path, named
from mixup_rs.torch._compat import new_shared_storage
from mixup_rs.torch.apply import as_numpy, from_numpy

__all__ = ["as_arrays", "is_array", "refuse_unlike", "stack"]


def is_array(value: Any) -> bool:
    """Whether a value is a tensor or a NumPy array."""
    return isinstance(value, (torch.Tensor, np.ndarray))


def refuse_unlike(values: Sequence[Any], path: Path) -> None:
    """Refuse containers that lack an entry of the first, or are none.

    Raises
    ------
    TypeError
        If one is no container of that kind.
    ValueError
        If an entry is missing, or tuples have different lengths.
    """
    first, name = values[0], f"{named(path)} of " if path else ""
    kind = Mapping if isinstance(first, Mapping) else (tuple, list) if isinstance(first, tuple | list) else type(first)
    for i, one in enumerate(values):
        if not isinstance(one, kind):
            raise TypeError(
                f"{name}sample {i} is of {type(one).__name__}, expected {type(first).__name__}, as the first"
            )
        if isinstance(first, Mapping) and (missing := [key for key in first if key not in one]):
            raise ValueError(f"{name}sample {i} has no entry {missing[0]!r}, which the first has")
        if isinstance(first, tuple | list) and len(one) != len(first):
            raise ValueError(f"samples must have one length: {name}the first has {len(first)}, sample {i} {len(one)}")


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
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"expected an array or a tensor in each sample, got {type(value).__name__}")
    array = as_numpy(value.detach().as_subclass(torch.Tensor))
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
