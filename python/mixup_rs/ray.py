"""A `MixCollate` for Ray Data's `iter_torch_batches`. For `map_batches`, `mixup_rs.Mixer` is enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mixup_rs._core import MixPlan

try:
    from ray.data.collate_fn import NumpyBatchCollateFn

    from mixup_rs import torch as _torch
except ModuleNotFoundError as error:
    text = "mixup_rs.ray needs torch and Ray Data: pip install 'mixup-rs[ray]'"
    raise ModuleNotFoundError(text, name=error.name) from error

from mixup_rs.batches.arrays import NUMPY, Arrays
from mixup_rs.batches.content import content_key
from mixup_rs.batches.roles import Path
from mixup_rs.rule import draw_by
from mixup_rs.torch.stacking import Stacking

__all__ = ["MixCollate"]


class MixCollate(_torch.MixCollate, NumpyBatchCollateFn):
    """Mixes and normalises the batches of `ray.data.DataIterator.iter_torch_batches`, in one pass into new tensors.

    Ray numbers no batches, and the order in which they come may differ from run to run. So a batch is drawn from the
    key (seed, epoch, hash of what the batch holds), as by `mixup_rs.Mixer`: batches of the same rows are mixed alike,
    whichever task or worker makes them. Which rows a batch holds follows from Ray's blocks.

    Parameters
    ----------
    *args, **kwargs
        As of `mixup_rs.torch.MixCollate`. The entries of a batch have names; `rng` is needed for mixes that repeat.

    Raises
    ------
    ValueError, TypeError
        As `mixup_rs.torch.MixCollate`; when called: if the columns differ in their lengths.

    See Also
    --------
    mixup_rs.Mixer : Mixes the batches of `map_batches`.

    Examples
    --------
    >>> from mixup_rs import Mixup
    >>> collate = MixCollate(Mixup(0.4), num_classes=3, normalize=(0.5, 0.25), rng=42)
    >>> batch = {"image": np.zeros((4, 3, 2, 2), np.uint8), "label": np.array([0, 1, 2, 0])}
    >>> mixed = collate(batch)
    >>> mixed["image"].shape, mixed["label"].shape
    (torch.Size([4, 3, 2, 2]), torch.Size([4, 3]))
    """

    def __call__(self, batch: Mapping[str, np.ndarray]) -> Any:
        """Mix a batch: a dict of arrays whose axis 0 is the batch."""
        if not isinstance(batch, Mapping) or not batch:
            raise TypeError(f"expected a dict of arrays, got {type(batch).__name__}; mixup_rs.torch stacks samples")
        lengths = {name: len(column) for name, column in batch.items()}
        if len({*lengths.values()}) > 1:
            raise ValueError(f"columns must have one length, got {lengths}")
        names = list(batch)
        # Rows are views: the block of Ray's object store is read where it is.
        rows = [dict(zip(names, row, strict=True)) for row in zip(*batch.values(), strict=True)]
        if not rows:
            raise ValueError("expected at least one row, got none")
        return Stacking(_Keyed(self, batch), rows).stacked()


class _Keyed:
    """The options of a collate, with a key of what a batch holds."""

    def __init__(self, how: MixCollate, batch: Mapping[str, np.ndarray]):
        self._how, self._batch = how, batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._how, name)

    def _draw(self, n: int, shape: tuple[int, ...] | None, labels: Any = None) -> tuple[MixPlan, bool]:
        how = self._how
        if not how.mixes():
            return MixPlan.identity(n), True
        roles: Any = how._roles.of({name: column[0] for name, column in self._batch.items()})
        sides: dict[Any, list[Any]] = {"input": [], "target": []}
        for name, column in self._batch.items():
            if role := roles.get((name,)):
                sides["input" if role == "input" else "target"] += _arrays(column, (name,))
        key = (*how._seed(), int(how.epoch), content_key(sides["input"], sides["target"]))
        return draw_by(how.rule, n, shape, labels, key, None if how.other is None else len(how.other)), True


def _arrays(value: Any, path: Path) -> list[tuple[Path, Arrays, np.ndarray]]:
    """The numbers of a column, for a key: one array, or, where the shapes of rows differ, those of each row."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [found for i, item in enumerate(value) for found in _arrays(item, (*path, i))]
    array = np.atleast_1d(value)
    return [(path, NUMPY, array)] if NUMPY.kind(array) in ("float", "integer", "bool") else []
