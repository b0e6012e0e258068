"""The inputs or targets of a batch that a callback was asked to mix, by their positions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["chosen", "positions", "put_back"]


def positions(at: Any) -> tuple[int, ...] | None:
    """Positions as a tuple; None for all.

    Examples
    --------
    >>> positions(1), positions([0, -1]), positions(None)
    ((1,), (0, -1), None)
    """
    return None if at is None else (at,) if isinstance(at, int) else tuple(at)


def chosen(name: str, at: tuple[int, ...] | None, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Those at the positions, all for None. Raises ValueError if there is no such position; `name` is the option's."""
    if at is None:
        return values
    if any(not -len(values) <= one < len(values) for one in at):
        raise ValueError(f"{name}={list(at)} names {name} of a batch that has {len(values)}")
    return tuple(values[one] for one in sorted({one % len(values) for one in at}))


def put_back(at: tuple[int, ...] | None, values: tuple[Any, ...], new: Iterable[Any]) -> tuple[Any, ...]:
    """All, with new ones at the positions.

    Examples
    --------
    >>> put_back((-1, 0), (1, 2, 3), "ab")
    ('a', 2, 'b')
    """
    if at is None:
        return tuple(new)
    rest, places = iter(new), {one % len(values) for one in at}
    return tuple(next(rest) if place in places else value for place, value in enumerate(values))
