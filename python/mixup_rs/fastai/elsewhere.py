"""Where partners come from that are not of the batch itself: recent batches, or those of a second loader."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from fastai.torch_core import to_device

from mixup_rs.batches.nest import children
from mixup_rs.batches.roles import entries_of
from mixup_rs.torch.loading import mixing_collate
from mixup_rs.torch.nest import tree_leaves, tree_map

__all__ = ["Bank", "Elsewhere", "Loader", "elsewhere"]

#: Inputs and targets.
Batch = tuple[tuple[Any, ...], tuple[Any, ...]]


class Elsewhere(Protocol):
    """A source of partners."""

    def begin(self) -> None:
        """Begin an epoch."""

    def partners(self, batch: Batch, n_inp: int, draw: Callable[[int], int]) -> Batch | None:
        """The batch that partners of `batch` come from; None for itself. `draw` draws an int below another."""

    def remember(self, batch: Batch, copies: bool) -> None:
        """Take a batch before it is mixed, as a copy if that overwrites it."""

    def end(self) -> None:
        """Let go of all batches."""


def elsewhere(bank: int | None, other: Any) -> Elsewhere | None:
    """The source of partners that a callback is asked for."""
    if bank is not None and other is not None:
        raise ValueError(
            "partners come from recent batches or from another loader: give bank=... or other=..., not both"
        )
    if bank is not None:
        return Bank(bank)
    return None if other is None else Loader(other)


class Bank:
    """The last batches, as they were. A batch has its partners in one of those that have samples like its own."""

    def __init__(self, size: int):
        try:
            size = 0 if isinstance(size, bool) else operator.index(size)
        except TypeError:
            raise TypeError(f"bank must be a number of batches, got {type(size).__name__}") from None
        if size < 1:
            raise ValueError(f"bank must be a number of batches, at least 1, got {size}")
        self.batches: deque[Batch] = deque(maxlen=size)

    def begin(self) -> None:
        """Forget all, so that an epoch is the same whenever it runs."""
        self.batches.clear()

    def partners(self, batch: Batch, n_inp: int, draw: Callable[[int], int]) -> Batch | None:
        """One of the last batches; None where there is none with such samples, as in the first batch of an epoch."""
        samples = _samples(batch)
        alike = [one for one in self.batches if _samples(one) == samples]
        return alike[draw(len(alike))] if alike else None

    def remember(self, batch: Batch, copies: bool) -> None:
        """Keep a batch, and forget the oldest of too many. Targets are copied: a loss may write to them."""
        inputs, targets = batch
        inputs = tree_map(torch.clone, inputs) if copies else inputs
        self.batches.append((inputs, tree_map(torch.clone, targets)))

    def end(self) -> None:
        """Forget all."""
        self.batches.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Excludes the batches from pickles."""
        return {"batches": deque(maxlen=self.batches.maxlen)}


class Loader:
    """A second loader, which gives a batch for each batch. It begins again with each epoch, and when it ends."""

    def __init__(self, loader: Any):
        if not hasattr(loader, "__iter__") or isinstance(loader, Iterator):
            raise TypeError(
                f"other must be a loader that can be iterated again, such as a DataLoader, got {type(loader).__name__}"
            )
        if mixing_collate(loader) is not None:
            raise ValueError("the batches of other are mixed already, by its MixCollate")
        self.loader: Any = loader
        self._batches: Iterator[Any] | None = None

    def begin(self) -> None:
        """Begin the loader again."""
        self._batches = None

    def partners(self, batch: Batch, n_inp: int, draw: Callable[[int], int]) -> Batch | None:
        """The next batch, on the device of `batch`. Raises ValueError or TypeError if it has other samples."""
        given = self._next()
        if not isinstance(given, tuple | list):
            raise TypeError(f"a batch of other must be a tuple of inputs and targets, got {type(given).__name__}")
        found: Any = to_device(tuple(given), tree_leaves(batch)[0].device)
        partners = found[:n_inp], found[n_inp:]
        got, expected = _samples(partners), _samples(batch)
        if got != expected or any(len(one) != len(tree_leaves(partners)[0]) for one in tree_leaves(partners)):
            raise ValueError(f"other must have samples like those of the batch, {_text(expected)}, got {_text(got)}")
        return partners

    def remember(self, batch: Batch, copies: bool) -> None:
        """Keep nothing."""

    def end(self) -> None:
        """Let go of the workers."""
        self._batches = None

    def _next(self) -> Any:
        if self.loader is None:
            raise ValueError("the loader of other was not pickled with the callback: set it again")
        for again in (False, True):
            if self._batches is None or again:
                self._batches = iter(self.loader)
            for batch in self._batches:
                return batch
        raise ValueError("other has no batches")

    def __getstate__(self) -> dict[str, Any]:
        """Excludes the loader and its data from pickles."""
        return {"loader": None, "_batches": None}


def _samples(batch: Batch) -> tuple[list[Any], list[Any]]:
    """What samples are like: of each input and target the name, the shape and the dtype."""
    inputs, targets = batch
    return list(_leaves(inputs)), list(_leaves(targets))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any, torch.dtype]]:
    if isinstance(value, torch.Tensor):
        yield name, tuple(value.shape[1:]), value.dtype
    else:
        for key, item in zip(entries_of(value) or (), children(value) or (), strict=True):
            yield from _leaves(item, f"{name}[{key!r}]")


def _text(samples: tuple[list[Any], list[Any]]) -> str:
    sides = (", ".join(f"{name} {dtype} {shape}" for name, shape, dtype in side) or "nothing" for side in samples)
    return " and ".join(sides)
