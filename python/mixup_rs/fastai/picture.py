"""A picture of a training batch as a callback would mix it."""

from __future__ import annotations

from typing import Any

import torch

from mixup_rs import plot
from mixup_rs.batches.targets import labels_among
from mixup_rs.fastai.elsewhere import Loader
from mixup_rs.rule import draw_by
from mixup_rs.torch.apply import mix_tensor
from mixup_rs.torch.batch import spatial_shape
from mixup_rs.torch.loading import mixing_collate
from mixup_rs.torch.nest import tree_leaves

__all__ = ["picture_of"]


def picture_of(callback: Any, dls: Any, max_n: int) -> Any:
    """The figure that `show_batch` of a callback documents."""
    if mixing_collate(dls.train) is not None:
        raise ValueError("the batches of this DataLoader are mixed already by its MixCollate")
    if isinstance(callback._elsewhere, Loader):
        raise ValueError("a batch of the training loader has no partners of its own: they come from other")
    batch, names = dls.train.one_batch(), getattr(dls, "vocab", None)
    x, y = (tree_leaves(part)[0].as_subclass(torch.Tensor) for part in (batch[0], batch[-1]))
    plan = draw_by(callback.rule, len(x), spatial_shape((x,)), labels_among((y,)), (callback._random_int(),))
    one_hot = y.ndim == 2 and names is not None and y.shape[1] == len(names)
    labels = y if one_hot or (y.ndim == 1 and not y.is_floating_point()) else None
    shown = {"labels": labels, "class_names": names, "samples": plot.varied_samples(plan, max_n)}
    return plot.plot_mixed_batch(x, mix_tensor(plan, x), plan, **shown)
