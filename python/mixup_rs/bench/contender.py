"""What every contender is, and the names of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["COLD", "FASTAI", "INPLACE", "NEW", "NUMPY", "RUST_MIXUP", "Contender"]

#: Our calls: the batch overwritten; a new result in a steady loop; the first one a process makes; the callback.
INPLACE, NEW, COLD, RUST_MIXUP = "in place", "new result", "new result, cold", "RustMixUp"

#: Peers that more than one module asks for.
NUMPY, FASTAI = "NumPy one-liner", "fastai MixUp"


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Contender:
    """Something to time.

    run: timed. prepare: called before each timed group, and once after, untimed.
    kind: "ours", "peer" or "limit". rival: the name of our contender that does the same job.
    single: only ever one call between two `prepare`, because `run` spends what `prepare` made.
    """

    name: str
    run: Callable[[], Any]
    kind: str = "peer"
    rival: str = ""
    prepare: Callable[[], Any] = _nothing
    single: bool = False
