"""The containers that batches and samples are: tuples, lists, mappings and dataclasses, in any nest."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

__all__ = ["children", "is_dataclass", "rebuilt"]


def children(value: Any) -> Sequence[Any] | None:
    """The entries of a container, in order; None for anything else.

    Parameters
    ----------
    value : Any
        A tuple, a list, a mapping or a dataclass; or what is none of them.

    Examples
    --------
    >>> children({"a": 1, "b": (2, 3)}), children("text")
    ([1, (2, 3)], None)
    """
    if isinstance(value, (tuple, list)):
        return value
    if isinstance(value, Mapping):
        return [value[key] for key in value]
    if is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return None


def rebuilt(container: Any, items: Sequence[Any]) -> Any:
    """A container of the same type with other entries, and with whatever else it has.

    Parameters
    ----------
    container : tuple, list, mapping or dataclass
        It is not written to.
    items : sequence
        An entry for each of `children`.

    Raises
    ------
    TypeError
        If it is a mapping that can neither be changed nor made from a dict.

    Examples
    --------
    >>> rebuilt({"a": 1, "b": (2, 3)}, [4, 5])
    {'a': 4, 'b': 5}
    """
    if isinstance(container, (tuple, list)):
        if hasattr(container, "_fields"):
            return type(container)(*items)
        try:
            return type(container)(items)
        except TypeError:  # torch.Size takes ints alone
            return tuple(items) if isinstance(container, tuple) else list(items)
    if isinstance(container, Mapping):
        entries = dict(zip(container, items, strict=True))
        return entries if type(container) is dict else _mapping(container, entries)
    copied = copy.copy(container)
    for field, item in zip(dataclasses.fields(container), items, strict=True):
        # As dataclasses' own __init__ does where they are frozen.
        object.__setattr__(copied, field.name, item)
    return copied


def is_dataclass(value: Any) -> bool:
    """Whether a value is an instance of a dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _mapping(container: Mapping[Any, Any], entries: dict[Any, Any]) -> Any:
    if isinstance(container, MutableMapping):
        # A subclass may be more than its items: transformers' outputs have them as attributes too.
        copied: Any = copy.copy(container)
        for key, item in entries.items():
            copied[key] = item
        return copied
    try:
        made: Any = type(container)(entries)  # type: ignore[call-arg]
        if {key: id(made[key]) for key in made} == {key: id(item) for key, item in entries.items()}:
            return made
    except (TypeError, ValueError, KeyError):
        pass
    raise TypeError(f"the batch or a sample is a {type(container).__name__}, which cannot be made from a dict")
