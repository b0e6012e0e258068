"""Tensors in nests of tuples, lists, dicts and dataclasses, as models take them and data sets return them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["tree_leaves", "tree_map"]


def tree_leaves(value: Any) -> list[torch.Tensor]:
    """The tensors of a nest, in order.

    Parameters
    ----------
    value : Any
        A tensor, or a nest of tuples, lists, dicts and dataclasses.

    Examples
    --------
    >>> [len(leaf) for leaf in tree_leaves((torch.zeros(2), {"a": [torch.zeros(3)]}, "text"))]
    [2, 3]
    """
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    elif not isinstance(value, (tuple, list)):
        if not _is_dataclass(value):
            return []
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    leaves: list[torch.Tensor] = []
    for item in value:
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
        A tensor, or a nest of tuples, lists, dicts and dataclasses. Other values are returned as they are.

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
    if isinstance(value, dict):
        items = {key: tree_map(function, item) for key, item in value.items()}
        if type(value) is dict:
            return items
        # A subclass may be more than its items: transformers' outputs have them as attributes too.
        copied = copy.copy(value)
        for key, item in items.items():
            copied[key] = item
        return copied
    if isinstance(value, (tuple, list)):
        items = [function(item) if isinstance(item, torch.Tensor) else tree_map(function, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if _is_dataclass(value):
        copied = copy.copy(value)
        for field in dataclasses.fields(value):
            # As dataclasses' own __init__ does where they are frozen.
            object.__setattr__(copied, field.name, tree_map(function, getattr(value, field.name)))
        return copied
    return value


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
