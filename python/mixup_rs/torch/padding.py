"""Samples of different lengths, padded to the longest of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mixup_rs.batches.heads import are_numbers
from mixup_rs.batches.nest import children, rebuilt
from mixup_rs.batches.roles import Path, Role, entries_of, named
from mixup_rs.torch.samples import refuse_unlike

__all__ = ["padded"]


def padded(samples: Sequence[Any], roles: Mapping[Path, Role], value: float) -> list[Any]:
    """Pad the inputs of samples, and the masks that say where these have data.

    Parameters
    ----------
    samples : sequence
        Tensors or arrays, or the same containers of them.
    roles : mapping
        The roles of entries. Inputs are padded with `value`, attention masks with 0, padding masks with 1; lists of
        numbers become tensors. Lengths and targets are left as they are.
    value : float
        What inputs are padded with. Integers round it.

    Returns
    -------
    list
        New samples. What is as long as the longest is not copied.

    Raises
    ------
    ValueError
        If entries have different numbers of axes, or samples other entries than the first.

    Examples
    --------
    >>> short, long = padded([(torch.ones(2), 0), (torch.ones(3), 1)], {(0,): "input", (1,): "target"}, 0.0)
    >>> short[0], long[0]
    (tensor([1., 1., 0.]), tensor([1., 1., 1.]))
    """
    return _padded(list(samples), (), None, roles, value)


def _padded(values: list[Any], path: Path, role: Role | None, roles: Mapping[Path, Role], value: float) -> list[Any]:
    first = values[0]
    if path in roles:
        role = roles[path]
    if role == "target":
        return values
    if role is not None and isinstance(first, list) and (are_numbers(first) or (first and are_numbers(first[0]))):
        values = [_as_tensor(one, named(path)) for one in values]
        first = values[0]
    if isinstance(first, torch.Tensor | np.ndarray):
        fill = value if role == "input" else 1 if role == "absent" else 0
        return values if role is None else _to_longest(values, fill, named(path))
    if children(first) is None:
        return values
    keys = entries_of(first) or ()
    refuse_unlike(values, path)
    columns = [
        _padded([_item(one, place, key) for one in values], (*path, key), role, roles, value)
        for place, key in enumerate(keys)
    ]
    # Like the first: another sample may have its entries in another order.
    return [rebuilt(first, items) for items in zip(*columns, strict=True)] if columns else values


def _item(container: Any, place: int, key: Any) -> Any:
    return container[key] if isinstance(container, Mapping) else (children(container) or ())[place]


def _to_longest(values: list[Any], fill: float, name: str) -> list[Any]:
    shapes = [tuple(value.shape) for value in values]
    if len({*map(len, shapes)}) > 1:
        raise ValueError(f"{name} must have one number of axes, got shapes {sorted({*shapes})[:2]}")
    longest = tuple(np.max(shapes, axis=0).tolist()) if shapes[0] else ()
    return [value if value.shape == longest else _extended(value, longest, fill) for value in values]


def _as_tensor(numbers: Any, name: str) -> torch.Tensor:
    """A list of numbers, or of lists of them, as a tensor."""
    try:
        return torch.as_tensor(numbers, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise type(error)(f"{name}: {error}") from error


def _extended(value: Any, shape: tuple[int, ...], fill: float) -> Any:
    part = tuple(map(slice, value.shape))
    if isinstance(value, torch.Tensor):
        longer = value.new_full(shape, fill)
    else:
        longer = np.full(shape, fill, value.dtype)
    longer[part] = value
    return longer
