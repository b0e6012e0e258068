"""The limits of the machine: scaling the batch in place and copying it into warm memory, each by several libraries.

Mixing cannot be faster than a pass that reads and writes each element once. The fastest library for that differs with
the number of threads, so the limit is the least time of all libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from mixup_rs.bench.cases import Batch
from mixup_rs.bench.contender import INPLACE, NEW, Contender

__all__ = ["LIMITS"]


def limits_numpy(batch: Batch) -> Iterator[Contender]:
    """NumPy's passes."""
    values, warm = batch.words, batch.warm.reshape(-1).view(batch.words.dtype)
    # An operand of 1 or 0, so that values never decay to denormals; no library checks the operand.
    one_pass, operand = (np.multiply, 1) if values.dtype.kind == "f" else (np.bitwise_xor, 0)
    operand = values.dtype.type(operand)
    yield Contender("scale (numpy)", lambda: one_pass(values, operand, out=values), "limit", INPLACE)
    yield Contender("copy (numpy)", lambda: np.copyto(warm, values), "limit", NEW)


def limits_torch(batch: Batch) -> Iterator[Contender]:
    """torch's passes."""
    import torch

    values = torch.from_numpy(batch.words)
    warm = torch.from_numpy(batch.warm.reshape(-1).view(batch.words.dtype))
    if values.is_floating_point():
        yield Contender("scale (torch)", lambda: values.mul_(1.0), "limit", INPLACE)
    else:
        yield Contender("scale (torch)", lambda: values.bitwise_xor_(0), "limit", INPLACE)
    yield Contender("copy (torch)", lambda: warm.copy_(values), "limit", NEW)


def limits_numba(batch: Batch) -> Iterator[Contender]:
    """numba's passes."""
    scale, flip, copy = _passes()
    values = batch.words
    one_pass, operand = (scale, 1) if values.dtype.kind == "f" else (flip, 0)
    operand = values.dtype.type(operand)
    yield Contender("scale (numba)", lambda: one_pass(values, operand), "limit", INPLACE)
    words, warm = batch.flat.view(np.int64), batch.warm.reshape(-1).view(np.int64)
    yield Contender("copy (numba)", lambda: copy(words, warm), "limit", NEW)


@cache
def _passes() -> tuple[Callable[..., None], ...]:
    import numba

    @numba.njit(parallel=True)
    def scale(values: Any, factor: Any) -> None:
        for i in numba.prange(values.size):
            values[i] *= factor

    @numba.njit(parallel=True)
    def flip(values: Any, bits: Any) -> None:
        for i in numba.prange(values.size):
            values[i] ^= bits

    @numba.njit(parallel=True)
    def copy(values: Any, out: Any) -> None:
        for i in numba.prange(values.size):
            out[i] = values[i]

    return scale, flip, copy


LIMITS = [limits_numpy, limits_torch, limits_numba]
