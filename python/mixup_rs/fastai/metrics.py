"""Metrics of mixed batches."""

from __future__ import annotations

from typing import Any

import torch
from fastai.learner import AvgMetric
from fastai.torch_core import find_bs

from mixup_rs.fastai.mixing import Mixing

__all__ = ["MixedAccuracy"]


class MixedAccuracy(AvgMetric):
    """Accuracy of mixed batches: a hit on a sample's own class counts lam, a hit on its partner's class 1 - lam.

    It is for training metrics (`Recorder(train_metrics=True)`) of batches that are mixed by a callback of this package
    or by a `MixCollate`. With soft targets, a hit counts the target's weight of that class. For a batch that is not
    mixed it is the plain accuracy.

    Parameters
    ----------
    axis : int, default -1
        The axis of the classes in the predictions.

    Examples
    --------
    >>> MixedAccuracy().name
    'mixed_accuracy'
    """

    def __init__(self, axis: int = -1):
        super().__init__(self._hits)
        self.axis = axis

    def accumulate(self, learn: Any) -> None:
        """Add the learner's batch to the average."""
        n = find_bs(learn.yb)
        self.total += learn.to_detach(self._hits(learn)) * n
        self.count += n

    def _hits(self, learn: Any) -> torch.Tensor:
        pred, own = learn.pred.as_subclass(torch.Tensor), learn.yb[0].as_subclass(torch.Tensor)
        guess = pred.argmax(self.axis)
        if own.is_floating_point() and own.shape == pred.shape:  # soft targets, such as blended ones
            return own.gather(self.axis, guess.unsqueeze(self.axis)).mean()
        hits = (guess == own.reshape(guess.shape)).float()
        mixer = next((cb for cb in learn.cbs if isinstance(cb, Mixing) and cb.is_mixed and cb.stack_y), None)
        if learn.training and mixer is not None:
            partner = mixer.partners_of(learn.yb)[0].as_subclass(torch.Tensor)
            lam = mixer.loss_lam.view(-1, *[1] * (hits.ndim - 1))
            hits = lam * hits + (1 - lam) * (guess == partner.reshape(guess.shape)).float()
        return hits.mean()

    @property
    def name(self) -> str:
        """The name of the column in fastai's tables."""
        return "mixed_accuracy"
