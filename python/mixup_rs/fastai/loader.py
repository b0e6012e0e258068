"""When the `MixCollate` of a learner's training loader mixes: in the batches that training asks for, and no others."""

from __future__ import annotations

from typing import Any

from mixup_rs.fastai._compat import OfFit, Running
from mixup_rs.torch.collate import MixCollate
from mixup_rs.torch.loading import mixing_collate, pause, resume

__all__ = ["TrainingLoader", "collate_of"]


def collate_of(learn: Any) -> MixCollate | None:
    """The MixCollate of a learner's training loader, or None."""
    return mixing_collate(getattr(getattr(learn, "dls", None), "train", None))


def _refuse_without_callback(learn: Any) -> None:
    """Refuse to train with batches that are left as they are because of the callback of another learner."""
    if not any(isinstance(vars(cb).get("_loader"), TrainingLoader) for cb in learn.cbs):
        raise ValueError(
            "the MixCollate of this DataLoader would not mix: it waits for the callback of another learner. Give this "
            "learner one as well, RustMixUp() or MixCollateEpoch(), or take that one away: learn.remove_cb(...)"
        )


class TrainingLoader:
    """The loader that a learner trains with, if a `MixCollate` makes its batches."""

    def __init__(self) -> None:
        self.collate: MixCollate | None = None
        self._is_training = False

    def move(self, left: MixCollate | None, joined: MixCollate | None) -> None:
        """Pause the loader of a learner that the callback is added to. Those that it leaves mix again."""
        for one in {left, self.collate} - {joined}:
            resume(one, 0, 0)
        self.collate = joined
        pause(joined)
        if joined is not None:
            joined._is_of_fit = OfFit(_refuse_without_callback)

    def begin(self, learn: Any, collate: MixCollate | None, epoch: int, offset: int) -> None:
        """Mix in an epoch of training, after `offset` epochs of earlier fits."""
        if collate is not self.collate:  # the learner has other data by now
            self.move(None, collate)
        self._is_training = True
        resume(collate, epoch, offset)
        if collate is not None:
            collate._mixes_while = running = Running(learn._do_epoch_train)
            collate._is_of_fit = OfFit(_refuse_without_callback, running)

    def end(self) -> None:
        """Leave batches as they are until the next epoch."""
        self._is_training = False
        pause(self.collate)

    def before_validate(self, collate: MixCollate | None) -> None:
        """Leave batches as they are, the training set's as well.

        Within an epoch of training its workers go on meanwhile: those that are started now take what is said here.
        """
        if self._is_training and collate is not None and collate is self.collate:
            collate._is_paused_here = True
        else:
            pause(collate)

    def after_validate(self) -> None:
        """Go on with an epoch of training, if it was in one."""
        if self.collate is not None:
            self.collate._is_paused_here = False

    def __getstate__(self) -> dict[str, Any]:
        """Excludes the collate and its data from pickles."""
        return {"collate": None, "_is_training": False}
