"""The type of a contender, and the names of contenders that several modules use."""

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
    "UNMIXED_FLOATS",
    "WARM",
    "Contender",
    "drop_in",
]

#: Calls of mixup-rs: in place; into an array of the caller's; a new result in a loop; the first result of a process.
INPLACE, WARM, NEW, COLD = "in place", "warm out", "new result", "new result, cold"
#: The fastai callback.
RUST_MIXUP = "RustMixUp"

#: In the DataLoader: bytes that are stacked and mixed; the same, normalised to float32.
MIX_COLLATE, NORMALISED = "MixCollate", "MixCollate, normalised"

#: Peers and limits that several modules use.
NUMPY, FASTAI, TIMM_COLLATE = "NumPy one-liner", "fastai MixUp", "timm FastCollateMixup"
TORCH_RECIPE, UNMIXED, UNMIXED_FLOATS = "torch recipe", "default_collate, unmixed", "default_collate, unmixed float32"


def drop_in(peer: str) -> str:
    """The name of the subclass of a peer's class that mixes by a plan."""
    return f"mixup_rs.{peer}"


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Contender:
    """A function to time.

    Parameters
    ----------
    name : str
        The name in tables.
    run : callable
        The timed function.
    kind : {"ours", "peer", "limit"}
        What it belongs to.
    rival : str
        The contender of mixup-rs that does the same job.
    prepare : callable
        Called without timing before each timed group, and once after it.
    single : bool
        Whether a group is one call, because `run` uses up what `prepare` made.
    repeats : int
        The number of times that one call of `run` does the job.
    """

    name: str
    run: Callable[[], Any]
    kind: str = "peer"
    rival: str = ""
    prepare: Callable[[], Any] = _nothing
    single: bool = False
    repeats: int = 1
