"""A key of what a batch holds, for batches that nothing else numbers."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from mixup_rs.batches.arrays import Arrays, Elements
from mixup_rs.batches.roles import Path

__all__ = ["content_key"]

#: Inputs of at most so many bytes are read whole, with floats as float32.
_SMALL = 64 << 10
#: Of larger ones so many elements are read, at least as many of each sample, in runs of neighbours.
_SAMPLED, _LEAST, _RUN = 2048, 4, 8
#: Of at most so many integers the values are not looked at.
_FEW = 256
#: The types that integers are narrowed to, and what each holds.
_INTEGERS = [(name, int(np.iinfo(name).min), int(np.iinfo(name).max)) for name in ("<u1", "<i2", "<i4", "<i8")]


def content_key(inputs: Iterable[tuple[Path, Arrays, Any]], targets: Iterable[tuple[Path, Arrays, Any]]) -> int:
    """A number of 128 bits: of all elements of targets and of small inputs, and of some of each sample of large ones.

    It depends on values, neither on how they lie in memory nor on how wide their type is: JAX narrows 64 bits to 32.
    Floats therefore count as float32, and integers by their values.

    Parameters
    ----------
    inputs, targets : iterable of (path, Arrays, array)
        The entries of the batch.

    Examples
    --------
    >>> from mixup_rs.batches.arrays import NUMPY
    >>> x = np.arange(6.0).reshape(3, 2)
    >>> key = content_key([((0,), NUMPY, x)], [])
    >>> key == content_key([((0,), NUMPY, np.asfortranarray(x.astype(np.float32)))], [])
    True
    >>> key == content_key([((0,), NUMPY, x[::-1])], [])
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    for role, entries in (("input", inputs), ("target", targets)):
        # JAX sorts the names of dicts.
        for _, arrays, x in sorted(entries, key=lambda entry: repr(entry[0])):
            kind, shape = arrays.kind(x), tuple(x.shape)
            elements = _elements(shape, 4 if kind == "float" else 1) if role == "input" else None
            read = arrays.host(x) if elements is None else arrays.pick(x, elements)
            digest.update(f"{role} {kind} {shape}".encode())
            for values in _values(read, kind):
                digest.update(np.ascontiguousarray(values).data)
    return int.from_bytes(digest.digest(), "little")


@functools.lru_cache(maxsize=8)
def _elements(shape: tuple[int, ...], itemsize: int) -> Elements | None:
    """The elements that are read; None for all of them."""
    n, *rest = shape
    size = int(np.prod(rest))
    count = max(_SAMPLED // max(n, 1), _LEAST)
    if n * size * itemsize <= _SMALL or count >= size:
        return None
    run = min(_RUN, count - 2)
    runs = (count - 2) // run
    # The first element, the last one, and runs that lie elsewhere in each sample, by the golden ratio: what all images
    # have alike, such as a border, would hide the others.
    turn = np.arange(n)[:, None] * 40503 + np.arange(runs) * ((1 << 16) // runs)
    starts = (turn % (1 << 16)) * (size - run + 1) >> 16
    inner = (starts[..., None] + np.arange(run)).reshape(n, -1)
    of_sample = np.concatenate([np.zeros((n, 1), np.intp), inner, np.full((n, 1), size - 1)], axis=1)
    flat = (of_sample + np.arange(n)[:, None] * size).ravel()
    return Elements(flat, np.unravel_index(flat, shape))


def _values(x: np.ndarray, kind: str) -> list[np.ndarray]:
    """The elements in a type that depends on their values alone."""
    if kind == "integer":
        return [_narrowed(x)]
    if kind == "bool":
        return [x.view(np.uint8)]
    if x.dtype.itemsize < 8:
        return [x.astype("<f4", copy=False)]
    with np.errstate(all="ignore"):
        narrow = x.astype("<f4")
    # What float32 cannot hold at all would be the same in many batches.
    is_lost = ((narrow == 0) & (x != 0)) | (np.isinf(narrow) & np.isfinite(x))
    return [narrow, x[is_lost].astype("<f8")] if is_lost.any() else [narrow]


def _narrowed(x: np.ndarray) -> np.ndarray:
    """Integers in a type that depends on their number and values, in the byte order of every machine."""
    if x.size <= _FEW:
        return x.astype("<i8")
    if x.dtype == np.uint8:
        return x
    # Masks are narrowed, since all of them is hashed.
    least, largest = int(x.min()), int(x.max())
    name = next((name for name, low, high in _INTEGERS if low <= least and largest <= high), "<u8")
    return x.astype(name)
