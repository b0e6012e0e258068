"""The `MixCollate` of a DataLoader that a framework trains with: when it mixes, and which epoch it is told."""

from __future__ import annotations

from typing import Any

from mixup_rs.torch.collate import MixCollate

__all__ = ["Collates", "Epochs", "mixing_collate", "pause", "resume"]


def mixing_collate(loader: Any) -> MixCollate | None:
    """The MixCollate that a DataLoader of fastai or torch makes its batches with, or None."""
    collates = (getattr(loader, name, None) for name in ("create_batch", "collate_fn"))
    return next((collate for collate in collates if isinstance(collate, MixCollate)), None)


def pause(collate: MixCollate | None) -> None:
    """Leave batches as they are, outside of training."""
    if collate is not None:
        collate._set_everywhere("paused", 1)


def resume(collate: MixCollate | None, epoch: int, offset: int, first_batch: int = 0) -> None:
    """Begin an epoch of training.

    Parameters
    ----------
    collate : MixCollate or None
        The collate of the training loader.
    epoch : int
        The epoch of the fit.
    offset : int
        The epochs of earlier fits.
    first_batch : int, default 0
        The number of the first batch.
    """
    if collate is not None:
        collate._mixes_while, collate._is_of_fit, collate._is_paused_here = True, True, False
        collate._set_everywhere("paused", 0)
        collate._begin(epoch, offset)
        collate.start_at(first_batch)


class Epochs:
    """Counts the epochs of all fits of a learner, so that consecutive fits have other keys.

    A fit that starts at a later epoch continues the one before: it has the epochs that that would have had.

    Examples
    --------
    >>> epochs, numbers = Epochs(), []
    >>> for fit in [(0, 1), (0,), (1,)]:
    ...     epochs.begin_fit()
    ...     numbers += map(epochs.begin, fit)
    >>> numbers
    [0, 1, 2, 3]
    """

    def __init__(self) -> None:
        self.offset, self._last, self._is_first = 0, -1, True

    def load(self, offset: int) -> None:
        """Continue a fit of another process, which was after so many epochs of earlier fits."""
        self.offset, self._last = offset, offset - 1

    def begin_fit(self) -> None:
        """Begin a fit: its first epoch tells whether it continues the one before."""
        self._is_first = True

    def begin(self, epoch: int) -> int:
        """Begin an epoch of the fit, or go on with it. Returns its number among those of all fits."""
        if self._is_first and epoch == 0:
            self.offset = self._last + 1
        self._last, self._is_first = self.offset + epoch, False
        return self._last


class Collates:
    """The collates of all loaders of a trainer: those for training are told the epochs, others do not mix meanwhile.

    Examples
    --------
    >>> from mixup_rs import Mixup
    >>> train, valid, collates = MixCollate(Mixup()), MixCollate(Mixup()), Collates()
    >>> collates.add(train, trains=True)
    >>> collates.add(valid, trains=False)
    >>> collates.begin(3, offset=0)
    >>> train.epoch, valid.mixes()
    (3, False)
    >>> collates.release()
    >>> valid.mixes()
    True
    """

    def __init__(self) -> None:
        self._training: list[MixCollate] = []
        self._evaluating: list[MixCollate] = []
        #: The number of the epoch that a collate was told. To tell it twice would count its batches anew.
        self._told: dict[MixCollate, int] = {}

    def add(self, collate: MixCollate, trains: bool) -> None:
        """Add the collate of a loader. Raises ValueError if it is that of a loader of the other kind as well."""
        known, others = (self._training, self._evaluating) if trains else (self._evaluating, self._training)
        if collate in others:
            raise ValueError(
                "one MixCollate makes the batches of a loader for training and of one for evaluation, which is not "
                "mixed: give each a collate of its own"
            )
        if collate not in known:
            known.append(collate)
        if not trains:
            pause(collate)

    def begin(self, epoch: int, offset: int, first_batch: int = 0) -> None:
        """Begin an epoch of training, perhaps within it, after `offset` epochs of earlier fits."""
        for collate in self._training:
            if self._told.get(collate) != epoch + offset:
                resume(collate, epoch, offset, first_batch)
                self._told[collate] = epoch + offset

    def release(self) -> None:
        """Leave the collates as they were."""
        for collate in self._evaluating:
            collate._set_everywhere("paused", 0)
        self._training, self._evaluating, self._told = [], [], {}
