"""What every contender is, and the names of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "COLD",
    "FASTAI",
    "INPLACE",
    "MIX_COLLATE",
    "NEW",
    "NORMALISED",
    "NUMPY",
    "RUST_MIXUP",
    "TIMM_COLLATE",
    "TORCH_RECIPE",
    "UNMIXED",
    "Contender",
]

#: Our calls: the batch overwritten; a new result in a steady loop; the first one a process makes; the callback.
INPLACE, NEW, COLD, RUST_MIXUP = "in place", "new result", "new result, cold", "RustMixUp"

#: The same of the DataLoader: bytes stacked and mixed; and normalised, to float32.
MIX_COLLATE, NORMALISED = "MixCollate", "MixCollate, normalised"

#: Peers and limits that more than one module asks for.
NUMPY, FASTAI, TIMM_COLLATE = "NumPy one-liner", "fastai MixUp", "timm FastCollateMixup"
TORCH_RECIPE, UNMIXED = "torch recipe", "default_collate, unmixed"


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Contender:
    """Something to time.

    run: timed. prepare: called before each timed group, and once after, untimed.
    kind: "ours", "peer" or "limit". rival: the name of our contender that does the same job.
    single: only ever one call between two `prepare`, because `run` spends what `prepare` made.
    repeats: how often `run` does what the time is given for.
    """

    name: str
    run: Callable[[], Any]
    kind: str = "peer"
    rival: str = ""
    prepare: Callable[[], Any] = _nothing
    single: bool = False
    repeats: int = 1
