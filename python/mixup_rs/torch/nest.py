"""Tensors in nests of tuples, lists, mappings and dataclasses, as models take them and data sets return them."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import torch

from mixup_rs.batches.nest import children, rebuilt

__all__ = ["is_flat", "refill", "tree_leaves", "tree_map"]


def is_flat(value: Any) -> bool:
    """Whether a value is a plain tuple of tensors, as most batches are: these need no walk."""
    if type(value) is not tuple:
        return False
    for item in value:
        if not isinstance(item, torch.Tensor):
            return False
    return True


def tree_leaves(value: Any) -> list[torch.Tensor]:
    """The tensors of a nest, in order.

    Parameters
    ----------
    value : Any
        A tensor, or a nest of tuples, lists, mappings and dataclasses.

    Examples
    --------
    >>> [len(leaf) for leaf in tree_leaves((torch.zeros(2), {"a": [torch.zeros(3)]}, "text"))]
    [2, 3]
    """
    if isinstance(value, torch.Tensor):
        return [value]
    if is_flat(value):
        return list(value)
    leaves: list[torch.Tensor] = []
    for item in children(value) or ():
        if isinstance(item, torch.Tensor):
            leaves.append(item)
        else:
            leaves.extend(tree_leaves(item))
    return leaves


def tree_map(function: Callable[[torch.Tensor], Any], value: Any) -> Any:
    """Replace each tensor of a nest by `function` of it.

    Parameters
    ----------
    function : callable
        Called with each tensor.
    value : Any
        A tensor, or a nest of tuples, lists, mappings and dataclasses. Other values are returned as they are.

    Returns
    -------
    Any
        A nest of the same structure and the same types.

    Examples
    --------
    >>> tree_map(len, (torch.zeros(2), {"a": [torch.zeros(3)]}, "text"))
    (2, {'a': [3]}, 'text')
    """
    if isinstance(value, torch.Tensor):
        return function(value)
    items = children(value)
    if items is None:
        return value
    return rebuilt(value, [function(i) if isinstance(i, torch.Tensor) else tree_map(function, i) for i in items])


def refill(container: list[Any] | MutableMapping[Any, Any], other: Any) -> None:
    """Put the entries of another container of the same kind into a list or a mapping.

    Examples
    --------
    >>> batch = [1, 2]
    >>> refill(batch, [3, 4])
    >>> batch
    [3, 4]
    """
    if isinstance(container, list):
        container[:] = other
    else:
        container.update(other)
