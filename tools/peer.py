"""What a peer of the feature table is asked, and how its answers are told apart.

A method that a peer has no counterpart for raises `No`, which says why. What a peer itself refuses raises `Refused`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader


class No(Exception):
    """The peer has nothing for it: a ✗, with the reason."""


class Refused(No):
    """The peer was asked, and raised: a ✗, with its message."""


class Mixed(NamedTuple):
    """A mixed batch, and the weight of each class in its labels, (n, classes), made of pairs where there are pairs."""

    x: Any
    weights: Any
    is_pair: bool = False


@contextmanager
def asked() -> Iterator[None]:
    """Around the call of a peer, and nothing else: an error of the probe itself must not look like a refusal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise Refused(f"{type(error).__name__}: {lines[-1].strip()[:90]}") from error


def of_pairs(y: Any, partner: Any, lam: Any, classes: int) -> torch.Tensor:
    own, other = (torch.nn.functional.one_hot(torch.as_tensor(v).long(), classes).double() for v in (y, partner))
    lam = torch.as_tensor(lam).double().reshape(-1, 1)
    return lam * own + (1 - lam) * other


class Peer:
    """What every peer is asked. `y` are class indices of `classes` classes unless said otherwise."""

    name: str
    package: str
    #: Modules that hold what it offers.
    modules: tuple[str, ...] = ()

    def mixup(self, x: Any, y: Any, classes: int, alpha: float = 1.0) -> Mixed:
        raise NotImplementedError

    def cutmix(self, x: Any, y: Any, classes: int) -> Mixed:
        raise NotImplementedError

    def unmixed(self, x: Any, y: Any, classes: int) -> Mixed:
        """With many λ of exactly 1, as an alpha near 0 draws them."""
        return self.mixup(x, y, classes, alpha=1e-7)

    def mixup_there(self, x: Any, y: Any, classes: int) -> Any:
        """The images of a batch on another device."""
        return self.mixup(x, y, classes).x

    def mixup_bytes(self, x: Any, y: Any, classes: int) -> Mixed:
        return self.mixup(x, y, classes)

    def mixup_in_place(self, x: Any, y: Any, classes: int) -> Mixed:
        return self.mixup(x, y, classes)

    def mixup_many(self, x: Any, labels: Any, classes: int) -> Mixed:
        """Integer labels (n, classes) of 0 and 1."""
        return self.mixup(x, labels, classes)

    def either(self, x: Any, y: Any, classes: int) -> Mixed:
        """Mixup and CutMix in one batch."""
        raise No("one rule for a batch")

    def cut_masks(self, x: Any, masks: Any) -> tuple[Any, Any]:
        """Images and integer masks (n, h, w) after CutMix."""
        raise No("takes no masks")

    def boxes(self, x: Any, boxes: Any) -> Any:
        """The boxes of mixed samples, from boxes (n, 1, 4): a list with an array (k, 4) for each."""
        raise No("takes no boxes")

    def twice(self, x: Any, again: Any) -> tuple[Any, Any]:
        """Two arrays, by one draw."""
        raise No("a draw cannot be used again")

    def collate(self, classes: int) -> Callable[[Any], Any]:
        """A collate function that mixes."""
        raise No("mixes in the main process alone")

    def traced(self, classes: int) -> Callable[[Any, Any], Any]:
        """A function that gives the mixed images, to be compiled."""
        raise No("a callback, which runs outside of the model")

    def turned(self, x: Any) -> Any:
        """Images after a rotation."""
        raise No("none")

    def mosaic(self, x: Any) -> Any:
        """Images that four others are put together to."""
        raise No("none")


def batches(peer: Peer, data: Any, classes: int, workers: int, seed: int = 3) -> list[torch.Tensor]:
    """The images of a loader whose collate mixes, after everything that has a seed was given one."""
    collate = peer.collate(classes)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (which timm draws from)
    loader = DataLoader(
        data, 4, collate_fn=collate, num_workers=workers, multiprocessing_context="fork" if workers else None
    )
    with asked():
        return [batch[0] for batch in loader]
