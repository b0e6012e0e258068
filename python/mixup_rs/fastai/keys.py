"""What a callback draws from: torch's generator, a Generator, or a key for each batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mixup_rs.rules import Mixup

__all__ = ["BANK", "LAYER", "TURN", "Keys"]

#: What else is drawn for a batch beside its plan: each has a key of its own.
TURN, LAYER, BANK = 1, 2, 3


class Keys:
    """The part of a callback that draws."""

    learn: Any
    rng: Any
    _epoch: int
    _rank: int
    _int64: torch.Tensor

    @staticmethod
    def _check_rng(rng: Any) -> None:
        """Refuse what nothing can be drawn from."""
        if not (rng is None or isinstance(rng, str | np.random.Generator)):  # a Generator would move on
            Mixup().plan(0, rng=rng)

    def _key(self) -> Any:
        """The key or Generator from which this batch is drawn."""
        rng = self.rng
        if rng is None:
            return (self._random_int(), self._rank)
        if isinstance(rng, np.random.Generator):
            return rng
        seed = (rng,) if isinstance(rng, int) or np.ndim(rng) == 0 else tuple(rng)
        return (*seed, self._epoch, getattr(self.learn, "iter", 0), self._rank)

    def _draw_below(self, count: int, purpose: int) -> int:
        """An int in [0, count), drawn from what the plan of this batch is drawn from, for another purpose."""
        if self.rng is None or isinstance(self.rng, str):
            return self._random_int() % count
        key = self._key()
        if isinstance(key, np.random.Generator):
            return int(key.integers(count))
        return int(Mixup().plan(count, rng=(*key, purpose)).partner[0])  # of a permutation any is first equally often

    def _random_int(self) -> int:
        """An int drawn from torch's generator of the host."""
        return int(self._int64.random_().item())
