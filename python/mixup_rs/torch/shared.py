"""Settings and counters of a `MixCollate` in shared memory, so that they reach DataLoader workers that live on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, overload

import torch
from torch.utils.data import get_worker_info

__all__ = ["NEVER", "Setting", "Settings", "SharedSettings"]

_MAX_WORKERS = 1024

#: The `off_epoch` of a collate that mixes in every epoch.
NEVER = float("inf")


class Settings(NamedTuple):
    """The settings that may change while training, in their order in shared memory, each a float64."""

    enabled: float
    alpha: float
    cutmix_alpha: float
    prob: float
    switch_prob: float
    epoch: float
    off_epoch: float


class SharedSettings:
    """The base of `MixCollate`: its settings and a step counter per worker, in shared memory.

    Forked and spawned workers share the memory. A copy made by pickle, such as that of a saved learner,
    gets shared memory of its own.
    """

    def __init__(self) -> None:
        # In host memory, whatever torch's default device is.
        self._shared = torch.zeros(len(Settings._fields), dtype=torch.float64, device="cpu").share_memory_()
        self._steps, self._epochs = (
            torch.zeros(_MAX_WORKERS + 1, dtype=torch.int64, device="cpu").share_memory_() for _ in range(2)
        )

    def _now(self) -> Settings:
        """The current settings, read once, so that a batch sees one state of them."""
        return Settings(*self._shared.numpy().tolist())

    def _set(self, name: str, value: float) -> None:
        self._shared[Settings._fields.index(name)] = value

    def _next_step(self, epoch: int) -> tuple[int, int]:
        """Count a batch. Returns the worker's slot (0: the main process) and the number of the batch in its epoch."""
        worker = get_worker_info()
        slot = 0 if worker is None else worker.id + 1
        if slot > _MAX_WORKERS:
            raise ValueError(f"expected at most {_MAX_WORKERS} workers, got number {slot - 1}")
        # Through NumPy: reading an element of a tensor takes ten times as long.
        epochs, steps = self._epochs.numpy(), self._steps.numpy()
        if epochs[slot] != epoch:
            epochs[slot], steps[slot] = epoch, 0
        step = int(steps[slot])
        steps[slot] += 1
        return slot, step

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in ("_shared", "_steps", "_epochs"):
            if not state[name].is_shared():
                self.__dict__[name] = state[name].share_memory_()


class Setting:
    """A setting of a collate: read from shared memory, and checked when it is set.

    Parameters
    ----------
    expected : str
        The values that are valid, in words, for the error.
    is_valid : callable
        Whether a value is one of them.
    """

    def __init__(self, expected: str, is_valid: Callable[[float], bool]):
        self._expected, self._is_valid = expected, is_valid

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, collate: None, owner: type) -> Setting: ...
    @overload
    def __get__(self, collate: SharedSettings, owner: type) -> float: ...
    def __get__(self, collate: SharedSettings | None, owner: type) -> Setting | float:
        return self if collate is None else getattr(collate._now(), self._name)

    def __set__(self, collate: SharedSettings, value: float) -> None:
        if not self._is_valid(value):
            raise ValueError(f"{self._name} must be {self._expected}, got {value}")
        collate._set(self._name, value)
